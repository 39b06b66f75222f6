//! `carousel run`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use carousel::function::{Output, call};
use carousel::tensors::{self, NamedTensor};
use carousel_autodiff as autodiff;
use carousel_core::backend::{RunError, Tensor};
use carousel_cuda::emulated;
use carousel_ir::{DType, FunctionId, Module, Size};
use carousel_models::compile::CompiledFunction;
use carousel_reference as reference;

use super::common::{Failure, ProgramOptions, TargetOptions};
use super::source::Source;
use super::{emulation, forms};

/// Run a function on tensors from a file.
#[derive(clap::Args)]
#[command(
    after_help = "Inputs are found by name (`q` or `in.q`), axes in the declared order; cotangents as `cot.OUTPUT` or \
                        `in.cot.OUTPUT`.\nExample:\n  carousel run models/xl/reference/mlstm.xl --fn mlstm --map b,h --grad \
                        --in x.safetensors --out y.safetensors"
)]
pub(super) struct Arguments {
    /// The program.
    file: PathBuf,
    /// The function.
    #[arg(long = "fn", value_name = "NAME")]
    function: String,
    /// The inputs.
    #[arg(long = "in", value_name = "FILE.safetensors")]
    input: PathBuf,
    /// Where the outputs go.
    #[arg(long = "out", value_name = "FILE.safetensors")]
    output: PathBuf,
    /// Extra leading axes: an input whose rank exceeds its declared rank by as many carries them.
    #[arg(long, value_delimiter = ',', value_name = "AXIS,..")]
    map: Vec<String>,
    /// Also the gradients of all float inputs.
    #[arg(long)]
    grad: bool,
    /// Evaluate on the reference and name the first operation whose result is not finite.
    #[arg(long)]
    check_finite: bool,
    /// What each kernel did on the emulated device, on standard error; with `--emulate`.
    #[arg(long)]
    report: bool,
    #[command(flatten)]
    program: ProgramOptions,
    #[command(flatten)]
    target: TargetOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.report && !arguments.target.is_emulated() {
        return Err(Failure::Input(
            "--report: what kernels do is counted with --target cuda --emulate".to_string(),
        ));
    }
    let source = Source::read(&arguments.file)?;
    let given = tensors::read(&arguments.input).map_err(Failure::Input)?;
    let mut options = source.options(&[&arguments.function], &arguments.program, &arguments.map)?;
    let (module, root) = source.elaborated(&arguments.function, &options)?;
    options.map = mapped_inputs(&module, root, &given, arguments)?;
    let (module, root) = source.elaborated(&arguments.function, &options)?;
    let differentiated = |module: Module| {
        if !arguments.grad {
            return Ok((module, root));
        }
        autodiff::gradient(&module, root, &autodiff::Options::default())
            .map_err(|diagnostics| source.failed(diagnostics))
    };
    let engine = arguments.target.engine(&likely_sizes(&module, root, &given))?;
    let (prepared, prepared_root) = differentiated(engine.prepared(&module))?;
    let inputs = arranged(&prepared, prepared_root, &given, arguments)?;
    if arguments.check_finite {
        // The equations as they are written: what the compiler makes of them may well be finite where they are not.
        let (module, root) = differentiated(module)?;
        check_finite(&module, root, &inputs, source.sources())?;
    }
    let compiled = engine.compile_with_report(&prepared, prepared_root);
    let CompiledFunction { executable, forms } =
        compiled.map_err(|diagnostics| source.failed(diagnostics))?;
    forms::warn(&forms);
    let borrowed: Vec<Tensor<'_>> =
        inputs.iter().map(|t| Tensor { data: t.values.as_data(), shape: &t.shape }).collect();
    let outputs = call(executable.as_ref(), &borrowed);
    if arguments.target.is_emulated() {
        emulation::tell(&emulated::take_records(), arguments.report, source.sources());
    }
    let is_device = |error: &RunError| matches!(error, RunError::Device { .. });
    let failed = |error| if is_device(&error) { Failure::work(error) } else { Failure::input(error) };
    let outputs: Vec<Output> = outputs.map_err(failed)?;
    tensors::write(&arguments.output, &outputs).map_err(Failure::Work)
}

/// The tensor for an input, under its own name or with `in.` in front.
fn find<'a>(given: &'a [NamedTensor], name: &str) -> Option<&'a NamedTensor> {
    let prefixed = format!("in.{name}");
    given.iter().find(|t| t.name == name).or_else(|| given.iter().find(|t| t.name == prefixed))
}

/// The values that dynamic sizes have in this run: forms are chosen for them.
fn likely_sizes<'m>(module: &'m Module, root: FunctionId, given: &[NamedTensor]) -> Vec<(&'m str, u64)> {
    let graph = &module[root].graph;
    let of = |input: &'m carousel_ir::Input| {
        let shape = find(given, input.name.as_str()).map_or(&[][..], |tensor| &tensor.shape);
        let sizes = input.ty.axes.iter().map(|axis| graph.axes.size(axis));
        let symbol = |(size, n): (&'m Size, &u64)| {
            if let Size::Symbol(name) = size { Some((name.as_str(), *n)) } else { None }
        };
        sizes.zip(shape).filter_map(symbol).collect::<Vec<_>>()
    };
    graph.inputs.iter().flat_map(of).collect()
}

/// Which inputs carry the extra axes.
fn mapped_inputs(
    module: &Module,
    root: FunctionId,
    given: &[NamedTensor],
    arguments: &Arguments,
) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let mut map = BTreeMap::new();
    for input in &module[root].graph.inputs {
        let Some(tensor) = find(given, input.name.as_str()) else { continue };
        let (declared, found) = (input.ty.axes.len(), tensor.shape.len());
        if found == declared + arguments.map.len() && !arguments.map.is_empty() {
            map.insert(input.name.to_string(), arguments.map.clone());
        } else if found != declared {
            return Err(Failure::Input(format!(
                "{}: tensor `{}` has {found} axes, but `{}` is {} in `{}`{}",
                arguments.input.display(),
                tensor.name,
                input.name,
                input.ty,
                arguments.function,
                if arguments.map.is_empty() { "; --map names extra leading axes" } else { "" }
            )));
        }
    }
    Ok(map)
}

/// The inputs in the function's order and dtypes.
fn arranged(
    module: &Module,
    root: FunctionId,
    given: &[NamedTensor],
    arguments: &Arguments,
) -> Result<Vec<NamedTensor>, Failure> {
    let inputs = &module[root].graph.inputs;
    let missing: Vec<String> = inputs
        .iter()
        .filter(|i| find(given, i.name.as_str()).is_none())
        .map(|i| format!("`{}`: {}", i.name, i.ty))
        .collect();
    if !missing.is_empty() {
        let (file, list) = (arguments.input.display(), missing.join(", "));
        return Err(Failure::Input(format!("{file} lacks inputs of `{}`: {list}", arguments.function)));
    }
    let convert = |input: &carousel_ir::Input| {
        let tensor = find(given, input.name.as_str()).expect("looked for above");
        let wanted = input.ty.dtype;
        let values = tensors::to_float(&tensor.values, wanted);
        if values.dtype() != wanted {
            let (file, found) = (arguments.input.display(), values.dtype());
            let message =
                format!("{file}: tensor `{}` is {found}, but `{}` is {}", tensor.name, input.name, input.ty);
            return Err(Failure::Input(message));
        }
        Ok(NamedTensor { name: tensor.name.clone(), shape: tensor.shape.clone(), values })
    };
    inputs.iter().map(convert).collect()
}

/// Evaluates on the reference, in the precision of the program, and refuses if something is not finite.
fn check_finite(
    module: &Module,
    root: FunctionId,
    inputs: &[NamedTensor],
    sources: &carousel_ir::Sources,
) -> Result<(), Failure> {
    // The range of bf16 is that of f32, and values of f16 are rounded to theirs.
    let is_wide = module[root].graph.inputs.iter().any(|i| i.ty.dtype == DType::F64);
    let first = if is_wide {
        first_not_finite::<f64>(module, root, inputs)
    } else {
        first_not_finite::<f32>(module, root, inputs)
    };
    let Some(found) = first? else { return Ok(()) };
    let place = sources.line_column(found.span).zip(sources.get(found.span.file));
    let at =
        place.map_or(String::new(), |((line, column), source)| format!(" ({}:{line}:{column})", source.name));
    Err(Failure::Work(format!("{found}{at}")))
}

fn first_not_finite<S: reference::Scalar>(
    module: &Module,
    root: FunctionId,
    inputs: &[NamedTensor],
) -> Result<Option<reference::NonFinite>, Failure> {
    let tensors: Vec<reference::Tensor<S>> = inputs.iter().map(reference_tensor).collect();
    let mut first = None;
    let mut observer =
        |observed: reference::Observed<'_, S>| reference::NonFinite::note(&mut first, &observed);
    let settings = reference::Settings { observer: Some(&mut observer), ..reference::Settings::default() };
    reference::evaluate_with(module, root, &tensors, settings).map_err(Failure::input)?;
    Ok(first)
}

fn reference_tensor<S: reference::Scalar>(tensor: &NamedTensor) -> reference::Tensor<S> {
    let shape: Vec<usize> = tensor.shape.iter().map(|n| *n as usize).collect();
    let numbers = tensor.values.numbers().into_iter();
    match tensor.values.dtype() {
        DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => reference::Tensor::floats(&shape, numbers),
        DType::I32 | DType::U32 => reference::Tensor::integers(&shape, numbers.map(|x| x as i64)),
        DType::Bool => reference::Tensor::bools(&shape, numbers.map(|x| x != 0.0)),
    }
}
