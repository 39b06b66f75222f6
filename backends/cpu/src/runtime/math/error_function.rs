//! erf.
//!
//! Invariant: odd, monotone to within its error, and proportional to x near 0. Deliberately absent: erfc.

use super::emit::Emit;
use super::exponential::exp;

/// The error function: an odd polynomial up to 475/512, `1 - e^polynomial` beyond.
#[inline(always)]
pub(crate) fn erf<E: Emit>(e: &mut E, x: E::Value) -> E::Value {
    let t = e.abs(x);
    // From here on, the result rounds to 1.
    let saturated = e.constant(4.0);
    let t = e.min(saturated, t);
    let t2 = e.mul(t, t);

    let p = e.polynomial(
        t2,
        [-5.967_617e-4, 4.991_194e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1],
    );
    let near = e.fma(p, t, t);

    let high = e.polynomial(t, [-1.728_534_7e-5, 3.831_971_3e-4]);
    let low = e.polynomial(t, [-3.883_964_4e-3, 2.425_462_2e-2]);
    let q = e.fma(high, t2, low);
    let mut q = q;
    for constant in [-1.067_778_8e-1, -6.348_467e-1, -1.287_175_1e-1] {
        let constant = e.constant(constant);
        q = e.fma(q, t, constant);
    }
    let minus = e.neg(t);
    let q = e.fma(q, t, minus);
    let q = exp(e, q);
    let one = e.constant(1.0);
    let far = e.sub(one, q);

    let border = e.constant(0.927_734_4);
    let is_near = e.less(t, border);
    let magnitude = e.select(is_near, near, far);
    e.copysign(magnitude, x)
}
