//! Products on tensor cores: factors in every dtype and order, tails of tiles everywhere, numbers of every size.

use crate::kernels::{elaborated, lowered};
use carousel_core::backend::Executable as _;
use carousel_core::lower_stored;
use carousel_core::program::{Program, Stored};
use carousel_cuda::{cuda, target};
use carousel_ir::{DType, Name, philox};
use carousel_reference::Tensor;
use carousel_testkit::device::OnDevice;
use carousel_tests::emulated::backend;
use half::{bf16, f16};

/// Sizes of m, n and k: less than a tile, tiles and their tails, rows that are multiples of a wide access and others.
#[rustfmt::skip]
const SIZES: [[usize; 3]; 22] = [
    [1, 1, 1], [1, 9, 4], [3, 70, 7], [8, 8, 8], [16, 8, 16], [17, 9, 15], [9, 17, 33], [31, 33, 32], [32, 16, 64], [33, 15, 17],
    [63, 64, 31], [64, 64, 16], [64, 64, 32], [65, 66, 34], [64, 128, 48], [70, 40, 8], [12, 100, 20], [128, 64, 4], [66, 130, 5],
    [1, 64, 40], [257, 12, 24], [20, 132, 36],
];

/// The numbers of a matrix, as they are in memory.
fn numbers(dtype: DType, stream: u32, count: usize) -> Vec<f64> {
    let draw = |at| 2.0 * f64::from(philox::uniform(17, stream, 0, at)) - 1.0;
    let stored = |x: f64| match dtype {
        DType::Bf16 => bf16::from_f64(x).to_f64(),
        DType::F16 => f16::from_f64(x).to_f64(),
        DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::Bool => f64::from(x as f32),
    };
    (0..count as u64).map(|at| stored(draw(at))).collect()
}

/// A product whose factors lie in memory in these dtypes.
fn product(text: &str, dtypes: [DType; 2]) -> OnDevice {
    let (module, root) = elaborated(text);
    let stored =
        ["a", "b"].map(Name::new).into_iter().zip(dtypes.map(|dtype| Stored { dtype, strides: None }));
    let stored: Vec<(Name, Stored)> = stored.collect();
    let program: Program = lower_stored(&module, root, &stored, &target()).expect("it can be lowered");
    let texts: Vec<String> = program.kernels.iter().map(cuda).collect();
    assert!(texts.iter().any(|text| text.contains("product_on_tensor_cores<")), "{}", texts.join("\n"));
    OnDevice::of(backend(), program).unwrap_or_else(|why| panic!("{why}"))
}

/// Runs a product of matrices that are turned or not, and compares with the sum in f64.
fn agrees(device: &OnDevice, [a_turned, b_turned]: [bool; 2], dtypes: [DType; 2], [m, n, k]: [usize; 3]) {
    let (a, b) = (numbers(dtypes[0], 1, m * k), numbers(dtypes[1], 2, k * n));
    let rounded = device.executable().outputs()[0].ty.dtype == DType::Bf16;
    let shape = |rows: usize, columns: usize, turned| if turned { [columns, rows] } else { [rows, columns] };
    let inputs = [
        Tensor::floats(&shape(m, k, a_turned), a.iter().copied()),
        Tensor::floats(&shape(k, n, b_turned), b.iter().copied()),
    ];
    let found = device.run(&inputs).unwrap_or_else(|why| panic!("{dtypes:?} {m} {n} {k}: {why}"));
    for i in 0..m {
        for j in 0..n {
            let factor = |l: usize| {
                let x = if a_turned { a[l * m + i] } else { a[i * k + l] };
                x * if b_turned { b[j * k + l] } else { b[l * n + j] }
            };
            let exact: f64 = (0..k).map(factor).sum();
            let all: f64 = (0..k).map(|l| factor(l).abs()).sum();
            let error = (found[0].values[i * n + j] - exact).abs();
            // What an f32 is off after a few additions, whatever the length; and what is lost where it is rounded to bf16.
            let rounding = if rounded { 2f64.powi(-8) * exact.abs() } else { 0.0 };
            let allowed = 8.0 * 2f64.powi(-24) * all + rounding + 1e-30;
            assert!(error <= allowed, "{dtypes:?} {m} {n} {k}: ({i}, {j}) is {error} off, of {all}");
        }
    }
}

#[test]
fn factors_in_every_order() {
    for turned in [[false, false], [false, true], [true, false], [true, true]] {
        let (a, b) = (["m, k", "k, m"][usize::from(turned[0])], ["k, n", "n, k"][usize::from(turned[1])]);
        let text = format!("fn f(a: [{a}], b: [{b}]) -> (c: [m, n]) {{ let c = sum[k](a * b) }}");
        let dtypes = [DType::F32; 2];
        let device = product(&text, dtypes);
        SIZES.iter().for_each(|sizes| agrees(&device, turned, dtypes, *sizes));
    }
}

#[test]
fn factors_in_every_dtype() {
    let text = "fn f(a: [m, k], b: [n, k]) -> (c: [m, n]) { let c = sum[k](a * b) }";
    let narrow = [DType::Bf16, DType::F16];
    let pairs = narrow.into_iter().flat_map(|b| [[b, b], [DType::F32, b]]).chain([[DType::Bf16, DType::F16]]);
    for dtypes in pairs {
        let device = product(text, dtypes);
        SIZES.iter().step_by(3).for_each(|sizes| agrees(&device, [false, true], dtypes, *sizes));
    }
}

#[test]
fn products_of_bf16_are_added_up_in_f32_and_rounded_once() {
    for (factors, turned) in
        [("a: bf16[m, k], b: bf16[n, k]", [false, true]), ("a: bf16[k, m], b: bf16[k, n]", [true, false])]
    {
        let program = lowered(&format!("fn f({factors}) -> (c: bf16[m, n]) {{ let c = dot[k](a, b) }}"));
        let texts: Vec<String> = program.kernels.iter().map(cuda).collect();
        assert!(texts.iter().any(|text| text.contains("product_on_tensor_cores<")), "{}", texts.join("\n"));
        let device = OnDevice::of(backend(), program).unwrap_or_else(|why| panic!("{why}"));
        SIZES.iter().step_by(2).for_each(|sizes| agrees(&device, turned, [DType::Bf16; 2], *sizes));
    }
}

/// Sums over several axes that do not lie in a row would be rounded in between: those are no products.
#[test]
fn what_would_be_rounded_twice_is_no_product() {
    let apart = "fn f(a: bf16[m, j, k], b: bf16[n, k, j]) -> (c: bf16[m, n]) { let c = dot[j, k](a, b) }";
    let together = "fn f(a: bf16[m, j, k], b: bf16[n, j, k]) -> (c: bf16[m, n]) { let c = dot[j, k](a, b) }";
    let is_product = |text| lowered(text).kernels.iter().any(|kernel| cuda(kernel).contains("product_"));
    assert!(is_product(together) && !is_product(apart));
}

/// Rows that begin anywhere: those of a part of a matrix, each of several matrices.
#[test]
fn factors_that_are_parts_of_something() {
    let device = OnDevice::of(
        backend(),
        lowered(
            "fn f(a: [m, e], b: [e, n]) -> (c: [m, n]) {
           let u = a[e -> k = 1..|e|]
           let v = b[e -> k = 0..|e| - 1]
           let c = sum[k](u * v)
         }",
        ),
    );
    let device = device.unwrap_or_else(|why| panic!("{why}"));
    for [m, n, k] in [[9, 8, 7], [64, 64, 31], [65, 12, 35]] {
        let (a, b) = (numbers(DType::F32, 1, m * (k + 1)), numbers(DType::F32, 2, (k + 1) * n));
        let inputs =
            [Tensor::floats(&[m, k + 1], a.iter().copied()), Tensor::floats(&[k + 1, n], b.iter().copied())];
        let found = device.run(&inputs).unwrap_or_else(|why| panic!("{m} {n} {k}: {why}"));
        for at in 0..m * n {
            let (i, j) = (at / n, at % n);
            let exact: f64 = (0..k).map(|l| a[i * (k + 1) + l + 1] * b[l * n + j]).sum();
            assert!((found[0].values[at] - exact).abs() < 1e-5, "{m} {n} {k}: ({i}, {j})");
        }
    }
}

#[test]
fn numbers_of_every_size() {
    let text = "fn f(a: [m, k], b: [k, n]) -> (c: [m, n]) { let c = sum[k](a * b) }";
    let device = product(text, [DType::F32; 2]);
    let (m, n, k) = (40, 24, 20);
    let mut a = vec![0.5; m * k];
    let mut b = vec![2.0; k * n];
    let largest = f64::from(f32::MAX);
    // Rows of zeros with one element that is no usual number.
    let special =
        [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, largest, -largest, 1e38, 1e-38, 2f64.powi(-110), 1e30];
    for (row, x) in special.into_iter().enumerate() {
        a[row * k..(row + 1) * k].fill(0.0);
        a[row * k + 3] = x;
    }
    // Columns by which it is multiplied; the others are 2.
    for (column, factor) in [1.0, 0.0, -0.5, 1.0 + 2f64.powi(-20)].into_iter().enumerate() {
        b[3 * n + column] = factor;
    }
    let inputs = [Tensor::floats(&[m, k], a.iter().copied()), Tensor::floats(&[k, n], b.iter().copied())];
    let found = device.run(&inputs).unwrap_or_else(|why| panic!("{why}"));
    for i in 0..m {
        for j in 0..n {
            let exact: f64 = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
            let (found, wanted) = (found[0].values[i * n + j], f64::from(exact as f32));
            let is_same = found == wanted || (found.is_nan() && wanted.is_nan());
            let is_close = (found - wanted).abs() <= 4.0 * 2f64.powi(-24) * wanted.abs();
            assert!(is_same || (wanted.is_finite() && is_close), "({i}, {j}) is {found}, not {wanted}");
        }
    }
}
