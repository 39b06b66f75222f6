//! Elements addressed by data: rows of a table, and adding into one.

use super::{At, Operand, mistyped};
use crate::geometry::{Layout, walk};
use crate::tensor::{map_data, wrapped};
use crate::{Data, EvalError, Scalar};
use carousel_ir::{Axes, Axis};

/// `table[axis = index]`.
pub(super) fn gather<S: Scalar>(
    at: At<'_>,
    axis: Axis,
    table: &Operand<'_, S>,
    index: &Operand<'_, S>,
) -> Result<Data<S>, EvalError> {
    let stride = table.layout().stride(axis);
    let places = places(at, axis, table.size(axis), index.integers())?;
    let (table_strides, index_strides) = (table.strides(at.axes.iter()), index.strides(at.axes.iter()));
    Ok(map_data!(&table.tensor.data, v => {
        let mut out = Vec::with_capacity(at.shape.iter().product());
        walk(at.shape, [&table_strides, &index_strides], |[t, i]| out.push(v[t + places[i] * stride]));
        out
    }))
}

/// Indices as places, if all of them lie within the axis.
fn places(at: At<'_>, axis: Axis, size: usize, index: &[i64]) -> Result<Vec<usize>, EvalError> {
    let place = |&index: &i64| match usize::try_from(index) {
        Ok(place) if place < size => Ok(place),
        Ok(_) | Err(_) => Err(EvalError::IndexOutOfRange { axis, index, size, span: at.node.span }),
    };
    index.iter().map(place).collect()
}

/// Adds updates into zeros at `axis = index`, over the axes `over` in ascending order.
pub(super) fn scatter_add<S: Scalar>(
    at: At<'_>,
    axis: Axis,
    over: &Axes,
    updates: &Operand<'_, S>,
    index: &Operand<'_, S>,
) -> Result<Data<S>, EvalError> {
    let places = places(at, axis, at.frame.size(axis)?, index.integers())?;
    let walked: Axes = at.axes.without(&axis.into()).iter().chain(over.iter()).collect();
    let shape = at.frame.shape(&walked)?;
    let layout = Layout::new(at.axes, at.shape);
    let stride = layout.stride(axis);
    let strides =
        [layout.strides(walked.iter()), updates.strides(walked.iter()), index.strides(walked.iter())];
    let [to, from, by] = &strides;
    let elements = at.shape.iter().product();
    Ok(match &updates.tensor.data {
        Data::Float(v) => {
            let mut out = vec![S::zero(); elements];
            walk(&shape, [to, from, by], |[to, from, i]| {
                let place = &mut out[to + places[i] * stride];
                *place = *place + v[from];
            });
            Data::Float(out)
        }
        Data::Integer(v) => {
            let mut out = vec![0; elements];
            walk(&shape, [to, from, by], |[to, from, i]| {
                let place = &mut out[to + places[i] * stride];
                *place = wrapped(*place + v[from], at.dtype);
            });
            Data::Integer(out)
        }
        Data::Bool(_) => mistyped("numbers"),
    })
}
