//! The one trait that all floating-point arithmetic of the evaluator goes through.
//!
//! Invariant: an operation has one meaning, whatever the number type; composites (logistic function and its
//! logarithm) are written once, here, over the primitives. Does not know tensors.

use carousel_ir::DType;
use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A floating-point number that graphs can be evaluated in. `<` and `==` follow IEEE 754: false for NaN.
pub trait Scalar:
    Copy
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    /// The nearest number to `x`.
    fn from_f64(x: f64) -> Self;
    /// The nearest f64; infinity where it is out of range.
    fn to_f64(self) -> f64;
    /// Absolute value.
    fn abs(self) -> Self;
    /// The largest whole number that is not above it.
    fn floor(self) -> Self;
    /// The smallest whole number that is not below it.
    fn ceil(self) -> Self {
        -(-self).floor()
    }
    /// Exponential.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn log(self) -> Self;
    /// `log(1 + self)`, accurate near 0.
    fn log1p(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
    /// Whether it is NaN.
    fn is_nan(self) -> bool;
    /// Whether it is neither NaN nor infinite.
    fn is_finite(self) -> bool;

    /// 0.
    fn zero() -> Self {
        Self::from_f64(0.0)
    }

    /// 1.
    fn one() -> Self {
        Self::from_f64(1.0)
    }

    /// The smaller; NaN wins.
    fn minimum(self, other: Self) -> Self {
        if self.is_nan() || self < other { self } else { other }
    }

    /// The larger; NaN wins.
    fn maximum(self, other: Self) -> Self {
        if self.is_nan() || self > other { self } else { other }
    }

    /// -1, 0 or 1; NaN stays NaN.
    fn sign(self) -> Self {
        if self > Self::zero() {
            Self::one()
        } else if self < Self::zero() {
            -Self::one()
        } else {
            self
        }
    }

    /// `1 / (1 + exp(-self))`, without overflow on either side.
    fn sigmoid(self) -> Self {
        let e = (-self.abs()).exp();
        if self < Self::zero() { e / (Self::one() + e) } else { Self::one() / (Self::one() + e) }
    }

    /// `log(sigmoid(self))`.
    fn logsigmoid(self) -> Self {
        self.minimum(Self::zero()) - (-self.abs()).exp().log1p()
    }

    /// Rounded to the precision and range of a dtype of 16 bits; of others, the number itself.
    fn rounded_to(self, dtype: DType) -> Self {
        match dtype {
            DType::Bf16 => Self::from_f64(half::bf16::from_f64(self.to_f64()).to_f64()),
            DType::F16 => Self::from_f64(half::f16::from_f64(self.to_f64()).to_f64()),
            DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::Bool => self,
        }
    }
}

impl Scalar for f64 {
    fn from_f64(x: f64) -> f64 {
        x
    }

    fn to_f64(self) -> f64 {
        self
    }

    fn abs(self) -> f64 {
        f64::abs(self)
    }

    fn floor(self) -> f64 {
        f64::floor(self)
    }

    fn exp(self) -> f64 {
        f64::exp(self)
    }

    fn log(self) -> f64 {
        f64::ln(self)
    }

    fn log1p(self) -> f64 {
        f64::ln_1p(self)
    }

    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }

    fn tanh(self) -> f64 {
        f64::tanh(self)
    }

    fn erf(self) -> f64 {
        libm::erf(self)
    }

    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }

    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }
}

impl Scalar for f32 {
    fn from_f64(x: f64) -> f32 {
        x as f32
    }

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn abs(self) -> f32 {
        f32::abs(self)
    }

    fn floor(self) -> f32 {
        f32::floor(self)
    }

    fn exp(self) -> f32 {
        f32::exp(self)
    }

    fn log(self) -> f32 {
        f32::ln(self)
    }

    fn log1p(self) -> f32 {
        f32::ln_1p(self)
    }

    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }

    fn tanh(self) -> f32 {
        f32::tanh(self)
    }

    fn erf(self) -> f32 {
        libm::erff(self)
    }

    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }

    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Extended, Wide};

    /// What must hold in every number type, to `tolerance`.
    fn laws<S: Scalar>(tolerance: f64) {
        let number = S::from_f64;
        let near = |a: S, b: f64| {
            let (a, scale) = (a.to_f64(), b.abs().max(f64::MIN_POSITIVE));
            assert!((a - b).abs() <= tolerance * scale, "{a} is not {b}");
        };
        let nan = number(f64::NAN);
        assert!(nan.maximum(S::one()).is_nan() && S::one().maximum(nan).is_nan());
        assert!(nan.minimum(S::one()).is_nan() && S::one().minimum(nan).is_nan());
        assert!(nan.sign().is_nan() && nan.sigmoid().is_nan() && nan.logsigmoid().is_nan());
        assert!(nan.tanh().is_nan() && nan.erf().is_nan() && nan.exp().is_nan() && nan.sqrt().is_nan());
        assert_eq!([-2.5, 0.0, 3.0].map(|x| number(x).sign().to_f64()), [-1.0, 0.0, 1.0]);
        near(number(0.5).sigmoid(), 0.622_459_331_201_854_6);
        near(number(-0.5).sigmoid(), 0.377_540_668_798_145_4);
        near(number(-0.5).logsigmoid(), -0.974_076_984_180_106_6);
        near(number(40.0).logsigmoid(), -4.248_354_255_291_589e-18);
        near(number(-5.0e4).logsigmoid(), -5.0e4);
        near(number(0.0).logsigmoid(), -std::f64::consts::LN_2);
        near(number(f64::INFINITY).sigmoid(), 1.0);
        near(number(f64::NEG_INFINITY).sigmoid(), 0.0);
        near(number(0.75).erf(), 0.711_155_633_653_515_1);
        near(number(1.0e-6).erf(), 1.128_379_167_095_136_5e-6);
        near(number(0.75).tanh(), 0.635_148_952_387_287_3);
        near(number(1.5).exp(), 4.481_689_070_338_065);
        near(number(1.5).log(), 0.405_465_108_108_164_4);
        near(number(1.5).sqrt(), 1.224_744_871_391_589);
        near(number(1.0 / 1024.0).log1p(), 9.760_859_730_554_589e-4);
        assert!(number(-1.0).log().is_nan() && number(-1.0).sqrt().is_nan());
        assert_eq!(S::zero().log().to_f64(), f64::NEG_INFINITY);
        assert_eq!((S::one() / S::zero()).to_f64(), f64::INFINITY);
        assert_eq!(number(1.003_906_25).rounded_to(DType::Bf16).to_f64(), 1.0);
        assert_eq!(number(1.02).rounded_to(DType::Bf16).to_f64(), 1.023_437_5);
        assert_eq!(number(1.02).rounded_to(DType::F16).to_f64(), 1.019_531_25);
        assert_eq!(number(3e-8).rounded_to(DType::F16).to_f64(), 2f64.powi(-24));
        assert_eq!(number(65519.0).rounded_to(DType::F16).to_f64(), 65504.0);
        assert_eq!(number(65520.0).rounded_to(DType::F16).to_f64(), f64::INFINITY);
    }

    #[test]
    fn laws_hold_in_every_number_type() {
        laws::<f64>(1e-15);
        laws::<f32>(5e-7);
        laws::<Extended>(1e-15);
        laws::<Wide>(1e-15);
    }
}
