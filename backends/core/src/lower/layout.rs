//! The order of axes in memory of values that lowering stores.
//!
//! Policy, first match wins: inputs and outputs of functions are row-major in the declared order. A contraction
//! follows the operand that brings axes of unknown size (the data, not the weights). Other values follow the first
//! stored value that they are computed from and that has all their axes. What remains takes its type's order.

use super::Context;
use super::frame::{Start, leaves, view_of};
use carousel_ir::{Axes, Axis, Op, ValueId};

/// The axes of a value in the order in which it is to be stored.
pub(crate) fn order(cx: &Context<'_>, frame: usize, value: ValueId) -> Vec<Axis> {
    let graph = cx.frames[frame].graph;
    let node = &graph[value];
    let axes = &node.ty().axes;
    if let Op::Dot { axes: contracted } = &node.op {
        let brings_data = |own: &Axes, other: &Axes| {
            own.without(other).iter().any(|a| graph.axes.size(a).known().is_none())
        };
        let (a, b) = (memory_order(cx, frame, node.operands[0]), memory_order(cx, frame, node.operands[1]));
        let second_first = brings_data(&b, &a) && !brings_data(&a, &b);
        let order = if second_first { b.union(&a) } else { a.union(&b) };
        return order.without(contracted).iter().collect();
    }
    let mut found: Option<Vec<Axis>> = None;
    leaves(&cx.frames, frame, value, Start::Definition, &mut |view, _| {
        let order: Vec<Axis> = view.order().into_iter().filter(|a| axes.contains(*a)).collect();
        if found.is_none() && order.len() == axes.len() {
            found = Some(order);
        }
    });
    found.unwrap_or_else(|| axes.iter().collect())
}

/// The axes of a value in the order in which they lie in memory, if it does; else in its type's order.
fn memory_order(cx: &Context<'_>, frame: usize, value: ValueId) -> Axes {
    let axes = &cx.frames[frame].graph.ty(value).axes;
    let order = view_of(&cx.frames, frame, value).map(|view| view.order()).unwrap_or_default();
    Axes::new(order).intersection(axes).union(axes)
}

/// The order of a scan's stacked yield: that of a sequence with the same axes, else its type's.
pub(crate) fn stacked(cx: &Context<'_>, frame: usize, axes: &Axes, sequences: &[ValueId]) -> Vec<Axis> {
    let graph = cx.frames[frame].graph;
    let like = sequences.iter().filter(|s| graph.ty(**s).axes == *axes);
    like.filter_map(|s| view_of(&cx.frames, frame, *s))
        .map(|view| view.order())
        .find(|order| order.len() == axes.len())
        .unwrap_or_else(|| axes.iter().collect())
}
