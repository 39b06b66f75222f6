//! A training step is machine code and nothing else: a flat list of calls of compiled kernels, as many kernels for a
//! deep model as for a shallow one.

use carousel_core::backend::{Data, DataMut, Executable, Tensor};
use carousel_core::program::{Bound, Port};
use carousel_core::{Target, bind, lower};
use carousel_cpu::CpuExecutable;
use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{DType, FunctionId, Module, Name, RenderStyle};
use carousel_models::compile::{in_forms, loss_gradient, simplified};
use carousel_models::config::ParameterValue;
use carousel_models::library::{ModelSource, OPTIMIZER, bundled};
use carousel_models::model::{LOSS, Model};
use carousel_testkit::machine::backend;
use std::collections::BTreeMap;

/// A compiled function with what it becomes for certain sizes.
struct Step {
    executable: CpuExecutable,
    shapes: Vec<Vec<u64>>,
    bound: Bound,
}

impl Step {
    fn new(module: &Module, function: FunctionId, sizes: &[(&str, u64)]) -> Step {
        let program = lower(&in_forms(&simplified(module)), function, &Target::default())
            .unwrap_or_else(|d| panic!("{d:?}"));
        let executable = backend(2).executable(program).unwrap_or_else(|error| panic!("{error}"));
        let size = |name: Name| sizes.iter().find(|(n, _)| *n == name.as_str()).map(|(_, size)| *size);
        let shape = |port: &Port| port.sizes.iter().map(|s| s.evaluate(&size).expect("a size")).collect();
        let shapes: Vec<Vec<u64>> = executable.inputs().iter().map(shape).collect();
        let bound = bind(executable.program(), &slices(&shapes)).unwrap_or_else(|error| panic!("{error}"));
        Step { executable, shapes, bound }
    }

    /// The gradient of the loss of a small model with this many blocks, the second of them an sLSTM.
    fn loss_gradient(layers: i64) -> Step {
        let number = ParameterValue::Integer;
        let configuration = [
            ("vocab", number(32)),
            ("layers", number(layers)),
            ("width", number(16)),
            ("heads", number(2)),
            ("head_dim", number(8)),
            ("ffn", number(24)),
            ("slstm_at", ParameterValue::List(vec![number(1)])),
        ];
        let configuration: BTreeMap<String, ParameterValue> =
            configuration.map(|(name, value)| (name.to_string(), value)).into();
        let source = ModelSource::load(None, None).unwrap_or_else(|error| panic!("{error}"));
        let model = Model::new(&source, &configuration).unwrap_or_else(|failed| panic!("{failed}"));
        let root = model.module().find(LOSS).expect("a language model has a loss");
        let (module, function) =
            loss_gradient(model.module(), root, "loss").unwrap_or_else(|d| panic!("{d:?}"));
        Step::new(&module, function, &[("b", 2), ("s", 9)])
    }

    /// A function of the optimiser.
    fn optimizer(function: &str) -> Step {
        let text = bundled(OPTIMIZER).expect("the optimiser is built in");
        let load = |path: &str| Err(format!("no file `{path}`"));
        let program = parse_program(OPTIMIZER, text, &load).unwrap_or_else(|failed| panic!("{failed}"));
        let module = elaborate(&program, &[function], &Options::default())
            .unwrap_or_else(|d| panic!("{}", program.sources.render(&d, RenderStyle::Plain)));
        let function = module.find(function).expect("elaborated functions are there");
        Step::new(&module, function, &[("n", 1000)])
    }

    fn kernels(&self) -> usize {
        self.executable.program().kernels.len()
    }

    /// Runs once, on zeros, and returns how often each kernel was launched, by its name.
    fn launches(&self) -> BTreeMap<String, u64> {
        let inputs: Vec<Words> =
            self.executable.inputs().iter().zip(&self.shapes).map(Words::zeros).collect();
        let tensors: Vec<Tensor<'_>> = inputs
            .iter()
            .zip(&self.shapes)
            .map(|(words, shape)| Tensor { data: words.read(), shape })
            .collect();
        let outputs = self.executable.outputs().iter().zip(&self.bound.output_sizes);
        let mut outputs: Vec<Words> = outputs.map(Words::zeros).collect();
        let mut outputs: Vec<DataMut<'_>> = outputs.iter_mut().map(Words::write).collect();
        let profile = self.executable.run_profiled(&tensors, &mut outputs);
        let mut launches = BTreeMap::new();
        for kernel in profile.unwrap_or_else(|error| panic!("{error}")) {
            *launches.entry(kernel.name).or_default() += kernel.launches;
        }
        launches
    }

    /// Everything that runs is a kernel with machine code, and every entry is run once.
    fn is_machine_code(&self) {
        let code = self.executable.kernel_code_bytes();
        let kernels = &self.executable.program().kernels;
        assert_eq!(code.len(), kernels.len());
        for (kernel, bytes) in kernels.iter().zip(&code) {
            assert!(*bytes > 0, "kernel `{}` has no machine code", kernel.name);
        }
        assert!(!self.bound.entries.is_empty());
        let mut entries: BTreeMap<String, u64> = BTreeMap::new();
        for entry in &self.bound.entries {
            *entries.entry(kernels[entry.kernel.0 as usize].name.clone()).or_default() += 1;
        }
        assert_eq!(self.launches(), entries, "a run launches the entries, and nothing else");
    }
}

fn slices(shapes: &[Vec<u64>]) -> Vec<&[u64]> {
    shapes.iter().map(Vec::as_slice).collect()
}

/// Elements of the dtypes that language models have.
enum Words {
    Float(Vec<f32>),
    Integer(Vec<i32>),
    Natural(Vec<u32>),
}

impl Words {
    fn zeros((port, shape): (&Port, &Vec<u64>)) -> Words {
        let elements = shape.iter().product::<u64>() as usize;
        match port.ty.dtype {
            DType::F32 => Words::Float(vec![0.0; elements]),
            DType::I32 => Words::Integer(vec![0; elements]),
            DType::U32 => Words::Natural(vec![0; elements]),
            DType::F64 | DType::Bf16 | DType::F16 | DType::Bool => {
                panic!("a training step has no {}", port.ty.dtype)
            }
        }
    }

    fn read(&self) -> Data<'_> {
        match self {
            Words::Float(v) => Data::F32(v),
            Words::Integer(v) => Data::I32(v),
            Words::Natural(v) => Data::U32(v),
        }
    }

    fn write(&mut self) -> DataMut<'_> {
        match self {
            Words::Float(v) => DataMut::F32(v),
            Words::Integer(v) => DataMut::I32(v),
            Words::Natural(v) => DataMut::U32(v),
        }
    }
}

#[test]
fn a_training_step_is_a_flat_list_of_machine_code() {
    Step::loss_gradient(3).is_machine_code();
    Step::optimizer("adamw").is_machine_code();
    Step::optimizer("sum_squares").is_machine_code();
}

#[test]
fn compile_work_does_not_grow_with_depth() {
    let [shallow, middle, deep] = [2, 4, 6].map(Step::loss_gradient);
    // In which order functions are met depends on where a block first stands.
    let code = |step: &Step| {
        let mut bytes = step.executable.kernel_code_bytes();
        bytes.sort_unstable();
        bytes
    };
    for step in [&middle, &deep] {
        assert_eq!(step.kernels(), shallow.kernels(), "each layer has the kernels of the one before");
        assert_eq!(code(step), code(&shallow));
    }
    let entries = [&shallow, &middle, &deep].map(|step| step.bound.entries.len());
    let routines = [&shallow, &middle, &deep].map(|step| step.executable.program().routines.len());
    assert!(entries[1] > entries[0], "{entries:?}");
    assert_eq!(entries[2] - entries[1], entries[1] - entries[0], "a layer is so many entries: {entries:?}");
    assert_eq!(routines[0], routines[2], "layers are called, not copied");
}
