//! What functions can be evaluated on.

use carousel_ir::{FunctionId, Module};
use carousel_reference::{Tensor, evaluate};

/// Something that runs functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Backend {
    /// The plain evaluator in f64.
    Reference,
}

impl Backend {
    /// All that this build has.
    pub(super) fn available() -> &'static [Backend] {
        &[Backend::Reference]
    }

    /// The outputs, in their declared order of axes.
    pub(super) fn run(
        self,
        module: &Module,
        root: FunctionId,
        inputs: &[Tensor<f64>],
    ) -> Result<Vec<Tensor<f64>>, String> {
        match self {
            Backend::Reference => evaluate(module, root, inputs).map_err(|e| e.to_string()),
        }
    }
}
