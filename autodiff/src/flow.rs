//! Where gradients flow: which values depend on what is differentiated, and which matter for what it is
//! differentiated of.
//!
//! Invariant: both err on the side of "yes". A loop or a call counts as a whole here; [`crate::loops`] looks inside.

use carousel_ir::{Graph, Node, Op, ValueId};

/// Whether a cotangent of the node's result reaches its operands at all.
fn passes(node: &Node) -> bool {
    !matches!(node.op, Op::Detach | Op::Sign | Op::Floor | Op::Ceil)
        && (is_tuple(node) || node.ty().dtype.is_float())
}

fn is_tuple(node: &Node) -> bool {
    matches!(node.op, Op::Scan { .. } | Op::Call { .. } | Op::LinRead { .. })
}

fn is_float(graph: &Graph, value: ValueId) -> bool {
    is_tuple(&graph[value]) || graph.ty(value).dtype.is_float()
}

/// The values through which some of the chosen inputs can be felt.
pub(crate) fn varied(graph: &Graph, inputs: &[bool]) -> Vec<bool> {
    let mut varied = vec![false; graph.nodes.len()];
    for (value, node) in graph.iter() {
        let here = if let Op::Input { index } = node.op { inputs[index as usize] } else { false };
        varied[value.index()] = passes(node) && (here || node.operands.iter().any(|o| varied[o.index()]));
    }
    varied
}

/// The values that can be felt in some of the chosen outputs.
pub(crate) fn useful(graph: &Graph, outputs: &[bool]) -> Vec<bool> {
    let chosen = graph.outputs.iter().zip(outputs).filter(|(_, chosen)| **chosen);
    felt_in(graph, chosen.map(|(output, _)| output.value))
}

/// The values that can be felt in some of those.
pub(crate) fn felt_in(graph: &Graph, results: impl Iterator<Item = ValueId>) -> Vec<bool> {
    let mut useful = vec![false; graph.nodes.len()];
    results.for_each(|value| useful[value.index()] = is_float(graph, value));
    for (value, node) in graph.iter().rev() {
        if useful[value.index()] && passes(node) {
            node.operands.iter().filter(|o| is_float(graph, **o)).for_each(|o| useful[o.index()] = true);
        }
    }
    useful
}
