//! The tensors of a case.

use super::GoldenError;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;

/// A tensor of a case; integers are stored exactly in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements, row-major.
    pub values: Vec<f64>,
}

/// The tensors of a file, by key.
pub fn read(path: &Path) -> Result<BTreeMap<String, Vector>, GoldenError> {
    let bytes =
        std::fs::read(path).map_err(|source| GoldenError::Read { path: path.to_path_buf(), source })?;
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|source| GoldenError::Tensors { path: path.to_path_buf(), source })?;
    tensors
        .iter()
        .map(|(key, view)| {
            let values = numbers(view.dtype(), view.data()).ok_or_else(|| {
                let dtype = view.dtype();
                GoldenError::Case(format!("{}: `{key}` has the dtype {dtype:?}", path.display()))
            })?;
            Ok((key.to_string(), Vector { shape: view.shape().to_vec(), values }))
        })
        .collect()
}

/// The tensors of all files of a checkpoint's folder, under the keys `param.NAME`.
pub fn checkpoint(folder: &Path) -> Result<BTreeMap<String, Vector>, GoldenError> {
    let read = |source| GoldenError::Read { path: folder.to_path_buf(), source };
    let mut tensors = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("model") && name.ends_with(".safetensors") {
            let found = self::read(&path)?.into_iter();
            tensors.extend(found.map(|(name, vector)| (format!("param.{name}"), vector)));
        }
    }
    Ok(tensors)
}

/// The elements of the dtypes that golden files have.
fn numbers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    if dtype == Dtype::F64 {
        Some(words(bytes, f64::from_le_bytes))
    } else if dtype == Dtype::F32 {
        Some(words(bytes, |word| f64::from(f32::from_le_bytes(word))))
    } else if dtype == Dtype::BF16 {
        Some(words(bytes, |word| half::bf16::from_le_bytes(word).to_f64()))
    } else if dtype == Dtype::I64 {
        Some(words(bytes, |word| i64::from_le_bytes(word) as f64))
    } else {
        None
    }
}

fn words<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes.as_chunks::<N>().0.iter().map(|word| read(*word)).collect()
}
