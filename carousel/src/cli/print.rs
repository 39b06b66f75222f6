//! `carousel print`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use carousel_autodiff as autodiff;
use carousel_core::backend::CompileError;
use carousel_core::kernel::Kernel;
use carousel_core::program::Program as Lowered;
use carousel_core::{Target, lower};
use carousel_ir::text::{Failed, Options, Program, elaborate, print};
use carousel_ir::{FunctionId, Module};
use carousel_models::compile::simplified;
use clap::ValueEnum;

use super::common::{Failure, ProgramOptions, read_program};

/// Print the program after a stage.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  carousel print models/xl/cells/mlstm.xl --fn mlstm --stage canonical\n  \
                        carousel print models/xl/reference/mlstm.xl --fn mlstm --stage clif --grad --bind dk=64,dv=64"
)]
pub(super) struct Arguments {
    /// The file.
    file: PathBuf,
    /// The function; every function of the file if not given.
    #[arg(long = "fn", value_name = "NAME")]
    function: Option<String>,
    /// After which stage.
    #[arg(long, value_enum, default_value = "parsed")]
    stage: Stage,
    /// The function with its vector-Jacobian product.
    #[arg(long)]
    grad: bool,
    #[command(flatten)]
    program: ProgramOptions,
}

/// What the compiler has after each of its steps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Stage {
    /// The graph as the source says it.
    Parsed,
    /// The graph in canonical form.
    Canonical,
    /// The canonical graph with its gradient.
    Grad,
    /// Kernels.
    Kernel,
    /// Cranelift's intermediate form of the kernels.
    Clif,
    /// Machine code of the kernels.
    Asm,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let program = read_program(&arguments.file)?;
    let options = arguments.program.options()?;
    let functions: Vec<String> = match &arguments.function {
        Some(name) => vec![name.clone()],
        None => own_functions(&program),
    };
    for name in functions {
        let text = stage_text(&program, &name, &options, arguments)?;
        println!("{}", text.trim_end());
    }
    Ok(())
}

fn stage_text(
    program: &Program,
    name: &str,
    options: &Options,
    arguments: &Arguments,
) -> Result<String, Failure> {
    let fail = |diagnostics| Failure::Program(Failed { sources: program.sources.clone(), diagnostics });
    let (mut module, mut root) = elaborated(program, name, options)?;
    if arguments.stage > Stage::Parsed {
        module = simplified(&module);
    }
    if arguments.grad || arguments.stage == Stage::Grad {
        (module, root) = autodiff::gradient(&module, root, &autodiff::Options::default()).map_err(fail)?;
        module = simplified(&module);
    }
    if arguments.stage <= Stage::Grad {
        return Ok(print(&module));
    }
    let lowered = lower(&module, root, &Target::default()).map_err(fail)?;
    Ok(match arguments.stage {
        Stage::Parsed | Stage::Canonical | Stage::Grad | Stage::Kernel => lowered.to_string(),
        Stage::Clif => listing(&lowered, carousel_cpu::clif)?,
        Stage::Asm => listing(&lowered, carousel_cpu::assembly)?,
    })
}

/// Every kernel of a program as `print` shows it.
fn listing(program: &Lowered, print: fn(&Kernel) -> Result<String, CompileError>) -> Result<String, Failure> {
    let kernels: Vec<String> =
        program.kernels.iter().map(print).collect::<Result<_, _>>().map_err(Failure::work)?;
    Ok(kernels.join("\n"))
}

/// One function of the program with what it calls.
pub(super) fn elaborated(
    program: &Program,
    name: &str,
    options: &Options,
) -> Result<(Module, FunctionId), Failure> {
    let fail = |diagnostics| Failure::Program(Failed { sources: program.sources.clone(), diagnostics });
    let module = elaborate(program, &[name], options).map_err(fail)?;
    let root = module.find(name).expect("an elaborated function is in its module");
    Ok((module, root))
}

/// The functions that the file itself defines, not those of files that it uses.
fn own_functions(program: &Program) -> Vec<String> {
    let mut by_file: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for definition in &program.definitions {
        by_file.entry(definition.name.span.file).or_default().push(definition.name.name.to_string());
    }
    by_file.into_values().next().unwrap_or_default()
}
