//! Lowering, compiling and running functions, and comparing with the reference.
#![expect(unreachable_pub, reason = "every test binary has its own copy")]
#![allow(dead_code, reason = "not every test binary uses everything")]

use carousel_core::backend::{Backend, Data, DataMut, Executable, Tensor as View};
use carousel_core::{Target, lower};
use carousel_cpu::CpuBackend;
use carousel_ir::{DType, FunctionId, Module, Name, philox, verify};
use carousel_reference::{Tensor, evaluate};
use half::{bf16, f16};

/// Elements as the backend wants them.
pub enum Elements {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bf16(Vec<u16>),
    F16(Vec<u16>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    Bool(Vec<i32>),
}

impl Elements {
    /// Numbers in a dtype.
    pub fn new(dtype: DType, numbers: &[f64]) -> Elements {
        match dtype {
            DType::F32 => Elements::F32(numbers.iter().map(|&x| x as f32).collect()),
            DType::F64 => Elements::F64(numbers.to_vec()),
            DType::Bf16 => {
                Elements::Bf16(numbers.iter().map(|&x| bf16::from_f32(x as f32).to_bits()).collect())
            }
            DType::F16 => Elements::F16(numbers.iter().map(|&x| f16::from_f32(x as f32).to_bits()).collect()),
            DType::I32 => Elements::I32(numbers.iter().map(|&x| x as i32).collect()),
            DType::U32 => Elements::U32(numbers.iter().map(|&x| x as u32).collect()),
            DType::Bool => Elements::Bool(numbers.iter().map(|&x| -i32::from(x != 0.0)).collect()),
        }
    }

    pub fn data(&self) -> Data<'_> {
        match self {
            Elements::F32(x) => Data::F32(x),
            Elements::F64(x) => Data::F64(x),
            Elements::Bf16(x) => Data::Bf16(x),
            Elements::F16(x) => Data::F16(x),
            Elements::I32(x) => Data::I32(x),
            Elements::U32(x) => Data::U32(x),
            Elements::Bool(x) => Data::Bool(x),
        }
    }

    pub fn data_mut(&mut self) -> DataMut<'_> {
        match self {
            Elements::F32(x) => DataMut::F32(x),
            Elements::F64(x) => DataMut::F64(x),
            Elements::Bf16(x) => DataMut::Bf16(x),
            Elements::F16(x) => DataMut::F16(x),
            Elements::I32(x) => DataMut::I32(x),
            Elements::U32(x) => DataMut::U32(x),
            Elements::Bool(x) => DataMut::Bool(x),
        }
    }

    /// As numbers; truth values are 0 and 1.
    pub fn numbers(&self) -> Vec<f64> {
        match self {
            Elements::F32(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Elements::F64(x) => x.clone(),
            Elements::Bf16(x) => x.iter().map(|&x| bf16::from_bits(x).to_f64()).collect(),
            Elements::F16(x) => x.iter().map(|&x| f16::from_bits(x).to_f64()).collect(),
            Elements::I32(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Elements::U32(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Elements::Bool(x) => x.iter().map(|&x| f64::from(u8::from(x != 0))).collect(),
        }
    }
}

/// Runs an executable; outputs start as garbage that must not show.
pub fn run(executable: &dyn Executable, inputs: &[Tensor<f64>]) -> Vec<Vec<f64>> {
    let shapes: Vec<Vec<u64>> = inputs.iter().map(|t| t.shape.iter().map(|&n| n as u64).collect()).collect();
    let ports = executable.inputs();
    let elements: Vec<Elements> = ports
        .iter()
        .zip(inputs)
        .map(|(port, tensor)| Elements::new(port.ty.dtype, &tensor.to_f64()))
        .collect();
    let views: Vec<View<'_>> =
        elements.iter().zip(&shapes).map(|(x, shape)| View { data: x.data(), shape }).collect();
    let shapes: Vec<&[u64]> = shapes.iter().map(Vec::as_slice).collect();
    let output_shapes = executable.output_shapes(&shapes).expect("the shapes fit");
    let mut outputs: Vec<Elements> = executable
        .outputs()
        .iter()
        .zip(&output_shapes)
        .map(|(port, shape)| {
            Elements::new(port.ty.dtype, &vec![123.0; shape.iter().product::<u64>() as usize])
        })
        .collect();
    let mut data: Vec<DataMut<'_>> = outputs.iter_mut().map(Elements::data_mut).collect();
    executable.run(&views, &mut data).expect("it runs");
    outputs.iter().map(Elements::numbers).collect()
}

/// Asserts that a function gives the reference's outputs, on one thread and on three, with usual tiles and tiny ones.
///
/// What f32 can tell is taken from the reference itself, which evaluates in f32 and f64: an error of `tolerance`, or
/// twenty times the difference of the two. A tolerance below 1e-9 is for f64, and stands as it is.
pub fn agree(module: &Module, root: FunctionId, inputs: &[Tensor<f64>], tolerance: f64) {
    let problems = verify(module);
    assert!(problems.is_empty(), "{problems:?}");
    let exact = evaluate(module, root, inputs).expect("the reference evaluates the case");
    let narrow: Vec<Tensor<f32>> = inputs
        .iter()
        .map(|tensor| match &tensor.data {
            carousel_reference::Data::Float(_) => Tensor::floats(&tensor.shape, tensor.to_f64()),
            carousel_reference::Data::Integer(x) => Tensor::integers(&tensor.shape, x.iter().copied()),
            carousel_reference::Data::Bool(x) => Tensor::bools(&tensor.shape, x.iter().copied()),
        })
        .collect();
    let rounded = evaluate(module, root, &narrow).expect("the reference evaluates the case");
    let tiny = Target {
        tile_elements: 3,
        product_rows: 2,
        product_columns: 3,
        small_contraction: 1,
        inline_operations: 4,
        ..Target::default()
    };
    let slack = if tolerance < 1e-9 { 0.0 } else { 20.0 };
    for target in [Target::default(), tiny] {
        let program = lower(module, root, &target).expect("verified modules lower");
        let text = program.to_string();
        let mut first: Option<Vec<Vec<f64>>> = None;
        for threads in [1, 3] {
            let executable =
                CpuBackend::new(threads).compile(program.clone()).unwrap_or_else(|e| panic!("{e}\n{text}"));
            let found = run(&*executable, inputs);
            let again = run(&*executable, inputs);
            let bits = |x: &[Vec<f64>]| x.iter().flatten().map(|x| x.to_bits()).collect::<Vec<u64>>();
            assert_eq!(bits(&found), bits(&again), "a second run differs\n{text}");
            if let Some(first) = &first {
                assert_eq!(bits(&found), bits(first), "threads change the result\n{text}");
            }
            for ((found, exact), (rounded, port)) in
                found.iter().zip(&exact).zip(rounded.iter().zip(executable.outputs()))
            {
                let (exact, rounded) = (exact.to_f64(), rounded.to_f64());
                assert_eq!(found.len(), exact.len());
                for (at, ((f, e), r)) in found.iter().zip(&exact).zip(&rounded).enumerate() {
                    // Where rounding turned a comparison, there is nothing to compare with.
                    let close = f == e
                        || f == r
                        || (f.is_nan() && (e.is_nan() || r.is_nan()))
                        || (f - e).abs() <= tolerance * (1.0 + e.abs()) + slack * (r - e).abs();
                    assert!(close, "element {at} of `{}` is {f}, not {e} (in f32 {r})\n{text}", port.name);
                }
            }
            first = Some(found);
        }
    }
}

/// The same at several values of the symbols, on inputs from a fixed seed; integers are below 4.
pub fn agree_at<const N: usize>(
    module: &Module,
    root: FunctionId,
    symbols: &[&str; N],
    sizes: &[[u64; N]],
    tolerance: f64,
) {
    for values in sizes {
        let inputs = inputs_at(module, root, symbols, values);
        agree(module, root, &inputs, tolerance);
    }
}

/// Inputs from a fixed seed; integers are below 4.
pub fn inputs_at(module: &Module, root: FunctionId, symbols: &[&str], values: &[u64]) -> Vec<Tensor<f64>> {
    let graph = &module[root].graph;
    let symbol = |name: Name| symbols.iter().position(|s| *s == name.as_str()).map(|i| values[i]);
    let tensor = |(place, input): (usize, &carousel_ir::Input)| {
        let size = |a| graph.axes.size(a).evaluate(&symbol).expect("all symbols are given") as usize;
        let shape: Vec<usize> = input.ty.axes.iter().map(size).collect();
        let n = shape.iter().product::<usize>() as u64;
        let uniform = |i| f64::from(philox::uniform(7, place as u32, 0, i));
        match input.ty.dtype {
            DType::I32 | DType::U32 => Tensor::integers(&shape, (0..n).map(|i| (uniform(i) * 4.0) as i64)),
            DType::Bool => Tensor::bools(&shape, (0..n).map(|i| uniform(i) < 0.5)),
            DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => {
                Tensor::floats(&shape, (0..n).map(|i| uniform(i) * 2.0 - 1.0))
            }
        }
    };
    graph.inputs.iter().enumerate().map(tensor).collect()
}
