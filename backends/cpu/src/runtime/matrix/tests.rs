//! Products against a plain loop in f64.

use super::*;
use crate::runtime::isa::Isa;
use crate::runtime::simd::{Bf16, F16};
use crate::runtime::test_numbers::numbers;
use carousel_ir::philox::philox;

/// How a matrix lies in memory: its strides, and how many elements that takes.
fn layout(kind: u32, rows: usize, columns: usize) -> (isize, isize, usize) {
    let (r, c) = (rows.max(1), columns.max(1));
    let (rs, cs) = match kind % 4 {
        0 => (c, 1),
        1 => (1, r),
        2 => (c + 5, 1),
        _ => (2 * c + 1, 2),
    };
    (rs as isize, cs as isize, rs * r + cs * c)
}

fn compare(isa: Isa, [m, n, k]: [usize; 3], kinds: [u32; 3], alpha: f32, beta: f32) {
    let (c_rs, c_cs, c_size) = layout(kinds[0], m, n);
    let (a_rs, a_cs, a_size) = layout(kinds[1], m, k);
    let (b_rs, b_cs, b_size) = layout(kinds[2], k, n);
    let (a, b) = (numbers(a_size, 1, -1.0, 1.0), numbers(b_size, 2, -1.0, 1.0));
    let mut before = numbers(c_size, 3, -1.0, 1.0);
    if alpha == 0.0 {
        before.fill(f32::NAN);
    }
    let mut c = before.clone();
    let mut c64: Vec<f64> = before.iter().map(|&x| f64::from(x)).collect();
    let (a64, b64): (Vec<f64>, Vec<f64>) =
        (a.iter().map(|&x| f64::from(x)).collect(), b.iter().map(|&x| f64::from(x)).collect());
    // SAFETY: the layouts have room for the strides.
    unsafe {
        let f = gemm_f32::function(isa);
        f(m, n, k, c.as_mut_ptr(), c_rs, c_cs, alpha, a.as_ptr(), a_rs, a_cs, b.as_ptr(), b_rs, b_cs, beta);
        let (alpha, beta) = (f64::from(alpha), f64::from(beta));
        gemm_f64(
            m,
            n,
            k,
            c64.as_mut_ptr(),
            c_rs,
            c_cs,
            alpha,
            a64.as_ptr(),
            a_rs,
            a_cs,
            b64.as_ptr(),
            b_rs,
            b_cs,
            beta,
        );
    }
    let what = format!("{isa:?} {m} x {n} x {k}, layouts {kinds:?}, alpha {alpha}, beta {beta}");
    let mut written = vec![false; c_size];
    for i in 0..m {
        for j in 0..n {
            let at = i * c_rs as usize + j * c_cs as usize;
            written[at] = true;
            let mut expected = if alpha == 0.0 { 0.0 } else { f64::from(alpha) * f64::from(before[at]) };
            for p in 0..k {
                let (x, y) = (i * a_rs as usize + p * a_cs as usize, p * b_rs as usize + j * b_cs as usize);
                expected += f64::from(beta) * a64[x] * b64[y];
            }
            let bound = 3e-7 * (2.0 + k as f64).sqrt() * 4.0;
            assert!((f64::from(c[at]) - expected).abs() <= bound, "{what}: ({i}, {j}) {} {expected}", c[at]);
            assert!((c64[at] - expected).abs() <= 1e-12, "{what}: f64 ({i}, {j}) {} {expected}", c64[at]);
        }
    }
    for at in 0..c_size {
        assert!(written[at] || c[at].to_bits() == before[at].to_bits(), "{what}: wrote {at}, outside of c");
    }
}

#[test]
fn products_of_random_shapes_and_strides_agree_with_f64() {
    let extents = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 47, 64, 70];
    for case in 0..1500u32 {
        let [x, y, z, w] = philox([case, 1], [0; 4]);
        let pick = |word: u32| extents[word as usize % extents.len()];
        let (alpha, beta) = ([0.0, 1.0, -0.5][w as usize % 3], [1.0, 0.25][(w >> 8) as usize % 2]);
        let kinds = [w >> 10, w >> 12, w >> 14];
        for &isa in Isa::available() {
            compare(isa, [pick(x), pick(y), pick(z)], kinds, alpha, beta);
        }
    }
}

#[test]
fn products_of_tiles_of_weights_agree_with_f64() {
    for [m, n, k] in [[17, 64, 256], [40, 70, 530], [256, 130, 300], [65, 33, 260], [257, 64, 512]] {
        for kinds in 0..64u32 {
            for &isa in Isa::available() {
                compare(
                    isa,
                    [m, n, k],
                    [kinds, kinds >> 2, kinds >> 4],
                    [0.0, -0.5][kinds as usize % 2],
                    0.25,
                );
            }
        }
    }
}

/// The product with a left matrix in 16 bits against the one with the same numbers in f32.
fn compare_stored<E: Copy>(
    narrow: impl Fn(f32) -> E,
    wide: impl Fn(E) -> f32,
    function: impl Fn(
        Isa,
    ) -> unsafe extern "C" fn(
        usize,
        usize,
        usize,
        *mut f32,
        isize,
        isize,
        f32,
        *const E,
        isize,
        isize,
        *const f32,
        isize,
        isize,
        f32,
    ),
) {
    let shapes =
        [[1, 1, 1], [37, 1, 200], [130, 4, 600], [9, 3, 131], [300, 70, 45], [5, 40, 1100], [16, 16, 0]];
    for [m, n, k] in shapes {
        for kinds in 0..64u32 {
            let (c_rs, c_cs, c_size) = layout(kinds, m, n);
            let (a_rs, a_cs, a_size) = layout(kinds >> 2, m, k);
            let (b_rs, b_cs, b_size) = layout(kinds >> 4, k, n);
            let stored: Vec<E> = numbers(a_size, 1, -1.0, 1.0).iter().map(|x| narrow(*x)).collect();
            let a: Vec<f32> = stored.iter().map(|x| wide(*x)).collect();
            let (b, before) = (numbers(b_size, 2, -1.0, 1.0), numbers(c_size, 3, -1.0, 1.0));
            for (&isa, alpha) in Isa::available().iter().flat_map(|isa| [(isa, 0.0), (isa, -0.5)]) {
                let (mut expected, mut found) = (before.clone(), before.clone());
                let (x, y) = (expected.as_mut_ptr(), found.as_mut_ptr());
                let (a, stored, b) = (a.as_ptr(), stored.as_ptr(), b.as_ptr());
                // SAFETY: the layouts have room for the strides.
                unsafe {
                    gemm_f32::function(isa)(
                        m, n, k, x, c_rs, c_cs, alpha, a, a_rs, a_cs, b, b_rs, b_cs, 0.25,
                    );
                    function(isa)(m, n, k, y, c_rs, c_cs, alpha, stored, a_rs, a_cs, b, b_rs, b_cs, 0.25);
                }
                let bound = 3e-7 * (2.0 + k as f32).sqrt() * 4.0;
                for (at, (x, y)) in expected.iter().zip(&found).enumerate() {
                    assert!(
                        (x - y).abs() <= bound,
                        "{isa:?} {m} x {n} x {k}, layouts {kinds}: {at}: {x} {y}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_left_matrix_in_16_bits_is_multiplied_as_its_values_in_f32() {
    compare_stored(
        |x| Bf16((x.to_bits() >> 16) as u16),
        |x| f32::from_bits(u32::from(x.0) << 16),
        gemm_bf16::function,
    );
    compare_stored(
        |x| F16(half::f16::from_f32(x).to_bits()),
        |x| half::f16::from_bits(x.0).to_f32(),
        gemm_f16::function,
    );
}

#[test]
fn each_way_of_multiplying_agrees_with_f64() {
    let shapes = [
        [1, 1, 1],
        [1, 1, 300],
        [300, 1, 40],
        [1, 300, 40],
        [37, 1, 200],
        [1, 65, 130],
        [3, 129, 131],
        [16, 40, 128],
        [130, 13, 200],
        [100, 90, 70],
        [1, 16, 0],
        [16, 0, 16],
    ];
    for shape in shapes {
        for kinds in 0..64 {
            for &isa in Isa::available() {
                compare(isa, shape, [kinds, kinds >> 2, kinds >> 4], 0.0, 1.0);
                compare(isa, shape, [kinds, kinds >> 2, kinds >> 4], 2.0, -0.5);
            }
        }
    }
}

#[test]
fn own_kernels_have_the_same_bits_wherever_multiply_add_is_fused() {
    // Small, dot products, columns: (m, n, k) and whether b is transposed.
    for ([m, n, k], transposed) in
        [([13, 37, 11], false), ([50, 3, 333], true), ([1, 77, 50], false), ([1, 77, 50], true)]
    {
        let (a, b) = (numbers(m * k, 1, -1.0, 1.0), numbers(k * n, 2, -1.0, 1.0));
        let (b_rs, b_cs) = if transposed { (1, k as isize) } else { (n as isize, 1) };
        let results: Vec<Vec<u32>> = Isa::available()
            .iter()
            .filter(|&&isa| isa != Isa::Portable)
            .map(|&isa| {
                let mut c = vec![0.0f32; m * n];
                // SAFETY: row-major matrices of these sizes.
                unsafe {
                    let f = gemm_f32::function(isa);
                    f(
                        m,
                        n,
                        k,
                        c.as_mut_ptr(),
                        n as isize,
                        1,
                        0.0,
                        a.as_ptr(),
                        k as isize,
                        1,
                        b.as_ptr(),
                        b_rs,
                        b_cs,
                        1.0,
                    );
                }
                c.into_iter().map(f32::to_bits).collect()
            })
            .collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{m} x {n} x {k}");
    }
}

/// Blocks side by side in the rows of larger matrices, each against a product of its own.
#[test]
fn batches_are_their_products() {
    for &isa in Isa::available() {
        for [count, m, n, k] in
            [[5, 70, 4, 4], [3, 33, 3, 5], [4, 4, 4, 100], [2, 5, 3, 64], [3, 2, 2, 2], [1, 40, 17, 9]]
        {
            for transposed in [false, true] {
                for alpha in [0.0, 1.0] {
                    batch(isa, count, [m, n, k], transposed, alpha);
                }
            }
        }
    }
}

fn batch(isa: Isa, count: usize, [m, n, k]: [usize; 3], transposed: bool, alpha: f32) {
    // Rows hold all blocks; `b` is a matrix for each block, or, where it has many rows, blocks of rows, too.
    let (a_rs, c_rs) = ((count * k) as isize, (count * n) as isize);
    let long = k > m;
    let (b_rs, b_cs, b_step) = match (long, transposed) {
        (true, _) => ((count * n) as isize, 1, n as isize),
        (false, false) => (n as isize, 1, (n * k) as isize),
        (false, true) => (1, k as isize, (n * k) as isize),
    };
    let a = numbers(m * count * k, 1, -1.0, 1.0);
    let b = numbers(count * n * k, 2, -1.0, 1.0);
    let before =
        if alpha == 0.0 { vec![f32::NAN; m * count * n] } else { numbers(m * count * n, 3, -1.0, 1.0) };
    let (mut found, mut wanted) = (before.clone(), before);
    // SAFETY: the layouts have room for the strides.
    unsafe {
        let (a, b) = (a.as_ptr(), b.as_ptr());
        let f = gemm_f32_batch::function(isa);
        let c = found.as_mut_ptr();
        f(count, n as isize, k as isize, b_step, m, n, k, c, c_rs, 1, alpha, a, a_rs, 1, b, b_rs, b_cs, 1.0);
        let f = gemm_f32::function(isa);
        for number in 0..count {
            let (a, b) = (a.add(number * k), b.offset(number as isize * b_step));
            let c = wanted.as_mut_ptr().add(number * n);
            f(m, n, k, c, c_rs, 1, alpha, a, a_rs, 1, b, b_rs, b_cs, 1.0);
        }
    }
    for (at, (a, b)) in found.iter().zip(&wanted).enumerate() {
        assert!((a - b).abs() <= 1e-5 * k as f32, "{isa:?} {count} x {m} x {n} x {k}, element {at}: {a} {b}");
    }
}

/// Triangles of each matrix, the other half of which is 0 or is not looked at.
#[test]
fn triangles_are_halves_of_products() {
    for &isa in Isa::available() {
        for [m, n, k] in
            [[64, 64, 64], [64, 128, 64], [37, 37, 37], [50, 130, 50], [100, 33, 7], [5, 40, 200]]
        {
            for (number, layouts) in (1..=6).flat_map(|number| (0..8).map(move |layouts| (number, layouts))) {
                triangle(isa, number, [m, n, k], layouts);
            }
        }
    }
}

fn triangle(isa: Isa, number: usize, [m, n, k]: [usize; 3], layouts: u32) {
    let strides = |transposed: u32, rows: usize, columns: usize| -> [isize; 2] {
        if layouts & transposed == 0 { [columns as isize, 1] } else { [1, rows as isize] }
    };
    let ([a_rs, a_cs], [b_rs, b_cs], [c_rs, c_cs]) = (strides(1, m, k), strides(2, k, n), strides(4, m, n));
    let counts = |row: usize, column: usize| if number % 2 == 1 { row >= column } else { row <= column };
    let masked = |matrix: usize, rows: usize, columns: usize, strides: [isize; 2], seed| {
        let mut numbers = numbers(rows * columns, seed, -1.0, 1.0);
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            if number.div_ceil(2) == matrix && !counts(row, column) {
                numbers[row * strides[0] as usize + column * strides[1] as usize] = 0.0;
            }
        }
        numbers
    };
    let a = masked(1, m, k, [a_rs, a_cs], 1);
    let b = masked(2, k, n, [b_rs, b_cs], 2);
    let (mut found, mut wanted) = (vec![f32::NAN; m * n], vec![f32::NAN; m * n]);
    // SAFETY: matrices of these sizes, rows or columns contiguous.
    unsafe {
        let (a, b, c, whole) = (a.as_ptr(), b.as_ptr(), found.as_mut_ptr(), wanted.as_mut_ptr());
        let f = gemm_f32_triangle::function(isa);
        f(number, m, n, k, c, c_rs, c_cs, 0.0, a, a_rs, a_cs, b, b_rs, b_cs, 1.0);
        let f = gemm_f32::function(isa);
        f(m, n, k, whole, c_rs, c_cs, 0.0, a, a_rs, a_cs, b, b_rs, b_cs, 1.0);
    }
    for (row, column) in (0..m).flat_map(|row| (0..n).map(move |column| (row, column))) {
        let at = row * c_rs as usize + column * c_cs as usize;
        let (x, y) = (found[at], wanted[at]);
        let is_left_out = number > 4 && !counts(row, column) && x == 0.0;
        let is_close = (x - y).abs() <= 1e-5 * (k as f32).sqrt();
        assert!(
            is_close || is_left_out,
            "{isa:?} {number} {m} x {n} x {k}, {layouts}: ({row}, {column}) {x} {y}"
        );
    }
}
