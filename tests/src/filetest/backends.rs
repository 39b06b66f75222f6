//! What functions can be evaluated on.
//!
//! Numbers are f64 here, whatever the function computes in; truth values are 0 and 1 (0 and -1 for compiled code).

use carousel_core::backend::{Backend as _, Data, DataMut, Tensor};
use carousel_core::{Target, lower};
use carousel_cpu::CpuBackend;
use carousel_ir::{DType, Diagnostic, FunctionId, Module};
use carousel_reference as reference;
use half::bf16;
use std::sync::OnceLock;

/// Something that runs functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Backend {
    /// The plain evaluator in f64.
    Reference,
    /// Machine code, in the dtypes of the function.
    Cpu,
}

/// A result.
pub(super) struct Output {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f64>,
}

impl Backend {
    /// All that this build has.
    pub(super) const ALL: [Backend; 2] = [Backend::Reference, Backend::Cpu];

    /// The outputs, in their declared order of axes.
    pub(super) fn run(
        self,
        module: &Module,
        root: FunctionId,
        inputs: &[reference::Tensor<f64>],
    ) -> Result<Vec<Output>, String> {
        match self {
            Backend::Reference => {
                let results = reference::evaluate(module, root, inputs).map_err(|e| e.to_string())?;
                Ok(results.into_iter().map(|t| Output { values: t.to_f64(), shape: t.shape }).collect())
            }
            Backend::Cpu => run_on_cpu(module, root, inputs),
        }
    }
}

/// The kernels of a function, as text.
pub(super) fn kernels(module: &Module, root: FunctionId) -> Result<String, String> {
    lower(module, root, &Target::default()).map(|program| program.to_string()).map_err(sentences)
}

fn sentences(problems: Vec<Diagnostic>) -> String {
    problems.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}

fn run_on_cpu(
    module: &Module,
    root: FunctionId,
    inputs: &[reference::Tensor<f64>],
) -> Result<Vec<Output>, String> {
    static CPU: OnceLock<CpuBackend> = OnceLock::new();
    let program = lower(module, root, &Target::default()).map_err(sentences)?;
    let executable = CPU.get_or_init(|| CpuBackend::new(2)).compile(program).map_err(|e| e.to_string())?;
    let shapes: Vec<Vec<u64>> = inputs.iter().map(|t| t.shape.iter().map(|n| *n as u64).collect()).collect();
    let given: Vec<Elements> = inputs
        .iter()
        .zip(executable.inputs())
        .map(|(t, port)| Elements::new(port.ty.dtype, &t.to_f64()))
        .collect();
    let tensors: Vec<Tensor<'_>> =
        given.iter().zip(&shapes).map(|(data, shape)| Tensor { data: data.read(), shape }).collect();
    let shapes: Vec<&[u64]> = shapes.iter().map(Vec::as_slice).collect();
    let shapes = executable.output_shapes(&shapes).map_err(|e| e.to_string())?;
    // NaN, so that an element that is not written is noticed.
    let unwritten = |shape: &Vec<u64>| vec![f64::NAN; shape.iter().product::<u64>() as usize];
    let mut results: Vec<Elements> = shapes
        .iter()
        .zip(executable.outputs())
        .map(|(shape, port)| Elements::new(port.ty.dtype, &unwritten(shape)))
        .collect();
    let mut outputs: Vec<DataMut<'_>> = results.iter_mut().map(Elements::write).collect();
    executable.run(&tensors, &mut outputs).map_err(|e| e.to_string())?;
    drop(outputs);
    let pairs = results.iter().zip(shapes);
    Ok(pairs
        .map(|(data, shape)| Output {
            shape: shape.iter().map(|n| *n as usize).collect(),
            values: data.numbers(),
        })
        .collect())
}

/// Elements in the form that compiled code reads and writes.
enum Elements {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bf16(Vec<u16>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    Bool(Vec<i32>),
}

impl Elements {
    fn new(dtype: DType, numbers: &[f64]) -> Elements {
        let numbers = numbers.iter().copied();
        match dtype {
            DType::F32 => Elements::F32(numbers.map(|x| x as f32).collect()),
            DType::F64 => Elements::F64(numbers.collect()),
            DType::Bf16 => Elements::Bf16(numbers.map(|x| bf16::from_f64(x).to_bits()).collect()),
            DType::I32 => Elements::I32(numbers.map(|x| x as i32).collect()),
            DType::U32 => Elements::U32(numbers.map(|x| x as u32).collect()),
            DType::Bool => Elements::Bool(numbers.map(|x| if x != 0.0 { -1 } else { 0 }).collect()),
        }
    }

    fn read(&self) -> Data<'_> {
        match self {
            Elements::F32(v) => Data::F32(v),
            Elements::F64(v) => Data::F64(v),
            Elements::Bf16(v) => Data::Bf16(v),
            Elements::I32(v) => Data::I32(v),
            Elements::U32(v) => Data::U32(v),
            Elements::Bool(v) => Data::Bool(v),
        }
    }

    fn write(&mut self) -> DataMut<'_> {
        match self {
            Elements::F32(v) => DataMut::F32(v),
            Elements::F64(v) => DataMut::F64(v),
            Elements::Bf16(v) => DataMut::Bf16(v),
            Elements::I32(v) => DataMut::I32(v),
            Elements::U32(v) => DataMut::U32(v),
            Elements::Bool(v) => DataMut::Bool(v),
        }
    }

    fn numbers(&self) -> Vec<f64> {
        match self {
            Elements::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Elements::F64(v) => v.clone(),
            Elements::Bf16(v) => v.iter().map(|x| bf16::from_bits(*x).to_f64()).collect(),
            Elements::I32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Elements::U32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Elements::Bool(v) => v.iter().map(|x| f64::from(-*x)).collect(),
        }
    }
}
