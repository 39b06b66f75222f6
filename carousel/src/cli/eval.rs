//! `carousel eval`.

use std::path::{Path, PathBuf};

use carousel_models::batch::Extent;
use carousel_models::checkpoint::Checkpoint;
use carousel_models::config::TrainingConfig;
use carousel_models::corpus::{Corpus, Part, Text, TextError};
use carousel_models::evaluate::{Evaluation, evaluate, evaluate_carried};
use carousel_models::task::Task;
use carousel_models::tokenizer::Tokenizer;

use super::common::{Failure, TargetOptions, tell};
use super::forms;
use super::loaded::Loaded;

/// The loss of a trained model on a text, or on the test of the task that it was trained on.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  carousel eval --checkpoint runs/default/checkpoint\n  \
                        carousel eval --checkpoint runs/default/checkpoint --text other.txt --json\n  \
                        carousel eval --checkpoint runs/default/checkpoint --text long.txt --carry")]
pub(super) struct Arguments {
    /// Folder of the checkpoint, also of one that another program wrote.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// The text, a file, a folder or a pattern; the held-back part of the text that the model was trained on, or the test of its task,
    /// if not given.
    #[arg(long, value_name = "PATH")]
    text: Option<PathBuf>,
    /// Tokens of a window; as the model was trained if not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    context: Option<u32>,
    /// Read the text once from its start, with the state carried from window to window; without it each window starts afresh.
    #[arg(long)]
    carry: bool,
    /// What ends a document of the text, each of which is read as if it were alone; as the model was trained if not given.
    #[arg(long, value_name = "TEXT")]
    document_end: Option<String>,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut loaded = Loaded::open(&arguments.checkpoint)?;
    let mut training = match &loaded.external {
        Some(_) if arguments.text.is_none() => {
            let message = "--text is needed: the checkpoint does not say what the model was trained on";
            return Err(Failure::Input(message.to_string()));
        }
        Some(_) => TrainingConfig::default(),
        None => Checkpoint::open(&arguments.checkpoint).map_err(Failure::input)?.manifest().training.clone(),
    };
    if let (Some(task), None) = (&training.task, &arguments.text) {
        return run_task(arguments, &loaded, &training, task);
    }
    training.context = arguments.context.map_or(training.context, |n| n as usize);
    training.document_end = arguments.document_end.clone().or(training.document_end);
    if training.document_end.as_deref() == Some("") {
        return Err(Failure::Input(
            "--document-end is empty; give the text that ends a document".to_string(),
        ));
    }
    loaded.model = loaded.model.in_documents(training.document_end.is_some());
    let tokenizer = loaded.reads_text(&arguments.checkpoint)?;
    let part = part(&training, arguments.text.as_deref(), tokenizer).map_err(Failure::input)?;
    let part = match &training.document_end {
        Some(end) => part.in_documents(tokenizer.encode(end.as_bytes()).map_err(Failure::input)?),
        None => part,
    };
    let Loaded { model, parameters, .. } = &loaded;
    if tokenizer.vocabulary() as u64 > model.vocabulary() {
        let (tokens, known) = (tokenizer.vocabulary(), model.vocabulary());
        let message = format!("the tokenizer has {tokens} tokens, but the model knows {known}");
        return Err(Failure::Input(message));
    }
    let likely = [("b", training.batch as u64), ("s", training.context as u64)];
    let engine = arguments.target.engine(&likely)?;
    let result = if arguments.carry {
        evaluate_carried(&model.predictor(&engine, parameters)?, parameters, &part)
    } else {
        let loss = model.loss(&engine, &parameters.stored(model.layout()))?;
        forms::warn(loss.forms());
        evaluate(&loss, parameters, &part, training.batch, Extent::Whole)
    };
    let result = result.map_err(Failure::work)?;
    tell(&report(&result, None, arguments.json))
}

/// How well the model does the test of the task that it was trained on.
fn run_task(
    arguments: &Arguments,
    loaded: &Loaded,
    training: &TrainingConfig,
    task: &Task,
) -> Result<(), Failure> {
    if arguments.carry || arguments.document_end.is_some() || arguments.context.is_some() {
        let message = format!(
            "the model was trained on the task {}, which has no text: --carry, --document-end and --context say nothing of it",
            task.name()
        );
        return Err(Failure::Input(message));
    }
    let likely = [("b", training.batch as u64), ("s", training.context as u64)];
    let Loaded { model, parameters, .. } = loaded;
    let logits = model.logits(&arguments.target.engine(&likely)?, &parameters.stored(model.layout()))?;
    forms::warn(logits.forms());
    let result = task.evaluate(&logits, parameters, training.batch, None, training.context);
    tell(&report(&result.map_err(Failure::work)?, Some(task), arguments.json))
}

/// A result for people, or as JSON.
fn report(result: &Evaluation, task: Option<&Task>, json: bool) -> String {
    let Evaluation { loss, bits_per_byte, tokens, accuracy, by_size } = result;
    let scaled = task.zip(*accuracy).map(|(task, accuracy)| task.scaled(accuracy));
    if json {
        let mut object =
            serde_json::json!({"loss": loss, "perplexity": result.perplexity(), "tokens": tokens});
        if let Some(bits) = bits_per_byte {
            object["bits_per_byte"] = (*bits).into();
        }
        if let (Some(accuracy), Some(scaled)) = (accuracy, scaled) {
            let by_size = by_size.iter().map(|(size, answers)| [*size as u64, answers.right, answers.asked]);
            object["accuracy"] = (*accuracy).into();
            object["scaled_accuracy"] = scaled.into();
            object["by_size"] = by_size.map(Vec::from).collect::<Vec<_>>().into();
        }
        return format!("{object}\n");
    }
    let perplexity = result.perplexity();
    let rest = match (bits_per_byte, accuracy, scaled) {
        (Some(bits), ..) => {
            format!("perplexity {perplexity:.4}, {bits:.6} bits a byte, over {tokens} tokens")
        }
        (None, Some(accuracy), Some(scaled)) => {
            format!("accuracy {accuracy:.6}, scaled {scaled:.6}, over {tokens} questions")
        }
        (None, ..) => format!("perplexity {perplexity:.4}, over {tokens} tokens"),
    };
    format!("loss {loss:.6} nats a token, {rest}\n")
}

/// The text to evaluate on: a given one whole, else what was held back of the one that the model was trained on.
fn part(
    training: &TrainingConfig,
    given: Option<&Path>,
    tokenizer: &dyn Tokenizer,
) -> Result<Part, TextError> {
    if let Some(path) = given {
        return Part::whole(&Text::from_path(path)?, tokenizer, training.context);
    }
    let text = match &training.text {
        Some(path) => Text::from_path(path)?,
        None => Text::bundled(),
    };
    Ok(Corpus::new(&text, tokenizer, training.held_back, training.context)?.held_back)
}
