//! The training configuration: TOML file, defaults, overrides from the command line.
//!
//! Invariant: a [`TrainingConfig`] that came out of [`TrainingConfig::load`] is valid: every number is in its range.
//! Paths are relative to the working directory. It does not open the files it names, and it does not know which
//! compile-time parameters a model has: `[model]` is checked when the model is compiled.

mod source;
mod validate;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use source::ConfigError;
pub use validate::Problem;

use crate::batch::Extent;
use crate::sample::Choice;
use crate::schedule::Schedule;
use crate::task::Task;

/// Everything that decides how a run trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// The model's `.xl` file; the built-in model if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_file: Option<PathBuf>,
    /// An `.xl` file with the recurrent cell to use in the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cell_file: Option<PathBuf>,
    /// The text to train on, a file, a folder or a pattern; the built-in text if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<PathBuf>,
    /// The tokenizer, a `tokenizer.json`; bytes are tokens if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// What ends a document, such as `<|endoftext|>`: each document is read as if it were alone. The text is one document
    /// if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_end: Option<String>,
    /// Whether the windows of a row lie one behind the other in the text, with what the model remembers carried on from
    /// step to step; gradients end at the borders of windows. Else windows are drawn at random, each from a fresh state.
    pub carry: bool,
    /// Whether blocks are computed again in the backward pass, as if each were written `remat block`: only what lies between
    /// them is kept, for a third more work.
    pub remat: bool,
    /// Part of the text, at its end, that is held back for validation.
    pub held_back: f64,
    /// Number of updates.
    pub steps: u64,
    /// Windows of a batch.
    pub batch: usize,
    /// Batches of an update, one after the other: their gradients are added up where all at once do not fit into memory.
    pub accumulate: usize,
    /// Tokens of a window.
    pub context: usize,
    /// Decides initial values, order of the data and samples.
    pub seed: u64,
    /// Largest norm of all gradients together; longer ones are scaled down to it. 0 leaves them as they are.
    pub clip: f64,
    /// Steps from one validation to the next; 0: only at the end.
    pub eval_every: u64,
    /// Windows of a validation during training; 0: the whole held-back text. The last one always uses all of it.
    pub eval_windows: usize,
    /// Steps from one checkpoint to the next; 0: only at the end.
    pub save_every: u64,
    /// Steps from one line of metrics to the next.
    pub log_every: u64,
    /// Folder for checkpoint and metrics.
    pub out: PathBuf,
    /// The learning rate.
    pub learning_rate: LearningRate,
    /// The optimiser.
    pub adamw: AdamW,
    /// The text that is written at the end.
    pub sample: SampleConfig,
    /// A task to learn in the place of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// Compile-time parameters of the model, by name.
    pub model: BTreeMap<String, ParameterValue>,
}

/// Warm-up and cosine decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearningRate {
    /// The highest rate.
    pub max: f64,
    /// The lowest rate as a part of the highest.
    pub min_factor: f64,
    /// Steps of linear warm-up from 0; a tenth of the decay, at most 100, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<u64>,
    /// The step from which on the rate is lowest; the last one if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_until: Option<u64>,
}

/// Constants of AdamW.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decay of the weights that are to decay.
    pub weight_decay: f64,
}

/// The text that a trained model continues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleConfig {
    /// Tokens to write; 0 writes nothing.
    pub length: usize,
    /// What to continue.
    pub prompt: String,
    /// Logits are divided by it; 0 always takes the most likely token.
    pub temperature: f64,
    /// Only this many of the most likely tokens; 0: all.
    pub top_k: usize,
    /// Only the most likely tokens that make up this probability.
    pub top_p: f64,
}

/// The value of a compile-time parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a whole number, a number, text in quotes, true or false, or a list of these"
)]
pub enum ParameterValue {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// Several values.
    List(Vec<ParameterValue>),
}

impl Default for TrainingConfig {
    fn default() -> TrainingConfig {
        TrainingConfig {
            model_file: None,
            cell_file: None,
            text: None,
            tokenizer: None,
            document_end: None,
            carry: false,
            remat: false,
            held_back: 0.1,
            steps: 600,
            batch: 16,
            accumulate: 1,
            context: 128,
            seed: 0,
            clip: 1.0,
            eval_every: 100,
            eval_windows: 64,
            save_every: 200,
            log_every: 10,
            out: PathBuf::from("runs/default"),
            learning_rate: LearningRate::default(),
            adamw: AdamW::default(),
            sample: SampleConfig::default(),
            task: None,
            model: BTreeMap::new(),
        }
    }
}

impl Default for LearningRate {
    fn default() -> LearningRate {
        LearningRate { max: 3e-3, min_factor: 0.1, warmup: None, decay_until: None }
    }
}

impl Default for AdamW {
    fn default() -> AdamW {
        AdamW { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1 }
    }
}

impl Default for SampleConfig {
    fn default() -> SampleConfig {
        SampleConfig { length: 400, prompt: "HAMLET:\n".into(), temperature: 0.8, top_k: 0, top_p: 0.95 }
    }
}

impl TrainingConfig {
    /// The schedule of the learning rate.
    pub fn schedule(&self) -> Schedule {
        let LearningRate { max, min_factor, warmup, decay_until } = self.learning_rate;
        let decay_until = decay_until.unwrap_or(self.steps);
        Schedule { max, min_factor, warmup: warmup.unwrap_or((decay_until / 10).min(100)), decay_until }
    }

    /// How much of the held-back text is validated on during training.
    pub fn eval_extent(&self) -> Extent {
        if self.eval_windows == 0 { Extent::Whole } else { Extent::Windows(self.eval_windows) }
    }

    /// Whether something that happens every `every` steps, and at the end, happens after `done` updates.
    pub fn is_due(&self, every: u64, done: u64) -> bool {
        done == self.steps || (every > 0 && done.is_multiple_of(every))
    }
}

impl ParameterValue {
    /// Whether every number in it is finite.
    pub fn is_finite(&self) -> bool {
        match self {
            ParameterValue::Float(number) => number.is_finite(),
            ParameterValue::List(values) => values.iter().all(ParameterValue::is_finite),
            ParameterValue::Boolean(_) | ParameterValue::Integer(_) | ParameterValue::Text(_) => true,
        }
    }
}

impl std::fmt::Display for ParameterValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ParameterValue::Boolean(b) => write!(f, "{b}"),
            ParameterValue::Integer(n) => write!(f, "{n}"),
            ParameterValue::Float(x) => write!(f, "{x}"),
            ParameterValue::Text(text) => write!(f, "{text}"),
            ParameterValue::List(items) => {
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
        }
    }
}

impl SampleConfig {
    /// How tokens are chosen.
    pub fn choice(&self) -> Choice {
        if self.temperature == 0.0 {
            return Choice::Greedy;
        }
        Choice::Random {
            temperature: self.temperature,
            top_k: (self.top_k > 0).then_some(self.top_k),
            top_p: (self.top_p < 1.0).then_some(self.top_p),
        }
    }
}
