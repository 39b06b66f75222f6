//! The loss of a model on a text, and how many questions it answers rightly.

use carousel_core::backend::{DataMut, RunError};

use crate::arena::Parameters;
use crate::batch::{Batch, Extent, validation_batches};
use crate::corpus::{Part, TextError};
use crate::model::{LanguageFunction, Predictor, Reading};
use crate::weights::Weights;

/// How well a model predicts a text, or answers the questions of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean loss in nats a token.
    pub loss: f64,
    /// The same in bits a byte, of a text.
    pub bits_per_byte: Option<f64>,
    /// Tokens that were predicted.
    pub tokens: u64,
    /// The part of them for which the right one was the most likely, of a task.
    pub accuracy: Option<f64>,
    /// The answers by the size of examples, of a task.
    pub by_size: Vec<(usize, Answers)>,
}

/// How many questions were answered rightly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Questions whose answer was the most likely token.
    pub right: u64,
    /// All questions.
    pub asked: u64,
}

impl Answers {
    /// The part that is right.
    pub fn accuracy(self) -> f64 {
        self.right as f64 / self.asked.max(1) as f64
    }

    /// Counts these, too.
    pub fn add(&mut self, other: Answers) {
        self.right += other.right;
        self.asked += other.asked;
    }
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
    fn of_text(part: &Part, total: f64, tokens: u64) -> Evaluation {
        let loss = total / tokens.max(1) as f64;
        let bits_per_byte = Some(part.bits_per_byte(loss));
        Evaluation { loss, bits_per_byte, tokens, accuracy: None, by_size: Vec::new() }
    }

    /// `exp(loss)`.
    pub fn perplexity(&self) -> f64 {
        self.loss.exp()
    }
}

impl std::fmt::Display for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Evaluation { loss, bits_per_byte, accuracy, .. } = self;
        match (bits_per_byte, accuracy) {
            (Some(bits), _) => write!(f, "held-back loss {loss:.4} nats, {bits:.4} bits a byte"),
            (None, Some(accuracy)) => write!(f, "test loss {loss:.4} nats, accuracy {accuracy:.4}"),
            (None, None) => write!(f, "loss {loss:.4} nats"),
        }
    }
}

/// The mean loss over consecutive windows of the text, each from a fresh state, in batches of `rows`.
pub fn evaluate<'p>(
    loss: &LanguageFunction,
    parameters: impl Into<Parameters<'p>>,
    part: &Part,
    rows: usize,
    extent: Extent,
) -> Result<Evaluation, EvaluateError> {
    let (parameters, mut total, mut tokens) = (parameters.into(), 0.0, 0);
    for batch in validation_batches(part, rows, extent) {
        let batch = batch?;
        let reading = Reading { batch: &batch, seed: 0, step: 0 };
        total += f64::from(loss.loss(parameters, reading, None)?) * batch.tokens() as f64;
        tokens += batch.tokens() as u64;
    }
    Ok(Evaluation::of_text(part, total, tokens))
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
    Ok(Evaluation::of_text(part, total, predicted))
}

/// What the model answers where the batch has labels, row by row: the sum of the losses in nats, and how many are right.
pub fn answers<'p>(
    logits: &LanguageFunction,
    parameters: impl Into<Parameters<'p>>,
    batch: &Batch,
) -> Result<Vec<(f64, Answers)>, RunError> {
    let vocabulary = logits.outputs()[0].sizes.last().and_then(|size| size.known()).unwrap_or_default();
    let vocabulary = vocabulary as usize;
    let mut values = vec![0.0; batch.inputs.len() * vocabulary];
    let reading = Reading { batch, seed: 0, step: 0 };
    logits.run(parameters, reading, &mut [DataMut::F32(&mut values)])?;
    let of_row = |row: usize| {
        let (mut loss, mut answers) = (0.0, Answers::default());
        for at in row * batch.context..(row + 1) * batch.context {
            let Ok(label) = usize::try_from(batch.labels[at]) else { continue };
            let logits = &values[at * vocabulary..(at + 1) * vocabulary];
            loss += surprise(logits, label);
            // Where several are the most likely, none was chosen.
            let is_right = (0..vocabulary).all(|other| other == label || logits[other] < logits[label]);
            answers.add(Answers { right: u64::from(is_right), asked: 1 });
        }
        (loss, answers)
    };
    Ok((0..batch.rows).map(of_row).collect())
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
