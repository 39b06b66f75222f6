//! Whether a rewritten module means what it meant: both are evaluated in f64 at random inputs.

use super::backends::Backend;
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

/// Single precision, over a few hundred operations.
const CPU_TOLERANCE: f64 = 1e-5;

/// Compares the machine code of a function with the reference.
pub(super) fn same_numbers_on_cpu(
    module: &Module,
    root: FunctionId,
    settings: &Settings,
) -> Result<(), String> {
    let given = inputs::random(&module[root], settings, 1)?;
    let wanted = outputs(module, root, &given)?;
    let found = Backend::Cpu.run(module, root, &given)?;
    for (output, (found, wanted)) in module[root].graph.outputs.iter().zip(found.iter().zip(&wanted)) {
        if let Some(problem) = difference(&found.values, wanted, settings.tolerance.unwrap_or(CPU_TOLERANCE))
        {
            return Err(format!("compiled, `{}` differs in `{}`: {problem}", module[root].name, output.name));
        }
    }
    if wanted.iter().flatten().any(|x| x.is_finite()) {
        Ok(())
    } else {
        Err("no finite number was compared".to_string())
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
