//! Reading a configuration: file, then overrides, then the ranges.
//!
//! Invariant: an error names its place: line and column of the file, or the override.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::TrainingConfig;
use super::validate::{Problem, problems};
use crate::presets;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "cannot read the configuration {}: {source}; give a file or one of {}",
        path.display(), presets::names().collect::<Vec<_>>().join(", ")
    )]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not the TOML that is wanted.
    #[error("{origin}:{line}:{column}: {message}")]
    Malformed {
        /// Path of the file.
        origin: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// An override is not `key=value`, or its key or value does not fit.
    #[error("`--set {assignment}`: {message}")]
    Override {
        /// The override as given.
        assignment: String,
        /// What is wrong with it.
        message: String,
    },
    /// Values outside their range: all of them.
    #[error("the configuration is not valid:{}", list(.0))]
    Invalid(
        /// What is wrong.
        Vec<Problem>,
    ),
}

fn list(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |mut text, problem| {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {problem}");
        text
    })
}

impl TrainingConfig {
    /// Reads a file, or the preset of that name, or starts from the defaults; then applies overrides `key=value` in their order.
    pub fn load(file: Option<&Path>, overrides: &[String]) -> Result<TrainingConfig, ConfigError> {
        let Some(path) = file else { return TrainingConfig::parse("", "defaults", overrides) };
        let preset = path.to_str().filter(|_| !path.exists()).and_then(presets::preset);
        if let Some(text) = preset {
            return TrainingConfig::parse(text, &path.display().to_string(), overrides);
        }
        let text = fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
        TrainingConfig::parse(&text, &path.display().to_string(), overrides)
    }

    /// The same from TOML text; `origin` stands for it in messages.
    pub fn parse(text: &str, origin: &str, overrides: &[String]) -> Result<TrainingConfig, ConfigError> {
        let malformed = |error: toml::de::Error| {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            ConfigError::Malformed { origin: origin.into(), line, column, message: error.message().into() }
        };
        // Straight from the text first: only so do errors know their place.
        let mut config: TrainingConfig = toml::from_str(text).map_err(malformed)?;
        let mut table: Table = toml::from_str(text).map_err(malformed)?;
        for assignment in overrides {
            let failed = |message: String| ConfigError::Override { assignment: assignment.clone(), message };
            assign(&mut table, assignment).map_err(failed)?;
            // After each one, so that the error is this override's.
            config =
                table.clone().try_into().map_err(|error: toml::de::Error| failed(error.message().into()))?;
        }
        config.validated()
    }

    /// The configuration itself if every value is in its range.
    pub fn validated(self) -> Result<TrainingConfig, ConfigError> {
        let problems = problems(&self);
        if problems.is_empty() { Ok(self) } else { Err(ConfigError::Invalid(problems)) }
    }
}

/// Line and column, both from 1, of a byte of a text.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Sets `dotted.key=value` in a table, making tables on the way.
fn assign(table: &mut Table, assignment: &str) -> Result<(), String> {
    let (key, text) = assignment.split_once('=').ok_or("write it as key=value, for example steps=100")?;
    let mut path: Vec<&str> = key.split('.').map(str::trim).collect();
    if path.iter().any(|part| part.is_empty()) {
        return Err("the key has an empty part; write for example learning_rate.max=0.001".into());
    }
    let last = path.pop().ok_or("the key is empty")?;
    let mut place = table;
    for part in path {
        let entry = place.entry(part).or_insert_with(|| Value::Table(Table::new()));
        place = entry.as_table_mut().ok_or_else(|| format!("`{part}` is a single value and has no parts"))?;
    }
    place.insert(last.into(), value(text.trim()));
    Ok(())
}

/// A TOML value; what is none is text, so that paths need no quotes.
fn value(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok();
    let single = parsed.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    single.unwrap_or_else(|| Value::String(text.into()))
}

#[cfg(test)]
mod tests {
    use super::super::ParameterValue;
    use super::*;

    fn parse(text: &str, overrides: &[&str]) -> Result<TrainingConfig, ConfigError> {
        TrainingConfig::parse(text, "run.toml", &overrides.iter().map(|s| (*s).into()).collect::<Vec<_>>())
    }

    fn message(text: &str, overrides: &[&str]) -> String {
        parse(text, overrides).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(parse("", &[]).unwrap(), TrainingConfig::default());
    }

    #[test]
    fn file_then_overrides_in_order() {
        let text = "steps = 100\nbatch = 2\n[learning_rate]\nmax = 0.01\n[model]\ndim = 64\nlayers = [1, 0]\nf = \"x\"\n";
        let config = parse(
            text,
            &["steps=70", "learning_rate.warmup=7", "model.tied=true", "text=a b.txt", "steps=80"],
        )
        .unwrap();
        assert_eq!((config.steps, config.batch), (80, 2));
        assert_eq!((config.learning_rate.max, config.learning_rate.warmup), (0.01, Some(7)));
        assert_eq!(config.text, Some("a b.txt".into()));
        assert_eq!(config.model["tied"], ParameterValue::Boolean(true));
        assert_eq!(config.model["dim"], ParameterValue::Integer(64));
        let list = vec![ParameterValue::Integer(1), ParameterValue::Integer(0)];
        assert_eq!(config.model["layers"], ParameterValue::List(list));
        assert_eq!(config.model["f"], ParameterValue::Text("x".into()));
        assert_eq!(config.schedule().decay_until, 80);
    }

    #[test]
    fn survives_toml_and_json_exactly() {
        let set = [
            "learning_rate.max=0.1234567890123456789",
            "model.a=[1, 2.0, \"x\"]",
            "learning_rate.decay_until=500",
        ];
        let config = parse("", &set).unwrap();
        assert_eq!(parse(&toml::to_string(&config).unwrap(), &[]).unwrap(), config);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<TrainingConfig>(&json).unwrap(), config);
    }

    #[test]
    fn malformed_files_give_the_place() {
        let cases = [
            ("steps = 10\nbatch = = 3\n", "run.toml:2:9"),
            ("steps = 10\nbatch = \"many\"\n", "run.toml:2:9"),
            ("steps = 10\nstesp = 3\n", "run.toml:2:1"),
            ("[learning_rate]\n  maximum = 3\n", "run.toml:2:3"),
            ("seed = -1\n", "run.toml:1:8"),
            ("[model]\nborn = 1999-01-01\n", "run.toml:2:8"),
        ];
        for (text, place) in cases {
            assert!(message(text, &[]).starts_with(place), "{place}: {}", message(text, &[]));
        }
        assert!(message("stesp = 3", &[]).contains("`steps`"));
    }

    #[test]
    fn bad_overrides_are_named() {
        for (assignment, part) in [
            ("steps", "key=value"),
            ("steps=many", "--set steps=many"),
            ("learning_rate..max=1", "empty part"),
            ("=1", "empty part"),
            ("nonsense=1", "unknown field"),
        ] {
            let message = message("", &["batch=3", assignment]);
            assert!(message.contains(part) && message.contains(assignment), "{message}");
        }
        assert!(message("steps = 5", &["steps.x=1"]).contains("has no parts"));
    }

    #[test]
    fn every_value_outside_its_range_is_named() {
        let set = ["batch=0", "held_back=0.9", "learning_rate.max=nan", "adamw.beta2=1.0", "model.x=inf"];
        let message = message("", &set);
        for part in [
            "`batch` is 0; it must be from 1 to 65536",
            "`held_back` is 0.9",
            "`learning_rate.max` is NaN",
            "`adamw.beta2` is 1;",
            "`model.x`",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }

    #[test]
    fn warmup_must_end_before_the_decay() {
        assert!(
            message("steps = 20", &["learning_rate.warmup=50"])
                .contains("`learning_rate.warmup` is 50; it must be at most `steps`")
        );
        assert!(parse("steps = 20", &["learning_rate.warmup=20"]).is_ok());
        assert_eq!(parse("steps = 20", &[]).unwrap().schedule().warmup, 2);
    }
}
