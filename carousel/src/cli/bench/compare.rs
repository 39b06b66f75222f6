//! `carousel bench compare`: what we reach of what the machine can do.
//!
//! The limit of a case is the longer of its arithmetic at the peak rate and its bytes at the rate of the level of memory
//! that they fit, both measured just before. Processor time is compared, with one thread unless asked otherwise.

use carousel_cpu::limits::Limits;

use super::measure::Report;
use super::pieces::{self, Layout};
use super::{Common, Pass, mlstm, slstm};
use crate::cli::common::{Failure, tell};

/// Several cases beside the limits of this computer.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  carousel bench compare --threads 1")]
pub(super) struct Arguments {
    /// Steps of the recurrent cases.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    seq: u64,
    #[command(flatten)]
    common: Common,
}

/// A case and what it needs at least.
struct Row {
    what: String,
    report: Report,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { seq, common } = arguments;
    let threads = common.threads();
    let limits = Limits::measure(threads);
    let mut rows = Vec::new();
    for [m, n, k] in [[64, 64, 64], [16, 64, 64], [1024, 1024, 1024]] {
        let report = pieces::gemm([m, n, k], Layout::Nn, common)?;
        rows.push(row(format!("gemm {m} x {n} x {k}"), report));
    }
    for elements in [1 << 14, 1 << 22] {
        rows.push(row(format!("pointwise {elements} x 10"), pieces::pointwise(elements, 10, 5, common)?));
    }
    for pass in [Pass::Fwd, Pass::Fwdbwd] {
        for dim in [64, 128] {
            let report = mlstm([1, 4, *seq, dim, dim], pass, common)?;
            rows.push(row(format!("mlstm s {seq} d {dim} {}", pass.name()), report));
        }
        for (batch, dim) in [(1, 64), (16, 64), (16, 128)] {
            let report = slstm([batch, 4, *seq, dim], pass, common)?;
            rows.push(row(format!("slstm b {batch} s {seq} d {dim} {}", pass.name()), report));
        }
    }
    if common.json { json(&limits, threads, &rows) } else { table(&limits, threads, &rows) }
}

fn row(what: String, report: Report) -> Row {
    Row { what, report }
}

impl Row {
    /// Seconds, with all threads at work, below which no program can stay, and what sets them.
    fn floor(&self, limits: &Limits) -> (f64, &'static str) {
        let (arithmetic, memory) =
            (self.report.flops / limits.flops, self.report.bytes / limits.rate(self.report.bytes));
        if arithmetic >= memory { (arithmetic, "arithmetic") } else { (memory, "memory") }
    }

    /// Seconds of the fastest run: of processors, shared among the threads.
    fn seconds(&self, threads: usize) -> f64 {
        self.report.cpu_seconds() / threads as f64
    }
}

fn table(limits: &Limits, threads: usize, rows: &[Row]) -> Result<(), Failure> {
    let mut text = format!("limits of {threads} threads: {:.0} GFLOP/s", limits.flops / 1e9);
    for level in &limits.levels {
        text += &format!(", {} {:.0} GB/s", level.name, level.rate / 1e9);
    }
    text += &format!("\n{:<32} {:>10} {:>10} {:>9}  set by\n", "case", "ms", "limit ms", "of limit");
    for row in rows {
        let ((floor, by), seconds) = (row.floor(limits), row.seconds(threads));
        let (ms, limit, share) = (seconds * 1e3, floor * 1e3, 100.0 * floor / seconds);
        text += &format!("{:<32} {ms:>10.4} {limit:>10.4} {share:>8.1}%  {by}\n", row.what);
    }
    tell(&text)
}

fn json(limits: &Limits, threads: usize, rows: &[Row]) -> Result<(), Failure> {
    let levels =
        limits.levels.iter().map(|l| serde_json::json!({ "name": l.name, "bytes": l.bytes, "rate": l.rate }));
    let cases = rows.iter().map(|row| {
        let (floor, by) = row.floor(limits);
        serde_json::json!({
            "case": row.what, "form": row.report.form, "seconds": row.seconds(threads),
            "limit_seconds": floor, "limit_by": by, "of_limit": floor / row.seconds(threads),
            "bytes_peak": row.report.bytes_peak,
        })
    });
    let object = serde_json::json!({
        "case": "compare", "threads": threads, "flops": limits.flops,
        "levels": levels.collect::<Vec<_>>(), "cases": cases.collect::<Vec<_>>(),
    });
    tell(&format!("{object}\n"))
}
