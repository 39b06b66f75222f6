//! Functions of wide numbers: arguments are made small, then a series is summed.

use super::{BITS, Kind, LIMBS, Wide};
use crate::Scalar;
use std::sync::OnceLock;

/// Arguments below 2^-12 go into series as they are.
const SMALL: i64 = 12;

/// `sum of x^(2 n + 1) / (2 n + 1)`, with alternating signs or without, for a small x.
fn odd_series(x: Wide, alternating: bool) -> Wide {
    let square = x * x;
    let (mut power, mut sum, mut n) = (x, x, 1);
    while !(power.kind == Kind::Zero || power.exponent < sum.exponent - BITS) {
        power = power * square;
        if alternating {
            power = -power;
        }
        n += 2;
        sum = sum + power.over(n);
    }
    sum
}

fn ln_2() -> Wide {
    static LN_2: OnceLock<Wide> = OnceLock::new();
    let part = |n: u64| odd_series(Wide::one().over(n), false);
    *LN_2.get_or_init(|| {
        let terms = [(18, part(26)), (-2, part(4801)), (8, part(8749))];
        terms.into_iter().fold(Wide::ZERO, |sum, (n, term)| sum + Wide::from_integer(n) * term)
    })
}

fn pi() -> Wide {
    static PI: OnceLock<Wide> = OnceLock::new();
    let part = |n: u64| odd_series(Wide::one().over(n), true);
    *PI.get_or_init(|| part(5).scaled(4) - part(239).scaled(2))
}

/// `exp(x) - 1` by its series, for a small x.
fn exp_m1_series(x: Wide) -> Wide {
    let (mut term, mut sum, mut n) = (x, x, 1);
    while !(term.kind == Kind::Zero || term.exponent < sum.exponent - BITS) {
        n += 1;
        term = (term * x).over(n);
        sum = sum + term;
    }
    sum
}

/// `log((1 + x) / (1 - x))` for a small x.
fn log_ratio(x: Wide) -> Wide {
    odd_series(x, false).scaled(1)
}

impl Scalar for Wide {
    fn from_f64(x: f64) -> Wide {
        let negative = x.is_sign_negative();
        if x.is_nan() {
            return Wide::NAN;
        }
        if x.is_infinite() {
            return Wide { negative, ..Wide::INFINITY };
        }
        let bits = x.to_bits();
        let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i64, bits & ((1 << 52) - 1));
        // Numbers below the normal ones have no hidden bit.
        let (digits, exponent) = if exponent == 0 { (fraction, 1) } else { (fraction | 1 << 52, exponent) };
        Wide::normalised(negative, [digits], exponent - 1075)
    }

    fn to_f64(self) -> f64 {
        let size = match self.kind {
            Kind::Nan => return f64::NAN,
            Kind::Infinite => f64::INFINITY,
            Kind::Zero => 0.0,
            Kind::Finite => {
                // In [0.5, 1]; the power of two in two parts, for it may be out of range where the product is not.
                let top = self.digits[LIMBS - 1] as f64 * 2f64.powi(-64);
                let exponent = self.exponent.clamp(-1200, 1200) as i32;
                top * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2)
            }
        };
        if self.negative { -size } else { size }
    }

    fn abs(self) -> Wide {
        Wide { negative: false, ..self }
    }

    fn floor(self) -> Wide {
        if self.kind != Kind::Finite || self.exponent >= BITS {
            return self;
        }
        let mut whole = self;
        for (place, digits) in whole.digits.iter_mut().enumerate() {
            // The highest bit of a limb has this weight, as an exponent; weights below 1 are cut off.
            let bits = (self.exponent - BITS + 64 * (place as i64 + 1)).clamp(0, 64);
            *digits &= if bits == 0 { 0 } else { u64::MAX << (64 - bits) };
        }
        if self.exponent <= 0 {
            whole = Wide { negative: self.negative, ..Wide::ZERO };
        }
        if self.negative && whole != self { whole - Wide::one() } else { whole }
    }

    fn exp(self) -> Wide {
        match self.kind {
            Kind::Nan => return Wide::NAN,
            Kind::Infinite if self.negative => return Wide::ZERO,
            Kind::Infinite => return Wide::INFINITY,
            Kind::Zero => return Wide::one(),
            Kind::Finite if self.exponent > 60 => {
                return if self.negative { Wide::ZERO } else { Wide::INFINITY };
            }
            Kind::Finite => {}
        }
        let turns = (self / ln_2()).to_f64().round();
        let rest = self - Wide::from_f64(turns) * ln_2();
        let mut result = Wide::one() + exp_m1_series(rest.scaled(-SMALL));
        for _ in 0..SMALL {
            result = result * result;
        }
        result.scaled(turns as i64)
    }

    fn log(self) -> Wide {
        match (self.kind, self.negative) {
            (Kind::Zero, _) => return -Wide::INFINITY,
            (Kind::Nan, _) | (_, true) => return Wide::NAN,
            (Kind::Infinite, false) => return Wide::INFINITY,
            (Kind::Finite, false) => {}
        }
        let from_one = self - Wide::one();
        if from_one.is_small(SMALL) {
            return log_ratio(from_one / (self + Wide::one()));
        }
        // The digits alone lie in [0.5, 1); f64 gives a power of e that leaves a number near 1.
        let fraction = Wide { exponent: 0, ..self };
        let near = Wide::from_f64(fraction.to_f64().ln());
        let left = fraction * (-near).exp();
        let rest = log_ratio((left - Wide::one()) / (left + Wide::one()));
        near + rest + Wide::from_integer(self.exponent) * ln_2()
    }

    fn log1p(self) -> Wide {
        if self.is_small(SMALL) {
            log_ratio(self / (self + Wide::from_integer(2)))
        } else {
            (self + Wide::one()).log()
        }
    }

    fn sqrt(self) -> Wide {
        match (self.kind, self.negative) {
            (Kind::Zero, _) => return self,
            (Kind::Nan, _) | (_, true) => return Wide::NAN,
            (Kind::Infinite, false) => return self,
            (Kind::Finite, false) => {}
        }
        let half = self.exponent.div_euclid(2);
        let fraction = Wide { exponent: self.exponent - 2 * half, ..self };
        let mut root = Wide::from_f64(fraction.to_f64().sqrt());
        // Each round doubles the digits that are right: 53, 106, 212, 424.
        for _ in 0..3 {
            root = (root + fraction / root).scaled(-1);
        }
        root.scaled(half)
    }

    fn tanh(self) -> Wide {
        if self.kind == Kind::Nan {
            return self;
        }
        let two = Wide::from_integer(2);
        let size = if self.is_small(SMALL) {
            let power = exp_m1_series(self.abs().scaled(1));
            power / (power + two)
        } else {
            let power = (-self.abs().scaled(1)).exp();
            (Wide::one() - power) / (Wide::one() + power)
        };
        Wide { negative: self.negative, ..size }
    }

    fn erf(self) -> Wide {
        /// From here on the function is 1 to the last bit.
        const ONE_FROM: f64 = 14.0;
        if self.kind == Kind::Nan || self.kind == Kind::Zero {
            return self;
        }
        let x = self.abs();
        let size = if x.to_f64() >= ONE_FROM {
            Wide::one()
        } else {
            // All terms are positive: sum of 2^n x^(2 n + 1) / (1 3 5 .. (2 n + 1)), times 2 exp(-x^2) / sqrt(pi).
            let double_square = (x * x).scaled(1);
            let (mut term, mut sum, mut n) = (x, x, 1);
            while term.exponent > sum.exponent - BITS && term.kind == Kind::Finite {
                n += 2;
                term = (term * double_square).over(n);
                sum = sum + term;
            }
            sum.scaled(1) * (-(x * x)).exp() / pi().sqrt()
        };
        Wide { negative: self.negative, ..size }
    }

    fn is_nan(self) -> bool {
        self.kind == Kind::Nan
    }

    fn is_finite(self) -> bool {
        matches!(self.kind, Kind::Zero | Kind::Finite)
    }
}
