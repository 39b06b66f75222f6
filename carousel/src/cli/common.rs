//! What the commands share: failures with their exit status, what is written where, options that many have.
//!
//! Invariant: a reader of standard output or standard error that goes away never makes the program panic.

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use carousel_ir::text::{ConfigValue, Failed};
use carousel_ir::{DType, RenderStyle, Severity};
use carousel_models::compile::Engine;
use clap::{Args, ValueEnum};

/// Why a command did not do its work.
pub(super) enum Failure {
    /// The work itself failed: status 1.
    Work(String),
    /// What it was given is wrong: status 2.
    Input(String),
    /// Messages about a program: status 2.
    Program(Failed),
    /// Nobody reads the results any more, as in `carousel print .. | head`: nothing is left to do, status 0.
    ReaderGone,
}

impl Failure {
    /// Bad input with this message.
    pub(super) fn input(error: impl std::fmt::Display) -> Failure {
        Failure::Input(error.to_string())
    }

    /// A failure of the work with this message.
    pub(super) fn work(error: impl std::fmt::Display) -> Failure {
        Failure::Work(error.to_string())
    }

    /// Tells it and gives the exit status.
    pub(super) fn report(self) -> ExitCode {
        match self {
            Failure::Work(message) => {
                remark(&format!("error: {message}\n"));
                ExitCode::from(1)
            }
            Failure::Input(message) => {
                remark(&format!("error: {message}\n"));
                ExitCode::from(2)
            }
            Failure::Program(failed) => {
                remark(&failed.sources.render(&failed.diagnostics, render_style()));
                let errors = failed.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
                remark(&format!("{errors} problem{}\n", if errors == 1 { "" } else { "s" }));
                ExitCode::from(2)
            }
            Failure::ReaderGone => ExitCode::SUCCESS,
        }
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Failure {
        Failure::Program(failed)
    }
}

/// Writes a result to standard output.
pub(super) fn tell(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| unwritten(&error))
}

/// Why a result is not on standard output.
pub(super) fn unwritten(error: &std::io::Error) -> Failure {
    if error.kind() == ErrorKind::BrokenPipe {
        return Failure::ReaderGone;
    }
    Failure::Work(format!("cannot write to standard output: {error}"))
}

/// Writes to standard error what is no result. If nobody reads it, the work goes on.
pub(super) fn remark(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Colour on a terminal, unless the user asks for none.
pub(super) fn render_style() -> RenderStyle {
    let plain = !std::io::stderr().is_terminal() || std::env::var_os("NO_COLOR").is_some();
    if plain { RenderStyle::Plain } else { RenderStyle::Colour }
}

/// What runs a program.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TargetName {
    /// Machine code.
    Cpu,
    /// The plain evaluator in f64.
    Reference,
}

/// Where a program runs.
#[derive(Args)]
pub(super) struct TargetOptions {
    /// What runs the program.
    #[arg(long, value_enum, default_value = "cpu")]
    pub(super) target: TargetName,
    /// Threads; all cores if not given. Results do not depend on it.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) threads: Option<u16>,
}

impl TargetOptions {
    /// The compiler for it.
    pub(super) fn engine(&self) -> Engine {
        match self.target {
            TargetName::Cpu => Engine::cpu(self.threads.map(usize::from)),
            TargetName::Reference => Engine::Reference,
        }
    }
}

/// What a program is specialised for.
#[derive(Args)]
pub(super) struct ProgramOptions {
    /// Sizes of axes and compile-time parameters, `dk=64,layers=2`; sizes that are not given stay dynamic.
    #[arg(long, value_name = "NAME=VALUE,..", value_delimiter = ',')]
    pub(super) bind: Vec<String>,
    /// The working dtype: f32, f64 or bf16.
    #[arg(long, default_value = "f32", value_parser = float_dtype)]
    pub(super) dtype: DType,
}

fn float_dtype(name: &str) -> Result<DType, String> {
    DType::parse(name).filter(|d| d.is_float()).ok_or_else(|| "expected f32, f64 or bf16".to_string())
}

impl ProgramOptions {
    /// What is bound, in order.
    pub(super) fn bindings(&self) -> Result<Vec<(&str, ConfigValue)>, Failure> {
        let parse = |binding| -> Result<(&str, ConfigValue), Failure> {
            let Some((name, value)) = str::split_once(binding, '=') else {
                return Err(Failure::Input(format!("--bind `{binding}`: expected NAME=VALUE")));
            };
            let (name, value) = (name.trim(), value.trim());
            let value = if let Ok(n) = value.parse::<i64>() {
                ConfigValue::Int(n)
            } else if let Ok(x) = value.parse::<f64>() {
                ConfigValue::Float(x)
            } else if let Ok(b) = value.parse::<bool>() {
                ConfigValue::Bool(b)
            } else {
                ConfigValue::Text(value.to_string())
            };
            Ok((name, value))
        };
        self.bind.iter().map(|binding| parse(binding.as_str())).collect()
    }
}
