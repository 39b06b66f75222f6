//! exp and its kin: expm1, sigmoid, tanh.
//!
//! Invariant: correct at 0, infinities and NaN, and down to denormal results; within the bounds that the tests of
//! [`super`] state. Deliberately absent: correct rounding.

use super::emit::Emit;

/// `ln(2)` in two parts; the first has so few bits that its product with an exponent is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
/// The rest of `ln(2)`.
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// `(n, e^r - 1)` with `x = n ln(2) + r`, `|r| <= ln(2) / 2`: so `e^x = 2^n (1 + (e^r - 1))`.
#[inline(always)]
fn reduced<E: Emit>(e: &mut E, x: E::Value) -> (E::Value, E::Value) {
    let log2_e = e.constant(std::f32::consts::LOG2_E);
    let n = e.mul(x, log2_e);
    let n = e.round(n);
    let high = e.constant(-LN_2_HIGH);
    let r = e.fma(n, high, x);
    let low = e.constant(-LN_2_LOW);
    let r = e.fma(n, low, r);
    // (e^r - 1 - r) / r^2, interpolated at Chebyshev's nodes: error 1e-8 of e^r.
    let q = e.polynomial(r, [1.392_633_2e-3, 8.363_297e-3, 4.166_655_2e-2, 0.166_665_76, 0.5]);
    let r2 = e.mul(r, r);
    (n, e.fma(r2, q, r))
}

/// `e^x`, `x` being clamped first so that `2^n` stays in reach of two factors.
#[inline(always)]
pub(crate) fn exp<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let lowest = e.constant(-104.5);
    let x = e.max(lowest, x);
    let highest = e.constant(89.0);
    let x = e.min(highest, x);
    let (n, p) = reduced(e, x);
    let one = e.constant(1.0);
    let p = e.add(one, p);
    // Two factors reach infinity and the denormals; only the second product rounds.
    let half = e.constant(0.5);
    let first = e.mul(n, half);
    let first = e.round(first);
    let second = e.sub(n, first);
    let first = e.pow2(first);
    let second = e.pow2(second);
    let p = e.mul(p, first);
    e.mul(p, second)
}

/// `e^x - 1`, accurate relative to itself.
#[inline(always)]
pub(crate) fn expm1<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let lowest = e.constant(-18.0);
    let clamped = e.max(lowest, x);
    let highest = e.constant(89.0);
    let clamped = e.min(highest, clamped);
    let (n, p) = reduced(e, clamped);
    // 2^128 is out of reach of one factor.
    let largest = e.constant(127.0);
    let first = e.min(largest, n);
    let second = e.sub(n, first);
    let scale = e.pow2(first);
    let second = e.pow2(second);
    let one = e.constant(1.0);
    let rest = e.sub(scale, one);
    let sum = e.fma(scale, p, rest);
    let sum = e.mul(sum, second);
    // For the sign of zero.
    e.copysign(sum, x)
}

/// `1 / (1 + e^-x)`, as `e^x / (1 + e^x)` for negative `x`, where `e^-x` would overflow.
#[inline(always)]
pub(crate) fn sigmoid<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let decay = decay(e, x);
    let zero = e.constant(0.0);
    let one = e.constant(1.0);
    let negative = e.less(x, zero);
    let numerator = e.select(negative, decay, one);
    let denominator = e.add(one, decay);
    e.div(numerator, denominator)
}

/// `e^-|x|`.
#[inline(always)]
pub(crate) fn decay<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let x = e.abs(x);
    let x = e.neg(x);
    exp(e, x)
}

/// `t / (t + 2)` with `t = e^(2 |x|) - 1`, under the sign of `x`: relative accuracy near 0 without a case of its own.
#[inline(always)]
pub(crate) fn tanh<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let magnitude = e.abs(x);
    // From here on, the result rounds to 1.
    let saturated = e.constant(9.5);
    let magnitude = e.min(saturated, magnitude);
    let doubled = e.add(magnitude, magnitude);
    let (n, p) = reduced(e, doubled);
    let scale = e.pow2(n);
    let one = e.constant(1.0);
    let rest = e.sub(scale, one);
    let t = e.fma(scale, p, rest);
    let two = e.constant(2.0);
    let denominator = e.add(t, two);
    let ratio = e.div(t, denominator);
    e.copysign(ratio, x)
}
