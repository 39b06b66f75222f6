//! The commands, one file each. Results go to standard output, everything else to standard error; the exit status is
//! 0, 1 for a failure of the work, 2 for bad input.

mod bench;
mod calibrate;
mod check;
mod common;
mod convert;
mod cuda;
mod difference;
mod emulation;
mod eval;
mod explain;
mod forms;
mod generate;
mod info;
mod loaded;
mod logits;
mod print;
mod run;
mod source;
mod train;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A graph compiler and autodiff engine for recurrent models.
#[derive(Parser)]
#[command(name = "carousel", version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Parse and verify files; every diagnostic, with its place.
    Check(check::Arguments),
    /// Print the program after a stage.
    Print(print::Arguments),
    /// What was derived for a function, and why.
    Explain(explain::Arguments),
    /// Run a function on tensors from a file.
    Run(run::Arguments),
    /// Train a language model; without arguments, the built-in one on the built-in text.
    Train(Box<train::Arguments>),
    /// Write text with a trained model.
    Generate(generate::Arguments),
    /// The loss of a trained model on a text.
    Eval(eval::Arguments),
    /// The logits of a whole sequence of tokens.
    Logits(logits::Arguments),
    /// Size and cost of the model in a folder.
    Info(info::Arguments),
    /// Write a checkpoint for another program.
    Convert(convert::Arguments),
    /// Measure one case.
    Bench(bench::Arguments),
    /// What the CUDA target needs.
    Cuda(cuda::Arguments),
}

/// Parses the arguments and runs the command.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Check(a) => check::run(&a),
        Command::Print(a) => print::run(&a),
        Command::Explain(a) => explain::run(&a),
        Command::Run(a) => run::run(&a),
        Command::Train(a) => train::run(*a),
        Command::Generate(a) => generate::run(&a),
        Command::Eval(a) => eval::run(&a),
        Command::Logits(a) => logits::run(&a),
        Command::Info(a) => info::run(&a),
        Command::Convert(a) => convert::run(&a),
        Command::Bench(a) => bench::run(&a),
        Command::Cuda(a) => cuda::run(&a),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
