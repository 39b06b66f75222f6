//! Why a run cannot start or go on.

use std::path::PathBuf;

use carousel_core::backend::RunError;
use carousel_ir::text::Failed;

use crate::checkpoint::CheckpointError;
use crate::corpus::TextError;
use crate::evaluate::EvaluateError;
use crate::init::InitError;
use crate::library::SourceError;
use crate::metrics::MetricsError;
use crate::tokenizer::TokenizerError;

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
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// There are tokens that the model does not know.
    #[error(
        "{origin} has {tokens} tokens, but the model knows {vocabulary}; set model.vocab to {tokens} or more"
    )]
    Vocabulary {
        /// Where they come from.
        origin: String,
        /// How many it has.
        tokens: usize,
        /// How many the model knows.
        vocabulary: u64,
    },
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
    /// A text that is too short to be cut into so many streams.
    #[error(
        "the text {text} is too short for `carry`: cut into {streams} streams (batch times accumulate), none has a window of \
         {context} tokens; take a longer text, fewer rows or a shorter context"
    )]
    ShortStreams {
        /// Name of the text.
        text: String,
        /// How many streams.
        streams: usize,
        /// Tokens of a window.
        context: usize,
    },
    /// The loss or the gradients are no numbers.
    #[error(
        "the loss at step {step} is {loss}, the norm of the gradients {norm}: training has diverged; {cause}; \
         lower learning_rate.max or set clip, and resume from the last checkpoint"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// The loss.
        loss: f32,
        /// The norm.
        norm: f64,
        /// What was not finite first, with its place in the source.
        cause: String,
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

impl From<EvaluateError> for TrainError {
    fn from(error: EvaluateError) -> TrainError {
        match error {
            EvaluateError::Run(error) => TrainError::Run(error),
            EvaluateError::Text(error) => TrainError::Text(error),
        }
    }
}
