//! The training loop: batch, loss and gradients, clipping and update; metrics, validation and checkpoints when they
//! are due.
//!
//! Invariant: a step depends only on the parameters, the moments, the states that are carried from window to window, the
//! configuration and the step's number, so a run that is resumed from a checkpoint ends in the same bits as one that was not
//! interrupted.

mod diagnosis;
mod error;
mod record;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use carousel_core::backend::{DataMut, RunError};
use carousel_core::resident::{Output, Resident};
use carousel_ir::Module;

use crate::arena::Arena;
use crate::batch::{Batch, Extent};
use crate::checkpoint::{
    self, Best, Checkpoint, Manifest, NO_TOKENIZER, Snapshot, TensorRef, TensorSpec, Unlogged,
};
use crate::compile::Engine;
use crate::config::{ParameterValue, TrainingConfig};
use crate::data::Data;
use crate::evaluate::Evaluation;
use crate::library::ModelSource;
use crate::metrics::{Metric, MetricsError};
use crate::model::{LanguageFunction, Model, Reading};
use crate::optimizer::{Optimizer, Update};
use crate::piece::Memory;
use crate::progress::{Display, Progress};
use crate::tokenizer::{ByteTokenizer, FileTokenizer, Tokenizer};
pub use error::TrainError;
use record::Recorder;

/// Name of the checkpoint's folder in the output folder.
pub const CHECKPOINT_FOLDER: &str = "checkpoint";
/// Name of the folder of the checkpoint with the lowest loss on held-back text.
pub const BEST_FOLDER: &str = "best";
/// Name of the metrics in the output folder.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// Whether a run starts afresh or goes on from the checkpoint in its output folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// From initial values.
    Afresh,
    /// From the checkpoint.
    Resume,
}

/// A run.
pub struct Trainer {
    config: TrainingConfig,
    model: Model,
    source: ModelSource,
    data: Data,
    gradient: LanguageFunction,
    test: LanguageFunction,
    optimizer: Optimizer,
    gradients: Arena,
    /// The loss of a batch.
    loss: Box<dyn Resident>,
    /// The gradients of one of several batches of a step.
    partial: Option<Arena>,
    /// What the model remembers of the windows before, for each of the batches of a step.
    memories: Vec<Memory>,
    /// The equations as gradients were taken of them.
    prepared: Module,
    step: u64,
    unlogged: Unlogged,
    best: Option<Best>,
    recorder: Recorder,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Updates that were made, in all.
    pub steps: u64,
    /// The loss on the held-back text or the test, unless the run was stopped before its last step.
    pub held_back: Option<Evaluation>,
    /// Seconds that this process trained.
    pub seconds: f64,
}

impl Trainer {
    /// Compiles the model and prepares the data; resuming reads parameters and moments back.
    pub fn new(engine: &Engine, config: TrainingConfig, start: Start) -> Result<Trainer, TrainError> {
        let folder = config.out.join(CHECKPOINT_FOLDER);
        let found = match start {
            Start::Afresh => None,
            Start::Resume => Some(Checkpoint::open(&folder)?),
        };
        let source = match &found {
            Some(checkpoint) => ModelSource::from_files(checkpoint.manifest().sources.clone()),
            None => ModelSource::load(config.model_file.as_deref(), config.cell_file.as_deref())?,
        };
        let data = match &config.task {
            Some(task) => Data::Task(task.clone()),
            None => {
                let tokenizer: Option<Arc<dyn Tokenizer>> = match (&found, &config.tokenizer) {
                    // The user's file may be gone.
                    (Some(checkpoint), _) => checkpoint.tokenizer()?,
                    (None, Some(path)) => Some(Arc::new(FileTokenizer::open(path)?)),
                    (None, None) => None,
                };
                Data::text(&config, tokenizer.unwrap_or_else(|| Arc::new(ByteTokenizer)))?
            }
        };
        let mut config = config;
        let tokens = data.vocabulary();
        if data.tokenizer().is_none_or(|tokenizer| !tokenizer.tokens_are_bytes()) {
            config.model.entry("vocab".to_string()).or_insert(ParameterValue::Integer(tokens as i64));
        }
        let model = Model::new(&source, &config.model)?
            .in_documents(config.document_end.is_some())
            .carrying_state(config.carry)
            .rematerialised(config.remat);
        if (tokens as u64) > model.vocabulary() {
            let (origin, vocabulary) = (data.origin_of_tokens(), model.vocabulary());
            return Err(TrainError::Vocabulary { origin, tokens, vocabulary });
        }
        let mut optimizer = Optimizer::new(engine, model.layout(), model.layout().initial(config.seed)?)?;
        let streams = config.batch * config.accumulate;
        if config.carry && data.windows(streams) == Some(0) {
            return Err(TrainError::ShortStreams {
                text: data.identity().name,
                streams,
                context: config.context,
            });
        }
        let (gradient, test) = (model.loss_gradient(engine)?, data.test_function(&model, engine)?);
        let mut memories = vec![Memory::empty(config.batch); config.accumulate];
        let (mut step, mut unlogged, mut best) = (0, Unlogged::default(), None);
        if let Some(checkpoint) = &found {
            let manifest = checkpoint.manifest();
            let identity = data.identity();
            if !identity.same_content(&manifest.text) {
                let (trained, given) = (manifest.text.name.clone(), identity.name);
                return Err(TrainError::OtherText { folder: config.out.clone(), trained, given });
            }
            let specs = model.layout().specs();
            let carried = carried(&gradient, &config, &data, manifest.step)?;
            let moments = checkpoint.moments(&specs, &carried)?;
            let mut states = moments.carried.into_iter();
            if !carried.is_empty() {
                let each = carried.len() / config.accumulate;
                memories.iter_mut().for_each(|memory| memory.set(states.by_ref().take(each).collect()));
            }
            let values = checkpoint.parameters(&specs)?.concat();
            optimizer.resume(values, [moments.first.concat(), moments.second.concat()])?;
            (step, unlogged, best) = (manifest.step, manifest.unlogged, manifest.best);
        }
        std::fs::create_dir_all(&config.out).map_err(|source| MetricsError::Io {
            action: "make the folder of",
            path: config.out.join(METRICS_FILE),
            source,
        })?;
        // Last, so that a run that cannot start leaves the metrics of the one before it.
        let recorder = match start {
            Start::Afresh => Recorder::create(&config.out)?,
            Start::Resume => Recorder::resume(&config.out, step)?,
        };
        Ok(Trainer {
            loss: gradient.room_for_loss()?,
            gradient,
            test,
            gradients: optimizer.zeros()?,
            partial: (config.accumulate > 1).then(|| optimizer.zeros()).transpose()?,
            prepared: engine.prepared(&model.training_module()?),
            config,
            model,
            source,
            data,
            optimizer,
            memories,
            step,
            unlogged,
            best,
            recorder,
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The tokenizer, where a text is learned.
    pub fn tokenizer(&self) -> Option<&dyn Tokenizer> {
        self.data.tokenizer()
    }

    /// The parameters as they are now.
    ///
    /// # Errors
    /// If they cannot be fetched from where they are trained.
    pub fn parameters(&self) -> Result<Cow<'_, [f32]>, RunError> {
        self.optimizer.values()
    }

    /// Updates that have been made.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// The forms of the linear scans of a step, and why these.
    pub fn forms(&self) -> &carousel_passes::forms::FormReport {
        self.gradient.forms()
    }

    /// The most memory that a step has needed beside parameters, moments and gradients, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.gradient.peak_bytes()
    }

    /// One update. Returns the loss before it and the norm of the gradients.
    pub fn step(&mut self) -> Result<(f32, f64), TrainError> {
        self.begin_windows();
        let parts = 0..self.config.accumulate;
        let batches = parts.map(|part| self.batch(part)).collect::<Result<Vec<Batch>, _>>()?;
        let tokens: usize = batches.iter().map(Batch::tokens).sum();
        // Each batch has the mean over its own tokens.
        let share = |batch: &Batch| batch.tokens() as f32 / tokens.max(1) as f32;
        let (schedule, clip) = (self.config.schedule(), self.config.clip);
        let mut total = 0.0;
        for (part, batch) in batches.iter().enumerate() {
            let mut sequence = self.gradient.sequence();
            let reading = Reading { batch, seed: self.config.seed, step: self.step };
            let into = self.partial.as_mut().filter(|_| part > 0).unwrap_or(&mut self.gradients);
            let (parameters, memory) = (self.optimizer.parameters().into(), &mut self.memories[part]);
            let loss = Output::Resident(&mut *self.loss);
            let add = Some(&mut *sequence);
            let run = self.gradient.add_loss(add, parameters, reading, Some(into), memory, loss)?;
            if let Some(partial) = self.partial.as_ref().filter(|_| part > 0) {
                let times = [if part == 1 { share(&batches[0]) } else { 1.0 }, share(batch)];
                self.optimizer.add_accumulation(&mut *sequence, &mut self.gradients, partial, times)?;
            }
            if part + 1 == batches.len() {
                let (adamw, learning_rate) = (&self.config.adamw, schedule.learning_rate(self.step));
                let update = Update { adamw, step: self.step, learning_rate, clip };
                self.optimizer.add_update(&mut *sequence, &self.gradients, update)?;
            }
            sequence.finish()?;
            self.gradient.settle(run, memory);
            let mut loss = [0.0];
            self.loss.read(DataMut::F32(&mut loss))?;
            total += loss[0] * share(batch);
        }
        let norm = self.optimizer.norm()?;
        if !total.is_finite() || !norm.is_finite() {
            let cause = self.diagnosis()?;
            return Err(TrainError::Diverged { step: self.step, loss: total, norm, cause });
        }
        self.optimizer.accept();
        self.step += 1;
        Ok((total, norm))
    }

    /// One of the batches of the next step.
    fn batch(&self, part: usize) -> Result<Batch, TrainError> {
        Ok(self.data.batch(&self.config, part, self.step)?)
    }

    /// Forgets what was read where the next windows are the first of their streams, or drawn at random.
    fn begin_windows(&mut self) {
        if is_fresh(&self.config, &self.data, self.step) {
            self.memories = vec![Memory::empty(self.config.batch); self.config.accumulate];
        }
    }

    /// Trains to the last step, showing progress; validates and saves when it is due. A new run saves its initial
    /// values too, so that it can be resumed from the start on, and never from an older run in the same folder. Once `stop` is
    /// set, it saves after the step that it is at, and ends.
    pub fn run(&mut self, display: Display, stop: &AtomicBool) -> Result<Summary, TrainError> {
        let tokens = (self.config.batch * self.config.accumulate * self.config.context) as u64;
        let progress = Progress::new(display, self.step, self.config.steps, tokens);
        let start = Instant::now();
        if self.step == 0 {
            self.save()?;
        } else if self.step >= self.config.steps {
            // The run is over and its metrics are complete.
            let held_back = Some(self.evaluate(Extent::Whole)?);
            progress.finish();
            return Ok(Summary { steps: self.step, held_back, seconds: start.elapsed().as_secs_f64() });
        }
        while self.step < self.config.steps && !stop.load(Ordering::Relaxed) {
            let learning_rate = self.config.schedule().learning_rate(self.step);
            let (loss, norm) = self.step()?;
            self.unlogged.loss += f64::from(loss);
            self.unlogged.steps += 1;
            if self.config.is_due(self.config.log_every, self.step) {
                let loss = self.unlogged.loss / self.unlogged.steps as f64;
                let bits_per_byte = self.data.bits_per_byte(loss);
                let status = progress.report(self.step, loss, bits_per_byte);
                self.recorder.record(&Metric::Training {
                    step: self.step,
                    loss,
                    bits_per_byte,
                    learning_rate,
                    gradient_norm: Some(norm),
                    tokens_per_second: status.tokens_per_second,
                })?;
                self.unlogged = Unlogged::default();
            }
            if self.step < self.config.steps {
                if self.config.is_due(self.config.eval_every, self.step) {
                    self.validate(self.config.eval_extent(), &progress)?;
                }
                if self.config.is_due(self.config.save_every, self.step) {
                    self.save()?;
                }
            }
        }
        let is_over = self.step == self.config.steps;
        let held_back = if is_over { Some(self.validate(Extent::Whole, &progress)?) } else { None };
        self.save()?;
        progress.finish();
        Ok(Summary { steps: self.step, held_back, seconds: start.elapsed().as_secs_f64() })
    }

    fn evaluate(&self, extent: Extent) -> Result<Evaluation, TrainError> {
        Ok(self.data.evaluate(&self.test, self.optimizer.parameters(), &self.config, extent)?)
    }

    /// Validates on that much of the held-back text or the test, and keeps the checkpoint if it is the best so far on the part
    /// that all are compared on.
    fn validate(&mut self, extent: Extent, progress: &Progress) -> Result<Evaluation, TrainError> {
        let result = self.evaluate(extent)?;
        self.recorder.record(&Metric::Validation {
            step: self.step,
            loss: result.loss,
            bits_per_byte: result.bits_per_byte,
            tokens: result.tokens,
            accuracy: result.accuracy,
        })?;
        progress.say(&format!("step {}: {result}", self.step));
        let compared = self.config.eval_extent();
        let loss = if extent == compared { result.loss } else { self.evaluate(compared)?.loss };
        if self.best.is_none_or(|best| loss < best.loss) {
            self.best = Some(Best { step: self.step, loss });
            self.save_to(BEST_FOLDER)?;
        }
        Ok(result)
    }

    /// Writes the checkpoint.
    pub fn save(&self) -> Result<(), TrainError> {
        self.save_to(CHECKPOINT_FOLDER)
    }

    fn save_to(&self, folder: &str) -> Result<(), TrainError> {
        let manifest = Manifest {
            step: self.step,
            data_position: self.step,
            unlogged: self.unlogged,
            best: self.best,
            seed: self.config.seed,
            tokenizer: self.tokenizer().map_or(NO_TOKENIZER, Tokenizer::name).to_string(),
            text: self.data.identity(),
            sources: self.source.files().to_vec(),
            parameters: self.config.model.clone(),
            training: self.config.clone(),
        };
        let layout = self.model.layout();
        let specs = carried(&self.gradient, &self.config, &self.data, self.step)?;
        let states = self.memories.iter().map(Memory::states).collect::<Result<Vec<_>, _>>()?;
        let states = states.into_iter().flatten();
        let carried: Vec<TensorRef<'_>> = specs
            .iter()
            .zip(states)
            .map(|(spec, values)| TensorRef { name: &spec.name, shape: &spec.shape, values })
            .collect();
        let (values, [first, second]) = (self.optimizer.values()?, self.optimizer.moments()?);
        checkpoint::save(
            &self.config.out.join(folder),
            &Snapshot {
                manifest: &manifest,
                parameters: &layout.tensors(&values),
                first_moments: &layout.tensors(&first),
                second_moments: &layout.tensors(&second),
                carried: &carried,
                tokenizer: self.tokenizer().and_then(Tokenizer::file),
            },
        )?;
        Ok(())
    }
}

/// Whether the windows of a step go on from nothing.
fn is_fresh(config: &TrainingConfig, data: &Data, step: u64) -> bool {
    let windows = data.windows(config.batch * config.accumulate);
    !config.carry || windows.is_none_or(|windows| step.is_multiple_of(windows))
}

/// The states that a checkpoint after so many steps holds, for all batches of a step.
fn carried(
    gradient: &LanguageFunction,
    config: &TrainingConfig,
    data: &Data,
    step: u64,
) -> Result<Vec<TensorSpec>, TrainError> {
    if is_fresh(config, data, step) {
        return Ok(Vec::new());
    }
    let each = gradient.carried(config.batch, config.context)?;
    let of_batch = |batch| {
        each.iter().map(move |spec: &TensorSpec| TensorSpec {
            name: format!("{}.{batch}", spec.name),
            shape: spec.shape.clone(),
        })
    };
    Ok((0..config.accumulate).flat_map(of_batch).collect())
}
