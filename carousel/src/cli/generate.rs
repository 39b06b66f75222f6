//! `carousel generate`.

use std::io::Write;
use std::path::PathBuf;

use carousel_models::config::SampleConfig;
use carousel_models::generate::{
    Continuation, Conversation, Finish, GenerateError, Settings, Written, generate,
};
use carousel_models::model::Predictor;
use carousel_models::sample::Sampler;
use carousel_models::state::{self, StateError};
use carousel_models::tokenizer::Tokenizer;

use carousel_models::weights::Weights;

use super::common::{Failure, TargetOptions, remark, tell, unwritten};
use super::loaded::{Loaded, TokenList, tokens};

/// Write text with a trained model.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  carousel generate --checkpoint runs/default/checkpoint --prompt 'KING LEAR:' --temperature 0.7\n  \
                  carousel generate --checkpoint xlstm-7b --tokens 17,4,1044 --temperature 0 --max-tokens 32\n  \
                  carousel generate --checkpoint runs/default/checkpoint --prompt A --prompt 'A rose' --stop . --json\n  \
                  carousel generate --checkpoint runs/default/checkpoint --prompt 'Once' --save-state talk.state\n  \
                  carousel generate --checkpoint runs/default/checkpoint --load-state talk.state"
)]
pub(super) struct Arguments {
    /// Folder of the checkpoint, also of one that another program wrote.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// What to continue. Given several times, all are continued side by side.
    #[arg(long, required_unless_present_any = ["tokens", "load_state"])]
    prompt: Vec<String>,
    /// What to continue as numbers of tokens, `17,4,1044`; what comes out are such numbers, too. Can be given several times.
    #[arg(long, value_name = "N,..", value_parser = tokens, conflicts_with = "prompt")]
    tokens: Vec<TokenList>,
    /// How many tokens to write at most.
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
    /// Divides the logits of tokens that the text already has, or multiplies them where they are negative; 1: nothing.
    #[arg(long, default_value_t = 1.0, value_parser = penalty, allow_negative_numbers = true)]
    repetition_penalty: f32,
    /// Stop where this text comes; it is not written. Can be given several times.
    #[arg(long, value_name = "TEXT", conflicts_with = "tokens")]
    stop: Vec<String>,
    /// Go on after the token that ends a text.
    #[arg(long)]
    ignore_end: bool,
    /// Decides every random choice.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Go on from this state, which `--save-state` wrote; the prompt, if there is one, comes after what was written then.
    #[arg(long, value_name = "FILE")]
    load_state: Option<PathBuf>,
    /// Write what the model remembers at the end, from which it goes on in the same bits.
    #[arg(long, value_name = "FILE")]
    save_state: Option<PathBuf>,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
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

fn penalty(text: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|p: &f32| *p > 0.0 && p.is_finite());
    number.ok_or_else(|| "expected a number above 0; 1 changes nothing".to_string())
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let loaded = Loaded::open(&arguments.checkpoint)?;
    let folder = &arguments.checkpoint;
    let prompts: Vec<Vec<i32>> = if arguments.tokens.is_empty() {
        arguments.prompt.iter().map(|text| loaded.encoded(folder, text)).collect::<Result<_, _>>()?
    } else {
        arguments
            .tokens
            .iter()
            .map(|TokenList(tokens)| loaded.must_know(tokens).map(|()| tokens.clone()))
            .collect::<Result<_, _>>()?
    };
    let is_text = arguments.tokens.is_empty() && (!prompts.is_empty() || loaded.tokenizer.is_some());
    let has_state = arguments.load_state.is_some() || arguments.save_state.is_some();
    if has_state && prompts.len() > 1 {
        return Err(Failure::Input("a state is that of one text; give one prompt".to_string()));
    }
    let sample = SampleConfig {
        temperature: arguments.temperature,
        top_k: arguments.top_k,
        top_p: arguments.top_p,
        ..SampleConfig::default()
    };
    let end = loaded
        .external
        .as_ref()
        .and_then(|external| external.end())
        .filter(|_| is_text && !arguments.ignore_end);
    let settings = Settings {
        length: arguments.max_tokens,
        sampler: Sampler::new(sample.choice(), arguments.seed).map_err(Failure::input)?,
        repetition_penalty: arguments.repetition_penalty,
        stop: &arguments.stop,
        end,
        tokenizer: if is_text { Some(loaded.reads_text(folder)?) } else { None },
    };
    let predictor = loaded
        .model
        .predictor(&arguments.target.engine(&[("b", prompts.len().max(1) as u64)])?, &loaded.parameters)?;
    let vocabulary = loaded.model.vocabulary() as usize;
    let mut conversations: Vec<Conversation<'_>> = match &arguments.load_state {
        Some(path) => {
            vec![state::load(path, &predictor, &loaded.parameters, vocabulary).map_err(state_failure)?]
        }
        None => prompts.iter().map(|_| Conversation::new(&predictor, vocabulary)).collect(),
    };
    conversations.iter_mut().zip(&prompts).for_each(|(conversation, prompt)| conversation.extend(prompt));
    if arguments.save_state.is_some() && predictor.reader().is_none() {
        return Err(state_failure(StateError::NoState));
    }
    let results = if arguments.json || conversations.len() > 1 {
        generate(&predictor, &loaded.parameters, &mut conversations, &settings, &mut |_| {})
            .map_err(failure)?
    } else {
        let prompt = arguments.prompt.first().map_or("", String::as_str);
        streamed(&predictor, &loaded.parameters, &mut conversations, &settings, prompt)?
    };
    let mut state_bytes = None;
    if let Some(path) = &arguments.save_state {
        let bytes =
            state::save(path, &predictor, &loaded.parameters, &conversations[0]).map_err(state_failure)?;
        remark(&format!("state of {bytes} bytes in {}, however long the text is\n", path.display()));
        state_bytes = Some(bytes);
    }
    if arguments.json {
        return tell(&format!("{}\n", json(arguments, &prompts, &results, state_bytes)));
    }
    if results.len() > 1 {
        for (row, result) in results.iter().enumerate() {
            let prompt = arguments.prompt.get(row).map_or("", String::as_str);
            let written = if is_text { format!("{prompt}{}", result.text) } else { numbers(&result.tokens) };
            tell(&format!("[{}] {written}\n", row + 1))?;
        }
    }
    Ok(())
}

fn json(
    arguments: &Arguments,
    prompts: &[Vec<i32>],
    results: &[Continuation],
    state_bytes: Option<u64>,
) -> serde_json::Value {
    let result = |(row, result): (usize, &Continuation)| {
        let finish = match result.finish {
            Finish::Length => "length",
            Finish::Stop => "stop",
            Finish::End => "end",
        };
        serde_json::json!({
            "prompt": arguments.prompt.get(row),
            "prompt_tokens": prompts.get(row),
            "text": result.text,
            "tokens": result.tokens,
            "finish": finish,
        })
    };
    let results: Vec<serde_json::Value> = results.iter().enumerate().map(result).collect();
    serde_json::json!({ "results": results, "state_bytes": state_bytes })
}

fn numbers(tokens: &[i32]) -> String {
    tokens.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn failure(error: GenerateError) -> Failure {
    match error {
        GenerateError::EmptyPrompt | GenerateError::Token(_) | GenerateError::Tokenizer(_) => {
            Failure::input(error)
        }
        GenerateError::Run(_) | GenerateError::Sample(_) => Failure::work(error),
    }
}

fn state_failure(error: StateError) -> Failure {
    match error {
        StateError::Io { action: "write", .. } => Failure::work(error),
        StateError::Io { .. }
        | StateError::Malformed { .. }
        | StateError::OtherModel { .. }
        | StateError::NoState => Failure::input(error),
    }
}

/// Writes one continuation behind its prompt to standard output as it comes: characters, or numbers with commas between.
fn streamed(
    predictor: &Predictor,
    parameters: &Weights<'_>,
    conversations: &mut [Conversation<'_>],
    settings: &Settings<'_>,
    prompt: &str,
) -> Result<Vec<Continuation>, Failure> {
    let mut out = std::io::stdout().lock();
    let mut result = write!(out, "{prompt}");
    let mut comma = "";
    let mut emit = |written: Written<'_>| {
        if result.is_err() {
            return;
        }
        result = match (settings.tokenizer, written.token) {
            (Some(_), _) => out.write_all(written.text.as_bytes()),
            (None, Some(token)) => write!(out, "{comma}{token}"),
            (None, None) => Ok(()),
        }
        .and_then(|()| out.flush());
        comma = ",";
    };
    let results = generate(predictor, parameters, conversations, settings, &mut emit).map_err(failure)?;
    result.and_then(|()| writeln!(out)).map_err(|error| unwritten(&error))?;
    Ok(results)
}

/// Writes the sample of a configuration to standard output, character by character.
pub(super) fn write(
    predictor: &Predictor,
    parameters: &Weights<'_>,
    tokenizer: &dyn Tokenizer,
    sample: &SampleConfig,
) -> Result<(), Failure> {
    let settings = Settings {
        length: sample.length,
        sampler: Sampler::new(sample.choice(), 0).map_err(Failure::input)?,
        repetition_penalty: 1.0,
        stop: &[],
        end: None,
        tokenizer: Some(tokenizer),
    };
    let mut conversation = Conversation::new(predictor, tokenizer.vocabulary());
    conversation.extend(&tokenizer.encode(sample.prompt.as_bytes()).map_err(Failure::input)?);
    streamed(predictor, parameters, &mut [conversation], &settings, &sample.prompt).map(|_| ())
}
