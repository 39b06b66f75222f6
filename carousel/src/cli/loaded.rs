//! Checkpoints that commands read: our own, and those of other programs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use carousel_models::checkpoint::Checkpoint;
use carousel_models::config::ParameterValue;
use carousel_models::external::{External, ExternalError};
use carousel_models::library::{Cells, ModelSource};
use carousel_models::model::Model;
use carousel_models::tokenizer::{TOKENIZER_FILE, Tokenizer};
use carousel_models::weights::Weights;

use super::common::Failure;

/// A model with its parameters.
pub(super) struct Loaded {
    pub(super) model: Model,
    /// Its text.
    pub(super) source: ModelSource,
    /// Its compile-time parameters, as they were set.
    pub(super) parameter_values: BTreeMap<String, ParameterValue>,
    /// Where they lie.
    pub(super) parameters: Weights<'static>,
    /// What makes tokens of text, if it is there.
    pub(super) tokenizer: Option<Arc<dyn Tokenizer>>,
    /// What another program says of it.
    pub(super) external: Option<External>,
}

impl Loaded {
    /// The checkpoint in a folder.
    pub(super) fn open(folder: &Path) -> Result<Loaded, Failure> {
        if let Some(external) = External::open(folder).map_err(failure)? {
            let source = external.source(Cells::Published);
            let model = external.model(Cells::Published).map_err(failure)?;
            let parameter_values = external.configuration().parameters.clone();
            let parameters = external.weights(&model).map_err(failure)?;
            must_be_finite(folder, &model, &parameters)?;
            let tokenizer = external.tokenizer().map_err(Failure::input)?;
            let tokenizer = tokenizer.map(|file| Arc::new(file) as Arc<dyn Tokenizer>);
            let external = Some(external);
            return Ok(Loaded { model, source, parameter_values, parameters, tokenizer, external });
        }
        let checkpoint = Checkpoint::open(folder).map_err(Failure::input)?;
        let manifest = checkpoint.manifest();
        let source = ModelSource::from_files(manifest.sources.clone());
        let parameter_values = manifest.parameters.clone();
        let model = Model::new(&source, &parameter_values)?;
        let parameters = checkpoint.weights(&model.layout().specs()).map_err(Failure::input)?;
        must_be_finite(folder, &model, &parameters)?;
        let tokenizer = checkpoint.tokenizer().map_err(Failure::input)?;
        Ok(Loaded { model, source, parameter_values, parameters, tokenizer, external: None })
    }

    /// The tokenizer; refuses text where there is none.
    pub(super) fn reads_text(&self, folder: &Path) -> Result<&dyn Tokenizer, Failure> {
        self.tokenizer.as_deref().ok_or_else(|| {
            Failure::Input(format!(
                "{} has no {TOKENIZER_FILE}; copy it there, or give tokens as numbers, `--tokens 17,4`",
                folder.display()
            ))
        })
    }

    /// The tokens of a text, all of which the model knows.
    pub(super) fn encoded(&self, folder: &Path, text: &str) -> Result<Vec<i32>, Failure> {
        let tokens = self.reads_text(folder)?.encode(text.as_bytes()).map_err(Failure::input)?;
        self.must_know(&tokens)?;
        Ok(tokens)
    }

    /// Refuses tokens that the model does not know.
    pub(super) fn must_know(&self, tokens: &[i32]) -> Result<(), Failure> {
        let vocabulary = self.model.vocabulary();
        match tokens.iter().find(|token| u64::try_from(**token).map_or(true, |n| n >= vocabulary)) {
            None => Ok(()),
            Some(token) => Err(Failure::Input(format!(
                "there is no token {token}: the model knows 0 to {}",
                vocabulary - 1
            ))),
        }
    }
}

/// Refuses parameters from which nothing can be computed.
fn must_be_finite(folder: &Path, model: &Model, parameters: &Weights<'_>) -> Result<(), Failure> {
    let Some((at, place)) = parameters.first_not_finite() else { return Ok(()) };
    let (folder, name) = (folder.display(), model.layout().parameters()[at].name);
    Err(Failure::Input(format!(
        "{folder}: number {place} of the parameter `{name}` is not finite: the checkpoint is damaged, or its training has diverged"
    )))
}

fn failure(error: ExternalError) -> Failure {
    match error {
        ExternalError::Model(failed) => Failure::Program(failed),
        ExternalError::Io { .. }
        | ExternalError::File { .. }
        | ExternalError::Configuration { .. }
        | ExternalError::Tensors { .. }
        | ExternalError::Name(_)
        | ExternalError::Source(_) => Failure::input(error),
    }
}

/// Numbers of tokens.
#[derive(Clone, Debug)]
pub(super) struct TokenList(pub(super) Vec<i32>);

/// `17,4,1044`.
pub(super) fn tokens(text: &str) -> Result<TokenList, String> {
    let numbers = text.split(',').map(|word| word.trim().parse().ok());
    let numbers: Option<Vec<i32>> = numbers.collect();
    numbers.map(TokenList).ok_or_else(|| "expected numbers with commas between, `17,4,1044`".to_string())
}
