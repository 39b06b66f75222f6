//! Floats of 16 bits: from memory to registers and back.
//!
//! Invariant: in a register such a number is an f32 that has the same value; conversions are exact where they can be, else
//! to the nearest number, ties to even, and NaN stays NaN. All of it is plain arithmetic, the same for one element and for
//! four; matrices are converted by the tile runtime, with the processor's own instructions.

use super::emitter::Emitter;
use super::values::{Shape, bit_constant, bits_as, floats, integers, select};
use carousel_ir::DType;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value};

/// How numbers of one dtype are converted: from and to their bits, which are the lower ones of 32.
struct Half {
    widen: fn(&mut Emitter<'_, '_>, Shape, Value) -> Value,
    narrow: fn(&mut Emitter<'_, '_>, Shape, Value) -> Value,
}

fn half(dtype: DType) -> Option<Half> {
    match dtype {
        DType::Bf16 => Some(Half { widen: widen_bf16, narrow: narrow_bf16 }),
        DType::F16 => Some(Half { widen: widen_f16, narrow: narrow_f16 }),
        DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::Bool => None,
    }
}

/// Bits of 16 as a number in a register.
pub(super) fn widened(e: &mut Emitter<'_, '_>, dtype: DType, shape: Shape, bits: Value) -> Value {
    let Half { widen, .. } = half(dtype).unwrap_or_else(|| panic!("{dtype} is not stored in 16 bits"));
    widen(e, shape, bits)
}

/// A number as its bits.
pub(super) fn narrowed(e: &mut Emitter<'_, '_>, dtype: DType, shape: Shape, value: Value) -> Value {
    let Half { narrow, .. } = half(dtype).unwrap_or_else(|| panic!("{dtype} is not stored in 16 bits"));
    narrow(e, shape, value)
}

/// An f32 as a number of the dtype, if that has 16 bits; what is in a register of any other is such a number already.
pub(super) fn rounded(e: &mut Emitter<'_, '_>, dtype: DType, shape: Shape, value: Value) -> Value {
    let Some(Half { widen, narrow }) = half(dtype) else { return value };
    let bits = narrow(e, shape, value);
    widen(e, shape, bits)
}

/// The upper half of an f32.
fn widen_bf16(e: &mut Emitter<'_, '_>, shape: Shape, bits: Value) -> Value {
    let bits = e.b.ins().ishl_imm_u(bits, 16);
    bits_as(e, floats(shape), bits)
}

fn narrow_bf16(e: &mut Emitter<'_, '_>, shape: Shape, value: Value) -> Value {
    let bits = bits_as(e, integers(shape), value);
    let odd = e.b.ins().ushr_imm_u(bits, 16);
    let one = bit_constant(e, shape, 1);
    let odd = e.b.ins().band(odd, one);
    let half = bit_constant(e, shape, 0x7fff);
    let rounded = e.b.ins().iadd(bits, half);
    let rounded = e.b.ins().iadd(rounded, odd);
    let quiet = bit_constant(e, shape, 0x0040_0000);
    let nan = e.b.ins().bor(bits, quiet);
    let is_nan = e.b.ins().fcmp(FloatCC::Unordered, value, value);
    let chosen = select(e, shape, is_nan, nan, rounded);
    e.b.ins().ushr_imm_u(chosen, 16)
}

/// Bits of 2^112: what the exponents of f32 and f16 differ by.
const SCALE: u32 = 0x7780_0000;

/// The significand and the exponent are moved to their places and scaled, which makes subnormal numbers normal.
fn widen_f16(e: &mut Emitter<'_, '_>, shape: Shape, bits: Value) -> Value {
    let mask = bit_constant(e, shape, 0x7fff);
    let magnitude = e.b.ins().band(bits, mask);
    let sign = e.b.ins().bxor(bits, magnitude);
    let sign = e.b.ins().ishl_imm_u(sign, 16);
    let moved = e.b.ins().ishl_imm_u(magnitude, 13);
    let scale = bit_constant(e, shape, SCALE);
    let (number, scale) = (bits_as(e, floats(shape), moved), bits_as(e, floats(shape), scale));
    let number = e.b.ins().fmul(number, scale);
    let number = bits_as(e, integers(shape), number);
    let infinite = bit_constant(e, shape, 0x7f80_0000);
    let infinite = e.b.ins().bor(moved, infinite);
    let quiet = bit_constant(e, shape, 0x0040_0000);
    let nan = e.b.ins().bor(infinite, quiet);
    let most = bit_constant(e, shape, 0x7c00);
    let is_nan = e.b.ins().icmp(IntCC::SignedGreaterThan, magnitude, most);
    let special = select(e, shape, is_nan, nan, infinite);
    let is_finite = e.b.ins().icmp(IntCC::SignedLessThan, magnitude, most);
    let chosen = select(e, shape, is_finite, number, special);
    let chosen = e.b.ins().bor(chosen, sign);
    bits_as(e, floats(shape), chosen)
}

fn narrow_f16(e: &mut Emitter<'_, '_>, shape: Shape, value: Value) -> Value {
    let bits = bits_as(e, integers(shape), value);
    let mask = bit_constant(e, shape, 0x7fff_ffff);
    let magnitude = e.b.ins().band(bits, mask);
    let sign = e.b.ins().bxor(bits, magnitude);
    let sign = e.b.ins().ushr_imm_u(sign, 16);

    // Normal numbers: the exponent less 112, and half of the last place that stays, or a bit less if that is even, added.
    let odd = e.b.ins().ushr_imm_u(magnitude, 13);
    let one = bit_constant(e, shape, 1);
    let odd = e.b.ins().band(odd, one);
    let rounding = bit_constant(e, shape, (0x0fffu32).wrapping_sub(112 << 23));
    let normal = e.b.ins().iadd(magnitude, rounding);
    let normal = e.b.ins().iadd(normal, odd);
    let normal = e.b.ins().ushr_imm_u(normal, 13);

    // Below 2^-14: the last place of 0.5 is 2^-24, so that adding it rounds.
    let half = bit_constant(e, shape, 0.5f32.to_bits());
    let (number, addend) = (bits_as(e, floats(shape), magnitude), bits_as(e, floats(shape), half));
    let sum = e.b.ins().fadd(number, addend);
    let sum = bits_as(e, integers(shape), sum);
    let subnormal = e.b.ins().isub(sum, half);

    let least = bit_constant(e, shape, 0x3880_0000);
    let is_subnormal = e.b.ins().icmp(IntCC::SignedLessThan, magnitude, least);
    let chosen = select(e, shape, is_subnormal, subnormal, normal);
    // From 65520 on, the sum above is infinity already; from 65536 on it is beyond.
    let infinite = bit_constant(e, shape, 0x7c00);
    let too_large = bit_constant(e, shape, 65536f32.to_bits());
    let is_finite = e.b.ins().icmp(IntCC::SignedLessThan, magnitude, too_large);
    let chosen = select(e, shape, is_finite, chosen, infinite);
    let payload = e.b.ins().ushr_imm_u(magnitude, 13);
    let quiet = bit_constant(e, shape, 0x7e00);
    let fraction = bit_constant(e, shape, 0x03ff);
    let payload = e.b.ins().band(payload, fraction);
    let nan = e.b.ins().bor(payload, quiet);
    let is_nan = e.b.ins().fcmp(FloatCC::Unordered, value, value);
    let chosen = select(e, shape, is_nan, nan, chosen);
    e.b.ins().bor(chosen, sign)
}
