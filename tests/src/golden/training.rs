//! Training a golden model: in f64 by the plain evaluator, in f32 by all that `carousel train` uses, on the CPU or a device.

use super::GoldenError;
use super::families::Program;
use super::families::train::Training;
use super::places::Places;
use super::vectors::Vector;
use crate::emulated::backend;
use carousel_core::backend::RunError;
use carousel_cuda::emulated::take_records;
use carousel_ir::text::{ConfigValue, Options, elaborate, parse_program};
use carousel_ir::{FunctionId, Module, Role};
use carousel_models::arena::Arena;
use carousel_models::batch::Batch;
use carousel_models::compile::{Engine, loss_gradient};
use carousel_models::config::{AdamW, ParameterValue};
use carousel_models::library::{Cells, ModelSource, OPTIMIZER, bundled};
use carousel_models::model::{Model, Reading};
use carousel_models::optimizer::{Optimizer, Update};
use carousel_models::schedule::Schedule;
use carousel_reference::{Tensor, evaluate};
use carousel_testkit::device::findings;
use std::collections::BTreeMap;

/// What a run leaves: results by key.
pub(super) type Results = BTreeMap<String, Vec<f64>>;

/// A model that can be trained: it takes steps, and has parameters.
trait Learner {
    /// One update from this batch; the loss before it and the norm of the gradients.
    fn step(&mut self, step: u64, learning_rate: f64, batch: &Batch) -> Result<(f64, f64), GoldenError>;
    /// The parameters by name.
    fn parameters(&self) -> Result<Vec<(String, Vec<f64>)>, GoldenError>;
}

/// What trains.
#[derive(Clone, Copy)]
pub(super) enum Trainer {
    /// The plain evaluator.
    Reference64,
    /// Machine code.
    Cpu32,
    /// Kernels on the device.
    Cuda32,
}

/// Trains as the case says.
pub(super) fn train(
    program: &Program,
    training: &Training,
    forward: (&Module, FunctionId),
    places: &Places,
    file: &BTreeMap<String, Vector>,
    on: Trainer,
) -> Result<Results, GoldenError> {
    let compiled = |engine: &Engine| Compiled::new(training, program, places, file, engine);
    let mut learner: Box<dyn Learner> = match on {
        Trainer::Reference64 => Box::new(Plain::new(training, forward, places, program, file)?),
        Trainer::Cpu32 => Box::new(compiled(&Engine::cpu(Some(2)))?),
        Trainer::Cuda32 => Box::new(compiled(&Engine::on(Box::new(backend().clone())))?),
    };
    let schedule = Schedule {
        max: training.lr,
        min_factor: training.lr_decay_factor,
        warmup: training.warmup,
        decay_until: training.decay_until,
    };
    let tokens = training.rows * training.context;
    let batch = |name: &str, step: u64| -> Vec<i32> {
        let all = file.get(name).map(|v| v.values.as_slice()).unwrap_or_default();
        all.iter().skip(step as usize * tokens).take(tokens).map(|x| *x as i32).collect()
    };
    let (mut losses, mut norms, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for step in 0..training.steps {
        let (inputs, labels) = (batch("in.tokens", step), batch("in.labels", step));
        let batch =
            Batch { rows: training.rows, context: training.context, inputs, labels, starts: Vec::new() };
        let rate = schedule.learning_rate(step);
        let (loss, norm) = learner.step(step, rate, &batch)?;
        losses.push(loss);
        norms.push(norm);
        rates.push(rate);
    }
    let mut results = Results::from([
        ("out.losses".to_string(), losses),
        ("out.grad_norms".to_string(), norms),
        ("out.lrs".to_string(), rates),
    ]);
    for (name, values) in learner.parameters()? {
        places.put(program, "out.final.", &name, values, file, &mut results)?;
    }
    Ok(results)
}

fn adamw(training: &Training) -> AdamW {
    AdamW {
        beta1: training.betas[0],
        beta2: training.betas[1],
        epsilon: training.eps,
        weight_decay: training.weight_decay,
    }
}

/// By the plain evaluator in f64, the optimiser included.
struct Plain<'a> {
    training: &'a Training,
    module: Module,
    gradient: FunctionId,
    optimizer: (Module, FunctionId),
    /// Name, whether it decays, values and both moments.
    parameters: Vec<(String, bool, [Tensor<f64>; 3])>,
}

impl<'a> Plain<'a> {
    fn new(
        training: &'a Training,
        (module, function): (&Module, FunctionId),
        places: &Places,
        program: &Program,
        file: &BTreeMap<String, Vector>,
    ) -> Result<Plain<'a>, GoldenError> {
        let failed = |d: Vec<carousel_ir::Diagnostic>| GoldenError::Program(format!("{d:?}"));
        let (module, gradient) = loss_gradient(module, function, "loss").map_err(failed)?;
        let text = bundled(OPTIMIZER).expect("the optimiser is built in");
        let parsed = parse_program(OPTIMIZER, text, &|path| Err(path.to_string()))
            .map_err(|failed| GoldenError::Program(failed.to_string()))?;
        let optimizer = elaborate(&parsed, &["adamw"], &Options::default()).map_err(failed)?;
        let update = optimizer.find("adamw").expect("elaborated functions are there");
        let derived = &module[gradient];
        let mut parameters = Vec::new();
        for input in &derived.graph.inputs {
            let Role::Parameter { decay, .. } = input.role else { continue };
            let value = places.input(program, derived, file, input)?;
            let name = input.name.to_string();
            let tensor = places.tensor(&name).unwrap_or_default();
            let decays = decay == carousel_ir::Decay::Yes;
            if decays != training.decay_params.contains(tensor) {
                return Err(GoldenError::Case(format!("`{name}` should decay exactly if `{tensor}` does")));
            }
            let zero = Tensor::floats(&value.shape, std::iter::repeat_n(0.0, value.data.len()));
            parameters.push((name, decays, [value, zero.clone(), zero]));
        }
        Ok(Plain { training, module, gradient, optimizer: (optimizer, update), parameters })
    }
}

impl Learner for Plain<'_> {
    fn step(&mut self, step: u64, learning_rate: f64, batch: &Batch) -> Result<(f64, f64), GoldenError> {
        let derived = &self.module[self.gradient].graph;
        let shape = [batch.rows, batch.context];
        let integers = |values: &[i32]| Tensor::integers(&shape, values.iter().map(|x| i64::from(*x)));
        let value = |name: &str| match name {
            "tokens" => integers(&batch.inputs),
            "labels" => integers(&batch.labels),
            _ => {
                let found = self.parameters.iter().find(|(n, ..)| n == name);
                found.map(|(_, _, [value, ..])| value.clone()).expect("every other input is a parameter")
            }
        };
        let inputs: Vec<Tensor<f64>> = derived.inputs.iter().map(|i| value(i.name.as_str())).collect();
        let failed = |e: carousel_reference::EvalError| GoldenError::Program(e.to_string());
        let outputs = evaluate(&self.module, self.gradient, &inputs).map_err(failed)?;
        let named: BTreeMap<&str, &Tensor<f64>> =
            derived.outputs.iter().map(|o| o.name.as_str()).zip(&outputs).collect();
        let gradient = |name: &str| named.get(format!("grad.{name}").as_str()).map(|t| t.to_f64());
        let squares = self.parameters.iter().filter_map(|(name, ..)| gradient(name)).flatten();
        let norm = squares.map(|g| g * g).sum::<f64>().sqrt();
        let gradients: Vec<Option<Vec<f64>>> =
            self.parameters.iter().map(|(name, ..)| gradient(name)).collect();
        let loss = named["loss"].to_f64()[0];
        let constants = adamw(self.training);
        let correction = |beta: f64| 1.0 - beta.powf(step as f64 + 1.0);
        for ((_, decays, values), gradient) in self.parameters.iter_mut().zip(gradients) {
            let shape = values[0].shape.clone();
            let flat = |t: &Tensor<f64>| Tensor::floats(&[t.data.len()], t.to_f64());
            let gradient = gradient.unwrap_or_else(|| vec![0.0; values[0].data.len()]);
            let [p, m, v] = values.each_ref().map(flat);
            let scalars = [
                norm * norm,
                0.0,
                learning_rate,
                if *decays { constants.weight_decay } else { 0.0 },
                self.training.clip,
                constants.beta1,
                constants.beta2,
                constants.epsilon,
                correction(constants.beta1),
                correction(constants.beta2),
            ];
            let gradient = Tensor::floats(&[gradient.len()], gradient);
            let inputs: Vec<Tensor<f64>> =
                [p, gradient, m, v].into_iter().chain(scalars.map(Tensor::scalar)).collect();
            let (module, update) = &self.optimizer;
            let next = evaluate(module, *update, &inputs).map_err(failed)?;
            for (value, next) in values.iter_mut().zip(&next) {
                *value = Tensor::floats(&shape, next.to_f64());
            }
        }
        Ok((loss, norm))
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<f64>)>, GoldenError> {
        Ok(self.parameters.iter().map(|(name, _, [value, ..])| (name.clone(), value.to_f64())).collect())
    }
}

/// By machine code or kernels in f32, with the model and the optimiser of `carousel train`.
struct Compiled<'a> {
    training: &'a Training,
    model: Model,
    gradient: carousel_models::model::LanguageFunction,
    optimizer: Optimizer,
    gradients: Arena,
}

impl<'a> Compiled<'a> {
    fn new(
        training: &'a Training,
        program: &Program,
        places: &Places,
        file: &BTreeMap<String, Vector>,
        engine: &Engine,
    ) -> Result<Compiled<'a>, GoldenError> {
        let parameter = |value: &ConfigValue| match value {
            ConfigValue::Int(n) => ParameterValue::Integer(*n),
            ConfigValue::Float(x) => ParameterValue::Float(*x),
            ConfigValue::Bool(b) => ParameterValue::Boolean(*b),
            ConfigValue::Text(text) => ParameterValue::Text(text.clone()),
            ConfigValue::List(list) => {
                ParameterValue::List(list.iter().copied().map(ParameterValue::Integer).collect())
            }
        };
        let parameters = program.config.iter().map(|(name, value)| (name.clone(), parameter(value)));
        let source = ModelSource::builtin("models/lm.xl", Cells::Published);
        let failed = |failed: carousel_ir::text::Failed| GoldenError::Program(failed.to_string());
        let model = Model::new(&source, &parameters.collect()).map_err(failed)?;
        let mut arena = vec![0.0; model.layout().elements()];
        for parameter in model.layout().parameters() {
            let values = places.parameter(parameter.name, file)?;
            let part = &mut arena[parameter.range.clone()];
            part.iter_mut().zip(values).for_each(|(element, value)| *element = value as f32);
        }
        let gradient = model.loss_gradient(engine).map_err(failed)?;
        let optimizer = Optimizer::new(engine, model.layout(), arena).map_err(refused)?;
        let gradients = optimizer.zeros().map_err(refused)?;
        Ok(Compiled { training, gradient, optimizer, gradients, model })
    }
}

impl Learner for Compiled<'_> {
    fn step(&mut self, step: u64, learning_rate: f64, batch: &Batch) -> Result<(f64, f64), GoldenError> {
        let reading = Reading { batch, seed: 0, step };
        let parameters = self.optimizer.parameters();
        let loss = self.gradient.loss(parameters, reading, Some(&mut self.gradients)).map_err(refused)?;
        let adamw = adamw(self.training);
        let update = Update { adamw: &adamw, step, learning_rate, clip: self.training.clip };
        let norm = self.optimizer.update(&self.gradients, update).map_err(refused)?;
        // On the device, something may be wrong although the numbers are right.
        let wrong = findings(&take_records());
        if wrong.is_empty() { Ok((f64::from(loss), norm)) } else { Err(GoldenError::Program(wrong)) }
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<f64>)>, GoldenError> {
        let values = self.optimizer.values().map_err(refused)?;
        let numbers = |range: std::ops::Range<usize>| values[range].iter().map(|x| f64::from(*x)).collect();
        let parameters = self.model.layout().parameters().iter();
        Ok(parameters.map(|p| (p.name.to_string(), numbers(p.range.clone()))).collect())
    }
}

fn refused(error: RunError) -> GoldenError {
    GoldenError::Program(error.to_string())
}
