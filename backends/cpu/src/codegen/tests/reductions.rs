//! Reductions, cumulative operations and scatters.

use super::*;
use carousel_core::kernel::{Combine, Update};
use carousel_ir::Direction;

/// `[outer, inner]` reduced over either axis, staged or not, every length, static and dynamic.
#[test]
fn both_orders_of_reduction() {
    for n in (1..70u64).chain([512, 513, 1100]) {
        for (combine, over_inner, staged, dynamic) in [
            (Combine::Sum, true, false, false),
            (Combine::Sum, true, true, true),
            (Combine::Max, true, false, true),
            (Combine::Sum, false, false, false),
            (Combine::Sum, false, true, true),
            (Combine::Max, false, true, false),
        ] {
            let rows = 5u64;
            let mut region = Region::default();
            let x = load(&mut region, 0, F32, index(&[(n as i64, 0), (1, 1)]));
            let value = if staged { apply(&mut region, OpKind::Exp, F32, &[x]) } else { x };
            let columns = if dynamic { axis_of_dim(1, 0) } else { axis(1, n) };
            let (loops, over, to) = if over_inner {
                (vec![axis(0, rows)], vec![columns], index(&[(1, 0)]))
            } else {
                (vec![columns], vec![axis(0, rows)], index(&[(1, 1)]))
            };
            let reduce = Statement::Reduce {
                loops,
                over,
                region,
                combine,
                store: store(1, to, value),
                update: Update::Add,
            };
            let kernel = Draft::new(&[F32; 2]).dims(1).body(vec![reduce]);
            let mut x = numbers((rows * n) as usize, n as u32);
            let results = if over_inner { rows } else { n } as usize;
            let mut y = vec![0.25f32; results];
            execute(&kernel, &[n as i64], &mut [bytes(&mut x), bytes(&mut y)]);
            let mut expected =
                vec![if combine == Combine::Sum { 0.0f64 } else { f64::NEG_INFINITY }; results];
            for (at, &x) in x.iter().enumerate() {
                let result = &mut expected[if over_inner { at / n as usize } else { at % n as usize }];
                let value = if staged { f64::from(x).exp() } else { f64::from(x) };
                *result = if combine == Combine::Sum { *result + value } else { result.max(value) };
            }
            let expected: Vec<f32> = expected.into_iter().map(|x| (x + 0.25) as f32).collect();
            assert_close(
                &y,
                &expected,
                1e-5,
                &format!("n = {n}, {combine:?}, inner {over_inner}, staged {staged}"),
            );
        }
    }
}

/// Sums of products, two axes at once, and f64.
#[test]
fn sums_of_products_over_two_axes() {
    for n in [1u64, 4, 7, 16, 31, 64, 100] {
        for dtype in [F32, DType::F64] {
            let mut region = Region::default();
            let a = load(&mut region, 0, dtype, index(&[(n as i64, 0), (1, 1)]));
            let b = load(&mut region, 1, dtype, index(&[(1, 1)]));
            let value = apply(&mut region, OpKind::Mul, dtype, &[a, b]);
            let reduce = Statement::Reduce {
                loops: Vec::new(),
                over: vec![axis(0, 3), axis(1, n)],
                region,
                combine: Combine::Sum,
                store: store(2, Linear::zero(), value),
                update: Update::Set,
            };
            let kernel = Draft::new(&[dtype; 3]).body(vec![reduce]);
            let (a, b) = (numbers(3 * n as usize, 1), numbers(n as usize, 2));
            let expected: f64 =
                a.iter().enumerate().map(|(i, a)| f64::from(*a) * f64::from(b[i % n as usize])).sum();
            let found = if dtype == F32 {
                let mut y = [f32::NAN];
                execute(&kernel, &[], &mut [bytes(&mut a.clone()), bytes(&mut b.clone()), bytes(&mut y)]);
                f64::from(y[0])
            } else {
                let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
                let mut y = [f64::NAN];
                execute(&kernel, &[], &mut [bytes(&mut wide(&a)), bytes(&mut wide(&b)), bytes(&mut y)]);
                y[0]
            };
            let tolerance = if dtype == F32 { 1e-5 } else { 1e-13 };
            assert!(
                (found - expected).abs() <= tolerance * (1.0 + expected.abs()),
                "n = {n}: {found} {expected}"
            );
        }
    }
}

/// A NaN anywhere is the maximum; the maximum of nothing is minus infinity, the sum 0.
#[test]
fn nan_wins_and_nothing_is_neutral() {
    for combine in [Combine::Max, Combine::Sum] {
        for over_inner in [true, false] {
            let mut region = Region::default();
            let x = load(
                &mut region,
                0,
                F32,
                if over_inner { index(&[(1, 1)]) } else { index(&[(20, 1), (1, 0)]) },
            );
            let reduce = Statement::Reduce {
                loops: vec![axis(0, if over_inner { 1 } else { 20 })],
                over: vec![axis_of_dim(1, 0)],
                region,
                combine,
                store: store(1, index(&[(1, 0)]), x),
                update: Update::Set,
            };
            let kernel = Draft::new(&[F32; 2]).dims(1).body(vec![reduce]);
            let results = if over_inner { 1 } else { 20 };
            let mut y = vec![7.0f32; results];
            execute(&kernel, &[0], &mut [bytes(&mut [0.0f32]), bytes(&mut y)]);
            let neutral = if combine == Combine::Sum { 0.0 } else { f32::NEG_INFINITY };
            assert_eq!(y, vec![neutral; results]);
            let length = 37;
            for at in 0..length {
                let mut x = numbers(length * results, 3);
                x[at * results] = f32::NAN;
                execute(&kernel, &[length as i64], &mut [bytes(&mut x), bytes(&mut y)]);
                assert!(y[0].is_nan(), "NaN at {at}");
                assert!(y[1..].iter().all(|y| !y.is_nan()));
            }
        }
    }
}

/// Running sums and maxima along either axis, from either end, staged or not.
#[test]
fn cumulative_operations_in_both_directions() {
    for n in [1u64, 2, 5, 17, 64, 511, 513, 1030] {
        for direction in [Direction::Forward, Direction::Reverse] {
            for (combine, along_inner, staged) in [
                (Combine::Sum, true, false),
                (Combine::Sum, true, true),
                (Combine::Max, true, true),
                (Combine::Sum, false, false),
                (Combine::Max, false, true),
            ] {
                let (rows, columns) = if along_inner { (3, n) } else { (n.min(20), 37) };
                let mut region = Region::default();
                let at = index(&[(columns as i64, 0), (1, 1)]);
                let x = load(&mut region, 0, F32, at.clone());
                let value = if staged { apply(&mut region, OpKind::Sigmoid, F32, &[x]) } else { x };
                let (row, column) = (axis(0, rows), axis(1, columns));
                let (outer, along) = if along_inner { (row, column) } else { (column, row) };
                let statement = Statement::Cumulative {
                    loops: vec![outer],
                    along,
                    direction,
                    region,
                    combine,
                    store: store(1, at, value),
                };
                let kernel = Draft::new(&[F32; 2]).body(vec![statement]);
                let count = (rows * columns) as usize;
                let mut x = numbers(count, 8);
                let mut y = vec![0.0f32; count];
                execute(&kernel, &[], &mut [bytes(&mut x), bytes(&mut y)]);
                let (lines, length) = if along_inner { (rows, columns) } else { (columns, rows) };
                let place = |line: u64, step: u64| {
                    if along_inner { line * columns + step } else { step * columns + line }
                };
                let mut expected = vec![0.0f32; count];
                for line in 0..lines {
                    let mut sum = if combine == Combine::Sum { 0.0f64 } else { f64::NEG_INFINITY };
                    for step in 0..length {
                        let step = if direction == Direction::Forward { step } else { length - 1 - step };
                        let x = f64::from(x[place(line, step) as usize]);
                        let value = if staged { 1.0 / (1.0 + (-x).exp()) } else { x };
                        sum = if combine == Combine::Sum { sum + value } else { sum.max(value) };
                        expected[place(line, step) as usize] = sum as f32;
                    }
                }
                assert_close(
                    &y,
                    &expected,
                    1e-4,
                    &format!("n = {n} {direction:?} {combine:?} inner {along_inner}"),
                );
            }
        }
    }
}

/// Rows added to a table, in order, and indices outside of it ignored and reported.
#[test]
fn scatters_add_in_order() {
    for good in [true, false] {
        for inner_is_data in [false, true] {
            let (updates, width, table) = (40u64, 11u64, 4u64);
            let mut region = Region::default();
            let token = load(&mut region, 0, DType::U32, index(&[(1, 0)]));
            let x = load(&mut region, 1, F32, index(&[(width as i64, 0), (1, 1)]));
            let mut to = index(&[(1, 1)]);
            to.add_term(width as i64, Dim::Known(1), Atom::Data { value: token, bound: Dim::Known(table) });
            let loops = if inner_is_data {
                vec![axis(1, width), axis(0, updates)]
            } else {
                vec![axis(0, updates), axis(1, width)]
            };
            let scatter = Statement::ScatterAdd { loops, region, store: store(2, to, x) };
            let kernel = Draft::new(&[DType::U32, F32, F32]).body(vec![scatter]);
            let mut tokens: Vec<u32> = (0..updates as u32).map(|i| i * i % table as u32).collect();
            if !good {
                tokens[9] = u32::MAX;
            }
            let mut x = numbers((updates * width) as usize, 5);
            let mut y = vec![1.0f32; (table * width) as usize];
            let status = execute(&kernel, &[], &mut [bytes(&mut tokens), bytes(&mut x), bytes(&mut y)]);
            assert_eq!(status == 0, good);
            let mut expected = vec![1.0f32; (table * width) as usize];
            for (i, &token) in tokens.iter().enumerate().filter(|(_, token)| u64::from(**token) < table) {
                for j in 0..width as usize {
                    expected[token as usize * width as usize + j] += x[i * width as usize + j];
                }
            }
            assert_eq!(y, expected);
        }
    }
}
