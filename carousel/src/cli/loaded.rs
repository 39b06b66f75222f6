//! Checkpoints that commands read: our own, and those of other programs.

use std::path::Path;

use carousel_models::checkpoint::Checkpoint;
use carousel_models::external::{External, ExternalError};
use carousel_models::library::{Cells, ModelSource};
use carousel_models::model::Model;
use carousel_models::weights::Weights;

use super::common::Failure;

/// A model with its parameters.
pub(super) struct Loaded {
    pub(super) model: Model,
    /// Where they lie.
    pub(super) parameters: Weights<'static>,
    /// What another program says of it.
    pub(super) external: Option<External>,
}

impl Loaded {
    /// The checkpoint in a folder.
    pub(super) fn open(folder: &Path) -> Result<Loaded, Failure> {
        if let Some(external) = External::open(folder).map_err(failure)? {
            let model = external.model(Cells::Published).map_err(failure)?;
            let parameters = external.weights(&model).map_err(failure)?;
            return Ok(Loaded { model, parameters, external: Some(external) });
        }
        let checkpoint = Checkpoint::open(folder).map_err(Failure::input)?;
        let manifest = checkpoint.manifest();
        let model = Model::new(&ModelSource::from_files(manifest.sources.clone()), &manifest.parameters)?;
        let parameters = checkpoint.parameters(&model.layout().specs()).map_err(Failure::input)?.concat();
        let parameters = Weights::of(model.layout(), parameters);
        Ok(Loaded { model, parameters, external: None })
    }

    /// Refuses text for a model whose tokens are not bytes.
    pub(super) fn must_read_bytes(&self, folder: &Path) -> Result<(), Failure> {
        if self.external.is_none() {
            return Ok(());
        }
        let folder = folder.display();
        Err(Failure::Input(format!(
            "{folder} comes from another program, whose tokenizer is not read yet; give tokens as numbers, `--tokens 17,4`"
        )))
    }

    /// How many tokens the model knows.
    pub(super) fn vocabulary(&self) -> u64 {
        let (module, function) = self.model.inference();
        let graph = &module[function].graph;
        let last = graph.outputs.first().and_then(|output| output.axes.iter().next_back());
        last.and_then(|axis| graph.axes.size(axis).known()).unwrap_or_default()
    }

    /// Refuses tokens that the model does not know.
    pub(super) fn must_know(&self, tokens: &[i32]) -> Result<(), Failure> {
        let vocabulary = self.vocabulary();
        match tokens.iter().find(|token| u64::try_from(**token).map_or(true, |n| n >= vocabulary)) {
            None => Ok(()),
            Some(token) => Err(Failure::Input(format!(
                "there is no token {token}: the model knows 0 to {}",
                vocabulary - 1
            ))),
        }
    }
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
