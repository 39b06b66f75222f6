//! States apart: the scans over the pieces of a sequence, for machines with many small blocks.
//!
//! What reads the states needs nothing but them, and can do all pieces at the same time; only the states go through pieces in
//! turn. Their kernel has a tile of each state to a point, and makes for itself what a piece writes to it: the products
//! behind the scans, and what is cheap behind those. Others that need the same make it again.
//!
//! Invariant: within a turn a unit reads of the group only what the same turn and the same tile have made. A point makes
//! whole what lacks a tiled axis; see [`super::kernel`] for who stores it.

use super::super::Context;
use super::super::cut::{self, Cut};
use super::super::frame::{Origin, Start, origin, reads, view_of};
use super::super::group::{Group, estimate, is_product, parallel, running, written};
use super::super::own::{self, Common};
use super::super::scan;
use super::super::settle::{Unit, stable_order, unit_storages, unit_writes};
use super::super::view::View;
use super::{LARGEST_STATE, MOST_UNITS, Sweep, moves_along};
use carousel_ir::{Axes, Axis, Op, Scan, Size, ValueId};
use petgraph::algo::has_path_connecting;
use petgraph::graph::{DiGraph, NodeIndex};

/// The groups of states, in order. Units of which others need the values as well are doubled.
pub(crate) fn apart(cx: &Context<'_>, units: &mut Vec<Unit>, flow: &mut DiGraph<(), ()>) -> Vec<Group> {
    let Some(tile) = cx.target.state_tile else { return Vec::new() };
    let cuts = cut::cuts(cx.frames[0].graph);
    let mut groups: Vec<Group> = Vec::new();
    for scans in together(cx, units, flow, &cuts) {
        let all = Apart { cx, units, flow, cuts: &cuts, tile }.group(&scans);
        match all {
            Some(group) => groups.push(own_units(cx, units, flow, group)),
            None => {
                for scan in scans {
                    if let Some(group) = (Apart { cx, units, flow, cuts: &cuts, tile }).group(&[scan]) {
                        groups.push(own_units(cx, units, flow, group));
                    }
                }
            }
        }
    }
    groups
}

fn scan_of<'m>(cx: &Context<'m>, unit: &Unit) -> Option<(ValueId, &'m Scan)> {
    let Unit::Scan(value) = unit else { return None };
    let Op::Scan { scan } = &cx.frames[0].graph[*value].op else { return None };
    Some((*value, scan))
}

/// The scans over pieces, those together that do not wait for each other.
fn together(cx: &Context<'_>, units: &[Unit], flow: &DiGraph<(), ()>, cuts: &[Cut]) -> Vec<Vec<usize>> {
    let mut sets: Vec<Vec<usize>> = Vec::new();
    let node = |unit: usize| NodeIndex::new(unit);
    for unit in stable_order(flow) {
        let Some((_, scan)) = scan_of(cx, &units[unit]) else { continue };
        let is_over_pieces = cuts.iter().any(|cut| cut.piece == scan.axis)
            && *cx.frames[0].graph.axes.size(scan.axis) != Size::Known(1);
        if !is_over_pieces {
            continue;
        }
        let waits = |other: &usize| has_path_connecting(flow, node(*other), node(unit), None);
        let like = |other: &usize| {
            scan_of(cx, &units[*other])
                .is_some_and(|(_, o)| o.axis == scan.axis && o.direction == scan.direction)
        };
        let last = sets.iter().rposition(|set| set.iter().any(waits)).map_or(0, |at| at + 1);
        match sets[last..].iter_mut().find(|set| set.iter().all(like)) {
            Some(set) => set.push(unit),
            None => sets.push(vec![unit]),
        }
    }
    sets
}

/// Gives a group its own units: those that others need as well, or the caller, are doubled.
fn own_units(cx: &Context<'_>, units: &mut Vec<Unit>, flow: &mut DiGraph<(), ()>, mut group: Group) -> Group {
    let outputs = &cx.frames[0].graph.outputs;
    for at in (0..group.units.len()).rev() {
        let unit = group.units[at];
        let users: Vec<NodeIndex> = flow.neighbors(NodeIndex::new(unit)).collect();
        let (inside, outside): (Vec<NodeIndex>, Vec<NodeIndex>) =
            users.into_iter().partition(|user| group.units.contains(&user.index()));
        let is_output = matches!(units[unit], Unit::Value(value) if outputs.iter().any(|o| o.value == value));
        if matches!(units[unit], Unit::Scan(_)) || outside.is_empty() && !inside.is_empty() && !is_output {
            continue;
        }
        units.push(units[unit].clone());
        let double = flow.add_node(());
        let before: Vec<NodeIndex> =
            flow.neighbors_directed(NodeIndex::new(unit), petgraph::Incoming).collect();
        before.into_iter().for_each(|one| {
            flow.update_edge(one, double, ());
        });
        for user in inside {
            flow.update_edge(double, user, ());
            if let Some(edge) = flow.find_edge(NodeIndex::new(unit), user) {
                flow.remove_edge(edge);
            }
        }
        group.units[at] = double.index();
    }
    group.sweeps.iter_mut().for_each(|sweep| sweep.units.clone_from(&group.units));
    group
}

struct Apart<'a, 'm> {
    cx: &'a Context<'m>,
    units: &'a [Unit],
    flow: &'a DiGraph<(), ()>,
    /// All cuts of the graph.
    cuts: &'a [Cut],
    /// Elements of a tile along an axis.
    tile: u64,
}

impl Apart<'_, '_> {
    /// The scans with what belongs to them, if that is right.
    fn group(&self, scans: &[usize]) -> Option<Group> {
        let (cx, table) = (self.cx, &self.cx.frames[0].graph.axes);
        let (_, first) = scan_of(cx, &self.units[*scans.first()?])?;
        let (piece, direction) = (first.axis, first.direction);
        let cuts: Vec<Cut> = self.cuts.iter().filter(|cut| cut.piece == piece).copied().collect();
        // Rows and columns of products are cut into tiles: the last axis that one factor of it lacks. If there are no products,
        // the last of all. A point has one place of each other axis.
        let (mut all, mut common, mut tiled) = (Axes::none(), None::<Axes>, Axes::none());
        let last = |axes: Axes| axes.iter().last();
        for unit in scans {
            let (value, _) = scan_of(cx, &self.units[*unit])?;
            let (axes, shared) = scan::separable(cx, 0, value);
            last(axes.intersection(&shared)).into_iter().for_each(|axis| tiled.insert(axis));
            all = all.union(&axes);
            common = Some(common.map_or_else(|| axes.clone(), |common| common.intersection(&axes)));
        }
        let common = common?;
        let mut members = self.behind(scans, &all, piece, &cuts);
        for unit in &members {
            let Unit::Value(value) = &self.units[*unit] else { continue };
            let node = &cx.frames[0].graph[*value];
            let [a, b] = node.operands.as_slice() else { continue };
            if is_product(cx, &self.units[*unit]) {
                let [a, b] = [a, b].map(|x| &cx.frames[0].graph.ty(*x).axes);
                let sides = [a.without(b), b.without(a)].map(|side| last(side.intersection(&all)));
                sides.into_iter().flatten().for_each(|axis| tiled.insert(axis));
            }
        }
        if tiled.is_empty() {
            last(common.clone()).into_iter().for_each(|axis| tiled.insert(axis));
        }
        let outer = common.without(&tiled);
        // What only some of the states have is whole at a point, or a tile.
        let tiled: Vec<Axis> = all.intersection(&tiled).iter().collect();
        let long = |axes: &Axes| Axes::new(axes.iter().filter(|axis| *table.size(*axis) != Size::Known(1)));
        // Of the scans over steps, those that go along, with a state of a few numbers.
        members.retain(|unit| {
            scans.contains(unit)
                || scan_of(cx, &self.units[*unit]).is_none_or(|(value, scan)| {
                    let axes = scan::separable(cx, 0, value).0;
                    let states = scan.body.inputs.iter().take(scan.states as usize);
                    scan.direction == direction
                        && outer.is_subset(&axes)
                        && states.into_iter().all(|state| long(&state.ty.axes).is_subset(&outer))
                })
        });
        let axes: Vec<Axis> = outer.iter().chain([piece]).collect();
        let side = |axis: Axis| table.size(axis).known().map_or(self.tile, |n| n.min(self.tile));
        let fits = |state: &carousel_ir::Input| {
            let rest = state.ty.axes.without(&outer);
            let (tiles, rest): (Vec<Axis>, Vec<Axis>) = rest.iter().partition(|axis| tiled.contains(axis));
            let elements =
                tiles.into_iter().map(side).fold(estimate(cx, rest.into_iter()), u64::saturating_mul);
            elements <= LARGEST_STATE
        };
        let group = Group {
            units: members.clone(),
            axes,
            cuts,
            sweeps: vec![Sweep { direction, units: members }],
            tiled: Some(tiled.clone()),
        };
        let is_right = group.units.len() <= MOST_UNITS
            && scans.iter().all(|unit| {
                scan_of(cx, &self.units[*unit]).is_some_and(|(value, scan)| {
                    let own = scan::separable(cx, 0, value).0;
                    let mut axes =
                        scan.body.nodes.iter().flat_map(|node| &node.types).flat_map(|ty| ty.axes.iter());
                    scan.body.inputs.iter().take(scan.states as usize).all(&fits)
                        && axes.all(|axis| own.contains(axis) || !tiled.contains(&axis))
                })
            })
            && group.units.iter().all(|unit| self.is_own(&group, *unit));
        is_right.then_some(group)
    }

    /// The scans and what is made for them alone at each piece, in order: products that they read, and behind these what takes
    /// a few operations for each element of a piece.
    fn behind(&self, scans: &[usize], all: &Axes, piece: Axis, cuts: &[Cut]) -> Vec<usize> {
        let mut members = scans.to_vec();
        let mut at = 0;
        while at < members.len() {
            let unit = members[at];
            let is_scan = scans.contains(&unit);
            let is_step_scan = !is_scan && scan_of(self.cx, &self.units[unit]).is_some();
            for before in self.flow.neighbors_directed(NodeIndex::new(unit), petgraph::Incoming) {
                let before = before.index();
                let joins = !is_step_scan
                    && match &self.units[before] {
                        Unit::Scan(_) => {
                            let scan = scan_of(self.cx, &self.units[before]);
                            scan.is_some_and(|(_, scan)| cuts.iter().any(|cut| cut.long == scan.axis))
                        }
                        Unit::Value(value) => {
                            let is_written = is_scan || !is_product(self.cx, &self.units[before]);
                            is_written && self.is_light(before, *value, all, piece, cuts)
                        }
                        Unit::Copy(..) | Unit::Call { .. } => false,
                    };
                if joins && !members.contains(&before) {
                    members.push(before);
                }
            }
            at += 1;
        }
        stable_order(self.flow).into_iter().filter(|unit| members.contains(unit)).collect()
    }

    /// Whether a value belongs to pieces, mixes nothing along the axes of states, and is no larger than what a piece reads.
    fn is_light(&self, unit: usize, value: ValueId, all: &Axes, piece: Axis, cuts: &[Cut]) -> bool {
        let (cx, node) = (self.cx, &self.cx.frames[0].graph[value]);
        let running = running(cx, &self.units[unit]);
        let is_piece = |axis: &Axis| *axis == piece || cuts.iter().any(|cut| cut.long == *axis);
        let table = &cx.frames[0].graph.axes;
        let steps = running.without(all);
        let steps = steps.iter().filter(|axis| !is_piece(axis) && *table.size(*axis) != Size::Known(1));
        let steps =
            steps.count() + running.iter().filter(|axis| cuts.iter().any(|c| c.long == *axis)).count();
        #[expect(clippy::wildcard_enum_match_arm, reason = "all others work element by element")]
        let mixed = match &node.op {
            Op::Sum { axes } | Op::ReduceMax { axes } | Op::Dot { axes } => axes.clone(),
            Op::CumSum { axis, .. } | Op::CumMax { axis, .. } => Axes::new([*axis]),
            Op::ScatterAdd { .. } => return false,
            _ => Axes::none(),
        };
        running.iter().any(|axis| is_piece(&axis))
            && mixed.iter().all(|axis| !all.contains(axis) && !is_piece(&axis))
            && steps <= 1
    }

    /// What a unit makes.
    fn made(&self, unit: usize) -> Vec<View> {
        let results = &self.cx.frames[0].results;
        match &self.units[unit] {
            Unit::Scan(scan) => {
                results.iter().filter(|((value, _), _)| value == scan).map(|(_, view)| view.clone()).collect()
            }
            one @ (Unit::Value(_) | Unit::Copy(..) | Unit::Call { .. }) => {
                written(self.cx, one).into_iter().collect()
            }
        }
    }

    /// Whether a unit reads of the others what belongs to the same piece and tile.
    fn is_own(&self, group: &Group, unit: usize) -> bool {
        let (cx, graph) = (self.cx, self.cx.frames[0].graph);
        let read = unit_storages(cx, 0, &self.units[unit]);
        let makers = group.units.iter().filter(|maker| **maker != unit);
        let made: Vec<View> = makers
            .clone()
            .flat_map(|maker| self.made(*maker))
            .filter(|m| read.contains(&m.storage))
            .collect();
        let piece = group.axes.last().copied();
        // Along each axis that what is read has, be it by pieces.
        let axes_of = |view: &View| -> Vec<Axis> {
            let order = view.order();
            let has = |axis: &Axis| {
                order.contains(axis)
                    || Some(*axis) == piece && group.cuts.iter().any(|c| order.contains(&c.long))
            };
            group.tiled.iter().flatten().chain(&group.axes).copied().filter(has).collect()
        };
        if made.iter().any(|view| piece.is_none_or(|piece| !axes_of(view).contains(&piece))) {
            return false;
        }
        let Some((value, scan)) = scan_of(cx, &self.units[unit]) else {
            let own = parallel(cx, &self.units[unit]).unwrap_or_default();
            let cut = cut::of(&group.cuts, &own);
            return made.iter().all(|view| {
                let axes = axes_of(view);
                let common = Common { axes: &axes, cuts: &group.cuts, along: &axes };
                own::is_own(cx, &self.units[unit], &common, cut, std::slice::from_ref(view))
            });
        };
        let inside: Vec<Origin> = makers.map(|maker| unit_writes(0, &self.units[*maker])).collect();
        let (states, end) = (scan.states as usize, (scan.states + scan.sequences) as usize);
        graph[value].operands.iter().enumerate().all(|(place, operand)| {
            if !reads(&cx.frames, 0, *operand, Start::Value).iter().any(|o| inside.contains(o)) {
                return true;
            }
            let Some(view) = view_of(&cx.frames, 0, *operand) else { return false };
            let there = made.iter().find(|m| m.storage == view.storage);
            (states..end).contains(&place)
                && inside.contains(&origin(&cx.frames, 0, *operand))
                && there.is_some_and(|made| {
                    let axes = axes_of(made);
                    moves_along(&view, made, &Common { axes: &axes, cuts: &group.cuts, along: &axes })
                })
        })
    }
}
