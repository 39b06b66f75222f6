//! The loss of a model on a text.

use carousel_core::backend::RunError;

use crate::batch::{Extent, validation_batches};
use crate::corpus::Part;
use crate::model::{LanguageFunction, Reading};

/// How well a model predicts a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean loss in nats a token.
    pub loss: f64,
    /// The same in bits a byte.
    pub bits_per_byte: f64,
    /// Tokens that were predicted.
    pub tokens: u64,
}

impl Evaluation {
    /// `exp(loss)`.
    pub fn perplexity(&self) -> f64 {
        self.loss.exp()
    }
}

/// The mean loss over consecutive windows of the text, each from a fresh state, in batches of `rows`.
pub fn evaluate(
    loss: &LanguageFunction,
    parameters: &[f32],
    part: &Part,
    rows: usize,
    extent: Extent,
) -> Result<Evaluation, RunError> {
    let (mut total, mut tokens) = (0.0, 0);
    for batch in validation_batches(part, rows, extent) {
        let reading = Reading { batch: &batch, seed: 0, step: 0 };
        total += f64::from(loss.loss(parameters, reading, None)?) * batch.tokens() as f64;
        tokens += batch.tokens() as u64;
    }
    let mean = total / tokens as f64;
    Ok(Evaluation { loss: mean, bits_per_byte: part.bits_per_byte(mean), tokens })
}
