//! Elements in memory: f32, and numbers of 16 bits that are widened when they are loaded.

use super::Vector;

/// A bf16 in memory, as bits: the upper half of an f32.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub(crate) struct Bf16(pub(crate) u16);

/// An f16 in memory, as bits.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub(crate) struct F16(pub(crate) u16);

impl F16 {
    /// The number, exactly: significand and exponent are moved to their places and scaled by what the exponents of f32 and
    /// f16 differ by, which makes subnormal numbers normal. NaN is quiet, as the processors' instructions give it.
    #[inline(always)]
    pub(crate) fn wide(self) -> f32 {
        let magnitude = u32::from(self.0 & 0x7fff);
        let moved = magnitude << 13;
        let number = f32::from_bits(moved) * f32::from_bits(0x7780_0000);
        let special = moved | if magnitude > 0x7c00 { 0x7fc0_0000 } else { 0x7f80_0000 };
        let bits = if magnitude < 0x7c00 { number.to_bits() } else { special };
        f32::from_bits(bits | u32::from(self.0 & 0x8000) << 16)
    }
}

/// What is behind a pointer. Debug assertions check every pointer for null that is followed itself, two instructions for each
/// load of an inner loop; a reference is not checked.
///
/// # Safety
/// The pointer must be valid and aligned for `T`.
#[inline(always)]
#[expect(clippy::transmute_ptr_to_ref, reason = "following the pointer is what is checked")]
pub(in crate::runtime) unsafe fn behind<'a, T>(pointer: *const T) -> &'a T {
    // SAFETY: the caller's.
    unsafe { std::mem::transmute::<*const T, &T>(pointer) }
}

/// What is behind a pointer that is written through; see [`behind`].
///
/// # Safety
/// The pointer must be valid, aligned for `T` and the only one that is used meanwhile.
#[inline(always)]
#[expect(clippy::transmute_ptr_to_ref, reason = "following the pointer is what is checked")]
pub(super) unsafe fn behind_mut<'a, T>(pointer: *mut T) -> &'a mut T {
    // SAFETY: the caller's.
    unsafe { std::mem::transmute::<*mut T, &mut T>(pointer) }
}

/// What elements of a matrix are stored as; arithmetic is in f32.
pub(in crate::runtime) trait Element: Copy + Default {
    /// From `V::LANES` elements in memory.
    ///
    /// # Safety
    /// As for [`Vector::load`].
    unsafe fn load<V: Vector>(from: *const Self) -> V;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const f32) -> V {
        // SAFETY: the caller's.
        unsafe { V::load(from) }
    }
}

impl Element for Bf16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Bf16) -> V {
        // SAFETY: the caller's.
        unsafe { V::load_bf16(from) }
    }
}

impl Element for F16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const F16) -> V {
        // SAFETY: the caller's.
        unsafe { V::load_f16(from) }
    }
}

/// A register in memory at any address. Reading it this way is one instruction under debug assertions too, where the
/// intrinsics for unaligned loads check that source and destination do not overlap, through a copy on the stack.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[repr(C, packed)]
pub(super) struct Unaligned<V>(pub(super) V);
