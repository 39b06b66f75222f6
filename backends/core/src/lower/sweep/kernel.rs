//! The kernel of sweeps: for each of them a loop over the pieces, one after the other at each point of the grid.

use super::super::Context;
use super::super::builder::KernelBuilder;
use super::super::cut;
use super::super::frame::view_of;
use super::super::group::{Group, Internal, Scope, local_view, parallel, unit_statements};
use super::super::scan::{self, Steps};
use super::super::settle::Unit;
use super::super::statement::Site;
use super::Sweep;
use crate::kernel::{Dim, Extent, Linear, Loop, Statement, Var};
use carousel_ir::{Axes, Axis, ValueId};

/// The grid and body of sweeps.
pub(crate) fn kernel(
    cx: &mut Context<'_>,
    kernel: &mut KernelBuilder,
    units: &[Unit],
    group: &Group,
    internal: &Internal,
) -> (Vec<Loop>, Vec<Statement>) {
    let table = cx.frames[0].graph.axes.clone();
    let (piece, outer) = group.axes.split_last().expect("sweeps have an axis of pieces");
    let (grid, env) = scan::grid(kernel, outer, &table);
    let site = Site { grid: env, ..Site::whole(0) };
    let count = kernel.dim(table.size(*piece));
    let loops: Vec<Loop> =
        group.sweeps.iter().map(|_| Loop { var: kernel.var(), extent: Extent::Whole(count) }).collect();
    let (turn, point) = (Axes::new(group.axes.iter().copied()), Axes::new(outer.iter().copied()));
    for (sweep, over) in group.sweeps.iter().zip(&loops) {
        for unit in &sweep.units {
            let Unit::Value(value) = &units[*unit] else { continue };
            let (Some(scope), Some(home)) = (internal.values.get(value), view_of(&cx.frames, 0, *value))
            else {
                continue;
            };
            let local = match scope {
                Scope::Turn => local_view(cx, &home, &turn, tile(cx, &units[*unit], group, over.var)),
                Scope::Point => local_view(cx, &home, &point, None),
            };
            cx.frames[0].home[value.index()] = Some(local);
        }
    }
    let mut results: Vec<(&(ValueId, u32), &Scope)> = internal.results.iter().collect();
    results.sort_by_key(|(result, _)| **result);
    for (result, scope) in results {
        let common = match scope {
            Scope::Turn => &turn,
            Scope::Point => &point,
        };
        let local = local_view(cx, &cx.frames[0].results[result].clone(), common, None);
        cx.frames[0].results.insert(*result, local);
    }
    let mut body = Vec::new();
    for (sweep, over) in group.sweeps.iter().zip(loops) {
        body.extend(in_turn(cx, kernel, units, group, sweep, over, &site));
    }
    let body = super::super::fuse::fuse(body);
    (grid, super::super::fuse::collapse_all(kernel, body))
}

/// One sweep.
fn in_turn(
    cx: &mut Context<'_>,
    kernel: &mut KernelBuilder,
    units: &[Unit],
    group: &Group,
    sweep: &Sweep,
    over: Loop,
    site: &Site,
) -> Vec<Statement> {
    let piece = *group.axes.last().expect("sweeps have an axis of pieces");
    let mut steps = Steps::default();
    for unit in &sweep.units {
        let unit = &units[*unit];
        if let Unit::Scan(value) = unit {
            let Steps { before, step, after } = scan::steps(cx, kernel, site, *value, over);
            steps.before.extend(before);
            steps.step.extend(step);
            steps.after.extend(after);
            continue;
        }
        let mut site = Site { tile: tile(cx, unit, group, over.var), ..site.clone() };
        site.grid.push((piece, Linear::var(over.var, Dim::Known(1))));
        steps.step.extend(unit_statements(cx, kernel, &site, unit));
    }
    scan::in_loop(cx, kernel, site, steps, over, sweep.direction)
}

/// What a turn has of the axis that a unit runs over in pieces.
fn tile(cx: &Context<'_>, unit: &Unit, group: &Group, turn: Var) -> Option<(Axis, Var, u64)> {
    let own = parallel(cx, unit).unwrap_or_default();
    cut::of(&group.cuts, &own).map(|cut| (cut.long, turn, cut.length))
}
