//! `carousel generate`.

use std::io::Write;
use std::path::PathBuf;

use carousel_models::checkpoint::Checkpoint;
use carousel_models::config::SampleConfig;
use carousel_models::generate::{GenerateError, generate};
use carousel_models::library::ModelSource;
use carousel_models::model::{LanguageFunction, Model};
use carousel_models::sample::Sampler;
use carousel_models::tokenizer::ByteTokenizer;

use super::common::{Failure, TargetOptions, unwritten};

/// Write text with a trained model.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  carousel generate --checkpoint runs/default/checkpoint --prompt 'KING LEAR:' --temperature 0.7"
)]
pub(super) struct Arguments {
    /// Folder of the checkpoint.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// What to continue.
    #[arg(long)]
    prompt: String,
    /// How many tokens to write.
    #[arg(long, default_value_t = 400)]
    max_tokens: usize,
    /// Logits are divided by it; 0 always takes the most likely token.
    #[arg(long, default_value_t = 0.8, value_parser = temperature, allow_negative_numbers = true)]
    temperature: f64,
    /// Only this many of the most likely tokens; 0: all.
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Only the most likely tokens that make up this probability.
    #[arg(long, default_value_t = 1.0, value_parser = probability, allow_negative_numbers = true)]
    top_p: f64,
    /// Decides every random choice.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    target: TargetOptions,
}

fn temperature(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|t: &f64| *t >= 0.0 && t.is_finite());
    number.ok_or_else(|| "expected 0 (most likely token) or a positive number".to_string())
}

fn probability(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|p: &f64| *p > 0.0 && *p <= 1.0);
    number.ok_or_else(|| "expected a number above 0 and at most 1".to_string())
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (model, parameters) = load(&arguments.checkpoint)?;
    let logits = model.logits(&arguments.target.engine()?)?;
    let sample = SampleConfig {
        length: arguments.max_tokens,
        prompt: arguments.prompt.clone(),
        temperature: arguments.temperature,
        top_k: arguments.top_k,
        top_p: arguments.top_p,
    };
    write(&logits, &parameters, &sample, arguments.seed)
}

/// The model in a checkpoint, and its parameters as one arena.
pub(super) fn load(folder: &std::path::Path) -> Result<(Model, Vec<f32>), Failure> {
    let checkpoint = Checkpoint::open(folder).map_err(Failure::input)?;
    let manifest = checkpoint.manifest();
    let model = Model::new(&ModelSource::from_files(manifest.sources.clone()), &manifest.parameters)?;
    let parameters = checkpoint.parameters(&model.layout().specs()).map_err(Failure::input)?.concat();
    Ok((model, parameters))
}

/// Writes a sample to standard output, character by character.
pub(super) fn write(
    logits: &LanguageFunction,
    parameters: &[f32],
    sample: &SampleConfig,
    seed: u64,
) -> Result<(), Failure> {
    let sampler = Sampler::new(sample.choice(), seed).map_err(Failure::input)?;
    let mut out = std::io::stdout().lock();
    let mut result = write!(out, "{}", sample.prompt);
    let mut emit = |text: &str| {
        if result.is_ok() {
            result = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    };
    generate(logits, parameters, &ByteTokenizer, &sample.prompt, sample.length, &sampler, &mut emit)
        .map_err(|error| match error {
            GenerateError::EmptyPrompt | GenerateError::Token(_) => Failure::input(error),
            GenerateError::Run(_) | GenerateError::Sample(_) => Failure::work(error),
        })?;
    result.and_then(|()| writeln!(out)).map_err(|error| unwritten(&error))
}
