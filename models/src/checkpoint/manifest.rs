//! `config.json`: everything about a checkpoint but its tensors.
//!
//! Invariant: what is read equals what was written, floating-point numbers bit for bit. Unknown keys are refused
//! rather than dropped, because a later version may mean something by them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::CheckpointError;
use crate::config::{ParameterValue, TrainingConfig};
use crate::corpus::TextIdentity;
use crate::files::read_limited;

/// The version that this program writes and reads.
pub const VERSION: u64 = 1;

/// Name of the format, so that another program's `config.json` is not taken for ours.
const FORMAT: &str = "carousel-checkpoint";

/// More than any model's source; a guard against reading something else into memory.
const MAX_BYTES: u64 = 64 << 20;

/// A file of the model's source, kept so that the model can be compiled without the original.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// The path by which other files of the model use it.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// What has been trained since the last line of metrics, so that a resumed run averages over the same steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unlogged {
    /// Sum of the losses.
    pub loss: f64,
    /// Number of steps.
    pub steps: u64,
}

/// The lowest loss on held-back text so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Updates that had been made then.
    pub step: u64,
    /// The loss in nats a token.
    pub loss: f64,
}

/// Everything but tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Updates that have been made.
    pub step: u64,
    /// The step whose batch comes next; batches depend on nothing else but the seed.
    pub data_position: u64,
    /// What is still to be logged.
    pub unlogged: Unlogged,
    /// The best validation so far, if there was one.
    #[serde(default)]
    pub best: Option<Best>,
    /// The seed of the run.
    pub seed: u64,
    /// Name of the tokenizer.
    pub tokenizer: String,
    /// The text that was trained on.
    pub text: TextIdentity,
    /// The model's source; the first file is the one to compile.
    pub sources: Vec<SourceFile>,
    /// Compile-time parameters of the model, as they were settled.
    pub parameters: BTreeMap<String, ParameterValue>,
    /// The configuration of the run.
    pub training: TrainingConfig,
}

/// What comes before everything else in the file.
#[derive(Serialize)]
struct Stamped<'a> {
    format: &'static str,
    version: u64,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

/// Read first, and alone: another version may have anything else.
#[derive(Deserialize)]
struct Stamp {
    format: Option<String>,
    version: Option<u64>,
}

/// The same file again, once the version is known. Spelt out because `flatten` and `deny_unknown_fields` exclude
/// each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(rename = "format")]
    _format: String,
    #[serde(rename = "version")]
    _version: u64,
    step: u64,
    data_position: u64,
    unlogged: Unlogged,
    #[serde(default)]
    best: Option<Best>,
    seed: u64,
    tokenizer: String,
    text: TextIdentity,
    sources: Vec<SourceFile>,
    parameters: BTreeMap<String, ParameterValue>,
    training: TrainingConfig,
}

impl Manifest {
    /// The text of `config.json`.
    pub(super) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(&Stamped { format: FORMAT, version: VERSION, manifest: self })
    }

    /// Reads `config.json`.
    pub(super) fn read(path: &Path) -> Result<Manifest, CheckpointError> {
        let bytes = read_limited(path, MAX_BYTES).map_err(CheckpointError::io("read", path))?;
        let wrong = |message: String| CheckpointError::Manifest { path: path.into(), message };
        let malformed = |error: serde_json::Error| wrong(error.to_string());

        let stamp: Stamp = serde_json::from_slice(&bytes).map_err(malformed)?;
        if stamp.format.as_deref() != Some(FORMAT) {
            return Err(wrong(format!("`format` is not \"{FORMAT}\"")));
        }
        let found = stamp.version.ok_or_else(|| wrong("`version` is missing".into()))?;
        if found != VERSION {
            return Err(CheckpointError::Version { path: path.into(), found, supported: VERSION });
        }

        let whole: Whole = serde_json::from_slice(&bytes).map_err(malformed)?;
        let Whole {
            step,
            data_position,
            unlogged,
            best,
            seed,
            tokenizer,
            text,
            sources,
            parameters,
            training,
            ..
        } = whole;
        if sources.is_empty() {
            return Err(wrong("`sources` is empty: there is no model to compile".into()));
        }
        let training = training.validated().map_err(|error| wrong(format!("`training`: {error}")))?;
        Ok(Manifest {
            step,
            data_position,
            unlogged,
            best,
            seed,
            tokenizer,
            text,
            sources,
            parameters,
            training,
        })
    }
}
