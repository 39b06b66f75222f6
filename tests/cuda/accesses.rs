//! How kernels load from memory where rows are aligned: 16 bytes a thread.

use crate::kernels::{elaborated, lowered};
use carousel_core::lower_stored;
use carousel_core::program::Stored;
use carousel_cuda::target;
use carousel_ir::{DType, Name};
use carousel_reference::Tensor;
use carousel_testkit::device::OnDevice;
use carousel_tests::emulated::backend;

/// Functions of each class, with the shapes of their inputs.
#[rustfmt::skip]
const CASES: [(&str, &[&[usize]]); 8] = [
    ("fn f(x: [s, d], g: [s, d], bias: [d]) -> (y: [s, d]) { let y = x * sigmoid(g) + bias }", &[&[24, 256], &[24, 256], &[256]]),
    ("fn f(x: [b, s, d], g: [b, d]) -> (y: [b, s, d]) { let y = x * g }",                   &[&[3, 8, 1024], &[3, 1024]]),
    ("fn f(x: [s, d]) -> (y: [s]) { let y = sqrt(sum[d](x * x)) }",                          &[&[24, 256]]),
    ("fn f(x: [s, d]) -> (y: [d]) { let y = sum[s](x) }",                                    &[&[48, 128]]),
    ("fn f(x: [n]) -> (y: []) { let y = max[n](x) }",                                        &[&[8192]]),
    ("fn f(x: [s, d = 64]) -> (y: [s, d]) { let y = x / sqrt(sum[d](x * x) + 1) }",          &[&[64, 64]]),
    ("fn f(a: [m, k], b: [n, k]) -> (c: [m, n]) { let c = sum[k](a * b) }",                  &[&[80, 64], &[72, 64]]),
    ("fn f(a: [m, k], b: [k]) -> (c: [m]) { let c = sum[k](a * b) }",                        &[&[72, 256], &[256]]),
];

fn tensor((number, shape): (usize, &&[usize])) -> Tensor<f64> {
    let count: usize = shape.iter().product();
    Tensor::floats(shape, (0..count).map(|at| ((at * 7 + number) % 16) as f64 / 16.0))
}

#[test]
fn loads_are_of_16_bytes_where_rows_are_aligned() {
    for (text, shapes) in CASES {
        let inputs: Vec<Tensor<f64>> = shapes.iter().enumerate().map(tensor).collect();
        for dtype in [DType::F32, DType::Bf16] {
            let (module, root) = elaborated(text);
            let stored: Vec<(Name, Stored)> = module[root]
                .graph
                .inputs
                .iter()
                .map(|input| (input.name, Stored { dtype, strides: None }))
                .collect();
            let program = lower_stored(&module, root, &stored, &target()).unwrap_or_else(|d| panic!("{d:?}"));
            let device = OnDevice::of(backend(), program).unwrap_or_else(|why| panic!("{why}"));
            let (_, counted) = device.counted(&inputs).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert!(counted.loads > 0);
            let (wide, all) = (counted.wide_loads, counted.loads);
            assert!(100 * wide >= 95 * all, "{wide} of {all} loads of {dtype}: {text}");
        }
    }
}

/// Where rows begin anywhere, what is loaded one by one is the same.
#[test]
fn rows_that_are_not_aligned_are_loaded_one_by_one() {
    let device = OnDevice::of(backend(), lowered("fn f(x: [s, d]) -> (y: [s]) { let y = sum[d](x) }"));
    let device = device.unwrap_or_else(|why| panic!("{why}"));
    let input = tensor((0, &[5, 203].as_slice()));
    let (outputs, counted) =
        device.counted(std::slice::from_ref(&input)).unwrap_or_else(|why| panic!("{why}"));
    assert!(counted.wide_loads * 2 < counted.loads);
    for (row, sum) in input.to_f64().chunks(203).zip(&outputs[0].values) {
        assert!((row.iter().sum::<f64>() - sum).abs() < 1e-4);
    }
}
