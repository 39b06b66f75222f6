//! Grouping of a function's units into kernels.
//!
//! Units share a kernel if later ones use what earlier ones make, and all of them run point by point over common axes: a
//! grid point then computes a row (or a few, or tiles of matrices) of all of them while it is in cache. What only the
//! group uses lives in scratch. Whether a use is point by point is read off the addresses that would be generated: along
//! each common axis the address moves by exactly the stride, and by nothing else.
//!
//! An axis may be cut by another one ([`Cut`]): what runs over the steps of a sequence joins what runs over its chunks.
//! Where chunks are common, units are taken out of their order to join; elsewhere only neighbours do. Matrix products
//! join over axes that both operands have; scatters and calls stay alone, and scans but for [`super::sweep`].

use super::Context;
use super::builder::KernelBuilder;
use super::cut::{self, Cut};
use super::frame::{Start, view_of};
use super::own::{self, Common};
use super::settle::{Unit, stable_order};
use super::statement::{self, Site, Tile};
use super::sweep::Sweep;
use super::view::{View, Whereabouts};
use super::{scan, schedule};
use crate::kernel::{Dim, Extent, Linear, Loop, Statement};
use carousel_ir::{Axes, Axis, Op, Size, ValueId};
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::{HashMap, HashSet};

/// How many elements an axis of unknown size is taken for.
const UNKNOWN: u64 = 256;
/// A group has at most that many units.
const MOST_UNITS: usize = 24;
/// A group over chunks has at most that many: the code of one kernel is bounded, its compilation being superlinear.
const MOST_CHUNK_UNITS: usize = 48;
/// A unit that joins over chunks has tiles of at most that many elements.
const LARGEST_TILE: u64 = 1 << 16;
/// A point's part of that many elements may lie scattered in memory.
const SMALL_ROW: u64 = 256;
/// As few results as these, of so much work, are worth no launch of their own.
const SMALL_RESULTS: u64 = 256;
const SMALL_WORK: u64 = 1 << 14;
/// How many units further on are looked at.
const LOOKAHEAD: usize = 64;

/// Units that share a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Their numbers, in order.
    pub(crate) units: Vec<usize>,
    /// The axes that they have in common, outermost first.
    pub(crate) axes: Vec<Axis>,
    /// What common axes cut.
    pub(crate) cuts: Vec<Cut>,
    /// If the last of the axes is a loop that a grid point goes through, in which turns; all units belong to one.
    pub(crate) sweeps: Vec<Sweep>,
    /// If its point has tiles of states, the axes of which; what it makes but for states is its own.
    pub(crate) tiled: Option<Vec<Axis>>,
}

impl Group {
    /// Whether its points have pieces of longer axes.
    pub(crate) fn is_cut(&self) -> bool {
        !self.cuts.is_empty()
    }

    /// Where what a unit of the group makes is used, if by the group alone.
    pub(crate) fn scope(&self, unit: usize, users: &[usize]) -> Option<Scope> {
        if !users.iter().all(|user| self.units.contains(user)) {
            return None;
        }
        let own = self.sweeps.iter().find(|sweep| sweep.units.contains(&unit));
        let in_turn = own.is_none_or(|sweep| users.iter().all(|user| sweep.units.contains(user)));
        Some(if in_turn { Scope::Turn } else { Scope::Point })
    }
}

/// The units in groups, in an order that the dataflow allows. `first` are groups already; what they need comes before each of
/// them, all else after them, so that it may join what reads states.
pub(crate) fn groups(
    cx: &Context<'_>,
    units: &[Unit],
    flow: &DiGraph<(), ()>,
    first: Vec<Group>,
) -> Vec<Group> {
    let grouping = Grouping { cx, units, flow, cuts: cut::cuts(cx.frames[0].graph) };
    let order = stable_order(flow);
    let (mut done, mut groups) = (vec![false; units.len()], Vec::new());
    for group in first {
        let mut needed = vec![false; units.len()];
        let mut stack = group.units.clone();
        while let Some(unit) = stack.pop() {
            let before = grouping.before(unit).filter(|u| !done[*u]);
            let new: Vec<usize> = before.filter(|u| !std::mem::replace(&mut needed[*u], true)).collect();
            stack.extend(new);
        }
        group.units.iter().for_each(|unit| done[*unit] = true);
        let pending = order.iter().copied().filter(|unit| needed[*unit] && !done[*unit]).collect();
        grouping.join_all(pending, &mut done, &mut groups);
        groups.push(group);
    }
    let pending = order.into_iter().filter(|unit| !done[*unit]).collect();
    grouping.join_all(pending, &mut done, &mut groups);
    groups
}

/// The axes over which a unit's points are independent, in the order of its memory; `None` if it stays alone.
pub(crate) fn parallel(cx: &Context<'_>, unit: &Unit) -> Option<Vec<Axis>> {
    let frame = &cx.frames[0];
    let (value, view) = match unit {
        Unit::Value(value) => (*value, frame.home[value.index()].clone()?),
        Unit::Copy(value, view) => (*value, view.clone()),
        Unit::Scan(_) | Unit::Call { .. } => return None,
    };
    let mut order = view.order();
    if matches!(unit, Unit::Value(_)) {
        let node = &frame.graph[value];
        if frame.products.contains(&value) {
            let both = |a: &Axis| node.operands.iter().all(|o| frame.graph.ty(*o).axes.contains(*a));
            order.retain(both);
        }
        if matches!(node.op, Op::ScatterAdd { .. }) {
            return None;
        }
        if let Op::CumSum { axis, .. } | Op::CumMax { axis, .. } = node.op {
            order.retain(|a| *a != axis);
        }
    }
    Some(order)
}

pub(crate) fn is_product(cx: &Context<'_>, unit: &Unit) -> bool {
    matches!(unit, Unit::Value(value) if cx.frames[0].products.contains(value))
}

pub(crate) fn estimate(cx: &Context<'_>, axes: impl Iterator<Item = Axis>) -> u64 {
    let table = &cx.frames[0].graph.axes;
    axes.map(|a| table.size(a).known().unwrap_or(UNKNOWN)).fold(1, u64::saturating_mul)
}

/// All axes that a unit runs over.
pub(crate) fn running(cx: &Context<'_>, unit: &Unit) -> Axes {
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

/// Whether a unit's part at each point is one tile of what is cut, if it runs over that: it must do so point by point,
/// over one such axis only, and not over the pieces as well.
fn is_in_pieces(cx: &Context<'_>, unit: &Unit, order: &[Axis], cuts: &[Cut]) -> bool {
    let running = running(cx, unit);
    let mut found = cuts.iter().filter(|c| running.contains(c.long));
    match (found.next(), found.next()) {
        (None, _) => true,
        (Some(cut), None) => order.contains(&cut.long) && !running.contains(cut.piece),
        (Some(_), Some(_)) => false,
    }
}

/// Elements of a unit at a point of the common axes: of a product, of its largest matrix.
fn row(cx: &Context<'_>, unit: &Unit, common: &Axes, cuts: &[Cut]) -> u64 {
    let graph = cx.frames[0].graph;
    let size = |axes: &Axes| {
        let rest = axes.without(common);
        let cut = cut::of(cuts, rest.as_slice());
        let whole = estimate(cx, rest.iter().filter(|a| cut.is_none_or(|c| c.long != *a)));
        whole.saturating_mul(cut.map_or(1, |c| c.length))
    };
    match unit {
        Unit::Value(value) if is_product(cx, unit) => {
            let values = graph[*value].operands.iter().chain([value]);
            values.map(|v| size(&graph.ty(*v).axes)).max().unwrap_or(1)
        }
        Unit::Value(_) | Unit::Copy(..) | Unit::Scan(_) | Unit::Call { .. } => size(&running(cx, unit)),
    }
}

struct Grouping<'a, 'm> {
    cx: &'a Context<'m>,
    units: &'a [Unit],
    flow: &'a DiGraph<(), ()>,
    /// All cuts of the graph.
    cuts: Vec<Cut>,
}

impl Grouping<'_, '_> {
    /// Puts units into groups.
    fn join_all(&self, mut pending: Vec<usize>, done: &mut [bool], groups: &mut Vec<Group>) {
        while !pending.is_empty() {
            let first = pending.remove(self.first(&pending, done));
            done[first] = true;
            let axes = parallel(self.cx, &self.units[first]).unwrap_or_default();
            let (cuts, sweeps) = (Vec::new(), Vec::new());
            let mut group = Group { units: vec![first], axes, cuts, sweeps, tiled: None };
            while let Some((place, joined)) = self.next(&group, &pending, done) {
                done[pending.remove(place)] = true;
                group = joined;
            }
            groups.push(group);
        }
    }

    /// How far one looks for units out of their order: only where sequences are cut, else at the neighbour.
    fn reach(&self) -> usize {
        if self.cuts.is_empty() { 1 } else { LOOKAHEAD }
    }

    /// The pending unit to begin with, by its place: one that stays alone as early as can be, as what waits for it can
    /// then join others.
    fn first(&self, pending: &[usize], done: &[bool]) -> usize {
        let is_alone = |unit: &usize| {
            parallel(self.cx, &self.units[*unit]).is_none() && self.before(*unit).all(|u| done[u])
        };
        pending.iter().take(self.reach()).position(is_alone).unwrap_or(0)
    }

    /// The first of the pending units that joins the group, by its place.
    fn next(&self, group: &Group, pending: &[usize], done: &[bool]) -> Option<(usize, Group)> {
        for (place, &unit) in pending.iter().enumerate().take(self.reach()) {
            let is_ready = self.before(unit).all(|u| done[u]);
            if is_ready
                && let Some(joined) = self.join(group, unit)
                && (place == 0 || self.is_over_pieces(&joined.axes))
            {
                return Some((place, joined));
            }
        }
        None
    }

    fn before(&self, unit: usize) -> impl Iterator<Item = usize> + '_ {
        self.flow.neighbors_directed(NodeIndex::new(unit), petgraph::Incoming).map(NodeIndex::index)
    }

    fn is_over_pieces(&self, axes: &[Axis]) -> bool {
        self.cuts.iter().any(|c| axes.contains(&c.piece))
    }

    /// Whether a unit uses what a group makes. Over pieces of a sequence, or the steps of one that is in pieces elsewhere,
    /// that is not asked for: units that do not use one another mostly read the same inputs, or are used together later.
    fn shares(&self, group: &Group, unit: usize, axes: &[Axis]) -> bool {
        self.is_over_pieces(axes)
            || self.cuts.iter().any(|c| axes.contains(&c.long))
            || self.before(unit).any(|u| group.units.contains(&u))
    }

    /// Whether a unit has a handful of results of little work, which are one grid point's anyway: a launch costs more.
    fn is_small(&self, unit: usize) -> bool {
        let order = parallel(self.cx, &self.units[unit]).unwrap_or_default();
        let table = &self.cx.frames[0].graph.axes;
        let results = order.into_iter().map(|axis| table.size(axis).known().unwrap_or(u64::MAX));
        self.cx.target.is_coalescing
            && results.fold(1, u64::saturating_mul) <= SMALL_RESULTS
            && estimate(self.cx, running(self.cx, &self.units[unit]).iter()) <= SMALL_WORK
    }

    fn join(&self, group: &Group, unit: usize) -> Option<Group> {
        let (cx, units) = (self.cx, self.units);
        let own = parallel(cx, &units[unit])?;
        if group.units.iter().any(|u| parallel(cx, &units[*u]).is_none()) {
            return None;
        }
        // What one side runs over and the pieces of which the other does is cut.
        let either = |a: Axis| own.contains(&a) || group.axes.contains(&a);
        let is_cut = |c: &&Cut| group.cuts.contains(c) || (either(c.piece) && either(c.long));
        let mut cuts: Vec<Cut> = self.cuts.iter().filter(is_cut).copied().collect();
        let theirs = cut::through(&cuts, &own);
        let axes: Vec<Axis> =
            cut::through(&cuts, &group.axes).into_iter().filter(|a| theirs.contains(a)).collect();
        let over_pieces = self.is_over_pieces(&axes);
        if axes.is_empty() || !self.shares(group, unit, &axes) {
            return None;
        }
        cuts.retain(|c| axes.contains(&c.piece));
        let common = Axes::new(axes.iter().copied());
        let mut all = group.units.clone();
        all.push(unit);
        let tiles = if over_pieces { LARGEST_TILE } else { 4 * cx.target.tile_elements };
        let fits = |u: &usize| {
            let unit = &units[*u];
            let order = parallel(cx, unit).unwrap_or_default();
            let cut = cut::through(&cuts, &order);
            // Common axes that were given up must not have been what the parallelism lay in: a row must fit a point.
            let row = row(cx, unit, &common, &cuts);
            // Nor may a point's part be scattered in memory: what is innermost there is a common axis only if all are.
            let is_scattered = cut.last().is_some_and(|last| common.contains(*last))
                && !Axes::new(cut.iter().copied()).is_subset(&common)
                && (!over_pieces || row > SMALL_ROW);
            row <= tiles && !is_scattered && is_in_pieces(cx, unit, &order, &cuts)
        };
        let (most, points) =
            if over_pieces { (MOST_CHUNK_UNITS, 2) } else { (MOST_UNITS, cx.target.group_points) };
        let products = over_pieces || !all.iter().any(|u| is_product(cx, &units[*u]));
        if all.len() > most
            || !products
            || estimate(cx, axes.iter().copied()) < points && !all.iter().all(|u| self.is_small(*u))
            || !all.iter().all(fits)
        {
            return None;
        }
        let made: Vec<View> = all.iter().filter_map(|u| written(cx, &units[*u])).collect();
        let cut = cut::of(&cuts, &own);
        let is_own =
            own::is_own(cx, &units[unit], &Common { axes: &axes, cuts: &cuts, along: &axes }, cut, &made);
        is_own.then_some(Group { units: all, axes, cuts, sweeps: Vec::new(), tiled: None })
    }
}

pub(crate) fn written(cx: &Context<'_>, unit: &Unit) -> Option<View> {
    match unit {
        Unit::Value(value) => cx.frames[0].home[value.index()].clone(),
        Unit::Copy(_, view) => Some(view.clone()),
        Unit::Scan(_) | Unit::Call { .. } => None,
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

/// What nothing but a group uses, and where.
#[derive(Default)]
pub(crate) struct Internal {
    pub(crate) values: HashMap<ValueId, Scope>,
    /// Results of scans, by number.
    pub(crate) results: HashMap<(ValueId, u32), Scope>,
    /// Of these, what others use as well.
    pub(crate) handed_out: HashSet<(ValueId, u32)>,
}

/// Where a value is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// At the point of all common axes that makes it.
    Turn,
    /// In another sweep of the grid point, too.
    Point,
}

/// The grid and body of a group of several units.
pub(crate) fn kernel(
    cx: &mut Context<'_>,
    kernel: &mut KernelBuilder,
    units: &[Unit],
    group: &Group,
    internal: &Internal,
) -> (Vec<Loop>, Vec<Statement>) {
    if !group.sweeps.is_empty() {
        return super::sweep::kernel(cx, kernel, units, group, internal);
    }
    if let Some(flat) = flat(cx, kernel, units, group, internal) {
        return flat;
    }
    let table = cx.frames[0].graph.axes.clone();
    let common = Axes::new(group.axes.iter().copied());
    let inner = group.units.iter().map(|u| row(cx, &units[*u], &common, &group.cuts)).max().unwrap_or(1);
    let fitting = (cx.target.tile_elements / inner.max(1)).max(1);
    let (last, outer) = group.axes.split_last().expect("a group has common axes");
    let (mut grid, mut env) = scan::grid(kernel, outer, &table);
    let number = kernel.var();
    let whole = table.size(*last).clone();
    let tile = whole.known().map_or(fitting, |n| fitting.min(n.max(1)));
    let tiled = tile > 1 && group.cuts.is_empty();
    let tile = if tiled { tile } else { 1 };
    let count = kernel.dim(&whole.ceil_div(Size::Known(tile)));
    grid.push(Loop { var: number, extent: Extent::Whole(count) });
    if !tiled {
        env.push((*last, Linear::var(number, Dim::Known(1))));
    }
    // The tile of each unit: of the last common axis, or of the axis that it runs over in pieces.
    let tile_of = |cx: &Context<'_>, unit: &Unit| {
        let cut = cut::of(&group.cuts, &parallel(cx, unit).unwrap_or_default());
        let piece = |cut: Cut| {
            let at = group.axes.iter().position(|a| *a == cut.piece).expect("pieces are a common axis");
            Tile { axis: cut.long, number: grid[at].var, length: cut.length, is_full: false }
        };
        cut.map(piece).or(tiled.then_some(Tile { axis: *last, number, length: tile, is_full: false }))
    };
    let mut sites = Vec::new();
    for unit in &group.units {
        let tile = tile_of(cx, &units[*unit]);
        let site = Site { frame: 0, grid: env.clone(), tiles: tile.into_iter().collect() };
        sites.push(site.clone());
        let Unit::Value(value) = &units[*unit] else { continue };
        if internal.values.contains_key(value)
            && let Some(home) = view_of(&cx.frames, 0, *value)
        {
            let local = local_view(cx, &home, &common, &site.tiles);
            cx.frames[0].home[value.index()] = Some(local);
        }
    }
    let mut body = Vec::new();
    for (unit, site) in group.units.iter().zip(&sites) {
        body.extend(unit_statements(cx, kernel, site, &units[*unit]));
    }
    let body = super::fuse::fuse(body);
    (grid, super::fuse::collapse_all(kernel, body, None))
}

/// A group of maps over the same loops, as one map with the schedule of a single statement.
fn flat(
    cx: &mut Context<'_>,
    kernel: &mut KernelBuilder,
    units: &[Unit],
    group: &Group,
    internal: &Internal,
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
    for value in internal.values.keys() {
        if let Some(home) = cx.frames[0].home[value.index()].clone() {
            let old = cx.storages[home.storage.0 as usize].clone();
            let storage = cx.storage(old.dtype, Size::Known(0), Whereabouts::Scratch, old.label);
            cx.frames[0].home[value.index()] = Some(View { storage, ..home });
        }
    }
    let statements = emit(cx, kernel);
    Some(alone(cx, kernel, statements))
}

/// Scratch for a grid point's part of a value.
pub(crate) fn local_view(cx: &mut Context<'_>, home: &View, common: &Axes, tiles: &[Tile]) -> View {
    let table = cx.frames[0].graph.axes.clone();
    let mut order: Vec<(Axis, Size)> = Vec::new();
    for axis in home.order() {
        match tiles.iter().find(|tile| tile.axis == axis) {
            Some(tile) => order.push((axis, Size::Known(tile.length))),
            None if common.contains(axis) => {}
            None => order.push((axis, table.size(axis).clone())),
        }
    }
    let sizes: Vec<Size> = order.iter().map(|(_, s)| s.clone()).collect();
    let strides: Vec<(Axis, Size)> =
        order.iter().map(|(a, _)| *a).zip(super::view::row_major(&sizes)).collect();
    let old = &cx.storages[home.storage.0 as usize];
    let (dtype, label) = (old.dtype, old.label.clone());
    let storage = cx.storage(dtype, Size::product(sizes), Whereabouts::Scratch, label);
    View { storage, offset: Size::Known(0), moves: Vec::new(), strides }.of_tiles(tiles)
}

/// One statement with its own schedule.
pub(crate) fn alone(
    cx: &Context<'_>,
    kernel: &mut KernelBuilder,
    statements: Vec<Statement>,
) -> (Vec<Loop>, Vec<Statement>) {
    let mut statements = super::fuse::collapse_all(kernel, super::fuse::fuse(statements), None);
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
