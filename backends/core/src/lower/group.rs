//! Grouping of a function's units into kernels.
//!
//! Neighbours in the order of work share a kernel if the later one uses what the earlier ones make, and all of them run
//! point by point over common axes: a grid point then computes a row (or a few) of all of them while it is in cache.
//! What only the group uses lives in scratch. Whether a use is point by point is read off the addresses that would be
//! generated: along each common axis the address moves by exactly the stride, and by nothing else.
//!
//! Products, scatters, scans and calls stay alone.

use super::Context;
use super::builder::KernelBuilder;
use super::frame::{Start, view_of};
use super::settle::Unit;
use super::statement::{self, Site};
use super::view::{StorageId, View, Whereabouts};
use super::{scan, schedule};
use crate::kernel::{Atom, Expr, Extent, Linear, Loop, Region, Statement, Var};
use carousel_ir::{Axes, Axis, Op, Size, ValueId};
use std::collections::HashSet;

/// How many elements an axis of unknown size is taken for.
const UNKNOWN: u64 = 256;
/// A group has at most that many units.
const MOST_UNITS: usize = 24;

/// Units that share a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Their numbers, in order.
    pub(crate) units: Vec<usize>,
    /// The axes that they have in common, outermost first.
    pub(crate) axes: Vec<Axis>,
}

/// The units, in this order, in groups.
pub(crate) fn groups(cx: &Context<'_>, units: &[Unit], order: &[usize]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for &unit in order {
        let own = Group { units: vec![unit], axes: parallel(cx, &units[unit]).unwrap_or_default() };
        let joined = groups.last().and_then(|last| join(cx, units, last, unit));
        match (joined, groups.last_mut()) {
            (Some(joined), Some(last)) => *last = joined,
            _ => groups.push(own),
        }
    }
    groups
}

/// The axes over which a unit's points are independent, in the order of its memory; `None` if it stays alone.
fn parallel(cx: &Context<'_>, unit: &Unit) -> Option<Vec<Axis>> {
    let frame = &cx.frames[0];
    let (value, view) = match unit {
        Unit::Value(value) => (*value, frame.home[value.index()].clone()?),
        Unit::Copy(value, view) => (*value, view.clone()),
        Unit::Scan(_) | Unit::Call { .. } => return None,
    };
    if matches!(unit, Unit::Value(_)) {
        if frame.products.contains(&value) {
            return None;
        }
        let op = &frame.graph[value].op;
        if matches!(op, Op::ScatterAdd { .. }) {
            return None;
        }
        if let Op::CumSum { axis, .. } | Op::CumMax { axis, .. } = op {
            return Some(view.order().into_iter().filter(|a| a != axis).collect());
        }
    }
    Some(view.order())
}

fn estimate(cx: &Context<'_>, axes: impl Iterator<Item = Axis>) -> u64 {
    let table = &cx.frames[0].graph.axes;
    axes.map(|a| table.size(a).known().unwrap_or(UNKNOWN)).fold(1, u64::saturating_mul)
}

/// All axes that a unit runs over.
fn running(cx: &Context<'_>, unit: &Unit) -> Axes {
    let graph = cx.frames[0].graph;
    match unit {
        Unit::Value(value) | Unit::Copy(value, _) | Unit::Scan(value) | Unit::Call { value, .. } => {
            let node = &graph[*value];
            let own = node.types.first().map(|t| t.axes.clone()).unwrap_or_default();
            if let (Unit::Value(_), Op::Sum { axes } | Op::ReduceMax { axes } | Op::Dot { axes }) =
                (unit, &node.op)
            {
                return own.union(axes);
            }
            own
        }
    }
}

fn join(cx: &Context<'_>, units: &[Unit], group: &Group, unit: usize) -> Option<Group> {
    let own = Axes::new(parallel(cx, &units[unit])?);
    if group.units.len() >= MOST_UNITS || group.units.iter().any(|u| parallel(cx, &units[*u]).is_none()) {
        return None;
    }
    let axes: Vec<Axis> = group.axes.iter().copied().filter(|a| own.contains(*a)).collect();
    if axes.is_empty() || estimate(cx, axes.iter().copied()) < cx.target.group_points {
        return None;
    }
    // Common axes that were given up must not have been what the group's parallelism lay in: a row must fit a point.
    let mut all = group.units.clone();
    all.push(unit);
    let common = Axes::new(axes.iter().copied());
    let row = |u: &usize| estimate(cx, running(cx, &units[*u]).without(&common).iter());
    if all.iter().any(|u| row(u) > 4 * cx.target.tile_elements) {
        return None;
    }
    // Nor may a point's part be scattered in memory: what is innermost there is a common axis only if all are.
    let scattered = |u: &usize| {
        let order = parallel(cx, &units[*u]).unwrap_or_default();
        order.last().is_some_and(|last| common.contains(*last)) && !Axes::new(order).is_subset(&common)
    };
    if all.iter().any(scattered) {
        return None;
    }
    let made: Vec<View> = all.iter().filter_map(|u| written(cx, &units[*u])).collect();
    let mut shares = false;
    for &user in &all {
        for (storage, pointwise) in internal_loads(cx, &units[user], &axes, &made) {
            if !pointwise {
                return None;
            }
            shares |= user == unit && written(cx, &units[unit]).is_none_or(|v| v.storage != storage);
        }
    }
    shares.then_some(Group { units: all, axes })
}

fn written(cx: &Context<'_>, unit: &Unit) -> Option<View> {
    match unit {
        Unit::Value(value) => cx.frames[0].home[value.index()].clone(),
        Unit::Copy(_, view) => Some(view.clone()),
        Unit::Scan(_) | Unit::Call { .. } => None,
    }
}

/// Loads of a unit from what the group makes, each with whether it is at the grid point's own part.
fn internal_loads(cx: &Context<'_>, unit: &Unit, axes: &[Axis], made: &[View]) -> Vec<(StorageId, bool)> {
    let mut kernel = KernelBuilder::default();
    let table = &cx.frames[0].graph.axes;
    let (loops, env) = scan::grid(&mut kernel, axes, table);
    let site = Site { frame: 0, grid: env, tile: None };
    let statements = unit_statements(cx, &mut kernel, &site, unit);
    let mut found = Vec::new();
    for view in made {
        let buffer = kernel.buffer(view.storage);
        let mut see = |region: &Region| {
            for expr in &region.exprs {
                let Expr::Load { buffer: from, index, guards } = expr else { continue };
                if *from == buffer {
                    let own = guards.is_empty()
                        && axes.iter().zip(&loops).all(|(axis, l)| {
                            moves_by(&kernel, index, l.var, &view.stride(*axis))
                                || *table.size(*axis) == Size::Known(1)
                        })
                        && index.terms.iter().all(|t| matches!(t.atom, Atom::Var(_)));
                    found.push((view.storage, own));
                }
            }
        };
        for statement in &statements {
            match statement {
                Statement::Map { region, .. }
                | Statement::Reduce { region, .. }
                | Statement::Cumulative { region, .. }
                | Statement::ScatterAdd { region, .. } => see(region),
                Statement::Loop { .. } | Statement::Product { .. } => {
                    panic!("products and loops are not grouped")
                }
            }
        }
    }
    found
}

/// Whether `var` occurs exactly once, with this stride.
fn moves_by(kernel: &KernelBuilder, index: &Linear, var: Var, stride: &Size) -> bool {
    let mut terms = index.terms.iter().filter(|t| t.atom == Atom::Var(var));
    let (first, second) = (terms.next(), terms.next());
    match (first, second) {
        (Some(t), None) => u64::try_from(t.coefficient)
            .is_ok_and(|c| Size::product([Size::Known(c), kernel.size(t.dim)]) == *stride),
        _ => false,
    }
}

/// The statements of a unit that is no scan or call.
pub(crate) fn unit_statements(
    cx: &Context<'_>,
    kernel: &mut KernelBuilder,
    site: &Site,
    unit: &Unit,
) -> Vec<Statement> {
    match unit {
        Unit::Value(value) => statement::value(cx, kernel, site, *value),
        Unit::Copy(value, view) => vec![statement::copy(cx, kernel, site, *value, Start::Value, view)],
        Unit::Scan(_) | Unit::Call { .. } => panic!("scans and calls are no statements"),
    }
}

/// The grid and body of a group of several units. `internal` are the values that nothing else uses.
pub(crate) fn kernel(
    cx: &mut Context<'_>,
    kernel: &mut KernelBuilder,
    units: &[Unit],
    group: &Group,
    internal: &HashSet<ValueId>,
) -> (Vec<Loop>, Vec<Statement>) {
    if let Some(flat) = flat(cx, kernel, units, group, internal) {
        return flat;
    }
    let table = cx.frames[0].graph.axes.clone();
    let common = Axes::new(group.axes.iter().copied());
    let inner = group
        .units
        .iter()
        .map(|u| estimate(cx, running(cx, &units[*u]).without(&common).iter()))
        .max()
        .unwrap_or(1);
    let fitting = (cx.target.tile_elements / inner.max(1)).max(1);
    let (last, outer) = group.axes.split_last().expect("a group has common axes");
    let (mut grid, mut env) = scan::grid(kernel, outer, &table);
    let number = kernel.var();
    let whole = table.size(*last).clone();
    let tile = whole.known().map_or(fitting, |n| fitting.min(n.max(1)));
    let tiled = tile > 1;
    let count = kernel.dim(&whole.ceil_div(Size::Known(tile)));
    grid.push(Loop { var: number, extent: Extent::Whole(count) });
    if !tiled {
        env.push((*last, Linear::var(number, crate::kernel::Dim::Known(1))));
    }
    let site = Site { frame: 0, grid: env, tile: tiled.then_some((*last, number, tile)) };
    for unit in &group.units {
        let Unit::Value(value) = &units[*unit] else { continue };
        if internal.contains(value)
            && let Some(home) = view_of(&cx.frames, 0, *value)
        {
            let local = local_view(cx, &home, &common, tiled.then_some((*last, number, tile)));
            cx.frames[0].home[value.index()] = Some(local);
        }
    }
    let mut body = Vec::new();
    for unit in &group.units {
        body.extend(unit_statements(cx, kernel, &site, &units[*unit]));
    }
    let body = super::fuse::fuse(body);
    (grid, super::fuse::collapse_all(kernel, body))
}

/// A group of maps over the same loops, as one map with the schedule of a single statement.
fn flat(
    cx: &mut Context<'_>,
    kernel: &mut KernelBuilder,
    units: &[Unit],
    group: &Group,
    internal: &HashSet<ValueId>,
) -> Option<(Vec<Loop>, Vec<Statement>)> {
    let common = Axes::new(group.axes.iter().copied());
    if group.units.iter().any(|u| running(cx, &units[*u]) != common) {
        return None;
    }
    let mut trial = KernelBuilder::default();
    let emit = |cx: &Context<'_>, kernel: &mut KernelBuilder| {
        let site = Site::whole(0);
        let all = group.units.iter().flat_map(|u| unit_statements(cx, kernel, &site, &units[*u]));
        super::fuse::fuse(all.collect())
    };
    if !matches!(emit(cx, &mut trial).as_slice(), [Statement::Map { .. }]) {
        return None;
    }
    // One map hands internal values over: their memory, a scratch of nominal size, is never touched.
    for value in internal {
        if let Some(home) = cx.frames[0].home[value.index()].clone() {
            let old = cx.storages[home.storage.0 as usize].clone();
            let storage = cx.storage(old.dtype, Size::Known(0), Whereabouts::Scratch, old.name);
            cx.frames[0].home[value.index()] = Some(View { storage, ..home });
        }
    }
    let statements = emit(cx, kernel);
    Some(alone(cx, kernel, statements))
}

/// Scratch for a grid point's part of a value.
fn local_view(cx: &mut Context<'_>, home: &View, common: &Axes, tile: Option<(Axis, Var, u64)>) -> View {
    let table = cx.frames[0].graph.axes.clone();
    let mut order: Vec<(Axis, Size)> = Vec::new();
    for axis in home.order() {
        match tile {
            Some((tiled, _, n)) if tiled == axis => order.push((axis, Size::Known(n))),
            _ if common.contains(axis) => {}
            _ => order.push((axis, table.size(axis).clone())),
        }
    }
    let sizes: Vec<Size> = order.iter().map(|(_, s)| s.clone()).collect();
    let strides: Vec<(Axis, Size)> =
        order.iter().map(|(a, _)| *a).zip(super::view::row_major(&sizes)).collect();
    let old = &cx.storages[home.storage.0 as usize];
    let (dtype, name) = (old.dtype, old.name.clone());
    let storage = cx.storage(dtype, Size::product(sizes), Whereabouts::Scratch, name);
    let mut view = View { storage, offset: Size::Known(0), moves: Vec::new(), strides };
    if let Some((axis, number, n)) = tile {
        // Indices count from the start of the axis, scratch from the start of the tile.
        let stride = view.stride(axis);
        view.moves.push((number, -(n as i64), stride));
    }
    view
}

/// One statement with its own schedule.
pub(crate) fn alone(
    cx: &Context<'_>,
    kernel: &mut KernelBuilder,
    statements: Vec<Statement>,
) -> (Vec<Loop>, Vec<Statement>) {
    let mut statements = super::fuse::collapse_all(kernel, super::fuse::fuse(statements));
    match (statements.pop(), statements.is_empty()) {
        (Some(one), true) => {
            let (grid, one) = schedule::into_grid(kernel, one, cx.target.tile_elements);
            (grid, vec![one])
        }
        (Some(last), false) => {
            statements.push(last);
            (Vec::new(), statements)
        }
        (None, _) => (Vec::new(), statements),
    }
}
