//! Which values are stored and which are computed again wherever they are used.
//!
//! Reductions, contractions, cumulative operations and scatters are stored: they are statements. Anything else is
//! inlined into its users, unless that would repeat expensive work: it is used several times, it is broadcast by a
//! user, it can be hoisted out of the loop, or the expression would become too large. Rearrangements of strides are
//! never stored for these reasons; the value behind them is.

use super::frame::{Cost, Frame, is_statement, rearranges};
use crate::target::Target;
use carousel_ir::{Graph, Op, ValueId};

/// How a value is used, seen through rearrangements.
#[derive(Clone, Copy, Default)]
struct Uses {
    count: u32,
    /// Some use repeats it along axes that it lacks.
    repeated: bool,
    /// Some use is inside the loop's varying part.
    varying: bool,
}

/// Decides for every live value of the last frame.
pub(crate) fn classify(frames: &mut [Frame<'_>], target: &Target) {
    let at = frames.len() - 1;
    let uses = uses(&frames[at], target);
    let data = data(frames[at].graph);
    for index in 0..frames[at].graph.nodes.len() {
        let value = ValueId(index as u32);
        if !frames[at].live[index] {
            continue;
        }
        let cost = cost(frames, at, value);
        let frame = &mut frames[at];
        let op = &frame.graph[value].op;
        let inline = !is_statement(op) && !is_source(op);
        let u = uses[index];
        let stored = inline
            && !rearranges(op)
            && (cost.operations > target.inline_operations
                || (u.count > 1 && (cost.heavy || cost.operations > 8))
                || (u.repeated && (cost.heavy || cost.operations > 4) && data[index])
                || (!frame.varies[index] && u.varying && (cost.heavy || cost.operations > 2)));
        frame.stored[index] = stored || is_statement(op);
        frame.cost[index] = if frame.stored[index] { Cost::default() } else { cost };
    }
}

fn is_source(op: &Op) -> bool {
    matches!(op, Op::Input { .. } | Op::Proj { .. } | Op::Scan { .. } | Op::Call { .. })
}

/// Which values depend on anything but constants and sizes.
fn data(graph: &Graph) -> Vec<bool> {
    let mut data = vec![false; graph.nodes.len()];
    for (value, node) in graph.iter() {
        let constant = matches!(node.op, Op::Const { .. } | Op::SizeOf { .. });
        data[value.index()] =
            !constant && (node.operands.is_empty() || node.operands.iter().any(|o| data[o.index()]));
    }
    data
}

fn uses(frame: &Frame<'_>, target: &Target) -> Vec<Uses> {
    let graph = frame.graph;
    let mut uses = vec![Uses::default(); graph.nodes.len()];
    for output in graph.outputs.iter().filter(|o| frame.live[o.value.index()]) {
        uses[output.value.index()].count += 1;
    }
    for (value, node) in graph.iter().rev().filter(|(v, _)| frame.live[v.index()]) {
        let own = uses[value.index()];
        for operand in &node.operands {
            let use_ = &mut uses[operand.index()];
            use_.varying |= frame.varies[value.index()];
            if rearranges(&node.op) {
                use_.count += own.count;
                use_.repeated |= own.repeated || matches!(node.op, Op::Broadcast { .. });
                continue;
            }
            use_.count += 1;
            let Some(ty) = graph[*operand].types.first().filter(|_| graph[*operand].types.len() == 1) else {
                continue;
            };
            use_.repeated |= match &node.op {
                // The points at which the operand is evaluated are those of both operands.
                Op::Dot { .. } => {
                    let all = node.operands.iter().map(|o| graph.ty(*o).axes.len()).max();
                    // Such a contraction is no product if nobody else needs the operand.
                    let is_each_once = target.is_coalescing
                        && node.operands.iter().all(|o| graph.ty(*o).axes.is_subset(&ty.axes));
                    !is_each_once
                        && (all > Some(ty.axes.len())
                            || node.operands.iter().any(|o| graph.ty(*o).axes != ty.axes))
                }
                Op::Gather { .. } => true,
                Op::Scan { .. }
                | Op::Call { .. }
                | Op::LinRead { .. }
                | Op::LinReadDecay { .. }
                | Op::LinSolve { .. } => false,
                Op::ScatterAdd { .. } => node.operands.iter().any(|o| !graph.ty(*o).axes.is_subset(&ty.axes)),
                Op::Sum { .. } | Op::ReduceMax { .. } | Op::CumSum { .. } | Op::CumMax { .. } => false,
                Op::Input { .. }
                | Op::Const { .. }
                | Op::SizeOf { .. }
                | Op::Iota { .. }
                | Op::Proj { .. }
                | Op::FoldIn { .. } => false,
                Op::Uniform { axes, .. } => !axes.is_empty(),
                Op::Neg
                | Op::Abs
                | Op::Sign
                | Op::Floor
                | Op::Ceil
                | Op::Exp
                | Op::Log
                | Op::Log1p
                | Op::Sqrt
                | Op::Tanh
                | Op::Sigmoid
                | Op::Logsigmoid
                | Op::Erf
                | Op::Not
                | Op::Cast { .. }
                | Op::Detach
                | Op::Add
                | Op::Sub
                | Op::Mul
                | Op::Div
                | Op::Min
                | Op::Max
                | Op::Eq
                | Op::Ne
                | Op::Lt
                | Op::Le
                | Op::And
                | Op::Or
                | Op::Select
                | Op::Rename { .. }
                | Op::Split { .. }
                | Op::Merge { .. }
                | Op::Broadcast { .. }
                | Op::Slice { .. }
                | Op::Pad { .. }
                | Op::Concat { .. }
                | Op::Shift { .. } => {
                    !node.ty().axes.is_subset(&ty.axes) && node.ty().axes.len() > ty.axes.len()
                }
            };
        }
    }
    uses
}

/// Cost of the value's own expression, its stored operands being free.
fn cost(frames: &[Frame<'_>], at: usize, value: ValueId) -> Cost {
    let frame = &frames[at];
    let node = &frame.graph[value];
    let sum = node.operands.iter().fold(Cost::default(), |c, o| {
        let o = frame.cost[o.index()];
        Cost { operations: c.operations.saturating_add(o.operations), heavy: c.heavy || o.heavy }
    });
    let plus = |operations: u32, heavy: bool| Cost {
        operations: sum.operations.saturating_add(operations),
        heavy: sum.heavy || heavy,
    };
    match &node.op {
        Op::Input { index } => match frame.outer.get(*index as usize).copied().flatten() {
            Some(outer) => frames[frame.parent].cost[outer.value.index()],
            None => Cost::default(),
        },
        Op::Const { .. } | Op::SizeOf { .. } | Op::Iota { .. } => Cost::default(),
        Op::Scan { .. } | Op::Call { .. } | Op::Proj { .. } => Cost::default(),
        Op::LinRead { .. } | Op::LinReadDecay { .. } | Op::LinSolve { .. } => Cost::default(),
        Op::Sum { .. } | Op::ReduceMax { .. } | Op::Dot { .. } => Cost::default(),
        Op::CumSum { .. } | Op::CumMax { .. } | Op::ScatterAdd { .. } => Cost::default(),
        Op::Rename { .. }
        | Op::Split { .. }
        | Op::Slice { .. }
        | Op::Broadcast { .. }
        | Op::Detach
        | Op::Cast { .. } => sum,
        Op::Merge { .. } | Op::Pad { .. } | Op::Shift { .. } | Op::Gather { .. } => plus(1, false),
        Op::Concat { axes, .. } => plus(2 * axes.len() as u32, false),
        Op::Uniform { .. } | Op::FoldIn { .. } => plus(8, true),
        Op::Exp
        | Op::Log
        | Op::Log1p
        | Op::Sqrt
        | Op::Tanh
        | Op::Sigmoid
        | Op::Logsigmoid
        | Op::Erf
        | Op::Div => plus(1, true),
        Op::Neg
        | Op::Abs
        | Op::Sign
        | Op::Floor
        | Op::Ceil
        | Op::Not
        | Op::Add
        | Op::Sub
        | Op::Mul
        | Op::Min
        | Op::Max
        | Op::Eq
        | Op::Ne
        | Op::Lt
        | Op::Le
        | Op::And
        | Op::Or
        | Op::Select => plus(1, false),
    }
}
