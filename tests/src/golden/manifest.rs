//! The list of cases.

use super::GoldenError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Format number of the manifests that are understood.
const FORMAT: u32 = 1;

/// All cases.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    /// Its version.
    pub format: u32,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// What messages call it.
    pub name: String,
    /// What kind of computation it is.
    pub family: String,
    /// Its tensors, relative to the manifest.
    pub file: String,
    /// What was computed; its fields depend on the family.
    pub config: serde_json::Value,
    /// What computed it.
    pub reference: Reference,
    /// Of a checkpoint, its folder, relative to the manifest.
    pub directory: Option<String>,
    /// How far results may be off.
    pub tolerance: Tolerance,
    /// What is known about each tensor.
    pub tensors: BTreeMap<String, TensorEntry>,
}

/// The implementation that a case was recorded from.
#[derive(Clone, Debug, Deserialize)]
pub struct Reference {
    /// The function, with its modules.
    pub function: String,
}

/// Tolerances of a case by the kind of evaluation.
#[derive(Clone, Debug, Deserialize)]
pub struct Tolerance {
    /// For an evaluation in float64.
    pub float64: f64,
    /// Ten times the error of the best float32 run.
    pub float32_strict: f64,
    /// Ten times the error of the worst float32 run.
    pub float32_lenient: f64,
}

/// What is known about a tensor.
#[derive(Clone, Debug, Deserialize)]
pub struct TensorEntry {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Errors of the references' own float32 runs, by form; none for a run that was not finite.
    #[serde(default)]
    pub float32_run_error: BTreeMap<String, Option<f64>>,
}

impl Manifest {
    /// Reads `manifest.json` of a folder.
    pub fn read(folder: &Path) -> Result<Manifest, GoldenError> {
        let path = folder.join("manifest.json");
        let text = std::fs::read_to_string(&path)
            .map_err(|source| GoldenError::Read { path: path.clone(), source })?;
        let json = |source| GoldenError::Json { what: path.display().to_string(), source };
        let manifest: Manifest = serde_json::from_str(&text).map_err(json)?;
        if manifest.format != FORMAT {
            let message = format!("{}: format {}, not {FORMAT}", path.display(), manifest.format);
            return Err(GoldenError::Case(message));
        }
        Ok(manifest)
    }
}
