//! A graph and its reverse sweep on one tape.
//!
//! Invariant: the forward nodes stand before all others, and the inputs of the graph before the cotangents.

use crate::calls::{Context, derive_calls};
use crate::expr::Expr;
use crate::flow;
use crate::sweep;
use carousel_ir::{Builder, Graph, Role, Type, ValueId};
use std::cell::RefCell;
use std::collections::HashMap;

/// Where the cotangents of the outputs come from.
#[derive(Clone, Copy)]
pub(crate) enum Seeds {
    /// An input `cot.OUTPUT` each.
    Inputs,
    /// They are 1.
    One,
}

/// A graph without outputs that computes another one's outputs and gradients.
pub(crate) struct Joint {
    pub(crate) graph: Graph,
    /// How many nodes are forward.
    pub(crate) forward_nodes: usize,
    /// The outputs of the function.
    pub(crate) outputs: Vec<ValueId>,
    /// For each output of the function whether it has a cotangent.
    pub(crate) cotangents: Vec<bool>,
    /// For each input of the function its gradient, of the input's type, if it has one.
    pub(crate) gradients: Vec<Option<ValueId>>,
}

/// Differentiates those outputs of `graph` that `cotangents` chooses by those inputs that `needs` chooses.
pub(crate) fn joint(
    context: &mut Context<'_>,
    graph: &Graph,
    seeds: Seeds,
    cotangents: &[bool],
    needs: &[bool],
) -> Joint {
    let varied = flow::varied(graph, needs);
    let useful = flow::useful(graph, cotangents);
    let calls = derive_calls(context, graph, &varied, &useful);

    let tape = RefCell::new(Builder::with_axes(&context.module, graph.axes.clone()));
    let add = |name: &str, ty: Type, role: Role| crate::free_input(&tape, name, ty, role);
    let inputs: Vec<ValueId> =
        graph.inputs.iter().map(|i| add(i.name.as_str(), i.ty.clone(), i.role)).collect();
    let forward = sweep::forward(&tape, graph, &inputs, &HashMap::new(), &varied, &calls);
    let forward_nodes = tape.borrow().graph().nodes.len();

    let mut starts = Vec::new();
    for (output, _) in graph.outputs.iter().zip(cotangents).filter(|(_, chosen)| **chosen) {
        let ty = Type { dtype: graph.ty(output.value).dtype, axes: output.axes.clone() };
        let cotangent = match seeds {
            Seeds::Inputs => add(&format!("cot.{}", output.name), ty, Role::Argument),
            Seeds::One => sweep::filled(&tape, 1.0, ty.dtype, &ty.axes),
        };
        starts.push((output.value, cotangent));
    }
    let given = sweep::sweep(&tape, graph, &forward, &varied, &calls, &starts);
    let gradients = graph
        .inputs
        .iter()
        .zip(&given)
        .map(|(input, given)| {
            sweep::total(&tape, given).map(|sum| Expr::new(&tape, sum).full(&input.ty.axes).value)
        })
        .collect();
    Joint {
        outputs: graph.outputs.iter().map(|o| forward.at(o.value)).collect(),
        graph: tape.into_inner().finish_pass(),
        forward_nodes,
        cotangents: cotangents.to_vec(),
        gradients,
    }
}
