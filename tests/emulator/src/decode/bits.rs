//! Values as the 64 bits of a register, and arithmetic with a chosen rounding.

use half::f16;

/// A value that a register holds in its low bits.
pub(super) trait Bits {
    /// From a register.
    fn of(bits: u64) -> Self;
    /// For a register.
    fn bits(self) -> u64;
}

macro_rules! unsigned {
    ($($t:ty)*) => {
        $(impl Bits for $t {
            fn of(bits: u64) -> $t {
                bits as $t
            }
            fn bits(self) -> u64 {
                self as u64
            }
        })*
    };
}

// Signed ones are stored as their own bits, not extended to the register.
macro_rules! signed {
    ($($t:ty, $u:ty;)*) => {
        $(impl Bits for $t {
            fn of(bits: u64) -> $t {
                bits as $t
            }
            fn bits(self) -> u64 {
                self as $u as u64
            }
        })*
    };
}

unsigned!(u8 u16 u32 u64);
signed!(i8, u8; i16, u16; i32, u32; i64, u64;);

impl Bits for f32 {
    fn of(bits: u64) -> f32 {
        f32::from_bits(bits as u32)
    }
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Bits for f64 {
    fn of(bits: u64) -> f64 {
        f64::from_bits(bits)
    }
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

impl Bits for bool {
    fn of(bits: u64) -> bool {
        bits != 0
    }
    fn bits(self) -> u64 {
        u64::from(self)
    }
}

impl Bits for f16 {
    fn of(bits: u64) -> f16 {
        f16::from_bits(bits as u16)
    }
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

/// A bf16 number.
#[derive(Clone, Copy)]
pub(super) struct Brain(pub(super) f32);

impl Bits for Brain {
    fn of(bits: u64) -> Brain {
        Brain(f32::from_bits((bits as u32) << 16))
    }
    fn bits(self) -> u64 {
        u64::from(brain_bits(self.0))
    }
}

/// The nearest bf16 number, ties to even, as bits.
pub(super) fn brain_bits(x: f32) -> u16 {
    if x.is_nan() {
        return 0x7fff;
    }
    let bits = x.to_bits();
    (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// Which way a result is rounded that is between two floats.
#[derive(Clone, Copy)]
pub(super) enum Rounding {
    /// Towards minus infinity.
    Down,
    /// Towards plus infinity.
    Up,
    /// Towards zero.
    Zero,
}

/// `a * b + c`, rounded once.
pub(super) fn fused(a: f32, b: f32, c: f32, rounding: Rounding) -> f32 {
    // The product is exact in f64; the error of the sum is exact too (Knuth's two-sum).
    let (p, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = p + c;
    let q = sum - p;
    let error = (p - (sum - q)) + (c - q);
    let nearest = sum as f32;
    if !nearest.is_finite() || !error.is_finite() {
        return nearest;
    }
    // How the exact value compares with the nearest f32.
    let rest = (sum - f64::from(nearest)) + error;
    let down = match rounding {
        Rounding::Down => true,
        Rounding::Up => false,
        Rounding::Zero => sum > 0.0,
    };
    if down && rest < 0.0 {
        nearest.next_down()
    } else if !down && rest > 0.0 {
        nearest.next_up()
    } else {
        nearest
    }
}
