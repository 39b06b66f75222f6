//! The same functions on f64, by the standard library.
//!
//! Invariant: the same identities as in f32, so that the tails hold. f64 is a mode for checking: nothing here is fast.

/// `1 / (1 + e^-x)` without overflow.
pub(crate) fn sigmoid(x: f64) -> f64 {
    let decay = (-x.abs()).exp();
    (if x < 0.0 { decay } else { 1.0 }) / (1.0 + decay)
}

/// `log(sigmoid(x))`.
pub(crate) fn logsigmoid(x: f64) -> f64 {
    // Written so that NaN is the result of NaN.
    (if x > 0.0 { 0.0 } else { x }) - (-x.abs()).exp().ln_1p()
}

/// The error function.
pub(crate) fn erf(x: f64) -> f64 {
    libm::erf(x)
}
