//! Every opcode that is computed on registers, against exact arithmetic: integers in 128 bits, floats in f64 on numbers
//! on which that is exact, or rounds as a single rounding would.

use carousel_emulator::{Launch, Memory, Module, opcodes};

/// Runs an opcode on raw registers, one thread for each case.
fn run(opcode: &str, operands: usize, cases: &[[u64; 4]]) -> Vec<u64> {
    let names = ["%rd11", "%rd12", "%rd13", "%rd14"];
    let text = format!(
        ".version 8.0 .target sm_80 .address_size 64
        .visible .entry k(.param .u64 x) {{
            .reg .b32 %r<2>; .reg .b64 %rd<20>;
            ld.param.u64 %rd1, [x]; mov.u32 %r1, %tid.x;
            mul.wide.u32 %rd2, %r1, 40; add.s64 %rd3, %rd1, %rd2;
            ld.global.u64 %rd11, [%rd3]; ld.global.u64 %rd12, [%rd3+8];
            ld.global.u64 %rd13, [%rd3+16]; ld.global.u64 %rd14, [%rd3+24];
            {opcode} %rd4, {};
            st.global.u64 [%rd3+32], %rd4;
            ret;
        }}",
        names[..operands].join(", ")
    );
    let module = Module::parse(&text).unwrap_or_else(|error| panic!("{opcode}: {error}"));
    let mut memory = Memory::default();
    let mut results = Vec::new();
    for cases in cases.chunks(1024) {
        let x = memory.allocate(40 * cases.len());
        for (at, case) in cases.iter().enumerate() {
            let bytes: Vec<u8> = case.iter().flat_map(|word| word.to_le_bytes()).collect();
            memory.write(x + 40 * at as u64, &bytes).expect("it is allocated");
        }
        let launch = Launch { grid: [1; 3], block: [cases.len() as u32, 1, 1], ..Launch::default() };
        let record = module.kernel("k").expect("it is there").launch(&mut memory, &launch, &x.to_le_bytes());
        assert!(record.findings.is_empty(), "{opcode}: {:?}", record.findings);
        for at in 0..cases.len() as u64 {
            let bytes = memory.read(x + 40 * at + 32, 8).expect("it is allocated");
            results.push(u64::from_le_bytes(bytes.try_into().expect("eight bytes")));
        }
    }
    results
}

/// Numbers at the edges of every type, and others.
fn numbers() -> Vec<u64> {
    let mut numbers: Vec<u64> = vec![0, 1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 100, 255];
    for bits in [7, 8, 15, 16, 31, 32, 63] {
        numbers.extend([(1u64 << bits) - 1, 1 << bits, (1 << bits) + 1, (1u64 << bits).wrapping_neg()]);
    }
    numbers.push(u64::MAX);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        numbers.push(state);
    }
    numbers
}

/// Floats whose sums of products are exact in f64, and special ones.
fn floats() -> Vec<f64> {
    let mut floats =
        vec![0.0, -0.0, 1.0, -1.0, 0.5, 1.5, -2.5, 3.0, 4.0, 100.25, f64::INFINITY, f64::NEG_INFINITY];
    floats.extend([
        f64::NAN,
        1.0 + 2f64.powi(-23),
        1.0 - 2f64.powi(-24),
        2f64.powi(-12),
        16_777_215.0,
        1e-3f32.into(),
    ]);
    floats
}

fn pairs<T: Copy>(values: &[T], three: bool) -> Vec<[T; 4]> {
    let mut cases = Vec::new();
    for (i, a) in values.iter().enumerate() {
        for (j, b) in values.iter().enumerate() {
            let c = values[(3 * i + 5 * j + 1) % values.len()];
            let d = values[(7 * i + j) % values.len()];
            if three || (i + j) % 2 == 0 || i == j || i < 24 {
                cases.push([*a, *b, c, d]);
            }
        }
    }
    cases
}

fn width(ty: &str) -> u32 {
    ty.trim_start_matches(char::is_alphabetic).parse().expect("types end with their width")
}

/// A number of a type, in 128 bits.
fn wide(bits: u64, ty: &str) -> i128 {
    let w = width(ty);
    let low = i128::from(bits) & ((1 << w) - 1);
    if ty.starts_with('s') && low >> (w - 1) != 0 { low - (1 << w) } else { low }
}

fn narrow(value: i128, ty: &str) -> u64 {
    (value & ((1 << width(ty)) - 1)) as u64
}

fn compare(name: &str, a: i128, b: i128) -> bool {
    match name {
        "eq" => a == b,
        "ne" => a != b,
        "lt" | "lo" => a < b,
        "le" | "ls" => a <= b,
        "gt" | "hi" => a > b,
        "ge" | "hs" => a >= b,
        other => panic!("`{other}` has no test"),
    }
}

/// What an opcode on integers gives, and how many operands it has.
fn integer(parts: &[&str], [a, b, c, d]: [u64; 4]) -> (usize, u64) {
    let ty = parts[parts.len() - 1];
    let w = width(ty);
    let (x, y, z) = (wide(a, ty), wide(b, ty), wide(c, ty));
    let amount = |n: u64| (n as u32).min(w) as i128;
    let unsigned = |bits: u64| wide(bits, &format!("u{w}"));
    let (count, value) = match (parts[0], parts.get(1).copied().unwrap_or_default()) {
        ("mov", _) => (1, x),
        ("add", _) => (2, x + y),
        ("sub", _) => (2, x - y),
        ("mul", "wide") => return (2, narrow(x * y, &format!("u{}", 2 * w))),
        ("mad", "wide") => {
            let long = format!("{}{}", &ty[..1], 2 * w);
            return (3, narrow(x * y + wide(c, &long), &long));
        }
        ("mul", "hi") if w == 64 => {
            // The product of magnitudes needs all bits; half of it is computed by halves.
            let (low, high) = (y & 0xffff_ffff, y >> 32);
            (2, (x * high + ((x * low) >> 32)) >> 32)
        }
        ("mul", "hi") => (2, (x * y) >> w),
        ("mul", _) => (2, x.wrapping_mul(y)),
        ("mad", _) => (3, x.wrapping_mul(y).wrapping_add(z)),
        ("div", _) => (2, if y == 0 { -1 } else { x / y }),
        ("rem", _) => (2, if y == 0 { x } else { x % y }),
        ("min", _) => (2, x.min(y)),
        ("max", _) => (2, x.max(y)),
        ("neg", _) => (1, -x),
        ("abs", _) => (1, x.abs()),
        ("and", _) => (2, x & y),
        ("or", _) => (2, x | y),
        ("xor", _) => (2, x ^ y),
        ("not", _) => (1, !x),
        ("shl", _) => (2, if b as u32 >= w { 0 } else { x << amount(b) }),
        ("shr", _) => (2, x >> amount(b)),
        ("popc", _) => (1, (0..w).filter(|i| unsigned(a) >> i & 1 != 0).count() as i128),
        ("clz", _) => (1, (0..w).rev().take_while(|i| unsigned(a) >> i & 1 == 0).count() as i128),
        ("bfind", "shiftamt") => {
            (1, (0..w).rev().position(|i| unsigned(a) >> i & 1 != 0).map_or(-1, |n| n as i128))
        }
        ("bfind", _) => (1, (0..w).rev().find(|i| unsigned(a) >> i & 1 != 0).map_or(-1, i128::from)),
        ("brev", _) => (1, (0..w).map(|i| (unsigned(a) >> i & 1) << (w - 1 - i)).sum()),
        ("selp", _) => (3, if c != 0 { x } else { y }),
        ("setp", how) => return (2, u64::from(compare(how, x, y))),
        ("bfe", _) => {
            let (at, n) = (b & 255, (c & 255).min(32));
            (3, (0..n).filter(|i| at + i < 32 && a >> (at + i) & 1 != 0).map(|i| 1 << i).sum())
        }
        ("bfi", _) => {
            let (at, n) = (c & 255, d & 255);
            let bit = |i: u64| if i >= at && i < at + n { a >> (i - at) & 1 } else { b >> i & 1 };
            (4, (0..u64::from(w)).map(|i| i128::from(bit(i)) << i).sum())
        }
        ("prmt", _) => {
            let byte = |i: u64| {
                let selector = c >> (4 * i) & 15;
                let from = if selector & 4 == 0 { a } else { b };
                let byte = from >> (8 * (selector & 3)) & 255;
                if selector & 8 == 0 {
                    byte
                } else if byte >= 128 {
                    255
                } else {
                    0
                }
            };
            (3, (0..4).map(|i| i128::from(byte(i)) << (8 * i)).sum())
        }
        ("dp2a", side) => {
            let of = |bits: u64, at: u64, width: u64| i128::from(bits >> (at * width) & ((1 << width) - 1));
            let first = if side == "lo" { 0 } else { 2 };
            (3, z + of(a, 0, 16) * of(b, first, 8) + of(a, 1, 16) * of(b, first + 1, 8))
        }
        ("dp4a", _) => {
            let of = |bits: u64, at: u64| i128::from(bits >> (8 * at) & 255);
            (3, z + (0..4).map(|at| of(a, at) * of(b, at)).sum::<i128>())
        }
        ("lop3", _) => {
            let bit = |i: u64| d >> ((a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1)) & 1;
            (4, (0..32).map(|i| i128::from(bit(i)) << i).sum())
        }
        ("shf", side) => {
            let n = if parts[2] == "wrap" { c & 31 } else { (c & 0xffff_ffff).min(32) };
            let both = unsigned(b) << 32 | unsigned(a);
            (3, if side == "l" { both << n >> 32 } else { both >> n })
        }
        (other, _) => panic!("`{other}` has no test: {parts:?}"),
    };
    (count, narrow(value, ty))
}

/// The floats nearest to an exact value: below, nearest, above, towards zero.
fn rounded(exact: f64, how: &str) -> f32 {
    let nearest = exact as f32;
    let (down, up) = (
        if f64::from(nearest) > exact { nearest.next_down() } else { nearest },
        if f64::from(nearest) < exact { nearest.next_up() } else { nearest },
    );
    match how {
        "rm" => down,
        "rp" => up,
        "rz" => {
            if exact > 0.0 {
                down
            } else {
                up
            }
        }
        _ => nearest,
    }
}

/// What an opcode on f32 (or, with `double`, on f64) gives, and how many operands it has.
fn float(parts: &[&str], [a, b, c, d]: [f64; 4], double: bool) -> (usize, f64) {
    let how = parts.get(1).copied().unwrap_or_default();
    let flush = |x: f64| if parts.contains(&"ftz") && (x as f32).is_subnormal() { 0.0 } else { x };
    let (count, exact) = match parts[0] {
        "mov" => (1, a),
        "add" => (2, a + b),
        "sub" => (2, a - b),
        "mul" => (2, a * b),
        "div" => (2, a / b),
        "fma" => (3, a * b + c),
        "neg" => (1, -a),
        "abs" => (1, if a <= 0.0 { 0.0 - a } else { a }),
        "sqrt" => (1, a.sqrt()),
        "rsqrt" if double => (1, 1.0 / a.sqrt()),
        "rsqrt" => (1, f64::from(1.0 / (a.sqrt() as f32))),
        "rcp" => (1, 1.0 / a),
        "ex2" => (1, flush(flush(a).exp2())),
        "lg2" => (1, flush(a).log2()),
        "tanh" => (1, a.tanh()),
        "min" | "max" if a.is_nan() || b.is_nan() => {
            let other = if a.is_nan() { b } else { a };
            (2, if how == "NaN" { f64::NAN } else { other })
        }
        // -0 is less than 0.
        "min" => (2, if a == b && a.is_sign_negative() || a < b { a } else { b }),
        "max" => (2, if a == b && b.is_sign_negative() || a > b { a } else { b }),
        "copysign" => (2, b.abs() * if a.is_sign_negative() { -1.0 } else { 1.0 }),
        "selp" => (3, if c.to_bits() != 0 { a } else { b }),
        other => panic!("`{other}` has no test"),
    };
    let _ = d;
    if double {
        return (count, exact);
    }
    let result = f64::from(rounded(exact, how));
    if how == "sat" {
        return (count, if result > 0.0 { result.min(1.0) } else { 0.0 });
    }
    (count, result)
}

fn float_test(name: &str, a: f64, b: f64) -> (usize, bool) {
    let unordered = a.is_nan() || b.is_nan();
    match name {
        "infinite" => (1, a.abs() == f64::INFINITY),
        "finite" => (1, a.abs() <= f64::MAX),
        "num" => (2, !unordered),
        "nan" => (2, unordered),
        "neu" => (2, unordered || a != b),
        "ne" => (2, !unordered && a != b),
        _ if name.len() == 3 => (2, unordered || float_test(&name[..2], a, b).1),
        "eq" => (2, a == b),
        "lt" => (2, a < b),
        "le" => (2, a <= b),
        "gt" => (2, a > b),
        "ge" => (2, a >= b),
        other => panic!("`{other}` has no test"),
    }
}

fn bits_of(x: f64, ty: &str) -> u64 {
    match ty {
        "f64" => x.to_bits(),
        "f32" => u64::from((x as f32).to_bits()),
        "bf16" => u64::from((x as f32).to_bits() >> 16),
        // Cut off: what is converted are any numbers of the kind.
        "f16" => u64::from((x as f32).to_bits() >> 16),
        other => panic!("{other} is no float"),
    }
}

fn float_of(bits: u64, ty: &str) -> f64 {
    match ty {
        "f64" => f64::from_bits(bits),
        "f32" => f64::from(f32::from_bits(bits as u32)),
        "bf16" => f64::from(f32::from_bits((bits as u32) << 16)),
        "f16" => f16_of(bits),
        other => panic!("{other} is no float"),
    }
}

fn same(found: f64, expected: f64) -> bool {
    found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan())
}

/// Conversions: `cvt[.how].to.from`.
fn conversion(opcode: &str) {
    let parts: Vec<&str> = opcode.split('.').collect();
    let (to, from) = (parts[parts.len() - 2], parts[parts.len() - 1]);
    let how = if parts.len() > 3 { parts[1] } else { "" };
    let inputs: Vec<u64> = if from.contains('f') {
        let mut all = floats();
        all.extend([2.5, -0.5, 0.7, -1.25, 1e9, -3e9, 5e9, 1e20, -1e20, 65_535.5, 300.0]);
        all.into_iter().map(|x| bits_of(x, from)).collect()
    } else {
        numbers()
    };
    let cases: Vec<[u64; 4]> = inputs.iter().map(|a| [*a, *a, 0, 0]).collect();
    let operands = if to == "bf16x2" { 2 } else { 1 };
    for (input, found) in inputs.iter().zip(run(opcode, operands, &cases)) {
        let fine = if !from.contains('f') && !to.contains('f') {
            found & u64::MAX >> (64 - width(to)) == narrow(wide(*input, from), to)
        } else if !from.contains('f') {
            let exact = wide(*input, from);
            let nearest =
                if to == "f32" { bits_of(f64::from(exact as f32), to) } else { bits_of(exact as f64, to) };
            found == nearest
        } else {
            let x = float_of(*input, from);
            let whole = match how {
                "rzi" => x.trunc(),
                "rni" => x.round_ties_even(),
                "rmi" => x.floor(),
                "rpi" => x.ceil(),
                _ => x,
            };
            match to {
                "f32" | "f64" if how == "sat" => {
                    same(float_of(found, to), if x > 0.0 { x.min(1.0) } else { 0.0 })
                }
                "f32" => same(float_of(found, to), f64::from(whole as f32)),
                "f64" => same(float_of(found, to), whole),
                "bf16" | "bf16x2" => {
                    let nearest = nearest_half(x as f32, 0x7f80, &|bits| float_of(bits, "bf16"));
                    let all = if to == "bf16" { nearest } else { nearest << 16 | nearest };
                    x.is_nan() || found == all
                }
                "f16" => x.is_nan() || found == nearest_half(x as f32, 0x7c00, &f16_of),
                _ => {
                    let w = width(to);
                    let (low, high) = if to.starts_with('s') {
                        (-(1i128 << (w - 1)), (1i128 << (w - 1)) - 1)
                    } else {
                        (0, (1i128 << w) - 1)
                    };
                    let odd = from == "f64" || w == 64;
                    let value = match x.is_nan() {
                        true if odd => 1i128 << (w - 1),
                        true => 0,
                        false => (whole as i128).clamp(low, high),
                    };
                    narrow(i128::from(found), to) == narrow(value, to)
                }
            }
        };
        assert!(fine, "{opcode} of {input:#x} is {found:#x}");
    }
}

/// An f16 number by its definition.
fn f16_of(bits: u64) -> f64 {
    let (exponent, fraction) = (bits >> 10 & 31, (bits & 0x3ff) as f64);
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent as i32 - 25),
    };
    if bits >> 15 & 1 == 1 { -magnitude } else { magnitude }
}

/// The nearest number of 16 bits, ties to even, of a kind in which `infinite` are the bits of infinity: the numbers are in
/// the order of their bits. Infinity counts as the next one after the largest.
fn nearest_half(x: f32, infinite: u64, value: &dyn Fn(u64) -> f64) -> u64 {
    let magnitude = f64::from(x.abs());
    let sign = u64::from(x.is_sign_negative()) << 15;
    let (mut low, mut high) = (0, infinite);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if value(middle) <= magnitude { low = middle } else { high = middle }
    }
    let after = if high == infinite { 2.0 * value(high - 1) - value(high - 2) } else { value(high) };
    let (below, above) = (magnitude - value(low), after - magnitude);
    let up = above < below || (above == below && low & 1 == 1);
    sign | if up { high } else { low }
}

#[test]
fn every_opcode_computes_what_it_says() {
    let (integers, floats) = (pairs(&numbers(), false), pairs(&floats(), true));
    for opcode in opcodes() {
        let parts: Vec<&str> = opcode.split('.').collect();
        let ty = parts[parts.len() - 1];
        if parts[0] == "cvt" {
            conversion(opcode);
        } else if matches!(ty, "f32" | "f64") {
            let is_test = matches!(parts[0], "setp" | "testp");
            let raw: Vec<[u64; 4]> = floats
                .iter()
                .map(|[a, b, c, d]| {
                    // The selecting operand of `selp` is a predicate.
                    let third =
                        if parts[0] == "selp" { u64::from(c.to_bits() != 0) } else { bits_of(*c, ty) };
                    [bits_of(*a, ty), bits_of(*b, ty), third, bits_of(*d, ty)]
                })
                .collect();
            let of = |case: &[f64; 4]| {
                if is_test {
                    float_test(parts[1], case[0], case[1]).0
                } else {
                    float(&parts, *case, ty == "f64").0
                }
            };
            let results = run(opcode, of(&floats[0]), &raw);
            for (case, found) in floats.iter().zip(results) {
                if is_test {
                    assert_eq!(
                        found,
                        u64::from(float_test(parts[1], case[0], case[1]).1),
                        "{opcode} of {case:?}"
                    );
                    continue;
                }
                let (_, expected) = float(&parts, *case, ty == "f64");
                let found = float_of(found, ty);
                assert!(same(found, expected), "{opcode} of {case:?} is {found:?}, not {expected:?}");
            }
        } else if ty == "pred" {
            let cases = [[0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]];
            let operands = if matches!(parts[0], "not" | "mov") { 1 } else { 2 };
            for (case, found) in cases.iter().zip(run(opcode, operands, &cases)) {
                let (a, b) = (case[0] != 0, case[1] != 0);
                let expected = match parts[0] {
                    "mov" => a,
                    "not" => !a,
                    "and" => a && b,
                    "or" => a || b,
                    "xor" => a != b,
                    other => panic!("`{other}` has no test"),
                };
                assert_eq!(found, u64::from(expected), "{opcode} of {case:?}");
            }
        } else {
            let (operands, _) = integer(&parts, integers[0]);
            let kept = if matches!(parts[0], "popc" | "clz") { "u32" } else { "" };
            for (case, found) in integers.iter().zip(run(opcode, operands, &integers)) {
                let (_, expected) = integer(&parts, *case);
                let expected = if kept.is_empty() { expected } else { narrow(i128::from(expected), kept) };
                assert_eq!(found, expected, "{opcode} of {case:x?}");
            }
        }
    }
}
