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
use std::marker::PhantomData;

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
pub(super) unsafe fn behind<'a, T>(pointer: *const T) -> &'a T {
    // SAFETY: the caller's.
    unsafe { std::mem::transmute::<*const T, &T>(pointer) }
}

/// What is behind a pointer that is written through; see [`behind`].
///
/// # Safety
/// The pointer must be valid, aligned for `T` and the only one that is used meanwhile.
#[inline(always)]
#[expect(clippy::transmute_ptr_to_ref, reason = "following the pointer is what is checked")]
unsafe fn behind_mut<'a, T>(pointer: *mut T) -> &'a mut T {
    // SAFETY: the caller's.
    unsafe { std::mem::transmute::<*mut T, &mut T>(pointer) }
}

/// What elements of a matrix are stored as; arithmetic is in f32.
pub(super) trait Element: Copy + Default {
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

/// The scalar itself, with the multiply-add of `S`.
#[derive(Clone, Copy)]
pub(super) struct Single<S>(f32, PhantomData<S>);

impl<S: Scalars + Copy> Vector for Single<S> {
    const LANES: usize = 1;
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Single(x, PhantomData)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        Single(unsafe { *behind(from) }, PhantomData)
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const Bf16) -> Self {
        // SAFETY: the caller's.
        Single(f32::from_bits(u32::from(unsafe { *from }.0) << 16), PhantomData)
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const F16) -> Self {
        // SAFETY: the caller's.
        Single(unsafe { *from }.wide(), PhantomData)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { *behind_mut(to) = self.0 }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Single(self.0 + other.0, PhantomData)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Single(self.0 * other.0, PhantomData)
    }
    #[inline(always)]
    fn fma(self, factor: Self, summand: Self) -> Self {
        Single(S::default().fma(self.0, factor.0, summand.0), PhantomData)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Single(if self.0 < other.0 || other.0.is_nan() { other.0 } else { self.0 }, PhantomData)
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        self.0
    }
}

/// Two vectors as one of twice the lanes.
#[derive(Clone, Copy)]
pub(super) struct Pair<V>(V, V);

impl<V: Vector> Vector for Pair<V> {
    const LANES: usize = 2 * V::LANES;
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Pair(V::splat(x), V::splat(x))
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        unsafe { Pair(V::load(from), V::load(from.wrapping_add(V::LANES))) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const Bf16) -> Self {
        // SAFETY: the caller's.
        unsafe { Pair(V::load_bf16(from), V::load_bf16(from.wrapping_add(V::LANES))) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const F16) -> Self {
        // SAFETY: the caller's.
        unsafe { Pair(V::load_f16(from), V::load_f16(from.wrapping_add(V::LANES))) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe {
            self.0.store(to);
            self.1.store(to.wrapping_add(V::LANES));
        }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Pair(self.0.add(other.0), self.1.add(other.1))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Pair(self.0.mul(other.0), self.1.mul(other.1))
    }
    #[inline(always)]
    fn fma(self, factor: Self, summand: Self) -> Self {
        Pair(self.0.fma(factor.0, summand.0), self.1.fma(factor.1, summand.1))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Pair(self.0.max(other.0), self.1.max(other.1))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        self.0.add(self.1).sum()
    }
}

/// A register in memory at any address. Reading it this way is one instruction under debug assertions too, where the
/// intrinsics for unaligned loads check that source and destination do not overlap, through a copy on the stack.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[repr(C, packed)]
struct Unaligned<V>(V);

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! register {
    (
        $name:ident, $lanes:literal, $splat:ident, $add:ident, $mul:ident, $fma:ident,
        |$a:ident, $b:ident| $max:expr, |$v:ident| $sum:expr,
        |$halves:ident: $half:ty| [$bf16:expr, $f16:expr]
    ) => {
        impl Vector for $name {
            const LANES: usize = $lanes;
            #[inline(always)]
            fn splat(x: f32) -> Self {
                // SAFETY: the module's rule.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                // SAFETY: the caller's.
                unsafe { behind(from.cast::<Unaligned<$name>>()).0 }
            }
            #[inline(always)]
            unsafe fn load_bf16(from: *const Bf16) -> Self {
                // SAFETY: the caller's.
                unsafe {
                    let $halves = behind(from.cast::<Unaligned<$half>>()).0;
                    $bf16
                }
            }
            #[inline(always)]
            unsafe fn load_f16(from: *const F16) -> Self {
                // SAFETY: the caller's.
                unsafe {
                    let $halves = behind(from.cast::<Unaligned<$half>>()).0;
                    $f16
                }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                // SAFETY: the caller's.
                unsafe { *behind_mut(to.cast::<Unaligned<$name>>()) = Unaligned(self) }
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: the module's rule.
                unsafe { $add(self, other) }
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                // SAFETY: the module's rule.
                unsafe { $mul(self, other) }
            }
            #[inline(always)]
            fn fma(self, factor: Self, summand: Self) -> Self {
                // SAFETY: the module's rule.
                unsafe { $fma(self, factor, summand) }
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                let ($a, $b) = (self, other);
                // SAFETY: the module's rule.
                unsafe { $max }
            }
            #[inline(always)]
            fn sum(self) -> f32 {
                let $v = self;
                // SAFETY: the module's rule.
                unsafe { $sum }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Bf16, F16, Unaligned, Vector, behind, behind_mut};
    use std::arch::x86_64::*;

    // maxps gives its second operand where one is NaN: a NaN in b survives by itself, one in a is put back.
    register!(
        __m128,
        4,
        _mm_set1_ps,
        _mm_add_ps,
        _mm_mul_ps,
        _mm_fmadd_ps,
        |a, b| _mm_blendv_ps(_mm_max_ps(a, b), a, _mm_cmpunord_ps(a, a)),
        |v| {
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        },
        |x: i64| [
            _mm_castsi128_ps(_mm_slli_epi32::<16>(_mm_cvtepu16_epi32(_mm_cvtsi64_si128(x)))),
            _mm_cvtph_ps(_mm_cvtsi64_si128(x))
        ]
    );
    register!(
        __m256,
        8,
        _mm256_set1_ps,
        _mm256_add_ps,
        _mm256_mul_ps,
        _mm256_fmadd_ps,
        |a, b| _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a)),
        |v| _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v)).sum(),
        |x: __m128i| [
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(x))),
            _mm256_cvtph_ps(x)
        ]
    );
    register!(
        __m512,
        16,
        _mm512_set1_ps,
        _mm512_add_ps,
        _mm512_mul_ps,
        _mm512_fmadd_ps,
        |a, b| _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a), _mm512_max_ps(a, b), a),
        |v| _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)).sum(),
        |x: __m256i| [
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x))),
            _mm512_cvtph_ps(x)
        ]
    );
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{Bf16, F16, Unaligned, Vector, behind, behind_mut};
    use std::arch::aarch64::*;
    use std::arch::asm;

    register!(
        float32x4_t,
        4,
        vdupq_n_f32,
        vaddq_f32,
        vmulq_f32,
        multiply_add,
        |a, b| vmaxq_f32(a, b),
        |v| {
            let v = vadd_f32(vget_low_f32(v), vget_high_f32(v));
            vget_lane_f32::<0>(v) + vget_lane_f32::<1>(v)
        },
        |x: uint16x4_t| [vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(x))), widened(x)]
    );

    /// `a * b + c`.
    #[inline(always)]
    // SAFETY (for callers): every such processor has it.
    unsafe fn multiply_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: the caller's.
        unsafe { vfmaq_f32(c, a, b) }
    }

    /// Four f16, exactly. The intrinsic takes a type that is not stable.
    #[inline(always)]
    // SAFETY (for callers): every such processor has it.
    unsafe fn widened(halves: uint16x4_t) -> float32x4_t {
        let wide;
        // SAFETY: it reads and writes these registers alone.
        unsafe {
            asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) wide, in(vreg) halves, options(pure, nomem, nostack))
        };
        wide
    }
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

/// Whatever the target triple guarantees.
pub(super) struct PortableRegisters;

/// The scalar arithmetic of the portable version: fused only where the target triple has the instruction.
#[cfg(not(target_arch = "aarch64"))]
pub(super) type PortableScalars = super::math::Unfused;
/// The scalar arithmetic of the portable version: fused only where the target triple has the instruction.
#[cfg(target_arch = "aarch64")]
pub(super) type PortableScalars = super::math::Fused;

impl Registers for PortableRegisters {
    const ISA: Isa = Isa::Portable;
    type Scalars = PortableScalars;
    type One = Single<PortableScalars>;
    type Four = Pair<Pair<Self::One>>;
    type Eight = Pair<Self::Four>;
    type Sixteen = Pair<Self::Eight>;
    const WIDE_SUMS: usize = 2;
}

/// NEON.
#[cfg(target_arch = "aarch64")]
pub(super) struct NeonRegisters;
#[cfg(target_arch = "aarch64")]
impl Registers for NeonRegisters {
    const ISA: Isa = Isa::Neon;
    type Scalars = super::math::Fused;
    type One = Single<super::math::Fused>;
    type Four = std::arch::aarch64::float32x4_t;
    type Eight = Pair<Self::Four>;
    type Sixteen = Pair<Self::Eight>;
    const WIDE_SUMS: usize = 2;
}

/// AVX2 with FMA and F16C.
#[cfg(target_arch = "x86_64")]
pub(super) struct Avx2Registers;
#[cfg(target_arch = "x86_64")]
impl Registers for Avx2Registers {
    const ISA: Isa = Isa::Avx2;
    type Scalars = super::math::Fused;
    type One = Single<super::math::Fused>;
    type Four = std::arch::x86_64::__m128;
    type Eight = std::arch::x86_64::__m256;
    type Sixteen = Pair<std::arch::x86_64::__m256>;
    const WIDE_SUMS: usize = 2;
}

/// AVX-512 F, DQ, BW, VL.
#[cfg(target_arch = "x86_64")]
pub(super) struct Avx512Registers;
#[cfg(target_arch = "x86_64")]
impl Registers for Avx512Registers {
    const ISA: Isa = Isa::Avx512;
    type Scalars = super::math::Fused;
    type One = Single<super::math::Fused>;
    type Four = std::arch::x86_64::__m128;
    type Eight = std::arch::x86_64::__m256;
    type Sixteen = std::arch::x86_64::__m512;
    const WIDE_SUMS: usize = 4;

    /// Pairs, fours and then whole rows change places, in registers.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "iterators may not be inlined under a target feature")]
    unsafe fn transpose(from: *const f32, from_rows: isize, to: *mut f32, to_rows: isize) {
        use std::arch::x86_64::*;
        // SAFETY: rows of the squares, and instructions that the caller has.
        unsafe {
            let mut rows = [_mm512_setzero_ps(); 16];
            for j in 0..16 {
                rows[j] = <__m512 as Vector>::load(from.wrapping_offset(j as isize * from_rows));
            }
            let mut pairs = rows;
            for i in 0..8 {
                pairs[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
                pairs[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
            }
            // Lane l of fours[4 i + q] has column 4 l + q of rows 4 i to 4 i + 3.
            let mut fours = [_mm512_setzero_pd(); 16];
            for i in 0..8 {
                let first = 4 * (i / 2) + i % 2;
                let (a, b) = (_mm512_castps_pd(pairs[first]), _mm512_castps_pd(pairs[first + 2]));
                let at = 4 * (i / 2) + 2 * (i % 2);
                fours[at] = _mm512_unpacklo_pd(a, b);
                fours[at + 1] = _mm512_unpackhi_pd(a, b);
            }
            for q in 0..4 {
                let (a, b) = (fours[q], fours[4 + q]);
                let (c, d) = (fours[8 + q], fours[12 + q]);
                let (even, odd) = (_mm512_shuffle_f64x2(a, b, 0x88), _mm512_shuffle_f64x2(a, b, 0xdd));
                let (even_2, odd_2) = (_mm512_shuffle_f64x2(c, d, 0x88), _mm512_shuffle_f64x2(c, d, 0xdd));
                let columns = [
                    _mm512_shuffle_f64x2(even, even_2, 0x88),
                    _mm512_shuffle_f64x2(odd, odd_2, 0x88),
                    _mm512_shuffle_f64x2(even, even_2, 0xdd),
                    _mm512_shuffle_f64x2(odd, odd_2, 0xdd),
                ];
                for l in 0..4 {
                    let row = to.wrapping_offset((4 * l + q) as isize * to_rows);
                    _mm512_castpd_ps(columns[l]).store(row);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::isa::for_every_isa;

    /// Sixteen numbers at once, eight, four, and one by one, each into its own part of the result.
    #[inline(always)]
    // SAFETY (for callers): sixteen elements to read, and four times as many to write.
    unsafe fn widen<R: Registers>(from: *const F16, to: *mut f32) {
        #[inline(always)]
        // SAFETY (for callers): sixteen elements to read, and as many to write.
        unsafe fn by<V: Vector>(from: *const F16, to: *mut f32) {
            let mut at = 0;
            while at < 16 {
                // SAFETY: `LANES` divides 16.
                unsafe { V::load_f16(from.wrapping_add(at)).store(to.wrapping_add(at)) };
                at += V::LANES;
            }
        }
        // SAFETY: the caller's.
        unsafe {
            by::<R::Sixteen>(from, to);
            by::<R::Eight>(from, to.wrapping_add(16));
            by::<R::Four>(from, to.wrapping_add(32));
            by::<R::One>(from, to.wrapping_add(48));
        }
    }

    for_every_isa!(
        /// All ways of loading.
        widened(from: *const F16, to: *mut f32) = widen[]
    );

    #[test]
    fn every_f16_is_widened_exactly_in_registers_of_every_width() {
        let all: Vec<F16> = (0..=u16::MAX).map(F16).collect();
        for &isa in Isa::available() {
            for numbers in all.chunks_exact(16) {
                let mut found = [0.0f32; 64];
                // SAFETY: sixteen elements, and room for 64.
                unsafe { widened::function(isa)(numbers.as_ptr(), found.as_mut_ptr()) };
                for (at, found) in found.iter().enumerate() {
                    let bits = numbers[at % 16].0;
                    let expected = half::f16::from_bits(bits).to_f32();
                    assert_eq!(found.to_bits(), expected.to_bits(), "{isa:?}, {bits:#06x}: {found}");
                }
            }
        }
    }
}
