//! Factors that nobody feels: where a value only scales what a norm without an epsilon will scale back, its cotangent
//! is exactly zero, and so is that of all that it was made for. The normaliser of a memory before a norm is the case
//! that matters: neither its state nor its gates get a gradient of it.
//!
//! Proof by degrees. Where a value `d` is scaled by some `s` that has its axes, a value of degree `k` is scaled by
//! `s^k`. Where every path from `d` that a cotangent can come back on ends in degree 0, the results do not depend on
//! `s`, so that their derivative by `s` at `s = 1`, `d * cot.d`, is 0. Of loops, calls and linear scans nothing is
//! known: they feel all.

use crate::flow;
use carousel_ir::{Axes, Graph, Node, Op, OpKind, ValueId};
use std::collections::{BTreeSet, HashMap, HashSet};

/// The values with fewer axes than what they scale, of whose own scale nothing comes to `seeds`.
pub(crate) fn unfelt(
    graph: &Graph,
    varied: &[bool],
    seeds: impl Iterator<Item = ValueId>,
) -> HashSet<ValueId> {
    let seeds: HashSet<ValueId> = seeds.collect();
    let useful = flow::felt_in(graph, seeds.iter().copied());
    let mut users: Vec<Vec<ValueId>> = vec![Vec::new(); graph.nodes.len()];
    let mut candidates = BTreeSet::new();
    for (value, node) in graph.iter().filter(|(v, _)| varied[v.index()] && useful[v.index()]) {
        let scales = matches!(node.op.kind(), OpKind::Mul | OpKind::Div);
        for operand in node.operands.iter().copied().filter(|o| varied[o.index()]) {
            users[operand.index()].push(value);
            if scales && graph.ty(operand).axes.len() < node.ty().axes.len() {
                candidates.insert(operand);
            }
        }
    }
    candidates.into_iter().filter(|c| vanishes(graph, &users, &seeds, *c)).collect()
}

/// Whether nothing that comes of `start` feels a scaling of it.
fn vanishes(graph: &Graph, users: &[Vec<ValueId>], seeds: &HashSet<ValueId>, start: ValueId) -> bool {
    let axes = &graph.ty(start).axes;
    let mut degrees = HashMap::new();
    let mut next = BTreeSet::from([start]);
    // Operands stand before their users, so that the first one has all of its degrees.
    while let Some(value) = next.pop_first() {
        let degree = if value == start { Some(1.0) } else { degree(graph, &graph[value], &degrees, axes) };
        let Some(degree) = degree else { return false };
        if degree != 0.0 {
            if seeds.contains(&value) {
                return false;
            }
            degrees.insert(value, degree);
            next.extend(&users[value.index()]);
        }
    }
    true
}

/// The degree of a result; `None` where scaled operands do not scale it.
#[rustfmt::skip]
fn degree(graph: &Graph, node: &Node, degrees: &HashMap<ValueId, f64>, scaled: &Axes) -> Option<f64> {
    let of = |place: usize| degrees.get(&node.operands[place]).copied().unwrap_or(0.0);
    let zero = |place: usize| graph.is_zero(node.operands[place]);
    let keeps = |touched: &Axes| touched.intersection(scaled).is_empty();
    // The common degree of terms; zeros have any.
    let common = |places: std::ops::Range<usize>| {
        let mut terms = places.filter(|p| !zero(*p)).map(of);
        let first = terms.next().unwrap_or(0.0);
        terms.all(|d| d == first).then_some(first)
    };
    match &node.op {
        Op::Neg | Op::Abs | Op::Cast { .. } => Some(of(0)),
        Op::Sqrt => Some(of(0) / 2.0),
        Op::Mul => Some(of(0) + of(1)),
        Op::Div => Some(of(0) - of(1)),
        Op::Add | Op::Sub | Op::Min | Op::Max => common(0..2),
        Op::Select => common(1..3),
        Op::Dot { axes } => keeps(axes).then(|| of(0) + of(1)),
        Op::Sum { axes } | Op::ReduceMax { axes } | Op::Broadcast { axes } => keeps(axes).then(|| of(0)),
        Op::Gather { axis } | Op::CumSum { axis, .. } | Op::CumMax { axis, .. } | Op::Shift { axis, .. } => keeps(&(*axis).into()).then(|| of(0)),
        Op::Rename { from: axis, .. } | Op::Split { axis, .. } | Op::Slice { axis, .. } | Op::Pad { axis, .. } => {
            keeps(&(*axis).into()).then(|| of(0))
        }
        Op::Merge { axes, .. } => keeps(axes).then(|| of(0)),
        Op::Concat { axes, .. } => {
            keeps(&axes.iter().copied().collect()).then(|| common(0..node.operands.len())).flatten()
        }
        // Others may do anything with what they see.
        Op::Input { .. } | Op::Const { .. } | Op::SizeOf { .. } | Op::Iota { .. } | Op::Uniform { .. } | Op::FoldIn { .. }
        | Op::Exp | Op::Log | Op::Log1p | Op::Tanh | Op::Sigmoid | Op::Logsigmoid | Op::Erf
        | Op::Sign | Op::Floor | Op::Ceil | Op::Detach
        | Op::Not | Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::And | Op::Or
        | Op::ScatterAdd { .. }
        | Op::LinRead { .. } | Op::LinReadDecay { .. } | Op::LinSolve { .. }
        | Op::Scan { .. } | Op::Call { .. } | Op::Proj { .. } => None,
    }
}
