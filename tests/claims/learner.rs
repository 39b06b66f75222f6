//! Trains the built-in language model, small, on a task given as batches, and measures what it has learned.
//!
//! Invariant: what is learned depends only on the task, the recipe and the seed: two models that are compared see the
//! same batches and make the same number of updates. It writes no files and does not stop early.

use std::error::Error;
use std::ops::Range;

use carousel_core::backend::DataMut;
use carousel_ir::text::Failed;
use carousel_models::batch::{Batch, Extent};
use carousel_models::compile::Engine;
use carousel_models::config::{AdamW, ParameterValue};
use carousel_models::corpus::Part;
use carousel_models::evaluate::evaluate;
use carousel_models::library::ModelSource;
use carousel_models::model::{LanguageFunction, Model, Reading};
use carousel_models::optimizer::{Optimizer, Update};
use carousel_models::philox::{Philox, Stream, below, join};
use carousel_models::schedule::Schedule;
use carousel_models::weights::Weights;

/// How a model is trained: by AdamW, with a short warm-up and a cosine decay over all steps.
pub(crate) struct Recipe {
    /// Number of updates.
    pub(crate) steps: u64,
    /// The highest learning rate.
    pub(crate) learning_rate: f64,
    /// Decay of the weights.
    pub(crate) weight_decay: f64,
}

/// Largest norm of the gradients, as in `carousel train`.
const CLIP: f64 = 1.0;
/// Steps of warm-up.
const WARMUP: u64 = 20;

/// A language model, compiled.
pub(crate) struct Learner {
    engine: Engine,
    model: Model,
    gradient: LanguageFunction,
    logits: LanguageFunction,
    loss: LanguageFunction,
}

impl Learner {
    /// Compiles the built-in model with these compile-time parameters. It runs on one thread: the tests of this binary
    /// run beside each other.
    pub(crate) fn new(parameters: &[(&str, ParameterValue)]) -> Result<Learner, Box<dyn Error>> {
        let engine = Engine::cpu(Some(1));
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_string(), value.clone()));
        let model = Model::new(&ModelSource::load(None, None)?, &parameters.collect()).map_err(readable)?;
        Ok(Learner {
            gradient: model.loss_gradient(&engine).map_err(readable)?,
            logits: model.logits(&engine, &[]).map_err(readable)?,
            loss: model.loss(&engine, &[]).map_err(readable)?,
            model,
            engine,
        })
    }

    /// Parameters of the model.
    pub(crate) fn elements(&self) -> usize {
        self.model.layout().elements()
    }

    /// The parameters after training on `batch(step)` from the initial values of `seed`.
    pub(crate) fn train(
        &self,
        recipe: &Recipe,
        seed: u64,
        batch: impl Fn(u64) -> Batch,
    ) -> Result<Vec<f32>, Box<dyn Error>> {
        let layout = self.model.layout();
        let Recipe { steps, learning_rate: max, weight_decay } = *recipe;
        let schedule = Schedule { max, min_factor: 0.1, warmup: WARMUP, decay_until: steps };
        let adamw = AdamW { weight_decay, ..AdamW::default() };
        let mut optimizer = Optimizer::new(&self.engine, layout, layout.initial(seed)?)?;
        let mut gradients = optimizer.zeros()?;
        for step in 0..steps {
            let reading = Reading { batch: &batch(step), seed, step };
            let loss = self.gradient.loss(optimizer.parameters(), reading, Some(&mut gradients))?;
            let learning_rate = schedule.learning_rate(step);
            let update = Update { adamw: &adamw, step, learning_rate, clip: CLIP };
            let norm = optimizer.update(&gradients, update)?;
            if !loss.is_finite() || !norm.is_finite() {
                return Err(format!("step {step}: the loss is {loss}, the gradients' norm {norm}").into());
            }
        }
        Ok(optimizer.values()?.into_owned())
    }

    /// The part of the labels at `places` of each row for which the most likely token is the right one. Negative
    /// labels do not count.
    pub(crate) fn accuracy(
        &self,
        parameters: &[f32],
        batch: &Batch,
        places: Range<usize>,
    ) -> Result<f64, Box<dyn Error>> {
        let vocabulary = self.logits.outputs()[0].sizes.last().and_then(|s| s.known());
        let vocabulary = vocabulary.ok_or("the vocabulary's size is known when compiled")? as usize;
        let mut logits = vec![0.0; batch.inputs.len() * vocabulary];
        let reading = Reading { batch, seed: 0, step: 0 };
        let parameters = Weights::of(self.model.layout(), parameters);
        self.logits.run(&parameters, reading, &mut [DataMut::F32(&mut logits)])?;
        let (mut right, mut asked) = (0u32, 0u32);
        for (at, (label, row)) in batch.labels.iter().zip(logits.chunks(vocabulary)).enumerate() {
            let Ok(label) = usize::try_from(*label) else { continue };
            if places.contains(&(at % batch.context)) {
                let best = (0..vocabulary).max_by(|a, b| row[*a].total_cmp(&row[*b]));
                asked += 1;
                right += u32::from(best == Some(label));
            }
        }
        if asked == 0 { Err("nothing was asked".into()) } else { Ok(f64::from(right) / f64::from(asked)) }
    }

    /// The loss on the first `windows` windows of a text, in bits a byte.
    pub(crate) fn bits_per_byte(
        &self,
        parameters: &[f32],
        part: &Part,
        windows: usize,
    ) -> Result<f64, Box<dyn Error>> {
        let parameters = Weights::of(self.model.layout(), parameters);
        let found = evaluate(&self.loss, &parameters, part, 16, Extent::Windows(windows))?;
        found.bits_per_byte.ok_or_else(|| "a text has bytes".into())
    }
}

fn readable(failed: Failed) -> String {
    let lines: Vec<String> = failed.diagnostics.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Random numbers of one row of one batch: the same for every model that is trained with the seed.
pub(crate) struct Draw {
    generator: Philox,
    major: u64,
    next: u64,
}

impl Draw {
    /// The numbers of a row of the batch of a step.
    pub(crate) fn new(seed: u64, step: u64, row: u64) -> Draw {
        Draw { generator: Philox::new(seed, Stream::Data), major: step << 32 | row, next: 0 }
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let [low, high, ..] = self.generator.block_at(self.major, self.next);
        self.next += 1;
        below(join(low, high), bound as u64) as usize
    }

    /// The numbers below `bound` in a random order.
    pub(crate) fn permutation(&mut self, bound: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..bound).collect();
        for last in (1..bound).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}
