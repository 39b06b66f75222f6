//! Gradients against central differences on the reference in f64.
//!
//! Invariant: whatever the derived function returns besides gradients is what the original returns.

use super::compare::{agree, difference};
use super::directives::{FileTest, GradientCheck};
use super::inputs::{self, Numbers};
use super::options::Settings;
use super::{check_module, module_of, rewrites, stages};
use carousel_autodiff::{Options, ScanResiduals, gradient};
use carousel_ir::{FunctionId, Module, Name};
use carousel_reference::{Data, Tensor, evaluate};

/// Half the distance between the two points of a difference.
const STEP: f64 = 1e-5;

/// Differences with that step are right to about 1e-10 for functions of moderate slope.
const TOLERANCE: f64 = 1e-6;

/// A function with its vector-Jacobian product.
pub(super) struct Derived {
    pub(super) module: Module,
    pub(super) root: FunctionId,
    /// The inputs by which it is differentiated, in the order of the gradients.
    inputs: Vec<usize>,
}

/// Derives, compares, and does so again with loops that recompute their states, and in canonical form.
pub(super) fn check(test: &FileTest, check: &GradientCheck) -> Result<(), String> {
    let settings = &check.settings;
    let (module, root) = module_of(test, &check.function, settings)?;
    for scans in [ScanResiduals::Save, ScanResiduals::Checkpoint] {
        let derived = derive_with(&module, root, settings, scans)?;
        compare(&module, root, &derived, settings).map_err(|why| format!("{scans:?}: {why}"))?;
    }
    Ok(())
}

/// The vector-Jacobian product.
pub(super) fn derive(module: &Module, root: FunctionId, settings: &Settings) -> Result<Derived, String> {
    derive_with(module, root, settings, ScanResiduals::Save)
}

fn derive_with(
    module: &Module,
    root: FunctionId,
    settings: &Settings,
    scans: ScanResiduals,
) -> Result<Derived, String> {
    let wrt: Option<Vec<Name>> =
        settings.wrt.as_ref().map(|names| names.iter().map(|n| Name::new(n)).collect());
    let graph = &module[root].graph;
    let chosen = |i: &usize| match &wrt {
        Some(names) => names.contains(&graph.inputs[*i].name),
        None => graph.inputs[*i].ty.dtype.is_float(),
    };
    let inputs: Vec<usize> = (0..graph.inputs.len()).filter(chosen).collect();
    let problems = |list: Vec<carousel_ir::Diagnostic>| {
        list.iter().map(|d| d.to_string()).collect::<Vec<_>>().join("\n")
    };
    let (derived, new_root) =
        gradient(module, root, &Options { scans, wrt: wrt.clone() }).map_err(problems)?;
    check_module(&derived, "the gradient")?;
    Ok(Derived { module: derived, root: new_root, inputs })
}

/// Compares the gradients, as they are and in canonical form, with central differences.
pub(super) fn compare(
    module: &Module,
    root: FunctionId,
    derived: &Derived,
    settings: &Settings,
) -> Result<(), String> {
    let graph = &module[root].graph;
    let given = inputs::random(&module[root], settings, 1)?;
    let values = evaluate(module, root, &given).map_err(|e| e.to_string())?;
    let mut numbers = Numbers::new(99);
    let is_float = |t: &&Tensor<f64>| matches!(t.data, Data::Float(_));
    let cotangents: Vec<Tensor<f64>> =
        values.iter().filter(is_float).map(|t| numbers.tensor(&t.shape)).collect();
    let weighted = |inputs: &[Tensor<f64>]| -> Result<f64, String> {
        let outputs = evaluate(module, root, inputs).map_err(|e| e.to_string())?;
        let floats: Vec<f64> = outputs.iter().filter(is_float).flat_map(|t| t.to_f64()).collect();
        Ok(floats.iter().zip(cotangents.iter().flat_map(|t| t.to_f64())).map(|(o, c)| o * c).sum())
    };
    let mut wanted: Vec<Vec<f64>> = values.iter().map(Tensor::to_f64).collect();
    for &input in &derived.inputs {
        let count = given[input].to_f64().len();
        let slopes: Result<Vec<f64>, String> = (0..count)
            .map(|element| {
                Ok((weighted(&moved(&given, input, element, STEP))?
                    - weighted(&moved(&given, input, element, -STEP))?)
                    / (2.0 * STEP))
            })
            .collect();
        wanted.push(slopes?);
    }
    if wanted[values.len()..].iter().flatten().all(|slope| agree(*slope, 0.0, 0.0)) {
        return Err("all slopes are 0 or none is finite: this would check nothing".to_string());
    }
    let arguments: Vec<Tensor<f64>> = given.iter().chain(&cotangents).cloned().collect();
    let (canonical, canonical_root) = stages::canonical(&derived.module, derived.root)?;
    for (module, root, what) in [
        (&derived.module, derived.root, "the gradient"),
        (&canonical, canonical_root, "the canonical gradient"),
    ] {
        let found = rewrites::outputs(module, root, &arguments)?;
        if found.len() != wanted.len() {
            return Err(format!("{what} has {} outputs instead of {}", found.len(), wanted.len()));
        }
        for (place, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            let name = match place.checked_sub(values.len()) {
                None => graph.outputs[place].name.to_string(),
                Some(at) => format!("the slope by {}", graph.inputs[derived.inputs[at]].name),
            };
            if let Some(problem) = difference(found, wanted, settings.tolerance.unwrap_or(TOLERANCE)) {
                return Err(format!("{what}, {name}: {problem}; by central differences {wanted:?}"));
            }
        }
    }
    Ok(())
}

fn moved(inputs: &[Tensor<f64>], input: usize, element: usize, by: f64) -> Vec<Tensor<f64>> {
    let mut moved = inputs.to_vec();
    if let Data::Float(values) = &mut moved[input].data {
        values[element] += by;
    }
    moved
}
