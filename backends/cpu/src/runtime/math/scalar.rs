//! [`Emit`] on plain f32 numbers, computed at once.
//!
//! Invariant: [`Fused`] has the bits of every target with a fused multiply-add, whatever the width of its registers, so
//! it is the oracle of them all. Loops over it turn into SIMD code where the surrounding function enables the feature.
//! It deliberately contains no intrinsics.

use super::emit::{Emit, ROUND, SQRT_HALF_BITS};

/// Any arithmetic on plain f32 numbers.
pub(crate) trait Scalars: Emit<Value = f32, Mask = bool> + Copy + Default {}
impl<S: Emit<Value = f32, Mask = bool> + Copy + Default> Scalars for S {}

/// Scalars with the fused multiply-add.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fused;
/// Scalars for processors without a fused multiply-add, where it would be a library call.
#[derive(Clone, Copy, Default)]
pub(crate) struct Unfused;

macro_rules! emit_on_scalars {
    ($target:ident, |$a:ident, $b:ident, $c:ident| $fma:expr) => {
        impl Emit for $target {
            type Value = f32;
            type Mask = bool;

            #[inline(always)]
            fn constant(&mut self, value: f32) -> f32 {
                value
            }
            #[inline(always)]
            fn add(&mut self, a: f32, b: f32) -> f32 {
                a + b
            }
            #[inline(always)]
            fn sub(&mut self, a: f32, b: f32) -> f32 {
                a - b
            }
            #[inline(always)]
            fn mul(&mut self, a: f32, b: f32) -> f32 {
                a * b
            }
            #[inline(always)]
            fn div(&mut self, a: f32, b: f32) -> f32 {
                a / b
            }
            #[inline(always)]
            fn fma(&mut self, $a: f32, $b: f32, $c: f32) -> f32 {
                $fma
            }
            #[inline(always)]
            fn sqrt(&mut self, a: f32) -> f32 {
                a.sqrt()
            }
            #[inline(always)]
            fn neg(&mut self, a: f32) -> f32 {
                -a
            }
            #[inline(always)]
            fn abs(&mut self, a: f32) -> f32 {
                a.abs()
            }
            #[inline(always)]
            fn copysign(&mut self, magnitude: f32, sign: f32) -> f32 {
                magnitude.copysign(sign)
            }
            #[inline(always)]
            fn min(&mut self, a: f32, b: f32) -> f32 {
                if a < b { a } else { b }
            }
            #[inline(always)]
            fn max(&mut self, a: f32, b: f32) -> f32 {
                if a > b { a } else { b }
            }
            #[inline(always)]
            fn less(&mut self, a: f32, b: f32) -> bool {
                a < b
            }
            #[inline(always)]
            fn select(&mut self, mask: bool, a: f32, b: f32) -> f32 {
                if mask { a } else { b }
            }
            #[inline(always)]
            fn pow2(&mut self, n: f32) -> f32 {
                f32::from_bits((n + (ROUND + 127.0)).to_bits() << 23)
            }
            #[inline(always)]
            fn split(&mut self, x: f32) -> (f32, f32) {
                let bits = x.to_bits() as i32;
                let exponent = bits.wrapping_sub(SQRT_HALF_BITS) >> 23;
                (f32::from_bits(bits.wrapping_sub(exponent << 23) as u32), exponent as f32)
            }
        }
    };
}

emit_on_scalars!(Fused, |a, b, c| a.mul_add(b, c));
emit_on_scalars!(Unfused, |a, b, c| a * b + c);
