//! Teams: several blocks that do a grid point together, for recurrences whose step is too much for one block.
//!
//! All threads of a team number its points as those of one large block would; barriers of the block become barriers of
//! the team, and the memory of a point is global memory. Such a kernel is launched with as many blocks as run at the same
//! time at most, because they wait for each other. Invariant: results do not depend on how many blocks a team has.

use super::statement::likely;
use carousel_core::kernel::{Extent, Kernel, Statement};
use std::collections::HashSet;

/// A product in a loop with more multiplications than this is worth the barriers of a team.
const WORTH_TEAM: u64 = 1 << 19;
/// Rows and columns of a product that a block does at a time.
const TILE: u64 = 64;

/// The products in loops of a kernel whose rounds read what rounds before wrote. Products side by side are no recurrence.
fn looped<'k>(kernel: &'k Kernel, see: &mut impl FnMut([&'k Extent; 3])) {
    for statement in &kernel.body {
        if let Statement::Loop { body, .. } = statement
            && is_recurrence(body)
        {
            products(body, see);
        }
    }
}

fn is_recurrence(body: &[Statement]) -> bool {
    let mut written = HashSet::new();
    body.iter().for_each(|statement| {
        statement.visit_writes(&mut |buffer| {
            written.insert(buffer);
        });
    });
    let mut reads = false;
    body.iter().for_each(|statement| statement.visit_reads(&mut |buffer| reads |= written.contains(&buffer)));
    reads
}

fn products<'k>(statements: &'k [Statement], see: &mut impl FnMut([&'k Extent; 3])) {
    for statement in statements {
        match statement {
            Statement::Loop { body, .. } => products(body, see),
            Statement::Product { m, n, k, .. } => see([m, n, k]),
            Statement::Map { .. }
            | Statement::Reduce { .. }
            | Statement::Cumulative { .. }
            | Statement::ScatterAdd { .. } => {}
        }
    }
}

/// Whether a kernel has products in loops.
pub(super) fn multiplies_in_a_loop(kernel: &Kernel) -> bool {
    let mut multiplies = false;
    looped(kernel, &mut |_| multiplies = true);
    multiplies
}

/// Whether the steps of a kernel are too much for one block.
pub(crate) fn is_for_teams(kernel: &Kernel) -> bool {
    let mut is_worth_it = false;
    looped(kernel, &mut |sides| {
        let [m, n, k] = sides.map(likely);
        // One tile is one block's.
        is_worth_it |= m.max(n) > TILE && m.saturating_mul(n).saturating_mul(k) > WORTH_TEAM;
    });
    is_worth_it
}

/// As many blocks as have something to do in the largest product of a kernel.
pub(crate) fn useful_blocks(kernel: &Kernel, dims: &[i64]) -> u64 {
    let extent = |extent: &Extent| match extent {
        Extent::Whole(dim) => dim.value(dims).max(0) as u64,
        Extent::Tile { whole, tile, .. } => (whole.value(dims).max(0) as u64).min(*tile),
    };
    let mut most = 1;
    looped(kernel, &mut |[m, n, _]| {
        let tiles = |side| extent(side).div_ceil(TILE);
        most = most.max(tiles(m).saturating_mul(tiles(n)));
    });
    most
}
