//! Text from a model: the prompt, then token after token.

use carousel_core::backend::{DataMut, RunError};

use crate::batch::Batch;
use crate::model::{LanguageFunction, Reading};
use crate::sample::{SampleError, Sampler};
use crate::tokenizer::{Tokenizer, UnknownToken};
use crate::utf8::Utf8Stream;

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

/// Writes `length` tokens after the prompt, giving text to `emit` as soon as it is whole characters.
///
/// The model sees everything so far at each token: the sequence is run from its start.
pub fn generate(
    logits: &LanguageFunction,
    parameters: &[f32],
    tokenizer: &dyn Tokenizer,
    prompt: &str,
    length: usize,
    sampler: &Sampler,
    emit: &mut dyn FnMut(&str),
) -> Result<(), GenerateError> {
    let mut tokens = tokenizer.encode(prompt.as_bytes());
    if tokens.is_empty() {
        return Err(GenerateError::EmptyPrompt);
    }
    let mut stream = Utf8Stream::default();
    let vocabulary = logits.outputs()[0].sizes.last().and_then(|s| s.known()).unwrap_or_default() as usize;
    for _ in 0..length {
        let batch = Batch { rows: 1, context: tokens.len(), inputs: tokens.clone(), labels: Vec::new() };
        let mut out = vec![0.0; tokens.len() * vocabulary];
        let reading = Reading { batch: &batch, seed: 0, step: 0 };
        logits.run(parameters, reading, &mut [DataMut::F32(&mut out)]).map_err(GenerateError::Run)?;
        let last = &out[out.len() - vocabulary..];
        let token = sampler.choose(last, tokens.len() as u64)? as i32;
        let mut bytes = Vec::new();
        tokenizer.decode(token, &mut bytes)?;
        emit(&stream.push(&bytes));
        tokens.push(token);
    }
    emit(&stream.finish());
    Ok(())
}
