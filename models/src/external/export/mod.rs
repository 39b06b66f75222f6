//! Checkpoints for other programs: the tables of names read backwards, and configurations that say what the model is.
//!
//! Invariant: what is written is read back by this program as the same model with the same parameters, which is checked before
//! anything is written. A model that the other program does not compute is refused, with the parts that differ.

mod huggingface;
mod package;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use carousel_ir::text::{ConfigValue, print};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, View};
use serde_json::{Map, Value};

use super::{Axed, Format, NameError, Placement, lines};
use crate::checkpoint::{MANIFEST_FILE, MODEL_FILE};
use crate::config::ParameterValue;
use crate::files::replace;
use crate::library::{ModelSource, bundled};
use crate::model::Model;
use crate::tokenizer::TOKENIZER_FILE;

/// How numbers are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// As they are.
    F32,
    /// Rounded to nearest, ties to even.
    Bf16,
    /// The same, in half precision.
    F16,
}

/// A model to be written.
#[derive(Clone, Copy)]
pub struct Export<'a> {
    /// Its text.
    pub source: &'a ModelSource,
    /// The same, elaborated.
    pub model: &'a Model,
    /// Its parameters.
    pub parameters: &'a [f32],
    /// Tokens of a window that it was trained on.
    pub context: usize,
    /// The bytes of its tokenizer's file, if it has one.
    pub tokenizer: Option<&'a [u8]>,
}

/// Why a model cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The other program computes something else.
    #[error("the model is none that {program} computes:{}", lines(problems))]
    OtherModel {
        /// The program.
        program: &'static str,
        /// What differs, a sentence each.
        problems: Vec<String>,
    },
    /// A parameter has no name there.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A number is too large for its precision.
    #[error(
        "the parameter `{parameter}` has a number that is not finite in {precision:?}; choose another --dtype"
    )]
    OutOfRange {
        /// The parameter.
        parameter: String,
        /// The precision.
        precision: Precision,
    },
    /// There is something at the place.
    #[error("{} is there already and is not empty; choose another folder", folder.display())]
    InTheWay {
        /// The folder.
        folder: PathBuf,
    },
    /// The system refused.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Compile-time parameters of a model, all of them.
type Settled = BTreeMap<String, ConfigValue>;

/// Writes a checkpoint into a new folder.
pub fn export(
    folder: &Path,
    format: Format,
    export: Export<'_>,
    precision: Precision,
) -> Result<(), ExportError> {
    let program = format.description();
    let other = |problems: Vec<String>| ExportError::OtherModel { program, problems };
    let settled = export.model.settled();
    let (root, written) = match format {
        Format::HuggingFace => ("models/large.xl", huggingface::configuration(&settled)),
        Format::Package => ("models/lm.xl", package::configuration(&settled, export.context)),
    };
    let changed = changed_files(export.source, root);
    if !changed.is_empty() {
        return Err(other(changed));
    }
    let json = written.map_err(other)?;
    let mut tensors = tensors(format, export, precision)?;
    if format == Format::HuggingFace && !tensors.contains_key(HEAD) {
        // `transformers` stores a head of its own also where it is the embedding.
        let mut head = tensors["backbone.embeddings.weight"].clone();
        head.name = HEAD.to_string();
        tensors.insert(HEAD.to_string(), head);
    }
    let has = |name: &str| tensors.contains_key(name);
    check(format, &json, &has, export).map_err(other)?;

    let io = |path: PathBuf| move |source| ExportError::Io { path, source };
    std::fs::create_dir_all(folder).map_err(io(folder.to_path_buf()))?;
    let mut entries = std::fs::read_dir(folder).map_err(io(folder.to_path_buf()))?;
    if entries.next().is_some() {
        return Err(ExportError::InTheWay { folder: folder.to_path_buf() });
    }
    // The configuration last: without it, a folder is none of a checkpoint.
    let path = folder.join(MODEL_FILE);
    let about = std::collections::HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize_to_file(tensors.values().map(|t| (t.name.clone(), t)), Some(about), &path)
        .map_err(|error| io(path)(std::io::Error::other(error.to_string())))?;
    if let Some(json) = export.tokenizer {
        replace(&folder.join(TOKENIZER_FILE), json).map_err(io(folder.join(TOKENIZER_FILE)))?;
    }
    let text = format!("{:#}\n", Value::Object(json));
    replace(&folder.join(MANIFEST_FILE), text.as_bytes()).map_err(io(folder.join(MANIFEST_FILE)))
}

/// The output head in files of `transformers`.
const HEAD: &str = "lm_head.weight";

/// Files of the model that are not the built-in ones: their equations may be others. The published cells compute what the
/// paper's do.
fn changed_files(source: &ModelSource, root: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, file) in source.files().iter().enumerate() {
        let path = if at == 0 { root } else { file.path.as_str() };
        let published = path.strip_prefix("cells/").and_then(|cell| bundled(&format!("reference/{cell}")));
        let known = [bundled(path), published];
        if !known.into_iter().flatten().any(|text| text == file.text) {
            problems.push(format!("`{}` is not the built-in `{path}`", file.path));
        }
    }
    problems
}

/// Whether the configuration is read back as the same functions.
fn check(
    format: Format,
    json: &Map<String, Value>,
    has: &dyn Fn(&str) -> bool,
    export: Export<'_>,
) -> Result<(), Vec<String>> {
    let mut read = match format {
        Format::HuggingFace => super::huggingface::configuration(json, has)?,
        Format::Package => super::package::configuration(json)?,
    };
    if let Some(ConfigValue::Bool(is_tied)) = export.model.settled().get("tied") {
        // A tied head is written beside the embedding, and read as one of its own.
        read.parameters.insert("tied".to_string(), ParameterValue::Boolean(*is_tied));
    }
    let unlike = |message: String| vec![format!("its configuration cannot be told there: {message}")];
    let model = Model::new(export.source, &read.parameters).map_err(|failed| unlike(failed.to_string()))?;
    let text = |model: &Model| print(model.inference().0);
    if text(&model) == text(export.model) {
        return Ok(());
    }
    let is_other = |(name, value): &(&String, &ConfigValue)| model.settled().get(*name) != Some(*value);
    let settled = export.model.settled();
    let names: Vec<&str> = settled.iter().filter(is_other).map(|(name, _)| name.as_str()).collect();
    Err(unlike(format!("{} would be others", names.join(", "))))
}

/// A tensor as it is written: parameters that lie in it, each at its places.
#[derive(Clone)]
struct Exported<'a> {
    name: String,
    shape: Vec<usize>,
    precision: Precision,
    parts: Vec<(Placement, &'a [f32])>,
}

fn tensors<'a>(
    format: Format,
    export: Export<'a>,
    precision: Precision,
) -> Result<BTreeMap<String, Exported<'a>>, ExportError> {
    let parameters = export.model.layout().parameters();
    let axed: Vec<Axed<'_>> = parameters
        .iter()
        .map(|p| Axed { path: p.name.as_str(), axes: p.axes().map(|(a, n)| (a.as_str(), n)).collect() })
        .collect();
    let mut tensors: BTreeMap<String, Exported<'a>> = BTreeMap::new();
    for (parameter, placement) in parameters.iter().zip(format.names().placements(&axed, None)?) {
        let values = &export.parameters[parameter.range.clone()];
        if !values.iter().all(|x| precision.holds(*x)) {
            return Err(ExportError::OutOfRange { parameter: parameter.name.to_string(), precision });
        }
        let (name, shape) = (placement.tensor.clone(), placement.shape.clone());
        let empty = Exported { name: name.clone(), shape, precision, parts: Vec::new() };
        tensors.entry(name).or_insert(empty).parts.push((placement, values));
    }
    Ok(tensors)
}

impl Precision {
    fn holds(self, x: f32) -> bool {
        match self {
            Precision::F32 => x.is_finite(),
            Precision::Bf16 => bf16::from_f32(x).is_finite(),
            Precision::F16 => f16::from_f32(x).is_finite(),
        }
    }

    fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::Bf16 | Precision::F16 => 2,
        }
    }
}

/// Made when it is written, so that one tensor at a time is in memory twice.
impl View for &Exported<'_> {
    fn dtype(&self) -> Dtype {
        match self.precision {
            Precision::F32 => Dtype::F32,
            Precision::Bf16 => Dtype::BF16,
            Precision::F16 => Dtype::F16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let size = self.precision.bytes();
        let mut bytes = vec![0; self.data_len()];
        for (placement, values) in &self.parts {
            for (place, x) in placement.places().zip(*values) {
                let into = &mut bytes[place * size..(place + 1) * size];
                match self.precision {
                    Precision::F32 => into.copy_from_slice(&x.to_le_bytes()),
                    Precision::Bf16 => into.copy_from_slice(&bf16::from_f32(*x).to_le_bytes()),
                    Precision::F16 => into.copy_from_slice(&f16::from_f32(*x).to_le_bytes()),
                }
            }
        }
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.precision.bytes()
    }
}

/// Reading the compile-time parameters of a model, with all that the other program does not have.
struct Reader<'a> {
    settled: &'a Settled,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(settled: &'a Settled) -> Reader<'a> {
        Reader { settled, problems: Vec::new() }
    }

    fn missing(&mut self, name: &str) {
        self.problems.push(format!("it has no compile-time parameter `{name}` of that kind"));
    }

    fn integer(&mut self, name: &str) -> u64 {
        if let Some(ConfigValue::Int(n)) = self.settled.get(name)
            && let Ok(n) = u64::try_from(*n)
        {
            return n;
        }
        self.missing(name);
        1
    }

    fn float(&mut self, name: &str) -> f64 {
        match self.settled.get(name) {
            Some(ConfigValue::Float(x)) => *x,
            Some(ConfigValue::Int(n)) => *n as f64,
            Some(ConfigValue::Bool(_) | ConfigValue::Text(_) | ConfigValue::List(_)) | None => {
                self.missing(name);
                1.0
            }
        }
    }

    fn flag(&mut self, name: &str) -> bool {
        if let Some(ConfigValue::Bool(flag)) = self.settled.get(name) {
            return *flag;
        }
        self.missing(name);
        false
    }

    /// Notes a problem unless the condition holds.
    fn require(&mut self, holds: bool, problem: &str) {
        if !holds {
            self.problems.push(problem.to_string());
        }
    }

    fn finished(self, json: Value) -> Result<Map<String, Value>, Vec<String>> {
        if let Value::Object(map) = json
            && self.problems.is_empty()
        {
            return Ok(map);
        }
        Err(self.problems)
    }
}

/// A factor by which a width becomes a whole number of units where the product is rounded down.
fn factor_down(units: u64, width: u64) -> f64 {
    let exact = units as f64 / width as f64;
    if (width as f64 * exact) as u64 == units { exact } else { (units as f64 + 0.5) / width as f64 }
}
