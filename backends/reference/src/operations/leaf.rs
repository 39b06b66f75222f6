//! Constants, indices and random numbers.

use super::{At, Operand};
use crate::tensor::wrapped;
use crate::{Data, Scalar};
use carousel_ir::{DType, Name, philox};

/// One number of a dtype.
pub(super) fn number<S: Scalar>(value: f64, dtype: DType) -> Data<S> {
    match dtype {
        DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => Data::Float(vec![S::from_f64(value)]),
        DType::I32 | DType::U32 => Data::Integer(vec![wrapped(value as i64, dtype)]),
        DType::Bool => Data::Bool(vec![value != 0.0]),
    }
}

pub(super) fn iota<S: Scalar>(at: At<'_>) -> Data<S> {
    Data::Integer((0..at.shape.iter().product::<usize>() as i64).collect())
}

pub(super) fn uniform<S: Scalar>(
    at: At<'_>,
    stream: Name,
    seed: &Operand<'_, S>,
    step: &Operand<'_, S>,
) -> Data<S> {
    let (seed, step) = (seed.integers()[0] as u32, step.integers()[0] as u32);
    let stream = philox::stream_hash(stream.as_str());
    let draw = |index| S::from_f64(f64::from(philox::uniform(seed, stream, step, index)));
    Data::Float((0..at.shape.iter().product::<usize>() as u64).map(draw).collect())
}

pub(super) fn fold_in<S: Scalar>(number: u32, seed: &Operand<'_, S>) -> Data<S> {
    Data::Integer(vec![i64::from(philox::fold_in(seed.integers()[0] as u32, number))])
}
