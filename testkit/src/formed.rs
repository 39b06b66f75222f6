//! A recurrence in one of its forms: evaluated, as machine code, on a device.
//!
//! Invariant: it is compiled when it is first run, once for each target.

use crate::error::{Error, sentences};
use crate::machine::Compiled;
use crate::way::Way;
use carousel_core::program::Program;
use carousel_core::{Target, lower};
use carousel_ir::{FunctionId, Module};
use carousel_reference::{Data, Scalar, Tensor, evaluate};
use std::cell::OnceCell;

/// A recurrence in one of its forms, with its gradient.
pub struct Formed {
    /// The form.
    pub module: Module,
    /// Which forms scans have and by which rules, a line each.
    pub forms: String,
    pub(crate) way: Way,
    pub(crate) root: FunctionId,
    compiled: OnceCell<Compiled>,
    #[cfg(feature = "cuda")]
    pub(crate) on_device: OnceCell<crate::device::OnDevice>,
}

impl Formed {
    pub(crate) fn new(module: &Module, root: FunctionId, way: Way) -> Formed {
        let (module, forms) = way.apply(module);
        Formed {
            module,
            forms,
            way,
            root,
            compiled: OnceCell::new(),
            #[cfg(feature = "cuda")]
            on_device: OnceCell::new(),
        }
    }

    /// Its kernels for a target.
    ///
    /// # Errors
    /// What lowering says.
    pub fn lowered(&self, target: &Target) -> Result<Program, Error> {
        lower(&self.module, self.root, target)
            .map_err(|problems| Error::Failed(format!("{}: {}", self.way, sentences(&problems))))
    }

    /// The results of machine code.
    ///
    /// # Errors
    /// If it cannot be compiled or run.
    pub fn run(&self, inputs: &[Tensor<f64>]) -> Result<Vec<Vec<f64>>, Error> {
        let failed = |why: String| Error::Failed(format!("{}: {why}", self.way));
        let compile = || Compiled::new(&self.module, self.root, 2).map_err(failed);
        let outputs = made(&self.compiled, compile)?.run(inputs).map_err(failed)?;
        Ok(outputs.into_iter().map(|output| output.values).collect())
    }

    /// The results of the reference.
    ///
    /// # Errors
    /// What the reference says.
    pub fn evaluate<S: Scalar>(&self, inputs: &[Tensor<f64>]) -> Result<Vec<Vec<f64>>, Error> {
        evaluated::<S>(&self.module, self.root, inputs)
    }
}

/// What is in the cell, made if there is nothing.
pub(crate) fn made<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T, Error>) -> Result<&T, Error> {
    if let Some(known) = cell.get() {
        return Ok(known);
    }
    let new = make()?;
    Ok(cell.get_or_init(|| new))
}

/// Evaluates a function in numbers of that type.
pub(crate) fn evaluated<S: Scalar>(
    module: &Module,
    root: FunctionId,
    inputs: &[Tensor<f64>],
) -> Result<Vec<Vec<f64>>, Error> {
    let converted = |tensor: &Tensor<f64>| Tensor::<S> {
        shape: tensor.shape.clone(),
        data: match &tensor.data {
            Data::Float(v) => Data::Float(v.iter().map(|x| S::from_f64(*x)).collect()),
            Data::Integer(v) => Data::Integer(v.clone()),
            Data::Bool(v) => Data::Bool(v.clone()),
        },
    };
    let inputs: Vec<Tensor<S>> = inputs.iter().map(converted).collect();
    let outputs = evaluate(module, root, &inputs).map_err(Error::failed)?;
    Ok(outputs.iter().map(Tensor::to_f64).collect())
}
