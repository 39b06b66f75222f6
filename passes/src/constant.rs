//! Folding of constants.
//!
//! Arithmetic is done in f64 whatever the dtype of the graph: rounding the result to f32 then gives what one f32
//! operation on the rounded operands gives (f64 has more than twice the digits), and an evaluation of the same graph
//! in f64 loses nothing. Only operations that IEEE 754 rounds correctly are folded, so that no library's `exp` gets
//! into a program. Folds that overflow, or that are undefined, are left alone.

use carousel_ir::{DType, OpKind};

/// The value of an operation on constants, if it can be folded. `dtype` is that of the operands, `to` of the result.
pub(crate) fn fold(kind: OpKind, dtype: DType, to: DType, operands: &[f64]) -> Option<f64> {
    let truth = |b: bool| Some(f64::from(u8::from(b)));
    let value = match (kind, operands) {
        (OpKind::Neg, [a]) => Some(-a),
        (OpKind::Abs, [a]) => Some(a.abs()),
        (OpKind::Floor, [a]) => Some(a.floor()),
        (OpKind::Ceil, [a]) => Some(a.ceil()),
        (OpKind::Sqrt, [a]) if *a >= 0.0 => Some(a.sqrt()),
        (OpKind::Not, [a]) => truth(*a == 0.0),
        (OpKind::Detach, [a]) => Some(*a),
        (OpKind::Cast, [a]) => cast(*a, dtype, to),
        (OpKind::Add, [a, b]) => Some(a + b),
        (OpKind::Sub, [a, b]) => Some(a - b),
        (OpKind::Mul, [a, b]) => Some(a * b),
        (OpKind::Div, [a, b]) if dtype.is_float() => Some(a / b),
        (OpKind::Min, [a, b]) => Some(a.min(*b)),
        (OpKind::Max, [a, b]) => Some(a.max(*b)),
        (OpKind::Eq, [a, b]) => truth(a == b),
        (OpKind::Ne, [a, b]) => truth(a != b),
        (OpKind::Lt, [a, b]) => truth(a < b),
        (OpKind::Le, [a, b]) => truth(a <= b),
        (OpKind::And, [a, b]) => truth(*a != 0.0 && *b != 0.0),
        (OpKind::Or, [a, b]) => truth(*a != 0.0 || *b != 0.0),
        (OpKind::Select, [c, a, b]) => Some(if *c != 0.0 { *a } else { *b }),
        _ => None,
    }?;
    let finite = value.is_finite() || operands.iter().any(|x| x.is_infinite());
    (finite && !value.is_nan() && fits(value, to)).then_some(value)
}

/// Conversions that lose nothing.
fn cast(value: f64, from: DType, to: DType) -> Option<f64> {
    let exact = match (from.is_float(), to) {
        (_, DType::F64) => rounds_to_itself(value, from),
        (_, DType::F32) => rounds_to_itself(value, from) && f64::from(value as f32) == value,
        (_, DType::Bf16 | DType::F16) => rounds_to_itself(value, to),
        (_, DType::I32 | DType::U32) => value.fract() == 0.0,
        (_, DType::Bool) => value == 0.0 || value == 1.0,
    };
    exact.then_some(value)
}

/// Whether a number of this dtype is that number.
fn rounds_to_itself(value: f64, dtype: DType) -> bool {
    match dtype {
        DType::F64 => true,
        DType::F32 => f64::from(value as f32) == value,
        DType::Bf16 => f64::from(value as f32) == value && (value as f32).to_bits() & 0xffff == 0,
        // Eleven bits of the significand, the last one not below 2^-24.
        DType::F16 => {
            let unit = 2f64.powi((value.abs().log2().floor() as i32 - 10).max(-24));
            value == 0.0 || value.is_infinite() || (value.abs() <= 65504.0 && (value / unit).fract() == 0.0)
        }
        DType::I32 | DType::U32 | DType::Bool => fits(value, dtype),
    }
}

fn fits(value: f64, dtype: DType) -> bool {
    match dtype {
        DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => true,
        DType::I32 => value.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&value),
        DType::U32 => value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value),
        DType::Bool => value == 0.0 || value == 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_only_what_is_defined_and_fits() {
        let f = DType::F32;
        assert_eq!(fold(OpKind::Div, f, f, &[1.0, 4.0]), Some(0.25));
        assert_eq!(fold(OpKind::Div, f, f, &[1.0, 0.0]), None);
        assert_eq!(fold(OpKind::Div, DType::I32, DType::I32, &[4.0, 2.0]), None);
        assert_eq!(fold(OpKind::Sub, DType::U32, DType::U32, &[1.0, 2.0]), None);
        assert_eq!(fold(OpKind::Sqrt, f, f, &[-1.0]), None);
        assert_eq!(fold(OpKind::Exp, f, f, &[0.0]), None);
        assert_eq!(fold(OpKind::Cast, f, DType::F64, &[0.1]), None);
        assert_eq!(fold(OpKind::Cast, f, DType::F64, &[0.5]), Some(0.5));
        assert_eq!(fold(OpKind::Max, f, f, &[f64::NEG_INFINITY, 2.0]), Some(2.0));
    }

    #[test]
    fn one_operation_in_f64_rounds_as_in_f32() {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            f32::from_bits((state >> 32) as u32 & 0xbfff_ffff | 0x2000_0000)
        };
        for _ in 0..2000 {
            let (a, b) = (next(), next());
            for (kind, exact) in
                [(OpKind::Add, a + b), (OpKind::Sub, a - b), (OpKind::Mul, a * b), (OpKind::Div, a / b)]
            {
                let folded = fold(kind, DType::F32, DType::F32, &[f64::from(a), f64::from(b)]);
                assert_eq!(folded.map(|v| (v as f32).to_bits()), Some(exact.to_bits()), "{kind} {a} {b}");
            }
        }
    }
}
