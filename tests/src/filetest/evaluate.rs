//! `// EVAL:` and `// VJP:` lines: numbers in, numbers out, on every backend and before and after rewriting.

use super::backends::Backend;
use super::compare::difference;
use super::directives::{Evaluated, Evaluation, FileTest};
use super::literal::Literal;
use super::{gradients, module_of, stages};
use carousel_ir::{DType, Graph, Input};
use carousel_reference::{Data, Tensor};

/// Single precision keeps it in computations of a few operations on numbers near 1.
const TOLERANCE: f64 = 1e-6;

/// Evaluates and compares.
pub(super) fn check(test: &FileTest, evaluation: &Evaluation) -> Result<(), String> {
    let settings = &evaluation.settings;
    let (mut module, mut root) = module_of(test, &evaluation.call.function, settings)?;
    if evaluation.what == Evaluated::Gradient {
        let derived = gradients::derive(&module, root, settings)?;
        (module, root) = (derived.module, derived.root);
    }
    let graph = &module[root].graph;
    let inputs = arguments(graph, &evaluation.call.arguments)?;
    let wanted = &evaluation.call.outputs;
    if wanted.len() != graph.outputs.len() {
        return Err(format!("there are {} outputs, not {}", graph.outputs.len(), wanted.len()));
    }
    let (canonical, canonical_root) = stages::canonical(&module, root)?;
    for backend in Backend::ALL {
        let written = (&module, root, "as it is");
        let simple = (&canonical, canonical_root, "in canonical form");
        // Kernels are made of the canonical form; the compiler of their text takes long.
        let forms = if backend == Backend::Cuda { vec![simple] } else { vec![written, simple] };
        for (module, root, form) in forms {
            let found =
                backend.run(module, root, &inputs).map_err(|why| format!("{backend:?}, {form}: {why}"))?;
            for ((output, found), wanted) in graph.outputs.iter().zip(&found).zip(wanted) {
                let place = || format!("{backend:?}, {form}: `{}`", output.name);
                if found.shape != wanted.shape {
                    return Err(format!(
                        "{} has the shape {:?}, not {:?}",
                        place(),
                        found.shape,
                        wanted.shape
                    ));
                }
                let tolerance = settings.tolerance.unwrap_or(TOLERANCE);
                if let Some(problem) = difference(&found.values, &wanted.values, tolerance) {
                    return Err(format!("{}: {problem}", place()));
                }
            }
        }
    }
    Ok(())
}

/// The arguments in the order of the inputs; those without a name fill the places that are left, in order.
fn arguments(graph: &Graph, given: &[(Option<String>, Literal)]) -> Result<Vec<Tensor<f64>>, String> {
    let names = graph.inputs.iter().map(|i| i.name.as_str());
    if let Some(unknown) =
        given.iter().filter_map(|(n, _)| n.as_deref()).find(|n| !names.clone().any(|i| i == *n))
    {
        let known: Vec<&str> = names.collect();
        return Err(format!("there is no input `{unknown}` among {}", known.join(", ")));
    }
    let mut in_order = given.iter().filter(|(name, _)| name.is_none());
    let mut tensors = Vec::new();
    for input in &graph.inputs {
        let named = given.iter().find(|(name, _)| name.as_deref() == Some(input.name.as_str()));
        let (_, literal) =
            named.or_else(|| in_order.next()).ok_or_else(|| format!("`{}` is not given", input.name))?;
        tensors.push(tensor(input, literal)?);
    }
    if in_order.next().is_some() { Err("more arguments than inputs".to_string()) } else { Ok(tensors) }
}

fn tensor(input: &Input, literal: &Literal) -> Result<Tensor<f64>, String> {
    if literal.shape.len() != input.ty.axes.len() {
        return Err(format!(
            "`{}` has the axes [{}], the argument the shape {:?}",
            input.name, input.ty.axes, literal.shape
        ));
    }
    let values = literal.values.iter().copied();
    let data = match input.ty.dtype {
        DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => Data::Float(values.collect()),
        DType::I32 | DType::U32 => Data::Integer(values.map(|x| x as i64).collect()),
        DType::Bool => Data::Bool(values.map(|x| x != 0.0).collect()),
    };
    Ok(Tensor { shape: literal.shape.clone(), data })
}
