//! What the commands share: failures with their exit status, what is written where, options that many have.
//!
//! Invariant: a reader of standard output or standard error that goes away never makes the program panic.

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use carousel_core::cost::Machine;
use carousel_cuda::{CudaBackend, Driver, emulated};
use carousel_ir::text::{ConfigValue, Failed};
use carousel_ir::{DType, RenderStyle, Severity, Sources};
use carousel_models::compile::{Engine, PassOptions};
use carousel_models::trials;
use carousel_passes::forms::Wanted;
use carousel_passes::{RuleSets, Tag};
use clap::{Args, ValueEnum};

use super::forms::FormArguments;

/// Exit status of a command that Ctrl-C ended: 128 and the number of the signal.
pub(super) const INTERRUPTED: i32 = 130;

/// Why a command did not do its work.
pub(super) enum Failure {
    /// The work itself failed: status 1.
    Work(String),
    /// What it was given is wrong: status 2.
    Input(String),
    /// Messages about a program: status 2.
    Program(Failed),
    /// It was stopped by a signal, and has saved what there is: the status that shells know for it.
    Stopped(String),
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
            Failure::Stopped(message) => {
                remark(&format!("{message}\n"));
                ExitCode::from(INTERRUPTED as u8)
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

/// Colour on a terminal, unless the user asks for none: for what goes to standard error.
pub(super) fn render_style() -> RenderStyle {
    style(&std::io::stderr())
}

/// The same for what goes to standard output.
pub(super) fn output_style() -> RenderStyle {
    style(&std::io::stdout())
}

fn style(stream: &impl IsTerminal) -> RenderStyle {
    let plain = !stream.is_terminal() || std::env::var_os("NO_COLOR").is_some();
    if plain { RenderStyle::Plain } else { RenderStyle::Colour }
}

/// What runs a program.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TargetName {
    /// Machine code.
    Cpu,
    /// The plain evaluator in f64.
    Reference,
    /// Kernels on a GPU, or on an emulated one.
    Cuda,
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
    /// Instead of a GPU, a device that is emulated and checks what it runs; with `--target cuda`.
    #[arg(long)]
    emulate: bool,
    #[command(flatten)]
    rules: RuleOptions,
    #[command(flatten)]
    forms: FormArguments,
}

impl TargetOptions {
    /// The compiler for it, where dynamic sizes are likely to have these values.
    pub(super) fn engine(&self, likely: &[(&str, u64)]) -> Result<Engine, Failure> {
        let machine =
            if self.target == TargetName::Cuda { carousel_cuda::machine() } else { Machine::default() };
        let forms = self.forms.options(machine)?.expecting(likely.iter().copied());
        if self.emulate && self.target != TargetName::Cuda {
            return Err(Failure::Input(
                "--emulate: there is an emulated device for --target cuda only".to_string(),
            ));
        }
        let engine = match self.target {
            TargetName::Cpu => Engine::cpu(self.threads.map(usize::from)),
            TargetName::Reference if self.forms.form != Wanted::Any => {
                let message =
                    "--form: the reference evaluates the equations as they stand; forms are for --target cpu";
                return Err(Failure::Input(message.to_string()));
            }
            TargetName::Reference => Engine::reference(),
            TargetName::Cuda => Engine::on(Box::new(self.cuda()?)),
        };
        Ok(engine.with_passes(self.rules.passes()?).with_forms(forms))
    }

    /// Whether kernels run on the emulated device.
    pub(super) fn is_emulated(&self) -> bool {
        self.emulate
    }

    fn cuda(&self) -> Result<CudaBackend, Failure> {
        let backend = if self.emulate { emulated::backend() } else { CudaBackend::open(&Driver::System) };
        backend.map_err(Failure::work)
    }
}

/// Rules beside those of the compiler.
#[derive(Args)]
pub(super) struct RuleOptions {
    /// Rewrite rules to add; each is tried on random values first. Can be given several times.
    #[arg(long, value_name = "FILE.rules")]
    pub(super) rules: Vec<PathBuf>,
    /// The loosest kind of rules that may be used: those with the same floats, those that are equal over the reals, or
    /// approximate ones too.
    #[arg(long, value_name = "KIND", default_value = "real", value_parser = tag)]
    pub(super) allow: Tag,
}

fn tag(name: &str) -> Result<Tag, String> {
    Tag::ALL
        .into_iter()
        .find(|t| t.name() == name)
        .ok_or_else(|| format!("expected {}", Tag::ALL.map(Tag::name).join(", ")))
}

impl RuleOptions {
    /// What the passes go by. Rules that do not hold are refused; warnings go to standard error.
    pub(super) fn passes(&self) -> Result<PassOptions, Failure> {
        let mut sources = Sources::default();
        let mut rules = RuleSets::default();
        if self.allow != Tag::Real {
            rules = rules.allowing(self.allow);
        }
        for path in &self.rules {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Failure::Input(format!("cannot read {}: {e}", path.display())))?;
            match trials::add_rules(&mut rules, &mut sources, &path.display().to_string(), &text) {
                Ok(warnings) => remark(&sources.render(&warnings, render_style())),
                Err(diagnostics) => return Err(Failure::Program(Failed { sources, diagnostics })),
            }
        }
        Ok(PassOptions { rules, ..PassOptions::default() })
    }
}

/// What a program is specialised for.
#[derive(Args)]
pub(super) struct ProgramOptions {
    /// Sizes of axes and compile-time parameters, `dk=64,layers=2`; sizes that are not given stay dynamic.
    #[arg(long, value_name = "NAME=VALUE,..", value_delimiter = ',')]
    pub(super) bind: Vec<String>,
    /// The working dtype: f32, f64, bf16 or f16.
    #[arg(long, default_value = "f32", value_parser = float_dtype)]
    pub(super) dtype: DType,
}

fn float_dtype(name: &str) -> Result<DType, String> {
    DType::parse(name).filter(|d| d.is_float()).ok_or_else(|| "expected f32, f64, bf16 or f16".to_string())
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
