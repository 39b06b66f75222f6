//! Whether a rewritten module means what it meant: both are evaluated in f64 at random inputs.

use super::compare::difference;
use super::inputs;
use super::options::Settings;
use carousel_ir::{FunctionId, Module};
use carousel_reference::{Tensor, evaluate};

/// How many random inputs are tried.
const TRIALS: u64 = 3;

/// Rewriting may round differently, and no more.
const TOLERANCE: f64 = 1e-9;

/// Compares the outputs of two functions with the same inputs.
pub(super) fn same_meaning(
    before: &Module,
    root: FunctionId,
    after: &Module,
    new_root: FunctionId,
    settings: &Settings,
) -> Result<(), String> {
    let mut finite = 0;
    for trial in 0..TRIALS {
        let given = inputs::random(&before[root], settings, trial)?;
        let wanted = outputs(before, root, &given)?;
        let found = outputs(after, new_root, &given)?;
        for (output, (found, wanted)) in before[root].graph.outputs.iter().zip(found.iter().zip(&wanted)) {
            if let Some(problem) = difference(found, wanted, settings.tolerance.unwrap_or(TOLERANCE)) {
                return Err(format!(
                    "the rewritten `{}` differs in `{}`: {problem}",
                    before[root].name, output.name
                ));
            }
            finite += wanted.iter().filter(|x| x.is_finite()).count();
        }
    }
    // Two functions that are NaN everywhere would agree whatever they are.
    if finite == 0 {
        Err("no finite number was compared; choose other inputs with in=LOW..HIGH".to_string())
    } else {
        Ok(())
    }
}

/// The outputs as numbers, on the reference.
pub(super) fn outputs(
    module: &Module,
    root: FunctionId,
    inputs: &[Tensor<f64>],
) -> Result<Vec<Vec<f64>>, String> {
    let results = evaluate(module, root, inputs).map_err(|e| e.to_string())?;
    Ok(results.iter().map(Tensor::to_f64).collect())
}
