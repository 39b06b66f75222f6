//! Running the program and looking at what it did.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tempfile::TempDir;

/// Everything that a run of the program left.
pub(crate) struct Run {
    /// Exit status; none if a signal ended it.
    pub(crate) status: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Run {
    /// Expects success.
    #[track_caller]
    pub(crate) fn ok(self) -> Run {
        assert_eq!(self.status, Some(0), "{}{}", self.out, self.err);
        self
    }

    /// Expects a failure of the work that says all of this.
    #[track_caller]
    pub(crate) fn fails(self, parts: &[&str]) -> Run {
        self.ends_with(1, parts)
    }

    /// Expects a refusal of the input that says all of this.
    #[track_caller]
    pub(crate) fn refuses(self, parts: &[&str]) -> Run {
        self.ends_with(2, parts)
    }

    #[track_caller]
    fn ends_with(self, status: i32, parts: &[&str]) -> Run {
        assert_eq!(self.status, Some(status), "{}{}", self.out, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "`{part}` is not in\n{}", self.err);
        }
        self
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

/// The program, in a folder of its own.
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carousel"));
    command.current_dir(folder).env("RUST_BACKTRACE", "0").env_remove("NO_COLOR");
    command
}

/// Runs the program in a folder.
pub(crate) fn run_in(folder: &Path, arguments: &[&str]) -> Run {
    finished(program(folder).args(arguments).output().expect("the program starts"))
}

/// What a process left.
pub(crate) fn finished(output: Output) -> Run {
    Run {
        status: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// An empty folder.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

/// The path of one of the tests' own programs.
pub(crate) fn fixture(name: &str) -> String {
    path(&["tests", "cli", "programs", name])
}

/// The path of a file of the models.
pub(crate) fn model_file(name: &str) -> String {
    path(&["..", "models", "xl", name])
}

fn path(parts: &[&str]) -> String {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.extend(parts);
    path.display().to_string()
}

/// A tensor to be written.
pub(crate) struct Given {
    name: &'static str,
    shape: Vec<usize>,
    dtype: Dtype,
    bytes: Vec<u8>,
}

/// A tensor of single precision.
pub(crate) fn f32s(name: &'static str, shape: &[usize], values: &[f32]) -> Given {
    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    Given { name, shape: shape.to_vec(), dtype: Dtype::F32, bytes }
}

/// A tensor of integers.
pub(crate) fn i32s(name: &'static str, shape: &[usize], values: &[i32]) -> Given {
    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    Given { name, shape: shape.to_vec(), dtype: Dtype::I32, bytes }
}

/// Writes a safetensors file.
pub(crate) fn write_tensors(path: &Path, tensors: &[Given]) {
    let views = tensors.iter().map(|t| {
        let view = TensorView::new(t.dtype, t.shape.clone(), &t.bytes).expect("shape and values agree");
        (t.name, view)
    });
    let bytes = safetensors::serialize(views, None).expect("it is serialised");
    std::fs::write(path, bytes).expect("it is written");
}

/// The float tensors of a file: shape and values by name.
pub(crate) fn read_tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f64>)> {
    let bytes = std::fs::read(path).expect("the file is there");
    let file = SafeTensors::deserialize(&bytes).expect("the file is whole");
    let values = |view: &TensorView<'_>| -> Vec<f64> {
        if view.dtype() == Dtype::F64 {
            let words = view.data().chunks_exact(8);
            return words.map(|w| f64::from_le_bytes(w.try_into().expect("eight bytes"))).collect();
        }
        assert_eq!(view.dtype(), Dtype::F32);
        let words = view.data().chunks_exact(4);
        words.map(|w| f64::from(f32::from_le_bytes(w.try_into().expect("four bytes")))).collect()
    };
    file.iter().map(|(name, view)| (name.to_string(), (view.shape().to_vec(), values(&view)))).collect()
}
