//! `carousel check`.

use std::path::PathBuf;

use carousel_ir::text::Options;
use carousel_ir::{Diagnostic, Severity};
use carousel_models::compile::PassOptions;

use carousel::gradcheck::{GradcheckError, gradcheck};

use super::common::{Failure, ProgramOptions, RuleOptions, remark, render_style, tell};
use super::source::Source;

/// Parse and verify files.
#[derive(clap::Args)]
#[command(
    after_help = "Recurrences that can overflow, and cannot be made free of that, get a warning.\nExample:\n  \
                        carousel check models/xl/cells/mlstm.xl\n  \
                        carousel check models/xl/cells/slstm.xl --grad --fn slstm"
)]
pub(super) struct Arguments {
    /// The files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Compare the gradients of a function with finite differences.
    #[arg(long, requires = "function")]
    grad: bool,
    /// The function for --grad.
    #[arg(long = "fn", value_name = "NAME")]
    function: Option<String>,
    /// Refuse programs with recurrences that can overflow, instead of warning of them.
    #[arg(long)]
    deny_overflow: bool,
    #[command(flatten)]
    program: ProgramOptions,
    #[command(flatten)]
    rules: RuleOptions,
}

/// Relative disagreement above which a gradient is wrong: differences of fourth order in f64 are far better.
const TOLERANCE: f64 = 1e-6;

/// What to do about a recurrence that can overflow.
const HELP: &str = "bound the gate (`sigmoid`, or `exp` of what is at most 0), or let outputs be quotients or logarithms \
                    of such states: those are carried with a scale; `carousel explain` says more";

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let passes = arguments.rules.passes()?;
    let mut worst = None;
    for path in &arguments.files {
        let result = Source::read(path).and_then(|source| {
            let mut diagnostics = source.problems();
            if diagnostics.iter().all(|d| d.severity != Severity::Error) {
                let severity = if arguments.deny_overflow { Severity::Error } else { Severity::Warning };
                diagnostics.extend(overflows(&source, &passes, severity));
            }
            if diagnostics.iter().any(|d| d.severity == Severity::Error) {
                return Err(source.failed(diagnostics));
            }
            remark(&source.sources().render(&diagnostics, render_style()));
            match &arguments.function {
                Some(function) if arguments.grad => check_gradient(&source, function, &arguments.program),
                Some(_) | None => Ok(()),
            }
        });
        match result {
            Ok(()) => tell(&format!("{}: ok\n", path.display()))?,
            // Every file is checked; the last failure is reported at the end, the others as they come.
            Err(failure) => {
                if let Some(previous) = worst.replace(failure) {
                    Failure::report(previous);
                }
            }
        }
    }
    worst.map_or(Ok(()), Err)
}

/// The recurrences of the file's own functions that can overflow, and of those that they call.
fn overflows(source: &Source, passes: &PassOptions, severity: Severity) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    for function in source.own_functions() {
        // A function that must be given parameters is looked at where it is used.
        let options = Options::default();
        let Ok(module) = source.module(&[&function], &options) else { continue };
        let stable = passes.derived(&passes.simplified(&module).0).stable;
        for report in &stable.scans {
            for overflow in &report.overflowing {
                let place = if overflow.span.is_known() { overflow.span } else { report.place };
                let message =
                    format!("this recurrence can overflow: {}: `{}`", overflow.reason, overflow.term);
                let diagnostic = Diagnostic::warning("overflow", place, message).with_help(HELP);
                let diagnostic = Diagnostic { severity, ..diagnostic };
                if !found.contains(&diagnostic) {
                    found.push(diagnostic);
                }
            }
        }
    }
    found.sort_by_key(|d| d.span);
    found
}

fn check_gradient(source: &Source, function: &str, options: &ProgramOptions) -> Result<(), Failure> {
    let (module, root) = source.elaborated(function, &source.options(&[function], options, &[])?)?;
    let rows = gradcheck(&module, root, 0).map_err(|error| match error {
        GradcheckError::Gradient(diagnostics) => source.failed(diagnostics),
        GradcheckError::Evaluation(error) => Failure::work(error),
    })?;
    let mut wrong = Vec::new();
    for row in rows {
        // Not `error > TOLERANCE`: NaN is wrong too.
        let is_right = row.error <= TOLERANCE;
        let verdict = if is_right { "ok" } else { "WRONG" };
        tell(&format!(
            "grad.{}: {verdict}, reverse {:e}, difference {:e}, error {:.1e}\n",
            row.input, row.reverse, row.difference, row.error
        ))?;
        if !is_right {
            wrong.push(row.input);
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::Work(format!(
        "gradients of `{function}` disagree with finite differences: {}",
        wrong.join(", ")
    )))
}
