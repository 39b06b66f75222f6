//! Giving values of a frame their places, and the order of the work.

use super::Context;
use super::frame::{Origin, Start, is_statement, label, leaves, origin, reads, rearranges, view_of};
use super::layout;
use super::product::{is_rounded_once, is_worth_it};
use super::statement::Tile;
use super::view::{Label, StorageId, View, Whereabouts, row_major};
use crate::program::Stored;
use carousel_ir::{Axis, AxisTable, Op, Size, ValueId};
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::{BinaryHeap, HashMap, HashSet};

/// One piece of work.
#[derive(Clone, Debug)]
pub(crate) enum Unit {
    /// Computes a value into its home.
    Value(ValueId),
    /// Stores a value once more.
    Copy(ValueId, View),
    /// Runs a scan.
    Scan(ValueId),
    /// Runs a function on whole storages, its inputs as they lie there.
    Call { value: ValueId, inputs: Vec<(StorageId, Stored)>, outputs: Vec<StorageId> },
}

/// What is decided while places are given.
pub(crate) struct Settling {
    pub(crate) frame: usize,
    /// Where new storages live.
    pub(crate) whereabouts: Whereabouts,
    /// Axes of the grid, which storages inside a grid point lack.
    pub(crate) grid: Vec<Axis>,
    /// Axes of which a grid point has a tile.
    pub(crate) tiles: Vec<Tile>,
    /// Where certain values are to be stored.
    pub(crate) claims: HashMap<ValueId, View>,
    pub(crate) units: Vec<Unit>,
}

impl Settling {
    /// A new storage for axes in this order.
    pub(crate) fn place(&self, cx: &mut Context<'_>, value: ValueId, order: &[Axis]) -> View {
        let graph = cx.frames[self.frame].graph;
        let order: Vec<Axis> = order.iter().copied().filter(|a| !self.grid.contains(a)).collect();
        let sizes: Vec<Size> = order.iter().map(|axis| self.size(&graph.axes, *axis)).collect();
        let strides = order.into_iter().zip(row_major(&sizes)).collect();
        let label = Label { name: label(graph, value), span: graph[value].span };
        let storage = cx.storage(graph.ty(value).dtype, Size::product(sizes), self.whereabouts, label);
        View { storage, offset: Size::Known(0), moves: Vec::new(), strides }.of_tiles(&self.tiles)
    }

    /// How many elements of an axis are in a place.
    fn size(&self, table: &AxisTable, axis: Axis) -> Size {
        let tile = self.tiles.iter().find(|tile| tile.axis == axis);
        tile.map_or_else(|| table.size(axis).clone(), |tile| Size::Known(tile.length))
    }

    fn compute(&mut self, cx: &mut Context<'_>, value: ValueId) {
        let home = match self.claims.get(&value) {
            Some(view) => view.clone(),
            None => {
                let order = layout::order(cx, self.frame, value);
                self.place(cx, value, &order)
            }
        };
        cx.frames[self.frame].home[value.index()] = Some(home);
        self.units.push(Unit::Value(value));
    }

    /// Makes sure that a value lies in memory under a view.
    pub(crate) fn demand(&mut self, cx: &mut Context<'_>, value: ValueId) {
        if view_of(&cx.frames, self.frame, value).is_some() {
            return;
        }
        let node = &cx.frames[self.frame].graph[value];
        if rearranges(&node.op) && !self.is_cut_here(cx, value) {
            self.demand(cx, node.operands[0]);
            if view_of(&cx.frames, self.frame, value).is_some() {
                return;
            }
        }
        self.compute(cx, value);
    }

    /// Whether a value is the pieces of what is filled up for it alone: it is stored as pieces then, each of which may lie in
    /// one place.
    fn is_cut_here(&self, cx: &Context<'_>, value: ValueId) -> bool {
        let frame = &cx.frames[self.frame];
        let node = &frame.graph[value];
        let Op::Split { .. } = node.op else { return false };
        let whole = node.operands[0];
        let uses =
            frame.graph.iter().filter(|(user, n)| frame.live[user.index()] && n.operands.contains(&whole));
        matches!(frame.graph[whole].op, Op::Pad { .. })
            && frame.home[whole.index()].is_none()
            && !frame.stored[whole.index()]
            && !self.claims.contains_key(&whole)
            && uses.count() == 1
    }

    /// Places for all live values that are stored, in order, with the work that makes them.
    pub(crate) fn run(&mut self, cx: &mut Context<'_>) {
        let graph = cx.frames[self.frame].graph;
        for (value, node) in graph.iter() {
            if !cx.frames[self.frame].live[value.index()]
                || cx.frames[self.frame].home[value.index()].is_some()
            {
                continue;
            }
            if matches!(node.op, Op::Scan { .. }) {
                self.scan(cx, value);
            } else if matches!(node.op, Op::Call { .. }) {
                self.call(cx, value);
            } else if !matches!(node.op, Op::Input { .. } | Op::Proj { .. })
                && (cx.frames[self.frame].stored[value.index()] || self.claims.contains_key(&value))
            {
                if is_statement(&node.op) && is_worth_it(cx, self.frame, value) {
                    node.operands.iter().for_each(|o| self.demand(cx, *o));
                    if is_rounded_once(cx, self.frame, value) {
                        cx.frames[self.frame].products.insert(value);
                    }
                }
                self.compute(cx, value);
            }
        }
    }

    /// The projections of a scan or call that something needs, by result.
    fn projections(&self, cx: &Context<'_>, tuple: ValueId) -> Vec<(u32, ValueId)> {
        let frame = &cx.frames[self.frame];
        let of = |(v, n): (ValueId, &carousel_ir::Node)| {
            let Op::Proj { index } = n.op else { return None };
            (n.operands[0] == tuple && frame.live[v.index()]).then_some((index, v))
        };
        frame.graph.iter().filter_map(of).collect()
    }

    fn scan(&mut self, cx: &mut Context<'_>, value: ValueId) {
        let graph = cx.frames[self.frame].graph;
        let node = &graph[value];
        let Op::Scan { scan } = &node.op else { panic!("{} is no scan", node.op.kind()) };
        let (states, end) = (scan.states as usize, (scan.states + scan.sequences) as usize);
        for (place, operand) in node.operands.iter().enumerate() {
            let cost = cx.frames[self.frame].cost[operand.index()];
            // Initial states are read once; the others once a step.
            let again = place >= states
                && (cost.heavy || cost.operations > 4 || (place >= end && cost.operations > 0));
            if again {
                self.demand(cx, *operand);
            }
        }
        for (index, projection) in self.projections(cx, value) {
            let key = (value, index);
            if cx.frames[self.frame].results.contains_key(&key) {
                continue;
            }
            let view = match self.claims.get(&projection) {
                Some(view) => view.clone(),
                None => {
                    let axes = &graph.ty(projection).axes;
                    let order = match (index as usize) < states {
                        true => axes.iter().collect(),
                        false => layout::stacked(cx, self.frame, value, projection),
                    };
                    self.place(cx, projection, &order)
                }
            };
            cx.frames[self.frame].results.insert(key, view);
        }
        self.units.push(Unit::Scan(value));
    }

    fn call(&mut self, cx: &mut Context<'_>, value: ValueId) {
        let graph = cx.frames[self.frame].graph;
        let node = &graph[value];
        let Op::Call { function } = node.op else { panic!("{} is no call", node.op.kind()) };
        let callee = &cx.module[function].graph;
        let mut inputs = Vec::new();
        for (operand, input) in node.operands.iter().zip(&callee.inputs) {
            let declared = input.ty.axes.as_slice();
            if view_of(&cx.frames, self.frame, *operand).is_none()
                && !self.claims.contains_key(operand)
                && !rearranges(&graph[*operand].op)
            {
                let view = self.place(cx, *operand, declared);
                cx.frames[self.frame].home[operand.index()] = Some(view);
                self.units.push(Unit::Value(*operand));
            }
            let there = view_of(&cx.frames, self.frame, *operand);
            let (storage, strides) = match there.and_then(|view| cx.passed(&view, declared, self.frame)) {
                Some(passed) => passed,
                None => {
                    let view = self.place(cx, *operand, declared);
                    let storage = view.storage;
                    self.units.push(Unit::Copy(*operand, view));
                    (storage, None)
                }
            };
            inputs.push((storage, Stored { dtype: cx.storages[storage.0 as usize].dtype, strides }));
        }
        let projections = self.projections(cx, value);
        let mut outputs = Vec::new();
        for (index, output) in callee.outputs.iter().enumerate() {
            let index = index as u32;
            let declared = output.axes.as_slice();
            let mut claimed = None;
            for (_, projection) in projections.iter().filter(|(i, _)| *i == index) {
                claimed = claimed.or_else(|| {
                    self.claims.get(projection).filter(|v| cx.is_whole(v, declared, self.frame)).cloned()
                });
            }
            let view = claimed.unwrap_or_else(|| {
                let elements = graph.axes.elements(&output.axes);
                let dtype = callee.ty(output.value).dtype;
                let label = Label { name: output.name.to_string(), span: node.span };
                let storage = cx.storage(dtype, elements, self.whereabouts, label);
                View::whole(storage, declared, &graph.axes)
            });
            outputs.push(view.storage);
            cx.frames[self.frame].results.insert((value, index), view);
        }
        self.units.push(Unit::Call { value, inputs, outputs });
    }
}

/// What a unit reads.
pub(crate) fn unit_reads(cx: &Context<'_>, frame: usize, unit: &Unit) -> Vec<Origin> {
    let frames = &cx.frames;
    let graph = frames[frame].graph;
    match unit {
        Unit::Value(value) => reads(frames, frame, *value, Start::Definition),
        Unit::Copy(value, _) => reads(frames, frame, *value, Start::Value),
        Unit::Scan(value) => {
            let all = graph[*value].operands.iter();
            all.flat_map(|o| reads(frames, frame, *o, Start::Value)).collect()
        }
        Unit::Call { value, inputs, .. } => {
            let stored = |o: &&ValueId| view_of(frames, frame, **o).is_some();
            let direct = graph[*value].operands.iter().filter(stored).map(|o| origin(frames, frame, *o));
            direct.chain(inputs.iter().map(|(s, _)| Origin::Copy(*s))).collect()
        }
    }
}

/// The memory that a unit reads.
pub(crate) fn unit_storages(cx: &Context<'_>, frame: usize, unit: &Unit) -> HashSet<StorageId> {
    let (roots, start) = match unit {
        Unit::Value(value) => (vec![*value], Start::Definition),
        Unit::Copy(value, _) => (vec![*value], Start::Value),
        Unit::Scan(value) => (cx.frames[frame].graph[*value].operands.to_vec(), Start::Value),
        Unit::Call { inputs, .. } => return inputs.iter().map(|(storage, _)| *storage).collect(),
    };
    let mut found = HashSet::new();
    for root in roots {
        leaves(&cx.frames, frame, root, start, &mut |view, _| {
            found.insert(view.storage);
        });
    }
    found
}

/// What a unit writes.
pub(crate) fn unit_writes(frame: usize, unit: &Unit) -> Origin {
    match unit {
        Unit::Value(value) | Unit::Scan(value) | Unit::Call { value, .. } => Origin::Value(frame, *value),
        Unit::Copy(_, view) => Origin::Copy(view.storage),
    }
}

/// The dataflow of units: an edge from each writer to its readers.
pub(crate) fn dataflow(cx: &Context<'_>, frame: usize, units: &[Unit]) -> DiGraph<(), ()> {
    let mut graph = DiGraph::new();
    let nodes: Vec<NodeIndex> = units.iter().map(|_| graph.add_node(())).collect();
    let writers: HashMap<Origin, usize> =
        units.iter().enumerate().map(|(i, u)| (unit_writes(frame, u), i)).collect();
    for (reader, unit) in units.iter().enumerate() {
        for origin in unit_reads(cx, frame, unit) {
            if let Some(writer) = writers.get(&origin)
                && *writer != reader
            {
                graph.update_edge(nodes[*writer], nodes[reader], ());
            }
        }
    }
    graph
}

/// A topological order that departs from the given one as little as need be.
pub(crate) fn stable_order(graph: &DiGraph<(), ()>) -> Vec<usize> {
    order_with_first(graph, |_| false)
}

/// The same but that some are as early as they can be.
pub(crate) fn order_with_first(graph: &DiGraph<(), ()>, is_first: impl Fn(usize) -> bool) -> Vec<usize> {
    let turn = |unit: usize| std::cmp::Reverse((!is_first(unit), unit));
    let mut waits: Vec<usize> =
        graph.node_indices().map(|n| graph.neighbors_directed(n, petgraph::Incoming).count()).collect();
    let mut ready: BinaryHeap<_> = (0..waits.len()).filter(|i| waits[*i] == 0).map(turn).collect();
    let mut order = Vec::new();
    while let Some(std::cmp::Reverse((_, next))) = ready.pop() {
        order.push(next);
        for reader in graph.neighbors(NodeIndex::new(next)) {
            waits[reader.index()] -= 1;
            if waits[reader.index()] == 0 {
                ready.push(turn(reader.index()));
            }
        }
    }
    assert_eq!(order.len(), waits.len(), "operands precede users, so that dataflow has no cycle");
    order
}
