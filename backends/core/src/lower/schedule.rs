//! The schedule of a single statement: adjacent loops whose strides compose become one, and the outer part of the
//! loops becomes the grid, in tiles of about [`Target::tile_elements`](crate::target::Target::tile_elements) elements.
//!
//! Nothing here depends on the number of threads.

use super::builder::{KernelBuilder, canonical};
use crate::kernel::{Atom, Dim, Expr, Extent, Linear, Loop, Region, Statement, Term, Var};
use carousel_ir::Size;

/// How many elements an axis of unknown size is taken for.
const UNKNOWN: u64 = 256;
/// Neighbouring results that are summed row by row together, however many rows there are: with fewer, most of each cache
/// line would be read for nothing.
const RESULT_ROW: u64 = 64;

/// The statement with as few loops as possible; those that go over so many elements stay as they are.
pub(crate) fn collapse(
    kernel: &mut KernelBuilder,
    mut statement: Statement,
    apart: Option<Dim>,
) -> Statement {
    for which in [Nest::Loops, Nest::Over] {
        let mut at = 0;
        while let Some([outer, inner]) = pair(&statement, which, at) {
            let both = match inner.extent {
                Extent::Whole(dim) if Some(dim) == apart => None,
                Extent::Whole(_) | Extent::Tile { .. } => joined(kernel, &mut statement, outer, inner),
            };
            match both {
                Some(both) => {
                    if let Some(loops) = loops_mut(&mut statement, which) {
                        loops.splice(at..at + 2, [both]);
                    }
                }
                None => at += 1,
            }
        }
    }
    statement
}

/// Which loops of a statement.
#[derive(Clone, Copy)]
enum Nest {
    Loops,
    Over,
}

fn loops_mut(statement: &mut Statement, which: Nest) -> Option<&mut Vec<Loop>> {
    match (statement, which) {
        (
            Statement::Map { loops, .. }
            | Statement::Reduce { loops, .. }
            | Statement::Cumulative { loops, .. },
            Nest::Loops,
        )
        | (Statement::Reduce { over: loops, .. }, Nest::Over) => Some(loops),
        (Statement::ScatterAdd { loops, .. }, Nest::Loops) => Some(loops),
        (
            Statement::Map { .. }
            | Statement::Cumulative { .. }
            | Statement::ScatterAdd { .. }
            | Statement::Product { .. }
            | Statement::Loop { .. },
            _,
        ) => None,
    }
}

fn pair(statement: &Statement, which: Nest, at: usize) -> Option<[Loop; 2]> {
    let loops = match (statement, which) {
        (
            Statement::Map { loops, .. }
            | Statement::Reduce { loops, .. }
            | Statement::Cumulative { loops, .. }
            | Statement::ScatterAdd { loops, .. },
            Nest::Loops,
        )
        | (Statement::Reduce { over: loops, .. }, Nest::Over) => loops,
        (
            Statement::Map { .. }
            | Statement::Cumulative { .. }
            | Statement::ScatterAdd { .. }
            | Statement::Product { .. }
            | Statement::Loop { .. },
            _,
        ) => return None,
    };
    match loops.get(at..at + 2) {
        Some([outer, inner]) => Some([*outer, *inner]),
        _ => None,
    }
}

/// Makes one loop of two, if every index of the statement allows it.
fn joined(kernel: &mut KernelBuilder, statement: &mut Statement, outer: Loop, inner: Loop) -> Option<Loop> {
    let Extent::Whole(width) = inner.extent else { return None };
    let width_size = kernel.size(width);
    let composes = |linear: &Linear| composes(kernel, linear, outer.var, inner.var, &width_size);
    let mut all = true;
    visit(statement, &mut |linear| all &= composes(linear));
    let extent = match outer.extent {
        Extent::Whole(rows) => {
            let whole = Size::product([kernel.size(rows), width_size.clone()]);
            Extent::Whole(kernel.dim(&whole))
        }
        Extent::Tile { whole, tile, index } => {
            let Dim::Known(n) = width else { return None };
            let whole = Size::product([kernel.size(whole), width_size.clone()]);
            Extent::Tile { whole: kernel.dim(&whole), tile: tile * n, index }
        }
    };
    if !all {
        return None;
    }
    visit_mut(statement, &mut |linear| drop_var(linear, outer.var));
    Some(Loop { var: inner.var, extent })
}

/// Whether the two variables occur only as `stride * (outer * width + inner)`.
fn composes(kernel: &KernelBuilder, linear: &Linear, outer: Var, inner: Var, width: &Size) -> bool {
    let of = |var: Var| -> Vec<(i64, Size)> {
        let terms = linear.terms.iter().filter(|t| t.atom == Atom::Var(var));
        terms.map(|t| (t.coefficient, kernel.size(t.dim))).collect()
    };
    let nested = linear.terms.iter().all(|t| match &t.atom {
        Atom::Quotient(inside, _) | Atom::Remainder(inside, _) => {
            composes(kernel, inside, outer, inner, width)
        }
        Atom::One | Atom::Var(_) | Atom::Data { .. } => true,
    });
    let scaled = |(c, s): &(i64, Size)| match u64::try_from(*c) {
        Ok(c) => Some(Size::product([Size::Known(c), s.clone()])),
        Err(_) => None,
    };
    nested
        && match (of(outer).as_slice(), of(inner).as_slice()) {
            ([], []) => true,
            ([o], [i]) => match (scaled(o), scaled(i)) {
                (Some(o), Some(i)) => o == Size::product([i, width.clone()]),
                _ => false,
            },
            _ => false,
        }
}

fn drop_var(linear: &mut Linear, var: Var) {
    linear.terms.retain(|t| t.atom != Atom::Var(var));
    for term in &mut linear.terms {
        match &mut term.atom {
            Atom::Quotient(inside, _) | Atom::Remainder(inside, _) => drop_var(inside, var),
            Atom::One | Atom::Var(_) | Atom::Data { .. } => {}
        }
    }
}

fn visit(statement: &Statement, see: &mut impl FnMut(&Linear)) {
    match statement {
        Statement::Map { region, stores, .. } => {
            visit_region(region, see);
            stores.iter().for_each(|s| see(&s.index));
        }
        Statement::Reduce { region, store, .. }
        | Statement::Cumulative { region, store, .. }
        | Statement::ScatterAdd { region, store, .. } => {
            visit_region(region, see);
            see(&store.index);
        }
        Statement::Loop { .. } | Statement::Product { .. } => {}
    }
}

fn visit_region(region: &Region, see: &mut impl FnMut(&Linear)) {
    for expr in &region.exprs {
        match expr {
            Expr::Load { index, guards, .. } => {
                see(index);
                guards.iter().for_each(|g| see(&g.index));
            }
            Expr::Index { index } | Expr::Uniform { index, .. } => see(index),
            Expr::Holds { guard } => see(&guard.index),
            Expr::Const { .. }
            | Expr::Size { .. }
            | Expr::Apply { .. }
            | Expr::Cast { .. }
            | Expr::FoldIn { .. } => {}
        }
    }
}

pub(crate) fn visit_mut(statement: &mut Statement, change: &mut impl FnMut(&mut Linear)) {
    let mut in_region = |region: &mut Region| {
        for expr in &mut region.exprs {
            match expr {
                Expr::Load { index, guards, .. } => {
                    change(index);
                    guards.iter_mut().for_each(|g| change(&mut g.index));
                }
                Expr::Index { index } | Expr::Uniform { index, .. } => change(index),
                Expr::Holds { guard } => change(&mut guard.index),
                Expr::Const { .. }
                | Expr::Size { .. }
                | Expr::Apply { .. }
                | Expr::Cast { .. }
                | Expr::FoldIn { .. } => {}
            }
        }
    };
    match statement {
        Statement::Map { region, stores, .. } => {
            in_region(region);
            stores.iter_mut().for_each(|s| change(&mut s.index));
        }
        Statement::Reduce { region, store, .. }
        | Statement::Cumulative { region, store, .. }
        | Statement::ScatterAdd { region, store, .. } => {
            in_region(region);
            change(&mut store.index);
        }
        Statement::Loop { .. } | Statement::Product { .. } => {}
    }
}

/// Elements that a point of the statement's `loops` stands for.
fn inner_elements(kernel: &KernelBuilder, statement: &Statement) -> u64 {
    let count = |loops: &[Loop]| {
        loops.iter().map(|l| elements(kernel, l).unwrap_or(UNKNOWN)).fold(1u64, u64::saturating_mul)
    };
    match statement {
        Statement::Reduce { over, .. } => count(over),
        Statement::Cumulative { along, .. } => count(std::slice::from_ref(along)),
        Statement::Map { .. }
        | Statement::ScatterAdd { .. }
        | Statement::Product { .. }
        | Statement::Loop { .. } => 1,
    }
}

fn elements(kernel: &KernelBuilder, over: &Loop) -> Option<u64> {
    match over.extent {
        Extent::Whole(dim) => kernel.size(dim).known(),
        Extent::Tile { tile, .. } => Some(tile),
    }
}

/// Whether what is combined lies row by row in memory: more of it is contiguous along the last loop of results than along
/// the last one that vanishes.
fn combines_rows(statement: &Statement) -> bool {
    let Statement::Reduce { loops, over, region, .. } = statement else { return false };
    let contiguous = |along: Option<&Loop>| {
        let Some(along) = along else { return 0 };
        let steps = |index: &Linear| {
            let one = |t: &Term| t.coefficient == 1 && t.dim == Dim::Known(1);
            index.terms.iter().any(|t| t.atom == Atom::Var(along.var) && one(t))
        };
        region.exprs.iter().filter(|e| matches!(e, Expr::Load { index, .. } if steps(index))).count()
    };
    contiguous(loops.last()) > contiguous(over.last())
}

/// Moves the outer part of a statement's loops into a grid.
pub(crate) fn into_grid(
    kernel: &mut KernelBuilder,
    mut statement: Statement,
    target: u64,
) -> (Vec<Loop>, Statement) {
    let mut inside = inner_elements(kernel, &statement).max(1);
    // A row of neighbouring results stays together.
    let target =
        if combines_rows(&statement) { target.max(inside.saturating_mul(RESULT_ROW)) } else { target };
    let Some(loops) = loops_mut(&mut statement, Nest::Loops) else { return (Vec::new(), statement) };
    let mut kept = Vec::new();
    let mut cut = None;
    while let Some(over) = loops.pop() {
        match elements(kernel, &over) {
            Some(n) if inside.saturating_mul(n) <= target => {
                inside *= n.max(1);
                kept.insert(0, over);
            }
            _ => {
                cut = Some(over);
                break;
            }
        }
    }
    let mut grid = std::mem::take(loops);
    let mut moved = None;
    if let Some(over) = cut
        && let Extent::Whole(whole) = over.extent
    {
        let tile = (target / inside).max(1);
        if tile == 1 {
            grid.push(over);
        } else {
            // Whole vectors, where that costs little.
            let tile = if tile > 64 { tile / 16 * 16 } else { tile };
            let index = kernel.var();
            let count = kernel.size(whole).ceil_div(Size::Known(tile));
            let count = kernel.dim(&count);
            grid.push(Loop { var: index, extent: Extent::Whole(count) });
            kept.insert(0, Loop { var: over.var, extent: Extent::Tile { whole, tile, index } });
            moved = Some((over.var, index, tile));
        }
    }
    *loops = kept;
    if let Some((var, index, tile)) = moved {
        visit_mut(&mut statement, &mut |linear| follow(kernel, linear, var, index, tile));
    }
    (grid, statement)
}

/// `var` now counts from the start of tile number `index`.
pub(crate) fn follow(kernel: &mut KernelBuilder, linear: &mut Linear, var: Var, index: Var, tile: u64) {
    let mut extra = Linear::zero();
    for term in &mut linear.terms {
        match &mut term.atom {
            Atom::Var(v) if *v == var => {
                let whole = Linear { terms: vec![Term { atom: Atom::Var(index), ..term.clone() }] };
                kernel.add_scaled(&mut extra, &whole, &Size::Known(tile));
            }
            Atom::Quotient(inside, _) | Atom::Remainder(inside, _) => {
                follow(kernel, inside, var, index, tile)
            }
            Atom::One | Atom::Var(_) | Atom::Data { .. } => {}
        }
    }
    linear.add(&extra);
    canonical(linear);
}
