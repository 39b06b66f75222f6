//! What a run records of itself: JSON lines, and the same numbers for TensorBoard.

use std::path::Path;

use super::METRICS_FILE;
use crate::metrics::{Metric, MetricsError, MetricsFile};
use crate::tensorboard::EventFile;

/// The open files.
#[derive(Debug)]
pub(super) struct Recorder {
    lines: MetricsFile,
    events: EventFile,
}

impl Recorder {
    /// Of a run that begins, in place of the lines of an old one.
    pub(super) fn create(folder: &Path) -> Result<Recorder, MetricsError> {
        Ok(Recorder { events: events(folder, 0)?, lines: MetricsFile::create(&folder.join(METRICS_FILE))? })
    }

    /// Of a run that goes on after `step` updates.
    pub(super) fn resume(folder: &Path, step: u64) -> Result<Recorder, MetricsError> {
        Ok(Recorder {
            lines: MetricsFile::resume(&folder.join(METRICS_FILE), step)?,
            events: events(folder, step)?,
        })
    }

    /// Appends a line, and an event.
    pub(super) fn record(&mut self, metric: &Metric) -> Result<(), MetricsError> {
        self.lines.record(metric)?;
        let written = match *metric {
            Metric::Training {
                step,
                loss,
                bits_per_byte,
                learning_rate,
                gradient_norm,
                tokens_per_second,
            } => {
                let mut values = vec![
                    ("train/loss", loss),
                    ("train/learning_rate", learning_rate),
                    ("train/tokens_per_second", tokens_per_second),
                ];
                values.extend(bits_per_byte.map(|bits| ("train/bits_per_byte", bits)));
                values.extend(gradient_norm.map(|norm| ("train/gradient_norm", norm)));
                self.events.scalars(step, &values)
            }
            Metric::Validation { step, loss, bits_per_byte, tokens: _, accuracy } => {
                let mut values = vec![("validation/loss", loss)];
                values.extend(bits_per_byte.map(|bits| ("validation/bits_per_byte", bits)));
                values.extend(accuracy.map(|accuracy| ("validation/accuracy", accuracy)));
                self.events.scalars(step, &values)
            }
        };
        let path = self.events.path().to_path_buf();
        written.map_err(|source| MetricsError::Io { action: "write", path, source })
    }
}

fn events(folder: &Path, step: u64) -> Result<EventFile, MetricsError> {
    let failed =
        |source| MetricsError::Io { action: "create", path: folder.join("events.out.tfevents"), source };
    EventFile::create(folder, step).map_err(failed)
}
