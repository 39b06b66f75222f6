//! Folds and contractions over axes. A contraction never makes the product as a tensor.

use super::{At, Operand, mistyped};
use crate::geometry::walk;
use crate::tensor::wrapped;
use crate::{Data, EvalError, Scalar};
use carousel_ir::Axes;

/// A start and a step.
type Fold<T> = (T, fn(T, T) -> T);

/// One operand folded over `axes`.
pub(super) fn reduce<S: Scalar>(
    at: At<'_>,
    axes: &Axes,
    x: &Operand<'_, S>,
    (start, step): Fold<S>,
    (integer_start, integer_step): Fold<i64>,
) -> Result<Data<S>, EvalError> {
    let inner = at.frame.shape(axes)?;
    let lines =
        Lines { at, inner, outer_strides: x.strides(at.axes.iter()), inner_strides: x.strides(axes.iter()) };
    Ok(match &x.tensor.data {
        Data::Float(v) => Data::Float(lines.fold(v, start, step)),
        Data::Integer(v) => {
            Data::Integer(lines.fold(v, integer_start, |a, b| wrapped(integer_step(a, b), at.dtype)))
        }
        Data::Bool(_) => mistyped("numbers"),
    })
}

struct Lines<'a> {
    at: At<'a>,
    inner: Vec<usize>,
    outer_strides: Vec<usize>,
    inner_strides: Vec<usize>,
}

impl Lines<'_> {
    fn fold<T: Copy>(&self, from: &[T], start: T, step: impl Fn(T, T) -> T) -> Vec<T> {
        let mut out = Vec::with_capacity(self.at.shape.iter().product());
        walk(self.at.shape, [&self.outer_strides], |[base]| {
            let mut result = start;
            walk(&self.inner, [&self.inner_strides], |[at]| result = step(result, from[base + at]));
            out.push(result);
        });
        out
    }
}

/// The sum over `axes` of `a * b`.
pub(super) fn dot<S: Scalar>(
    at: At<'_>,
    axes: &Axes,
    a: &Operand<'_, S>,
    b: &Operand<'_, S>,
) -> Result<Data<S>, EvalError> {
    let contraction = Contraction {
        at,
        inner: at.frame.shape(axes)?,
        outer_strides: [a, b].map(|o| o.strides(at.axes.iter())),
        inner_strides: [a, b].map(|o| o.strides(axes.iter())),
    };
    Ok(match &a.tensor.data {
        Data::Float(x) => Data::Float(contraction.compute(x, b.floats(), S::zero(), |sum, a, b| sum + a * b)),
        Data::Integer(x) => {
            let step = |sum: i64, a: i64, b| wrapped(sum.wrapping_add(a.wrapping_mul(b)), at.dtype);
            Data::Integer(contraction.compute(x, b.integers(), 0, step))
        }
        Data::Bool(_) => mistyped("numbers"),
    })
}

struct Contraction<'a> {
    at: At<'a>,
    inner: Vec<usize>,
    outer_strides: [Vec<usize>; 2],
    inner_strides: [Vec<usize>; 2],
}

impl Contraction<'_> {
    fn compute<T: Copy>(&self, x: &[T], y: &[T], zero: T, step: impl Fn(T, T, T) -> T) -> Vec<T> {
        let mut out = Vec::with_capacity(self.at.shape.iter().product());
        let ([outer_a, outer_b], [inner_a, inner_b]) = (&self.outer_strides, &self.inner_strides);
        walk(self.at.shape, [outer_a, outer_b], |[base_a, base_b]| {
            let mut sum = zero;
            walk(&self.inner, [inner_a, inner_b], |[a, b]| sum = step(sum, x[base_a + a], y[base_b + b]));
            out.push(sum);
        });
        out
    }
}
