//! Functions as machine code, run on the tensors of the reference.
//!
//! Numbers go in and come out as f64, whatever the function computes in, and every dtype goes through it unchanged:
//! equal bits stay equal numbers. Invariant: outputs are NaN, or an impossible number, until the code writes them, so
//! that an element that it leaves out is noticed. It compares nothing.

use crate::error::sentences;
use carousel_core::backend::{Data, DataMut, Executable, Tensor};
use carousel_core::{Target, lower};
use carousel_cpu::{CpuBackend, CpuExecutable};
use carousel_ir::{DType, FunctionId, Module};
use carousel_passes::{Rules, canonicalize};
use carousel_reference as reference;
use half::{bf16, f16};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A compiled function.
pub struct Compiled<E = CpuExecutable> {
    executable: E,
}

/// A result.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// Its shape, axes in the declared order.
    pub shape: Vec<usize>,
    /// Its elements, row-major; truth values are 0 and 1.
    pub values: Vec<f64>,
}

impl Output {
    /// What tells results apart that are equal numbers, such as zeros of different signs.
    pub fn bits(&self) -> Vec<u64> {
        self.values.iter().map(|x| x.to_bits()).collect()
    }
}

/// The CPU with that many threads; asked again, the same threads.
pub fn backend(threads: usize) -> CpuBackend {
    static BACKENDS: Mutex<BTreeMap<usize, CpuBackend>> = Mutex::new(BTreeMap::new());
    let mut backends = BACKENDS.lock().unwrap_or_else(PoisonError::into_inner);
    backends.entry(threads).or_insert_with(|| CpuBackend::new(threads)).clone()
}

/// What a compiler does between two stages: the canonical form, which must verify. Functions keep their numbers.
///
/// # Errors
/// The first thing that the verifier does not accept.
pub fn canonical(module: &Module) -> Result<Module, String> {
    let (module, _) = canonicalize(module, Rules::builtin());
    match carousel_ir::verify(&module).first() {
        Some(problem) => Err(format!("the canonical form does not verify: {problem}")),
        None => Ok(module),
    }
}

impl Compiled {
    /// Compiles a function of a verified module as it stands, for `threads` threads.
    ///
    /// # Errors
    /// What lowering or the code generator says.
    pub fn new(module: &Module, root: FunctionId, threads: usize) -> Result<Compiled, String> {
        let program = lower(module, root, &Target::default()).map_err(|problems| sentences(&problems))?;
        let executable = backend(threads).executable(program).map_err(|e| e.to_string())?;
        Ok(Compiled { executable })
    }
}

impl<E: Executable> Compiled<E> {
    /// A function that some backend has compiled.
    pub fn from_executable(executable: E) -> Compiled<E> {
        Compiled { executable }
    }

    /// The executable itself.
    pub fn executable(&self) -> &E {
        &self.executable
    }

    /// Runs the function.
    ///
    /// # Errors
    /// What the executable says.
    pub fn run(&self, inputs: &[reference::Tensor<f64>]) -> Result<Vec<Output>, String> {
        let sizes = |t: &reference::Tensor<f64>| t.shape.iter().map(|n| *n as u64).collect();
        let shapes: Vec<Vec<u64>> = inputs.iter().map(sizes).collect();
        let given: Vec<Elements> = inputs
            .iter()
            .zip(self.executable.inputs())
            .map(|(t, port)| Elements::new(port.ty.dtype, &t.to_f64()))
            .collect();
        let tensors: Vec<Tensor<'_>> =
            given.iter().zip(&shapes).map(|(data, shape)| Tensor { data: data.read(), shape }).collect();
        let shapes: Vec<&[u64]> = shapes.iter().map(Vec::as_slice).collect();
        let shapes = self.executable.output_shapes(&shapes).map_err(|e| e.to_string())?;
        let elements = |shape: &Vec<u64>| shape.iter().product::<u64>() as usize;
        let mut results: Vec<Elements> = shapes
            .iter()
            .zip(self.executable.outputs())
            .map(|(shape, port)| Elements::unwritten(port.ty.dtype, elements(shape)))
            .collect();
        let mut outputs: Vec<DataMut<'_>> = results.iter_mut().map(Elements::write).collect();
        self.executable.run(&tensors, &mut outputs).map_err(|e| e.to_string())?;
        drop(outputs);
        let shape = |shape: Vec<u64>| shape.into_iter().map(|n| n as usize).collect();
        let pairs = results.iter().zip(shapes);
        Ok(pairs.map(|(data, s)| Output { shape: shape(s), values: data.numbers() }).collect())
    }
}

/// Elements in the form that compiled code reads and writes.
enum Elements {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bf16(Vec<u16>),
    F16(Vec<u16>),
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
            DType::F16 => Elements::F16(numbers.map(|x| f16::from_f64(x).to_bits()).collect()),
            DType::I32 => Elements::I32(numbers.map(|x| x as i32).collect()),
            DType::U32 => Elements::U32(numbers.map(|x| x as u32).collect()),
            DType::Bool => Elements::Bool(numbers.map(|x| if x != 0.0 { -1 } else { 0 }).collect()),
        }
    }

    fn unwritten(dtype: DType, elements: usize) -> Elements {
        match dtype {
            DType::F32 => Elements::F32(vec![f32::NAN; elements]),
            DType::F64 => Elements::F64(vec![f64::NAN; elements]),
            DType::Bf16 => Elements::Bf16(vec![bf16::NAN.to_bits(); elements]),
            DType::F16 => Elements::F16(vec![f16::NAN.to_bits(); elements]),
            DType::I32 => Elements::I32(vec![i32::MIN; elements]),
            DType::U32 => Elements::U32(vec![u32::MAX; elements]),
            DType::Bool => Elements::Bool(vec![i32::MIN; elements]),
        }
    }

    fn read(&self) -> Data<'_> {
        match self {
            Elements::F32(v) => Data::F32(v),
            Elements::F64(v) => Data::F64(v),
            Elements::Bf16(v) => Data::Bf16(v),
            Elements::F16(v) => Data::F16(v),
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
            Elements::F16(v) => DataMut::F16(v),
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
            Elements::F16(v) => v.iter().map(|x| f16::from_bits(*x).to_f64()).collect(),
            Elements::I32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Elements::U32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Elements::Bool(v) => v.iter().map(|x| -f64::from(*x)).collect(),
        }
    }
}
