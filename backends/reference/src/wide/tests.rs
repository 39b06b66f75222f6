//! Wide numbers against f64, against each other, and against digits from the literature.

use super::*;
use crate::Scalar;

fn number(x: f64) -> Wide {
    Wide::from_f64(x)
}

/// Equal to `bits` binary digits.
#[track_caller]
fn assert_same(a: Wide, b: Wide, bits: i64) {
    let difference = a - b;
    let is_near = difference.kind == Kind::Zero || difference.exponent < b.exponent - bits;
    assert!(is_near, "{a:?} is not {b:?}: {:e}", difference.to_f64());
}

const VALUES: [f64; 12] =
    [1.0, -1.0, 0.3, -7.25, 1e-5, 3e7, 123.456, -0.0625, 5e-324, 1e-310, 2.5e300, 0.999];

#[test]
fn arithmetic_agrees_with_f64_and_is_exact_where_that_is_possible() {
    for a in VALUES {
        assert_eq!(number(a).to_f64(), a);
        for b in VALUES {
            let (x, y) = (number(a), number(b));
            let near = |wide: Wide, double: f64| {
                let exact = wide.to_f64();
                !double.is_normal() || (exact - double).abs() <= 2.0 * f64::EPSILON * double.abs()
            };
            assert!(near(x + y, a + b) && near(x - y, a - b), "{a} {b}");
            assert!(near(x * y, a * b) && near(x / y, a / b), "{a} {b}");
            assert_eq!(x < y, a < b, "{a} < {b}");
            assert_same((x * y) / y, x, 250);
            assert_same(x / y * y, x, 250);
        }
    }
    // Small next to large: nothing is lost below 256 bits.
    let tiny = number(2f64.powi(-200));
    assert!((number(1.0) + tiny) - number(1.0) == tiny);
    assert_same(number(1.0).over(3) * Wide::from_integer(3), number(1.0), 250);
}

#[test]
fn functions_invert_each_other_to_200_bits() {
    for x in [1e-30, 1e-5, 0.3, 1.0, 1.5, 20.0, 123.456, 3e7] {
        let wide = number(x);
        // What is near 1 has fewer digits of its distance from 1.
        assert_same(wide.exp().log(), wide, 200 + wide.exponent.min(0));
        assert_same(wide.log().exp(), wide, 200);
        assert_same(wide.sqrt() * wide.sqrt(), wide, 250);
        assert_same(wide.log1p().exp() - number(1.0), wide, if x < 1e-9 { 100 } else { 200 });
        assert_same(wide.exp() * (-wide).exp(), number(1.0), 200);
        // exp(2 x) = (1 + tanh x) / (1 - tanh x)
        if x < 20.0 {
            let t = wide.tanh();
            assert_same((number(1.0) + t) / (number(1.0) - t), wide.scaled(1).exp(), 180);
        }
    }
}

#[test]
fn floors_are_whole() {
    for x in [0.3, -0.3, 7.0, -7.0, 7.5, -7.5, 1e17, -123456.789, 2.5e300, 0.999, -1e-300, 0.0] {
        assert_eq!(number(x).floor().to_f64(), x.floor(), "{x}");
    }
    let long = number(2f64.powi(150)) + number(0.5);
    assert!(
        long.floor() == number(2f64.powi(150)) && (-long).floor() == -number(2f64.powi(150)) - number(1.0)
    );
}

/// Digits of the functions beyond those of f64: the remainder after the nearest f64 is taken away.
#[test]
fn functions_have_the_digits_of_the_literature() {
    let near = |wide: Wide, high: f64, low: f64| {
        let rest = (wide - number(high)).to_f64();
        assert!((rest - low).abs() <= 1e-12 * low.abs(), "{rest:e} is not {low:e}");
    };
    // e = 2.718281828459045235360287471352662497757...
    near(number(1.0).exp(), std::f64::consts::E, 1.445_646_891_729_250_2e-16);
    // ln 2, with the second part of the usual splitting.
    near(number(2.0).log(), std::f64::consts::LN_2, 2.319_046_813_846_299_6e-17);
    // sqrt 2
    near(number(2.0).sqrt(), std::f64::consts::SQRT_2, -9.667_293_313_452_913e-17);
    // erf(x) + erfc(x) = 1 far out, where f64 has no digits left.
    assert!((number(1.0) - number(5.0).erf()).to_f64() - 1.537_459_794_428_034_8e-12 < 1e-24);
    assert!((number(0.75).erf().to_f64() - libm::erf(0.75)).abs() < 2e-16);
}

#[test]
fn nothing_overflows_and_special_values_follow_ieee() {
    assert_same(number(1000.0).exp() * number(-1000.0).exp(), number(1.0), 200);
    assert_same(number(1e9).exp().log(), number(1e9), 190);
    assert!(number(5000.0).exp().is_finite() && number(1e20).exp().to_f64() == f64::INFINITY);
    assert_eq!(number(-1e20).exp().to_f64(), 0.0);
    let infinity = number(f64::INFINITY);
    assert!((infinity - infinity).is_nan() && (infinity * number(0.0)).is_nan());
    assert!((number(0.0) / number(0.0)).is_nan() && (infinity + number(1.0)).to_f64() == f64::INFINITY);
    assert_eq!((number(3.0) / infinity).to_f64(), 0.0);
    assert!(number(0.0) == number(-0.0) && number(-1.0) < number(0.0) && number(-2.0) < number(-1.0));
    let nan = number(f64::NAN);
    assert!(nan != nan && nan.partial_cmp(&infinity).is_none());
}
