//! `carousel bench`: one case, warmed up and repeated.

mod compare;
mod language;
mod measure;
mod pieces;
mod predict;

use std::time::Instant;

use carousel::Values;
use carousel_autodiff as autodiff;
use carousel_core::backend::{DataMut, Tensor};
use carousel_ir::DType;
use carousel_ir::philox::philox;
use carousel_ir::text::{Failed, Options, elaborate, parse_program};
use carousel_models::compile::{CompiledFunction, Engine};
use carousel_models::config::TrainingConfig;
use carousel_models::library::bundled;
use carousel_models::train::{Start, Trainer};
use carousel_passes::forms::{Form, FormReport};
use clap::{Args, Subcommand, ValueEnum};

use self::language::{Kind, Language, Usual};
use self::measure::{Report, repeat, report};
use super::common::{Failure, TargetOptions};
use super::{calibrate, forms, train};

/// Measure one case.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  carousel bench mlstm --batch 1 --heads 4 --seq 1024 --dqk 64 --dhv 64 --pass fwdbwd --json"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    case: Case,
}

#[derive(Subcommand)]
enum Case {
    /// The mLSTM cell on random inputs.
    Mlstm {
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        batch: u64,
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        heads: u64,
        #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
        seq: u64,
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        dqk: u64,
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        dhv: u64,
        #[arg(long, value_enum, default_value = "fwd")]
        pass: Pass,
        #[command(flatten)]
        common: Common,
    },
    /// The sLSTM cell on random inputs.
    Slstm {
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        batch: u64,
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        heads: u64,
        #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
        seq: u64,
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        dim: u64,
        #[arg(long, value_enum, default_value = "fwd")]
        pass: Pass,
        #[command(flatten)]
        common: Common,
    },
    /// One training step of the built-in language model.
    TrainStep {
        #[command(flatten)]
        language: Language,
        #[arg(long, default_value_t = 128)]
        context: usize,
        #[arg(long, default_value_t = 8)]
        batch: usize,
        /// Compute blocks again in the backward pass, in place of keeping what they computed.
        #[arg(long)]
        remat: bool,
        #[command(flatten)]
        common: Common,
    },
    /// A language model that reads a text token by token.
    Decode(predict::Arguments),
    /// A language model that reads a text at once, with the logits of its last token.
    Prefill(predict::Arguments),
    /// A matrix product, m x k times k x n.
    Gemm {
        #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        m: u64,
        #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        n: u64,
        #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        k: u64,
        /// How the operands lie in memory.
        #[arg(long, value_enum, default_value = "nn")]
        layout: pieces::Layout,
        #[command(flatten)]
        common: Common,
    },
    /// A chain of elementwise operations.
    Pointwise {
        #[arg(long, default_value_t = 1 << 14, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
        elements: u64,
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
        ops: u64,
        /// Every n-th operation is a transcendental function; 0 for none.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=1000))]
        transcendental_every: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Several cases beside the limits of this computer, measured in the same run.
    Compare(compare::Arguments),
    /// Measure this computer and write a cost profile, for --profile.
    Calibrate(calibrate::Arguments),
    /// Compilation of the gradient of the built-in language model.
    Compile {
        #[command(flatten)]
        language: Language,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args)]
struct Common {
    /// Runs; until two seconds have gone by if not given.
    #[arg(long)]
    repeat: Option<usize>,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetOptions,
}

impl Common {
    /// How many threads work.
    fn threads(&self) -> usize {
        self.target
            .threads
            .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
    }
}

/// What is computed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pass {
    /// Outputs.
    Fwd,
    /// Outputs, and gradients of every input.
    Fwdbwd,
}

impl Pass {
    fn name(self) -> &'static str {
        match self {
            Pass::Fwd => "fwd",
            Pass::Fwdbwd => "fwdbwd",
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (result, common) = match &arguments.case {
        Case::Mlstm { batch, heads, seq, dqk, dhv, pass, common } => {
            (mlstm([*batch, *heads, *seq, *dqk, *dhv], *pass, common), common)
        }
        Case::Slstm { batch, heads, seq, dim, pass, common } => {
            (slstm([*batch, *heads, *seq, *dim], *pass, common), common)
        }
        Case::TrainStep { language, context, batch, remat, common } => {
            (train_step(language, [*context, *batch], *remat, common), common)
        }
        Case::Gemm { m, n, k, layout, common } => (pieces::gemm([*m, *n, *k], *layout, common), common),
        Case::Pointwise { elements, ops, transcendental_every, common } => {
            (pieces::pointwise(*elements, *ops, *transcendental_every, common), common)
        }
        Case::Compile { language, common } => (compile(language, common), common),
        Case::Decode(arguments) => (predict::run(arguments, predict::Reading::Decode), arguments.common()),
        Case::Prefill(arguments) => (predict::run(arguments, predict::Reading::Prefill), arguments.common()),
        Case::Calibrate(arguments) => return calibrate::run(arguments),
        Case::Compare(arguments) => return compare::run(arguments),
    };
    report(common, &result?)
}

fn mlstm(sizes: [u64; 5], pass: Pass, common: &Common) -> Result<Report, Failure> {
    let [batch, heads, seq, dqk, dhv] = sizes;
    let named = [("b", batch), ("h", heads), ("s", seq), ("dk", dqk), ("dv", dhv)];
    let map = [("q", "b,h"), ("k", "b,h"), ("v", "b,h"), ("i", "b,h"), ("f", "b,h")];
    // Update, decay and read-out of the matrix memory a step: what the recurrent form computes.
    cell("mlstm", &named, &map, batch * seq, 6.0 * product(&sizes), pass, common)
}

fn slstm(sizes: [u64; 4], pass: Pass, common: &Common) -> Result<Report, Failure> {
    let [batch, heads, seq, dim] = sizes;
    let named = [("b", batch), ("h", heads), ("s", seq), ("d", dim)];
    let map = [("z", "b"), ("i", "b"), ("f", "b"), ("o", "b")];
    cell("slstm", &named, &map, batch * seq, 8.0 * product(&[batch, heads, seq, dim, dim]), pass, common)
}

fn product(factors: &[u64]) -> f64 {
    factors.iter().map(|n| *n as f64).product()
}

/// More elements than any of a cell's inputs may have.
const MOST_ELEMENTS: f64 = 4e9;

fn cell(
    name: &'static str,
    sizes: &[(&str, u64)],
    map: &[(&str, &str)],
    tokens: u64,
    flops: f64,
    pass: Pass,
    common: &Common,
) -> Result<Report, Failure> {
    let started = Instant::now();
    let compiled = cell_executable(name, sizes, map, pass, &common.target.engine(sizes)?)?;
    let compile_seconds = started.elapsed().as_secs_f64();
    let flops = if pass == Pass::Fwd { flops } else { 3.0 * flops };
    measured(name, &compiled, sizes, Work { tokens, flops }, compile_seconds, common)
}

/// What one run does, as it is counted.
struct Work {
    tokens: u64,
    flops: f64,
}

/// Runs a function on random inputs.
fn measured(
    name: &'static str,
    compiled: &CompiledFunction,
    sizes: &[(&str, u64)],
    work: Work,
    compile_seconds: f64,
    common: &Common,
) -> Result<Report, Failure> {
    let executable = &compiled.executable;
    let size = |size: &carousel_ir::Size| {
        let of = |n: carousel_ir::Name| sizes.iter().find(|(name, _)| *name == n.as_str()).map(|(_, n)| *n);
        size.evaluate(&of).expect("every axis of a case has a size")
    };
    for port in executable.inputs() {
        let shape: Vec<u64> = port.sizes.iter().map(size).collect();
        if product(&shape) > MOST_ELEMENTS {
            let message =
                format!("`{}` of shape {shape:?} has more than {MOST_ELEMENTS:e} elements", port.name);
            return Err(Failure::Input(message));
        }
    }
    let inputs: Vec<(Vec<u64>, Values)> = executable
        .inputs()
        .iter()
        .enumerate()
        .map(|(place, port)| {
            let shape: Vec<u64> = port.sizes.iter().map(size).collect();
            let values = random(shape.iter().product::<u64>() as usize, place as u32);
            (shape, Values::F32(values))
        })
        .collect();
    let inputs: Vec<Tensor<'_>> =
        inputs.iter().map(|(shape, values)| Tensor { data: values.as_data(), shape }).collect();
    let mut outputs: Vec<Values> = executable
        .outputs()
        .iter()
        .map(|port| Values::zeros(DType::F32, port.sizes.iter().map(size).product::<u64>() as usize))
        .collect();
    let mut outputs: Vec<DataMut<'_>> = outputs.iter_mut().map(Values::as_mut).collect();
    let elements = |data: &[u64]| data.iter().sum::<u64>() as f64;
    let read: Vec<u64> = inputs.iter().map(|t| t.shape.iter().product()).collect();
    let written: Vec<u64> = outputs.iter().map(|o| o.as_data().elements()).collect();
    let times = repeat(common, || executable.run(&inputs, &mut outputs).map_err(Failure::work))?;
    Ok(Report {
        case: name,
        form: form(&compiled.forms),
        tokens: work.tokens,
        flops: work.flops,
        bytes: 4.0 * (elements(&read) + elements(&written)),
        bytes_peak: executable.peak_bytes(),
        compile_seconds,
        times,
    })
}

/// The forms that were taken; a program without linear scans goes step by step.
fn form(report: &FormReport) -> String {
    forms::warn(report);
    if report.groups.is_empty() { Form::Recurrent.to_string() } else { report.summary() }
}

fn cell_executable(
    name: &str,
    sizes: &[(&str, u64)],
    map: &[(&str, &str)],
    pass: Pass,
    engine: &Engine,
) -> Result<CompiledFunction, Failure> {
    let path = format!("cells/{name}.xl");
    let text = bundled(&path).expect("the cells are built in");
    let program = parse_program(&path, text, &|p| Err(format!("no file `{p}`")))?;
    // Batch and sequence stay dynamic: the same kernels serve every length.
    let fixed = sizes.iter().filter(|(n, _)| !matches!(*n, "b" | "s"));
    let options = Options {
        sizes: fixed.map(|(n, size)| (n.to_string(), *size)).collect(),
        map: map
            .iter()
            .map(|(n, axes)| (n.to_string(), axes.split(',').map(str::to_string).collect()))
            .collect(),
        ..Options::default()
    };
    let fail = |diagnostics| Failure::Program(Failed { sources: program.sources.clone(), diagnostics });
    let module = engine.prepared(&elaborate(&program, &[name], &options).map_err(fail)?);
    let root = module.find(name).expect("an elaborated function is in its module");
    let (module, root) = match pass {
        Pass::Fwd => (module, root),
        Pass::Fwdbwd => autodiff::gradient(&module, root, &autodiff::Options::default()).map_err(fail)?,
    };
    engine.compile_with_report(&module, root).map_err(fail)
}

/// The paper's model, small, where nothing else is said.
const USUAL: Usual = Usual { model: Kind::Xlstm, blocks: 4, dim: 128, slstm_every: 4 };

fn train_step(
    language: &Language,
    [context, batch]: [usize; 2],
    remat: bool,
    common: &Common,
) -> Result<Report, Failure> {
    let settings = language.settings(&USUAL)?;
    let folder = std::env::temp_dir().join(format!("carousel-bench-{}", std::process::id()));
    let config = TrainingConfig {
        batch,
        context,
        remat,
        out: folder.clone(),
        model_file: Some(settings.file.into()),
        model: settings.parameters,
        ..TrainingConfig::default()
    };
    let config = config.validated().map_err(Failure::input)?;
    let started = Instant::now();
    let likely = [("b", batch as u64), ("s", context as u64)];
    let engine = common.target.engine(&likely)?;
    let mut trainer = Trainer::new(&engine, config, Start::Afresh).map_err(train::failure)?;
    let compile_seconds = started.elapsed().as_secs_f64();
    let times = repeat(common, || trainer.step().map(drop).map_err(train::failure));
    // The trainer's metrics file is the only thing in it.
    let _ = std::fs::remove_dir_all(&folder);
    let tokens = (batch * context) as u64;
    let flops = 6.0 * trainer.model().layout().elements() as f64 * tokens as f64;
    let bytes_peak = trainer.peak_bytes();
    Ok(Report {
        case: "train-step",
        form: form(trainer.forms()),
        tokens,
        flops,
        bytes: 0.0,
        bytes_peak,
        compile_seconds,
        times: times?,
    })
}

fn compile(language: &Language, common: &Common) -> Result<Report, Failure> {
    let settings = language.settings(&Usual { blocks: 48, ..USUAL })?;
    let engine = common.target.engine(&[])?;
    let mut taken = String::new();
    let once = || -> Result<(), Failure> {
        taken = form(settings.model()?.loss_gradient(&engine)?.forms());
        Ok(())
    };
    let times = repeat(common, once)?;
    let compile_seconds = times.iter().map(|t| t.wall).min().map_or(0.0, |t| t.as_secs_f64());
    Ok(Report {
        case: "compile",
        form: taken,
        tokens: 0,
        flops: 0.0,
        bytes: 0.0,
        bytes_peak: 0,
        compile_seconds,
        times,
    })
}

/// Numbers in (-1, 1), the same for the same place.
fn random(count: usize, place: u32) -> Vec<f32> {
    let block = |i: u32| philox([place, 1], [i, 0, 0, 0]).map(|word| (word >> 8) as f32 / 8_388_608.0 - 1.0);
    (0..).flat_map(block).take(count).collect()
}
