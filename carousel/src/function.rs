//! Compiled functions of a program: the shortest way from text to numbers.

use std::collections::BTreeMap;
use std::fmt;

use carousel_autodiff as autodiff;
use carousel_core::backend::{DataMut, Executable, RunError, Tensor};
use carousel_core::program::Port;
use carousel_core::values::Values;
use carousel_ir::text::{ConfigValue, Failed, Options, elaborate, parse_program};
use carousel_ir::{DType, RenderStyle};
use carousel_models::compile::{Engine, derived};
use carousel_models::library::bundled;

/// Whether gradients are computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Gradient {
    /// The function itself.
    #[default]
    None,
    /// The function and its vector-Jacobian product: one more input `cot.OUTPUT` for each float output, one more output
    /// `grad.INPUT` for each float input.
    Vjp,
}

/// How a function is compiled.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// The dtype of floats that the source leaves open.
    pub dtype: DType,
    /// Sizes of axes that are known; all others are dynamic.
    pub sizes: BTreeMap<String, u64>,
    /// Compile-time parameters.
    pub config: BTreeMap<String, ConfigValue>,
    /// Extra leading axes of inputs, by the input's name.
    pub map: BTreeMap<String, Vec<String>>,
    /// Whether gradients are computed.
    pub gradient: Gradient,
    /// Threads; all cores if not given.
    pub threads: Option<usize>,
}

impl Default for CompileOptions {
    fn default() -> CompileOptions {
        CompileOptions {
            dtype: DType::F32,
            sizes: BTreeMap::new(),
            config: BTreeMap::new(),
            map: BTreeMap::new(),
            gradient: Gradient::None,
            threads: None,
        }
    }
}

/// A program that does not compile: every diagnostic, with its place.
#[derive(Debug)]
pub struct Error(pub Failed);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.sources.render(&self.0.diagnostics, RenderStyle::Plain))
    }
}

impl std::error::Error for Error {}

/// A compiled function.
pub struct Function {
    executable: Box<dyn Executable>,
}

/// A result of [`Function::call`].
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Sizes of its axes in the declared order.
    pub shape: Vec<u64>,
    /// Its elements, row-major.
    pub values: Values,
}

/// Compiles one function of a program for this computer's processor. `name` is what diagnostics call the text; the
/// built-in files may be used.
pub fn compile(name: &str, text: &str, function: &str, options: &CompileOptions) -> Result<Function, Error> {
    let load = |path: &str| {
        bundled(path).map(str::to_string).ok_or_else(|| format!("there is no built-in file `{path}`"))
    };
    let program = parse_program(name, text, &load).map_err(Error)?;
    let fail = |diagnostics| Error(Failed { sources: program.sources.clone(), diagnostics });
    let elaboration = Options {
        dtype: options.dtype,
        sizes: options.sizes.clone(),
        config: options.config.clone(),
        map: options.map.clone(),
    };
    let module = elaborate(&program, &[function], &elaboration).map_err(fail)?;
    let mut root = module.find(function).expect("an elaborated function is in its module");
    let mut module = derived(&module);
    if options.gradient == Gradient::Vjp {
        (module, root) = autodiff::gradient(&module, root, &autodiff::Options::default()).map_err(fail)?;
    }
    let executable = Engine::cpu(options.threads).compile(&module, root).map_err(fail)?;
    Ok(Function { executable })
}

impl Function {
    /// What comes in, in order.
    pub fn inputs(&self) -> &[Port] {
        self.executable.inputs()
    }

    /// What goes out, in order.
    pub fn outputs(&self) -> &[Port] {
        self.executable.outputs()
    }

    /// Runs it into memory that the caller has.
    pub fn run(&self, inputs: &[Tensor<'_>], outputs: &mut [DataMut<'_>]) -> Result<(), RunError> {
        self.executable.run(inputs, outputs)
    }

    /// Runs it into new memory.
    pub fn call(&self, inputs: &[Tensor<'_>]) -> Result<Vec<Output>, RunError> {
        call(self.executable.as_ref(), inputs)
    }
}

/// Runs an executable into new memory.
pub fn call(executable: &dyn Executable, inputs: &[Tensor<'_>]) -> Result<Vec<Output>, RunError> {
    let shapes: Vec<&[u64]> = inputs.iter().map(|t| t.shape).collect();
    let shapes = executable.output_shapes(&shapes)?;
    let ports = executable.outputs();
    let mut results: Vec<Output> = ports
        .iter()
        .zip(shapes)
        .map(|(port, shape)| {
            let elements = shape.iter().product::<u64>() as usize;
            Output { name: port.name.to_string(), shape, values: Values::zeros(port.ty.dtype, elements) }
        })
        .collect();
    let mut outputs: Vec<DataMut<'_>> = results.iter_mut().map(|r| r.values.as_mut()).collect();
    executable.run(inputs, &mut outputs)?;
    drop(outputs);
    Ok(results)
}
