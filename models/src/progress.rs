//! Progress of a run on standard error: a bar on a terminal, plain lines elsewhere, or nothing.
//!
//! Invariant: standard output is never touched; it belongs to results. Speed is that of this process alone, so that
//! a resumed run does not count the time before.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    /// A bar that is drawn over and over.
    Bar,
    /// A line at each report.
    Lines,
    /// Nowhere.
    Silent,
}

impl Display {
    /// A bar if standard error is a terminal, else lines.
    pub fn detect() -> Display {
        if std::io::stderr().is_terminal() { Display::Bar } else { Display::Lines }
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Status {
    /// Updates that have been made, those before a resume included.
    pub step: u64,
    /// Updates in all.
    pub steps: u64,
    /// Loss in nats a token.
    pub loss: f64,
    /// The same in bits a byte, of a text.
    pub bits_per_byte: Option<f64>,
    /// Speed.
    pub tokens_per_second: f64,
    /// Time until the last update, if the speed is known.
    pub left: Option<Duration>,
}

/// The progress of one run.
#[derive(Debug)]
pub struct Progress {
    display: Display,
    bar: ProgressBar,
    /// What was reported, for the curve beside the bar.
    losses: RefCell<Vec<f64>>,
    start: Instant,
    first_step: u64,
    steps: u64,
    tokens_per_step: u64,
}

impl Progress {
    /// A run that goes from `first_step` updates to `steps`.
    pub fn new(display: Display, first_step: u64, steps: u64, tokens_per_step: u64) -> Progress {
        let bar = match display {
            Display::Bar => ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr()),
            Display::Lines | Display::Silent => ProgressBar::hidden(),
        };
        let style =
            ProgressStyle::with_template("{bar:24} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_position(first_step);
        let (start, losses) = (Instant::now(), RefCell::default());
        Progress { display, bar, losses, start, first_step, steps, tokens_per_step }
    }

    /// Shows how far the run is; returns what it shows.
    pub fn report(&self, step: u64, loss: f64, bits_per_byte: Option<f64>) -> Status {
        let (tokens_per_second, left) = self.pace(step, self.start.elapsed());
        let status = Status { step, steps: self.steps, loss, bits_per_byte, tokens_per_second, left };
        match self.display {
            Display::Bar => {
                self.losses.borrow_mut().push(loss);
                self.bar.set_position(step);
                self.bar.set_message(format!("{}  {}", curve(&self.losses.borrow()), line(&status)));
            }
            Display::Lines => tell(&line(&status)),
            Display::Silent => {}
        }
        status
    }

    /// Shows a line of its own, above the bar if there is one.
    pub fn say(&self, text: &str) {
        match self.display {
            Display::Bar => self.bar.suspend(|| tell(text)),
            Display::Lines => tell(text),
            Display::Silent => {}
        }
    }

    /// Leaves the bar as it is and goes on below it.
    pub fn finish(&self) {
        self.bar.abandon();
    }

    /// Tokens a second, and the time left.
    fn pace(&self, step: u64, elapsed: Duration) -> (f64, Option<Duration>) {
        let done = step.saturating_sub(self.first_step) as f64;
        let seconds = elapsed.as_secs_f64();
        if done == 0.0 || seconds == 0.0 {
            return (0.0, None);
        }
        let left = seconds / done * self.steps.saturating_sub(step) as f64;
        (done * self.tokens_per_step as f64 / seconds, Duration::try_from_secs_f64(left).ok())
    }
}

/// Writes a line to standard error. A reader that has gone away is no reason to stop a run.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// One line about the status.
pub fn line(status: &Status) -> String {
    let Status { step, steps, loss, bits_per_byte, tokens_per_second, left } = status;
    let left = left.map_or("-".into(), clock);
    let width = steps.to_string().len();
    let bits = bits_per_byte.map_or(String::new(), |bits| format!("  {bits:.3} bits/byte"));
    format!(
        "step {step:>width$}/{steps}  loss {loss:.4} nats{bits}  {tokens_per_second:.0} tokens/s  {left} left"
    )
}

/// A curve of all losses in a few characters, each the mean of its part of them, from the lowest to the highest.
fn curve(losses: &[f64]) -> String {
    const WIDTH: usize = 24;
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let width = losses.len().min(WIDTH);
    let part = |at: usize| &losses[at * losses.len() / width..(at + 1) * losses.len() / width];
    let means: Vec<f64> =
        (0..width).map(part).map(|part| part.iter().sum::<f64>() / part.len() as f64).collect();
    let lowest = means.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let last = (HEIGHTS.len() - 1) as f64;
    let height = |mean: &f64| {
        let part = (mean - lowest) / (highest - lowest);
        // All the same, or no numbers, are low.
        HEIGHTS[(part * last).round().clamp(0.0, last) as usize]
    };
    means.iter().map(height).collect()
}

/// Hours, minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_counts_this_process_only() {
        let progress = Progress::new(Display::Silent, 100, 300, 50);
        let (speed, left) = progress.pace(150, Duration::from_secs(10));
        assert_eq!((speed, left), (250.0, Some(Duration::from_secs(30))));
        assert_eq!(progress.pace(100, Duration::from_secs(10)), (0.0, None));
        assert_eq!(progress.pace(300, Duration::from_secs(10)).1, Some(Duration::ZERO));
    }

    #[test]
    fn curves_go_from_the_lowest_to_the_highest() {
        assert_eq!(curve(&[]), "");
        assert_eq!(curve(&[3.0, 3.0]), "▁▁");
        assert_eq!(curve(&[7.0, 3.5, 0.0]), "█▅▁");
        let long: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(curve(&long).chars().count(), 24);
        assert!(curve(&long).starts_with('▁') && curve(&long).ends_with('█'));
        assert_eq!(curve(&[f64::NAN, 1.0]).chars().count(), 2);
    }

    #[test]
    fn lines_say_everything() {
        let left = Some(Duration::from_secs(3723));
        let (bits_per_byte, tokens_per_second) = (Some(2.885), 12345.6);
        let status = Status { step: 7, steps: 600, loss: 2.0, bits_per_byte, tokens_per_second, left };
        assert_eq!(
            line(&status),
            "step   7/600  loss 2.0000 nats  2.885 bits/byte  12346 tokens/s  1:02:03 left"
        );
        assert!(line(&Status { left: None, ..status }).ends_with("- left"));
        assert!(!line(&Status { bits_per_byte: None, ..status }).contains("byte"));
        assert_eq!(clock(Duration::from_secs(65)), "1:05");
    }
}
