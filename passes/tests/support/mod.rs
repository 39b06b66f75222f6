//! Random data, evaluation by the reference, gradients, and comparison.

#![allow(dead_code, reason = "each test file uses its own part")]

use carousel_autodiff::{Options, ScanResiduals, gradient};
use carousel_ir::{DType, FunctionId, Module, Name, Size, verify};
use carousel_reference::{Tensor, evaluate};
use std::collections::BTreeMap;

/// A small generator of numbers, the same on every machine.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    /// Uniform in [low, high).
    pub(crate) fn next(&mut self, low: f64, high: f64) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        low + (high - low) * ((self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next(0.0, n as f64) as u64
    }
}

/// The value of an element of the input with that name.
pub(crate) type Draw<'a> = &'a mut dyn FnMut(&str, &mut Numbers) -> f64;

/// Inputs of a function whose size symbols have these numbers.
pub(crate) fn inputs(
    module: &Module,
    function: FunctionId,
    sizes: &[(&str, u64)],
    numbers: &mut Numbers,
    draw: Draw<'_>,
) -> Vec<Tensor<f64>> {
    let graph = &module[function].graph;
    let symbol = |name: Name| sizes.iter().find(|(n, _)| *n == name.as_str()).map(|(_, size)| *size);
    let size = |s: &Size| s.evaluate(&symbol).expect("every symbol has a number") as usize;
    graph
        .inputs
        .iter()
        .map(|input| {
            let shape: Vec<usize> = input.ty.axes.iter().map(|a| size(graph.axes.size(a))).collect();
            let count = shape.iter().product();
            let values: Vec<f64> = (0..count).map(|_| draw(input.name.as_str(), numbers)).collect();
            match input.ty.dtype {
                DType::Bool => Tensor::bools(&shape, values.into_iter().map(|v| v > 0.5)),
                DType::I32 | DType::U32 => Tensor::integers(&shape, values.into_iter().map(|v| v as i64)),
                DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => Tensor::floats(&shape, values),
            }
        })
        .collect()
}

pub(crate) fn run(module: &Module, function: FunctionId, inputs: &[Tensor<f64>]) -> Vec<Tensor<f64>> {
    assert_eq!(verify(module), Vec::new());
    evaluate(module, function, inputs).unwrap_or_else(|e| panic!("{}: {e}", module[function].name))
}

/// The module with the gradient of its function by all float inputs, for cotangents of all float outputs.
pub(crate) fn differentiated(module: &Module, function: FunctionId) -> (Module, FunctionId) {
    let options = Options { scans: ScanResiduals::Save, wrt: None };
    gradient(module, function, &options).unwrap_or_else(|problems| panic!("{}", problems[0]))
}

/// What `found` and `wanted`, results of functions with equal outputs, differ by at most: by name of output, relative
/// to the larger of 0.1 and the largest element.
pub(crate) fn errors(
    module: &Module,
    function: FunctionId,
    found: &[Tensor<f64>],
    wanted: &[Tensor<f64>],
) -> BTreeMap<String, f64> {
    assert_eq!(found.len(), wanted.len());
    let outputs = &module[function].graph.outputs;
    let pairs = outputs.iter().zip(found.iter().zip(wanted));
    pairs
        .map(|(output, (found, wanted))| {
            assert_eq!(found.shape, wanted.shape, "{}", output.name);
            let (found, wanted) = (found.to_f64(), wanted.to_f64());
            let scale = wanted.iter().fold(0.1f64, |m, v| m.max(v.abs()));
            let worst = found.iter().zip(&wanted).fold(0.0f64, |worst, (f, w)| {
                let error = (f - w).abs() / scale;
                if error.is_nan() { f64::INFINITY } else { worst.max(error) }
            });
            (output.name.to_string(), worst)
        })
        .collect()
}

pub(crate) fn assert_close(what: &str, errors: &BTreeMap<String, f64>, tolerance: f64) {
    for (name, error) in errors {
        assert!(*error <= tolerance, "{what}: {name} is off by {error:e}; all: {errors:?}");
    }
}
