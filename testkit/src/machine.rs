//! Functions as machine code, run on the tensors of the reference.
//!
//! Numbers go in and come out as f64, whatever the function computes in, and every dtype goes through it unchanged:
//! equal bits stay equal numbers. Invariant: outputs are NaN, or an impossible number, until the code writes them, so
//! that an element that it leaves out is noticed. It compares nothing.

use crate::error::sentences;
use carousel_core::backend::{DataMut, Executable, Tensor};
use carousel_core::values::Values;
use carousel_core::{Target, lower};
use carousel_cpu::{CpuBackend, CpuExecutable};
use carousel_ir::{DType, FunctionId, Module};
use carousel_passes::{Rules, canonicalize};
use carousel_reference as reference;
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
        let given: Vec<Values> = inputs
            .iter()
            .zip(self.executable.inputs())
            .map(|(t, port)| Values::from_numbers(port.ty.dtype, t.to_f64()))
            .collect();
        let tensors: Vec<Tensor<'_>> =
            given.iter().zip(&shapes).map(|(data, shape)| Tensor { data: data.as_data(), shape }).collect();
        let shapes: Vec<&[u64]> = shapes.iter().map(Vec::as_slice).collect();
        let shapes = self.executable.output_shapes(&shapes).map_err(|e| e.to_string())?;
        let elements = |shape: &Vec<u64>| shape.iter().product::<u64>() as usize;
        let mut results: Vec<Values> = shapes
            .iter()
            .zip(self.executable.outputs())
            .map(|(shape, port)| unwritten(port.ty.dtype, elements(shape)))
            .collect();
        let mut outputs: Vec<DataMut<'_>> = results.iter_mut().map(Values::as_mut).collect();
        self.executable.run(&tensors, &mut outputs).map_err(|e| e.to_string())?;
        drop(outputs);
        let shape = |shape: Vec<u64>| shape.into_iter().map(|n| n as usize).collect();
        let pairs = results.iter().zip(shapes);
        Ok(pairs.map(|(data, s)| Output { shape: shape(s), values: data.numbers() }).collect())
    }
}

/// What no function is expected to give.
fn unwritten(dtype: DType, elements: usize) -> Values {
    Values::from_numbers(
        dtype,
        std::iter::repeat_n(if dtype.is_float() { f64::NAN } else { -1.5e9 }, elements),
    )
}
