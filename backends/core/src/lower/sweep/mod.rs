//! Sweeps: kernels that go through the pieces of a sequence one after the other.
//!
//! A scan over chunks stands between kernels whose points are chunks: what the chunks write into a state, and what they read
//! of it, would pass through memory. Where the axes around the pieces give points enough, these kernels and the scan become
//! one: a loop over the pieces, in which the state, and all that a piece makes for itself, stays in cache.
//!
//! Invariant: within a turn a unit reads of the sweep only what the same turn has made, along each axis that they have in
//! common; states at the end are read by others. Results do not change, as every element is computed as before.

mod kernel;
mod states;

pub(crate) use kernel::kernel;
pub(crate) use states::apart;

use super::Context;
use super::cut::{self, Cut};
use super::frame::{Origin, Start, origin, reads, view_of};
use super::group::{Group, estimate, parallel, written};
use super::own::{self, Common};
use super::scan;
use super::settle::{Unit, unit_writes};
use super::view::View;
use carousel_ir::{Axis, Direction, Op, Scan, Size, ValueId};
use petgraph::graph::{DiGraph, NodeIndex};

/// A sweep has at most that many units.
const MOST_UNITS: usize = 96;
/// Elements of the largest state of a point.
const LARGEST_STATE: u64 = 1 << 16;

/// The groups, some of them joined to sweeps.
pub(crate) fn sweeps(
    cx: &Context<'_>,
    units: &[Unit],
    groups: Vec<Group>,
    flow: &DiGraph<(), ()>,
) -> Vec<Group> {
    let sweeping = Sweeping { cx, units, flow, cuts: cut::cuts(cx.frames[0].graph) };
    let mut done: Vec<Group> = Vec::new();
    for group in groups {
        match sweeping.joined(&done, &group) {
            Some((members, place, sweep)) => {
                for member in members.into_iter().rev() {
                    done.remove(member);
                }
                done.insert(place, sweep);
            }
            None => done.push(group),
        }
    }
    let mut at = 0;
    while at < done.len() {
        match sweeping.chained(&done, at) {
            Some((before, place, chain)) => {
                done.remove(at);
                done.remove(before);
                done.insert(place, chain);
            }
            None => at += 1,
        }
    }
    done
}

/// A loop over pieces.
#[derive(Clone, Debug)]
pub(crate) struct Sweep {
    /// From which end.
    pub(crate) direction: Direction,
    /// What is done at each turn, in order.
    pub(crate) units: Vec<usize>,
}

struct Sweeping<'a, 'm> {
    cx: &'a Context<'m>,
    units: &'a [Unit],
    flow: &'a DiGraph<(), ()>,
    /// All cuts of the graph.
    cuts: Vec<Cut>,
}

impl Sweeping<'_, '_> {
    /// The groups that a group makes a sweep with, by their places, where it is to be put when they are gone, and the sweep.
    fn joined(&self, done: &[Group], group: &Group) -> Option<(Vec<usize>, usize, Group)> {
        self.pieces(group).into_iter().find_map(|piece| self.joined_along(done, group, piece))
    }

    fn joined_along(&self, done: &[Group], group: &Group, piece: Axis) -> Option<(Vec<usize>, usize, Group)> {
        let used: Vec<usize> = (0..done.len())
            .filter(|at| self.pieces(&done[*at]).contains(&piece) && self.uses(group, &done[*at]))
            .collect();
        // The sweep that is nearest says in which direction; chunks alone go with any.
        let direction =
            self.direction(group).or_else(|| used.iter().rev().find_map(|at| self.direction(&done[*at])))?;
        let fits = |at: &usize| self.direction(&done[*at]).is_none_or(|other| other == direction);
        let mut members: Vec<usize> = used.into_iter().filter(fits).collect();
        while !members.is_empty() {
            if let Some(place) = self.place(done, &members, group)
                && let Some(sweep) =
                    self.sweep(members.iter().map(|at| &done[*at]).chain([group]), direction, piece)
            {
                return Some((members, place, sweep));
            }
            // The one farthest away may be in the way.
            members.remove(0);
        }
        None
    }

    /// The axes that may count the pieces of which a group has a point, or a turn, each.
    fn pieces(&self, group: &Group) -> Vec<Axis> {
        let mut axes = match (self.scan(group), group.sweeps.is_empty()) {
            (Some((_, scan)), _) => vec![scan.axis],
            (None, false) => group.axes.last().copied().into_iter().collect(),
            (None, true) => group.axes.clone(),
        };
        let table = &self.cx.frames[0].graph.axes;
        axes.retain(|axis| {
            self.cuts.iter().any(|c| c.piece == *axis) && *table.size(*axis) != Size::Known(1)
        });
        axes
    }

    /// The scan that is all of a group.
    fn scan(&self, group: &Group) -> Option<(ValueId, &Scan)> {
        let [unit] = group.units.as_slice() else { return None };
        self.scan_of(*unit)
    }

    fn scan_of(&self, unit: usize) -> Option<(ValueId, &Scan)> {
        let Unit::Scan(value) = self.units[unit] else { return None };
        let Op::Scan { scan } = &self.cx.frames[0].graph[value].op else { return None };
        Some((value, scan))
    }

    fn direction(&self, group: &Group) -> Option<Direction> {
        let sweep = group.sweeps.first().map(|sweep| sweep.direction);
        sweep.or_else(|| self.scan(group).map(|(_, scan)| scan.direction))
    }

    fn before(&self, unit: usize) -> impl Iterator<Item = usize> + '_ {
        self.flow.neighbors_directed(NodeIndex::new(unit), petgraph::Incoming).map(NodeIndex::index)
    }

    fn uses(&self, group: &Group, other: &Group) -> bool {
        group.units.iter().any(|unit| self.before(*unit).any(|u| other.units.contains(&u)))
    }

    /// Where members and a group after all of `done` can be one, counted without the members.
    fn place(&self, done: &[Group], members: &[usize], group: &Group) -> Option<usize> {
        let first = *members.first()?;
        let others = || (first..done.len()).filter(|at| !members.contains(at)).map(|at| &done[at]);
        let late = members.iter().all(|member| {
            let after = (*member..done.len()).filter(|at| !members.contains(at));
            after.into_iter().all(|at| !self.uses(&done[at], &done[*member]))
        });
        if late {
            return Some(done.len() - members.len());
        }
        let all = members.iter().map(|at| &done[*at]).chain([group]);
        let early = all.into_iter().all(|member| others().all(|other| !self.uses(member, other)));
        early.then_some(first)
    }

    /// Members in their order as one sweep, if that is right and worth it.
    fn sweep<'g>(
        &self,
        members: impl Iterator<Item = &'g Group>,
        direction: Direction,
        piece: Axis,
    ) -> Option<Group> {
        let cx = self.cx;
        let members: Vec<&Group> = members.collect();
        // Chunks and sweeps have the axes of the sweep; the points of a scan alone may have more of them.
        let all = &members.iter().find(|m| self.scan(m).is_none())?.axes;
        let outer: Vec<Axis> = all.iter().copied().filter(|axis| *axis != piece).collect();
        let has_axes = |member: &&Group| match self.scan(member) {
            Some((value, _)) => {
                let own = scan::grid_axes(cx, 0, value);
                outer.iter().all(|axis| own.contains(axis)) && self.states_fit(value, &outer)
            }
            None => member.axes.len() == all.len() && member.axes.iter().all(|axis| all.contains(axis)),
        };
        let units: Vec<usize> = members.iter().flat_map(|m| m.units.iter().copied()).collect();
        if !members.iter().all(has_axes)
            || units.len() > MOST_UNITS
            || estimate(cx, outer.iter().copied()) < cx.target.sweep_points
        {
            return None;
        }
        let cuts = all_cuts(&members);
        let axes: Vec<Axis> = outer.into_iter().chain([piece]).collect();
        let common = Common { axes: &axes, cuts: &cuts, along: &axes };
        let is_own = units.iter().all(|unit| self.is_own(&common, *unit, &units));
        let sweeps = vec![Sweep { direction, units: units.clone() }];
        is_own.then_some(Group { units, axes, cuts, sweeps, tiled: None })
    }

    /// An earlier group of sweeps, by its place, where both can be, counted without them, and both as one: a grid point goes
    /// through the pieces several times, and keeps what one sweep makes for the next.
    fn chained(&self, done: &[Group], at: usize) -> Option<(usize, usize, Group)> {
        let group = &done[at];
        let is_sweep = !group.sweeps.is_empty() && group.tiled.is_none();
        let (_, outer) = group.axes.split_last().filter(|_| is_sweep)?;
        (0..at).rev().find_map(|before| {
            let first = &done[before];
            if first.sweeps.is_empty()
                || first.tiled.is_some()
                || first.axes != group.axes
                || first.units.len() + group.units.len() > MOST_UNITS
                || !self.uses(group, first)
            {
                return None;
            }
            let place = self.place(&done[..at], &[before], group)?;
            let both = [first, group];
            let cuts = all_cuts(&both);
            let common = Common { axes: &group.axes, cuts: &cuts, along: outer };
            group.units.iter().all(|unit| self.is_own(&common, *unit, &first.units)).then(|| {
                let units = both.iter().flat_map(|g| g.units.iter().copied()).collect();
                let sweeps = both.iter().flat_map(|g| g.sweeps.iter().cloned()).collect();
                (before, place, Group { units, axes: group.axes.clone(), cuts, sweeps, tiled: None })
            })
        })
    }

    fn states_fit(&self, value: ValueId, outer: &[Axis]) -> bool {
        let Op::Scan { scan } = &self.cx.frames[0].graph[value].op else { return false };
        let states = scan.body.inputs.iter().take(scan.states as usize);
        let mut elements =
            states.map(|state| estimate(self.cx, state.ty.axes.iter().filter(|axis| !outer.contains(axis))));
        elements.all(|n| n <= LARGEST_STATE)
    }

    /// What a unit makes.
    fn made(&self, unit: usize) -> Vec<View> {
        match &self.units[unit] {
            Unit::Scan(value) => {
                let results = &self.cx.frames[0].results;
                results.iter().filter(|((v, _), _)| v == value).map(|(_, view)| view.clone()).collect()
            }
            one @ (Unit::Value(_) | Unit::Copy(..) | Unit::Call { .. }) => {
                written(self.cx, one).into_iter().collect()
            }
        }
    }

    /// Whether a unit reads, of what some units make, what belongs to the same place of each common axis.
    fn is_own(&self, common: &Common<'_>, unit: usize, makers: &[usize]) -> bool {
        let (cx, graph) = (self.cx, self.cx.frames[0].graph);
        let made: Vec<View> = makers.iter().flat_map(|maker| self.made(*maker)).collect();
        let Some((value, scan)) = self.scan_of(unit) else {
            let own = parallel(cx, &self.units[unit]).unwrap_or_default();
            return own::is_own(cx, &self.units[unit], common, cut::of(common.cuts, &own), &made);
        };
        let inside: Vec<Origin> = makers.iter().map(|maker| unit_writes(0, &self.units[*maker])).collect();
        let (states, end) = (scan.states as usize, (scan.states + scan.sequences) as usize);
        graph[value].operands.iter().enumerate().all(|(place, operand)| {
            if !reads(&cx.frames, 0, *operand, Start::Value).iter().any(|o| inside.contains(o)) {
                return true;
            }
            let Some(view) = view_of(&cx.frames, 0, *operand) else { return false };
            let there = made.iter().find(|m| m.storage == view.storage);
            (states..end).contains(&place)
                && inside.contains(&origin(&cx.frames, 0, *operand))
                && there.is_some_and(|made| moves_along(&view, made, common))
        })
    }
}

/// What is cut in any of some groups.
fn all_cuts(groups: &[&Group]) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = Vec::new();
    for cut in groups.iter().flat_map(|group| &group.cuts) {
        if !cuts.contains(cut) {
            cuts.push(*cut);
        }
    }
    cuts
}

/// Whether a view of what was made belongs to the same place of each common axis.
pub(crate) fn moves_along(view: &View, made: &View, common: &Common<'_>) -> bool {
    let stride = |axis: Axis| {
        let long = common.cuts.iter().find(|c| axis == c.piece && made.order().contains(&c.long));
        long.map_or_else(
            || made.stride(axis),
            |cut| Size::product([Size::Known(cut.length), made.stride(cut.long)]),
        )
    };
    let moves = common.along.iter().all(|axis| view.stride(*axis) == stride(*axis));
    view.moves.is_empty() && view.offset == made.offset && moves
}
