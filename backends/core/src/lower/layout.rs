//! The order of axes in memory of values that lowering stores.
//!
//! Policy, first match wins: inputs and outputs of functions are row-major in the declared order. A contraction
//! follows the operand that brings axes of unknown size (the data, not the weights), or where that is both or neither, what it
//! is combined with. Other values follow the first
//! stored value that they are computed from and that has all their axes; else the one that has most of them, data before
//! weights, with the other axes innermost. What is computed from nothing stored takes its type's order. Where neighbouring threads
//! read neighbours ([`crate::Target::is_coalescing`]), other axes do not come between these.

use super::Context;
use super::frame::{Start, view_of};
use carousel_ir::{Axes, Axis, Class, Node, Op, ValueId};

/// An axis with fewer elements than this is no row for a warp.
const SHORT: u64 = 32;

/// The axes of a value in the order in which it is to be stored.
pub(crate) fn order(cx: &Context<'_>, frame: usize, value: ValueId) -> Vec<Axis> {
    let graph = cx.frames[frame].graph;
    let node = &graph[value];
    let axes = &node.ty().axes;
    let is_reduction = cx.target.is_coalescing && !cx.frames[frame].products.contains(&value);
    if let Op::Dot { axes: contracted } = &node.op
        && !is_reduction
    {
        let brings_data = |own: &Axes, other: &Axes| {
            own.without(other).iter().any(|a| graph.axes.size(a).known().is_none())
        };
        let (a, b) = (memory_order(cx, frame, node.operands[0]), memory_order(cx, frame, node.operands[1]));
        let second_first = match (brings_data(&a, &b), brings_data(&b, &a)) {
            (true, false) => false,
            (false, true) => true,
            (true, true) | (false, false) => companion(cx, frame, value).is_some_and(|order| {
                let first = order.into_iter().find(|axis| a.contains(*axis) != b.contains(*axis));
                first.is_some_and(|axis| b.contains(axis))
            }),
        };
        let order = if second_first { b.union(&a) } else { a.union(&b) };
        return order.without(contracted).iter().collect();
    }
    let found = Axes::new(followed(cx, frame, value, Start::Definition)).intersection(axes);
    let order: Vec<Axis> = found.union(axes).iter().collect();
    if !cx.target.is_coalescing {
        return order;
    }
    let last = innermost(cx, frame, node, &found);
    order.iter().copied().filter(|axis| Some(*axis) != last).chain(last).collect()
}

/// The axis to lie innermost where neighbouring threads read neighbours, if there is a reason for one: the last one of what is
/// followed; of what is repeated along new axes, the last one of the largest operand; of a running sum of few rows its own axis,
/// as a block scans one row after the other, else any but its own.
fn innermost(cx: &Context<'_>, frame: usize, node: &Node, found: &Axes) -> Option<Axis> {
    let f = &cx.frames[frame];
    let size = |axis: Axis| f.graph.axes.size(axis).known().unwrap_or(u64::MAX);
    let inner = found.iter().last();
    if let Op::CumSum { axis, .. } | Op::CumMax { axis, .. } = node.op {
        let rows = node.ty().axes.iter().filter(|other| *other != axis);
        let rows = rows.filter_map(|other| f.graph.axes.size(other).known());
        let are_few = (SHORT..u64::MAX).contains(&size(axis)) && rows.product::<u64>() < SHORT;
        return if are_few {
            Some(axis)
        } else {
            inner.filter(|inner| *inner != axis && size(*inner) >= SHORT)
        };
    }
    if found.len() == node.ty().axes.len() {
        return inner;
    }
    let orders = node.operands.iter().map(|operand| {
        let mut order = followed(cx, frame, *operand, Start::Value);
        rename(&node.op, &mut order);
        order.retain(|axis| node.ty().axes.contains(*axis));
        order
    });
    let elements = |order: &Vec<Axis>| {
        order
            .iter()
            .map(|axis| f.graph.axes.size(*axis).known().unwrap_or_else(|| cx.likely_size(*axis)))
            .fold(1, u64::saturating_mul)
    };
    orders.max_by_key(elements).and_then(|order| order.last().copied()).filter(|axis| size(*axis) >= SHORT)
}

/// The order of a stored value with the same axes that an elementwise operation combines with a value.
fn companion(cx: &Context<'_>, frame: usize, value: ValueId) -> Option<Vec<Axis>> {
    let f = &cx.frames[frame];
    let count = f.graph.ty(value).axes.len();
    let combines = |(user, node): &(ValueId, &Node)| {
        f.live[user.index()]
            && node.op.kind().class() == Class::Elementwise
            && node.operands.contains(&value)
            && node.ty().axes.len() == count
    };
    let users = f.graph.iter().filter(combines);
    let others = users.flat_map(|(_, node)| node.operands.iter().filter(|operand| **operand != value));
    others.map(|other| followed(cx, frame, *other, Start::Value)).find(|order| order.len() == count)
}

/// The order of the stored value that a value follows, in the value's own axes; axes that it lacks are missing.
fn followed(cx: &Context<'_>, frame: usize, value: ValueId, start: Start) -> Vec<Axis> {
    if start == Start::Value
        && let Some(view) = view_of(&cx.frames, frame, value)
    {
        return view.order();
    }
    let f = &cx.frames[frame];
    let node = &f.graph[value];
    if let Op::Input { index } = &node.op {
        let outer = f.outer.get(*index as usize).copied().flatten();
        let mut order = outer.map_or(Vec::new(), |o| followed(cx, f.parent, o.value, Start::Value));
        order.retain(|a| outer.and_then(|o| o.along).is_none_or(|(along, _)| along != *a));
        return order;
    }
    let Some(ty) = node.types.first().filter(|_| node.types.len() == 1) else { return Vec::new() };
    let weight = |order: &[Axis]| {
        let unknown = order.iter().filter(|a| f.graph.axes.size(**a).known().is_none()).count();
        (order.len() == ty.axes.len(), unknown, order.len())
    };
    let mut found: Vec<Axis> = Vec::new();
    for operand in &node.operands {
        let mut order = followed(cx, frame, *operand, Start::Value);
        rename(&node.op, &mut order);
        order.retain(|a| ty.axes.contains(*a));
        if weight(&order) > weight(&found) {
            found = order;
        }
    }
    found
}

/// What an operation calls the axes of its operand.
fn rename(op: &Op, order: &mut Vec<Axis>) {
    let mut replace = |from: Axis, to: &[Axis]| {
        if let Some(at) = order.iter().position(|a| *a == from) {
            order.splice(at..=at, to.iter().copied());
        }
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others keep the names of their operands' axes")]
    match op {
        Op::Rename { from, to } | Op::Slice { axis: from, to, .. } | Op::Pad { axis: from, to, .. } => {
            replace(*from, &[*to]);
        }
        Op::Split { axis, into } => replace(*axis, into.as_slice()),
        Op::Merge { axes, into } => {
            if let Some(first) = axes.iter().next() {
                replace(first, &[*into]);
            }
        }
        _ => {}
    }
}

/// The axes of a value in the order in which they lie in memory, if it does; else in its type's order.
fn memory_order(cx: &Context<'_>, frame: usize, value: ValueId) -> Axes {
    let axes = &cx.frames[frame].graph.ty(value).axes;
    let order = view_of(&cx.frames, frame, value).map(|view| view.order()).unwrap_or_default();
    Axes::new(order).intersection(axes).union(axes)
}

/// The order of a scan's stacked yield: that of a sequence with the same axes, else its type's. What only other scans read, such
/// as what a backward pass needs of each step, lies as a grid point goes through it: one step after the other.
pub(crate) fn stacked(cx: &Context<'_>, frame: usize, scan: ValueId, projection: ValueId) -> Vec<Axis> {
    let graph = cx.frames[frame].graph;
    let axes = &graph.ty(projection).axes;
    let node = &graph[scan];
    let Op::Scan { scan: inner } = &node.op else { panic!("{} is no scan", node.op.kind()) };
    let (states, end) = (inner.states as usize, (inner.states + inner.sequences) as usize);
    let like = node.operands[states..end].iter().filter(|s| graph.ty(**s).axes == *axes);
    let order = like
        .filter_map(|s| view_of(&cx.frames, frame, *s))
        .map(|view| view.order())
        .find(|order| order.len() == axes.len())
        .unwrap_or_else(|| axes.iter().collect());
    let mut users = graph.nodes.iter().filter(|node| node.operands.contains(&projection));
    if graph.outputs.iter().any(|output| output.value == projection)
        || !users.all(|user| matches!(user.op, Op::Scan { .. }))
    {
        return order;
    }
    let mut steps = super::scan::grid_axes(cx, frame, scan);
    steps.push(inner.axis);
    Axes::new(steps).intersection(axes).union(&Axes::new(order)).iter().collect()
}

/// The order of a scan's state whose start lies nowhere, for threads that read neighbours: the axes of the sequence that has most of
/// them, the last one of several, lie innermost, in that one's order.
pub(crate) fn state(
    cx: &Context<'_>,
    frame: usize,
    axes: &Axes,
    sequences: &[ValueId],
    along: Axis,
) -> Vec<Axis> {
    let orders = sequences.iter().map(|sequence| followed(cx, frame, *sequence, Start::Value));
    let own = orders
        .map(|order| Axes::new(order.into_iter().filter(|axis| *axis != along)))
        .filter(|order| order.is_subset(axes));
    let common = own.max_by_key(Axes::len).unwrap_or_else(Axes::none);
    axes.without(&common).iter().chain(common.iter()).collect()
}
