//! A graph that goes along an axis from its other end.
//!
//! Invariant: on inputs whose elements along the axis are in the opposite order, results are those of the graph in the
//! opposite order, but for random numbers. Loops, running sums and delays turn round; what tells steps by their places is
//! refused.

use crate::{Axis, FunctionId, Graph, Op, OpKind, Span};

/// What cannot be turned round: its place, and what it does.
pub(crate) type Refusal = (Span, &'static str);

/// What treats each step alike, or turns round as a whole.
const ALLOWED: [OpKind; 11] = [
    OpKind::Scan,
    OpKind::Call,
    OpKind::Shift,
    OpKind::CumSum,
    OpKind::CumMax,
    OpKind::Broadcast,
    OpKind::Sum,
    OpKind::ReduceMax,
    OpKind::Dot,
    OpKind::SizeOf,
    OpKind::Uniform,
];

/// The graph from the other end of `axis`; `callee` gives the functions that it calls from there.
pub(crate) fn mirrored(
    graph: &Graph,
    axis: Axis,
    callee: &dyn Fn(FunctionId) -> FunctionId,
) -> Result<Graph, Refusal> {
    let mut graph = graph.clone();
    for node in &mut graph.nodes {
        if node.op.names_axis(axis) && !ALLOWED.contains(&node.op.kind()) {
            return Err((node.span, "takes the steps apart, or tells them by their places"));
        }
        if let Op::Scan { scan } = &mut node.op {
            if scan.axis == axis {
                scan.direction = scan.direction.flipped();
            }
            scan.body = mirrored(&scan.body, axis, callee)?;
        } else if let Op::Call { function } = &mut node.op {
            *function = callee(*function);
        } else if let Op::Shift { axis: along, by } = &mut node.op {
            *by = if *along == axis { -*by } else { *by };
        } else if let Op::CumSum { axis: along, direction } | Op::CumMax { axis: along, direction } =
            &mut node.op
            && *along == axis
        {
            *direction = direction.flipped();
        }
    }
    Ok(graph)
}
