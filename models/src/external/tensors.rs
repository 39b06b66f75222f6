//! The tensors of a folder: one safetensors file, or the shards that an index lists.
//!
//! Files are mapped into memory and read where they lie.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::names::Placement;
use super::{ExternalError, MOST_BYTES};
use crate::checkpoint::{MODEL_FILE, TensorFile, TensorPlace};
use crate::files::read_limited_text;
use crate::weights::Weights;

/// Name of the list of shards.
const INDEX_FILE: &str = "model.safetensors.index.json";

/// All tensors of a folder.
#[derive(Debug)]
pub struct TensorFolder {
    files: Vec<Arc<TensorFile>>,
    /// The file of each tensor, and what it is there.
    tensors: BTreeMap<String, (usize, TensorPlace)>,
}

impl TensorFolder {
    /// Opens all files.
    pub fn open(folder: &Path) -> Result<TensorFolder, ExternalError> {
        let index = folder.join(INDEX_FILE);
        let paths = if index.exists() { shards(folder, &index)? } else { vec![folder.join(MODEL_FILE)] };
        let mut opened = TensorFolder { files: Vec::new(), tensors: BTreeMap::new() };
        for path in paths {
            let damaged = |error: crate::checkpoint::CheckpointError| ExternalError::File {
                path: path.clone(),
                message: error.to_string(),
            };
            let file = TensorFile::open(&path).map_err(damaged)?;
            for place in file.places().map_err(damaged)? {
                let name = place.name.clone();
                if opened.tensors.insert(name.clone(), (opened.files.len(), place)).is_some() {
                    let message = format!("the tensor `{name}` is in another file, too");
                    return Err(ExternalError::File { path: path.clone(), message });
                }
            }
            opened.files.push(Arc::new(file));
        }
        Ok(opened)
    }

    /// The shape of a tensor, if there is such a one.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|(_, place)| place.shape.as_slice())
    }

    /// Bytes of all tensors by type.
    pub fn bytes_by_dtype(&self) -> BTreeMap<String, u64> {
        let mut bytes = BTreeMap::new();
        for (_, place) in self.tensors.values() {
            *bytes.entry(place.dtype.to_string()).or_default() += place.bytes.len() as u64;
        }
        bytes
    }

    /// Everything in which the tensors differ from what is expected, a sentence each.
    pub fn misfits(&self, expected: &[Placement]) -> Vec<String> {
        let mut problems = Vec::new();
        let mut used: BTreeSet<&str> = BTreeSet::new();
        for placement in expected {
            let name = placement.tensor.as_str();
            if !used.insert(name) {
                continue;
            }
            match self.shape(name) {
                None => problems.push(format!("`{name}` of shape {:?} is missing", placement.shape)),
                Some(shape) if shape != placement.shape => {
                    let wanted = &placement.shape;
                    problems.push(format!("`{name}` has shape {shape:?}, the configuration says {wanted:?}"));
                }
                Some(_) => {}
            }
        }
        let extra = self.tensors.keys().filter(|name| !used.contains(name.as_str()));
        problems.extend(extra.map(|name| format!("`{name}` is no part of the model")));
        problems
    }

    /// Adds a parameter: where it lies in its file, if its elements are of a type that is computed with as it is; else as a
    /// copy in f32.
    pub fn add(&self, placement: &Placement, weights: &mut Weights<'_>) -> Result<(), ExternalError> {
        if let Some((file, place)) = self.tensors.get(&placement.tensor)
            && let Some(dtype) = place.stored()
        {
            let size = place.bytes.len() / place.shape.iter().product::<usize>().max(1);
            let start = place.bytes.start + placement.offset * size;
            let strides = (!placement.is_contiguous()).then(|| placement.strides.clone());
            let bytes = start..start + placement.span() * size;
            if weights.map(&self.files[*file], bytes, dtype, strides) {
                return Ok(());
            }
        }
        self.read(placement, weights.room(placement.elements()))
    }

    /// The elements of a parameter.
    pub fn read(&self, placement: &Placement, into: &mut [f32]) -> Result<(), ExternalError> {
        let missing = || ExternalError::File {
            path: PathBuf::from(MODEL_FILE),
            message: format!("the tensor `{}` is missing", placement.tensor),
        };
        let (file, _) = self.tensors.get(&placement.tensor).ok_or_else(missing)?;
        let file = &self.files[*file];
        let damaged = |error: crate::checkpoint::CheckpointError| ExternalError::File {
            path: file.path().to_path_buf(),
            message: error.to_string(),
        };
        if placement.is_contiguous() {
            return file
                .copy(&placement.tensor, placement.offset..placement.offset + into.len(), into)
                .map_err(damaged);
        }
        let mut whole = vec![0.0; placement.shape.iter().product()];
        let range = 0..whole.len();
        file.copy(&placement.tensor, range, &mut whole).map_err(damaged)?;
        into.iter_mut().zip(placement.places()).for_each(|(value, place)| *value = whole[place]);
        Ok(())
    }
}

/// The files that an index lists.
fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, ExternalError> {
    let text = read_limited_text(index, MOST_BYTES)
        .map_err(|source| ExternalError::Io { path: index.to_path_buf(), source })?;
    let file = |message: String| ExternalError::File { path: index.to_path_buf(), message };
    let json: Value = serde_json::from_str(&text).map_err(|error| file(error.to_string()))?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| file("there is no `weight_map` in it".to_string()))?;
    let mut names = BTreeSet::new();
    for (tensor, name) in map {
        let plain = name.as_str().filter(|name| !name.contains(['/', '\\']) && *name != "..");
        names.insert(
            plain.ok_or_else(|| file(format!("`{tensor}` is in {name}, which is no name of a file")))?,
        );
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}
