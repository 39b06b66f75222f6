//! log and its kin: log1p, logsigmoid.
//!
//! Invariant: denormal operands count in full; -infinity at the pole, NaN beyond it, and log1p accurate relative to
//! itself near 0. Deliberately absent: correct rounding.

use super::emit::Emit;
use super::exponential::decay;

/// `log(1 + f) + exponent * ln(2)` for `1 + f` in `[sqrt(1/2), sqrt(2))`.
#[inline(always)]
fn log_of_parts<E: Emit>(e: &mut E, f: E::Value, exponent: E::Value) -> E::Value {
    // The polynomial of Cephes' logf.
    let p = e.polynomial(
        f,
        [
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_7e-1,
            2.000_071_5e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ],
    );
    let f2 = e.mul(f, f);
    let p = e.mul(p, f);
    let p = e.mul(p, f2);
    // ln(2) in two parts, the small one first.
    let low = e.constant(-2.121_944_4e-4);
    let p = e.fma(exponent, low, p);
    let minus_half = e.constant(-0.5);
    let p = e.fma(f2, minus_half, p);
    let sum = e.add(f, p);
    let high = e.constant(0.693_359_4);
    e.fma(exponent, high, sum)
}

/// The finite value inside the domain; -infinity at the pole, NaN below it; infinity and NaN as they came.
#[inline(always)]
fn with_edges<E: Emit>(e: &mut E, x: E::Value, pole: f32, finite: E::Value) -> E::Value {
    let pole = e.constant(pole);
    let infinity = e.constant(f32::INFINITY);
    let minus_infinity = e.constant(f32::NEG_INFINITY);
    let nan = e.constant(f32::NAN);
    let inside = e.less(pole, x);
    let result = e.select(inside, finite, minus_infinity);
    let below = e.less(x, pole);
    let result = e.select(below, nan, result);
    let ordinary = e.less(x, infinity);
    e.select(ordinary, result, x)
}

/// The natural logarithm.
#[inline(always)]
pub(crate) fn log<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let smallest_normal = e.constant(f32::MIN_POSITIVE);
    let denormal = e.less(x, smallest_normal);
    let up = e.constant(33554432.0);
    let raised = e.mul(x, up);
    let normal = e.select(denormal, raised, x);
    let (m, exponent) = e.split(normal);
    let shift = e.constant(25.0);
    let lowered = e.sub(exponent, shift);
    let exponent = e.select(denormal, lowered, exponent);
    let one = e.constant(1.0);
    let f = e.sub(m, one);
    let finite = log_of_parts(e, f, exponent);
    with_edges(e, x, 0.0, finite)
}

/// `log(1 + x)` for a finite `x > -1`.
#[inline(always)]
fn log1p_inside<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let one = e.constant(1.0);
    let u = e.add(one, x);
    // What the rounding of u lost, exactly; the larger summand is subtracted first.
    let large = e.less(one, x);
    let bigger = e.select(large, x, one);
    let smaller = e.select(large, one, x);
    let back = e.sub(u, bigger);
    let lost = e.sub(smaller, back);
    let (m, exponent) = e.split(u);
    let down = e.neg(exponent);
    // Where the scale would be denormal it becomes 0: nothing that was lost counts there.
    let lowest = e.constant(-127.0);
    let down = e.max(lowest, down);
    let scale = e.pow2(down);
    let f = e.sub(m, one);
    let f = e.fma(lost, scale, f);
    log_of_parts(e, f, exponent)
}

/// `log(1 + x)`.
#[inline(always)]
pub(crate) fn log1p<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let finite = log1p_inside(e, x);
    // For the sign of zero.
    let finite = e.copysign(finite, x);
    with_edges(e, x, -1.0, finite)
}

/// `log(sigmoid(x)) = min(x, 0) - log1p(e^-|x|)`.
#[inline(always)]
pub(crate) fn logsigmoid<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let decay = decay(e, x);
    let log = log1p_inside(e, decay);
    let zero = e.constant(0.0);
    let linear = e.min(zero, x);
    e.sub(linear, log)
}
