//! A recurrence from its text to all its forms, and how they are compared.
//!
//! Invariant: what is compared with is the gradient of the source, evaluated step by step; nothing of the derivation
//! is used for it. A form is compiled once and serves every length.

use super::data::{self, Draw, Sizes};
use carousel_autodiff::{Options as GradientOptions, gradient};
use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{Function, FunctionId, Module, Op, RenderStyle, verify};
use carousel_models::compile::{Derived, derived_with_reports, in_forms, simplified};
use carousel_passes::forms::{Form, Recurrence as Family, expand};
use carousel_reference::{Data, Extended, Scalar, Tensor, evaluate};
use carousel_tests::compiled::Compiled;
use carousel_tests::emulated::OnDevice;
use carousel_tests::filetest::load_library;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// How linear scans are computed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Way {
    /// Step by step.
    Recurrent,
    /// All pairs of steps.
    Parallel,
    /// In chunks of so many steps.
    Chunkwise(u64),
    /// In chunks of so many steps, within them step by step.
    Associative(u64),
    /// As the compiler chooses.
    Chosen,
}

impl Way {
    /// All of them.
    pub(crate) const ALL: [Way; 7] = [
        Way::Recurrent,
        Way::Parallel,
        Way::Chunkwise(16),
        Way::Chunkwise(64),
        Way::Chunkwise(100),
        Way::Associative(16),
        Way::Chosen,
    ];

    fn apply(self, module: &Module) -> Module {
        let module = simplified(module);
        let expanded = match self {
            Way::Recurrent => expand(&module, &Form::Recurrent).0,
            Way::Parallel => expand(&module, &Form::Parallel).0,
            Way::Chunkwise(steps) => expand(&module, &Form::Chunkwise(steps)).0,
            Way::Associative(steps) => expand(&module, &Form::Associative(steps)).0,
            Way::Chosen => in_forms(&module),
        };
        simplified(&expanded)
    }
}

/// A recurrence in one of its forms, with its gradient.
pub(crate) struct Formed {
    pub(crate) module: Module,
    root: FunctionId,
    compiled: OnceCell<Compiled>,
    on_device: OnceCell<OnDevice>,
}

impl Formed {
    /// The results of machine code.
    pub(crate) fn run(&self, inputs: &[Tensor<f64>]) -> Vec<Vec<f64>> {
        let compile = || Compiled::new(&self.module, self.root, 2).unwrap_or_else(|why| panic!("{why}"));
        let outputs = self.compiled.get_or_init(compile).run(inputs).unwrap_or_else(|why| panic!("{why}"));
        outputs.into_iter().map(|output| output.values).collect()
    }

    /// The results of a CUDA device.
    pub(crate) fn run_on_device(&self, inputs: &[Tensor<f64>]) -> Vec<Vec<f64>> {
        let compile = || OnDevice::new(&self.module, self.root).unwrap_or_else(|why| panic!("{why}"));
        let outputs = self.on_device.get_or_init(compile).run(inputs).unwrap_or_else(|why| panic!("{why}"));
        outputs.into_iter().map(|output| output.values).collect()
    }

    /// The errors of each output: those of the reference, and those of `code`.
    fn errors(&self, inputs: &[Tensor<f64>], law: &[Vec<f64>], code: &[Vec<f64>]) -> Vec<Errors> {
        let (double, own) = (self.evaluate::<f64>(inputs), self.evaluate::<f32>(inputs));
        let error = |found: &[Vec<f64>], place: usize| distance(&found[place], &law[place]);
        let places = 0..law.len();
        places
            .map(|at| Errors { double: error(&double, at), own: error(&own, at), code: error(code, at) })
            .collect()
    }

    /// The results of the reference.
    pub(crate) fn evaluate<S: Scalar>(&self, inputs: &[Tensor<f64>]) -> Vec<Vec<f64>> {
        evaluated::<S>(&self.module, self.root, inputs)
    }
}

/// A recurrence, derived.
pub(crate) struct Recurrence {
    /// Its source with its gradient.
    written: (Module, FunctionId),
    /// Its derivation without gradient.
    pub(crate) derived: Derived,
    /// With its gradient, before forms are chosen.
    backward: (Module, FunctionId),
    forms: RefCell<BTreeMap<Way, Rc<Formed>>>,
}

/// What an evaluation returned, by name.
pub(crate) type Results = BTreeMap<String, Vec<f64>>;

/// How near results have to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    /// For the reference in f64.
    pub(crate) double: f64,
    /// The least for machine code in f32; ten times the error of the reference in f32, of the same form, is always
    /// accepted.
    pub(crate) single: f64,
    /// The largest error of the reference in f32: beyond it the comparison would say nothing.
    pub(crate) own: f64,
}

/// The largest errors of a comparison.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Errors {
    /// Of the reference in f64.
    pub(crate) double: f64,
    /// Of the reference in f32.
    pub(crate) own: f64,
    /// Of machine code in f32.
    pub(crate) code: f64,
}

impl Errors {
    /// The larger ones; NaN is larger than any.
    pub(crate) fn max(self, other: Errors) -> Errors {
        let worse = |a: f64, b: f64| if b.is_nan() || b > a { b } else { a };
        Errors {
            double: worse(self.double, other.double),
            own: worse(self.own, other.own),
            code: worse(self.code, other.code),
        }
    }

    /// Each of them changed.
    pub(crate) fn map(self, change: impl Fn(f64) -> f64) -> Errors {
        Errors { double: change(self.double), own: change(self.own), code: change(self.code) }
    }
}

impl std::fmt::Display for Errors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Errors { double, own, code } = self;
        write!(f, "f64 {double:.1e}, f32 {own:.1e}, machine code {code:.1e}")
    }
}

impl Tolerance {
    /// For problems where no result is the small difference of large numbers.
    pub(crate) const WELL_CONDITIONED: Tolerance = Tolerance { double: 1e-10, single: 1e-5, own: 1e-3 };
}

impl Recurrence {
    /// Derives a function of a text. `map` says which inputs get which further axes.
    pub(crate) fn new(text: &str, function: &str, map: &BTreeMap<String, Vec<String>>) -> Recurrence {
        Recurrence::with_law(text, text, function, map)
    }

    /// The same where `law` has the equations in another way, in which nothing cancels.
    pub(crate) fn with_law(
        text: &str,
        law: &str,
        function: &str,
        map: &BTreeMap<String, Vec<String>>,
    ) -> Recurrence {
        let (law, _) = module(law, function, map);
        let (module, root) = module(text, function, map);
        let differentiated = |module: &Module| {
            let (module, gradient) =
                gradient(module, root, &GradientOptions::default()).unwrap_or_else(|d| panic!("{d:?}"));
            assert_eq!(verify(&module), Vec::new());
            (module, gradient)
        };
        let derived = derived_with_reports(&simplified(&module));
        let (backward, gradient) = differentiated(&derived.module);
        Recurrence {
            written: differentiated(&law),
            derived,
            backward: (backward, gradient),
            forms: RefCell::new(BTreeMap::new()),
        }
    }

    /// The source with its gradient.
    pub(crate) fn source(&self) -> &Function {
        &self.written.0[self.written.1]
    }

    /// The ways that it can be computed in: those of its kind if it is a linear scan, else one.
    pub(crate) fn ways(&self) -> impl Iterator<Item = Way> + use<> {
        let is_linear = has_linear_scan(&self.derived.module);
        let mut kinds = self.derived.linear.iter().filter_map(|loop_| loop_.kind);
        let is_elementwise = kinds.all(|kind| kind == Family::Elementwise);
        Way::ALL.into_iter().filter(move |way| match way {
            Way::Chosen => true,
            Way::Recurrent | Way::Chunkwise(16) => is_linear,
            Way::Parallel | Way::Chunkwise(_) => is_linear && !is_elementwise,
            Way::Associative(_) => is_linear && is_elementwise,
        })
    }

    /// It in that form, which is made once.
    pub(crate) fn form(&self, way: Way) -> Rc<Formed> {
        let (module, root) = &self.backward;
        let new = || Formed {
            module: way.apply(module),
            root: *root,
            compiled: OnceCell::new(),
            on_device: OnceCell::new(),
        };
        self.forms.borrow_mut().entry(way).or_insert_with(|| Rc::new(new())).clone()
    }

    /// Inputs, cotangents included.
    pub(crate) fn inputs(&self, sizes: &Sizes, seed: u32, draw: Draw<'_>) -> Vec<Tensor<f64>> {
        data::inputs(self.source(), sizes, seed, draw)
    }

    /// What the equations say.
    pub(crate) fn law<S: Scalar>(&self, inputs: &[Tensor<f64>]) -> Vec<Vec<f64>> {
        let (module, root) = &self.written;
        evaluated::<S>(module, *root, inputs)
    }

    /// Results by name.
    pub(crate) fn named(&self, results: Vec<Vec<f64>>) -> Results {
        let outputs = &self.source().graph.outputs;
        assert_eq!(outputs.len(), results.len());
        outputs.iter().map(|o| o.name.to_string()).zip(results).collect()
    }

    /// Computes in that form, by reference and machine code: the errors of each output.
    pub(crate) fn errors(&self, way: Way, inputs: &[Tensor<f64>], law: &[Vec<f64>]) -> Vec<Errors> {
        let formed = self.form(way);
        formed.errors(inputs, law, &formed.run(inputs))
    }

    /// The same where a CUDA device stands for machine code.
    pub(crate) fn errors_on_device(&self, way: Way, inputs: &[Tensor<f64>], law: &[Vec<f64>]) -> Vec<Errors> {
        let formed = self.form(way);
        formed.errors(inputs, law, &formed.run_on_device(inputs))
    }

    /// Computes in that form and compares with the law.
    pub(crate) fn check(
        &self,
        way: Way,
        inputs: &[Tensor<f64>],
        law: &[Vec<f64>],
        tolerance: Tolerance,
    ) -> Result<Errors, String> {
        self.judge(way, &self.errors(way, inputs, law), tolerance)
    }

    /// Whether the errors of all outputs are within the tolerance; the largest ones.
    pub(crate) fn judge(&self, way: Way, errors: &[Errors], tolerance: Tolerance) -> Result<Errors, String> {
        for (output, Errors { double, own, code }) in self.source().graph.outputs.iter().zip(errors) {
            let within = |what: &str, error: f64, allowed: f64| {
                // NaN is not within any tolerance.
                if error <= allowed {
                    return Ok(());
                }
                let name = output.name;
                Err(format!("{way:?}, {what}: `{name}` is off by {error:.1e}, allowed {allowed:.1e}"))
            };
            // What f32 loses in this form by the problem's condition, f64 loses too, in terms of its precision.
            let condition = 10.0 * own * f64::EPSILON / f64::from(f32::EPSILON);
            within("reference in f32", *own, tolerance.own)?;
            within("reference in f64", *double, tolerance.double.max(condition))?;
            within("machine code", *code, tolerance.single.max(10.0 * own))?;
        }
        Ok(errors.iter().copied().fold(Errors::default(), Errors::max))
    }
}

/// The module of a text, checked.
pub(crate) fn module(
    text: &str,
    function: &str,
    map: &BTreeMap<String, Vec<String>>,
) -> (Module, FunctionId) {
    let program =
        parse_program("recurrence.xl", text, &load_library).unwrap_or_else(|f| panic!("{f}\n{text}"));
    let options = Options { map: map.clone(), ..Options::default() };
    let module = elaborate(&program, &[function], &options)
        .unwrap_or_else(|d| panic!("{}", program.sources.render(&d, RenderStyle::Plain)));
    let root = module.find(function).expect("elaborated functions are there");
    (module, root)
}

/// Whether there is a linear scan in the module.
pub(crate) fn has_linear_scan(module: &Module) -> bool {
    let mut nodes = module.functions.iter().flat_map(|f| &f.graph.nodes);
    nodes.any(|n| matches!(n.op, Op::LinRead { .. }))
}

/// The largest difference relative to the largest element that is wanted, or to 0.1 if that is more; NaN or infinite
/// if a number is not finite.
pub(crate) fn distance(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let scale = wanted.iter().fold(0.1f64, |m, x| m.max(x.abs()));
    let errors = found.iter().zip(wanted).map(|(a, b)| (a - b).abs() / scale);
    errors.fold(0.0, |m, e| if e.is_nan() || e > m { e } else { m })
}

/// Evaluates a function in numbers of that type.
pub(crate) fn evaluated<S: Scalar>(
    module: &Module,
    root: FunctionId,
    inputs: &[Tensor<f64>],
) -> Vec<Vec<f64>> {
    let converted = |tensor: &Tensor<f64>| Tensor::<S> {
        shape: tensor.shape.clone(),
        data: match &tensor.data {
            Data::Float(v) => Data::Float(v.iter().map(|x| S::from_f64(*x)).collect()),
            Data::Integer(v) => Data::Integer(v.clone()),
            Data::Bool(v) => Data::Bool(v.clone()),
        },
    };
    let inputs: Vec<Tensor<S>> = inputs.iter().map(converted).collect();
    let outputs = evaluate(module, root, &inputs).unwrap_or_else(|error| panic!("{error}"));
    outputs.iter().map(Tensor::to_f64).collect()
}

/// The law in numbers that cannot overflow.
pub(crate) type Law = Extended;
