//! Lowering a function, interpreting its kernels, and comparing with the reference.

use carousel_core::interpret::interpret;
use carousel_core::{Target, bind, lower};
use carousel_ir::{FunctionId, Module, verify};
use carousel_reference::{Tensor, evaluate};

/// Asserts that the kernels of a function give the reference's outputs, with usual tiles and with tiny ones.
pub fn agree(module: &Module, root: FunctionId, inputs: &[Tensor<f64>]) {
    assert_eq!(verify(module), []);
    let expected = evaluate(module, root, inputs).expect("the reference evaluates the case");
    let shapes: Vec<Vec<u64>> =
        inputs.iter().map(|t| t.shape.iter().map(|n| *n as u64).collect()).collect();
    let shapes: Vec<&[u64]> = shapes.iter().map(Vec::as_slice).collect();
    let values: Vec<Vec<f64>> = inputs.iter().map(Tensor::to_f64).collect();
    let tiny = Target {
        tile_elements: 3,
        product_rows: 2,
        product_columns: 3,
        small_contraction: 1,
        inline_operations: 4,
    };
    for target in [Target::default(), tiny] {
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
