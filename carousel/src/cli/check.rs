//! `carousel check`.

use std::path::PathBuf;

use carousel_ir::Severity;

use carousel::gradcheck::{GradcheckError, gradcheck};

use super::common::{Failure, ProgramOptions, remark, render_style, tell};
use super::source::Source;

/// Parse and verify files.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  carousel check models/xl/cells/mlstm.xl\n  \
                        carousel check models/xl/cells/slstm.xl --grad --fn slstm")]
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
    #[command(flatten)]
    program: ProgramOptions,
}

/// Relative disagreement above which a gradient is wrong: differences of fourth order in f64 are far better.
const TOLERANCE: f64 = 1e-6;

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut worst = None;
    for path in &arguments.files {
        let result = Source::read(path).and_then(|source| {
            let diagnostics = source.problems();
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
