//! Metrics of a run as JSON lines, beside the checkpoint.
//!
//! Invariant: steps never decrease, also after any number of resumes: resuming drops the lines that the resumed run
//! will write again, so the file reads as one run. A line is in the file as soon as it has been recorded.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One line. A number that is not finite is written as `null`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Metric {
    /// Training since the last such line.
    Training {
        /// Updates that have been made.
        step: u64,
        /// Mean loss in nats a token.
        loss: f64,
        /// The same in bits a byte, of a text.
        #[serde(skip_serializing_if = "Option::is_none")]
        bits_per_byte: Option<f64>,
        /// Learning rate of the last update.
        learning_rate: f64,
        /// Norm of the last gradient before clipping, if it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        gradient_norm: Option<f64>,
        /// Speed.
        tokens_per_second: f64,
    },
    /// Loss on held-back text, or on the test of a task.
    Validation {
        /// Updates that have been made.
        step: u64,
        /// Mean loss in nats a token.
        loss: f64,
        /// The same in bits a byte, of a text.
        #[serde(skip_serializing_if = "Option::is_none")]
        bits_per_byte: Option<f64>,
        /// Tokens that were predicted.
        tokens: u64,
        /// The part of them that was predicted rightly, of a task.
        #[serde(skip_serializing_if = "Option::is_none")]
        accuracy: Option<f64>,
    },
}

/// Why metrics cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The system refused.
    #[error("cannot {action} the metrics {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is no metric.
    #[error("{}:{line}: {message}; move the file away to resume without the lines so far", path.display())]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
}

/// An open file of metrics.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

/// All that resuming needs to know of a line.
#[derive(Deserialize)]
struct StepOf {
    step: u64,
}

impl MetricsFile {
    /// Begins a new file, in place of an old one.
    pub fn create(path: &Path) -> Result<MetricsFile, MetricsError> {
        let file = File::create(path).map_err(error("create", path))?;
        Ok(MetricsFile { path: path.into(), file })
    }

    /// Continues the file of a run that goes on after `step` updates; a file that is not there is begun.
    pub fn resume(path: &Path, step: u64) -> Result<MetricsFile, MetricsError> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return MetricsFile::create(path),
            read => read.map_err(error("read", path))?,
        };
        let kept = kept_length(&bytes, step).map_err(|(line, message)| MetricsError::Malformed {
            path: path.into(),
            line,
            message,
        })?;
        let file = OpenOptions::new().append(true).open(path).map_err(error("open", path))?;
        file.set_len(kept as u64).map_err(error("shorten", path))?;
        Ok(MetricsFile { path: path.into(), file })
    }

    /// Appends a line.
    pub fn record(&mut self, metric: &Metric) -> Result<(), MetricsError> {
        let written = serde_json::to_string(metric).map_err(io::Error::from).and_then(|mut line| {
            line.push('\n');
            // One call, so that a crash leaves at most one line incomplete.
            self.file.write_all(line.as_bytes())?;
            self.file.flush()
        });
        written.map_err(error("write", &self.path))
    }
}

fn error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MetricsError {
    move |source| MetricsError::Io { action, path: path.into(), source }
}

/// Length of the whole lines up to the first one after `step`; or which line is wrong, and how.
fn kept_length(bytes: &[u8], step: u64) -> Result<usize, (usize, String)> {
    let mut kept = 0;
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        // An incomplete line is the last one of a run that was cut short.
        if !line.ends_with(b"\n") {
            break;
        }
        let metric: StepOf = serde_json::from_slice(line).map_err(|error| (index + 1, error.to_string()))?;
        if metric.step > step {
            break;
        }
        kept += line.len();
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validation(step: u64) -> Metric {
        Metric::Validation { step, loss: 1.5, bits_per_byte: Some(2.25), tokens: 64, accuracy: None }
    }

    fn training(step: u64) -> Metric {
        let (loss, bits_per_byte) = (f64::NAN, Some(2.0));
        Metric::Training {
            step,
            loss,
            bits_per_byte,
            learning_rate: 1e-3,
            gradient_norm: None,
            tokens_per_second: 9.0,
        }
    }

    #[test]
    fn a_resumed_file_reads_as_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut whole = MetricsFile::create(&path).unwrap();
        for step in 1..=6 {
            whole.record(&training(step)).unwrap();
            whole.record(&validation(step)).unwrap();
        }
        let uninterrupted = fs::read_to_string(&path).unwrap();

        // The crash came after a checkpoint at step 4, within the line of step 6.
        fs::write(&path, &uninterrupted.as_bytes()[..uninterrupted.len() - 10]).unwrap();
        let mut resumed = MetricsFile::resume(&path, 4).unwrap();
        for step in 5..=6 {
            resumed.record(&training(step)).unwrap();
            resumed.record(&validation(step)).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), uninterrupted);
    }

    #[test]
    fn lines_are_json_with_kind_and_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut file = MetricsFile::resume(&path, 9).unwrap();
        file.record(&validation(3)).unwrap();
        file.record(&training(4)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["kind"], &lines[0]["step"]), (&"validation".into(), &3.into()));
        assert_eq!((&lines[1]["kind"], &lines[1]["loss"]), (&"training".into(), &serde_json::Value::Null));
    }

    #[test]
    fn a_foreign_file_is_not_shortened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, "{\"step\":1}\nnotes\n").unwrap();
        let message = MetricsFile::resume(&path, 5).unwrap_err().to_string();
        assert!(message.contains("metrics.jsonl:2:"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"step\":1}\nnotes\n");
    }
}
