//! Whether a unit reads from its group only what the same grid point has made.
//!
//! Read off the addresses that would be generated: along each common axis the address moves by exactly the stride of
//! what is read, and a constant offset belongs to another axis, as a guard on that axis shows.

use super::Context;
use super::builder::KernelBuilder;
use super::cut::Cut;
use super::frame::{rearranges, view_of};
use super::group::unit_statements;
use super::scan;
use super::settle::Unit;
use super::statement::{Site, Tile};
use super::view::View;
use crate::kernel::{Atom, BufferId, Dim, Expr, Guard, Linear, Loop, Region, Statement, Var};
use carousel_ir::{Axis, Op, Size, ValueId};

/// Common axes of units, and what they cut.
pub(crate) struct Common<'a> {
    pub(crate) axes: &'a [Axis],
    pub(crate) cuts: &'a [Cut],
    /// The axes, of these, to which belonging is asked for: all, but for sweeps, which find all pieces there.
    pub(crate) along: &'a [Axis],
}

/// Whether all that `unit` loads under the views `made` belongs to its own place along the axes asked for; `cut` is what the unit itself runs over.
pub(crate) fn is_own(
    cx: &Context<'_>,
    unit: &Unit,
    common: &Common<'_>,
    cut: Option<Cut>,
    made: &[View],
) -> bool {
    let mut kernel = KernelBuilder::default();
    let (loops, env) = scan::grid(&mut kernel, common.axes, &cx.frames[0].graph.axes);
    let tile = cut.map(|c| {
        let piece = common.axes.iter().position(|a| *a == c.piece).expect("pieces are a common axis");
        Tile { axis: c.long, number: loops[piece].var, length: c.length, is_full: false }
    });
    let site = Site { frame: 0, grid: env, tiles: tile.into_iter().collect() };
    let statements = unit_statements(cx, &mut kernel, &site, unit);
    if let Unit::Value(value) = unit
        && cx.frames[0].products.contains(value)
        && cx.frames[0].graph[*value].operands.iter().any(|o| is_merged(cx, *o, made))
    {
        return false;
    }
    made.iter().all(|view| {
        let buffer = kernel.buffer(view.storage);
        let mut all = true;
        for statement in &statements {
            loads(statement, &mut |from: BufferId, index: &Linear, guards: &[Guard]| {
                all &= from != buffer || belongs(cx, &kernel, view, index, guards, common, &loops);
            });
        }
        all
    })
}

/// Whether a value is a merge of what the group makes. A product needs strides of it, and where one of the merged axes is
/// common, a grid point's part has none.
fn is_merged(cx: &Context<'_>, value: ValueId, made: &[View]) -> bool {
    let frame = &cx.frames[0];
    let Some(view) = view_of(&cx.frames, 0, value) else { return false };
    let (mut at, mut merged) = (value, false);
    while frame.home[at.index()].is_none() && rearranges(&frame.graph[at].op) {
        merged |= matches!(frame.graph[at].op, Op::Merge { .. });
        at = frame.graph[at].operands[0];
    }
    merged && made.iter().any(|m| m.storage == view.storage)
}

/// Calls `see` with every address that is loaded from.
fn loads(statement: &Statement, see: &mut impl FnMut(BufferId, &Linear, &[Guard])) {
    let mut region = |region: &Region| {
        for expr in &region.exprs {
            if let Expr::Load { buffer, index, guards } = expr {
                see(*buffer, index, guards);
            }
        }
    };
    match statement {
        Statement::Loop { body, .. } => body.iter().for_each(|s| loads(s, see)),
        Statement::Map { region: r, .. }
        | Statement::Reduce { region: r, .. }
        | Statement::Cumulative { region: r, .. }
        | Statement::ScatterAdd { region: r, .. } => region(r),
        Statement::Product { a, b, .. } => {
            see(a.buffer, &a.base, &[]);
            see(b.buffer, &b.base, &[]);
        }
    }
}

fn belongs(
    cx: &Context<'_>,
    kernel: &KernelBuilder,
    view: &View,
    index: &Linear,
    guards: &[Guard],
    common: &Common<'_>,
    loops: &[Loop],
) -> bool {
    let table = &cx.frames[0].graph.axes;
    let linear = index.terms.iter().all(|t| matches!(t.atom, Atom::Var(_) | Atom::One));
    let along = |(axis, over): (&Axis, &Loop)| {
        if *table.size(*axis) == Size::Known(1) || !common.along.contains(axis) {
            return true;
        }
        if view.order().contains(axis) {
            return moves_by(kernel, index, over.var, &view.stride(*axis));
        }
        let Some(cut) = common.cuts.iter().find(|c| c.piece == *axis && view.order().contains(&c.long))
        else {
            return false;
        };
        let stride = view.stride(cut.long);
        moves_by(kernel, index, over.var, &Size::product([Size::Known(cut.length), stride.clone()]))
            && stays_within(kernel, index, &stride, cut.length, loops)
    };
    linear
        && common.axes.iter().zip(loops).all(along)
        && constant_is_of_another_axis(cx, kernel, view, index, guards, common, loops)
}

/// Whether `var` occurs exactly once, with this stride.
fn moves_by(kernel: &KernelBuilder, index: &Linear, var: Var, stride: &Size) -> bool {
    let mut terms = index.terms.iter().filter(|t| t.atom == Atom::Var(var));
    match (terms.next(), terms.next()) {
        (Some(t), None) => u64::try_from(t.coefficient)
            .is_ok_and(|c| Size::product([Size::Known(c), kernel.size(t.dim)]) == *stride),
        _ => false,
    }
}

/// Whether what moves by `stride` inside of the grid point does so less than `length` times.
fn stays_within(kernel: &KernelBuilder, index: &Linear, stride: &Size, length: u64, loops: &[Loop]) -> bool {
    let inner = index.terms.iter().filter_map(|t| match t.atom {
        Atom::Var(var) if loops.iter().all(|l| l.var != var) => Some((var, t)),
        Atom::Var(_) | Atom::One | Atom::Quotient(..) | Atom::Remainder(..) | Atom::Data { .. } => None,
    });
    let same = inner.filter(|(_, t)| {
        u64::try_from(t.coefficient)
            .is_ok_and(|c| Size::product([Size::Known(c), kernel.size(t.dim)]) == *stride)
    });
    let ranges: Vec<Option<u64>> = same.map(|(var, _)| kernel.range(var)).collect();
    matches!(ranges.as_slice(), [] | [Some(_)]) && ranges.iter().flatten().all(|n| *n <= length)
}

/// Whether a constant offset, if there is one, is the one that a guard keeps within an axis that is not common, or within the
/// common piece of one.
fn constant_is_of_another_axis(
    cx: &Context<'_>,
    kernel: &KernelBuilder,
    view: &View,
    index: &Linear,
    guards: &[Guard],
    common: &Common<'_>,
    loops: &[Loop],
) -> bool {
    let constant = |linear: &Linear| -> Option<i64> {
        let ones: Vec<_> = linear.terms.iter().filter(|t| t.atom == Atom::One).collect();
        match ones.as_slice() {
            [] => Some(0),
            [one] if one.dim == Dim::Known(1) => Some(one.coefficient),
            _ => None,
        }
    };
    let is_of_grid =
        |linear: &Linear| linear.terms.iter().any(|t| loops.iter().any(|l| t.atom == Atom::Var(l.var)));
    match constant(index) {
        Some(0) => guards.iter().all(|g| !is_of_grid(&g.index) || constant(&g.index) == Some(0)),
        Some(offset) => {
            let moved: Vec<&Guard> = guards.iter().filter(|g| constant(&g.index) != Some(0)).collect();
            let [guard] = moved.as_slice() else { return false };
            let by = constant(&guard.index).filter(|_| !is_of_grid(&guard.index));
            by.is_some_and(|by| {
                view.strides.iter().any(|(axis, stride)| {
                    // Of a cut axis the guard keeps within the piece.
                    let size = match common.cuts.iter().find(|c| c.long == *axis) {
                        Some(cut) => Size::Known(cut.length),
                        None => cx.frames[0].graph.axes.size(*axis).clone(),
                    };
                    let is_other = !common.axes.contains(axis) && kernel.size(guard.bound) == size;
                    let moves = guard.index.terms.iter().all(|t| match t.atom {
                        Atom::Var(var) => t.coefficient == 1 && moves_by(kernel, index, var, stride),
                        Atom::One => true,
                        Atom::Quotient(..) | Atom::Remainder(..) | Atom::Data { .. } => false,
                    });
                    let stride = stride.known().and_then(|s| i64::try_from(s).ok());
                    is_other && moves && stride.is_some_and(|s| s.checked_mul(by) == Some(offset))
                })
            })
        }
        None => false,
    }
}
