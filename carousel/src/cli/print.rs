//! `carousel print`.

use std::path::PathBuf;

use carousel_autodiff as autodiff;
use carousel_core::backend::CompileError;
use carousel_core::cost::Machine;
use carousel_core::kernel::Kernel;
use carousel_core::lower;
use carousel_core::program::Program as Lowered;
use carousel_ir::text::print;
use carousel_ir::{FunctionId, Graph, Module};
use carousel_models::compile::PassOptions;
use clap::ValueEnum;

use super::common::{Failure, ProgramOptions, RuleOptions, output_style, remark, tell};
use super::difference::unified;
use super::forms::{self, FormArguments};
use super::source::Source;

/// Print the program after a stage.
///
/// What stages `parsed`, `canonical` and `grad` print can be given to any command in place of a source.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  carousel print models/xl/cells/mlstm.xl --fn mlstm --stage canonical\n  \
                        carousel print models/xl/cells/mlstm.xl --stage canonical --diff stable\n  \
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
    /// What changes from `--stage` to this stage, instead of the program.
    #[arg(long, value_enum, value_name = "STAGE")]
    diff: Option<Stage>,
    /// The function with its vector-Jacobian product.
    #[arg(long)]
    grad: bool,
    /// Which rules fired how often, and what became of each recurrence and why, on standard error; from stage
    /// `canonical` on.
    #[arg(long)]
    report: bool,
    #[command(flatten)]
    program: ProgramOptions,
    #[command(flatten)]
    rules: RuleOptions,
    #[command(flatten)]
    forms: FormArguments,
}

/// What the compiler has after each of its steps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Stage {
    /// The graph as the source says it.
    Parsed,
    /// The graph in canonical form.
    Canonical,
    /// Recurrences that do not overflow, and linear scans where recurrences are such.
    Stable,
    /// That with its gradient.
    Grad,
    /// Every linear scan in the form that was chosen for it.
    Forms,
    /// Kernels.
    Kernel,
    /// Cranelift's intermediate form of the kernels.
    Clif,
    /// Machine code of the kernels.
    Asm,
    /// CUDA C++ of the kernels.
    Cuda,
    /// What NVRTC makes of that for GPUs.
    Ptx,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let passes = arguments.rules.passes()?;
    let text = after(arguments, arguments.stage, &passes)?;
    match arguments.diff {
        None => tell(&text),
        Some(stage) => {
            let name =
                |stage: Stage| stage.to_possible_value().map_or(String::new(), |v| v.get_name().to_string());
            let other = after(arguments, stage, &passes)?;
            tell(&unified(&text, &other, (&name(arguments.stage), &name(stage)), output_style()))
        }
    }
}

/// The program after a stage.
fn after(arguments: &Arguments, stage: Stage, passes: &PassOptions) -> Result<String, Failure> {
    let source = Source::read(&arguments.file)?;
    let functions: Vec<String> = match &arguments.function {
        Some(name) => vec![name.clone()],
        None => source.own_functions(),
    };
    let names: Vec<&str> = functions.iter().map(String::as_str).collect();
    // All in one module: functions that several of them call are printed once.
    let mut module = source.module(&names, &source.options(&names, &arguments.program, &[])?)?;
    if stage > Stage::Parsed {
        module = canonical(passes, &module, arguments, "canonical form");
    }
    if stage > Stage::Canonical {
        let derived = passes.derived(&module);
        if arguments.report {
            remark(&format!("recurrences:\n{}", derived.stable));
            derived.linear.iter().for_each(|loop_| remark(&format!("{loop_}\n")));
        }
        module = derived.module;
    }
    let find =
        |module: &Module, name: &str| module.find(name).expect("a function that was asked for is there");
    let mut roots: Vec<FunctionId> = names.iter().map(|name| find(&module, name)).collect();
    if arguments.grad || stage == Stage::Grad {
        if arguments.function.is_none() {
            // Whoever names no function means those that have gradients.
            let is_smooth = |graph: &Graph| graph.outputs.iter().any(|o| graph.ty(o.value).dtype.is_float());
            roots.retain(|root| is_smooth(&module[*root].graph));
        }
        for root in &mut roots {
            (module, *root) = autodiff::gradient(&module, *root, &autodiff::Options::default())
                .map_err(|diagnostics| source.failed(diagnostics))?;
        }
        module = canonical(passes, &module, arguments, "gradients in canonical form");
    }
    let machine = match stage {
        Stage::Cuda | Stage::Ptx => carousel_cuda::machine(),
        Stage::Parsed
        | Stage::Canonical
        | Stage::Stable
        | Stage::Grad
        | Stage::Forms
        | Stage::Kernel
        | Stage::Clif
        | Stage::Asm => Machine::default(),
    };
    if stage >= Stage::Forms {
        let options = arguments.forms.options(machine.clone())?;
        let (expanded, report) = passes.in_forms(&module, &roots, &options);
        forms::warn(&report);
        if arguments.report {
            remark(&format!("forms:\n{report}"));
        }
        let (lowerable, report) = passes.lowerable(&expanded, None);
        if arguments.report {
            remark(&format!("forms in canonical form:\n{report}"));
        }
        module = lowerable;
    }
    if stage <= Stage::Forms {
        return Ok(format!("{}\n", print(&module).trim_end()));
    }
    let mut texts = String::new();
    for root in roots {
        let lowered = lower(&module, root, &machine.target).map_err(|d| source.failed(d))?;
        let text = match stage {
            Stage::Parsed | Stage::Canonical | Stage::Stable | Stage::Grad | Stage::Forms | Stage::Kernel => {
                lowered.to_string()
            }
            Stage::Clif => listing(&lowered, carousel_cpu::clif)?,
            Stage::Asm => listing(&lowered, carousel_cpu::assembly)?,
            Stage::Cuda => listing(&lowered, |kernel| Ok(carousel_cuda::cuda(kernel)))?,
            Stage::Ptx => listing(&lowered, carousel_cuda::ptx)?,
        };
        texts += &format!("{}\n", text.trim_end());
    }
    Ok(texts)
}

/// The module in canonical form; says what the rules did if that was asked for.
fn canonical(passes: &PassOptions, module: &Module, arguments: &Arguments, what: &str) -> Module {
    let (module, report) = passes.simplified(module);
    if arguments.report {
        remark(&format!("{what}:\n{report}"));
    }
    module
}

/// Every kernel of a program as `print` shows it.
fn listing(program: &Lowered, print: fn(&Kernel) -> Result<String, CompileError>) -> Result<String, Failure> {
    let kernels: Vec<String> =
        program.kernels.iter().map(print).collect::<Result<_, _>>().map_err(Failure::work)?;
    Ok(kernels.join("\n"))
}
