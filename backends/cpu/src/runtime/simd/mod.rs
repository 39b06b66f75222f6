//! Registers: the vector types that the kernels of products and reductions hold their running sums in.
//!
//! Invariant: a [`Vector`] is the same lanes in the same order on every instruction set, and [`Vector::fold`] adds them in
//! the same tree, so the choice of type changes the speed and not the bits (where multiply-add is fused).
//! It deliberately has only what these kernels need; transcendental functions go through [`super::math::Emit`].
//!
//! The methods are `#[inline(always)]` and must only be reached from functions that enable the instruction set, which
//! [`super::isa::for_every_isa`] sees to.

use super::isa::Isa;
use super::math::Scalars;

mod elements;
mod portable;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[macro_use]
mod register;
#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(super) use arm::NeonRegisters;
pub(crate) use elements::{Bf16, F16};
pub(super) use elements::{Element, behind};
pub(super) use portable::{Pair, PortableRegisters, Single};
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2Registers, Avx512Registers};

/// A fixed number of f32.
pub(super) trait Vector: Copy {
    /// How many.
    const LANES: usize;
    /// The same number in all lanes.
    fn splat(x: f32) -> Self;
    /// From `LANES` elements in memory.
    ///
    /// # Safety
    /// The pointer must be valid for them, and the processor must have the instruction set.
    unsafe fn load(from: *const f32) -> Self;
    /// From `LANES` elements in memory that are stored in half the bits.
    ///
    /// # Safety
    /// As for [`Vector::load`].
    unsafe fn load_bf16(from: *const Bf16) -> Self;
    /// The same of the other kind.
    ///
    /// # Safety
    /// As for [`Vector::load`].
    unsafe fn load_f16(from: *const F16) -> Self;
    /// To `LANES` elements in memory.
    ///
    /// # Safety
    /// As for [`Vector::load`].
    unsafe fn store(self, to: *mut f32);
    /// `self + other`.
    fn add(self, other: Self) -> Self;
    /// `self * other`.
    fn mul(self, other: Self) -> Self;
    /// `self * factor + summand`.
    fn fma(self, factor: Self, summand: Self) -> Self;
    /// The larger lanes, NaN being larger than anything.
    fn max(self, other: Self) -> Self;
    /// All lanes as one by addition: the upper half onto the lower one, until one is left.
    fn sum(self) -> f32;
}

/// The registers of an instruction set.
pub(super) trait Registers {
    /// Scalar arithmetic.
    type Scalars: Scalars;
    /// 1 lane.
    type One: Vector;
    /// 4 lanes.
    type Four: Vector;
    /// 8 lanes.
    type Eight: Vector;
    /// 16 lanes.
    type Sixteen: Vector;
    /// Which one that is.
    const ISA: Isa;
    /// How many [`Wide`] running sums fit into the registers at once: 2 or 4.
    const WIDE_SUMS: usize;

    /// `to[d][j] = from[j][d]` for 16 times 16 elements; each row's are contiguous, and so many apart from the next row's.
    ///
    /// # Safety
    /// `from` must be valid for reads, `to` for writes, and the processor must have the instruction set.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_rows: isize, to: *mut f32, to_rows: isize) {
        for j in 0..16 {
            for d in 0..16 {
                // SAFETY: elements of the squares.
                unsafe {
                    let element = *from.wrapping_offset(j * from_rows + d);
                    *to.wrapping_offset(d * to_rows + j) = element;
                }
            }
        }
    }
}

/// 32 lanes, in which long sums are taken.
pub(super) type Wide<R> = Pair<<R as Registers>::Sixteen>;
