//! Training steps of the xLSTM language model: losses, norms of the gradients, rates, and the parameters in the end.

use super::lm::LanguageModel;
use super::{Loops, Precision, Program, lm};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Configuration of `train`, beside that of the model.
#[derive(Clone, Debug, Deserialize)]
pub struct Training {
    /// Number of updates.
    pub steps: u64,
    /// Rows of a batch.
    #[serde(rename = "B")]
    pub rows: usize,
    /// Tokens of a row.
    #[serde(rename = "S")]
    pub context: usize,
    /// The highest learning rate.
    pub lr: f64,
    /// Its lowest part.
    pub lr_decay_factor: f64,
    /// Steps of warm-up.
    pub warmup: u64,
    /// The step from which on the rate is lowest.
    pub decay_until: u64,
    /// Decay of the moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decay of the weights.
    pub weight_decay: f64,
    /// Largest norm of the gradients.
    pub clip: f64,
    /// The tensors that decay.
    pub decay_params: BTreeSet<String>,
}

/// The program of a case.
pub(super) fn program(config: &LanguageModel, training: Training, precision: Precision) -> Program {
    Program { loops: Loops::Training(Box::new(training)), entry: "lm_loss", ..lm::program(config, precision) }
}
