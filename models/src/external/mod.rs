//! Checkpoints that other programs wrote: which model a folder holds, and its parameters.
//!
//! [`names`] says which tensor is which parameter, [`huggingface`] and [`package`] read the configurations of the two
//! public implementations, [`tensors`] reads the files. Invariant: a folder that is opened holds every parameter of the
//! model in the shape that the configuration says, and nothing else; whatever is wrong is said with the field or tensor
//! that is the cause. Nothing is known here of how a model computes: the equations are `.xl` files.

pub mod export;
pub mod huggingface;
pub mod names;
pub mod package;
mod tensors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use carousel_ir::text::Failed;
use serde_json::{Map, Value};

use crate::checkpoint::MANIFEST_FILE;
use crate::config::ParameterValue;
use crate::files::read_limited_text;
use crate::library::{Cells, ModelSource, SourceError};
use crate::model::Model;
use crate::tokenizer::{FileTokenizer, TOKENIZER_FILE, TokenizerError};
use crate::weights::Weights;
pub use names::{Axed, NameError, NameTable, Placement};
pub use tensors::TensorFolder;

/// A checkpoint of another program.
#[derive(Debug)]
pub struct External {
    folder: PathBuf,
    format: Format,
    configuration: Configuration,
    tensors: TensorFolder,
    end: Option<i32>,
}

/// Who wrote a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `transformers`, or a converter to it.
    HuggingFace,
    /// The package `xlstm`.
    Package,
}

/// More than the configuration or the index of any checkpoint.
const MOST_BYTES: u64 = 64 << 20;

/// What a configuration of another program means here.
#[derive(Clone, PartialEq, Debug)]
pub struct Configuration {
    /// The built-in model.
    pub model: &'static str,
    /// Its compile-time parameters.
    pub parameters: BTreeMap<String, ParameterValue>,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExternalError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is damaged.
    #[error("{}: {message}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Fields of the configuration: all that is wrong with them.
    #[error("{}:{}", path.display(), lines(problems))]
    Configuration {
        /// Path of the file.
        path: PathBuf,
        /// A sentence each.
        problems: Vec<String>,
    },
    /// The tensors contradict the configuration: all differences.
    #[error("the tensors in {} are not those that config.json tells of:{}", folder.display(), lines(problems))]
    Tensors {
        /// The folder.
        folder: PathBuf,
        /// A sentence each.
        problems: Vec<String>,
    },
    /// The model has a parameter that such files know nothing of.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The model's text.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The model does not compile with this configuration.
    #[error("the model of this configuration does not compile: {0}")]
    Model(Failed),
}

/// The first few sentences, one a line: hundreds of them say no more.
fn lines(problems: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text: String = problems.iter().take(SHOWN).map(|problem| format!("\n  {problem}")).collect();
    if problems.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", problems.len() - SHOWN));
    }
    text
}

impl Format {
    /// The table of its names.
    pub fn names(self) -> NameTable {
        NameTable::parse(match self {
            Format::HuggingFace => include_str!("../../xl/names/huggingface.names"),
            Format::Package => include_str!("../../xl/names/xlstm.names"),
        })
    }

    /// How messages call it.
    pub fn description(self) -> &'static str {
        match self {
            Format::HuggingFace => "Hugging Face `xlstm`",
            Format::Package => "package `xlstm`",
        }
    }

    /// Who wrote this configuration, if it is one of a known program.
    fn of(json: &Map<String, Value>) -> Option<Format> {
        if json.get("model_type").and_then(Value::as_str) == Some("xlstm") {
            return Some(Format::HuggingFace);
        }
        let fields = ["vocab_size", "embedding_dim", "num_blocks", "context_length"];
        fields.iter().all(|field| json.contains_key(*field)).then_some(Format::Package)
    }
}

impl External {
    /// Opens a folder if its `config.json` is that of another program's checkpoint; `None` if it is anything else.
    pub fn open(folder: &Path) -> Result<Option<External>, ExternalError> {
        let path = folder.join(MANIFEST_FILE);
        let Ok(text) = read_limited_text(&path, MOST_BYTES) else { return Ok(None) };
        let Ok(Value::Object(json)) = serde_json::from_str(&text) else { return Ok(None) };
        let Some(format) = Format::of(&json) else { return Ok(None) };
        let tensors = TensorFolder::open(folder)?;
        let end = json.get("eos_token_id").and_then(Value::as_i64).and_then(|token| token.try_into().ok());
        let configuration = match format {
            Format::HuggingFace => huggingface::configuration(&json, &|name| tensors.shape(name).is_some()),
            Format::Package => package::configuration(&json),
        };
        let configuration =
            configuration.map_err(|problems| ExternalError::Configuration { path, problems })?;
        Ok(Some(External { folder: folder.to_path_buf(), format, configuration, tensors, end }))
    }

    /// Who wrote it.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The model that it is.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The token that ends a text, if the configuration names one.
    pub fn end(&self) -> Option<i32> {
        self.end
    }

    /// The tokenizer that lies beside the tensors, if there is one.
    pub fn tokenizer(&self) -> Result<Option<FileTokenizer>, TokenizerError> {
        let path = self.folder.join(TOKENIZER_FILE);
        if path.exists() { FileTokenizer::open(&path).map(Some) } else { Ok(None) }
    }

    /// The type of its tensors with the bytes of all of them, by type.
    pub fn bytes_by_dtype(&self) -> BTreeMap<String, u64> {
        self.tensors.bytes_by_dtype()
    }

    /// The text of the model with these cells.
    pub fn source(&self, cells: Cells) -> ModelSource {
        ModelSource::builtin(self.configuration.model, cells)
    }

    /// The model, with the published cells, as these are what such a checkpoint was trained with, or with the paper's.
    pub fn model(&self, cells: Cells) -> Result<Model, ExternalError> {
        Model::new(&self.source(cells), &self.configuration.parameters).map_err(ExternalError::Model)
    }

    /// The parameters of its model where they lie in the files, as far as they can be used there.
    pub fn weights(&self, model: &Model) -> Result<Weights<'static>, ExternalError> {
        let mut weights = Weights::none();
        for placement in self.placements(model)? {
            self.tensors.add(&placement, &mut weights)?;
        }
        Ok(weights)
    }

    /// The parameters of its model as one arena.
    pub fn parameters(&self, model: &Model) -> Result<Vec<f32>, ExternalError> {
        Ok(self.weights(model)?.widened(model.layout()))
    }

    /// Where the parameters lie, in the order of the layout: of the layouts that such files have, the one that fits.
    fn placements(&self, model: &Model) -> Result<Vec<Placement>, ExternalError> {
        let parameters = model.layout().parameters();
        let axed: Vec<Axed<'_>> = parameters
            .iter()
            .map(|p| Axed { path: p.name.as_str(), axes: p.axes().map(|(a, n)| (a.as_str(), n)).collect() })
            .collect();
        let names = self.format.names();
        let mut first = None;
        for section in std::iter::once(None).chain(names.sections().map(Some)) {
            let placements = names.placements(&axed, section)?;
            let problems = self.tensors.misfits(&placements);
            if problems.is_empty() {
                return Ok(placements);
            }
            let is_closer = |best: &Vec<String>| problems.len() < best.len();
            if first.as_ref().is_none_or(is_closer) {
                first = Some(problems);
            }
        }
        let problems = first.unwrap_or_default();
        Err(ExternalError::Tensors { folder: self.folder.clone(), problems })
    }
}

/// Reading fields of a configuration, with all that is wrong with them.
pub(crate) struct Fields<'a> {
    json: &'a Map<String, Value>,
    path: String,
    pub(crate) problems: Vec<String>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(json: &'a Map<String, Value>, path: &str) -> Fields<'a> {
        Fields { json, path: path.to_string(), problems: Vec::new() }
    }

    fn name(&self, field: &str) -> String {
        if self.path.is_empty() { format!("`{field}`") } else { format!("`{}.{field}`", self.path) }
    }

    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.json.get(field).filter(|value| !value.is_null())
    }

    /// The field, or the default if it is absent; noted as a problem if it is something else.
    fn read<T>(&mut self, field: &str, default: T, what: &str, of: impl Fn(&Value) -> Option<T>) -> T {
        match self.get(field) {
            None => default,
            Some(value) => of(value).unwrap_or_else(|| {
                self.problems.push(format!("{} is {value}; expected {what}", self.name(field)));
                default
            }),
        }
    }

    pub(crate) fn positive(&mut self, field: &str, default: Option<u64>) -> u64 {
        if default.is_none() && self.get(field).is_none() {
            self.problems.push(format!("{} is missing", self.name(field)));
        }
        let fits = |v: &Value| v.as_u64().filter(|n| *n > 0 && *n <= u64::from(u32::MAX));
        self.read(field, default.unwrap_or(1), "a whole number above 0", fits)
    }

    /// A size that follows from a field; noted as a problem if it is none that an axis may have.
    pub(crate) fn size(&mut self, field: &str, size: Option<u64>) -> u64 {
        size.filter(|n| *n <= u64::from(u32::MAX)).unwrap_or_else(|| {
            self.problems.push(format!("{} makes a size of more than {}", self.name(field), u32::MAX));
            1
        })
    }

    pub(crate) fn whole(&mut self, field: &str, default: u64) -> u64 {
        self.read(field, default, "a whole number", |v| v.as_u64().filter(|n| *n <= u64::from(u32::MAX)))
    }

    pub(crate) fn float(&mut self, field: &str, default: f64) -> f64 {
        let fits = |v: &Value| v.as_f64().filter(|x| x.is_finite() && *x >= 0.0);
        self.read(field, default, "a number that is not negative", fits)
    }

    pub(crate) fn flag(&mut self, field: &str, default: bool) -> bool {
        self.read(field, default, "true or false", Value::as_bool)
    }

    /// Notes fields that are none of the known ones.
    pub(crate) fn only(&mut self, known: &[&[&str]]) {
        let fields = self.json.keys().filter(|field| !field.starts_with('_'));
        for field in fields.filter(|field| !known.iter().any(|list| list.contains(&field.as_str()))) {
            let message = format!(
                "{} is no field that this program knows, so it cannot tell whether results depend on it",
                self.name(field)
            );
            self.problems.push(message);
        }
    }
}

/// Compile-time parameters from whole numbers.
pub(crate) fn integers(of: &[(&str, u64)]) -> BTreeMap<String, ParameterValue> {
    of.iter().map(|(name, n)| (name.to_string(), ParameterValue::Integer(*n as i64))).collect()
}
