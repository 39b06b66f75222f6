//! Safetensors files with the values of parameters: written as F32, read from F32, F16 or BF16.
//!
//! Invariant: after [`TensorFile::open`] every tensor lies within the file, and its length fits shape and type, so
//! that reading values cannot fail half-way. Values are not judged: a NaN is read as a NaN.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use carousel_ir::DType;
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View};
use serde_json::{Map, Value};

use super::error::{CheckpointError, TensorProblem};
use super::{TensorRef, TensorSpec};
use crate::files;

/// Enough for a hundred thousand tensors, and little enough to be read into memory. The format itself allows 100 MB.
const MAX_HEADER: u64 = 16 << 20;

/// A tensor of a file.
#[derive(Clone, Debug)]
pub struct TensorPlace {
    /// Its name.
    pub name: String,
    /// Sizes of its dimensions.
    pub shape: Vec<usize>,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Where they lie in the file.
    pub bytes: Range<usize>,
}

impl TensorPlace {
    /// The dtype of its elements, if kernels read such as they are.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum of another crate, which may grow")]
    pub(crate) fn stored(&self) -> Option<DType> {
        match self.dtype {
            Dtype::F32 => Some(DType::F32),
            Dtype::BF16 => Some(DType::Bf16),
            Dtype::F16 => Some(DType::F16),
            _ => None,
        }
    }
}

/// A safetensors file that has been checked.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    bytes: Mmap,
}

/// The tensors of a whole safetensors file in memory; damage of any kind is one sentence.
pub fn validated(bytes: &[u8]) -> Result<SafeTensors<'_>, String> {
    check_header(bytes)?;
    SafeTensors::deserialize(bytes).map_err(|error| error.to_string())
}

impl TensorFile {
    /// Opens a file and checks that it is whole.
    pub fn open(path: &Path) -> Result<TensorFile, CheckpointError> {
        let io = |source| CheckpointError::Io { action: "read", path: path.into(), source };
        // Looked at before it is opened: to open a pipe is to wait for somebody to write.
        let is_file = std::fs::metadata(path).map_err(io)?.is_file();
        if !is_file {
            return Err(CheckpointError::TensorFile {
                path: path.into(),
                message: "not a plain file".into(),
            });
        }
        let file = File::open(path).map_err(io)?;
        // It does not change meanwhile: checkpoints are replaced by renaming whole folders, never by writing into a file
        // that exists.
        let bytes = files::map(&file).map_err(io)?;
        let opened = TensorFile { path: path.into(), bytes };
        match check_header(&opened.bytes) {
            Ok(()) => opened.tensors().map(|_| ())?,
            Err(message) => return Err(opened.damaged(message)),
        }
        Ok(opened)
    }

    /// Names and shapes of all tensors, by name.
    pub fn specs(&self) -> Result<Vec<TensorSpec>, CheckpointError> {
        let shapes: BTreeMap<String, Vec<usize>> =
            self.tensors()?.iter().map(|(name, view)| (name.into(), view.shape().to_vec())).collect();
        Ok(shapes.into_iter().map(|(name, shape)| TensorSpec { name, shape }).collect())
    }

    /// Where exactly these tensors lie, in this order; their numbers can be read as f32.
    pub fn find(&self, expected: &[TensorSpec]) -> Result<Vec<TensorPlace>, CheckpointError> {
        let mut places: BTreeMap<String, TensorPlace> =
            self.places()?.into_iter().map(|place| (place.name.clone(), place)).collect();
        let (mut found, mut problems) = (Vec::with_capacity(expected.len()), Vec::new());
        for TensorSpec { name, shape } in expected {
            let name = name.clone();
            match places.remove(&name) {
                None => problems.push(TensorProblem::Missing { name, shape: shape.clone() }),
                Some(place) if place.shape != *shape => {
                    let (expected, found) = (shape.clone(), place.shape);
                    problems.push(TensorProblem::Shape { name, expected, found });
                }
                Some(place) if !is_readable(place.dtype) => {
                    problems.push(TensorProblem::Dtype { name, found: place.dtype.to_string() });
                }
                Some(place) => found.push(place),
            }
        }
        problems.extend(places.into_keys().map(|name| TensorProblem::Extra { name }));
        if problems.is_empty() {
            Ok(found)
        } else {
            Err(CheckpointError::Mismatch { path: self.path.clone(), problems })
        }
    }

    /// The values of exactly these tensors, in this order.
    pub fn values(&self, expected: &[TensorSpec]) -> Result<Vec<Vec<f32>>, CheckpointError> {
        let read = |place: TensorPlace| {
            let mut values = vec![0.0; place.shape.iter().product()];
            self.read(&place, &mut values);
            values
        };
        Ok(self.find(expected)?.into_iter().map(read).collect())
    }

    /// All numbers of a tensor that was found.
    pub(crate) fn read(&self, place: &TensorPlace, into: &mut [f32]) {
        let is_read = converted(place.dtype, &self.bytes[place.bytes.clone()], into);
        debug_assert!(is_read, "{} was looked at when it was found", place.dtype);
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of the file as it lies in memory.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Names, shapes, types and places of all tensors.
    pub fn places(&self) -> Result<Vec<TensorPlace>, CheckpointError> {
        let start = self.bytes.as_ptr() as usize;
        let place = |(name, view): (&str, TensorView<'_>)| {
            let from = view.data().as_ptr() as usize - start;
            let bytes = from..from + view.data().len();
            TensorPlace { name: name.to_string(), shape: view.shape().to_vec(), dtype: view.dtype(), bytes }
        };
        Ok(self.tensors()?.iter().map(place).collect())
    }

    /// Some elements of a tensor, row-major, as f32.
    pub fn copy(&self, name: &str, range: Range<usize>, into: &mut [f32]) -> Result<(), CheckpointError> {
        let tensors = self.tensors()?;
        let view = tensors.tensor(name).map_err(|error| self.damaged(error.to_string()))?;
        let size = view.data().len() / view.shape().iter().product::<usize>().max(1);
        let bytes = view.data().get(range.start * size..range.end * size);
        let bytes = bytes.ok_or_else(|| self.damaged(format!("the tensor `{name}` ends too early")))?;
        if !converted(view.dtype(), bytes, into) {
            let found = view.dtype().to_string();
            let problems = vec![TensorProblem::Dtype { name: name.to_string(), found }];
            return Err(CheckpointError::Mismatch { path: self.path.clone(), problems });
        }
        Ok(())
    }

    fn tensors(&self) -> Result<SafeTensors<'_>, CheckpointError> {
        SafeTensors::deserialize(&self.bytes).map_err(|error| self.damaged(error.to_string()))
    }

    fn damaged(&self, message: String) -> CheckpointError {
        CheckpointError::TensorFile { path: self.path.clone(), message }
    }
}

fn is_readable(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// Numbers of that type as f32; whether the type is one that can be read.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum of another crate, which may grow")]
fn converted(dtype: Dtype, bytes: &[u8], into: &mut [f32]) -> bool {
    fn each<const N: usize>(bytes: &[u8], into: &mut [f32], number: impl Fn([u8; N]) -> f32) {
        into.iter_mut().zip(bytes.as_chunks::<N>().0).for_each(|(value, word)| *value = number(*word));
    }
    match dtype {
        Dtype::F32 => each(bytes, into, f32::from_le_bytes),
        Dtype::F16 => each(bytes, into, |pair| f16::from_le_bytes(pair).to_f32()),
        Dtype::BF16 => each(bytes, into, |pair| bf16::from_le_bytes(pair).to_f32()),
        _ => return false,
    }
    true
}

/// Says what is wrong in terms of the file and the tensor, where the library would only say that something is.
/// It also keeps away offsets on which the library's own sums would overflow.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(format!("the file has {} bytes, too few for a safetensors file", bytes.len()));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return Err(format!("the header claims {length} bytes, more than the {MAX_HEADER} that are allowed"));
    }
    let Some((header, data)) = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length))
    else {
        return Err(format!("the header claims {length} bytes, but the file ends after {}", rest.len()));
    };
    let header: Map<String, Value> =
        serde_json::from_slice(header).map_err(|error| format!("the header is not valid: {error}"))?;
    for (name, entry) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let offsets = entry.get("data_offsets").and_then(Value::as_array).map(Vec::as_slice);
        let (start, end) = match offsets {
            Some([start, end]) => (start.as_u64(), end.as_u64()),
            Some(_) | None => (None, None),
        };
        let (Some(start), Some(end)) = (start, end) else {
            return Err(format!("tensor `{name}`: `data_offsets` is not a pair of whole numbers"));
        };
        if start > end || end > data.len() as u64 {
            let held = data.len();
            return Err(format!(
                "tensor `{name}` should lie at bytes {start} to {end} of the data, which has {held}"
            ));
        }
    }
    Ok(())
}

impl View for TensorRef<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

/// Writes tensors under their names behind a prefix of each group; a new file, which takes the place of an old one.
pub fn write_tensors(path: &Path, groups: &[(&str, &[TensorRef<'_>])]) -> Result<(), CheckpointError> {
    let mut named: BTreeMap<String, TensorRef<'_>> = BTreeMap::new();
    for (prefix, tensors) in groups {
        for &tensor in *tensors {
            let name = format!("{prefix}{}", tensor.name);
            let unwritable = |message| CheckpointError::Unwritable { path: path.into(), message };
            if tensor.shape.iter().product::<usize>() != tensor.values.len() {
                let (shape, count) = (tensor.shape, tensor.values.len());
                return Err(unwritable(format!("tensor `{name}` of shape {shape:?} has {count} values")));
            }
            if named.insert(name.clone(), tensor).is_some() {
                return Err(unwritable(format!("two tensors have the name `{name}`")));
            }
        }
    }
    safetensors::serialize_to_file(named, None, path)
        .map_err(|error| CheckpointError::Unwritable { path: path.into(), message: error.to_string() })
}
