//! Random verified modules, and inputs for them.
//!
//! A module is a function of a list of numbers, each of which settles one choice, so that proptest shrinks it by
//! dropping and lowering numbers. Invariant: every module passes the verifier, uses no operation outside its domain
//! on the inputs that [`Case::inputs`] gives, and its float values stay below about a thousand: what a backend
//! computes can be compared with a tolerance.

mod choices;
mod control;
mod generator;
mod pieces;
mod steps;
mod values;

use carousel_ir::{
    Axis, Builder, DType, Decay, FunctionId, FunctionKind, Init, Module, Name, Number, Residuals, Role, Size,
    philox, verify,
};
use carousel_reference::{Scalar, Tensor};
pub use choices::Choices;
use generator::{Callee, Generator, Shared};
use proptest::prelude::*;

/// What the modules are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Every operation.
    Values,
    /// Only operations whose derivative finite differences can tell: no steps, no float comparisons, no `detach`.
    Gradients,
    /// Operations over pieces of a sequence and over heads.
    Pieces,
}

/// A random module with sizes and a seed for its inputs.
#[derive(Clone)]
pub struct Case {
    /// The module; its last function is the root.
    pub module: Module,
    /// Values of the size symbols `s` and `t` of the root.
    pub sizes: [u64; 2],
    /// What the inputs are drawn from.
    pub seed: u32,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "s = {}, t = {}, seed {}", self.sizes[0], self.sizes[1], self.seed)?;
        f.write_str(&carousel_ir::text::print(&self.module))
    }
}

/// Random modules with inputs.
pub fn cases(purpose: Purpose) -> impl Strategy<Value = Case> {
    let sizes = [1u64..6, 1u64..4];
    (proptest::collection::vec(any::<u32>(), 0..300), sizes, any::<u32>()).prop_map(
        move |(choices, [s, t], seed)| {
            // Some sequences have three pieces.
            let s = if purpose == Purpose::Pieces { s + 2 * (t - 1) } else { s };
            Case { module: module(&choices, purpose), sizes: [s, t], seed }
        },
    )
}

impl Case {
    /// The root function.
    pub fn root(&self) -> FunctionId {
        FunctionId(self.module.functions.len() as u32 - 1)
    }

    /// Inputs of the root, the same for every scalar type: floats of 24 bits in \[-2, 2).
    pub fn inputs<S: Scalar>(&self) -> Vec<Tensor<S>> {
        let graph = &self.module[self.root()].graph;
        let symbol = |name: Name| match name.as_str() {
            "s" => Some(self.sizes[0]),
            "t" => Some(self.sizes[1]),
            _ => None,
        };
        let input = |(place, input): (usize, &carousel_ir::Input)| {
            let size = |a: Axis| graph.axes.size(a).evaluate(&symbol).expect("inputs have sizes in s and t");
            let shape: Vec<usize> = input.ty.axes.iter().map(|a| size(a) as usize).collect();
            let draw = |i| f64::from(philox::uniform(self.seed, place as u32, 0, i));
            let draws = (0..shape.iter().product::<usize>() as u64).map(draw);
            match input.ty.dtype {
                DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => {
                    Tensor::floats(&shape, draws.map(|x| 4.0 * x - 2.0))
                }
                DType::I32 => Tensor::integers(&shape, draws.map(|x| (7.0 * x) as i64 - 3)),
                DType::U32 => Tensor::integers(&shape, draws.map(|x| (1000.0 * x) as i64)),
                DType::Bool => Tensor::bools(&shape, draws.map(|x| x < 0.5)),
            }
        };
        graph.inputs.iter().enumerate().map(input).collect()
    }
}

/// The module that a list of choices stands for.
pub fn module(choices: &[u32], purpose: Purpose) -> Module {
    let mut choices = Choices::new(choices);
    if purpose == Purpose::Pieces {
        return verified(pieces::module(&mut choices));
    }
    let mut shared = Shared { purpose, axes: 0 };
    let mut module = Module::default();
    for place in 0..choices.below(3) {
        // Another name for the symbols than the caller's: calls have to match them.
        function(&mut module, &mut choices, &mut shared, &format!("part{place}"), ["n", "k"], 4);
    }
    function(&mut module, &mut choices, &mut shared, "root", ["s", "t"], 24);
    verified(module)
}

fn verified(module: Module) -> Module {
    let problems = verify(&module);
    assert!(problems.is_empty(), "{problems:?}");
    module
}

/// Appends a function of at most `most` steps, whose dynamic axes have the sizes `symbols`.
fn function(
    module: &mut Module,
    choices: &mut Choices<'_>,
    shared: &mut Shared,
    name: &str,
    symbols: [&str; 2],
    most: usize,
) {
    let callees: Vec<Callee> = module
        .iter()
        .map(|(function, f)| Callee {
            function,
            inputs: f.graph.inputs.iter().map(|i| i.ty.clone()).collect(),
        })
        .collect();
    let graph = {
        let mut b = Builder::new(module);
        let [s, t] = [("s", symbols[0]), ("t", symbols[1])].map(|(a, n)| b.axis(a, Size::symbol(n)));
        let [two, three] = [("a", 2), ("b", 3)].map(|(name, size)| b.axis(name, Size::Known(size)));
        let mut g = Generator::new(&mut b, shared, vec![s, t, two, three]);
        // The first input tells every symbol, the others are what chance makes them.
        g.argument("x", DType::F32, &[s, t]);
        for place in 0..choices.below(3) {
            let axes = choices.subset(&[two, s, three, t]);
            let decay = if choices.flag() { Decay::Yes } else { Decay::No };
            let init = match choices.below(5) {
                0 => Init::Constant(Number::new(0.5)),
                1 => Init::Normal { mean: Number::new(0.0), std: Number::new(0.25) },
                2 => Init::Uniform { low: Number::new(-1.0), high: Number::new(1.0) },
                3 => Init::Linspace { low: Number::new(3.0), high: Number::new(6.0), axis: two },
                _ => Init::Powerlaw {
                    low: Number::new(5.0),
                    high: Number::new(-7.0),
                    power: Number::new(0.3),
                    axis: two,
                },
            };
            g.input(&format!("w.{place}.weight"), DType::F32, &axes, Role::Parameter { init, decay });
        }
        let index_axes = choices.subset(&[t, three]);
        g.argument("index", DType::I32, &index_axes);
        let mask_axes = choices.subset(&[s, two]);
        g.argument("mask", DType::Bool, &mask_axes);
        for input in ["seed", "step"] {
            g.argument(input, DType::U32, &[]);
        }
        g.grow(choices, &callees, most);
        g.outputs(choices);
        b.finish().unwrap_or_else(|problems| panic!("the generator made a mistake: {problems:?}"))
    };
    let kind = if choices.flag() { FunctionKind::Block } else { FunctionKind::Model };
    let residuals = if choices.flag() { Residuals::Recompute } else { Residuals::Save };
    module.push(carousel_ir::Function { name: name.into(), kind, residuals, graph });
}
