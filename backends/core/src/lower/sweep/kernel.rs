//! The kernel of sweeps: for each of them a loop over the pieces, one after the other at each point of the grid.

use super::super::Context;
use super::super::builder::KernelBuilder;
use super::super::cut::{self, Cut};
use super::super::frame::view_of;
use super::super::group::{Group, Internal, Scope, local_view, parallel, unit_statements};
use super::super::scan::{self, Steps};
use super::super::settle::Unit;
use super::super::statement::{Site, Tile};
use super::super::view::{Position, View, Whereabouts};
use super::Sweep;
use crate::kernel::{Atom, Dim, Extent, Linear, Loop, Statement, Store, Var};
use carousel_ir::{Axes, Axis, Direction, Node, Op, Size, ValueId};
use std::collections::BTreeMap;

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
    let (mut grid, env) = scan::grid(kernel, outer, &table);
    let tiles: Vec<Tile> =
        group.tiled.iter().flatten().filter_map(|axis| state_tile(cx, kernel, *axis, &mut grid)).collect();
    let site = Site { grid: env, tiles, ..Site::whole(0) };
    let count = kernel.dim(table.size(*piece));
    let loops: Vec<Loop> =
        group.sweeps.iter().map(|_| Loop { var: kernel.var(), extent: Extent::Whole(count) }).collect();
    let (turn, point) = (Axes::new(group.axes.iter().copied()), Axes::new(outer.iter().copied()));
    let results_before = cx.frames[0].results.clone();
    for (sweep, over) in group.sweeps.iter().zip(&loops) {
        for unit in &sweep.units {
            let Unit::Value(value) = &units[*unit] else { continue };
            let (Some(scope), Some(home)) = (internal.values.get(value), view_of(&cx.frames, 0, *value))
            else {
                continue;
            };
            let local = match scope {
                Scope::Turn => {
                    let tile = tile(cx, &units[*unit], group, over.var);
                    let tiles: Vec<Tile> = site.tiles.iter().copied().chain(tile).collect();
                    local_view(cx, &home, &turn, &tiles)
                }
                Scope::Point => local_view(cx, &home, &point, &site.tiles),
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
        let home = cx.frames[0].results[result].clone();
        let long = cut::of(&group.cuts, &home.order());
        let tile = long.map(|cut| of_turn(cut, loops[0].var));
        let tiles: Vec<Tile> = site.tiles.iter().copied().chain(tile).collect();
        let local = local_view(cx, &home, common, &tiles);
        cx.frames[0].results.insert(*result, local);
    }
    let mut body = Vec::new();
    for (sweep, over) in group.sweeps.iter().zip(loops) {
        let handed_out = internal.handed_out.iter().map(|result| (*result, results_before[result].clone()));
        let turn = Turn { group, sweep, over, handed_out: handed_out.collect() };
        body.extend(in_turn(cx, kernel, units, &turn, &site));
    }
    if group.tiled.is_some() {
        stored_once(cx, kernel, &mut body, &site.tiles);
    }
    let body = super::super::fuse::fuse(body);
    (grid, super::super::fuse::collapse_all(kernel, body, None))
}

/// The tile that a point has of an axis of states, if that has more than one, with a loop of the grid over them.
fn state_tile(
    cx: &Context<'_>,
    kernel: &mut KernelBuilder,
    axis: Axis,
    grid: &mut Vec<Loop>,
) -> Option<Tile> {
    let (length, size) = (cx.target.state_tile?, cx.frames[0].graph.axes.size(axis).clone());
    if size.known().is_some_and(|n| n <= length) {
        return None;
    }
    let number = kernel.var();
    let count = kernel.dim(&size.clone().ceil_div(Size::Known(length)));
    grid.push(Loop { var: number, extent: Extent::Whole(count) });
    let is_full = size.known().is_some_and(|n| n.is_multiple_of(length));
    Some(Tile { axis, number, length, is_full })
}

/// The turns of a sweep.
struct Turn<'a> {
    group: &'a Group,
    sweep: &'a Sweep,
    /// The loop over pieces.
    over: Loop,
    /// Results that others use as well, and where these find them.
    handed_out: BTreeMap<(ValueId, u32), View>,
}

/// One sweep.
fn in_turn(
    cx: &mut Context<'_>,
    kernel: &mut KernelBuilder,
    units: &[Unit],
    turn: &Turn<'_>,
    site: &Site,
) -> Vec<Statement> {
    let Turn { group, sweep, over, handed_out } = turn;
    let piece = *group.axes.last().expect("sweeps have an axis of pieces");
    let mut steps = Steps::default();
    for unit in &sweep.units {
        let unit = &units[*unit];
        let mut own = Site { grid: site.grid.clone(), tiles: site.tiles.clone(), frame: 0 };
        own.tiles.extend(tile(cx, unit, group, over.var));
        if let Unit::Scan(value) = unit {
            scan_in_turn(cx, kernel, turn, site, *value, &mut steps);
            own.grid.push((piece, Linear::var(over.var, Dim::Known(1))));
            for ((_, index), to) in handed_out.iter().filter(|((scan, _), _)| scan == value) {
                own.tiles.extend(cut::of(&group.cuts, &to.order()).map(|cut| of_turn(cut, over.var)));
                let from = cx.frames[0].results[&(*value, *index)].clone();
                let like = projection(cx, *value, *index);
                steps.step.push(scan::copy_view(cx, kernel, &own, like, &from, to));
            }
            continue;
        }
        own.grid.push((piece, Linear::var(over.var, Dim::Known(1))));
        steps.step.extend(unit_statements(cx, kernel, &own, unit));
    }
    scan::in_loop(cx, kernel, site, steps, *over, sweep.direction)
}

/// The value that stands for a result of a scan.
fn projection(cx: &Context<'_>, scan: ValueId, result: u32) -> ValueId {
    let is_it =
        |node: &Node| matches!(node.op, Op::Proj { index } if index == result && node.operands[0] == scan);
    let found = cx.frames[0].graph.iter().find(|(_, node)| is_it(node));
    found.expect("a result that something reads is projected").0
}

/// A scan over the pieces, or over the steps of each.
fn scan_in_turn(
    cx: &mut Context<'_>,
    kernel: &mut KernelBuilder,
    turn: &Turn<'_>,
    site: &Site,
    value: ValueId,
    steps: &mut Steps,
) {
    let Op::Scan { scan } = &cx.frames[0].graph[value].op else { panic!("not a scan") };
    let (axis, direction) = (scan.axis, scan.direction);
    let Some(cut) = cut::of(&turn.group.cuts, &[axis]) else {
        let Steps { before, step, after } = scan::steps(cx, kernel, site, value, Position::of(turn.over.var));
        steps.before.extend(before);
        steps.step.extend(step);
        steps.after.extend(after);
        return;
    };
    let whole = kernel.dim(cx.frames[0].graph.axes.size(axis));
    let over = Loop { var: kernel.var(), extent: of_turn(cut, turn.over.var).extent(whole) };
    let position = Position { var: over.var, piece: Some((turn.over.var, cut.length)) };
    let Steps { before, step, after } = scan::steps(cx, kernel, site, value, position);
    steps.before.extend(before);
    steps.step.push(Statement::Loop { over, direction, body: step });
    steps.after.extend(after);
}

/// What a turn has of the axis that a unit runs over in pieces.
fn tile(cx: &Context<'_>, unit: &Unit, group: &Group, turn: Var) -> Option<Tile> {
    let own = parallel(cx, unit).unwrap_or_default();
    cut::of(&group.cuts, &own).map(|cut| of_turn(cut, turn))
}

/// What a turn has of an axis that is cut.
fn of_turn(cut: Cut, turn: Var) -> Tile {
    Tile { axis: cut.long, number: turn, length: cut.length, is_full: false }
}

/// What lacks a tiled axis is made by the points of all its tiles; that of the first one alone stores it for others.
fn stored_once(
    cx: &Context<'_>,
    kernel: &mut KernelBuilder,
    statements: &mut Vec<Statement>,
    tiles: &[Tile],
) {
    for statement in std::mem::take(statements) {
        match statement {
            Statement::Loop { over, direction, mut body } => {
                stored_once(cx, kernel, &mut body, tiles);
                statements.push(Statement::Loop { over, direction, body });
            }
            Statement::Map { ref stores, .. }
                if stores.iter().any(|store| is_for_others(cx, kernel, store)) =>
            {
                let mut all = vec![statement.clone()];
                for tile in
                    tiles.iter().filter(|tile| stores.iter().all(|s| !moves_with(&s.index, tile.number)))
                {
                    let extent = Extent::Tile { whole: Dim::Known(1), tile: 1, index: tile.number };
                    let over = Loop { var: kernel.var(), extent };
                    all = vec![Statement::Loop { over, direction: Direction::Forward, body: all }];
                }
                statements.extend(all);
            }
            Statement::Map { .. }
            | Statement::Reduce { .. }
            | Statement::Product { .. }
            | Statement::Cumulative { .. }
            | Statement::ScatterAdd { .. } => statements.push(statement),
        }
    }
}

fn is_for_others(cx: &Context<'_>, kernel: &KernelBuilder, store: &Store) -> bool {
    cx.storages[kernel.storage_of(store.buffer).0 as usize].whereabouts != Whereabouts::Scratch
}

fn moves_with(index: &Linear, var: Var) -> bool {
    index.terms.iter().any(|term| term.atom == Atom::Var(var))
}
