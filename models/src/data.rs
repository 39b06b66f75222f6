//! What a model learns from and is tested on: a text, or a task whose examples are drawn.
//!
//! Invariant: the batches of a step depend only on the data, the configuration and the step's number.

use std::sync::Arc;

use carousel_ir::text::Failed;

use crate::arena::Parameters;
use crate::batch::{Batch, Extent, next_batch, training_batch, windows};
use crate::compile::Engine;
use crate::config::TrainingConfig;
use crate::corpus::{Corpus, Text, TextError, TextIdentity};
use crate::evaluate::{EvaluateError, Evaluation, evaluate};
use crate::model::{LanguageFunction, Model};
use crate::task::Task;
use crate::tokenizer::Tokenizer;

/// A text with the part of it that is held back, or a task.
#[derive(Clone)]
pub enum Data {
    /// A text.
    Text {
        /// All of it.
        text: Text,
        /// Its tokens.
        corpus: Corpus,
        /// What makes tokens of it.
        tokenizer: Arc<dyn Tokenizer>,
    },
    /// A task.
    Task(Task),
}

impl Data {
    /// The text of a configuration in these tokens.
    pub fn text(config: &TrainingConfig, tokenizer: Arc<dyn Tokenizer>) -> Result<Data, TextError> {
        let text = config.text.as_ref().map_or_else(|| Ok(Text::bundled()), |path| Text::from_path(path))?;
        let corpus = Corpus::new(&text, tokenizer.as_ref(), config.held_back, config.context)?
            .in_documents(config.document_end.as_deref(), tokenizer.as_ref())?;
        Ok(Data::Text { text, corpus, tokenizer })
    }

    /// What tells it apart from other data.
    pub fn identity(&self) -> TextIdentity {
        match self {
            Data::Text { text, .. } => text.identity().clone(),
            Data::Task(task) => task.identity(),
        }
    }

    /// The tokenizer of a text.
    pub fn tokenizer(&self) -> Option<&dyn Tokenizer> {
        match self {
            Data::Text { tokenizer, .. } => Some(tokenizer.as_ref()),
            Data::Task(_) => None,
        }
    }

    /// How many tokens there are.
    pub fn vocabulary(&self) -> usize {
        match self {
            Data::Text { tokenizer, .. } => tokenizer.vocabulary(),
            Data::Task(task) => task.vocabulary(),
        }
    }

    /// Where they come from, for messages.
    pub fn origin_of_tokens(&self) -> String {
        match self {
            Data::Text { tokenizer, .. } => format!("the tokenizer {}", tokenizer.name()),
            Data::Task(task) => format!("the task {}", task.name()),
        }
    }

    /// One of the batches of a step.
    pub fn batch(&self, config: &TrainingConfig, part: usize, step: u64) -> Result<Batch, TextError> {
        let TrainingConfig { batch, accumulate, seed, carry, context, .. } = *config;
        let rows = part * batch..(part + 1) * batch;
        match self {
            Data::Text { corpus, .. } if carry => {
                Ok(next_batch(&corpus.train, rows, batch * accumulate, step)?.0)
            }
            Data::Text { corpus, .. } => training_batch(&corpus.train, rows, seed, step),
            Data::Task(task) => Ok(task.training_batch(rows, context, seed, step)),
        }
    }

    /// How many windows each stream of a text has, if it is cut into so many; a task has no streams.
    pub fn windows(&self, streams: usize) -> Option<u64> {
        match self {
            Data::Text { corpus, .. } => Some(windows(&corpus.train, streams)),
            Data::Task(_) => None,
        }
    }

    /// The loss in bits a byte, of a text.
    pub fn bits_per_byte(&self, nats_per_token: f64) -> Option<f64> {
        match self {
            Data::Text { corpus, .. } => Some(corpus.train.bits_per_byte(nats_per_token)),
            Data::Task(_) => None,
        }
    }

    /// Compiles what [`Data::evaluate`] runs: the loss of a text, the answers to a task.
    pub fn test_function(&self, model: &Model, engine: &Engine) -> Result<LanguageFunction, Failed> {
        match self {
            Data::Text { .. } => model.loss(engine, &[]),
            Data::Task(_) => model.logits(engine, &[]),
        }
    }

    /// How well a model does on that much of the held-back text, or of the test.
    pub fn evaluate<'p>(
        &self,
        function: &LanguageFunction,
        parameters: impl Into<Parameters<'p>>,
        config: &TrainingConfig,
        extent: Extent,
    ) -> Result<Evaluation, EvaluateError> {
        let rows = config.batch;
        match self {
            Data::Text { corpus, .. } => evaluate(function, parameters, &corpus.held_back, rows, extent),
            Data::Task(task) => {
                let most = match extent {
                    Extent::Whole => None,
                    Extent::Windows(most) => Some(most),
                };
                Ok(task.evaluate(function, parameters, rows, most, config.context)?)
            }
        }
    }
}
