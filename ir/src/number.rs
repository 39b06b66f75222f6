//! A float that can be compared, ordered and hashed: by its bits, with one NaN.

use std::fmt;

/// A constant's value. Equal means the same bits; -0 and 0 differ, all NaNs are one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(u64);

impl Number {
    /// From a float.
    pub fn new(value: f64) -> Number {
        Number(if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() })
    }

    /// As a float.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Number {
        Number::new(value)
    }
}

impl fmt::Display for Number {
    /// The shortest text that reads back to the same number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.get();
        if v.is_finite() && (v == 0.0 || (1e-4..1e15).contains(&v.abs())) {
            write!(f, "{v}")
        } else if v.is_finite() {
            write!(f, "{v:e}")
        } else {
            f.write_str(if v.is_nan() {
                "nan"
            } else if v > 0.0 {
                "inf"
            } else {
                "-inf"
            })
        }
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
