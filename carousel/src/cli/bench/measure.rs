//! Repeating a case and telling its numbers, to people or as one JSON object.
//!
//! Wall time is what a user waits; processor time, of all threads together, is what remains comparable while other
//! programs run.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;

use super::Common;
use crate::cli::common::{Failure, tell};

/// How long one run took.
#[derive(Clone, Copy)]
pub(super) struct Time {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
}

/// What a case reports beside its times.
pub(super) struct Report {
    pub(super) case: &'static str,
    pub(super) form: String,
    pub(super) tokens: u64,
    pub(super) flops: f64,
    /// Bytes of inputs and outputs; 0 where they are not counted.
    pub(super) bytes: f64,
    pub(super) bytes_peak: u64,
    pub(super) compile_seconds: f64,
    pub(super) times: Vec<Time>,
}

/// One run to warm up, then as many as were asked for, or until two seconds have gone by.
pub(super) fn repeat(
    common: &Common,
    mut once: impl FnMut() -> Result<(), Failure>,
) -> Result<Vec<Time>, Failure> {
    once()?;
    let (mut times, started) = (Vec::new(), Instant::now());
    let is_enough = |times: &[Time]| match common.repeat {
        Some(n) => times.len() >= n.max(1),
        None => !times.is_empty() && started.elapsed() > Duration::from_secs(2),
    };
    while !is_enough(&times) {
        let (wall, cpu) = (Instant::now(), ProcessTime::now());
        once()?;
        times.push(Time { wall: wall.elapsed(), cpu: cpu.elapsed() });
    }
    Ok(times)
}

/// The smallest and the middle one.
fn spread(times: &[Time], of: impl Fn(&Time) -> Duration) -> (f64, f64) {
    let mut seconds: Vec<f64> = times.iter().map(|t| of(t).as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    (seconds[0], seconds[seconds.len() / 2])
}

/// The most memory that the process ever had in use, where the system tells.
fn resident_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

impl Report {
    /// Processor seconds of the fastest run.
    pub(super) fn cpu_seconds(&self) -> f64 {
        spread(&self.times, |t| t.cpu).0
    }
}

pub(super) fn report(common: &Common, r: &Report) -> Result<(), Failure> {
    let (min, median) = spread(&r.times, |t| t.wall);
    let (cpu_min, cpu_median) = spread(&r.times, |t| t.cpu);
    let runs = r.times.len();
    let threads = common.threads();
    if common.json {
        let object = serde_json::json!({
            "case": r.case, "form": r.form, "threads": threads,
            "seconds": { "min": min, "median": median, "runs": runs },
            "cpu_seconds": { "min": cpu_min, "median": cpu_median },
            "tokens_per_second": r.tokens as f64 / median,
            "gflops": r.flops / median / 1e9,
            "gigabytes_per_second": r.bytes / median / 1e9,
            "bytes_peak": r.bytes_peak,
            "resident_bytes_peak": resident_peak(),
            "compile_seconds": r.compile_seconds,
        });
        return tell(&format!("{object}\n"));
    }
    let rates = [
        (r.tokens as f64 / median, "tokens/s", 0),
        (r.flops / median / 1e9, "GFLOP/s", 1),
        (r.bytes / median / 1e9, "GB/s", 1),
    ];
    let rates: Vec<String> = rates
        .iter()
        .filter(|(rate, ..)| *rate > 0.0)
        .map(|(rate, unit, digits)| format!("{rate:.digits$} {unit}, "))
        .collect();
    tell(&format!(
        "{} ({}, {threads} threads): {:.3} ms median, {:.3} ms min over {runs} runs ({:.3} ms of processor time); {}\
         {:.1} MiB peak, compiled in {:.2} s\n",
        r.case,
        r.form,
        median * 1e3,
        min * 1e3,
        cpu_min * 1e3,
        rates.concat(),
        r.bytes_peak as f64 / f64::from(1 << 20),
        r.compile_seconds
    ))
}
