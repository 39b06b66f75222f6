//! A graph while it is lowered: which values are stored, where, and what is inlined into its consumers.
//!
//! A scan's body is a frame inside the frame of the graph around it; an input of the body that is no state stands for
//! a value of that graph, at the loop's position if it is a sequence.

use super::triangle::Triangles;
use super::view::{Position, StorageId, View};
use carousel_ir::{Axis, Class, Graph, Op, ValueId};
use std::collections::{HashMap, HashSet};

/// What an input of a scan's body stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outer {
    /// A value of the frame around.
    pub(crate) value: ValueId,
    /// The axis that the loop runs along, and where it is, for sequences.
    pub(crate) along: Option<(Axis, Position)>,
}

/// One graph being lowered.
pub(crate) struct Frame<'m> {
    pub(crate) graph: &'m Graph,
    /// The frame around, for a scan's body.
    pub(crate) parent: usize,
    /// What the inputs stand for, by input number; `None` for states and function inputs.
    pub(crate) outer: Vec<Option<Outer>>,
    /// Where values are stored.
    pub(crate) home: Vec<Option<View>>,
    /// Where results of scans and calls are stored.
    pub(crate) results: HashMap<(ValueId, u32), View>,
    /// Values that something needs.
    pub(crate) live: Vec<bool>,
    /// Values that are to be stored by themselves.
    pub(crate) stored: Vec<bool>,
    /// Values that differ from step to step of the loop; for functions, all.
    pub(crate) varies: Vec<bool>,
    /// What evaluating a value inline costs.
    pub(crate) cost: Vec<Cost>,
    /// How contractions are computed.
    pub(crate) products: HashSet<ValueId>,
    /// What is 0 or not needed.
    pub(crate) triangles: Triangles,
}

/// Work of an inlined expression.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Cost {
    /// Operations.
    pub(crate) operations: u32,
    /// Whether one of them is expensive: a transcendental function, a division, a random number.
    pub(crate) heavy: bool,
}

impl<'m> Frame<'m> {
    /// A frame with nothing decided.
    pub(crate) fn new(
        graph: &'m Graph,
        parent: usize,
        outer: Vec<Option<Outer>>,
        live: Vec<bool>,
    ) -> Frame<'m> {
        let n = graph.nodes.len();
        Frame {
            graph,
            parent,
            outer,
            home: vec![None; n],
            results: HashMap::new(),
            live,
            stored: vec![false; n],
            varies: vec![true; n],
            cost: vec![Cost::default(); n],
            products: HashSet::new(),
            triangles: Triangles::new(graph),
        }
    }
}

/// The values that are needed when the given ones are.
pub(crate) fn live(graph: &Graph, roots: impl IntoIterator<Item = ValueId>) -> Vec<bool> {
    let mut live = vec![false; graph.nodes.len()];
    roots.into_iter().for_each(|v| live[v.index()] = true);
    for (value, node) in graph.iter().rev() {
        if live[value.index()] {
            node.operands.iter().for_each(|o| live[o.index()] = true);
        }
    }
    live
}

/// Whether the operation only rearranges strides, if its operand is a view and the strides allow it.
pub(crate) fn rearranges(op: &Op) -> bool {
    matches!(
        op,
        Op::Rename { .. }
            | Op::Split { .. }
            | Op::Merge { .. }
            | Op::Slice { .. }
            | Op::Broadcast { .. }
            | Op::Detach
    )
}

/// Whether the operation is a statement of its own, never part of an expression.
pub(crate) fn is_statement(op: &Op) -> bool {
    match op.kind().class() {
        Class::Reduce | Class::Cumulative => true,
        Class::Indexed => matches!(op, Op::ScatterAdd { .. }),
        Class::Leaf | Class::Elementwise | Class::View | Class::Control => false,
    }
}

/// The view under which a value lies in memory, if it does.
pub(crate) fn view_of(frames: &[Frame<'_>], frame: usize, value: ValueId) -> Option<View> {
    let f = &frames[frame];
    if let Some(home) = &f.home[value.index()] {
        return Some(home.clone());
    }
    let node = &f.graph[value];
    if let Op::Input { index } = &node.op {
        let outer = f.outer.get(*index as usize).copied().flatten()?;
        let view = view_of(frames, f.parent, outer.value)?;
        return Some(match outer.along {
            Some((axis, position)) => view.at(axis, position),
            None => view,
        });
    }
    if let Op::Proj { index } = &node.op {
        return f.results.get(&(node.operands[0], *index)).cloned();
    }
    if !rearranges(&node.op) {
        return None;
    }
    view_of(frames, frame, node.operands[0])?.apply(&node.op, &f.graph.axes)
}

/// What wrote a stored value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Origin {
    /// A value, or a scan or call, of a frame.
    Value(usize, ValueId),
    /// A copy into this storage.
    Copy(StorageId),
}

/// Which value holds the memory under which `value` is seen.
pub(crate) fn origin(frames: &[Frame<'_>], frame: usize, value: ValueId) -> Origin {
    let f = &frames[frame];
    let node = &f.graph[value];
    if f.home[value.index()].is_some() {
        return Origin::Value(frame, value);
    }
    if let Op::Input { index } = &node.op
        && let Some(outer) = f.outer.get(*index as usize).copied().flatten()
    {
        return origin(frames, f.parent, outer.value);
    }
    if rearranges(&node.op) {
        return origin(frames, frame, node.operands[0]);
    }
    let result = matches!(node.op, Op::Proj { .. });
    Origin::Value(frame, if result { node.operands[0] } else { value })
}

/// Calls `see` with the view and the origin of everything stored that the inline expression of `value` reads. With
/// `Start::Definition` the value's own storage is not looked at, but what it is computed from.
pub(crate) fn leaves(
    frames: &[Frame<'_>],
    frame: usize,
    value: ValueId,
    start: Start,
    see: &mut impl FnMut(View, Origin),
) {
    let mut seen = HashSet::new();
    let mut stack = vec![(frame, value, start)];
    while let Some((frame, value, start)) = stack.pop() {
        if start == Start::Value {
            if !seen.insert((frame, value)) {
                continue;
            }
            if let Some(view) = view_of(frames, frame, value) {
                see(view, origin(frames, frame, value));
                continue;
            }
        }
        let f = &frames[frame];
        let node = &f.graph[value];
        if let Op::Input { index } = &node.op {
            if let Some(outer) = f.outer.get(*index as usize).copied().flatten() {
                stack.push((f.parent, outer.value, Start::Value));
            }
            continue;
        }
        stack.extend(node.operands.iter().rev().map(|o| (frame, *o, Start::Value)));
    }
}

/// Where a walk of an expression begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// At the value, which may be stored.
    Value,
    /// At what computes the value.
    Definition,
}

/// The origins that [`leaves`] meets, each once, in order.
pub(crate) fn reads(frames: &[Frame<'_>], frame: usize, value: ValueId, start: Start) -> Vec<Origin> {
    let mut found = Vec::new();
    leaves(frames, frame, value, start, &mut |_, origin| {
        if !found.contains(&origin) {
            found.push(origin);
        }
    });
    found
}

/// A name for people: the author's, else the operation.
pub(crate) fn label(graph: &Graph, value: ValueId) -> String {
    let node = &graph[value];
    match node.name {
        Some(name) => name.to_string(),
        None => node.op.kind().mnemonic().to_string(),
    }
}
