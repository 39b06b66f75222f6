//! Moving elements: renaming, splitting, merging, parts, padding, joining, delay.

use super::{At, Operand, mistyped};
use crate::geometry::{Layout, gather_strided, walk};
use crate::tensor::map_data;
use crate::{Data, EvalError, Scalar, Tensor};
use carousel_ir::{Axes, Axis, Size};

/// The same elements in the same order, if `axis` has as many as `parts` together.
pub(super) fn regrouped<S: Scalar>(
    at: At<'_>,
    axis: Axis,
    parts: &Axes,
    x: &Tensor<S>,
) -> Result<Data<S>, EvalError> {
    let size = at.frame.size(axis)?;
    let parts: usize = at.frame.shape(parts)?.iter().product();
    if size == parts {
        Ok(x.data.clone())
    } else {
        Err(EvalError::UnequalParts { axis, size, parts, span: at.node.span })
    }
}

pub(super) fn merge<S: Scalar>(
    at: At<'_>,
    axes: &Axes,
    into: Axis,
    x: &Operand<'_, S>,
) -> Result<Data<S>, EvalError> {
    let apart: Axes =
        at.axes.iter().flat_map(|a| if a == into { axes.as_slice().to_vec() } else { vec![a] }).collect();
    let shape: Vec<usize> = apart.iter().map(|a| x.size(a)).collect();
    let data = x.arranged(&apart, &shape);
    regrouped(at, into, axes, &Tensor { shape, data })
}

pub(super) fn slice<S: Scalar>(
    at: At<'_>,
    axis: Axis,
    to: Axis,
    start: &Size,
    x: &Operand<'_, S>,
) -> Result<Data<S>, EvalError> {
    let start = offset(at, axis, to, start)?;
    let layout = x.layout();
    let strides = layout.strides(at.axes.iter().map(|a| if a == to { axis } else { a }));
    let first = start * layout.stride(axis);
    Ok(map_data!(&x.tensor.data, v => gather_strided(v, first, at.shape, &strides)))
}

pub(super) fn pad<S: Scalar>(
    at: At<'_>,
    axis: Axis,
    to: Axis,
    before: &Size,
    x: &Operand<'_, S>,
) -> Result<Data<S>, EvalError> {
    let before = offset(at, to, axis, before)?;
    let mut out = Data::zeros(at.dtype, at.shape.iter().product());
    place(at, &mut out, to, before, axis, x);
    Ok(out)
}

pub(super) fn concat<S: Scalar>(at: At<'_>, axes: &[Axis], to: Axis, operands: &[Operand<'_, S>]) -> Data<S> {
    let mut out = Data::zeros(at.dtype, at.shape.iter().product());
    let mut start = 0;
    for (x, axis) in operands.iter().zip(axes) {
        place(at, &mut out, to, start, *axis, x);
        start += x.size(*axis);
    }
    out
}

pub(super) fn shift<S: Scalar>(at: At<'_>, axis: Axis, by: i64, x: &Operand<'_, S>) -> Data<S> {
    let layout = x.layout();
    let length = x.size(axis);
    let distance = usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX).min(length);
    let shape: Vec<usize> =
        at.axes.iter().zip(at.shape).map(|(a, &n)| if a == axis { length - distance } else { n }).collect();
    let skipped = distance * layout.stride(axis);
    let (to, from) = if by >= 0 { (skipped, 0) } else { (0, skipped) };
    let strides = layout.strides(at.axes.iter());
    let mut out = Data::zeros(at.dtype, at.shape.iter().product());
    copy(&shape, (&mut out, to, &strides), (&x.tensor.data, from, &strides));
    out
}

/// `start` as a number, if all of `part` lies in `whole` from there on.
fn offset(at: At<'_>, whole: Axis, part: Axis, start: &Size) -> Result<usize, EvalError> {
    let unknown = || EvalError::UnknownSize { axis: whole, size: start.to_string() };
    let start = at.frame.number(start).ok_or_else(unknown)?;
    let (size, length) = (at.frame.size(whole)? as u64, at.frame.size(part)? as u64);
    let end = start.saturating_add(length);
    if end <= size {
        Ok(start as usize)
    } else {
        Err(EvalError::RangeOutOfBounds { axis: whole, start, end, size, span: at.node.span })
    }
}

/// Puts an operand into the result, its `axis` along `to` from element `start` on.
fn place<S: Scalar>(at: At<'_>, out: &mut Data<S>, to: Axis, start: usize, axis: Axis, x: &Operand<'_, S>) {
    let layout = Layout::new(at.axes, at.shape);
    let places: Vec<Axis> = at.axes.iter().map(|a| if a == to { axis } else { a }).collect();
    let shape: Vec<usize> = places.iter().map(|a| x.size(*a)).collect();
    let (to_strides, from_strides) = (layout.strides(at.axes.iter()), x.strides(places));
    copy(&shape, (out, start * layout.stride(to), &to_strides), (&x.tensor.data, 0, &from_strides));
}

/// Copies a block of `shape` between tensors of one kind, each with its first element and its strides.
fn copy<S: Scalar>(shape: &[usize], to: (&mut Data<S>, usize, &[usize]), from: (&Data<S>, usize, &[usize])) {
    let ((to, to_first, to_strides), (from, from_first, from_strides)) = (to, from);
    let strides = [to_strides, from_strides];
    match (to, from) {
        (Data::Float(to), Data::Float(from)) => {
            walk(shape, strides, |[a, b]| to[to_first + a] = from[from_first + b])
        }
        (Data::Integer(to), Data::Integer(from)) => {
            walk(shape, strides, |[a, b]| to[to_first + a] = from[from_first + b])
        }
        (Data::Bool(to), Data::Bool(from)) => {
            walk(shape, strides, |[a, b]| to[to_first + a] = from[from_first + b])
        }
        (Data::Float(_) | Data::Integer(_) | Data::Bool(_), _) => mistyped("the result's dtype"),
    }
}
