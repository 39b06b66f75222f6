//! Conversations in files: what a model remembers of a text, so that it can be continued later.
//!
//! A state is a safetensors file with the states of the compiled model, the tokens that are still to be read, and which tokens
//! there were. Invariant: its size depends on the model alone, not on the length of the text; a conversation that is read back
//! goes on in the same bits; a file of another model is refused.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};

use crate::checkpoint::validated;
use crate::files::{read_limited, replace};
use crate::generate::Conversation;
use crate::hash::fnv1a_words;
use crate::model::Predictor;
use crate::piece::Reader;
use crate::sample::Seen;
use crate::weights::Weights;

const FORMAT: &str = "carousel-state";
const VERSION: &str = "1";
/// More than the state of any model.
const MOST_BYTES: u64 = 16 << 30;
/// Names of the tensors that are no states of the model.
const UNREAD: &str = "unread";
const SEEN: &str = "seen";

/// Why a conversation cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system refused.
    #[error("cannot {action} the state {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is damaged, or something else.
    #[error("{}: {message}; give a file that `generate --save-state` wrote", path.display())]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The file is of another model.
    #[error(
        "{}: the state is not one of this model as it is compiled here; load it with the checkpoint, the options and the \
         version of the program that it was saved with", path.display()
    )]
    OtherModel {
        /// Path of the file.
        path: PathBuf,
    },
    /// The model remembers nothing.
    #[error("the model needs the whole text for each token, so it has no state to save or load")]
    NoState,
}

/// What tells a model with its parameters from others: its compiled function and every bit of them.
fn fingerprint(reader: &Reader, parameters: &Weights<'_>) -> String {
    format!("{:016x}{:016x}", reader.signature(), fnv1a_words(parameters.words()))
}

/// Writes a conversation, in place of an old file. Returns the file's size in bytes.
pub fn save(
    path: &Path,
    predictor: &Predictor,
    parameters: &Weights<'_>,
    conversation: &Conversation<'_>,
) -> Result<u64, StateError> {
    let reader = predictor.reader().ok_or(StateError::NoState)?;
    let malformed = |message: String| StateError::Malformed { path: path.into(), message };
    let states = reader.states(conversation.text.memory()).map_err(|error| malformed(error.to_string()))?;
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for state in states {
        let shape = state.shape.iter().map(|n| *n as usize).collect();
        let bytes = state.values.iter().flat_map(|x| x.to_le_bytes()).collect();
        tensors.push((state.name, Dtype::F32, shape, bytes));
    }
    let unread = &conversation.unread;
    let bytes = unread.iter().flat_map(|token| token.to_le_bytes()).collect();
    tensors.push((UNREAD.into(), Dtype::I32, vec![unread.len()], bytes));
    let seen = conversation.seen.bits();
    tensors.push((SEEN.into(), Dtype::U8, vec![seen.len()], seen.to_vec()));
    let views: Vec<(&str, TensorView<'_>)> = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?))
        })
        .collect::<Result<_, safetensors::SafeTensorError>>()
        .map_err(|error| malformed(error.to_string()))?;
    let about = HashMap::from([
        ("format".to_string(), FORMAT.to_string()),
        ("version".to_string(), VERSION.to_string()),
        ("model".to_string(), fingerprint(reader, parameters)),
        ("position".to_string(), conversation.position.to_string()),
    ]);
    let file = safetensors::serialize(views, Some(about)).map_err(|error| malformed(error.to_string()))?;
    replace(path, &file).map_err(|source| StateError::Io { action: "write", path: path.into(), source })?;
    Ok(file.len() as u64)
}

/// Reads a conversation back.
pub fn load<'a>(
    path: &Path,
    predictor: &'a Predictor,
    parameters: &Weights<'_>,
    vocabulary: usize,
) -> Result<Conversation<'a>, StateError> {
    let reader = predictor.reader().ok_or(StateError::NoState)?;
    let bytes = read_limited(path, MOST_BYTES).map_err(|source| StateError::Io {
        action: "read",
        path: path.into(),
        source,
    })?;
    let malformed = |message: &str| StateError::Malformed { path: path.into(), message: message.to_string() };
    let file = validated(&bytes).map_err(|message| malformed(&message))?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| malformed(&error.to_string()))?;
    let about =
        |key: &str| Metadata::metadata(&metadata).as_ref().and_then(|map| map.get(key)).map(String::as_str);
    if about("format") != Some(FORMAT) {
        return Err(malformed("the file holds no state of a text"));
    }
    if about("version") != Some(VERSION) {
        return Err(malformed("the state is of another version of the format"));
    }
    if about("model") != Some(fingerprint(reader, parameters).as_str()) {
        return Err(StateError::OtherModel { path: path.into() });
    }
    let position = about("position").and_then(|text| text.parse().ok());
    let position = position.ok_or_else(|| malformed("the number of its tokens is missing"))?;
    let tensor = |name: &str, dtype: Dtype| {
        let view = file.tensor(name).ok().filter(|view| view.dtype() == dtype);
        view.ok_or_else(|| malformed(&format!("the tensor `{name}` is missing, or of another type")))
    };
    let empty = predictor.start();
    let expected = reader.states(empty.memory()).map_err(|error| malformed(&error.to_string()))?;
    let mut states = Vec::with_capacity(expected.len());
    for state in expected {
        let view = tensor(&state.name, Dtype::F32)?;
        if !view.shape().iter().map(|n| *n as u64).eq(state.shape.iter().copied()) {
            return Err(malformed(&format!("the tensor `{}` has the shape {:?}", state.name, view.shape())));
        }
        let words = view.data().as_chunks::<4>().0;
        states.push(words.iter().map(|word| f32::from_le_bytes(*word)).collect());
    }
    let unread = tensor(UNREAD, Dtype::I32)?;
    let unread: Vec<i32> =
        unread.data().as_chunks::<4>().0.iter().map(|word| i32::from_le_bytes(*word)).collect();
    if unread.iter().any(|token| usize::try_from(*token).map_or(true, |token| token >= vocabulary)) {
        return Err(malformed("a token that is still to be read is none of the model's"));
    }
    let seen = tensor(SEEN, Dtype::U8)?.data().to_vec();
    if seen.len() != vocabulary.div_ceil(8) {
        return Err(malformed("it is of another vocabulary"));
    }
    let text = predictor.resume(reader.memory(1, states));
    Ok(Conversation { text, unread, seen: Seen::from_bits(seen), position })
}
