//! Lowering, compiling and running functions, and comparing with the reference.
#![expect(unreachable_pub, reason = "every test binary has its own copy")]
#![allow(dead_code, reason = "not every test binary uses everything")]

use carousel_core::backend::{Backend, DataMut, Executable, Tensor as View};
use carousel_core::values::Values;
use carousel_core::{Target, lower};
use carousel_cpu::CpuBackend;
use carousel_ir::{DType, FunctionId, Module, Name, philox, verify};
use carousel_reference::{Tensor, evaluate};

/// Runs an executable; outputs start as garbage that must not show.
pub fn run(executable: &dyn Executable, inputs: &[Tensor<f64>]) -> Vec<Vec<f64>> {
    let shapes: Vec<Vec<u64>> = inputs.iter().map(|t| t.shape.iter().map(|&n| n as u64).collect()).collect();
    let ports = executable.inputs();
    let elements: Vec<Values> = ports
        .iter()
        .zip(inputs)
        .map(|(port, tensor)| Values::from_numbers(port.ty.dtype, tensor.to_f64()))
        .collect();
    let views: Vec<View<'_>> =
        elements.iter().zip(&shapes).map(|(x, shape)| View { data: x.as_data(), shape }).collect();
    let shapes: Vec<&[u64]> = shapes.iter().map(Vec::as_slice).collect();
    let output_shapes = executable.output_shapes(&shapes).expect("the shapes fit");
    let mut outputs: Vec<Values> = executable
        .outputs()
        .iter()
        .zip(&output_shapes)
        .map(|(port, shape)| {
            let elements = shape.iter().product::<u64>() as usize;
            Values::from_numbers(port.ty.dtype, vec![123.0; elements])
        })
        .collect();
    let mut data: Vec<DataMut<'_>> = outputs.iter_mut().map(Values::as_mut).collect();
    executable.run(&views, &mut data).expect("it runs");
    outputs.iter().map(Values::numbers).collect()
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
