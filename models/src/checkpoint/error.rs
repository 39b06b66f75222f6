//! What can be wrong with a checkpoint, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::tokenizer::TokenizerError;

/// Why a checkpoint cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// There is none.
    #[error(
        "there is no checkpoint in {}: no such folder; give the folder that `train` wrote, with its config.json",
        folder.display()
    )]
    NoFolder {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The folder holds something else.
    #[error("{} is not a checkpoint: it has no {missing}; give the folder that `train` wrote", folder.display())]
    NotACheckpoint {
        /// The folder.
        folder: PathBuf,
        /// A file that every checkpoint has.
        missing: &'static str,
    },
    /// A save would overwrite something else.
    #[error(
        "{} is not a checkpoint and will not be replaced by one; move it away or choose another folder",
        folder.display()
    )]
    InTheWay {
        /// What is in the way.
        folder: PathBuf,
    },
    /// The path has no name of its own, as `/` and `..`.
    #[error("a checkpoint cannot be written to {}: give the path of a folder, for example runs/mine", folder.display())]
    NoName {
        /// The path.
        folder: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The manifest is not the JSON that is wanted.
    #[error("{}: {message}; the file is damaged or was edited: restore it, or load another checkpoint", path.display())]
    Manifest {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong, with line and column.
        message: String,
    },
    /// The manifest is of another version.
    #[error(
        "{}: the checkpoint has format version {found}, this program reads version {supported}; use the program that \
         wrote it",
        path.display()
    )]
    Version {
        /// Path of the file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The version that can be read.
        supported: u64,
    },
    /// A tensor file is not a whole safetensors file.
    #[error("{}: {message}; the file is damaged or incomplete: copy it again, or load another checkpoint", path.display())]
    TensorFile {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The tensors are not those of the model: all differences.
    #[error(
        "{}: the tensors are not those of the model:{}\nload it with the model it was trained with",
        path.display(), list(problems)
    )]
    Mismatch {
        /// Path of the file.
        path: PathBuf,
        /// The differences.
        problems: Vec<TensorProblem>,
    },
    /// The tokenizer's file cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The tokenizer's file was changed.
    #[error("{} is not the tokenizer that the model was trained with, which was {wanted}; put that one back", path.display())]
    OtherTokenizer {
        /// Path of the file.
        path: PathBuf,
        /// Name of the tokenizer.
        wanted: String,
    },
    /// Tensors to be written contradict each other.
    #[error("cannot write {}: {message}", path.display())]
    Unwritable {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// One difference between a file's tensors and a model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TensorProblem {
    /// The file lacks a tensor.
    Missing {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The file has a tensor that the model lacks.
    Extra {
        /// Its name.
        name: String,
    },
    /// The shapes differ.
    Shape {
        /// Name of the tensor.
        name: String,
        /// Shape in the model.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// The values are of a type that is no parameter's.
    Dtype {
        /// Name of the tensor.
        name: String,
        /// Type in the file.
        found: String,
    },
}

impl fmt::Display for TensorProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TensorProblem::Missing { name, shape } => write!(f, "`{name}` of shape {shape:?} is missing"),
            TensorProblem::Extra { name } => write!(f, "`{name}` is no parameter of the model"),
            TensorProblem::Shape { name, expected, found } => {
                write!(f, "`{name}` has shape {found:?} in the file and {expected:?} in the model")
            }
            TensorProblem::Dtype { name, found } => {
                write!(f, "`{name}` has type {found}; F32, F16 or BF16 is expected")
            }
        }
    }
}

/// The first few problems, a line each: hundreds of them say no more.
fn list(problems: &[TensorProblem]) -> String {
    const SHOWN: usize = 8;
    let mut text: String = problems.iter().take(SHOWN).map(|problem| format!("\n  {problem}")).collect();
    if problems.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", problems.len() - SHOWN));
    }
    text
}

impl CheckpointError {
    /// For `map_err`: what was tried, and on what.
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> CheckpointError {
        let path = path.into();
        move |source| CheckpointError::Io { action, path, source }
    }
}
