//! Shares: a fixed number of blocks that do a grid point together, each with its own columns.
//!
//! A recurrence multiplies its state by the same matrices at each step. Here each block has some columns of all those
//! products, from the first step to the last: its part of the matrices stays in its shared memory, what is computed
//! column by column is its own, and blocks give each other only what products read whole, such as the state itself. What
//! is carried from step to step that way lies in memory twice, in turns old and new, so that a step has one barrier of
//! the team for everything that is carried.
//!
//! The kernel is written anew for it: an axis that is shared becomes a tile, whose number is the block's. Invariants: a
//! block writes no element of another's share; results do not depend on the number of blocks. What does not have this
//! shape is left to teams that do everything together (`team.rs`).

mod find;
mod rewrite;

use super::scratch::{ALIGNMENT, MOST_SHARED_BY_LOOPS};
use super::statement::likely;
use super::team::is_for_teams;
use carousel_core::kernel::{BufferId, Dim, Extent, Kernel, Linear, Loop, Place, Statement, Var};
use carousel_core::program::element_bytes;
use find::Found;
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(super) use find::{Stride, stride_of};

/// Columns that a block may have.
const WIDTHS: [u64; 4] = [64, 32, 16, 8];
/// More multiplications than this at a step are worth more blocks.
const ENOUGH: u64 = 1 << 19;

/// A kernel whose points are done in shares.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    /// The kernel of a block.
    pub(crate) kernel: Kernel,
    /// How many blocks do a point.
    pub(crate) blocks: u64,
    /// Bytes of shared memory of a block.
    pub(crate) shared_bytes: u64,
    /// How many columns a block has at most.
    pub(super) width: u64,
    /// The number of the block.
    pub(super) number: Var,
    /// Where buffers are in shared memory.
    pub(super) on_chip: BTreeMap<BufferId, u64>,
    /// What is carried and read whole: the old and the new one, which change places after each step.
    pub(super) carried: Vec<(BufferId, BufferId)>,
    /// The loop over steps.
    pub(super) steps: Var,
    /// What blocks read of each other.
    exchanged: BTreeSet<BufferId>,
    /// How far apart the shared axis of each buffer lies.
    strides: HashMap<BufferId, Stride>,
}

/// A kernel in shares, if it can be and is worth it, for a GPU on which so many blocks run at the same time.
pub(crate) fn shares(kernel: &Kernel, together: u64) -> Option<Shares> {
    let found = find::of(kernel)?;
    let is_big = is_for_teams(kernel);
    let is_on_chip = found.factor_bytes(kernel) <= MOST_SHARED_BY_LOOPS;
    if !is_big && is_on_chip {
        return None;
    }
    let mut best = None;
    for width in WIDTHS {
        let blocks = found.columns.div_ceil(width);
        if blocks < 2 {
            continue;
        }
        if blocks > together {
            break;
        }
        let Some(placed) = place(kernel, &found, width) else { continue };
        best = Some((width, placed));
        if found.multiplications(width) <= ENOUGH {
            break;
        }
    }
    let (width, placed) = best?;
    Some(rewrite::rewritten(kernel, &found, width, placed))
}

/// Where buffers are in shared memory if a block has so many columns, and how many bytes they are; what products
/// multiply by must have room.
fn place(kernel: &Kernel, found: &Found<'_>, width: u64) -> Option<(BTreeMap<BufferId, u64>, u64)> {
    let mut pieces: Vec<(bool, u64, Vec<BufferId>)> = Vec::new();
    for members in found.compact(kernel) {
        let bytes = |id: &BufferId| {
            let buffer = &kernel.buffers[id.0 as usize];
            let rows = match buffer.elements {
                Dim::Known(elements) => elements / found.columns,
                Dim::Argument(_) => return None,
            };
            Some(rows * width * element_bytes(buffer.dtype))
        };
        let most = members.iter().map(bytes).collect::<Option<Vec<u64>>>()?.into_iter().max()?;
        let is_factor = members.iter().any(|id| found.factors.contains(id));
        pieces.push((!is_factor, most.next_multiple_of(ALIGNMENT), members));
    }
    pieces.sort();
    let (mut placed, mut end) = (BTreeMap::new(), 0);
    for (is_other, bytes, members) in pieces {
        if end + bytes > MOST_SHARED_BY_LOOPS {
            if is_other {
                continue;
            }
            return None;
        }
        placed.extend(members.into_iter().map(|id| (id, end)));
        end += bytes;
    }
    found.factors.iter().all(|id| placed.contains_key(id)).then_some((placed, end))
}

impl Shares {
    /// The loop of a nest that goes over the block's share.
    fn own_loop<'l>(&self, loops: &'l [Loop]) -> Option<&'l Loop> {
        let is_own = |over: &&Loop| matches!(over.extent, Extent::Tile { index, .. } if index == self.number);
        loops.iter().find(is_own)
    }

    /// Calls `see` with what a statement touches of memory that blocks exchange: whether it is the block's own, and whether it
    /// is written.
    pub(super) fn exchanges(&self, statement: &Statement, see: &mut impl FnMut(BufferId, bool, bool)) {
        let place = |id: &BufferId| self.kernel.buffers[id.0 as usize].place;
        let is_exchanged = |id: BufferId| self.exchanged.iter().any(|other| place(other) == place(&id));
        let mut tell = |id: BufferId, is_own: bool, is_written: bool| {
            if is_exchanged(id) {
                see(id, is_own, is_written);
            }
        };
        match statement {
            Statement::Map { loops, region, stores } => {
                let own = self.own_loop(loops).map(|over| over.var);
                find::loads(region, &mut |id, index| {
                    let is_own = own.zip(self.strides.get(&id));
                    let is_own = is_own.is_some_and(|(var, stride)| find::is_own(index, var, *stride));
                    tell(id, is_own, false);
                });
                stores.iter().for_each(|store| tell(store.buffer, true, true));
            }
            Statement::Product { a, b, c, .. } => {
                tell(a.buffer, false, false);
                tell(b.buffer, true, false);
                tell(c.buffer, true, true);
            }
            Statement::Loop { .. }
            | Statement::Reduce { .. }
            | Statement::Cumulative { .. }
            | Statement::ScatterAdd { .. } => {}
        }
    }

    /// Whether every step touches elements of its own of a buffer, and of no other step.
    pub(super) fn is_of_its_step(&self, id: BufferId) -> bool {
        let mut all = matches!(self.kernel.buffers[id.0 as usize].place, Place::Argument(_));
        let mut see = |other: BufferId, index: &Linear| {
            all &= other != id || find::moves_with(index, self.steps);
        };
        for statement in &self.kernel.body {
            let Statement::Loop { body, .. } = statement else { continue };
            for statement in body {
                match statement {
                    Statement::Map { region, stores, .. } => {
                        find::loads(region, &mut see);
                        stores.iter().for_each(|store| see(store.buffer, &store.index));
                    }
                    Statement::Product { a, b, c, .. } => {
                        [a, b, c].into_iter().for_each(|matrix| see(matrix.buffer, &matrix.base));
                    }
                    Statement::Loop { .. }
                    | Statement::Reduce { .. }
                    | Statement::Cumulative { .. }
                    | Statement::ScatterAdd { .. } => {}
                }
            }
        }
        all
    }
}

impl Found<'_> {
    /// Multiplications of a block at a step.
    fn multiplications(&self, width: u64) -> u64 {
        let of = |[m, k]: &[&Extent; 2]| likely(m).saturating_mul(likely(k)).saturating_mul(width);
        self.products.iter().map(of).fold(0, u64::saturating_add)
    }

    /// Bytes of all that products multiply by.
    fn factor_bytes(&self, kernel: &Kernel) -> u64 {
        let bytes = |id: &BufferId| match kernel.buffers[id.0 as usize].elements {
            Dim::Known(n) => n * element_bytes(kernel.buffers[id.0 as usize].dtype),
            Dim::Argument(_) => u64::MAX,
        };
        self.factors.iter().map(bytes).fold(0, u64::saturating_add)
    }
}
