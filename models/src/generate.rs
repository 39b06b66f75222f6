//! Text from a model: the prompt, then token after token.

use carousel_core::backend::RunError;

use crate::model::Predictor;
use crate::sample::{SampleError, Sampler};
use crate::tokenizer::{Tokenizer, UnknownToken};
use crate::utf8::Utf8Stream;
use crate::weights::Weights;

/// Why no text comes out.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// There is nothing to continue.
    #[error("the prompt is empty: a model needs at least one token to continue")]
    EmptyPrompt,
    /// The model does not run.
    #[error("{0}")]
    Run(RunError),
    /// No token can be chosen.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The model has more tokens than the tokenizer.
    #[error(transparent)]
    Token(#[from] UnknownToken),
}

/// Gives `length` tokens after those of the prompt to `emit`, each as soon as it is chosen.
///
/// The prompt is read at once, and each token once: what the model remembers is carried on.
pub fn continuation(
    predictor: &Predictor,
    parameters: &Weights<'_>,
    prompt: &[i32],
    length: usize,
    sampler: &Sampler,
    emit: &mut dyn FnMut(i32) -> Result<(), UnknownToken>,
) -> Result<(), GenerateError> {
    if prompt.is_empty() {
        return Err(GenerateError::EmptyPrompt);
    }
    let mut text = predictor.start();
    let mut piece = prompt.to_vec();
    for place in 0..length {
        let logits = text.last_logits(parameters, &piece).map_err(GenerateError::Run)?;
        let token = sampler.choose(&logits, (prompt.len() + place) as u64)? as i32;
        emit(token)?;
        piece = vec![token];
    }
    Ok(())
}

/// Writes `length` tokens after the prompt, giving text to `emit` as soon as it is whole characters.
pub fn generate(
    predictor: &Predictor,
    parameters: &Weights<'_>,
    tokenizer: &dyn Tokenizer,
    prompt: &str,
    length: usize,
    sampler: &Sampler,
    emit: &mut dyn FnMut(&str),
) -> Result<(), GenerateError> {
    let mut stream = Utf8Stream::default();
    let mut characters = |token| {
        let mut bytes = Vec::new();
        tokenizer.decode(token, &mut bytes)?;
        emit(&stream.push(&bytes));
        Ok(())
    };
    let prompt = tokenizer.encode(prompt.as_bytes());
    continuation(predictor, parameters, &prompt, length, sampler, &mut characters)?;
    emit(&stream.finish());
    Ok(())
}
