//! How near results are to what the equations say, and how near they have to be.
//!
//! Errors are relative to the largest element of a result. What f32 may lose is measured, not guessed: the reference
//! evaluates the same form in f32, and code may be ten times as far off.

use crate::way::Way;
use std::fmt;

/// How near results have to be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tolerance {
    /// For f64: the reference, and compiled code.
    pub double: f64,
    /// The least for compiled code in f32; ten times the error of the reference in f32, of the same form, is always
    /// accepted.
    pub single: f64,
    /// The largest error of the reference in f32: beyond it the comparison would say nothing.
    pub own: f64,
}

impl Tolerance {
    /// For problems where no result is the small difference of large numbers.
    pub const WELL_CONDITIONED: Tolerance = Tolerance { double: 1e-10, single: 1e-5, own: 1e-3 };

    /// For extreme gates. Errors of f32 grow with the size of its exponents: those of the reference say by how much.
    pub const EXTREME_GATES: Tolerance = Tolerance { double: 1e-9, single: 1e-5, own: 0.1 };

    /// What is allowed in f64 where the reference in f32 is off by `own`: what f32 loses in this form by the problem's
    /// condition, f64 loses too, in terms of its precision.
    pub fn in_double(&self, own: f64) -> f64 {
        self.double.max(10.0 * own * f64::EPSILON / f64::from(f32::EPSILON))
    }

    /// What is allowed to compiled code in f32 where the reference in f32 is off by `own`.
    pub fn in_single(&self, own: f64) -> f64 {
        self.single.max(10.0 * own)
    }
}

/// The largest errors of a comparison.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Errors {
    /// Of the reference in f64.
    pub double: f64,
    /// Of the reference in f32.
    pub own: f64,
    /// Of compiled code in f32.
    pub code: f64,
}

impl Errors {
    /// The larger ones; NaN is larger than any.
    pub fn max(self, other: Errors) -> Errors {
        let worse = |a: f64, b: f64| if b.is_nan() || b > a { b } else { a };
        Errors {
            double: worse(self.double, other.double),
            own: worse(self.own, other.own),
            code: worse(self.code, other.code),
        }
    }

    /// Each of them changed.
    pub fn map(self, change: impl Fn(f64) -> f64) -> Errors {
        Errors { double: change(self.double), own: change(self.own), code: change(self.code) }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Errors { double, own, code } = self;
        write!(f, "f64 {double:.1e}, f32 {own:.1e}, machine code {code:.1e}")
    }
}

/// What computed a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Computed {
    /// The reference in f32.
    ReferenceSingle,
    /// The reference in f64.
    ReferenceDouble,
    /// Compiled code in f32.
    Single,
    /// Compiled code in f64.
    Double,
}

impl fmt::Display for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Computed::ReferenceSingle => "reference in f32",
            Computed::ReferenceDouble => "reference in f64",
            Computed::Single => "compiled code in f32",
            Computed::Double => "compiled code in f64",
        })
    }
}

/// A result that is not what the equations say.
#[derive(Clone, PartialEq, Debug)]
pub struct Mismatch {
    /// What it was computed for, such as sizes and a pattern of gates; empty where the caller knows.
    pub inputs: String,
    /// In which form.
    pub way: Way,
    /// By what.
    pub computed: Computed,
    /// Which output; `grad.NAME` are gradients.
    pub output: String,
    /// The largest error, relative to the largest element of the output; NaN or infinite if an element is not finite.
    pub error: f64,
    /// What would have been accepted.
    pub allowed: f64,
}

impl Mismatch {
    /// A mismatch unless the error is small enough.
    pub(crate) fn unless_near(
        way: Way,
        computed: Computed,
        output: &str,
        error: f64,
        allowed: f64,
    ) -> Result<(), Mismatch> {
        // NaN is not within any tolerance.
        if error <= allowed {
            return Ok(());
        }
        Err(Mismatch { inputs: String::new(), way, computed, output: output.to_string(), error, allowed })
    }

    /// The same for these inputs.
    pub(crate) fn on(self, inputs: &str) -> Mismatch {
        Mismatch { inputs: inputs.to_string(), ..self }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { inputs, way, computed, output, error, allowed } = self;
        let separator = if inputs.is_empty() { "" } else { ": " };
        write!(f, "{inputs}{separator}{way}, {computed}: `{output}` ")?;
        match error.is_finite() {
            true => write!(f, "is off by {error:.1e}, allowed {allowed:.1e}"),
            false => f.write_str("is not finite where the equations are"),
        }
    }
}

/// The largest difference relative to the largest element that is wanted, or to 0.1 if that is more; NaN or infinite
/// if a number is not finite.
///
/// # Panics
/// If there are not as many elements as wanted.
pub fn distance(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let scale = wanted.iter().fold(0.1f64, |m, x| m.max(x.abs()));
    let errors = found.iter().zip(wanted).map(|(a, b)| (a - b).abs() / scale);
    errors.fold(0.0, |m, e| if e.is_nan() || e > m { e } else { m })
}
