//! Computing a case on a target and comparing every tensor that was recorded.

use super::families::{Loops, Precision, Program};
use super::manifest::Case;
use super::places::{Place, Places, put};
use super::training::{self, Trainer};
use super::vectors::Vector;
use super::{GoldenError, metric, reading, vectors};
use crate::emulated;
use carousel_autodiff::gradient;
use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{DType, FunctionId, Module, RenderStyle};
use carousel_models::compile::{derived, in_forms};
use carousel_models::library::Cells;
use carousel_models::model::LOGITS;
use carousel_passes::forms::{Form, expand, recognize};
use carousel_reference::{Scalar, Tensor, evaluate};
use carousel_testkit::device::OnDevice;
use carousel_testkit::machine::{Compiled, canonical};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// The plain evaluator in f64.
    Reference64,
    /// The plain evaluator in f32.
    Reference32,
    /// Machine code for this processor, in f32, by the way of every compilation: canonical form, gradient, canonical
    /// form, lowering.
    Cpu32,
    /// Kernels on a CUDA device, in f32, by the same way.
    Cuda32,
}

/// How loops are computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loop {
    /// As they are written.
    Written,
    /// As linear scans in this form.
    Form(Form),
    /// As linear scans in the form that the compiler chooses.
    Chosen,
    /// Those of the paper's cells, made stable, in the form that the compiler chooses.
    Derived,
    /// As they are written, of a language model that reads token by token.
    Steps,
}

/// An engine, and how it is given loops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// What computes.
    pub engine: Engine,
    /// What it is given.
    pub loops: Loop,
}

const ENGINES: [Engine; 3] = [Engine::Reference64, Engine::Reference32, Engine::Cpu32];

/// The ways in which linear scans are computed.
const FORMS: [Loop; 7] = [
    Loop::Form(Form::Recurrent),
    Loop::Form(Form::Parallel),
    Loop::Form(Form::Chunkwise(5)),
    Loop::Form(Form::Chunkwise(16)),
    Loop::Form(Form::Chunkwise(64)),
    Loop::Form(Form::Chunkwise(100)),
    Loop::Chosen,
];

impl Target {
    /// Every target of programs with such loops.
    pub fn all(loops: &Loops) -> Vec<Target> {
        let exactly = |loops, engines: &[Engine]| -> Vec<Target> {
            engines.iter().map(|engine| Target { engine: *engine, loops }).collect()
        };
        let two = &[Engine::Reference64, Engine::Cpu32];
        let forms: &[Loop] = match loops {
            Loops::Linear => &FORMS,
            Loops::Training(_) => return exactly(Loop::Written, two),
            Loops::Sequential | Loops::None => &[],
            Loops::Model | Loops::LanguageModel(_) => &[Loop::Derived],
        };
        let ways = std::iter::once(Loop::Written).chain(forms.iter().copied());
        let mut targets: Vec<Target> =
            ways.flat_map(|loops| ENGINES.map(|engine| Target { engine, loops })).collect();
        match loops {
            Loops::LanguageModel(_) => targets.extend(exactly(Loop::Steps, two)),
            Loops::Linear | Loops::Sequential | Loops::Model | Loops::Training(_) | Loops::None => {}
        }
        targets
    }

    /// What messages call it.
    pub fn name(self) -> String {
        let engine = match self.engine {
            Engine::Reference64 => "reference-f64",
            Engine::Reference32 => "reference-f32",
            Engine::Cpu32 => "cpu-f32",
            Engine::Cuda32 => "cuda-f32",
        };
        match self.loops {
            Loop::Written => engine.to_string(),
            Loop::Form(Form::Recurrent) => format!("recurrent {engine}"),
            Loop::Form(Form::Parallel) => format!("parallel {engine}"),
            Loop::Form(Form::Chunkwise(steps)) => format!("chunkwise-{steps} {engine}"),
            Loop::Form(Form::TwoLevel(outer, inner)) => format!("chunkwise-{outer}-{inner} {engine}"),
            Loop::Form(Form::Associative(steps)) => format!("associative-{steps} {engine}"),
            Loop::Chosen => format!("chosen-form {engine}"),
            Loop::Derived => format!("derived {engine}"),
            Loop::Steps => format!("step-by-step {engine}"),
        }
    }

    /// How precisely it computes.
    pub fn precision(self) -> Precision {
        match self.engine {
            Engine::Reference64 => Precision::Double,
            Engine::Reference32 | Engine::Cpu32 | Engine::Cuda32 => Precision::Single,
        }
    }

    /// The module as this target takes it, before and after differentiation.
    pub(super) fn simplified(self, module: &Module) -> Result<Module, GoldenError> {
        match (self.loops, self.engine) {
            (Loop::Written | Loop::Steps, Engine::Reference64 | Engine::Reference32) => Ok(module.clone()),
            (Loop::Written | Loop::Steps, Engine::Cpu32 | Engine::Cuda32)
            | (Loop::Form(_) | Loop::Chosen | Loop::Derived, _) => {
                canonical(module).map_err(GoldenError::Program)
            }
        }
    }

    /// The module with its loops as linear scans, if this target wants them.
    fn recognized(self, module: Module) -> Result<Module, GoldenError> {
        match self.loops {
            Loop::Written | Loop::Steps => Ok(module),
            Loop::Derived => Ok(derived(&module)),
            Loop::Form(_) | Loop::Chosen => {
                let (module, found) = recognize(&module);
                match found.iter().find(|loop_| loop_.outcome.is_err()) {
                    Some(refused) => Err(GoldenError::Program(refused.to_string())),
                    None if found.is_empty() => Err(GoldenError::Program("there is no loop".to_string())),
                    None => self.simplified(&module),
                }
            }
        }
    }

    /// The differentiated module as this target computes it.
    fn in_form(self, module: &Module) -> Result<Module, GoldenError> {
        match self.loops {
            Loop::Written | Loop::Steps => self.simplified(module),
            Loop::Form(form) => self.simplified(&expand(&self.simplified(module)?, &form).0),
            Loop::Chosen | Loop::Derived => self.simplified(&in_forms(&self.simplified(module)?)),
        }
    }

    fn compute(
        self,
        module: &Module,
        function: FunctionId,
        inputs: &[Tensor<f64>],
    ) -> Result<Vec<Vec<f64>>, GoldenError> {
        match self.engine {
            Engine::Reference64 => evaluated(module, function, inputs),
            Engine::Reference32 => {
                // The recorded inputs are numbers of f32.
                let narrow = |t: &Tensor<f64>| match t.as_floats() {
                    Some(values) => Tensor::<f32>::floats(&t.shape, values.iter().copied()),
                    None => Tensor::integers(&t.shape, t.to_f64().into_iter().map(|x| x as i64)),
                };
                evaluated(module, function, &inputs.iter().map(narrow).collect::<Vec<_>>())
            }
            Engine::Cpu32 => {
                let results = Compiled::new(module, function, 2).and_then(|compiled| compiled.run(inputs));
                let results = results.map_err(GoldenError::Program)?;
                Ok(results.into_iter().map(|output| output.values).collect())
            }
            Engine::Cuda32 => {
                let compiled = OnDevice::new(emulated::backend(), module, function);
                let results = compiled.and_then(|compiled| compiled.run(inputs));
                let results = results.map_err(GoldenError::Program)?;
                Ok(results.into_iter().map(|output| output.values).collect())
            }
        }
    }

    /// The largest error of the tensor `key` that is accepted.
    fn tolerance(self, case: &Case, recorded: &str, key: &str) -> f64 {
        let recorded = match self.precision() {
            Precision::Double => case.tolerance.float64,
            Precision::Single => float32_tolerance(case, recorded, key),
        };
        match self.loops {
            Loop::Written | Loop::Form(_) | Loop::Chosen | Loop::Steps => recorded,
            Loop::Derived => recorded.max(WITHOUT_EPS),
        }
    }

    /// The cells of the models that it computes.
    fn cells(self) -> Cells {
        match self.loops {
            Loop::Written | Loop::Form(_) | Loop::Chosen | Loop::Steps => Cells::Published,
            Loop::Derived => Cells::Paper,
        }
    }
}

/// The paper's mLSTM lacks the `+ eps` of the published one: how far the results may differ for that.
const WITHOUT_EPS: f64 = 1e-4;

pub(super) fn evaluated<S: Scalar>(
    module: &Module,
    function: FunctionId,
    inputs: &[Tensor<S>],
) -> Result<Vec<Vec<f64>>, GoldenError> {
    let outputs = evaluate(module, function, inputs).map_err(|e| GoldenError::Program(e.to_string()))?;
    Ok(outputs.iter().map(Tensor::to_f64).collect())
}

/// Ten times the error of the references' own run of this form in float32, at least 1e-5. Where that run was not
/// finite or is not recorded, ten times the error of the worst form.
fn float32_tolerance(case: &Case, form: &str, key: &str) -> f64 {
    const LEAST: f64 = 1e-5;
    let recorded = case.tensors.get(key).and_then(|t| t.float32_run_error.get(form).copied().flatten());
    recorded.map_or(case.tolerance.float32_lenient, |error| 10.0 * error).max(LEAST)
}

/// How a case came out on a target.
#[derive(Clone, Debug)]
pub struct Report {
    /// The worst tensor, the one whose error is largest in terms of its tolerance.
    pub worst: Comparison,
    /// How many tensors were compared.
    pub compared: usize,
    /// Every tensor beyond its tolerance.
    pub failures: Vec<Comparison>,
}

/// The error of one tensor.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Its key in the file.
    pub key: String,
    /// The error.
    pub error: f64,
    /// The largest error that is accepted.
    pub tolerance: f64,
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:.1e} (tolerance {:.1e})", self.key, self.error, self.tolerance)
    }
}

/// Computes a case, forward and gradients, and compares.
pub fn run(folder: &Path, case: &Case, program: &Program, target: Target) -> Result<Report, GoldenError> {
    let mut file = vectors::read(&folder.join(&case.file))?;
    if let Some(directory) = &case.directory {
        file.extend(vectors::checkpoint(&folder.join(directory))?);
    }
    let entry = if target.loops == Loop::Steps { LOGITS } else { program.entry };
    let (forward, root) = compile(program, entry, target.cells())?;
    let places = Places::new(program, &forward[root].graph)?;
    if let Loops::Training(training) = &program.loops {
        let trainer = match target.engine {
            Engine::Reference64 | Engine::Reference32 => Trainer::Reference64,
            Engine::Cpu32 => Trainer::Cpu32,
            Engine::Cuda32 => Trainer::Cuda32,
        };
        let results = training::train(program, training, (&forward, root), &places, &file, trainer)?;
        return compare(case, program, &file, &results, target, &|_| true);
    }
    if let (Loop::Steps, Loops::LanguageModel(reading)) = (target.loops, &program.loops) {
        let results = reading::read(program, reading, (&forward, root), &places, &file, target)?;
        let is_asked = |key: &str| key == reading.logits || reading::is_of_layers(key);
        return compare(case, program, &file, &results, target, &is_asked);
    }
    let forward = target.recognized(target.simplified(&forward)?)?;
    let (module, function) = gradient(&forward, root, &carousel_autodiff::Options::default())
        .map_err(|d| GoldenError::Program(d.iter().map(|d| format!("{d}\n")).collect()))?;
    let problems = carousel_ir::verify(&module);
    if let Some(problem) = problems.first() {
        return Err(GoldenError::Program(format!("the gradient does not verify: {problem}")));
    }
    let module = target.in_form(&module)?;

    let derived = &module[function];
    let inputs = derived.graph.inputs.iter().map(|declared| places.input(program, derived, &file, declared));
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    let outputs = target.compute(&module, function, &inputs)?;

    // Parts of one recorded tensor are put together before they are compared; what nobody computes stays NaN.
    let mut results: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (output, values) in derived.graph.outputs.iter().zip(outputs) {
        let name = output.name.as_str();
        let place = match name.strip_prefix("grad.") {
            Some(input) => places.of(program, input).map(|place| place.under("grad.")),
            None => program.outputs.iter().find(|s| s.name == name).map(|s| Place::Slot(s).under("out.")),
        };
        let (key, place) =
            place.ok_or_else(|| GoldenError::Case(format!("`{name}` is no tensor of the case")))?;
        put(&key, place, values, &file, &mut results);
    }
    let is_left_out = |key: &str| program.left_out.iter().any(|left_out| key.starts_with(left_out));
    compare(case, program, &file, &results, target, &|key| !is_left_out(key))
}

fn compare(
    case: &Case,
    program: &Program,
    file: &BTreeMap<String, Vector>,
    results: &BTreeMap<String, Vec<f64>>,
    target: Target,
    is_asked: &dyn Fn(&str) -> bool,
) -> Result<Report, GoldenError> {
    let largest = |kind: &str| {
        let of_kind = file.iter().filter(|(key, _)| key.starts_with(kind));
        of_kind.map(|(_, v)| metric::largest(&v.values)).fold(0.0, f64::max)
    };
    let kinds = [("out.", largest("out.")), ("grad.", largest("grad."))];
    let mut comparisons = Vec::new();
    for (key, vector) in file {
        let Some((_, largest)) = kinds.iter().find(|(kind, _)| key.starts_with(kind)) else { continue };
        if !is_asked(key) {
            continue;
        }
        let values = results.get(key).map(Vec::as_slice).unwrap_or_default();
        let error = metric::error(values, &vector.values, *largest);
        comparisons.push(Comparison {
            key: key.clone(),
            error,
            tolerance: target.tolerance(case, program.recorded, key),
        });
    }
    let failures = comparisons.iter().filter(|c| c.error > c.tolerance).cloned().collect();
    let ratio = |c: &Comparison| c.error / c.tolerance;
    let worst = comparisons.iter().max_by(|a, b| ratio(a).total_cmp(&ratio(b))).cloned();
    match worst {
        Some(worst) => Ok(Report { worst, compared: comparisons.len(), failures }),
        None => Err(GoldenError::Case(format!("`{}` has nothing to compare with", case.name))),
    }
}

/// The module of a program and its root.
fn compile(program: &Program, entry: &str, cells: Cells) -> Result<(Module, FunctionId), GoldenError> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/xl"));
    let load = |path: &str| {
        let of_a_model = match &program.loops {
            Loops::Model | Loops::LanguageModel(_) | Loops::Training(_) => path.strip_prefix("cells/"),
            Loops::Linear | Loops::Sequential | Loops::None => None,
        };
        let path = match (cells, of_a_model) {
            (Cells::Published, Some(cell)) => format!("reference/{cell}"),
            (Cells::Published | Cells::Paper, _) => path.to_string(),
        };
        std::fs::read_to_string(root.join(path)).map_err(|e| e.to_string())
    };
    let parsed = parse_program("golden.xl", program.source, &load)
        .map_err(|failed| GoldenError::Program(failed.to_string()))?;
    let sizes = program.sizes.iter().filter(|(axis, _)| !program.dynamic.contains(&axis.as_str()));
    let options = Options {
        dtype: DType::F32,
        sizes: sizes.map(|(axis, size)| (axis.clone(), *size)).collect(),
        config: program.config.clone(),
        ..Options::default()
    };
    let module = elaborate(&parsed, &[entry], &options)
        .map_err(|d| GoldenError::Program(parsed.sources.render(&d, RenderStyle::Plain)))?;
    let root =
        module.find(entry).ok_or_else(|| GoldenError::Program(format!("there is no function `{entry}`")))?;
    Ok((module, root))
}
