//! Numbers of f64 precision whose exponent has 64 bits: `exp(1000) * exp(-1000)` is 1.
//!
//! Invariant: a finite non-zero number is `mantissa * 2^exponent` with `1 <= |mantissa| < 2`; zero, infinities and
//! NaN have exponent 0 and that mantissa. Rounding is that of f64; there are no subnormal numbers. Exponents beyond
//! 64 bits become infinity or zero.

use crate::Scalar;
use std::cmp::Ordering;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A number of f64 precision and practically unlimited range.
#[derive(Clone, Copy, Debug)]
pub struct Extended {
    mantissa: f64,
    exponent: i64,
}

/// Beyond this distance the smaller of two terms does not change a sum.
const ALIGNMENT: i64 = 128;

impl Extended {
    /// `mantissa * 2^exponent` for any mantissa.
    fn new(mantissa: f64, exponent: i64) -> Extended {
        if mantissa == 0.0 || !mantissa.is_finite() {
            return Extended { mantissa, exponent: 0 };
        }
        let (mantissa, shift) = normalised(mantissa);
        match exponent.checked_add(shift) {
            Some(exponent) => Extended { mantissa, exponent },
            None if exponent > 0 => Extended { mantissa: f64::INFINITY.copysign(mantissa), exponent: 0 },
            None => Extended { mantissa: 0f64.copysign(mantissa), exponent: 0 },
        }
    }

    fn is_special(self) -> bool {
        self.mantissa == 0.0 || !self.mantissa.is_finite()
    }

    /// Whether f64 holds it as a normal number with some room for what is computed from it.
    fn is_moderate(self) -> bool {
        self.is_special() || self.exponent.abs() < 1000
    }

    /// Order of the absolute values of two numbers that are not NaN.
    fn magnitude_cmp(self, other: Extended) -> Ordering {
        let rank = |x: Extended| match x.mantissa {
            0.0 => i64::MIN,
            m if m.is_infinite() => i64::MAX,
            _ => x.exponent.clamp(i64::MIN + 1, i64::MAX - 1),
        };
        rank(self).cmp(&rank(other)).then(self.mantissa.abs().total_cmp(&other.mantissa.abs()))
    }

    /// `mantissa * 2^(a + b)`, where the sum of the exponents may overflow.
    fn scaled(mantissa: f64, a: i64, b: i64) -> Extended {
        match a.checked_add(b) {
            Some(exponent) => Extended::new(mantissa, exponent),
            None if a > 0 => Extended::new(f64::INFINITY.copysign(mantissa), 0),
            None => Extended::new(0f64.copysign(mantissa), 0),
        }
    }
}

/// A finite non-zero number as a mantissa in \[1, 2) up to sign, and an exponent.
fn normalised(x: f64) -> (f64, i64) {
    const MANTISSA_BITS: u32 = 52;
    const BIAS: i64 = 1023;
    let (x, extra) = if x.is_normal() { (x, 0) } else { (x * 2f64.powi(64), -64) };
    let bits = x.to_bits();
    let exponent = ((bits >> MANTISSA_BITS) & 0x7ff) as i64 - BIAS;
    let mantissa = f64::from_bits((bits & !(0x7ff << MANTISSA_BITS)) | ((BIAS as u64) << MANTISSA_BITS));
    (mantissa, exponent + extra)
}

/// `x * 2^exponent`, rounded once (the first factors are exact).
fn scale(x: f64, exponent: i64) -> f64 {
    let exponent = exponent.clamp(-2200, 2200) as i32;
    if exponent > 1000 {
        x * 2f64.powi(1000) * 2f64.powi(exponent - 1000)
    } else if exponent < -1000 {
        // The mantissa is at least 1, so that the first product is normal and only the second one rounds.
        x * 2f64.powi(-1000) * if exponent < -2000 { 0.0 } else { 2f64.powi(exponent + 1000) }
    } else {
        x * 2f64.powi(exponent)
    }
}

impl Add for Extended {
    type Output = Extended;

    fn add(self, other: Extended) -> Extended {
        if self.is_special() || other.is_special() {
            return if self.is_finite() && other.is_finite() && self.mantissa != other.mantissa {
                // One of them is zero.
                if self.mantissa == 0.0 { other } else { self }
            } else {
                // Both are zero, or one is infinite or NaN: then the size of the other does not matter.
                Extended::new(self.mantissa + other.mantissa, 0)
            };
        }
        let (large, small) = if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        let distance = large.exponent.saturating_sub(small.exponent);
        if distance > ALIGNMENT {
            return large;
        }
        Extended::new(large.mantissa + scale(small.mantissa, -distance), large.exponent)
    }
}

impl Neg for Extended {
    type Output = Extended;

    fn neg(self) -> Extended {
        Extended { mantissa: -self.mantissa, ..self }
    }
}

impl Sub for Extended {
    type Output = Extended;

    fn sub(self, other: Extended) -> Extended {
        self + -other
    }
}

impl Mul for Extended {
    type Output = Extended;

    fn mul(self, other: Extended) -> Extended {
        Extended::scaled(self.mantissa * other.mantissa, self.exponent, other.exponent)
    }
}

impl Div for Extended {
    type Output = Extended;

    fn div(self, other: Extended) -> Extended {
        Extended::scaled(self.mantissa / other.mantissa, self.exponent, other.exponent.saturating_neg())
    }
}

impl PartialEq for Extended {
    fn eq(&self, other: &Extended) -> bool {
        self.mantissa == other.mantissa && self.exponent == other.exponent
    }
}

impl PartialOrd for Extended {
    fn partial_cmp(&self, other: &Extended) -> Option<Ordering> {
        let sign = |x: f64| if x == 0.0 { 0.0 } else { x.signum() };
        let by_sign = sign(self.mantissa).partial_cmp(&sign(other.mantissa))?;
        Some(by_sign.then_with(|| {
            if self.mantissa == 0.0 {
                Ordering::Equal
            } else if self.mantissa > 0.0 {
                self.magnitude_cmp(*other)
            } else {
                other.magnitude_cmp(*self)
            }
        }))
    }
}

impl Scalar for Extended {
    fn floor(self) -> Extended {
        if self.is_special() || self.exponent > f64::MANTISSA_DIGITS.into() {
            self
        } else if self.exponent < 0 {
            Extended::new(if self.mantissa < 0.0 { -1.0 } else { 0.0 }, 0)
        } else {
            Extended::new(self.to_f64().floor(), 0)
        }
    }

    fn from_f64(x: f64) -> Extended {
        Extended::new(x, 0)
    }

    fn to_f64(self) -> f64 {
        if self.is_special() { self.mantissa } else { scale(self.mantissa, self.exponent) }
    }

    fn abs(self) -> Extended {
        Extended { mantissa: self.mantissa.abs(), ..self }
    }

    fn exp(self) -> Extended {
        const LN_2_LOW: f64 = 2.319_046_813_846_299_6e-17;
        let x = self.to_f64();
        if x.is_nan() || x == 0.0 || x.abs() < 1e-300 {
            return Extended::new(if x.is_nan() { x } else { 1.0 }, 0);
        }
        let turns = (x / std::f64::consts::LN_2).round();
        if turns.abs() > 2f64.powi(62) {
            return Extended::new(if x > 0.0 { f64::INFINITY } else { 0.0 }, 0);
        }
        // Each step is exact or of one rounding: the rest keeps the precision that the argument has.
        let rest = (-turns).mul_add(std::f64::consts::LN_2, x);
        let rest = (-turns).mul_add(LN_2_LOW, rest);
        Extended::new(rest.exp(), turns as i64)
    }

    fn log(self) -> Extended {
        if self.is_moderate() {
            return Extended::new(self.to_f64().ln(), 0);
        }
        Extended::new(self.mantissa.ln() + self.exponent as f64 * std::f64::consts::LN_2, 0)
    }

    fn log1p(self) -> Extended {
        // Below 2^-60 the second term of the series is lost in rounding.
        if !self.is_special() && self.exponent < -60 {
            self
        } else if self.is_moderate() {
            Extended::new(self.to_f64().ln_1p(), 0)
        } else {
            (self + Extended::one()).log()
        }
    }

    fn sqrt(self) -> Extended {
        let odd = self.exponent.rem_euclid(2);
        let mantissa = if odd == 1 { self.mantissa * 2.0 } else { self.mantissa };
        Extended::new(mantissa.sqrt(), (self.exponent - odd) / 2)
    }

    fn tanh(self) -> Extended {
        if !self.is_special() && self.exponent < -60 { self } else { Extended::new(self.to_f64().tanh(), 0) }
    }

    fn erf(self) -> Extended {
        if !self.is_special() && self.exponent < -60 {
            self * Extended::new(std::f64::consts::FRAC_2_SQRT_PI, 0)
        } else {
            Extended::new(libm::erf(self.to_f64()), 0)
        }
    }

    fn is_nan(self) -> bool {
        self.mantissa.is_nan()
    }

    fn is_finite(self) -> bool {
        self.mantissa.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(x: f64) -> Extended {
        Extended::from_f64(x)
    }

    fn assert_near(a: Extended, b: f64) {
        let a = a.to_f64();
        assert!((a - b).abs() <= 1e-13 * b.abs(), "{a} is not {b}");
    }

    #[test]
    fn no_overflow_and_no_underflow() {
        assert_near(number(1000.0).exp() * number(-1000.0).exp(), 1.0);
        assert_near(number(1e9).exp().log(), 1e9);
        assert_near((number(-1e6).exp() * number(2.0)).log() - number(2.0).log(), -1e6);
        assert_near((number(5000.0).exp() * number(5000.0).exp()).sqrt().log(), 5000.0);
        assert_near(number(5000.0).exp() / number(4999.0).exp(), std::f64::consts::E);
        assert_near((number(900.0).exp() + number(899.0).exp()).log(), 900.313_261_687_518_3);
        assert_eq!(number(-1e6).exp().ceil().to_f64(), 1.0);
        assert_eq!((-number(-1e6).exp()).floor().to_f64(), -1.0);
        assert_eq!(number(-2.5).ceil().to_f64(), -2.0);
        assert_near(number(1e6).exp().floor().log(), 1e6);
        assert_eq!(number(1e20).exp().to_f64(), f64::INFINITY);
        assert_eq!(number(-1e20).exp().to_f64(), 0.0);
        assert!(number(5000.0).exp().is_finite());
    }

    #[test]
    fn comparisons_see_the_exponent() {
        let (large, small) = (number(2000.0).exp(), number(-2000.0).exp());
        assert!(small < large && -large < -small && small > number(0.0) && -small < number(0.0));
        assert!(large < number(f64::INFINITY) && -large > number(f64::NEG_INFINITY));
        assert!(number(0.0) == number(-0.0) && number(1.0) < number(1.5) && number(1.5) < number(2.0));
        let nan = number(f64::NAN);
        assert!(nan.partial_cmp(&large).is_none() && large != nan && (nan < large) == (large < nan));
    }

    #[test]
    fn special_values_follow_ieee() {
        let infinity = number(f64::INFINITY);
        assert!((infinity - infinity).is_nan() && (infinity * number(0.0)).is_nan());
        assert!((number(0.0) / number(0.0)).is_nan() && (infinity + number(1.0)).to_f64() == f64::INFINITY);
        assert_eq!((number(1.0) - infinity).to_f64(), f64::NEG_INFINITY);
        assert_eq!((number(3.0) / infinity).to_f64(), 0.0);
        assert_eq!((number(0.0) + number(0.0)).to_f64(), 0.0);
        assert!((number(f64::NAN) + number(0.0)).is_nan() && (number(0.0) + number(f64::NAN)).is_nan());
    }

    #[test]
    fn agrees_with_f64_where_that_has_the_range() {
        let values = [1.0, -1.0, 0.3, -7.25, 1e-5, 3e7, 123.456, -0.0625, 5e-324, 1e-310, 0.0];
        for a in values {
            assert_eq!(number(a).to_f64(), a);
            for b in values {
                assert_eq!((number(a) + number(b)).to_f64(), a + b, "{a} + {b}");
                assert_eq!(number(a) < number(b), a < b, "{a} < {b}");
                if (a * b).abs() > 1e-290 {
                    assert_eq!((number(a) * number(b)).to_f64(), a * b, "{a} * {b}");
                }
                if (a / b).is_normal() && b.is_normal() && a.is_normal() {
                    assert_eq!((number(a) / number(b)).to_f64(), a / b, "{a} / {b}");
                }
            }
        }
    }
}
