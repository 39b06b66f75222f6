//! Putting one kernel together: loop variables, dims and buffers are numbered in the order of their first use, so
//! that equal work gives equal kernels whatever stands around it.

use super::view::{Storage, StorageId, View, Whereabouts};
use crate::kernel::{Access, Atom, Buffer, BufferId, Dim, Kernel, Linear, Loop, Place, Statement, Var};
use crate::plan;
use crate::program::{Home, Slot};
use carousel_ir::{Axis, DType, Size};
use std::collections::{BTreeMap, BTreeSet};

/// Indices of axes.
pub(crate) type Env = Vec<(Axis, Linear)>;

/// A kernel in the making.
#[derive(Default)]
pub(crate) struct KernelBuilder {
    dims: Vec<Size>,
    storages: Vec<StorageId>,
    vars: u32,
    /// Variables that are known to be below a number.
    ranges: BTreeMap<Var, u64>,
}

/// A finished kernel with what its launch needs.
pub(crate) struct Built {
    pub(crate) kernel: Kernel,
    /// Storages of its arguments, in order.
    pub(crate) arguments: Vec<StorageId>,
    /// Its dims.
    pub(crate) dims: Vec<Size>,
}

impl KernelBuilder {
    /// A new loop variable.
    pub(crate) fn var(&mut self) -> Var {
        self.vars += 1;
        Var(self.vars - 1)
    }

    /// Notes that a variable is below a number.
    pub(crate) fn limit(&mut self, var: Var, below: u64) {
        self.ranges.insert(var, below);
    }

    /// The number that a variable is known to be below.
    pub(crate) fn range(&self, var: Var) -> Option<u64> {
        self.ranges.get(&var).copied()
    }

    /// `floor(whole / dim)` of an index that is not negative.
    pub(crate) fn quotient(&self, whole: Linear, dim: Dim) -> Linear {
        match self.divided(&whole, dim) {
            Some((quotient, _)) => quotient,
            None => atom(Atom::Quotient(Box::new(whole), dim)),
        }
    }

    /// `whole mod dim`, likewise.
    pub(crate) fn remainder(&self, whole: Linear, dim: Dim) -> Linear {
        match self.divided(&whole, dim) {
            Some((_, remainder)) => remainder,
            None => atom(Atom::Remainder(Box::new(whole), dim)),
        }
    }

    /// Quotient and remainder, where terms that are no multiples of the divisor are known to add up to less than it.
    fn divided(&self, whole: &Linear, dim: Dim) -> Option<(Linear, Linear)> {
        let Dim::Known(divisor) = dim else { return None };
        let divisor = i64::try_from(divisor).ok().filter(|d| *d > 0)?;
        let (mut quotient, mut remainder, mut most) = (Linear::zero(), Linear::zero(), 0i64);
        for term in &whole.terms {
            if term.coefficient % divisor == 0 {
                quotient.add_term(term.coefficient / divisor, term.dim, term.atom.clone());
                continue;
            }
            let largest = match term.atom {
                Atom::One => 1,
                Atom::Var(var) => i64::try_from(self.range(var)?).ok()? - 1,
                Atom::Quotient(..) | Atom::Remainder(..) | Atom::Data { .. } => return None,
            };
            if term.coefficient < 0 || term.dim != Dim::Known(1) {
                return None;
            }
            most = most.checked_add(term.coefficient.checked_mul(largest.max(0))?)?;
            remainder.add_term(term.coefficient, term.dim, term.atom.clone());
        }
        (most < divisor).then_some((quotient, remainder))
    }

    /// A size as the kernel sees it.
    pub(crate) fn dim(&mut self, size: &Size) -> Dim {
        if let Some(n) = size.known() {
            return Dim::Known(n);
        }
        let found = self.dims.iter().position(|s| s == size);
        Dim::Argument(found.unwrap_or_else(|| {
            self.dims.push(size.clone());
            self.dims.len() - 1
        }) as u32)
    }

    /// The size behind a dim.
    pub(crate) fn size(&self, dim: Dim) -> Size {
        match dim {
            Dim::Known(n) => Size::Known(n),
            Dim::Argument(i) => self.dims[i as usize].clone(),
        }
    }

    /// The number of a storage's buffer.
    pub(crate) fn buffer(&mut self, storage: StorageId) -> BufferId {
        let found = self.storages.iter().position(|s| *s == storage);
        BufferId(found.unwrap_or_else(|| {
            self.storages.push(storage);
            self.storages.len() - 1
        }) as u32)
    }

    /// The storage behind a buffer.
    pub(crate) fn storage_of(&self, buffer: BufferId) -> StorageId {
        self.storages[buffer.0 as usize]
    }

    /// Adds `factor * size` to a linear expression.
    pub(crate) fn add_size(&mut self, linear: &mut Linear, factor: i64, size: &Size) {
        let dim = self.dim(size);
        linear.add_term(factor, dim, Atom::One);
    }

    /// Adds `size * other` to a linear expression.
    pub(crate) fn add_scaled(&mut self, linear: &mut Linear, other: &Linear, size: &Size) {
        for term in &other.terms {
            let dim = match (term.dim, size.known()) {
                (dim, Some(1)) => dim,
                (Dim::Known(n), _) => self.dim(&Size::product([Size::Known(n), size.clone()])),
                (dim, _) => {
                    let product = Size::product([self.size(dim), size.clone()]);
                    self.dim(&product)
                }
            };
            linear.add_term(term.coefficient, dim, term.atom.clone());
        }
    }

    /// The element offset of a view at the indices of `env`; axes that `env` lacks count as 0.
    pub(crate) fn address(&mut self, view: &View, env: &Env) -> Linear {
        let mut linear = Linear::zero();
        for (axis, stride) in &view.strides {
            if let Some((_, index)) = env.iter().find(|(a, _)| a == axis) {
                self.add_scaled(&mut linear, index, stride);
            }
        }
        for (var, factor, stride) in &view.moves {
            let dim = self.dim(stride);
            linear.add_term(*factor, dim, Atom::Var(*var));
        }
        self.add_size(&mut linear, 1, &view.offset);
        canonical(&mut linear);
        linear
    }

    /// The kernel with this grid and body.
    pub(crate) fn finish(
        mut self,
        name: String,
        grid: Vec<Loop>,
        mut body: Vec<Statement>,
        (storages, factors): (&[Storage], DType),
    ) -> Built {
        let of = |ids: &[StorageId], b: BufferId| storages[ids[b.0 as usize].0 as usize].whereabouts;
        super::fuse::prune(&mut body, &|b| of(&self.storages, b) == Whereabouts::Scratch);
        let (mut written, mut used) = (BTreeSet::new(), BTreeSet::new());
        for statement in &body {
            statement.visit_reads(&mut |b| {
                used.insert(b);
            });
            statement.visit_writes(&mut |b| {
                used.insert(b);
                written.insert(b);
            });
        }
        let number: BTreeMap<BufferId, BufferId> =
            used.iter().enumerate().map(|(new, old)| (*old, BufferId(new as u32))).collect();
        body.iter_mut().for_each(|s| s.renumber_buffers(&|b| number[&b]));
        let (mut buffers, mut arguments) = (Vec::new(), Vec::new());
        let (mut buffer_names, mut buffer_spans) = (Vec::new(), Vec::new());
        let (offsets, scratch_bytes) = scratch_offsets(&self.storages, storages, &used, &number, &body);
        for old in &used {
            let id = self.storages[old.0 as usize];
            let storage = &storages[id.0 as usize];
            let place = match storage.whereabouts {
                Whereabouts::Scratch => Place::Scratch(self.dim(&offsets[&number[old]])),
                Whereabouts::Input(_) | Whereabouts::Output(_) | Whereabouts::Frame => {
                    arguments.push(id);
                    Place::Argument(arguments.len() as u32 - 1)
                }
            };
            // Every value is made once: what a kernel stores to, it does not need from before.
            let access = if written.contains(old) { Access::Write } else { Access::Read };
            let elements = self.dim(&storage.elements);
            buffers.push(Buffer { dtype: storage.dtype, place, access, elements });
            buffer_names.push(storage.label.name.clone());
            buffer_spans.push(storage.label.span);
        }
        let scratch_bytes = self.dim(&scratch_bytes);
        let dims = self.dims.len() as u32;
        let kernel =
            Kernel { name, buffer_names, buffer_spans, buffers, dims, grid, scratch_bytes, factors, body };
        Built { kernel, arguments, dims: self.dims }
    }
}

/// Offsets of scratch buffers, by their new numbers, and the bytes of all: what is needed one after the other shares memory.
fn scratch_offsets(
    ids: &[StorageId],
    storages: &[Storage],
    used: &BTreeSet<BufferId>,
    number: &BTreeMap<BufferId, BufferId>,
    body: &[Statement],
) -> (BTreeMap<BufferId, Size>, Size) {
    let lives = super::lives::lives(body);
    let (mut buffers, mut slots, mut lifetimes) = (Vec::new(), Vec::new(), Vec::new());
    for old in used {
        let storage = &storages[ids[old.0 as usize].0 as usize];
        if storage.whereabouts == Whereabouts::Scratch {
            buffers.push(number[old]);
            lifetimes.push(lives.get(&number[old]).copied());
            slots.push(Slot {
                dtype: storage.dtype,
                elements: storage.elements.clone(),
                home: Home::Frame,
                offset: Size::Known(0),
                name: storage.label.name.clone(),
            });
        }
    }
    let bytes = plan::place(&mut slots, &lifetimes);
    (buffers.into_iter().zip(slots.into_iter().map(|s| s.offset)).collect(), bytes)
}

fn atom(atom: Atom) -> Linear {
    let mut linear = Linear::zero();
    linear.add_term(1, Dim::Known(1), atom);
    linear
}

/// Puts the terms in one order, so that equal sums are equal.
pub(crate) fn canonical(linear: &mut Linear) {
    fn rank(atom: &Atom) -> (u8, u32) {
        match atom {
            Atom::Data { value, .. } => (0, value.0),
            Atom::Quotient(..) => (1, 0),
            Atom::Remainder(..) => (2, 0),
            Atom::Var(var) => (3, var.0),
            Atom::One => (4, 0),
        }
    }
    linear.terms.sort_by_key(|t| (rank(&t.atom), t.dim));
}
