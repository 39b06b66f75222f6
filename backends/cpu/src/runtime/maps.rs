//! Elementwise functions on contiguous tiles.
//!
//! Contract of every function here, `f(dst, src, n)`: both pointers are valid for `n` elements and aligned to one
//! element (64 bytes are faster); the two ranges are disjoint or the same. Nothing here can panic or allocate.

use super::isa::for_every_isa;
use super::math::{self, Scalars};
use super::simd::Registers;

/// Elements that are computed between loading and storing, so that `dst` may be `src` without a check for overlap.
const BLOCK: usize = 64;
/// The same for what is left.
const SHORT: usize = 16;

/// An elementwise function, as a type so that it is inlined into each loop.
trait Map {
    fn apply<S: Scalars>(x: f32) -> f32;
}

#[inline(always)]
// SAFETY (for callers): the contract at the top of the module.
unsafe fn map<M: Map, R: Registers>(dst: *mut f32, src: *const f32, n: usize) {
    let mut at = 0;
    while n - at >= BLOCK {
        // SAFETY: at + BLOCK <= n, for which both pointers are valid.
        unsafe { map_block::<BLOCK, M, R>(dst.add(at), src.add(at)) };
        at += BLOCK;
    }
    while n - at >= SHORT {
        // SAFETY: at + SHORT <= n.
        unsafe { map_block::<SHORT, M, R>(dst.add(at), src.add(at)) };
        at += SHORT;
    }
    if at < n {
        // One vector with idle lanes is faster than the rest one by one.
        let mut block = [1.0f32; SHORT];
        // SAFETY: fewer than SHORT elements are left, and the block is neither source nor destination.
        unsafe {
            std::ptr::copy_nonoverlapping(src.add(at), block.as_mut_ptr(), n - at);
            map_block::<SHORT, M, R>(block.as_mut_ptr(), block.as_ptr());
            std::ptr::copy_nonoverlapping(block.as_ptr(), dst.add(at), n - at);
        }
    }
}

#[inline(always)]
// SAFETY (for callers): both pointers are valid for the whole block, and the ranges disjoint or the same.
unsafe fn map_block<const N: usize, M: Map, R: Registers>(dst: *mut f32, src: *const f32) {
    // SAFETY: the caller has N elements at both pointers.
    let mut block = unsafe { src.cast::<[f32; N]>().read() };
    for x in &mut block {
        *x = M::apply::<R::Scalars>(*x);
    }
    // SAFETY: as above.
    unsafe { dst.cast::<[f32; N]>().write(block) };
}

macro_rules! maps {
    ($($(#[$doc:meta])* $name:ident / $name_f64:ident: $kind:ident = $f32:path, $f64:expr;)*) => {
        $(
            struct $kind;
            impl Map for $kind {
                #[inline(always)]
                fn apply<S: Scalars>(x: f32) -> f32 {
                    $f32(&mut S::default(), x)
                }
            }
            for_every_isa!($(#[$doc])* $name(dst: *mut f32, src: *const f32, n: usize) = map[$kind]);

            $(#[$doc])*
            pub(crate) unsafe extern "C" fn $name_f64(dst: *mut f64, src: *const f64, n: usize) {
                let f: fn(f64) -> f64 = $f64;
                for at in 0..n {
                    // SAFETY: the caller has n elements at both pointers.
                    unsafe { dst.add(at).write(f(src.add(at).read())) };
                }
            }
        )*
    };
}

maps! {
    /// `e^x`.
    exp / exp_f64: Exp = math::exp, f64::exp;
    /// `e^x - 1`.
    expm1 / expm1_f64: Expm1 = math::expm1, f64::exp_m1;
    /// The natural logarithm.
    log / log_f64: Log = math::log, f64::ln;
    /// `log(1 + x)`.
    log1p / log1p_f64: Log1p = math::log1p, f64::ln_1p;
    /// The square root.
    sqrt / sqrt_f64: Sqrt = math::sqrt, f64::sqrt;
    /// The hyperbolic tangent.
    tanh / tanh_f64: Tanh = math::tanh, f64::tanh;
    /// `1 / (1 + e^-x)`.
    sigmoid / sigmoid_f64: Sigmoid = math::sigmoid, math::sigmoid_f64;
    /// `log(sigmoid(x))`.
    logsigmoid / logsigmoid_f64: Logsigmoid = math::logsigmoid, math::logsigmoid_f64;
    /// The error function.
    erf / erf_f64: Erf = math::erf, math::erf_f64;
}
