//! Maps: arithmetic, strides, guards, tails, transcendental functions, integers, data-dependent indices.

use super::*;

/// `y = a * x + b` over every length, static and dynamic.
#[test]
fn tails_of_every_length() {
    for n in 1..70u64 {
        for dynamic in [false, true] {
            let over = if dynamic { axis_of_dim(0, 0) } else { axis(0, n) };
            let mut region = Region::default();
            let x = load(&mut region, 0, F32, index(&[(1, 0)]));
            let a = load(&mut region, 1, F32, Linear::zero());
            let b = constant(&mut region, 0.5, F32);
            let product = apply(&mut region, OpKind::Mul, F32, &[a, x]);
            let sum = apply(&mut region, OpKind::Add, F32, &[product, b]);
            let map =
                Statement::Map { loops: vec![over], region, stores: vec![store(2, index(&[(1, 0)]), sum)] };
            let kernel = Draft::new(&[F32; 3]).dims(1).body(vec![map]);
            let mut x = numbers(n as usize, 1);
            let mut y = vec![-7.0f32; n as usize + 1];
            let expected: Vec<f32> = x.iter().map(|x| 3.0 * x + 0.5).chain([-7.0]).collect();
            assert_eq!(
                execute(&kernel, &[n as i64], &mut [bytes(&mut x), bytes(&mut [3.0f32]), bytes(&mut y)]),
                0
            );
            assert_eq!(y, expected, "n = {n}");
        }
    }
}

/// Three stages: exp(tanh(x)) + exp(z) * x, over lengths around the tile's.
#[test]
fn transcendental_functions_are_staged() {
    for n in [1u64, 3, 15, 16, 17, 100, 511, 512, 513, 1024, 1500] {
        for dynamic in [false, true] {
            let over = if dynamic { axis_of_dim(1, 0) } else { axis(1, n) };
            let row = |var: u32| {
                let mut linear = index(&[(1, 1)]);
                linear.add_term(n as i64, Dim::Known(1), Atom::Var(Var(var)));
                linear
            };
            let mut region = Region::default();
            let x = load(&mut region, 0, F32, row(0));
            let z = load(&mut region, 1, F32, row(0));
            let t = apply(&mut region, OpKind::Tanh, F32, &[x]);
            let e = apply(&mut region, OpKind::Exp, F32, &[t]);
            let half = constant(&mut region, 0.5, F32);
            let zh = apply(&mut region, OpKind::Mul, F32, &[z, half]);
            let ez = apply(&mut region, OpKind::Exp, F32, &[zh]);
            let product = apply(&mut region, OpKind::Mul, F32, &[ez, x]);
            let sum = apply(&mut region, OpKind::Add, F32, &[e, product]);
            let again = apply(&mut region, OpKind::Add, F32, &[sum, zh]);
            let map = Statement::Map { loops: vec![over], region, stores: vec![store(2, row(0), again)] };
            let kernel = Draft::new(&[F32; 3]).dims(1).grid(&[axis(0, 3)]).body(vec![map]);
            let (mut x, mut z) = (numbers(3 * n as usize, 2), numbers(3 * n as usize, 3));
            let mut y = vec![0.0f32; 3 * n as usize];
            let expected: Vec<f32> =
                x.iter().zip(&z).map(|(x, z)| x.tanh().exp() + (z * 0.5).exp() * x + z * 0.5).collect();
            execute(&kernel, &[n as i64], &mut [bytes(&mut x), bytes(&mut z), bytes(&mut y)]);
            assert_close(&y, &expected, 1e-6, &format!("n = {n}"));
        }
    }
}

/// The same on short rows that lie apart, of which a tile holds several; one operand is the same for a whole row.
#[test]
fn tiles_of_several_short_rows() {
    for (rows, n) in [(1u64, 5u64), (7, 1), (3, 4), (40, 16), (9, 100), (5, 256), (3, 300)] {
        let apart = n as i64 + 3;
        let at = index(&[(apart, 0), (1, 1)]);
        let mut region = Region::default();
        let x = load(&mut region, 0, F32, at.clone());
        let z = load(&mut region, 1, F32, index(&[(1, 0)]));
        let t = apply(&mut region, OpKind::Tanh, F32, &[x]);
        let sum = apply(&mut region, OpKind::Add, F32, &[t, z]);
        let e = apply(&mut region, OpKind::Exp, F32, &[sum]);
        let product = apply(&mut region, OpKind::Mul, F32, &[e, x]);
        let loops = vec![axis_of_dim(0, 0), axis(1, n)];
        let map = Statement::Map { loops, region, stores: vec![store(2, at, product)] };
        let kernel = Draft::new(&[F32; 3]).dims(1).body(vec![map]);
        let all = (rows as i64 * apart) as usize;
        let (mut x, mut z) = (numbers(all, 2), numbers(rows as usize, 3));
        let mut y = vec![-7.0f32; all];
        let value = |at: usize| {
            let (row, column) = (at / apart as usize, at % apart as usize);
            if column < n as usize { (x[at].tanh() + z[row]).exp() * x[at] } else { -7.0 }
        };
        let expected: Vec<f32> = (0..all).map(value).collect();
        execute(&kernel, &[rows as i64], &mut [bytes(&mut x), bytes(&mut z), bytes(&mut y)]);
        assert_close(&y, &expected, 1e-6, &format!("{rows} rows of {n}"));
    }
}

/// Every elementwise operation on f32 and f64, with special values, against Rust.
#[test]
fn all_operations_on_floats() {
    let special = [0.0, -0.0, 1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.3, -2.5, 7.0];
    let truth = |b: bool| f64::from(u8::from(b));
    let nan_wins = |a: f64, b: f64, pick: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { pick };
    type Case<'a> = (OpKind, &'a dyn Fn(f64, f64) -> f64);
    let cases: &[Case<'_>] = &[
        (OpKind::Neg, &|a, _| -a),
        (OpKind::Abs, &|a, _| a.abs()),
        (OpKind::Sign, &|a, _| {
            if a > 0.0 {
                1.0
            } else if a < 0.0 {
                -1.0
            } else {
                a
            }
        }),
        (OpKind::Floor, &|a, _| a.floor()),
        (OpKind::Ceil, &|a, _| a.ceil()),
        (OpKind::Exp, &|a, _| a.exp()),
        (OpKind::Log, &|a, _| a.ln()),
        (OpKind::Log1p, &|a, _| a.ln_1p()),
        (OpKind::Sqrt, &|a, _| a.sqrt()),
        (OpKind::Tanh, &|a, _| a.tanh()),
        (OpKind::Sigmoid, &|a, _| 1.0 / (1.0 + (-a).exp())),
        (OpKind::Logsigmoid, &|a, _| a.min(0.0) + 0.0 * a.signum().min(0.0) - (-a.abs()).exp().ln_1p()),
        (OpKind::Erf, &|a, _| libm::erf(a)),
        (OpKind::Add, &|a, b| a + b),
        (OpKind::Sub, &|a, b| a - b),
        (OpKind::Mul, &|a, b| a * b),
        (OpKind::Div, &|a, b| a / b),
        (OpKind::Min, &|a, b| nan_wins(a, b, a.min(b))),
        (OpKind::Max, &|a, b| nan_wins(a, b, a.max(b))),
        (OpKind::Eq, &|a, b| truth(a == b)),
        (OpKind::Ne, &|a, b| truth(a != b)),
        (OpKind::Lt, &|a, b| truth(a < b)),
        (OpKind::Le, &|a, b| truth(a <= b)),
    ];
    let pairs: Vec<(f64, f64)> = special.iter().flat_map(|&a| special.iter().map(move |&b| (a, b))).collect();
    for &(op, expected) in cases {
        for dtype in [DType::F32, DType::F64] {
            let n = pairs.len();
            let compares = [OpKind::Eq, OpKind::Ne, OpKind::Lt, OpKind::Le].contains(&op);
            let result = if compares { DType::Bool } else { dtype };
            let mut region = Region::default();
            let a = load(&mut region, 0, dtype, index(&[(1, 0)]));
            let b = load(&mut region, 1, dtype, index(&[(1, 0)]));
            let operands = if op.arity() == carousel_ir::Arity::Exactly(1) { vec![a] } else { vec![a, b] };
            let mut value = region.push(Expr::Apply { op, operands, dtype: result }, result);
            if compares {
                value = region.push(Expr::Cast { value, from: DType::Bool, to: dtype }, dtype);
            }
            let map = Statement::Map {
                loops: vec![axis(0, n as u64)],
                region,
                stores: vec![store(2, index(&[(1, 0)]), value)],
            };
            let kernel = Draft::new(&[dtype; 3]).body(vec![map]);
            let found: Vec<f64> = if dtype == DType::F32 {
                let mut a: Vec<f32> = pairs.iter().map(|p| p.0 as f32).collect();
                let mut b: Vec<f32> = pairs.iter().map(|p| p.1 as f32).collect();
                let mut y = vec![0.0f32; n];
                execute(&kernel, &[], &mut [bytes(&mut a), bytes(&mut b), bytes(&mut y)]);
                y.into_iter().map(f64::from).collect()
            } else {
                let mut a: Vec<f64> = pairs.iter().map(|p| p.0).collect();
                let mut b: Vec<f64> = pairs.iter().map(|p| p.1).collect();
                let mut y = vec![0.0f64; n];
                execute(&kernel, &[], &mut [bytes(&mut a), bytes(&mut b), bytes(&mut y)]);
                y
            };
            for (&(a, b), &y) in pairs.iter().zip(&found) {
                let (a, b) =
                    if dtype == DType::F32 { (f64::from(a as f32), f64::from(b as f32)) } else { (a, b) };
                if op == OpKind::Logsigmoid && a == f64::NEG_INFINITY {
                    assert_eq!(y, f64::NEG_INFINITY);
                    continue;
                }
                let exact = expected(a, b);
                let tolerance = if dtype == DType::F32 { 1e-6 } else { 1e-15 };
                let same = y == exact || (y.is_nan() && exact.is_nan());
                assert!(
                    same || (y - exact).abs() <= tolerance * exact.abs(),
                    "{op}({a}, {b}) in {dtype}: {y}, {exact}"
                );
            }
        }
    }
}

/// Transposing, repeating, reversing and padding loads, inner and outer guards.
#[test]
fn strides_and_guards() {
    let (rows, columns) = (5u64, 13u64);
    let mut region = Region::default();
    // x[row, column], transposed x'[column, row] of a 13 x 5 matrix, v[column] backwards, shifted rows and columns.
    let straight = load(&mut region, 0, F32, index(&[(columns as i64, 0), (1, 1)]));
    let transposed = load(&mut region, 1, F32, index(&[(1, 0), (rows as i64, 1)]));
    let reversed = load(&mut region, 0, F32, plus(index(&[(-1, 1)]), columns as i64 - 1));
    let above = guarded(
        &mut region,
        0,
        plus(index(&[(columns as i64, 0), (1, 1)]), -(columns as i64)),
        &[(plus(index(&[(1, 0)]), -1), Dim::Known(rows))],
    );
    let left = guarded(
        &mut region,
        0,
        plus(index(&[(columns as i64, 0), (1, 1)]), -2),
        &[(plus(index(&[(1, 1)]), -2), Dim::Known(columns))],
    );
    let mut sum = straight;
    for other in [transposed, reversed, above, left] {
        sum = apply(&mut region, OpKind::Add, F32, &[sum, other]);
    }
    let stores = vec![
        store(2, index(&[(columns as i64, 0), (1, 1)]), sum),
        store(3, index(&[(1, 0), (rows as i64, 1)]), left),
    ];
    let map = Statement::Map { loops: vec![axis(0, rows), axis(1, columns)], region, stores };
    let kernel = Draft::new(&[F32; 4]).body(vec![map]);
    let n = (rows * columns) as usize;
    let (mut x, mut w) = (numbers(n, 1), numbers(n, 2));
    let (mut y, mut z) = (vec![0.0f32; n], vec![0.0f32; n]);
    execute(&kernel, &[], &mut [bytes(&mut x), bytes(&mut w), bytes(&mut y), bytes(&mut z)]);
    let (r, c) = (rows as usize, columns as usize);
    for i in 0..r {
        for j in 0..c {
            let left = if j >= 2 { x[i * c + j - 2] } else { 0.0 };
            let above = if i >= 1 { x[(i - 1) * c + j] } else { 0.0 };
            let expected = x[i * c + j] + w[j * r + i] + x[c - 1 - j] + above + left;
            assert_eq!(y[i * c + j], expected, "{i} {j}");
            assert_eq!(z[j * r + i], left);
        }
    }
}

/// Quotients and remainders, tiles of the grid, indices and guards as values.
#[test]
fn computed_indices_and_tiles() {
    let whole = 1000u64;
    let tile = 64u64;
    let mut at = index(&[(1, 1)]);
    at.add_term(tile as i64, Dim::Known(1), Atom::Var(Var(0)));
    let mut merged = Linear::zero();
    merged.add_term(10, Dim::Known(1), Atom::Remainder(Box::new(at.clone()), Dim::Known(100)));
    merged.add_term(1, Dim::Known(1), Atom::Quotient(Box::new(at.clone()), Dim::Known(100)));
    let mut region = Region::default();
    let x = load(&mut region, 0, F32, merged);
    let position = region.push(Expr::Index { index: at.clone() }, DType::I32);
    let position = region.push(Expr::Cast { value: position, from: DType::I32, to: F32 }, F32);
    let inside = Guard { index: plus(at.clone(), -100), bound: Dim::Known(500) };
    let inside = region.push(Expr::Holds { guard: inside }, DType::Bool);
    let size = region.push(Expr::Size { dim: Dim::Argument(0), dtype: F32 }, F32);
    let value = apply(&mut region, OpKind::Select, F32, &[inside, position, size]);
    let sum = apply(&mut region, OpKind::Add, F32, &[x, value]);
    let inner = Loop { var: Var(1), extent: Extent::Tile { whole: Dim::Argument(0), tile, index: Var(0) } };
    let map = Statement::Map { loops: vec![inner], region, stores: vec![store(1, at, sum)] };
    let kernel = Draft::new(&[F32; 2]).dims(1).grid(&[axis(0, whole.div_ceil(tile))]).body(vec![map]);
    let mut x = numbers(whole as usize, 9);
    let mut y = vec![0.0f32; whole as usize];
    execute(&kernel, &[whole as i64], &mut [bytes(&mut x), bytes(&mut y)]);
    for i in 0..whole as usize {
        let inside = (100..600).contains(&i);
        assert_eq!(y[i], x[(i % 100) * 10 + i / 100] + if inside { i as f32 } else { 1000.0 }, "{i}");
    }
}

/// Integers, truth values and conversions.
#[test]
fn integers_and_conversions() {
    let n = 23usize;
    let mut region = Region::default();
    let a = load(&mut region, 0, DType::I32, index(&[(1, 0)]));
    let b = load(&mut region, 1, DType::I32, index(&[(1, 0)]));
    let quotient = apply(&mut region, OpKind::Div, DType::I32, &[a, b]);
    let product = apply(&mut region, OpKind::Mul, DType::I32, &[quotient, b]);
    let less = apply(&mut region, OpKind::Lt, DType::Bool, &[a, b]);
    let not = apply(&mut region, OpKind::Not, DType::Bool, &[less]);
    let count = region.push(Expr::Cast { value: not, from: DType::Bool, to: DType::I32 }, DType::I32);
    let sum = apply(&mut region, OpKind::Add, DType::I32, &[product, count]);
    let float = region.push(Expr::Cast { value: a, from: DType::I32, to: F32 }, F32);
    let unsigned = region.push(Expr::Cast { value: a, from: DType::I32, to: DType::U32 }, DType::U32);
    let unsigned = region.push(Expr::Cast { value: unsigned, from: DType::U32, to: F32 }, F32);
    let scale = constant(&mut region, 0.3, F32);
    let scaled = apply(&mut region, OpKind::Mul, F32, &[float, scale]);
    let back = region.push(Expr::Cast { value: scaled, from: F32, to: DType::I32 }, DType::I32);
    let at = || index(&[(1, 0)]);
    let stores =
        vec![store(2, at(), sum), store(3, at(), less), store(4, at(), unsigned), store(5, at(), back)];
    let map = Statement::Map { loops: vec![axis(0, n as u64)], region, stores };
    let i32 = DType::I32;
    let kernel = Draft::new(&[i32, i32, i32, DType::Bool, F32, i32]).body(vec![map]);
    let mut a: Vec<i32> = numbers(n, 4).iter().map(|x| (x * 1000.0) as i32).collect();
    let mut b: Vec<i32> = numbers(n, 5).iter().map(|x| (x * 10.0) as i32 | 1).collect();
    (a[3], b[3]) = (i32::MIN, -1);
    let (mut sums, mut lesses) = (vec![0i32; n], vec![0i32; n]);
    let (mut floats, mut backs) = (vec![0.0f32; n], vec![0i32; n]);
    let status = execute(
        &kernel,
        &[],
        &mut [
            bytes(&mut a),
            bytes(&mut b),
            bytes(&mut sums),
            bytes(&mut lesses),
            bytes(&mut floats),
            bytes(&mut backs),
        ],
    );
    assert_eq!(status, 0);
    for i in 0..n {
        let quotient = a[i].wrapping_div(b[i]);
        assert_eq!(sums[i], quotient.wrapping_mul(b[i]).wrapping_add(i32::from(a[i] >= b[i])));
        assert_eq!(lesses[i], -i32::from(a[i] < b[i]));
        assert_eq!(floats[i], a[i] as u32 as f32);
        assert_eq!(backs[i], (a[i] as f32 * 0.3) as i32);
    }
    b[7] = 0;
    let status = execute(
        &kernel,
        &[],
        &mut [
            bytes(&mut a),
            bytes(&mut b),
            bytes(&mut sums),
            bytes(&mut lesses),
            bytes(&mut floats),
            bytes(&mut backs),
        ],
    );
    assert_eq!(i64::from(status), crate::codegen::STATUS_DIVISION);
}

/// Rows of a table by index, inside and outside of it; the same as single elements.
#[test]
fn gathers_report_indices_out_of_range() {
    let (rows, width, table) = (9u64, 21u64, 6u64);
    for good in [true, false] {
        for per_element in [false, true] {
            let mut region = Region::default();
            let token_at = if per_element { index(&[(width as i64, 0), (1, 1)]) } else { index(&[(1, 0)]) };
            let token = load(&mut region, 0, DType::I32, token_at);
            let mut row = index(&[(1, 1)]);
            let data = Atom::Data { value: token, bound: Dim::Known(table) };
            row.add_term(width as i64, Dim::Known(1), data);
            let value = load(&mut region, 1, F32, row);
            let stores = vec![store(2, index(&[(width as i64, 0), (1, 1)]), value)];
            let map = Statement::Map { loops: vec![axis(1, width)], region, stores };
            let kernel = Draft::new(&[DType::I32, F32, F32]).grid(&[axis(0, rows)]).body(vec![map]);
            let count = if per_element { rows * width } else { rows } as usize;
            let mut tokens: Vec<i32> = (0..count).map(|i| (i * 7 % table as usize) as i32).collect();
            if !good {
                tokens[4] = if per_element { -1 } else { table as i32 };
            }
            let mut x = numbers((table * width) as usize, 5);
            let mut y = vec![0.0f32; (rows * width) as usize];
            let status = execute(&kernel, &[], &mut [bytes(&mut tokens), bytes(&mut x), bytes(&mut y)]);
            assert_eq!(status == 0, good);
            for i in 0..rows as usize {
                for j in 0..width as usize {
                    let token = tokens[if per_element { i * width as usize + j } else { i }];
                    if (0..table as i32).contains(&token) {
                        assert_eq!(y[i * width as usize + j], x[token as usize * width as usize + j]);
                    }
                }
            }
        }
    }
}

/// What is rounded and stored is what the library `half` makes of it, and so is what is loaded: all numbers of 16 bits, and
/// floats at, beside and between them, in vectors and one by one.
#[test]
fn numbers_of_16_bits_are_loaded_and_rounded_as_they_are_defined() {
    type Conversions = (DType, fn(u16) -> f32, fn(f32) -> u16);
    let kinds: [Conversions; 2] = [
        (DType::Bf16, |bits| half::bf16::from_bits(bits).to_f32(), |x| half::bf16::from_f32(x).to_bits()),
        (DType::F16, |bits| half::f16::from_bits(bits).to_f32(), |x| half::f16::from_f32(x).to_bits()),
    ];
    for (dtype, widened, narrowed) in kinds {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let between = bits.iter().flat_map(|bits| {
            let (low, high) = (widened(*bits), widened(bits.wrapping_add(1)));
            let middle = ((f64::from(low) + f64::from(high)) / 2.0) as f32;
            [low, middle, middle.next_up(), middle.next_down()]
        });
        let floats: Vec<f32> = between.chain(numbers(1000, 1)).collect();
        // The last index of a pair is the one that is vectorised over; with a stride of 2, one by one.
        for stride in [1usize, 2] {
            let place = index(&[(stride as i64, 0)]);
            let mut region = Region::default();
            let x = load(&mut region, 0, dtype, place.clone());
            let wide = region.push(Expr::Cast { value: x, from: dtype, to: F32 }, F32);
            let stores = vec![store(1, place.clone(), wide)];
            let map = Statement::Map { loops: vec![axis(0, bits.len() as u64)], region, stores };
            let mut given = vec![0u16; stride * bits.len()];
            given.iter_mut().step_by(stride).zip(&bits).for_each(|(place, bits)| *place = *bits);
            let mut found = vec![0.0f32; given.len()];
            let kernel = Draft::new(&[dtype, F32]).body(vec![map]);
            execute(&kernel, &[], &mut [bytes(&mut given), bytes(&mut found)]);
            for (bits, found) in bits.iter().zip(found.iter().step_by(stride)) {
                let expected = widened(*bits);
                let same = expected.to_bits() == found.to_bits() || (expected.is_nan() && found.is_nan());
                assert!(same, "{dtype} {bits:#06x}: {found}");
            }

            let mut region = Region::default();
            let x = load(&mut region, 0, F32, place.clone());
            let narrow = region.push(Expr::Cast { value: x, from: F32, to: dtype }, dtype);
            let back = region.push(Expr::Cast { value: narrow, from: dtype, to: F32 }, F32);
            let stores = vec![store(1, place.clone(), narrow), store(2, place, back)];
            let map = Statement::Map { loops: vec![axis(0, floats.len() as u64)], region, stores };
            let mut given = vec![0.0f32; stride * floats.len()];
            given.iter_mut().step_by(stride).zip(&floats).for_each(|(place, x)| *place = *x);
            let (mut stored, mut rounded) = (vec![0u16; given.len()], vec![0.0f32; given.len()]);
            let kernel = Draft::new(&[F32, dtype, F32]).body(vec![map]);
            execute(&kernel, &[], &mut [bytes(&mut given), bytes(&mut stored), bytes(&mut rounded)]);
            let found = stored.iter().zip(&rounded).step_by(stride);
            for (x, (stored, rounded)) in floats.iter().zip(found) {
                if x.is_nan() {
                    assert!(widened(*stored).is_nan() && rounded.is_nan(), "{dtype} {x}: {stored:#06x}");
                } else {
                    assert_eq!(*stored, narrowed(*x), "{dtype} {x:e}");
                    assert_eq!(rounded.to_bits(), widened(*stored).to_bits(), "{dtype} {x:e}");
                }
            }
        }
    }
}

/// Random numbers, contiguous (by tile) and transposed (one by one), and derived seeds.
#[test]
fn random_numbers_are_those_of_the_ir() {
    let (rows, columns) = (7u64, 45u64);
    let mut region = Region::default();
    let seed = load(&mut region, 0, DType::U32, Linear::zero());
    let step = load(&mut region, 1, DType::U32, Linear::zero());
    let seed = region.push(Expr::FoldIn { seed, number: 5 }, DType::U32);
    let straight = index(&[(columns as i64, 0), (1, 1)]);
    let turned = index(&[(1, 0), (rows as i64, 1)]);
    let a = region.push(Expr::Uniform { seed, step, stream: 77, index: straight.clone() }, F32);
    let b = region.push(Expr::Uniform { seed, step, stream: 77, index: turned }, F32);
    let stores = vec![store(2, straight.clone(), a), store(3, straight, b)];
    let map = Statement::Map { loops: vec![axis(1, columns)], region, stores };
    let kernel = Draft::new(&[DType::U32, DType::U32, F32, F32]).grid(&[axis(0, rows)]).body(vec![map]);
    let n = (rows * columns) as usize;
    let (mut a, mut b) = (vec![0.0f32; n], vec![0.0f32; n]);
    execute(&kernel, &[], &mut [bytes(&mut [3u32]), bytes(&mut [9u32]), bytes(&mut a), bytes(&mut b)]);
    let seed = carousel_ir::philox::fold_in(3, 5);
    for i in 0..rows {
        for j in 0..columns {
            let at = (i * columns + j) as usize;
            assert_eq!(a[at], carousel_ir::philox::uniform(seed, 77, 9, at as u64));
            assert_eq!(b[at], carousel_ir::philox::uniform(seed, 77, 9, j * rows + i));
        }
    }
}
