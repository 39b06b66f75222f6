//! Products, sequential loops and scratch memory.

use super::*;
use carousel_core::kernel::{Combine, Matrix, Update};
use carousel_ir::Direction;

fn whole(extent: u64) -> Extent {
    Extent::Whole(Dim::Known(extent))
}

/// Products of many shapes (0 and 1 among them), set and added, in a batch, in five dtypes.
#[test]
fn products_of_many_shapes() {
    let shapes = [(1u64, 1u64, 1u64), (0, 3, 2), (3, 2, 0), (1, 17, 9), (13, 1, 40), (5, 6, 7), (33, 65, 20)];
    for (m, n, k) in shapes {
        for (dtype, update) in [
            (F32, Update::Set),
            (F32, Update::Add),
            (DType::F64, Update::Add),
            (DType::I32, Update::Set),
            (DType::Bf16, Update::Set),
            (DType::F16, Update::Set),
        ] {
            let batch = 2u64;
            // a is (m, k) with its columns contiguous, b is (n, k), so transposed.
            let matrix = |buffer: u32, size: u64, row: u64, column: u64| Matrix {
                buffer: BufferId(buffer),
                base: index(&[(size as i64, 0)]),
                row: Dim::Known(row),
                column: Dim::Known(column),
            };
            let product = Statement::Product {
                m: whole(m),
                n: whole(n),
                k: whole(k),
                a: matrix(0, m * k, k, 1),
                b: matrix(1, n * k, 1, k),
                c: matrix(2, m * n, n, 1),
                update,
                dtype,
                triangle: None,
            };
            let kernel = Draft::new(&[dtype; 3]).grid(&[axis(0, batch)]).body(vec![product]);
            let whole_numbers = |count: u64, seed| {
                numbers(count as usize, seed).iter().map(|x| (x * 3.0).round()).collect::<Vec<f32>>()
            };
            let (a, b) = (whole_numbers(batch * m * k, 1), whole_numbers(batch * n * k, 2));
            let mut expected =
                vec![if update == Update::Add { 1.0f32 } else { 0.0 }; (batch * m * n) as usize];
            for g in 0..batch {
                for i in 0..m {
                    for j in 0..n {
                        for l in 0..k {
                            expected[(g * m * n + i * n + j) as usize] +=
                                a[(g * m * k + i * k + l) as usize] * b[(g * n * k + j * k + l) as usize];
                        }
                    }
                }
            }
            let found: Vec<f32> = match dtype {
                DType::F32 => {
                    let mut c = vec![1.0f32; expected.len()];
                    execute(&kernel, &[], &mut [bytes(&mut a.clone()), bytes(&mut b.clone()), bytes(&mut c)]);
                    c
                }
                DType::F64 => {
                    let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
                    let mut c = vec![1.0f64; expected.len()];
                    execute(&kernel, &[], &mut [bytes(&mut wide(&a)), bytes(&mut wide(&b)), bytes(&mut c)]);
                    c.into_iter().map(|x| x as f32).collect()
                }
                DType::Bf16 | DType::F16 => {
                    let is_bf16 = dtype == DType::Bf16;
                    let bits = |x: &f32| {
                        let (brain, half) = (half::bf16::from_f32(*x), half::f16::from_f32(*x));
                        if is_bf16 { brain.to_bits() } else { half.to_bits() }
                    };
                    let number = |bits: u16| {
                        let (brain, half) = (half::bf16::from_bits(bits), half::f16::from_bits(bits));
                        if is_bf16 { brain.to_f32() } else { half.to_f32() }
                    };
                    let narrow = |x: &[f32]| x.iter().map(bits).collect::<Vec<u16>>();
                    let mut c = narrow(&vec![1.0; expected.len()]);
                    execute(
                        &kernel,
                        &[],
                        &mut [bytes(&mut narrow(&a)), bytes(&mut narrow(&b)), bytes(&mut c)],
                    );
                    c.into_iter().map(number).collect()
                }
                DType::I32 | DType::U32 | DType::Bool => {
                    let whole = |x: &[f32]| x.iter().map(|&x| x as i32).collect::<Vec<i32>>();
                    let mut c = vec![1i32; expected.len()];
                    execute(&kernel, &[], &mut [bytes(&mut whole(&a)), bytes(&mut whole(&b)), bytes(&mut c)]);
                    c.into_iter().map(|x| x as f32).collect()
                }
            };
            // Whole numbers below 256 are exact in all of them.
            assert_eq!(found, expected, "{m} x {n} x {k} in {dtype}");
        }
    }
}

/// A recurrence with a product in each step, its state in scratch, from either end:
/// `h = tanh(x_t + h R)`, yielded at every step.
#[test]
fn a_recurrence_in_scratch_memory() {
    for direction in [Direction::Forward, Direction::Reverse] {
        for (batch, steps, width) in [(3u64, 7i64, 5u64), (2, 4, 33), (1, 1, 8), (2, 0, 4)] {
            let mut draft = Draft::new(&[F32; 3]);
            let aligned = (width * 4).next_multiple_of(64);
            for (name, offset) in [("h", 0), ("recurrent", aligned)] {
                draft.kernel.buffers.push(Buffer {
                    dtype: F32,
                    place: Place::Scratch(Dim::Known(offset)),
                    access: Access::ReadWrite,
                    elements: Dim::Known(width),
                });
                draft.kernel.buffer_names.push(name.to_string());
            }
            draft.kernel.scratch_bytes = Dim::Known(2 * aligned);
            let inner = axis(2, width);
            let at = index(&[(1, 2)]);
            let mut at_step = index(&[(width as i64, 1), (1, 2)]);
            at_step.add_term(width as i64, Dim::Argument(0), Atom::Var(Var(0)));

            let mut zero = Region::default();
            let value = constant(&mut zero, 0.0, F32);
            let start = Statement::Map {
                loops: vec![inner],
                region: zero,
                stores: vec![store(3, at.clone(), value)],
            };
            let matrix = |buffer, row, column| Matrix {
                buffer: BufferId(buffer),
                base: Linear::zero(),
                row: Dim::Known(row),
                column: Dim::Known(column),
            };
            let product = Statement::Product {
                m: whole(1),
                n: whole(width),
                k: whole(width),
                a: matrix(3, width, 1),
                b: matrix(1, width, 1),
                c: matrix(4, width, 1),
                update: Update::Set,
                dtype: F32,
                triangle: None,
            };
            let mut cell = Region::default();
            let x = load(&mut cell, 0, F32, at_step.clone());
            let recurrent = load(&mut cell, 4, F32, at.clone());
            let sum = apply(&mut cell, OpKind::Add, F32, &[x, recurrent]);
            let h = apply(&mut cell, OpKind::Tanh, F32, &[sum]);
            let step = Statement::Map {
                loops: vec![inner],
                region: cell,
                stores: vec![store(3, at, h), store(2, at_step, h)],
            };
            let time = Statement::Loop { over: axis_of_dim(1, 0), direction, body: vec![product, step] };
            let kernel = draft.dims(1).grid(&[axis(0, batch)]).body(vec![start, time]);

            let n = (batch * steps as u64 * width) as usize;
            let (mut x, mut r) = (numbers(n, 1), numbers((width * width) as usize, 2));
            let mut y = vec![0.0f32; n];
            execute(&kernel, &[steps], &mut [bytes(&mut x), bytes(&mut r), bytes(&mut y)]);
            let (w, s) = (width as usize, steps as usize);
            let mut expected = vec![0.0f32; n];
            for g in 0..batch as usize {
                let mut h = vec![0.0f32; w];
                for t in 0..s {
                    let t = if direction == Direction::Forward { t } else { s - 1 - t };
                    let next: Vec<f32> = (0..w)
                        .map(|j| {
                            let sum: f32 = (0..w).map(|i| h[i] * r[i * w + j]).sum();
                            (x[(g * s + t) * w + j] + sum).tanh()
                        })
                        .collect();
                    expected[(g * s + t) * w..][..w].copy_from_slice(&next);
                    h = next;
                }
            }
            assert_close(&y, &expected, 1e-4, &format!("{batch} {steps} {width} {direction:?}"));
        }
    }
}

/// Several statements at a grid point: layer norm with dynamic sizes.
#[test]
fn layer_norm_in_one_kernel() {
    let n = 77u64;
    let mut draft = Draft::new(&[F32; 2]);
    for offset in [0, 64] {
        draft.kernel.buffers.push(Buffer {
            dtype: F32,
            place: Place::Scratch(Dim::Known(offset)),
            access: Access::ReadWrite,
            elements: Dim::Known(1),
        });
    }
    draft.kernel.scratch_bytes = Dim::Known(128);
    let mut row = index(&[(1, 1)]);
    row.add_term(1, Dim::Argument(0), Atom::Var(Var(0)));
    let columns = axis_of_dim(1, 0);
    let reduce = |region: Region, value: ExprId, to: u32| Statement::Reduce {
        loops: Vec::new(),
        over: vec![columns],
        region,
        combine: Combine::Sum,
        store: store(to, Linear::zero(), value),
        update: Update::Set,
    };
    let centred = |region: &mut Region| {
        let x = load(region, 0, F32, row.clone());
        let sum = load(region, 2, F32, Linear::zero());
        let size = region.push(Expr::Size { dim: Dim::Argument(0), dtype: F32 }, F32);
        let mean = apply(region, OpKind::Div, F32, &[sum, size]);
        apply(region, OpKind::Sub, F32, &[x, mean])
    };
    let mut sum = Region::default();
    let value = load(&mut sum, 0, F32, row.clone());
    let first = reduce(sum, value, 2);
    let mut squares = Region::default();
    let d = centred(&mut squares);
    let value = apply(&mut squares, OpKind::Mul, F32, &[d, d]);
    let second = reduce(squares, value, 3);
    let mut last = Region::default();
    let d = centred(&mut last);
    let variance = load(&mut last, 3, F32, Linear::zero());
    let size = last.push(Expr::Size { dim: Dim::Argument(0), dtype: F32 }, F32);
    let variance = apply(&mut last, OpKind::Div, F32, &[variance, size]);
    let deviation = apply(&mut last, OpKind::Sqrt, F32, &[variance]);
    let value = apply(&mut last, OpKind::Div, F32, &[d, deviation]);
    let third =
        Statement::Map { loops: vec![columns], region: last, stores: vec![store(1, row.clone(), value)] };
    let kernel = draft.dims(1).grid(&[axis(0, 6)]).body(vec![first, second, third]);
    let mut x = numbers(6 * n as usize, 4);
    let mut y = vec![0.0f32; 6 * n as usize];
    execute(&kernel, &[n as i64], &mut [bytes(&mut x), bytes(&mut y)]);
    for (x, y) in x.chunks(n as usize).zip(y.chunks(n as usize)) {
        let mean = x.iter().sum::<f32>() / n as f32;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n as f32;
        let expected: Vec<f32> = x.iter().map(|x| (x - mean) / variance.sqrt()).collect();
        assert_close(y, &expected, 1e-5, "layer norm");
    }
}
