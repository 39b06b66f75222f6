//! `carousel eval`.

use std::path::PathBuf;

use carousel_models::batch::Extent;
use carousel_models::checkpoint::Checkpoint;
use carousel_models::corpus::{Corpus, Part, Text};
use carousel_models::evaluate::{evaluate, evaluate_carried};
use carousel_models::tokenizer::ByteTokenizer;

use super::common::{Failure, TargetOptions, tell};
use super::forms;
use super::loaded::Loaded;

/// The loss of a trained model on a text.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  carousel eval --checkpoint runs/default/checkpoint\n  \
                        carousel eval --checkpoint runs/default/checkpoint --text other.txt --json\n  \
                        carousel eval --checkpoint runs/default/checkpoint --text long.txt --carry")]
pub(super) struct Arguments {
    /// Folder of the checkpoint.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// The text; the held-back part of the text that the model was trained on if not given.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Read the text once from its start, with the state carried from window to window; without it each window starts afresh.
    #[arg(long)]
    carry: bool,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let checkpoint = Checkpoint::open(&arguments.checkpoint).map_err(Failure::input)?;
    let training = &checkpoint.manifest().training;
    let part = match (&arguments.text, &training.text) {
        (Some(path), _) => {
            let text = Text::from_file(path).map_err(Failure::input)?;
            Part::whole(&text, &ByteTokenizer, training.context).map_err(Failure::input)?
        }
        (None, trained) => {
            let text = match trained {
                Some(path) => Text::from_file(path).map_err(Failure::input)?,
                None => Text::bundled(),
            };
            let corpus = Corpus::new(&text, &ByteTokenizer, training.held_back, training.context);
            corpus.map_err(Failure::input)?.held_back
        }
    };
    let Loaded { model, parameters, external: _ } = Loaded::open(&arguments.checkpoint)?;
    let likely = [("b", training.batch as u64), ("s", training.context as u64)];
    let engine = arguments.target.engine(&likely)?;
    let result = if arguments.carry {
        evaluate_carried(&model.predictor(&engine, &parameters)?, &parameters, &part)
    } else {
        let loss = model.loss(&engine)?;
        forms::warn(loss.forms());
        evaluate(&loss, &parameters.widened(model.layout()), &part, training.batch, Extent::Whole)
    };
    let result = result.map_err(Failure::work)?;
    if arguments.json {
        let object = serde_json::json!({
            "loss": result.loss,
            "bits_per_byte": result.bits_per_byte,
            "perplexity": result.perplexity(),
            "tokens": result.tokens,
        });
        tell(&format!("{object}\n"))
    } else {
        tell(&format!(
            "loss {:.6} nats a token, perplexity {:.4}, {:.6} bits a byte, over {} tokens\n",
            result.loss,
            result.perplexity(),
            result.bits_per_byte,
            result.tokens
        ))
    }
}
