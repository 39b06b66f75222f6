//! Vectors of scalars, and of vectors: for every processor, and for what is wider than its registers.

use super::elements::behind_mut;
use super::{Bf16, F16, Registers, Vector, behind};
use crate::runtime::isa::Isa;
use crate::runtime::math::{self, Scalars};
use std::marker::PhantomData;

/// The scalar itself, with the multiply-add of `S`.
#[derive(Clone, Copy)]
pub(in crate::runtime) struct Single<S>(f32, PhantomData<S>);

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
pub(in crate::runtime) struct Pair<V>(V, V);

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

/// Whatever the target triple guarantees.
pub(in crate::runtime) struct PortableRegisters;

/// The scalar arithmetic of the portable version: fused only where the target triple has the instruction.
#[cfg(not(target_arch = "aarch64"))]
pub(in crate::runtime) type PortableScalars = math::Unfused;
/// The scalar arithmetic of the portable version: fused only where the target triple has the instruction.
#[cfg(target_arch = "aarch64")]
pub(in crate::runtime) type PortableScalars = math::Fused;

impl Registers for PortableRegisters {
    const ISA: Isa = Isa::Portable;
    type Scalars = PortableScalars;
    type One = Single<PortableScalars>;
    type Four = Pair<Pair<Self::One>>;
    type Eight = Pair<Self::Four>;
    type Sixteen = Pair<Self::Eight>;
    const WIDE_SUMS: usize = 2;
}
