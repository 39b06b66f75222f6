//! The training loop: batch, loss and gradients, clipping and update; metrics, validation and checkpoints when they
//! are due.
//!
//! Invariant: a step depends only on the parameters, the moments, the configuration and the step's number, so a run
//! that is resumed from a checkpoint ends in the same bits as one that was not interrupted.

use std::path::PathBuf;
use std::time::Instant;

use carousel_core::backend::RunError;
use carousel_ir::text::Failed;

use crate::batch::{Extent, training_batch};
use crate::checkpoint::{self, Checkpoint, CheckpointError, Manifest, Snapshot, Unlogged};
use crate::compile::Engine;
use crate::config::TrainingConfig;
use crate::corpus::{Corpus, Text, TextError};
use crate::evaluate::{Evaluation, evaluate};
use crate::init::InitError;
use crate::library::{ModelSource, SourceError};
use crate::metrics::{Metric, MetricsError, MetricsFile};
use crate::model::{LanguageFunction, Model, Reading};
use crate::optimizer::{Optimizer, Update};
use crate::progress::{Display, Progress};
use crate::tokenizer::{ByteTokenizer, Tokenizer};

/// Name of the checkpoint's folder in the output folder.
pub const CHECKPOINT_FOLDER: &str = "checkpoint";
/// Name of the metrics in the output folder.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// Why a run cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model's files.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The model does not compile; the diagnostics say where.
    #[error("the model does not compile")]
    Model(Failed),
    /// The text.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Initial values.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The model does not run on these batches.
    #[error("{0}")]
    Run(RunError),
    /// The checkpoint is of another text.
    #[error(
        "the checkpoint in {} was trained on `{trained}`, which is not `{given}`; resume with the same text, \
         or choose another output folder", folder.display()
    )]
    OtherText {
        /// The output folder.
        folder: PathBuf,
        /// Name of the text that it was trained on.
        trained: String,
        /// Name of the text that was given.
        given: String,
    },
    /// The loss or the gradients are no numbers.
    #[error(
        "the loss at step {step} is {loss}, the norm of the gradients {norm}: training has diverged; \
         lower learning_rate.max or set clip, and resume from the last checkpoint"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// The loss.
        loss: f32,
        /// The norm.
        norm: f64,
    },
}

impl From<Failed> for TrainError {
    fn from(error: Failed) -> TrainError {
        TrainError::Model(error)
    }
}

impl From<RunError> for TrainError {
    fn from(error: RunError) -> TrainError {
        TrainError::Run(error)
    }
}

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
    text: Text,
    corpus: Corpus,
    gradient: LanguageFunction,
    loss: LanguageFunction,
    optimizer: Optimizer,
    gradients: Vec<f32>,
    step: u64,
    unlogged: Unlogged,
    metrics: MetricsFile,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Updates that were made, in all.
    pub steps: u64,
    /// The loss on the held-back text.
    pub held_back: Evaluation,
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
        let model = Model::new(&source, &config.model)?;
        let text = match &config.text {
            Some(path) => Text::from_file(path)?,
            None => Text::bundled(),
        };
        let corpus = Corpus::new(&text, &ByteTokenizer, config.held_back, config.context)?;
        let mut optimizer = Optimizer::new(engine, model.layout().initial(config.seed)?);
        let (mut step, mut unlogged) = (0, Unlogged::default());
        if let Some(checkpoint) = &found {
            let manifest = checkpoint.manifest();
            if !text.identity().same_content(&manifest.text) {
                let (trained, given) = (manifest.text.name.clone(), text.name().to_string());
                return Err(TrainError::OtherText { folder: config.out.clone(), trained, given });
            }
            let specs = model.layout().specs();
            let moments = checkpoint.moments(&specs)?;
            optimizer.values = checkpoint.parameters(&specs)?.concat();
            optimizer.first = moments.first.concat();
            optimizer.second = moments.second.concat();
            (step, unlogged) = (manifest.step, manifest.unlogged);
        }
        std::fs::create_dir_all(&config.out).map_err(|source| MetricsError::Io {
            action: "make the folder of",
            path: config.out.join(METRICS_FILE),
            source,
        })?;
        let (gradient, loss) = (model.loss_gradient(engine)?, model.loss(engine)?);
        // Last, so that a run that cannot start leaves the metrics of the one before it.
        let metrics_path = config.out.join(METRICS_FILE);
        let metrics = match start {
            Start::Afresh => MetricsFile::create(&metrics_path)?,
            Start::Resume => MetricsFile::resume(&metrics_path, step)?,
        };
        Ok(Trainer {
            gradient,
            loss,
            gradients: vec![0.0; model.layout().elements()],
            config,
            model,
            source,
            text,
            corpus,
            optimizer,
            step,
            unlogged,
            metrics,
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The parameters as they are now.
    pub fn parameters(&self) -> &[f32] {
        &self.optimizer.values
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
        let config = &self.config;
        let batch = training_batch(&self.corpus.train, config.batch, config.seed, self.step);
        let reading = Reading { batch: &batch, seed: config.seed, step: self.step };
        let loss = self.gradient.loss(&self.optimizer.values, reading, Some(&mut self.gradients))?;
        let update = Update {
            adamw: &config.adamw,
            step: self.step,
            learning_rate: config.schedule().learning_rate(self.step),
            clip: config.clip,
        };
        let norm = self.optimizer.norm(&self.gradients)?;
        if !loss.is_finite() || !norm.is_finite() {
            return Err(TrainError::Diverged { step: self.step, loss, norm });
        }
        self.optimizer.update(self.model.layout(), &self.gradients, norm, update)?;
        self.step += 1;
        Ok((loss, norm))
    }

    /// Trains to the last step, showing progress; validates and saves when it is due. A new run saves its initial
    /// values too, so that it can be resumed from the start on, and never from an older run in the same folder.
    pub fn run(&mut self, display: Display) -> Result<Summary, TrainError> {
        let tokens = (self.config.batch * self.config.context) as u64;
        let progress = Progress::new(display, self.step, self.config.steps, tokens);
        let start = Instant::now();
        if self.step == 0 {
            self.save()?;
        } else if self.step >= self.config.steps {
            // The run is over and its metrics are complete.
            let held_back = self.evaluate(Extent::Whole)?;
            progress.finish();
            return Ok(Summary { steps: self.step, held_back, seconds: start.elapsed().as_secs_f64() });
        }
        while self.step < self.config.steps {
            let learning_rate = self.config.schedule().learning_rate(self.step);
            let (loss, norm) = self.step()?;
            self.unlogged.loss += f64::from(loss);
            self.unlogged.steps += 1;
            if self.config.is_due(self.config.log_every, self.step) {
                let loss = self.unlogged.loss / self.unlogged.steps as f64;
                let bits_per_byte = self.corpus.train.bits_per_byte(loss);
                let status = progress.report(self.step, loss, bits_per_byte);
                self.metrics.record(&Metric::Training {
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
        let held_back = self.validate(Extent::Whole, &progress)?;
        self.save()?;
        progress.finish();
        Ok(Summary { steps: self.step, held_back, seconds: start.elapsed().as_secs_f64() })
    }

    fn evaluate(&self, extent: Extent) -> Result<Evaluation, TrainError> {
        let part = &self.corpus.held_back;
        Ok(evaluate(&self.loss, &self.optimizer.values, part, self.config.batch, extent)?)
    }

    fn validate(&mut self, extent: Extent, progress: &Progress) -> Result<Evaluation, TrainError> {
        let result = self.evaluate(extent)?;
        self.metrics.record(&Metric::Validation {
            step: self.step,
            loss: result.loss,
            bits_per_byte: result.bits_per_byte,
            tokens: result.tokens,
        })?;
        progress.say(&format!(
            "step {}: held-back loss {:.4} nats, {:.4} bits a byte",
            self.step, result.loss, result.bits_per_byte
        ));
        Ok(result)
    }

    /// Writes the checkpoint.
    pub fn save(&self) -> Result<(), TrainError> {
        let manifest = Manifest {
            step: self.step,
            data_position: self.step,
            unlogged: self.unlogged,
            seed: self.config.seed,
            tokenizer: ByteTokenizer.name().to_string(),
            text: self.text.identity(),
            sources: self.source.files().to_vec(),
            parameters: self.config.model.clone(),
            training: self.config.clone(),
        };
        let layout = self.model.layout();
        checkpoint::save(
            &self.config.out.join(CHECKPOINT_FOLDER),
            &Snapshot {
                manifest: &manifest,
                parameters: &layout.tensors(&self.optimizer.values),
                first_moments: &layout.tensors(&self.optimizer.first),
                second_moments: &layout.tensors(&self.optimizer.second),
            },
        )?;
        Ok(())
    }
}
