//! `carousel logits`.

use std::path::PathBuf;

use carousel::tensors;
use carousel::{Output, Values};

use super::common::{Failure, TargetOptions};
use super::loaded::{Loaded, TokenList, tokens};

/// The logits of a whole sequence of tokens.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  carousel logits --checkpoint xlstm-7b --tokens 17,4,1044 --out logits.safetensors"
)]
pub(super) struct Arguments {
    /// Folder of the checkpoint, also of one that another program wrote.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// The text.
    #[arg(long, required_unless_present = "tokens", conflicts_with = "tokens")]
    prompt: Option<String>,
    /// The tokens as numbers.
    #[arg(long, value_name = "N,..", value_parser = tokens)]
    tokens: Option<TokenList>,
    /// The file to write, with a tensor `logits` of a row a token.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Read in pieces of that many tokens, with the state carried on; all at once if not given. Results are the same.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    piece: Option<u32>,
    #[command(flatten)]
    target: TargetOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let loaded = Loaded::open(&arguments.checkpoint)?;
    let tokens = match (&arguments.tokens, &arguments.prompt) {
        (Some(TokenList(tokens)), _) => tokens.clone(),
        (None, prompt) => loaded.encoded(&arguments.checkpoint, prompt.as_deref().unwrap_or_default())?,
    };
    loaded.must_know(&tokens)?;
    if tokens.is_empty() {
        return Err(Failure::Input("the prompt is empty: there is nothing to compute logits of".to_string()));
    }
    let predictor = loaded.model.predictor(&arguments.target.engine(&[("b", 1)])?, &loaded.parameters)?;
    let mut text = predictor.start();
    let mut logits = Vec::with_capacity(tokens.len() * loaded.model.vocabulary() as usize);
    for piece in tokens.chunks(arguments.piece.map_or(tokens.len(), |n| n as usize)) {
        logits.extend(text.logits(&loaded.parameters, piece).map_err(Failure::work)?);
    }
    let shape = vec![tokens.len() as u64, loaded.model.vocabulary()];
    let output = Output { name: "logits".to_string(), shape, values: Values::F32(logits) };
    tensors::write(&arguments.out, &[output]).map_err(Failure::Work)
}
