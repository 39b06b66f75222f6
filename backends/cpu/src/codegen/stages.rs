//! How a region is cut at its transcendental functions.
//!
//! A row of points is done in tiles. On each tile, a stage is one generated loop over cheap operations that leaves the
//! arguments of transcendental functions in tile temporaries; then the tile runtime is called on each of them; then
//! comes the next stage. The last stage also stores, adds up or whatever the statement does with its values.
//!
//! Invariant: every value that a stage uses is computed in it, or constant along the row, or in a temporary that an
//! earlier stage (or call) filled. Cheap loads are repeated rather than kept.

use super::emitter::{Emitter, TEMPORARY_BUDGET, bytes_of};
use super::nest::{Nest, operands};
use super::values;
use carousel_core::kernel::{Dim, Expr, ExprId, Extent};
use carousel_ir::DType;
use std::collections::{BTreeMap, BTreeSet};

/// Largest number of elements of a tile.
const LARGEST_TILE: u64 = 512;

/// A tile temporary: an offset for [`Emitter::temporary`].
pub(super) type Slot = u64;

/// A call of the tile runtime after a stage.
#[derive(Debug)]
pub(super) struct TileCall {
    pub(super) function: TileFunction,
    pub(super) to: Slot,
}

/// What is called.
#[derive(Debug)]
pub(super) enum TileFunction {
    /// An elementwise function of what lies in a temporary.
    OfTemporary { name: &'static str, from: Slot },
    /// An elementwise function of what a contiguous load reads.
    OfMemory { name: &'static str, from: ExprId },
    /// Random numbers.
    Uniform(ExprId),
}

/// One loop over the tile.
#[derive(Default, Debug)]
pub(super) struct Stage {
    /// What is computed, in order.
    pub(super) compute: Vec<ExprId>,
    /// What is read back.
    pub(super) read: Vec<(ExprId, Slot)>,
    /// What is left for later.
    pub(super) keep: Vec<(ExprId, Slot)>,
    /// What is called afterwards.
    pub(super) calls: Vec<TileCall>,
}

/// All stages of a statement.
pub(super) struct Plan {
    pub(super) stages: Vec<Stage>,
    /// Elements of a tile; `None` if one stage does whole rows.
    pub(super) tile: Option<u64>,
}

/// Whether everything in the region fits vectors of four.
pub(super) fn is_vectorizable(e: &Emitter<'_, '_>, nest: &Nest<'_>) -> bool {
    let loads_double =
        |expr: &Expr| matches!(expr, Expr::Load { buffer, .. } if e.dtype(*buffer) == DType::F64);
    !nest.region.dtypes.contains(&DType::F64) && !nest.region.exprs.iter().any(loads_double)
}

/// The tile function that computes an expression, if one does.
fn tile_call(nest: &Nest<'_>, id: ExprId) -> Option<&'static str> {
    match &nest.region.exprs[id.0 as usize] {
        Expr::Apply { op, dtype, .. } if *dtype == DType::F32 => values::tile_function(*op, *dtype),
        Expr::Uniform { seed, step, index, .. } => {
            let fits = nest.is_contiguous(index) && !nest.is_inner(*seed) && !nest.is_inner(*step);
            fits.then_some("tile_uniform_f32")
        }
        Expr::Apply { .. }
        | Expr::Load { .. }
        | Expr::Const { .. }
        | Expr::Size { .. }
        | Expr::Index { .. }
        | Expr::Holds { .. }
        | Expr::Cast { .. }
        | Expr::FoldIn { .. } => None,
    }
}

/// Whether an expression is a load that can just as well be repeated.
fn is_cheap_load(nest: &Nest<'_>, id: ExprId) -> bool {
    match &nest.region.exprs[id.0 as usize] {
        Expr::Load { index, guards, .. } => {
            nest.strides_along_inner(index).is_some()
                && guards.iter().all(|guard| nest.depth_of_linear(&guard.index) < nest.inner_depth())
        }
        Expr::Const { .. }
        | Expr::Size { .. }
        | Expr::Index { .. }
        | Expr::Holds { .. }
        | Expr::Apply { .. }
        | Expr::Cast { .. }
        | Expr::Uniform { .. }
        | Expr::FoldIn { .. } => false,
    }
}

/// A load whose memory can be given to the tile runtime as it is.
fn is_plain_load(e: &Emitter<'_, '_>, nest: &Nest<'_>, id: ExprId) -> bool {
    matches!(&nest.region.exprs[id.0 as usize], Expr::Load { buffer, index, guards }
        if guards.is_empty() && e.dtype(*buffer) == DType::F32 && nest.is_contiguous(index))
}

/// What a tile is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tiling {
    /// A part of a row.
    PartOfRow,
    /// Several short rows of that many points each.
    Rows(u64),
}

/// The stages that compute `roots` in the innermost loop, on parts of rows.
pub(super) fn plan(e: &mut Emitter<'_, '_>, nest: &Nest<'_>, roots: &[ExprId]) -> Plan {
    plan_tiles(e, nest, roots, Tiling::PartOfRow)
}

/// How the tiles of a statement are best made: of several rows where a row is short and random numbers, which are
/// counted along a row, are not asked for.
pub(super) fn tiling(nest: &Nest<'_>) -> Tiling {
    let is_random = |expr: &Expr| matches!(expr, Expr::Uniform { .. });
    match nest.inner().extent {
        Extent::Whole(Dim::Known(n))
            if (1..=LARGEST_TILE / 2).contains(&n)
                && nest.inner_depth() >= 2
                && !nest.region.exprs.iter().any(is_random) =>
        {
            Tiling::Rows(n)
        }
        Extent::Whole(_) | Extent::Tile { .. } => Tiling::PartOfRow,
    }
}

/// The stages that compute `roots` in the innermost loop. With several rows in a tile, everything that is given to the
/// tile runtime comes from temporaries: rows need not follow each other in memory.
pub(super) fn plan_tiles(e: &mut Emitter<'_, '_>, nest: &Nest<'_>, roots: &[ExprId], tiling: Tiling) -> Plan {
    let region = nest.region;
    let count = region.exprs.len();
    let staged = is_vectorizable(e, nest);
    let is_call = |id: ExprId| staged && nest.is_inner(id) && tile_call(nest, id).is_some();
    let inner_operands = |id: ExprId| -> Vec<ExprId> {
        operands(&region.exprs[id.0 as usize]).into_iter().filter(|o| nest.is_inner(*o)).collect()
    };
    // The first stage in which a value can be used.
    let mut levels = vec![0usize; count];
    for at in 0..count {
        let id = ExprId(at as u32);
        let below = inner_operands(id).iter().map(|o| levels[o.0 as usize]).max();
        levels[at] = match below {
            Some(below) => below + usize::from(is_call(id)),
            // Random numbers come from nothing, before the first stage: a stage without a loop.
            None => usize::from(is_call(id)),
        };
    }
    let roots: Vec<ExprId> = roots.iter().copied().filter(|id| nest.is_inner(*id)).collect();
    let last = roots.iter().map(|id| levels[id.0 as usize]).max().unwrap_or(0);
    let mut wanted: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); last + 1];
    roots.iter().for_each(|id| {
        wanted[last].insert(id.0);
    });
    let mut stages: Vec<Stage> = (0..=last).map(|_| Stage::default()).collect();
    let mut kept: BTreeMap<u32, usize> = BTreeMap::new();
    let mut called: BTreeMap<u32, usize> = BTreeMap::new();
    // What each stage reads from temporaries, whose slots are not known yet.
    let mut reads: Vec<Vec<ExprId>> = vec![Vec::new(); last + 1];
    for stage in (0..=last).rev() {
        let mut seen = vec![false; count];
        let mut open: Vec<ExprId> = wanted[stage].iter().map(|&id| ExprId(id)).collect();
        while let Some(id) = open.pop() {
            if std::mem::replace(&mut seen[id.0 as usize], true) {
                continue;
            }
            let level = levels[id.0 as usize];
            if is_call(id) {
                reads[stage].push(id);
                called.insert(id.0, level - 1);
                for operand in inner_operands(id) {
                    // A contiguous load or a temporary is an argument as it is.
                    if is_call(operand) {
                        // Its own arguments are found in the stage where it could first be used.
                        called.insert(operand.0, levels[operand.0 as usize] - 1);
                        wanted[levels[operand.0 as usize]].insert(operand.0);
                    } else if tiling != Tiling::PartOfRow || !is_plain_load(e, nest, operand) {
                        let at = levels[operand.0 as usize];
                        wanted[at].insert(operand.0);
                        kept.insert(operand.0, at);
                        if at == stage {
                            open.push(operand);
                        }
                    }
                }
            } else if level < stage && !is_cheap_load(nest, id) {
                reads[stage].push(id);
                wanted[level].insert(id.0);
                kept.insert(id.0, level);
            } else {
                stages[stage].compute.push(id);
                open.extend(inner_operands(id));
            }
        }
        stages[stage].compute.sort();
    }
    let temporaries = kept.len() + called.len();
    if last == 0 && temporaries == 0 {
        return Plan { stages, tile: None };
    }
    let mut tile = LARGEST_TILE;
    while tile > 64 && temporaries as u64 * tile * 4 > TEMPORARY_BUDGET {
        tile /= 2;
    }
    let mut slots: BTreeMap<u32, Slot> = BTreeMap::new();
    for &id in kept.keys().chain(called.keys()) {
        let bytes = bytes_of(DType::F32) as u64 * tile;
        slots.entry(id).or_insert_with(|| e.allocate_temporary(bytes));
    }
    for (&id, &stage) in &kept {
        stages[stage].keep.push((ExprId(id), slots[&id]));
    }
    for (&id, &stage) in &called {
        let name = tile_call(nest, ExprId(id)).expect("it is a call");
        let function = match operands(&region.exprs[id as usize]).first().copied() {
            _ if matches!(region.exprs[id as usize], Expr::Uniform { .. }) => {
                TileFunction::Uniform(ExprId(id))
            }
            Some(from) if slots.contains_key(&from.0) => {
                TileFunction::OfTemporary { name, from: slots[&from.0] }
            }
            Some(from) => TileFunction::OfMemory { name, from },
            None => unreachable!("a function has an argument"),
        };
        stages[stage].calls.push(TileCall { function, to: slots[&id] });
    }
    for (stage, reads) in reads.into_iter().enumerate() {
        stages[stage].read = reads.into_iter().map(|id| (id, slots[&id.0])).collect();
        stages[stage].read.sort();
    }
    Plan { stages, tile: Some(tile) }
}
