//! Errors in units in the last place against f64, over all f32 operands, and the special values.

use super::{Fused, Unfused};
use crate::runtime::isa::Isa;
use crate::runtime::maps;

/// A function with its exact value and its bound on the error.
struct Case {
    name: &'static str,
    ulp: f64,
    exact: fn(f64) -> f64,
    fused: fn(f32) -> f32,
    unfused: fn(f32) -> f32,
    tile: fn(Isa) -> unsafe extern "C" fn(*mut f32, *const f32, usize),
}

macro_rules! cases {
    ($($name:ident within $ulp:literal of $exact:expr;)*) => {
        [$(Case {
            name: stringify!($name),
            ulp: $ulp,
            exact: $exact,
            fused: |x| super::$name(&mut Fused, x),
            unfused: |x| super::$name(&mut Unfused, x),
            tile: maps::$name::function,
        }),*]
    };
}

#[rustfmt::skip]
fn cases() -> [Case; 9] {
    cases! {
        exp        within 1.2 of f64::exp;
        expm1      within 1.8 of f64::exp_m1;
        log        within 0.9 of f64::ln;
        log1p      within 1.5 of f64::ln_1p;
        sqrt       within 0.5001 of f64::sqrt;
        tanh       within 2.6 of f64::tanh;
        sigmoid    within 2.4 of super::sigmoid_f64;
        logsigmoid within 1.8 of super::logsigmoid_f64;
        erf        within 1.2 of libm::erf;
    }
}

/// The distance of two f32 at the magnitude of the exact value.
fn ulp_of(exact: f64) -> f64 {
    let magnitude = (exact.abs() as f32).max(f32::MIN_POSITIVE);
    let exponent = (magnitude.to_bits() >> 23) as i32 - 127;
    2f64.powi(exponent.min(127) - 23)
}

/// How far a computed value is from the exact one; infinite where one of them is not a finite f32 and they differ.
fn error_in_ulp(computed: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if computed.to_bits() == rounded.to_bits() || (computed.is_nan() && exact.is_nan()) {
        return 0.0;
    }
    if computed.is_nan() || exact.is_nan() {
        return f64::INFINITY;
    }
    // Next to the overflow, either side may be infinite: infinity stands for the next number of the row.
    let computed = if computed.is_infinite() {
        2f64.powi(128).copysign(f64::from(computed))
    } else {
        f64::from(computed)
    };
    let exact =
        if exact.is_infinite() && computed.abs() < 2f64.powi(128) { return f64::INFINITY } else { exact };
    if exact.is_infinite() {
        return if exact.signum() == computed.signum() && computed.abs() == 2f64.powi(128) {
            0.0
        } else {
            f64::INFINITY
        };
    }
    (computed - exact).abs() / ulp_of(exact)
}

/// Bit patterns over the whole range: a sweep by a prime, and the borders of the definitions with their neighbours.
fn operands() -> Vec<f32> {
    let mut all: Vec<f32> = (0..=u32::MAX).step_by(1009).map(f32::from_bits).collect();
    // Where functions bend, more densely: magnitudes of 2^-30 to 2^8.
    for bits in (97u32 << 23..136 << 23).step_by(211) {
        all.push(f32::from_bits(bits));
        all.push(-f32::from_bits(bits));
    }
    let borders = [
        0.0,
        1.0,
        -1.0,
        0.5,
        2.0,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::INFINITY,
        f32::NAN,
        f32::from_bits(1),
        88.72284,
        88.722_85,
        -103.97208,
        -103.97,
        -103.972_09,
        -87.33655,
        18.0,
        9.5,
        4.0,
        0.927_734_4,
        16_777_216.0,
        std::f32::consts::FRAC_1_SQRT_2,
        std::f32::consts::SQRT_2,
        -17.328_68,
        89.0,
        -104.5,
        128.0,
    ];
    for border in borders {
        for offset in -40i32..=40 {
            for sign in [1.0, -1.0] {
                all.push(sign * f32::from_bits((border.to_bits() as i32).wrapping_add(offset) as u32));
            }
        }
    }
    all
}

fn check(case: &Case, how: &str, x: &[f32], y: &[f32], bound: f64) {
    let (mut worst, mut place) = (0.0, 0);
    for (at, (&x, &y)) in x.iter().zip(y).enumerate() {
        let error = error_in_ulp(y, (case.exact)(f64::from(x)));
        if error > worst {
            (worst, place) = (error, at);
        }
    }
    let (x, y) = (x[place], y[place]);
    let exact = (case.exact)(f64::from(x));
    println!("{:10} {how:9} {worst:.3} ULP at {x:e}: {y:e}, exactly {exact:e}", case.name);
    assert!(worst <= bound, "{} {how}: {worst} ULP at {x:e}: {y:e}, exactly {exact:e}", case.name);
}

#[test]
fn every_isa_is_within_the_bound_over_the_whole_range_and_fused_ones_agree_bit_for_bit() {
    let x = operands();
    let mut y = vec![0.0f32; x.len()];
    for case in cases() {
        let mut oracle: Option<Vec<u32>> = None;
        for &isa in Isa::available() {
            // SAFETY: as many elements each.
            unsafe { (case.tile)(isa)(y.as_mut_ptr(), x.as_ptr(), x.len()) };
            if isa == Isa::Portable {
                // Two more roundings here and there where multiplication and addition are separate.
                check(&case, "portable", &x, &y, case.ulp + 0.5);
                continue;
            }
            let bits: Vec<u32> =
                y.iter().map(|y| if y.is_nan() { f32::NAN.to_bits() } else { y.to_bits() }).collect();
            match &oracle {
                None => {
                    check(&case, &format!("{isa:?}"), &x, &y, case.ulp);
                    oracle = Some(bits);
                }
                Some(oracle) => {
                    for at in 0..x.len() {
                        assert_eq!(bits[at], oracle[at], "{} {isa:?} at {:e}", case.name, x[at]);
                    }
                }
            }
        }
        // The scalar definition, a sample of it: without hardware it multiplies and adds in software.
        if let Some(oracle) = oracle {
            for at in (0..x.len()).step_by(37) {
                let y = (case.fused)(x[at]);
                let bits = if y.is_nan() { f32::NAN.to_bits() } else { y.to_bits() };
                assert_eq!(bits, oracle[at], "{} scalar at {:e}", case.name, x[at]);
            }
        }
    }
}

#[test]
fn special_values_are_exact_fused_or_not() {
    let infinity = f32::INFINITY;
    #[rustfmt::skip]
    let table: &[(&str, f32, f32)] = &[
        ("exp", 0.0, 1.0), ("exp", -0.0, 1.0), ("exp", infinity, infinity), ("exp", -infinity, 0.0),
        ("exp", 89.0, infinity), ("exp", 1e30, infinity), ("exp", -103.0, 1.4e-45), ("exp", -105.0, 0.0),
        ("expm1", 0.0, 0.0), ("expm1", -0.0, -0.0), ("expm1", infinity, infinity), ("expm1", -infinity, -1.0),
        ("log", 1.0, 0.0), ("log", 0.0, -infinity), ("log", -0.0, -infinity), ("log", infinity, infinity),
        ("log", -1.0, f32::NAN), ("log", -infinity, f32::NAN), ("log", 1e-45, -103.27893),
        ("log1p", 0.0, 0.0), ("log1p", -0.0, -0.0), ("log1p", -1.0, -infinity), ("log1p", -1.5, f32::NAN),
        ("log1p", infinity, infinity), ("log1p", -infinity, f32::NAN), ("log1p", 1e-45, 1e-45),
        ("sqrt", -0.0, -0.0), ("sqrt", -1.0, f32::NAN), ("sqrt", infinity, infinity),
        ("tanh", 0.0, 0.0), ("tanh", -0.0, -0.0), ("tanh", infinity, 1.0), ("tanh", -infinity, -1.0),
        ("tanh", 1e-45, 1e-45), ("tanh", -1e-39, -1e-39), ("tanh", 20.0, 1.0),
        ("sigmoid", 0.0, 0.5), ("sigmoid", infinity, 1.0), ("sigmoid", -infinity, 0.0), ("sigmoid", -103.0, 1.4e-45),
        ("logsigmoid", infinity, 0.0), ("logsigmoid", -infinity, -infinity), ("logsigmoid", -200.0, -200.0),
        ("logsigmoid", 0.0, -std::f32::consts::LN_2), ("logsigmoid", 200.0, 0.0),
        ("erf", 0.0, 0.0), ("erf", -0.0, -0.0), ("erf", infinity, 1.0), ("erf", -infinity, -1.0), ("erf", 1e30, 1.0),
    ];
    for case in cases() {
        for (how, f) in [("fused", case.fused), ("unfused", case.unfused)] {
            assert!(f(f32::NAN).is_nan(), "{} {how} of NaN", case.name);
            for &(_, x, expected) in table.iter().filter(|row| row.0 == case.name) {
                let y = f(x);
                let same = y.to_bits() == expected.to_bits() || (y.is_nan() && expected.is_nan());
                assert!(same, "{} {how} of {x:e}: {y:e}, not {expected:e}", case.name);
            }
        }
    }
}

#[test]
fn tiles_of_any_length_in_place_or_not_are_the_scalar_function() {
    let x = crate::runtime::test_numbers::numbers(200, 3, 0.1, 3.0);
    for case in cases() {
        for &isa in Isa::available() {
            let tile = (case.tile)(isa);
            let mut all = vec![0.0f32; 200];
            // SAFETY: 200 elements each.
            unsafe { tile(all.as_mut_ptr(), x.as_ptr(), 200) };
            for n in (0..70).chain([129, 199]) {
                let mut y = vec![-7.0f32; n + 1];
                y[..n].copy_from_slice(&x[..n]);
                // SAFETY: n elements, in place.
                unsafe { tile(y.as_mut_ptr(), y.as_ptr(), n) };
                assert_eq!(y[..n], all[..n], "{} {isa:?}, n = {n}", case.name);
                assert_eq!(y[n], -7.0, "{} {isa:?} wrote past n = {n}", case.name);
            }
        }
    }
}

#[test]
fn f64_tiles_keep_their_tails() {
    let check = |f: unsafe extern "C" fn(*mut f64, *const f64, usize), x: f64, expected: f64| {
        let mut y = [x];
        // SAFETY: one element, in place.
        unsafe { f(y.as_mut_ptr(), y.as_ptr(), 1) };
        assert!(
            (y[0] - expected).abs() <= 4e-16 * expected.abs() || y[0] == expected,
            "{x}: {} {expected}",
            y[0]
        );
    };
    check(maps::sigmoid_f64, -700.0, (-700.0f64).exp());
    check(maps::sigmoid_f64, f64::NEG_INFINITY, 0.0);
    check(maps::logsigmoid_f64, 40.0, -(-40.0f64).exp());
    check(maps::logsigmoid_f64, f64::NEG_INFINITY, f64::NEG_INFINITY);
    check(maps::erf_f64, 0.5, 0.520_499_877_813_046_5);
    check(maps::log1p_f64, 1e-20, 1e-20);
    check(maps::expm1_f64, 1e-20, 1e-20);
    check(maps::tanh_f64, 1.0, 0.761_594_155_955_764_9);
    check(maps::exp_f64, 1.0, std::f64::consts::E);
    check(maps::log_f64, 2.0, std::f64::consts::LN_2);
    check(maps::sqrt_f64, 2.0, std::f64::consts::SQRT_2);
}
