//! The loss of a model on a text.

use carousel_core::backend::RunError;

use crate::batch::{Batch, Extent, validation_batches};
use crate::corpus::{Part, TextError};
use crate::model::{LanguageFunction, Predictor, Reading};
use crate::weights::Weights;

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

/// Why there is no loss.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The model does not run.
    #[error("{0}")]
    Run(RunError),
    /// The text cannot be read.
    #[error(transparent)]
    Text(#[from] TextError),
}

impl From<RunError> for EvaluateError {
    fn from(error: RunError) -> EvaluateError {
        EvaluateError::Run(error)
    }
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
    parameters: &Weights<'_>,
    part: &Part,
    rows: usize,
    extent: Extent,
) -> Result<Evaluation, EvaluateError> {
    let (mut total, mut tokens) = (0.0, 0);
    for batch in validation_batches(part, rows, extent) {
        let batch = batch?;
        let reading = Reading { batch: &batch, seed: 0, step: 0 };
        total += f64::from(loss.loss(parameters, reading, None)?) * batch.tokens() as f64;
        tokens += batch.tokens() as u64;
    }
    let mean = total / tokens.max(1) as f64;
    Ok(Evaluation { loss: mean, bits_per_byte: part.bits_per_byte(mean), tokens })
}

/// The mean loss over a text that is read once from its start, in pieces as long as a window, with all that the model
/// remembers carried from one to the next; each document of the text from a fresh state.
pub fn evaluate_carried(
    predictor: &Predictor,
    parameters: &Weights<'_>,
    part: &Part,
) -> Result<Evaluation, EvaluateError> {
    let (mut text, mut total, mut predicted) = (predictor.start(), 0.0, 0);
    for batch in validation_batches(part, 1, Extent::Whole) {
        let Batch { inputs, labels, starts, .. } = batch?;
        let mut from = 0;
        while from < inputs.len() {
            let begins = |at: &usize| starts.get(*at) == Some(&true);
            if begins(&from) {
                text = predictor.start();
            }
            let to = (from + 1..inputs.len()).find(begins).unwrap_or(inputs.len());
            let logits = text.logits(parameters, &inputs[from..to])?;
            let rows = logits.chunks_exact(logits.len() / (to - from));
            for (row, label) in rows.zip(&labels[from..to]).filter(|(_, label)| **label >= 0) {
                total += surprise(row, *label as usize);
                predicted += 1;
            }
            from = to;
        }
    }
    let mean = total / predicted.max(1) as f64;
    Ok(Evaluation { loss: mean, bits_per_byte: part.bits_per_byte(mean), tokens: predicted })
}

/// `-log softmax(logits)[label]`.
fn surprise(logits: &[f32], label: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|x| f64::from(x - largest).exp()).sum();
    total.ln() - f64::from(logits[label] - largest)
}

#[cfg(test)]
mod tests {
    use super::surprise;

    #[test]
    fn surprise_is_the_cross_entropy_at_any_size_of_logits() {
        for offset in [0.0, 1e4, -1e4] {
            let logits = [0.0, 1.0, 2.0].map(|x: f32| x + offset);
            let total = 1.0 + 1f64.exp() + 2f64.exp();
            assert!((surprise(&logits, 1) - (total.ln() - 1.0)).abs() < 1e-6, "{offset}");
        }
    }
}
