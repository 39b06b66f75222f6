//! The range of every number of the configuration.

use std::fmt;
use std::path::Path;

use super::TrainingConfig;

/// A value outside its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Dotted key.
    pub key: String,
    /// The value that was given.
    pub value: String,
    /// What it may be.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is {}; it must be {}", self.key, self.value, self.allowed)
    }
}

/// Everything that is wrong with a configuration; empty if it is valid.
pub(super) fn problems(config: &TrainingConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut require = |holds: bool, key: &str, value: &dyn fmt::Display, allowed: &str| {
        if !holds {
            problems.push(Problem { key: key.into(), value: value.to_string(), allowed: allowed.into() });
        }
    };
    let TrainingConfig { learning_rate: rate, adamw, sample, .. } = config;
    let (held_back, clip) = (config.held_back, config.clip);

    require(held_back > 0.0 && held_back <= 0.5, "held_back", &held_back, "above 0 and at most 0.5");
    require((1..=1_000_000_000).contains(&config.steps), "steps", &config.steps, "from 1 to 1000000000");
    require((1..=65_536).contains(&config.batch), "batch", &config.batch, "from 1 to 65536");
    require((1..=65_536).contains(&config.accumulate), "accumulate", &config.accumulate, "from 1 to 65536");
    require((1..=1_048_576).contains(&config.context), "context", &config.context, "from 1 to 1048576");
    require(clip >= 0.0 && clip.is_finite(), "clip", &clip, "0 (no clipping) or a positive number");
    require(config.log_every >= 1, "log_every", &config.log_every, "at least 1");
    require(!is_empty(&config.out), "out", &"empty", "the path of a folder");
    for (key, path) in [
        ("model_file", &config.model_file),
        ("cell_file", &config.cell_file),
        ("text", &config.text),
        ("tokenizer", &config.tokenizer),
    ] {
        require(!path.as_deref().is_some_and(is_empty), key, &"empty", "the path of a file, or absent");
    }

    let end = config.document_end.as_deref();
    require(end != Some(""), "document_end", &"empty", "the text that ends a document, or absent");

    let last = rate.decay_until.unwrap_or(config.steps);
    let last_name = if rate.decay_until.is_some() { "learning_rate.decay_until" } else { "steps" };
    require(rate.max > 0.0 && rate.max <= 100.0, "learning_rate.max", &rate.max, "above 0 and at most 100");
    require(
        (0.0..=1.0).contains(&rate.min_factor),
        "learning_rate.min_factor",
        &rate.min_factor,
        "from 0 to 1",
    );
    let allowed = format!("at most `{last_name}`, which is {last}");
    let warmup = config.schedule().warmup;
    require(warmup <= last, "learning_rate.warmup", &warmup, &allowed);

    require((0.0..1.0).contains(&adamw.beta1), "adamw.beta1", &adamw.beta1, "at least 0 and below 1");
    require((0.0..1.0).contains(&adamw.beta2), "adamw.beta2", &adamw.beta2, "at least 0 and below 1");
    let epsilon = adamw.epsilon;
    require(epsilon > 0.0 && epsilon <= 1.0, "adamw.epsilon", &epsilon, "above 0 and at most 1");
    let decay = adamw.weight_decay;
    // From rate * decay = 1 on, a step would turn weights around instead of shrinking them.
    let shrinks = decay >= 0.0 && decay * rate.max < 1.0;
    require(shrinks, "adamw.weight_decay", &decay, "at least 0, and below 1 / learning_rate.max");

    let temperature = sample.temperature;
    let usable = temperature >= 0.0 && temperature.is_finite();
    require(usable, "sample.temperature", &temperature, "0 (most likely token) or a positive number");
    require(
        sample.top_p > 0.0 && sample.top_p <= 1.0,
        "sample.top_p",
        &sample.top_p,
        "above 0 and at most 1",
    );
    require(
        !sample.prompt.is_empty() || sample.length == 0,
        "sample.prompt",
        &"empty",
        "at least one character",
    );

    for (holds, key) in [
        (config.text.is_none(), "text"),
        (config.tokenizer.is_none(), "tokenizer"),
        (config.document_end.is_none(), "document_end"),
        (!config.carry, "carry"),
    ] {
        require(config.task.is_none() || holds, key, &"set", "absent where a task is learned");
    }
    for (name, value) in &config.model {
        require(value.is_finite(), &format!("model.{name}"), &"infinite or not a number", "finite");
    }
    problems.extend(config.task.iter().flat_map(|task| task.problems(config.context)));
    problems
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}
