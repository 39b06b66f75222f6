//! The directives of a file test.
//!
//! Invariant: a line that looks like a directive is one, or the file is refused; none is passed over.

use super::literal::{Call, call};
use super::options::Settings;
use super::stages::Stage;

/// A file with what must come of it.
pub(super) struct FileTest {
    pub(super) name: String,
    pub(super) text: String,
    /// Texts of stages.
    pub(super) runs: Vec<Run>,
    /// Lines, from 1, with what is said about them.
    pub(super) errors: Vec<(usize, String)>,
    pub(super) evaluations: Vec<Evaluation>,
    pub(super) gradients: Vec<GradientCheck>,
}

/// `// RUN: ..`.
pub(super) struct Run {
    pub(super) line: usize,
    pub(super) stage: Stage,
    pub(super) settings: Settings,
}

/// `// EVAL: ..` or `// VJP: ..`.
pub(super) struct Evaluation {
    pub(super) line: usize,
    pub(super) what: Evaluated,
    pub(super) call: Call,
    pub(super) settings: Settings,
}

/// What is evaluated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Evaluated {
    /// The function.
    Function,
    /// Its vector-Jacobian product.
    Gradient,
}

/// `// GRADCHECK: ..`.
pub(super) struct GradientCheck {
    pub(super) line: usize,
    pub(super) function: String,
    pub(super) settings: Settings,
}

impl FileTest {
    /// Reads the directives.
    pub(super) fn parse(name: &str, text: &str) -> Result<FileTest, String> {
        let mut test = FileTest {
            name: name.to_string(),
            text: text.to_string(),
            runs: Vec::new(),
            errors: Vec::new(),
            evaluations: Vec::new(),
            gradients: Vec::new(),
        };
        let mut shared: Vec<&str> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            test.line(at + 1, line, &mut shared).map_err(|why| format!("{name}:{}: {why}", at + 1))?;
        }
        Ok(test)
    }

    /// Whether it asks for nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
            && self.errors.is_empty()
            && self.evaluations.is_empty()
            && self.gradients.is_empty()
    }

    fn line<'t>(&mut self, at: usize, line: &'t str, shared: &mut Vec<&'t str>) -> Result<(), String> {
        if line.starts_with("//|") {
            return Ok(());
        }
        let mut parts = line.split("// ERROR:");
        parts.next();
        self.errors.extend(parts.map(|what| (at, what.trim().to_string())));
        let Some((word, rest)) = line.strip_prefix("// ").and_then(|l| l.split_once(':')) else {
            return Ok(());
        };
        // Ordinary comments with a colon do not begin with a word in capitals.
        if word.is_empty() || !word.chars().all(|c| c.is_ascii_uppercase()) || word == "ERROR" {
            return Ok(());
        }
        let settings =
            |words: &'t str| Settings::parse(shared.iter().copied().chain(words.split_whitespace()));
        let first = |text: &'t str| -> Result<(&'t str, &'t str), String> {
            let text = text.trim();
            if text.is_empty() {
                Err("nothing follows the colon".to_string())
            } else {
                Ok(text.split_once(' ').unwrap_or((text, "")))
            }
        };
        match word {
            "WITH" => shared.extend(rest.split_whitespace()),
            "RUN" => {
                let (stage, words) = first(rest)?;
                self.runs.push(Run { line: at, stage: Stage::parse(stage)?, settings: settings(words)? });
            }
            "EVAL" | "VJP" => {
                let what = if word == "EVAL" { Evaluated::Function } else { Evaluated::Gradient };
                let (call, words) = call(rest)?;
                self.evaluations.push(Evaluation { line: at, what, call, settings: settings(words)? });
            }
            "GRADCHECK" => {
                let (function, words) = first(rest)?;
                let function = function.to_string();
                self.gradients.push(GradientCheck { line: at, function, settings: settings(words)? });
            }
            other => return Err(format!("there is no directive `{other}`")),
        }
        Ok(())
    }
}
