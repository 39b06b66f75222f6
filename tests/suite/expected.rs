//! What a compiled function must return: the reference's numbers.
//!
//! What machine code may be off is measured: ten times what the reference is off in f32 from itself in f64. Integers
//! and truth values are equal.

use carousel_ir::{DType, FunctionId, Module};
use carousel_reference::{Data, Scalar, Tensor, evaluate};
use carousel_testkit::machine::Output;

/// The least that is allowed: single precision, with room for another order of summation.
const LEAST: f64 = 1e-5;

/// Beyond this the reference's own f32 is on another side of a kink than its f64: there is nothing to compare with.
const KINK: f64 = 1e-3;

fn converted<S: Scalar>(tensor: &Tensor<f64>) -> Tensor<S> {
    let shape = tensor.shape.clone();
    let data = match &tensor.data {
        Data::Float(v) => Data::Float(v.iter().map(|x| S::from_f64(*x)).collect()),
        Data::Integer(v) => Data::Integer(v.clone()),
        Data::Bool(v) => Data::Bool(v.clone()),
    };
    Tensor { shape, data }
}

fn reference<S: Scalar>(module: &Module, root: FunctionId, inputs: &[Tensor<f64>]) -> Vec<Vec<f64>> {
    let inputs: Vec<Tensor<S>> = inputs.iter().map(converted).collect();
    let outputs = evaluate(module, root, &inputs)
        .unwrap_or_else(|error| panic!("{error}\n{}", carousel_ir::text::print(module)));
    outputs.iter().map(Tensor::to_f64).collect()
}

/// What a function must return.
pub(crate) struct Expected {
    dtypes: Vec<DType>,
    wide: Vec<Vec<f64>>,
    narrow: Vec<Vec<f64>>,
}

impl Expected {
    pub(crate) fn new(module: &Module, root: FunctionId, inputs: &[Tensor<f64>]) -> Expected {
        let graph = &module[root].graph;
        Expected {
            dtypes: graph.outputs.iter().map(|o| graph.ty(o.value).dtype).collect(),
            wide: reference::<f64>(module, root, inputs),
            narrow: reference::<f32>(module, root, inputs),
        }
    }

    /// A thousandth of the largest result: relative errors of results that are smaller are not asked for.
    pub(crate) fn least_scale(&self) -> f64 {
        self.wide.iter().flatten().fold(0.0, |largest: f64, x| largest.max(1e-3 * x.abs()))
    }

    /// Whether f32 is precise enough for the function to be compared at all.
    pub(crate) fn is_steady(&self) -> bool {
        let pairs = || self.wide.iter().flatten().zip(self.narrow.iter().flatten());
        pairs().all(|(wide, narrow)| (wide - narrow).abs() <= KINK * (1.0 + wide.abs()))
    }

    /// Errors are relative to the largest element of an output, or to `least_scale` if that is more.
    pub(crate) fn compare(&self, found: &[Output], least_scale: f64) -> Result<(), String> {
        if found.len() != self.wide.len() {
            return Err(format!("{} outputs, not {}", found.len(), self.wide.len()));
        }
        for (at, (((found, wide), narrow), dtype)) in
            found.iter().zip(&self.wide).zip(&self.narrow).zip(&self.dtypes).enumerate()
        {
            let found = &found.values;
            if found.len() != wide.len() {
                return Err(format!("output {at} has {} elements, not {}", found.len(), wide.len()));
            }
            let own = wide.iter().zip(narrow).fold(0.0, |worst: f64, (w, n)| worst.max((w - n).abs()));
            let scale = wide.iter().fold(least_scale, |largest: f64, w| largest.max(w.abs()));
            let allowed = if dtype.is_float() { (10.0 * own).max(LEAST * scale) } else { 0.0 };
            for (place, (f, w)) in found.iter().zip(wide).enumerate() {
                // NaN is not close to anything.
                let is_close = (f - w).abs() <= allowed;
                if !is_close {
                    let n = narrow[place];
                    return Err(format!(
                        "element {place} of output {at} is {f}, not {w} (in f32 {n}, allowed {allowed})"
                    ));
                }
            }
        }
        Ok(())
    }
}
