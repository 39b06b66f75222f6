//! Lowering a function, interpreting its kernels, and comparing with the reference.

use carousel_core::interpret::interpret;
use carousel_core::program::Program;
use carousel_core::{Target, bind, lower};
use carousel_ir::{
    Builder, DType, Function, FunctionId, FunctionKind, Module, Name, Residuals, philox, verify,
};
use carousel_reference::{Tensor, evaluate};

/// A module of nothing but the function that was built.
pub(crate) fn module(builder: Builder<'_>) -> (Module, FunctionId) {
    let graph = builder.finish().unwrap_or_else(|problems| panic!("{}", problems[0]));
    let mut module = Module::default();
    let kind = FunctionKind::Fn;
    let root = module.push(Function { name: "f".into(), kind, residuals: Residuals::Save, graph });
    (module, root)
}

/// The program of a function.
pub(crate) fn functions(module: &Module, root: FunctionId) -> Program {
    lower(module, root, &Target::default()).expect("verified modules lower")
}

/// Asserts that the kernels of a function give the reference's outputs, with usual tiles, with tiny ones and as for a GPU.
pub(crate) fn agree(module: &Module, root: FunctionId, inputs: &[Tensor<f64>]) {
    let problems = verify(module);
    assert!(problems.is_empty(), "{problems:?}");
    let expected = evaluate(module, root, inputs).expect("the reference evaluates the case");
    let shapes: Vec<Vec<u64>> = inputs.iter().map(|t| t.shape.iter().map(|n| *n as u64).collect()).collect();
    let shapes: Vec<&[u64]> = shapes.iter().map(Vec::as_slice).collect();
    let values: Vec<Vec<f64>> = inputs.iter().map(Tensor::to_f64).collect();
    let tiny = Target {
        tile_elements: 3,
        product_rows: 2,
        product_columns: 3,
        product_dtypes: &[DType::F32, DType::F64, DType::Bf16],
        small_contraction: 1,
        is_coalescing: false,
        group_points: 1,
        sweep_points: 1,
        factors: DType::F32,
        state_tile: None,
        keeps_factors: false,
        inline_operations: 4,
    };
    let like_a_gpu =
        Target { sweep_points: u64::MAX, state_tile: Some(4), is_coalescing: true, ..Target::default() };
    for target in [Target::default(), tiny, like_a_gpu] {
        let program = lower(module, root, &target).expect("verified modules lower");
        let bound = bind(&program, &shapes).expect("the shapes fit");
        let found = interpret(&program, &bound, &values).unwrap_or_else(|e| panic!("{e}\n{program}"));
        assert_eq!(found.outputs.len(), expected.len());
        for ((found, expected), port) in
            found.outputs.iter().zip(&expected).zip(&program.routines.last().expect("a root").outputs)
        {
            let expected = expected.to_f64();
            assert_eq!(found.len(), expected.len());
            for (at, (f, e)) in found.iter().zip(&expected).enumerate() {
                let close = f == e || (f.is_nan() && e.is_nan()) || (f - e).abs() <= 1e-9 * (1.0 + e.abs());
                assert!(close, "element {at} of `{}` is {f}, not {e}\n{program}", port.name);
            }
        }
    }
}

/// The same at several values of the symbols, on inputs from a fixed seed; integers are below 4.
pub(crate) fn agree_at<const N: usize>(
    module: &Module,
    root: FunctionId,
    symbols: &[&str; N],
    sizes: &[[u64; N]],
) {
    let graph = &module[root].graph;
    for values in sizes {
        let symbol = |name: Name| symbols.iter().position(|s| *s == name.as_str()).map(|i| values[i]);
        let tensor = |(place, input): (usize, &carousel_ir::Input)| {
            let shape: Vec<usize> = input
                .ty
                .axes
                .iter()
                .map(|a| graph.axes.size(a).evaluate(&symbol).expect("all symbols are given") as usize)
                .collect();
            let n = shape.iter().product::<usize>() as u64;
            let uniform = |i| f64::from(philox::uniform(7, place as u32, 0, i));
            match input.ty.dtype {
                DType::I32 | DType::U32 => {
                    Tensor::integers(&shape, (0..n).map(|i| (uniform(i) * 4.0) as i64))
                }
                DType::Bool => Tensor::bools(&shape, (0..n).map(|i| uniform(i) < 0.5)),
                DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => {
                    Tensor::floats(&shape, (0..n).map(|i| uniform(i) * 2.0 - 1.0))
                }
            }
        };
        let inputs: Vec<Tensor<f64>> = graph.inputs.iter().enumerate().map(tensor).collect();
        agree(module, root, &inputs);
    }
}
