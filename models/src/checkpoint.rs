//! Checkpoints: a folder from which training goes on, or text is generated, without any other file.
//!
//! `model.safetensors` holds the parameters under their path names, axes in declared order; `optimizer.safetensors`
//! the moments as `m.NAME` and `v.NAME`, and the states that are carried from window to window; `config.json` all the rest, the model's source included; `tokenizer.json` the
//! tokenizer, if it is not that of bytes.
//!
//! Invariant: at every instant of a save, also if the program is killed or the power fails, [`Checkpoint::open`]
//! finds a complete checkpoint if there was one before. Reading never panics, whatever the files hold. Which
//! tensors belong to a model is the caller's knowledge: it passes their names and shapes.

mod error;
mod folder;
mod manifest;
mod tensor_file;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::{CheckpointError, TensorProblem};
pub use folder::save;
pub use manifest::{Best, Manifest, SourceFile, Unlogged, VERSION};
pub use tensor_file::{TensorFile, TensorPlace, validated, write_tensors};

use crate::tokenizer::{ByteTokenizer, FileTokenizer, TOKENIZER_FILE, Tokenizer};
use crate::weights::Weights;

/// Name of the file with the parameters.
pub const MODEL_FILE: &str = "model.safetensors";
/// Name of the file with the optimiser's moments.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// Name of the file with everything else.
pub const MANIFEST_FILE: &str = "config.json";

/// What stands in the place of a tokenizer's name where no text was learned.
pub const NO_TOKENIZER: &str = "none";

/// A tensor to be written.
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    /// Path name of the parameter.
    pub name: &'a str,
    /// Sizes of its axes in declared order.
    pub shape: &'a [usize],
    /// Its values, row-major.
    pub values: &'a [f32],
}

/// A tensor that is expected in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Path name of the parameter.
    pub name: String,
    /// Sizes of its axes in declared order.
    pub shape: Vec<usize>,
}

/// All that a checkpoint holds, to be written.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// Everything but tensors.
    pub manifest: &'a Manifest,
    /// The parameters.
    pub parameters: &'a [TensorRef<'a>],
    /// First moments under the parameters' names.
    pub first_moments: &'a [TensorRef<'a>],
    /// Second moments under the parameters' names.
    pub second_moments: &'a [TensorRef<'a>],
    /// What the model remembers of the windows before, if it is carried on.
    pub carried: &'a [TensorRef<'a>],
    /// The bytes of the tokenizer's file, if it has one.
    pub tokenizer: Option<&'a [u8]>,
}

/// Moments of the optimiser, in the order of the parameters that were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// First moments.
    pub first: Vec<Vec<f32>>,
    /// Second moments.
    pub second: Vec<Vec<f32>>,
    /// What the model remembers, in the order asked for.
    pub carried: Vec<Vec<f32>>,
}

/// A checkpoint on disk whose manifest has been read.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    manifest: Manifest,
}

impl Checkpoint {
    /// Opens the checkpoint in a folder; if a save was cut short there, the one before it.
    pub fn open(folder: &Path) -> Result<Checkpoint, CheckpointError> {
        let folder = folder::complete(folder)?;
        let manifest = Manifest::read(&folder.join(MANIFEST_FILE))?;
        Ok(Checkpoint { folder, manifest })
    }

    /// The folder that is read: the one asked for or its predecessor.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Everything but tensors.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The tokenizer that the model was trained with, if it was trained on a text.
    pub fn tokenizer(&self) -> Result<Option<Arc<dyn Tokenizer>>, CheckpointError> {
        let wanted = self.manifest.tokenizer.as_str();
        if wanted == NO_TOKENIZER {
            return Ok(None);
        }
        if wanted == ByteTokenizer.name() {
            return Ok(Some(Arc::new(ByteTokenizer)));
        }
        let path = self.folder.join(TOKENIZER_FILE);
        let found = FileTokenizer::open(&path)?;
        if found.name() != wanted {
            return Err(CheckpointError::OtherTokenizer { path, wanted: wanted.to_string() });
        }
        Ok(Some(Arc::new(found)))
    }

    /// The values of the parameters, in the order asked for; the file must hold these and no others.
    pub fn parameters(&self, expected: &[TensorSpec]) -> Result<Vec<Vec<f32>>, CheckpointError> {
        TensorFile::open(&self.folder.join(MODEL_FILE))?.values(expected)
    }

    /// The parameters where they lie in the file, in the order asked for; the file must hold these and no others.
    pub fn weights(&self, expected: &[TensorSpec]) -> Result<Weights<'static>, CheckpointError> {
        let file = Arc::new(TensorFile::open(&self.folder.join(MODEL_FILE))?);
        let mut weights = Weights::none();
        for place in file.find(expected)? {
            let bytes = place.bytes.clone();
            let is_mapped = place.stored().is_some_and(|dtype| weights.map(&file, bytes, dtype, None));
            if !is_mapped {
                file.read(&place, weights.room(place.shape.iter().product()));
            }
        }
        Ok(weights)
    }

    /// The moments of the parameters, and what the model remembers, in the order asked for; the file must hold these and no
    /// others.
    pub fn moments(
        &self,
        parameters: &[TensorSpec],
        carried: &[TensorSpec],
    ) -> Result<Moments, CheckpointError> {
        let named = |prefix: &'static str| {
            let rename = move |spec: &TensorSpec| TensorSpec {
                name: format!("{prefix}.{}", spec.name),
                shape: spec.shape.clone(),
            };
            parameters.iter().map(rename)
        };
        let expected: Vec<TensorSpec> = named("m").chain(named("v")).chain(carried.iter().cloned()).collect();
        let mut first = TensorFile::open(&self.folder.join(OPTIMIZER_FILE))?.values(&expected)?;
        let mut second = first.split_off(parameters.len());
        let carried = second.split_off(parameters.len());
        Ok(Moments { first, second, carried })
    }
}

#[cfg(test)]
mod tests;
