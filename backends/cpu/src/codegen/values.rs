//! One operation on registers: loads and stores, arithmetic, conversions, combinations; scalar or four lanes wide.
//!
//! Invariant: scalar and vector code give the same bits. In registers, bf16 and f16 are f32 (see [`super::halves`]), a truth
//! value is 0 or -1 in 32 bits, and u32 is the same 32 bits as i32. f64 has no vectors: it is a mode for checking.
//! Deliberately absent: transcendental functions in line; they are calls of the tile runtime.

use super::emitter::{Emitter, flags};
use super::halves::{narrowed, rounded, widened};
use carousel_core::kernel::Combine;
use carousel_ir::{DType, Number, OpKind};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value, types};

/// How many elements a register holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    Scalar,
    /// Four of 32 bits.
    Vector,
}

/// Lanes of a vector.
pub(super) const LANES: u64 = 4;

/// The bit of the status word for an index out of range.
pub(crate) const STATUS_INDEX: i64 = 1;
/// The bit of the status word for an integer division by zero.
pub(crate) const STATUS_DIVISION: i64 = 2;

/// Whether its registers are floats.
fn is_float(dtype: DType) -> bool {
    match dtype {
        DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => true,
        DType::I32 | DType::U32 | DType::Bool => false,
    }
}

/// The type of a register.
pub(super) fn register(dtype: DType, shape: Shape) -> Type {
    match (dtype, shape) {
        (DType::F32 | DType::Bf16 | DType::F16, Shape::Scalar) => types::F32,
        (DType::F32 | DType::Bf16 | DType::F16, Shape::Vector) => types::F32X4,
        (DType::F64, Shape::Scalar) => types::F64,
        (DType::F64, Shape::Vector) => types::F64X2,
        (DType::I32 | DType::U32 | DType::Bool, Shape::Scalar) => types::I32,
        (DType::I32 | DType::U32 | DType::Bool, Shape::Vector) => types::I32X4,
    }
}

pub(super) fn integers(shape: Shape) -> Type {
    register(DType::I32, shape)
}

pub(super) fn floats(shape: Shape) -> Type {
    register(DType::F32, shape)
}

pub(super) fn bits_as(e: &mut Emitter<'_, '_>, ty: Type, value: Value) -> Value {
    let flags = MemFlagsData::new().with_endianness(Endianness::Little);
    e.b.ins().bitcast(ty, flags, value)
}

/// From memory.
pub(super) fn load(
    e: &mut Emitter<'_, '_>,
    dtype: DType,
    shape: Shape,
    address: Value,
    offset: i32,
) -> Value {
    match (dtype, shape) {
        (DType::Bf16 | DType::F16, Shape::Scalar) => {
            let bits = e.b.ins().uload16(types::I32, flags(), address, offset);
            widened(e, dtype, shape, bits)
        }
        (DType::Bf16 | DType::F16, Shape::Vector) => {
            // Four zero-extended halves of 16 bits each.
            let low = e.b.ins().load(types::I64, flags(), address, offset);
            let halves = e.b.ins().scalar_to_vector(types::I64X2, low);
            let halves = bits_as(e, types::I16X8, halves);
            let bits = e.b.ins().uwiden_low(halves);
            widened(e, dtype, shape, bits)
        }
        (DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::Bool, _) => {
            e.b.ins().load(register(dtype, shape), flags(), address, offset)
        }
    }
}

/// To memory.
pub(super) fn store(
    e: &mut Emitter<'_, '_>,
    dtype: DType,
    shape: Shape,
    value: Value,
    address: Value,
    offset: i32,
) {
    match (dtype, shape) {
        (DType::Bf16 | DType::F16, Shape::Scalar) => {
            let bits = narrowed(e, dtype, shape, value);
            e.b.ins().istore16(flags(), bits, address, offset);
        }
        (DType::Bf16 | DType::F16, Shape::Vector) => {
            let bits = narrowed(e, dtype, shape, value);
            let halves = e.b.ins().unarrow(bits, bits);
            let halves = bits_as(e, types::I64X2, halves);
            let low = e.b.ins().extractlane(halves, 0);
            e.b.ins().store(flags(), low, address, offset);
        }
        (DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::Bool, _) => {
            e.b.ins().store(flags(), value, address, offset);
        }
    }
}

/// A scalar with these bits in all lanes.
pub(super) fn bit_constant(e: &mut Emitter<'_, '_>, shape: Shape, bits: u32) -> Value {
    let bits = e.b.ins().iconst(types::I32, i64::from(bits));
    match shape {
        Shape::Scalar => bits,
        Shape::Vector => e.b.ins().splat(types::I32X4, bits),
    }
}

fn float_constant(e: &mut Emitter<'_, '_>, shape: Shape, value: f32) -> Value {
    let value = e.b.ins().f32const(value);
    match shape {
        Shape::Scalar => value,
        Shape::Vector => e.b.ins().splat(types::F32X4, value),
    }
}

/// A constant as a scalar.
pub(super) fn constant(e: &mut Emitter<'_, '_>, value: Number, dtype: DType) -> Value {
    let value = value.get();
    match dtype {
        DType::F32 => e.b.ins().f32const(value as f32),
        DType::F64 => e.b.ins().f64const(value),
        DType::Bf16 | DType::F16 => {
            let value = e.b.ins().f32const(value as f32);
            rounded(e, dtype, Shape::Scalar, value)
        }
        DType::I32 | DType::U32 => e.b.ins().iconst(types::I32, i64::from(value as i64 as u32)),
        DType::Bool => e.b.ins().iconst(types::I32, if value == 0.0 { 0 } else { i64::from(u32::MAX) }),
    }
}

/// An i64 as a scalar of another dtype.
pub(super) fn from_index(e: &mut Emitter<'_, '_>, value: Value, dtype: DType) -> Value {
    match dtype {
        DType::F32 => e.b.ins().fcvt_from_sint(types::F32, value),
        DType::F64 => e.b.ins().fcvt_from_sint(types::F64, value),
        DType::Bf16 | DType::F16 => {
            let value = e.b.ins().fcvt_from_sint(types::F32, value);
            rounded(e, dtype, Shape::Scalar, value)
        }
        DType::I32 | DType::U32 => e.b.ins().ireduce(types::I32, value),
        DType::Bool => e.b.ins().bmask(types::I32, value),
    }
}

/// A scalar in all lanes.
pub(super) fn splat(e: &mut Emitter<'_, '_>, dtype: DType, value: Value) -> Value {
    e.b.ins().splat(register(dtype, Shape::Vector), value)
}

/// Four scalars side by side.
pub(super) fn gather_lanes(e: &mut Emitter<'_, '_>, dtype: DType, lanes: [Value; 4]) -> Value {
    let mut vector = splat(e, dtype, lanes[0]);
    for (lane, &value) in lanes.iter().enumerate().skip(1) {
        vector = e.b.ins().insertlane(vector, value, lane as u8);
    }
    vector
}

/// `condition ? a : b`, the condition being what comparisons give.
pub(super) fn select(e: &mut Emitter<'_, '_>, shape: Shape, condition: Value, a: Value, b: Value) -> Value {
    match shape {
        Shape::Scalar => e.b.ins().select(condition, a, b),
        Shape::Vector => {
            let ty = e.b.func.dfg.value_type(a);
            let condition = if ty == types::I32X4 { condition } else { bits_as(e, ty, condition) };
            e.b.ins().bitselect(condition, a, b)
        }
    }
}

/// A comparison as a truth value: 0 or -1.
fn truth(e: &mut Emitter<'_, '_>, shape: Shape, condition: Value) -> Value {
    match shape {
        Shape::Scalar => e.b.ins().bmask(types::I32, condition),
        Shape::Vector => condition,
    }
}

/// The larger (or smaller) one; NaN wins.
fn extremum(e: &mut Emitter<'_, '_>, larger: bool, dtype: DType, shape: Shape, a: Value, b: Value) -> Value {
    if is_float(dtype) {
        let (low, high) = if larger { (a, b) } else { (b, a) };
        let ordered = e.b.ins().fcmp(FloatCC::LessThan, low, high);
        let nan = e.b.ins().fcmp(FloatCC::Unordered, b, b);
        let take = e.b.ins().bor(ordered, nan);
        return select(e, shape, take, b, a);
    }
    match (dtype == DType::I32, larger) {
        (true, true) => e.b.ins().smax(a, b),
        (true, false) => e.b.ins().smin(a, b),
        (false, true) => e.b.ins().umax(a, b),
        (false, false) => e.b.ins().umin(a, b),
    }
}

/// Truncating division; 0 where the divisor is 0, which is reported.
fn divide_integers(e: &mut Emitter<'_, '_>, dtype: DType, a: Value, b: Value) -> Value {
    let fine = e.b.ins().icmp_imm_s(IntCC::NotEqual, b, 0);
    e.report_unless(fine, STATUS_DIVISION);
    // In 64 bits nothing can overflow.
    let (a, b) = if dtype == DType::I32 {
        (e.b.ins().sextend(types::I64, a), e.b.ins().sextend(types::I64, b))
    } else {
        (e.b.ins().uextend(types::I64, a), e.b.ins().uextend(types::I64, b))
    };
    let one = e.int(1);
    let divisor = e.b.ins().select(fine, b, one);
    let quotient = e.b.ins().sdiv(a, divisor);
    let zero = e.int(0);
    let quotient = e.b.ins().select(fine, quotient, zero);
    e.b.ins().ireduce(types::I32, quotient)
}

/// Applies a scalar function lane by lane.
fn lane_by_lane(
    e: &mut Emitter<'_, '_>,
    dtype: DType,
    a: Value,
    b: Value,
    function: impl Fn(&mut Emitter<'_, '_>, Value, Value) -> Value,
) -> Value {
    let lanes = [0, 1, 2, 3].map(|lane: u8| {
        let (a, b) = (e.b.ins().extractlane(a, lane), e.b.ins().extractlane(b, lane));
        function(e, a, b)
    });
    gather_lanes(e, dtype, lanes)
}

/// -1, 0 or 1; NaN and zeros stay.
fn sign(e: &mut Emitter<'_, '_>, dtype: DType, shape: Shape, a: Value) -> Value {
    let number = |e: &mut Emitter<'_, '_>, x: f64| {
        let x = constant(e, Number::new(x), dtype);
        if shape == Shape::Vector { splat(e, dtype, x) } else { x }
    };
    let (zero, one) = (number(e, 0.0), number(e, 1.0));
    if dtype == DType::U32 {
        return e.b.ins().umin(a, one);
    }
    let minus_one = number(e, -1.0);
    let (positive, negative) = if is_float(dtype) {
        (e.b.ins().fcmp(FloatCC::LessThan, zero, a), e.b.ins().fcmp(FloatCC::LessThan, a, zero))
    } else {
        (e.b.ins().icmp(IntCC::SignedLessThan, zero, a), e.b.ins().icmp(IntCC::SignedLessThan, a, zero))
    };
    let rest = select(e, shape, negative, minus_one, a);
    select(e, shape, positive, one, rest)
}

/// The operations that are not computed in line, with their functions for f32 and f64.
#[rustfmt::skip]
const TILE_FUNCTIONS: [(OpKind, &str, &str); 7] = [
    (OpKind::Exp,        "tile_exp_f32",        "tile_exp_f64"),
    (OpKind::Log,        "tile_log_f32",        "tile_log_f64"),
    (OpKind::Log1p,      "tile_log1p_f32",      "tile_log1p_f64"),
    (OpKind::Tanh,       "tile_tanh_f32",       "tile_tanh_f64"),
    (OpKind::Sigmoid,    "tile_sigmoid_f32",    "tile_sigmoid_f64"),
    (OpKind::Logsigmoid, "tile_logsigmoid_f32", "tile_logsigmoid_f64"),
    (OpKind::Erf,        "tile_erf_f32",        "tile_erf_f64"),
];

/// The tile function of an operation, if it is one that is not computed in line.
pub(super) fn tile_function(op: OpKind, dtype: DType) -> Option<&'static str> {
    let (_, single, double) = TILE_FUNCTIONS.iter().find(|(of, ..)| *of == op)?;
    Some(if dtype == DType::F64 { double } else { single })
}

/// One elementwise operation that has instructions, or a call of the tile runtime.
pub(super) fn apply(
    e: &mut Emitter<'_, '_>,
    op: OpKind,
    operand_dtype: DType,
    dtype: DType,
    shape: Shape,
    operands: &[Value],
) -> Value {
    if let Some(name) = tile_function(op, dtype) {
        let cell = e.cell();
        e.b.ins().store(flags(), operands[0], cell, 0);
        let count = e.int(if shape == Shape::Vector { LANES as i64 } else { 1 });
        e.call(name, &[cell, cell, count], None);
        let result = e.b.ins().load(register(dtype, shape), flags(), cell, 0);
        return rounded(e, dtype, shape, result);
    }
    let float = is_float(operand_dtype);
    let a = operands[0];
    let b = operands.get(1).copied().unwrap_or(a);
    let result = match op {
        OpKind::Neg if float => e.b.ins().fneg(a),
        OpKind::Neg => e.b.ins().ineg(a),
        OpKind::Abs if float => e.b.ins().fabs(a),
        OpKind::Abs if operand_dtype == DType::I32 => e.b.ins().iabs(a),
        OpKind::Abs => a,
        OpKind::Sign => sign(e, operand_dtype, shape, a),
        OpKind::Floor => e.b.ins().floor(a),
        OpKind::Ceil => e.b.ins().ceil(a),
        OpKind::Sqrt => e.b.ins().sqrt(a),
        OpKind::Not => e.b.ins().bnot(a),
        OpKind::And => e.b.ins().band(a, b),
        OpKind::Or => e.b.ins().bor(a, b),
        OpKind::Add if float => e.b.ins().fadd(a, b),
        OpKind::Add => e.b.ins().iadd(a, b),
        OpKind::Sub if float => e.b.ins().fsub(a, b),
        OpKind::Sub => e.b.ins().isub(a, b),
        OpKind::Mul if float => e.b.ins().fmul(a, b),
        OpKind::Mul => e.b.ins().imul(a, b),
        OpKind::Div if float => e.b.ins().fdiv(a, b),
        OpKind::Div if shape == Shape::Vector => {
            lane_by_lane(e, operand_dtype, a, b, |e, a, b| divide_integers(e, operand_dtype, a, b))
        }
        OpKind::Div => divide_integers(e, operand_dtype, a, b),
        OpKind::Min => extremum(e, false, operand_dtype, shape, a, b),
        OpKind::Max => extremum(e, true, operand_dtype, shape, a, b),
        OpKind::Eq => compare(e, FloatCC::Equal, [IntCC::Equal; 2], operand_dtype, shape, [a, b]),
        OpKind::Ne => compare(e, FloatCC::NotEqual, [IntCC::NotEqual; 2], operand_dtype, shape, [a, b]),
        OpKind::Lt => {
            let integers = [IntCC::SignedLessThan, IntCC::UnsignedLessThan];
            compare(e, FloatCC::LessThan, integers, operand_dtype, shape, [a, b])
        }
        OpKind::Le => {
            let integers = [IntCC::SignedLessThanOrEqual, IntCC::UnsignedLessThanOrEqual];
            compare(e, FloatCC::LessThanOrEqual, integers, operand_dtype, shape, [a, b])
        }
        OpKind::Select => select(e, shape, a, b, operands[2]),
        other @ (OpKind::Input
        | OpKind::Const
        | OpKind::SizeOf
        | OpKind::Iota
        | OpKind::Exp
        | OpKind::Log
        | OpKind::Log1p
        | OpKind::Tanh
        | OpKind::Sigmoid
        | OpKind::Logsigmoid
        | OpKind::Erf
        | OpKind::Cast
        | OpKind::Detach
        | OpKind::Sum
        | OpKind::ReduceMax
        | OpKind::Dot
        | OpKind::CumSum
        | OpKind::CumMax
        | OpKind::Rename
        | OpKind::Split
        | OpKind::Merge
        | OpKind::Broadcast
        | OpKind::Slice
        | OpKind::Pad
        | OpKind::Concat
        | OpKind::Shift
        | OpKind::Gather
        | OpKind::ScatterAdd
        | OpKind::Uniform
        | OpKind::FoldIn
        | OpKind::LinRead
        | OpKind::LinReadDecay
        | OpKind::LinSolve
        | OpKind::Scan
        | OpKind::Call
        | OpKind::Proj) => unreachable!("{other} is not an elementwise operation of a region"),
    };
    rounded(e, dtype, shape, result)
}

/// A comparison; of integers, the first condition is for signed ones, the second for others.
fn compare(
    e: &mut Emitter<'_, '_>,
    floats: FloatCC,
    integers: [IntCC; 2],
    dtype: DType,
    shape: Shape,
    [a, b]: [Value; 2],
) -> Value {
    let condition = if is_float(dtype) {
        e.b.ins().fcmp(floats, a, b)
    } else {
        // As truth values, -1 is above 0.
        e.b.ins().icmp(integers[usize::from(dtype != DType::I32)], a, b)
    };
    truth(e, shape, condition)
}

/// Conversion to another dtype.
pub(super) fn cast(e: &mut Emitter<'_, '_>, from: DType, to: DType, shape: Shape, value: Value) -> Value {
    match (from, to) {
        (_, DType::Bf16 | DType::F16) if from == to => value,
        (_, DType::Bf16 | DType::F16) if from != DType::F32 => {
            let value = cast(e, from, DType::F32, shape, value);
            cast(e, DType::F32, to, shape, value)
        }
        (_, DType::Bf16 | DType::F16) => rounded(e, to, shape, value),
        (DType::F32 | DType::Bf16 | DType::F16, DType::F32) => value,
        (DType::F64, DType::F64) | (DType::Bool, DType::Bool) => value,
        (DType::I32 | DType::U32, DType::I32 | DType::U32) => value,
        (DType::F32 | DType::Bf16 | DType::F16, DType::F64) => e.b.ins().fpromote(types::F64, value),
        (DType::F64, DType::F32) => e.b.ins().fdemote(types::F32, value),
        (DType::F32 | DType::F64 | DType::Bf16 | DType::F16, DType::I32) => {
            e.b.ins().fcvt_to_sint_sat(integers(shape), value)
        }
        (DType::F32 | DType::F64 | DType::Bf16 | DType::F16, DType::U32) => {
            e.b.ins().fcvt_to_uint_sat(integers(shape), value)
        }
        (DType::F32 | DType::F64 | DType::Bf16 | DType::F16, DType::Bool) => {
            let zero = e.b.ins().f32const(0.0);
            let zero = match (from == DType::F64, shape) {
                (true, _) => e.b.ins().fpromote(types::F64, zero),
                (false, Shape::Scalar) => zero,
                (false, Shape::Vector) => e.b.ins().splat(types::F32X4, zero),
            };
            let condition = e.b.ins().fcmp(FloatCC::NotEqual, value, zero);
            truth(e, shape, condition)
        }
        (DType::I32 | DType::U32, DType::Bool) => {
            let zero = bit_constant(e, shape, 0);
            let condition = e.b.ins().icmp(IntCC::NotEqual, value, zero);
            truth(e, shape, condition)
        }
        (DType::Bool, DType::I32 | DType::U32) => {
            let one = bit_constant(e, shape, 1);
            e.b.ins().band(value, one)
        }
        (DType::Bool, DType::F32) => {
            let one = bit_constant(e, shape, 1.0f32.to_bits());
            let bits = e.b.ins().band(value, one);
            bits_as(e, floats(shape), bits)
        }
        (DType::Bool, DType::F64) => {
            let value = e.b.ins().ineg(value);
            e.b.ins().fcvt_from_sint(types::F64, value)
        }
        (DType::I32, DType::F32) => e.b.ins().fcvt_from_sint(floats(shape), value),
        (DType::U32, DType::F32) => e.b.ins().fcvt_from_uint(floats(shape), value),
        (DType::I32, DType::F64) => e.b.ins().fcvt_from_sint(types::F64, value),
        (DType::U32, DType::F64) => e.b.ins().fcvt_from_uint(types::F64, value),
    }
}

/// What a combination starts from, as a scalar. Numbers of 16 bits are combined in f32.
pub(super) fn neutral(e: &mut Emitter<'_, '_>, combine: Combine, dtype: DType) -> Value {
    match (combine, dtype) {
        (_, DType::F32 | DType::Bf16 | DType::F16) => {
            let start = if combine == Combine::Sum { 0.0 } else { f32::NEG_INFINITY };
            float_constant(e, Shape::Scalar, start)
        }
        (_, DType::F64) => e.b.ins().f64const(if combine == Combine::Sum { 0.0 } else { f64::NEG_INFINITY }),
        (Combine::Max, DType::I32) => e.b.ins().iconst(types::I32, i64::from(i32::MIN as u32)),
        (Combine::Sum, DType::I32) | (_, DType::U32 | DType::Bool) => e.b.ins().iconst(types::I32, 0),
    }
}

/// `sum` with `value` taken in.
pub(super) fn combine(
    e: &mut Emitter<'_, '_>,
    combine: Combine,
    dtype: DType,
    shape: Shape,
    sum: Value,
    value: Value,
) -> Value {
    match combine {
        Combine::Sum if is_float(dtype) => e.b.ins().fadd(sum, value),
        Combine::Sum => e.b.ins().iadd(sum, value),
        Combine::Max => extremum(e, true, dtype, shape, sum, value),
    }
}
