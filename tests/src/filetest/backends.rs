//! What functions can be evaluated on.
//!
//! Numbers are f64 here, whatever the function computes in; truth values are 0 and 1.

use crate::emulated;
use carousel_core::{Target, lower};
use carousel_ir::{FunctionId, Module};
use carousel_reference as reference;
use carousel_testkit::device::OnDevice;
use carousel_testkit::machine::{Compiled, Output};
use carousel_testkit::sentences;

/// Something that runs functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Backend {
    /// The plain evaluator in f64.
    Reference,
    /// Machine code, in the dtypes of the function.
    Cpu,
    /// Kernels on a CUDA device, likewise.
    Cuda,
}

impl Backend {
    /// All of them.
    pub(super) const ALL: [Backend; 3] = [Backend::Reference, Backend::Cpu, Backend::Cuda];

    /// The outputs, in their declared order of axes.
    pub(super) fn run(
        self,
        module: &Module,
        root: FunctionId,
        inputs: &[reference::Tensor<f64>],
    ) -> Result<Vec<Output>, String> {
        match self {
            Backend::Reference => {
                let results = reference::evaluate(module, root, inputs).map_err(|e| e.to_string())?;
                Ok(results.into_iter().map(|t| Output { values: t.to_f64(), shape: t.shape }).collect())
            }
            Backend::Cpu => Compiled::new(module, root, 2)?.run(inputs),
            Backend::Cuda => OnDevice::new(emulated::backend(), module, root)?.run(inputs),
        }
    }
}

/// The kernels of a function, as text.
pub(super) fn kernels(module: &Module, root: FunctionId) -> Result<String, String> {
    let program = lower(module, root, &Target::default()).map_err(|problems| sentences(&problems))?;
    Ok(program.to_string())
}
