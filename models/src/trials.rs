//! Rules of files are tried on the reference before they are accepted.

use carousel_ir::{
    DType, Diagnostic, Function, FunctionId, FunctionKind, Graph, Module, Name, Residuals, Sources,
};
use carousel_passes::{RuleSets, Trials};
use carousel_reference::{Tensor, Wide, evaluate};

/// How often each rule is tried.
const TRIALS: usize = 100;

/// Adds the rules of a text, which becomes one of the sources; the warnings, or why nothing was added.
pub fn add_rules(
    rules: &mut RuleSets,
    sources: &mut Sources,
    name: &str,
    text: &str,
) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    rules.add(sources, name, text, Trials { count: TRIALS, seed: 1, evaluate: &evaluated })
}

/// The outputs of a graph that calls nothing, all axes of known size, in 256 bits: what differs then differs indeed.
pub fn evaluated(graph: &Graph, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut module = Module::default();
    module.push(Function {
        name: Name::new("trial"),
        kind: FunctionKind::Fn,
        residuals: Residuals::Save,
        graph: graph.clone(),
    });
    let size = |axis| graph.axes.size(axis).known().expect("trials have known sizes") as usize;
    let tensors = graph.inputs.iter().zip(inputs).map(|(input, values)| {
        let shape: Vec<usize> = input.ty.axes.iter().map(size).collect();
        match input.ty.dtype {
            DType::Bool => Tensor::bools(&shape, values.iter().map(|v| *v != 0.0)),
            DType::I32 | DType::U32 => Tensor::integers(&shape, values.iter().map(|v| *v as i64)),
            DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => {
                Tensor::<Wide>::floats(&shape, values.iter().copied())
            }
        }
    });
    let outputs = evaluate(&module, FunctionId(0), &tensors.collect::<Vec<_>>());
    let outputs = outputs.unwrap_or_else(|e| panic!("a verified graph is evaluated: {e}"));
    outputs.iter().map(Tensor::to_f64).collect()
}
