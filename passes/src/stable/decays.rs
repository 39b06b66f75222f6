//! Decays `exp(-exp(w))` whose logarithm stays a number.
//!
//! Where `w` is large the decay is 0 in every float, but its logarithm is minus infinity, and a gradient of 0 times
//! infinity is no number. With `min(w, 80)` in place of `w` every float result is the same, bit for bit, and the
//! gradient by `w` is the 0 that it is.

use carousel_ir::{Builder, Graph, Module, Op, Scan, ValueId};

/// exp(-exp(80)) is 0 in every float type, and exp(80) is finite in every one.
const LARGEST: f64 = 80.0;

/// The graph with such decays bounded, in it and in the bodies of its loops; `module` holds what it calls.
pub(super) fn bounded(module: &Module, graph: &Graph) -> Graph {
    if !any(graph) {
        return graph.clone();
    }
    let empty = Graph { axes: graph.axes.clone(), inputs: graph.inputs.clone(), ..Graph::default() };
    let mut builder = Builder::resume(module, empty);
    let mut made: Vec<ValueId> = Vec::with_capacity(graph.nodes.len());
    for (value, node) in graph.iter() {
        builder.span = node.span;
        let mut operands: Vec<ValueId> = node.operands.iter().map(|o| made[o.index()]).collect();
        let new = if let Some(w) = exponent(graph, value) {
            let w = made[w.index()];
            let largest = builder.constant(LARGEST, builder.ty(w).dtype);
            let w = builder.min(w, largest);
            let inner = builder.exp(w);
            operands[0] = builder.neg(inner);
            builder.push(node.op.clone(), &operands)
        } else if let Op::Scan { scan } = &node.op {
            let body = bounded(&Module::default(), &scan.body);
            builder.push(Op::Scan { scan: Box::new(Scan { body, ..(**scan).clone() }) }, &operands)
        } else {
            builder.push(node.op.clone(), &operands)
        };
        node.name.iter().for_each(|name| builder.name(new, *name));
        made.push(new);
    }
    for output in &graph.outputs {
        builder.output_as(output.name.as_str(), made[output.value.index()], output.axes.clone());
    }
    builder.finish_pass()
}

fn any(graph: &Graph) -> bool {
    graph.iter().any(|(value, node)| {
        exponent(graph, value).is_some()
            || if let Op::Scan { scan } = &node.op { any(&scan.body) } else { false }
    })
}

/// The w of `exp(-exp(w))`, if it may be large.
fn exponent(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let operand = |value: ValueId, is_it: fn(&Op) -> bool| {
        let node = &graph[value];
        is_it(&node.op).then(|| node.operands[0])
    };
    let negated = operand(value, |op| matches!(op, Op::Exp))?;
    let inner = operand(negated, |op| matches!(op, Op::Neg))?;
    let w = operand(inner, |op| matches!(op, Op::Exp))?;
    (!matches!(graph[w].op, Op::Min)).then_some(w)
}
