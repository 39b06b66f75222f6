//! Gradients against central finite differences of the reference evaluation in f64.
//!
//! Invariant: every derived module that is checked here also verifies, and its outputs are the original ones.

#![allow(dead_code, reason = "each test file uses a part")]

use carousel_autodiff::{Options, ScanResiduals, gradient, value_and_gradient};
use carousel_ir::{
    Builder, DType, Function, FunctionId, FunctionKind, Module, Residuals, Size, Type, ValueId, verify,
};
use carousel_reference::{Data, Tensor, evaluate};

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

    pub(crate) fn tensor(&mut self, shape: &[usize], low: f64, high: f64) -> Tensor<f64> {
        let count = shape.iter().product();
        Tensor::floats(shape, (0..count).map(|_| self.next(low, high)).collect::<Vec<_>>())
    }
}

/// A module with one function, which `build` fills.
pub(crate) fn module_of(build: impl FnOnce(&mut Builder<'_>)) -> (Module, FunctionId) {
    let mut module = Module::default();
    let function = add(&mut module, "f", Residuals::Save, build);
    (module, function)
}

/// Adds a function that `build` fills.
pub(crate) fn add(
    module: &mut Module,
    name: &str,
    residuals: Residuals,
    build: impl FnOnce(&mut Builder<'_>),
) -> FunctionId {
    let mut b = Builder::new(module);
    build(&mut b);
    let graph = b.finish().unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
    module.push(Function { name: name.into(), kind: FunctionKind::Block, residuals, graph })
}

pub(crate) fn options(scans: ScanResiduals) -> Options {
    Options { scans, wrt: None }
}

/// Evaluates, and panics with the evaluator's message where that fails.
pub(crate) fn run(module: &Module, function: FunctionId, inputs: &[Tensor<f64>]) -> Vec<Tensor<f64>> {
    evaluate(module, function, inputs).unwrap_or_else(|e| panic!("{}: {e}", module[function].name))
}

/// The gradients of `sum(cotangent * output)` over all float outputs, by the derived function.
pub(crate) fn gradients(
    module: &Module,
    function: FunctionId,
    inputs: &[Tensor<f64>],
    cotangents: &[Tensor<f64>],
    options: &Options,
) -> Vec<(usize, Tensor<f64>)> {
    let (derived, id) = gradient(module, function, options).unwrap();
    assert_eq!(verify(&derived), Vec::new());
    let graph = &module[function].graph;
    let arguments: Vec<_> = inputs.iter().chain(cotangents).cloned().collect();
    let mut results = run(&derived, id, &arguments);
    let given = results.split_off(graph.outputs.len());
    assert_eq!(results, run(module, function, inputs), "the outputs are the original ones");
    let floats = graph.inputs.iter().enumerate().filter(|(_, i)| i.ty.dtype.is_float());
    floats.map(|(place, _)| place).zip(given).collect()
}

/// Random cotangents for the float outputs.
pub(crate) fn cotangents(
    module: &Module,
    function: FunctionId,
    inputs: &[Tensor<f64>],
    numbers: &mut Numbers,
) -> Vec<Tensor<f64>> {
    let outputs = run(module, function, inputs);
    let floats = outputs.iter().filter(|o| matches!(o.data, Data::Float(_)));
    floats.map(|o| numbers.tensor(&o.shape, -1.0, 1.0)).collect()
}

/// Compares every gradient with finite differences, for random cotangents.
pub(crate) fn check(
    what: &str,
    module: &Module,
    function: FunctionId,
    inputs: &[Tensor<f64>],
    options: &Options,
) {
    assert_eq!(verify(module), Vec::new(), "{what}");
    let given = cotangents(module, function, inputs, &mut Numbers::new(99));
    let weighted = |inputs: &[Tensor<f64>]| -> f64 {
        let outputs = run(module, function, inputs);
        let floats = outputs.iter().filter(|o| matches!(o.data, Data::Float(_)));
        let product = |(o, c): (&Tensor<f64>, &Tensor<f64>)| -> f64 {
            o.to_f64().iter().zip(c.to_f64()).map(|(o, c)| o * c).sum()
        };
        floats.zip(&given).map(product).sum()
    };
    for (input, found) in gradients(module, function, inputs, &given, options) {
        let name = module[function].graph.inputs[input].name;
        assert_eq!(found.shape, inputs[input].shape, "{what}: grad.{name}");
        for (element, found) in found.to_f64().into_iter().enumerate() {
            let wanted = difference(inputs, input, element, &weighted);
            assert!(
                (found - wanted).abs() <= 2e-6 * (1.0 + wanted.abs()),
                "{what}: grad.{name}[{element}] is {found}, by finite differences {wanted}"
            );
        }
    }
}

/// The same for the gradient of the scalar output `loss`.
pub(crate) fn check_loss(
    what: &str,
    module: &Module,
    function: FunctionId,
    inputs: &[Tensor<f64>],
    options: &Options,
) {
    let (derived, id) = value_and_gradient(module, function, "loss", options).unwrap();
    assert_eq!(verify(&derived), Vec::new(), "{what}");
    let outputs = module[function].graph.outputs.len();
    let at = module[function].graph.outputs.iter().position(|o| o.name.as_str() == "loss").unwrap();
    let results = run(&derived, id, inputs);
    let loss = |inputs: &[Tensor<f64>]| run(module, function, inputs)[at].to_f64()[0];
    let floats = module[function].graph.inputs.iter().enumerate().filter(|(_, i)| i.ty.dtype.is_float());
    let mut compared = 0;
    for ((input, _), found) in floats.zip(&results[outputs..]) {
        for (element, found) in found.to_f64().into_iter().enumerate() {
            let wanted = difference(inputs, input, element, &loss);
            assert!(
                (found - wanted).abs() <= 2e-6 * (1.0 + wanted.abs()),
                "{what}: input {input}[{element}] gets {found}, by finite differences {wanted}"
            );
            compared += 1;
        }
    }
    assert!(compared > 0 || inputs.iter().all(|i| i.to_f64().is_empty()), "{what}: nothing was compared");
}

/// The derivative by one element, from both sides.
fn difference(
    inputs: &[Tensor<f64>],
    input: usize,
    element: usize,
    f: &dyn Fn(&[Tensor<f64>]) -> f64,
) -> f64 {
    let step = 1e-5;
    let at = |offset: f64| {
        let mut moved = inputs.to_vec();
        if let Data::Float(values) = &mut moved[input].data {
            values[element] += offset;
        }
        f(&moved)
    };
    (at(step) - at(-step)) / (2.0 * step)
}

/// Adds a float argument.
pub(crate) fn float(b: &mut Builder<'_>, name: &str, axes: &[(&str, Size)]) -> ValueId {
    let axes: Vec<_> = axes.iter().map(|(a, size)| b.axis(a, size.clone())).collect();
    b.input(name, Type::new(DType::F32, axes), carousel_ir::Role::Argument)
}
