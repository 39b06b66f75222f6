//! The recogniser: from the body of a loop to linear scans.
//!
//! The states of a loop are solved one after the other, each from those before it (`strata`): a state whose update is
//! linear in it becomes a linear scan, others, such as the running maximum of a stabiliser, stay a loop of their own,
//! as long as no linear state is needed for them. Everything else in the body is computed for all steps at once
//! (`lift`). Invariants: nothing is known of a cell by name; a loop is either rewritten, or left as it was with the
//! reason; decays are taken only if their product over any run of steps is proved to be at most e.

mod facts;
mod lift;
mod reads;
mod refusal;
mod strata;

pub use refusal::{Class, Refusal};

use super::classify::{Recurrence, refused};

use carousel_ir::{Axis, Builder, Graph, Module, Name, Op, ValueId};
use std::fmt;

/// What became of a state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stratum {
    /// A linear scan.
    Linear,
    /// A loop of its own.
    Kept,
}

/// What became of a loop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recognition {
    /// The function that it is in.
    pub function: Name,
    /// Along which axis it runs.
    pub axis: Axis,
    /// Its kind, by its equations alone; none where the recogniser stopped for a reason that says nothing of it.
    pub kind: Option<Recurrence>,
    /// The states by name, or why nothing was done.
    pub outcome: Result<Vec<(Name, Stratum)>, Refusal>,
}

impl fmt::Display for Recognition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, loop along {}: ", self.function, self.axis)?;
        match &self.outcome {
            Err(refusal) => write!(f, "left as it is: {refusal}"),
            Ok(states) => {
                for (place, (name, stratum)) in states.iter().enumerate() {
                    let what = match stratum {
                        Stratum::Linear => "linear",
                        Stratum::Kept => "a loop",
                    };
                    write!(f, "{}`{name}` {what}", if place > 0 { ", " } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

/// Makes linear scans of the loops of every function, where they are such. The module is verified, and so is the
/// result; interfaces stay.
pub fn recognize(module: &Module) -> (Module, Vec<Recognition>) {
    let mut result = Module::default();
    let mut found = Vec::new();
    for function in &module.functions {
        let graph = rewrite(&result, function.name, &function.graph, &mut found);
        result.push(carousel_ir::Function { graph, ..function.clone() });
    }
    if cfg!(debug_assertions)
        && let Some(problem) = carousel_ir::verify(&result).first()
    {
        panic!("a recognised loop does not verify: {problem}");
    }
    (result, found)
}

fn rewrite(module: &Module, name: Name, graph: &Graph, found: &mut Vec<Recognition>) -> Graph {
    if !graph.nodes.iter().any(|n| matches!(n.op, Op::Scan { .. })) {
        return graph.clone();
    }
    let empty = Graph { axes: graph.axes.clone(), inputs: graph.inputs.clone(), ..Graph::default() };
    let mut b = Builder::resume(module, empty);
    let mut made: Vec<ValueId> = Vec::with_capacity(graph.nodes.len());
    // The results of the loops that are gone.
    let mut solved: Vec<Option<Vec<ValueId>>> = Vec::with_capacity(graph.nodes.len());
    for (_, node) in graph.iter() {
        b.span = node.span;
        if let Op::Proj { index } = node.op
            && let Some(results) = &solved[node.operands[0].index()]
        {
            let value = results[index as usize];
            node.name.iter().for_each(|name| b.name(value, *name));
            made.push(value);
            solved.push(None);
            continue;
        }
        let operands: Vec<ValueId> = node.operands.iter().map(|o| made[o.index()]).collect();
        if let Op::Scan { scan } = &node.op {
            let outcome = strata::solve(&mut b, scan, &operands);
            let (outcome, kind, results) = match outcome {
                Ok(solution) => (Ok(solution.states), Some(solution.kind), Some(solution.results)),
                Err(refusal) => {
                    let kind = refused(scan, &refusal);
                    (Err(refusal), kind, None)
                }
            };
            found.push(Recognition { function: name, axis: scan.axis, kind, outcome });
            if let Some(results) = results {
                // Nothing refers to the tuple itself any more.
                made.push(results.first().copied().unwrap_or(ValueId(0)));
                solved.push(Some(results));
                continue;
            }
        }
        let value = b.push(node.op.clone(), &operands);
        node.name.iter().for_each(|name| b.name(value, *name));
        made.push(value);
        solved.push(None);
    }
    for output in &graph.outputs {
        b.output_as(output.name.as_str(), made[output.value.index()], output.axes.clone());
    }
    let graph = carousel_ir::transform::without_dead_code(&b.finish_pass());
    crate::plain::live(module, &crate::plain::shared(module, &graph))
}
