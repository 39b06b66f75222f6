//! What an operation costs: how extraction chooses among equal terms.
//!
//! The default counts element operations weighted by kind. It knows nothing of fusion or of a machine: a backend that
//! prices whole plans implements [`Cost`] for candidates, and gives its own number for a graph.

use carousel_ir::{AxisTable, Class, Graph, Op, OpKind, Size, Type};

/// Prices operations and graphs. Every operation costs more than 0: extraction relies on it.
pub trait Cost {
    /// The cost of one operation.
    fn operation(&self, op: &Op, operands: &[&Type], results: &[Type], axes: &AxisTable) -> f64;

    /// The cost of a whole candidate; unless something better is known, that of its operations.
    fn graph(&self, graph: &Graph) -> f64 {
        let one = |node: &carousel_ir::Node| {
            // Tuples have no elements of their own.
            let operands: Vec<&Type> = node.operands.iter().filter_map(|v| graph[*v].types.first()).collect();
            self.operation(&node.op, &operands, &node.types, &graph.axes)
        };
        graph.nodes.iter().map(one).sum()
    }
}

/// Element operations by kind, with a guess for sizes that are not known yet.
#[derive(Clone, Copy, Debug)]
pub struct SizeWeighted {
    /// What a symbol in a size counts as.
    pub dynamic: u64,
}

impl Default for SizeWeighted {
    fn default() -> SizeWeighted {
        SizeWeighted { dynamic: 64 }
    }
}

/// What any operation costs beside its elements; breaks ties in favour of fewer operations.
const BASE: f64 = 1.0 / 1024.0;

impl Cost for SizeWeighted {
    fn operation(&self, op: &Op, operands: &[&Type], results: &[Type], axes: &AxisTable) -> f64 {
        let size = |s: &Size| s.evaluate(&|_| Some(self.dynamic)).unwrap_or(self.dynamic).max(1) as f64;
        let elements = |ty: &Type| ty.axes.iter().filter_map(|a| axes.get(a)).map(size).product::<f64>();
        let written: f64 = results.iter().map(elements).sum();
        let read = operands.iter().map(|t| elements(t)).fold(written, f64::max);
        let count = if let Op::Dot { axes: summed } = op {
            written * summed.iter().filter_map(|a| axes.get(a)).map(size).product::<f64>()
        } else if op.kind().class() == Class::Reduce {
            read
        } else {
            written
        };
        BASE + count * weight(op.kind())
    }
}

/// The cost of one element.
fn weight(kind: OpKind) -> f64 {
    match kind {
        OpKind::Input | OpKind::Const | OpKind::Proj => 0.0,
        OpKind::Rename | OpKind::Split | OpKind::Merge | OpKind::Detach | OpKind::SizeOf => 1.0 / 16.0,
        OpKind::Broadcast | OpKind::Iota | OpKind::Slice | OpKind::Pad | OpKind::Concat | OpKind::Shift => {
            0.25
        }
        OpKind::Neg
        | OpKind::Abs
        | OpKind::Sign
        | OpKind::Floor
        | OpKind::Ceil
        | OpKind::Not
        | OpKind::Cast
        | OpKind::Add
        | OpKind::Sub
        | OpKind::Mul
        | OpKind::Min
        | OpKind::Max
        | OpKind::Eq
        | OpKind::Ne
        | OpKind::Lt
        | OpKind::Le
        | OpKind::And
        | OpKind::Or
        | OpKind::Select
        | OpKind::Sum
        | OpKind::ReduceMax
        | OpKind::Dot
        | OpKind::Gather
        | OpKind::LinRead
        | OpKind::LinReadDecay
        | OpKind::LinSolve
        | OpKind::Scan
        | OpKind::Call
        | OpKind::FoldIn => 1.0,
        OpKind::CumSum | OpKind::CumMax | OpKind::ScatterAdd => 2.0,
        OpKind::Div | OpKind::Sqrt => 4.0,
        OpKind::Exp | OpKind::Log | OpKind::Log1p => 8.0,
        OpKind::Tanh | OpKind::Sigmoid | OpKind::Erf | OpKind::Uniform => 10.0,
        OpKind::Logsigmoid => 12.0,
    }
}
