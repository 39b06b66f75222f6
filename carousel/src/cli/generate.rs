//! `carousel generate`.

use std::io::Write;
use std::path::PathBuf;

use carousel_models::config::SampleConfig;
use carousel_models::generate::{GenerateError, continuation, generate};
use carousel_models::model::Predictor;
use carousel_models::sample::Sampler;
use carousel_models::tokenizer::ByteTokenizer;
use carousel_models::weights::Weights;

use super::common::{Failure, TargetOptions, unwritten};
use super::loaded::{Loaded, TokenList, tokens};

/// Write text with a trained model.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  carousel generate --checkpoint runs/default/checkpoint --prompt 'KING LEAR:' --temperature 0.7\n  \
                  carousel generate --checkpoint xlstm-7b --tokens 17,4,1044 --temperature 0 --max-tokens 32"
)]
pub(super) struct Arguments {
    /// Folder of the checkpoint, also of one that another program wrote.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// What to continue.
    #[arg(long, required_unless_present = "tokens", conflicts_with = "tokens")]
    prompt: Option<String>,
    /// What to continue as numbers of tokens, `17,4,1044`; what comes out are such numbers, too.
    #[arg(long, value_name = "N,..", value_parser = tokens)]
    tokens: Option<TokenList>,
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
    let loaded = Loaded::open(&arguments.checkpoint)?;
    let sample = SampleConfig {
        length: arguments.max_tokens,
        prompt: arguments.prompt.clone().unwrap_or_default(),
        temperature: arguments.temperature,
        top_k: arguments.top_k,
        top_p: arguments.top_p,
    };
    match &arguments.tokens {
        None => loaded.must_read_bytes(&arguments.checkpoint)?,
        Some(TokenList(tokens)) => loaded.must_know(tokens)?,
    }
    let predictor = loaded.model.predictor(&arguments.target.engine(&[("b", 1)])?, &loaded.parameters)?;
    match &arguments.tokens {
        None => write(&predictor, &loaded.parameters, &sample, arguments.seed),
        Some(TokenList(prompt)) => numbers(&predictor, &loaded.parameters, prompt, &sample, arguments.seed),
    }
}

/// Writes the numbers of the tokens that follow to standard output, with commas between.
fn numbers(
    predictor: &Predictor,
    parameters: &Weights<'_>,
    prompt: &[i32],
    sample: &SampleConfig,
    seed: u64,
) -> Result<(), Failure> {
    let sampler = Sampler::new(sample.choice(), seed).map_err(Failure::input)?;
    let mut out = std::io::stdout().lock();
    let (mut result, mut comma) = (Ok(()), "");
    let mut emit = |token| {
        if result.is_ok() {
            result = write!(out, "{comma}{token}").and_then(|()| out.flush());
            comma = ",";
        }
        Ok(())
    };
    continuation(predictor, parameters, prompt, sample.length, &sampler, &mut emit).map_err(failure)?;
    result.and_then(|()| writeln!(out)).map_err(|error| unwritten(&error))
}

fn failure(error: GenerateError) -> Failure {
    match error {
        GenerateError::EmptyPrompt | GenerateError::Token(_) => Failure::input(error),
        GenerateError::Run(_) | GenerateError::Sample(_) => Failure::work(error),
    }
}

/// Writes a sample to standard output, character by character.
pub(super) fn write(
    predictor: &Predictor,
    parameters: &Weights<'_>,
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
    generate(predictor, parameters, &ByteTokenizer, &sample.prompt, sample.length, &sampler, &mut emit)
        .map_err(failure)?;
    result.and_then(|()| writeln!(out)).map_err(|error| unwritten(&error))
}
