//! NEON.

use super::elements::{Unaligned, behind_mut};
use super::{Bf16, F16, Pair, Registers, Single, Vector, behind};
use crate::runtime::isa::Isa;
use crate::runtime::math::Fused;
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

/// NEON.
pub(in crate::runtime) struct NeonRegisters;
impl Registers for NeonRegisters {
    const ISA: Isa = Isa::Neon;
    type Scalars = Fused;
    type One = Single<Fused>;
    type Four = float32x4_t;
    type Eight = Pair<Self::Four>;
    type Sixteen = Pair<Self::Eight>;
    const WIDE_SUMS: usize = 2;
}
