//! The kernel of a block that has a share: its axis is a tile, and what it has to itself is as small.

use super::Shares;
use super::find::{Found, stride_of};
use carousel_core::kernel::{
    Atom, BufferId, Dim, Expr, Extent, Kernel, Linear, Loop, Matrix, Region, Statement, Term, Var,
};
use std::collections::{BTreeMap, HashMap};

/// An index with so many columns in place of all, if strides allow it: those of what is outside of the columns are multiples of
/// them.
pub(super) fn narrow(index: &Linear, stride: i64, columns: u64, width: u64) -> Option<Linear> {
    let whole = stride.checked_mul(columns as i64)?;
    let mut narrow = Linear::default();
    for term in &index.terms {
        let Dim::Known(_) = term.dim else { return None };
        let coefficient = match term.coefficient {
            c if c % whole == 0 => c / columns as i64 * width as i64,
            c if (0..=stride).contains(&c) => c,
            _ => return None,
        };
        narrow.add_term(coefficient, term.dim, term.atom.clone());
    }
    Some(narrow)
}

/// A matrix as an index of both of its variables.
fn whole(matrix: &Matrix) -> Linear {
    let mut index = matrix.base.clone();
    // Variables that no kernel has.
    index.add_term(1, matrix.row, Atom::Var(Var(u32::MAX)));
    index.add_term(1, matrix.column, Atom::Var(Var(u32::MAX - 1)));
    index
}

/// Calls `see` with every index of a buffer.
pub(super) fn indices(statements: &[Statement], id: BufferId, see: &mut impl FnMut(&Linear)) {
    for statement in statements {
        match statement {
            Statement::Loop { body, .. } => indices(body, id, see),
            Statement::Map { region, stores, .. } => {
                super::find::loads(region, &mut |other, index| {
                    if other == id {
                        see(index);
                    }
                });
                stores.iter().filter(|store| store.buffer == id).for_each(|store| see(&store.index));
            }
            Statement::Product { a, b, c, .. } => {
                [a, b, c].into_iter().filter(|m| m.buffer == id).for_each(|matrix| see(&whole(matrix)));
            }
            Statement::Reduce { .. } | Statement::Cumulative { .. } | Statement::ScatterAdd { .. } => {}
        }
    }
}

pub(super) fn rewritten(
    kernel: &Kernel,
    found: &Found<'_>,
    width: u64,
    (on_chip, shared_bytes): (BTreeMap<BufferId, u64>, u64),
) -> Shares {
    let mut new = kernel.clone();
    let mut carried = Vec::new();
    for old in &found.carried {
        let number = old.0 as usize;
        carried.push((*old, BufferId(new.buffers.len() as u32)));
        new.buffers.push(kernel.buffers[number].clone());
        new.buffer_names.push(format!("next.{}", kernel.buffer_names[number]));
        new.buffer_spans.push(kernel.buffer_spans[number]);
    }
    for id in on_chip.keys() {
        let buffer = &mut new.buffers[id.0 as usize];
        if let Dim::Known(elements) = &mut buffer.elements {
            *elements = *elements / found.columns * width;
        }
    }
    let mut most = 0;
    kernel.grid.iter().for_each(|over| most = most.max(over.var.0));
    variables(&kernel.body, &mut |over| most = most.max(over.var.0));
    let number = Var(most + 1);
    let mut rewriting = Rewriting { found, width, number, on_chip: &on_chip, next: HashMap::new() };
    new.body = kernel.body.iter().map(|statement| rewriting.statement(statement, &carried)).collect();
    let mut strides = found.strides.clone();
    let mut exchanged = found.exchanged.clone();
    for (old, next) in &carried {
        strides.insert(*next, found.strides[old]);
        exchanged.insert(*next);
    }
    Shares {
        kernel: new,
        blocks: found.columns.div_ceil(width),
        shared_bytes,
        width,
        number,
        on_chip,
        carried,
        steps: found.steps,
        exchanged,
        strides,
    }
}

fn variables(statements: &[Statement], see: &mut impl FnMut(&Loop)) {
    for statement in statements {
        match statement {
            Statement::Loop { over, body, .. } => {
                see(over);
                variables(body, see);
            }
            Statement::Map { loops, .. } => loops.iter().for_each(&mut *see),
            Statement::Product { .. }
            | Statement::Reduce { .. }
            | Statement::Cumulative { .. }
            | Statement::ScatterAdd { .. } => {}
        }
    }
}

struct Rewriting<'a> {
    found: &'a Found<'a>,
    width: u64,
    number: Var,
    on_chip: &'a BTreeMap<BufferId, u64>,
    /// What was written at this step already, with where it is.
    next: HashMap<BufferId, BufferId>,
}

impl Rewriting<'_> {
    fn statement(&mut self, statement: &Statement, carried: &[(BufferId, BufferId)]) -> Statement {
        match statement {
            Statement::Loop { over, direction, body } => {
                let mut new = Vec::new();
                for inner in body {
                    let mut statement = self.statement(inner, carried);
                    // Stores go to the next one, and loads from then on.
                    let stored: Vec<_> =
                        carried.iter().copied().filter(|(old, _)| writes(inner, *old)).collect();
                    if let Statement::Map { stores, .. } = &mut statement {
                        for store in stores {
                            if let Some((_, next)) = stored.iter().find(|(old, _)| *old == store.buffer) {
                                store.buffer = *next;
                            }
                        }
                    }
                    self.next.extend(stored);
                    new.push(statement);
                }
                self.next.clear();
                Statement::Loop { over: *over, direction: *direction, body: new }
            }
            Statement::Map { loops, region, stores } => {
                let var = self.found.vars[&std::ptr::from_ref(statement)];
                let tile = self.tile();
                let at = |over: &Loop| match over.var == var {
                    true => Loop { var, extent: tile },
                    false => *over,
                };
                let mut stores = stores.clone();
                for store in &mut stores {
                    store.index = self.index(store.buffer, &store.index, var);
                }
                let region = self.region(region, var);
                Statement::Map { loops: loops.iter().map(at).collect(), region, stores }
            }
            Statement::Product { m, n: _, k, a, b, c, update, dtype, triangle } => {
                let mut a = a.clone();
                a.buffer = self.current(a.buffer);
                let [b, c] = [b, c].map(|matrix| self.columns(matrix));
                let (update, dtype, triangle) = (*update, *dtype, *triangle);
                Statement::Product { m: *m, n: self.tile(), k: *k, a, b, c, update, dtype, triangle }
            }
            Statement::Reduce { .. } | Statement::Cumulative { .. } | Statement::ScatterAdd { .. } => {
                unreachable!("what is shared has none")
            }
        }
    }

    fn current(&self, id: BufferId) -> BufferId {
        self.next.get(&id).copied().unwrap_or(id)
    }

    fn tile(&self) -> Extent {
        Extent::Tile { whole: Dim::Known(self.found.columns), tile: self.width, index: self.number }
    }

    /// The index of an element of the block's share.
    fn index(&self, id: BufferId, index: &Linear, var: Var) -> Linear {
        if self.on_chip.contains_key(&id) {
            let narrow = narrow(index, self.found.strides[&id].0, self.found.columns, self.width);
            return narrow.expect("only what can be is on chip");
        }
        self.moved(index, var)
    }

    /// An index whose variable counts from the beginning of the share.
    fn moved(&self, index: &Linear, var: Var) -> Linear {
        let mut moved = Linear::default();
        for Term { coefficient, dim, atom } in &index.terms {
            let atom = match atom {
                Atom::Quotient(inside, by) => Atom::Quotient(Box::new(self.moved(inside, var)), *by),
                Atom::Remainder(inside, by) => Atom::Remainder(Box::new(self.moved(inside, var)), *by),
                Atom::One | Atom::Var(_) | Atom::Data { .. } => atom.clone(),
            };
            moved.add_term(*coefficient, *dim, atom);
        }
        if let Some((coefficient, dim)) = stride_of(index, var) {
            moved.add_term(coefficient * self.width as i64, dim, Atom::Var(self.number));
        }
        moved
    }

    fn region(&self, region: &Region, var: Var) -> Region {
        let mut region = region.clone();
        for expr in &mut region.exprs {
            match expr {
                Expr::Load { buffer, index, guards } => {
                    *index = self.index(*buffer, index, var);
                    *buffer = self.current(*buffer);
                    guards.iter_mut().for_each(|guard| guard.index = self.moved(&guard.index, var));
                }
                Expr::Index { index } | Expr::Uniform { index, .. } => *index = self.moved(index, var),
                Expr::Holds { guard } => guard.index = self.moved(&guard.index, var),
                Expr::Const { .. }
                | Expr::Size { .. }
                | Expr::Apply { .. }
                | Expr::Cast { .. }
                | Expr::FoldIn { .. } => {}
            }
        }
        region
    }

    /// The columns of the block's share.
    fn columns(&self, matrix: &Matrix) -> Matrix {
        let mut matrix = matrix.clone();
        if self.on_chip.contains_key(&matrix.buffer) {
            let (stride, columns) = (self.found.strides[&matrix.buffer].0, self.found.columns);
            let narrow = |index: &Linear| {
                narrow(index, stride, columns, self.width).expect("only what can be is on chip")
            };
            matrix.base = narrow(&matrix.base);
            if let Some((row, _)) = stride_of(&narrow(&whole(&matrix)), Var(u32::MAX)) {
                matrix.row = Dim::Known(row as u64);
            }
            return matrix;
        }
        let (coefficient, dim) = super::find::stride(matrix.column);
        matrix.base.add_term(coefficient * self.width as i64, dim, Atom::Var(self.number));
        matrix
    }
}

fn writes(statement: &Statement, id: BufferId) -> bool {
    let mut any = false;
    statement.visit_writes(&mut |other| any |= other == id);
    any
}
