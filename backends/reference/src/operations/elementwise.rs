//! Element by element, with broadcasting by name. One operand: the result has its axes in its order.

use super::{At, Operand, mistyped};
use crate::geometry::walk;
use crate::tensor::{integer_range, wrapped};
use crate::{Data, EvalError, Scalar};
use carousel_ir::{Axes, DType};
use std::cmp::Ordering;

pub(super) fn float<S: Scalar>(x: &Operand<'_, S>, f: fn(S) -> S) -> Data<S> {
    Data::Float(x.floats().iter().map(|&x| f(x)).collect())
}

pub(super) fn numeric<S: Scalar>(
    at: At<'_>,
    x: &Operand<'_, S>,
    f: fn(S) -> S,
    integer: fn(i64) -> i64,
) -> Data<S> {
    match &x.tensor.data {
        Data::Float(_) => float(x, f),
        Data::Integer(v) => Data::Integer(v.iter().map(|&x| wrapped(integer(x), at.dtype)).collect()),
        Data::Bool(_) => mistyped("numbers"),
    }
}

pub(super) fn not<S: Scalar>(x: &Operand<'_, S>) -> Data<S> {
    Data::Bool(x.bools().iter().map(|x| !x).collect())
}

pub(super) fn cast<S: Scalar>(from: &Data<S>, dtype: DType) -> Data<S> {
    let float = |x: i64| S::from_f64(x as f64);
    if dtype.is_float() {
        Data::Float(match from {
            Data::Float(v) => v.clone(),
            Data::Integer(v) => v.iter().map(|&x| float(x)).collect(),
            Data::Bool(v) => v.iter().map(|&x| float(i64::from(x))).collect(),
        })
    } else if let Some(range) = integer_range(dtype) {
        // Floats out of range saturate, NaN becomes 0.
        let truncated = |x: &S| (x.to_f64() as i64).clamp(*range.start(), *range.end());
        Data::Integer(match from {
            Data::Float(v) => v.iter().map(truncated).collect(),
            Data::Integer(v) => v.iter().map(|&x| wrapped(x, dtype)).collect(),
            Data::Bool(v) => v.iter().map(|&x| i64::from(x)).collect(),
        })
    } else {
        Data::Bool(match from {
            Data::Float(v) => v.iter().map(|&x| x != S::zero()).collect(),
            Data::Integer(v) => v.iter().map(|&x| x != 0).collect(),
            Data::Bool(v) => v.clone(),
        })
    }
}

pub(super) fn arithmetic<S: Scalar>(
    at: At<'_>,
    a: &Operand<'_, S>,
    b: &Operand<'_, S>,
    float: impl Fn(S, S) -> S,
    integer: impl Fn(i64, i64) -> i64,
) -> Data<S> {
    let walked = Walked::new(at, [a, b]);
    match &a.tensor.data {
        Data::Float(x) => Data::Float(walked.map(x, b.floats(), float)),
        Data::Integer(x) => {
            Data::Integer(walked.map(x, b.integers(), |a, b| wrapped(integer(a, b), at.dtype)))
        }
        Data::Bool(_) => mistyped("numbers"),
    }
}

/// Division; that of integers truncates.
pub(super) fn divide<S: Scalar>(
    at: At<'_>,
    a: &Operand<'_, S>,
    b: &Operand<'_, S>,
) -> Result<Data<S>, EvalError> {
    if let Data::Integer(divisors) = &b.tensor.data
        && divisors.contains(&0)
        && !at.shape.contains(&0)
    {
        return Err(EvalError::DivisionByZero { span: at.node.span });
    }
    Ok(arithmetic(at, a, b, |a, b| a / b, |a, b| a / b))
}

pub(super) fn compare<S: Scalar>(
    at: At<'_>,
    a: &Operand<'_, S>,
    b: &Operand<'_, S>,
    holds: fn(Option<Ordering>) -> bool,
) -> Data<S> {
    let walked = Walked::new(at, [a, b]);
    Data::Bool(match &a.tensor.data {
        Data::Float(x) => walked.map(x, b.floats(), |a, b| holds(a.partial_cmp(&b))),
        Data::Integer(x) => walked.map(x, b.integers(), |a, b| holds(a.partial_cmp(&b))),
        Data::Bool(x) => walked.map(x, b.bools(), |a, b| holds(a.partial_cmp(&b))),
    })
}

pub(super) fn logical<S: Scalar>(
    at: At<'_>,
    a: &Operand<'_, S>,
    b: &Operand<'_, S>,
    f: fn(bool, bool) -> bool,
) -> Data<S> {
    Data::Bool(Walked::new(at, [a, b]).map(a.bools(), b.bools(), f))
}

/// `condition ? a : b`.
pub(super) fn choose<S: Scalar>(
    at: At<'_>,
    condition: &Operand<'_, S>,
    a: &Operand<'_, S>,
    b: &Operand<'_, S>,
) -> Data<S> {
    let (walked, c) = (Walked::new(at, [condition, a, b]), condition.bools());
    match &a.tensor.data {
        Data::Float(x) => Data::Float(walked.choose(c, x, b.floats())),
        Data::Integer(x) => Data::Integer(walked.choose(c, x, b.integers())),
        Data::Bool(x) => Data::Bool(walked.choose(c, x, b.bools())),
    }
}

/// The walk over a result with the strides of N operands.
struct Walked<const N: usize> {
    shape: Vec<usize>,
    strides: [Vec<usize>; N],
}

impl<const N: usize> Walked<N> {
    fn new<S: Scalar>(at: At<'_>, operands: [&Operand<'_, S>; N]) -> Walked<N> {
        let simple = |axes: &Axes| axes.is_empty() || axes.same_order(at.axes);
        if operands.iter().all(|o| simple(o.axes)) {
            // Scalars and operands that are in order already need one loop only.
            let strides = operands.map(|o| vec![usize::from(!o.axes.is_empty())]);
            return Walked { shape: vec![at.shape.iter().product()], strides };
        }
        Walked { shape: at.shape.to_vec(), strides: operands.map(|o| o.strides(at.axes.iter())) }
    }

    fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Walked<2> {
    fn map<T: Copy, R>(&self, x: &[T], y: &[T], f: impl Fn(T, T) -> R) -> Vec<R> {
        let mut out = Vec::with_capacity(self.elements());
        walk(&self.shape, [&self.strides[0], &self.strides[1]], |[a, b]| out.push(f(x[a], y[b])));
        out
    }
}

impl Walked<3> {
    fn choose<T: Copy>(&self, condition: &[bool], x: &[T], y: &[T]) -> Vec<T> {
        let mut out = Vec::with_capacity(self.elements());
        let [c, a, b] = &self.strides;
        walk(&self.shape, [c, a, b], |[c, a, b]| out.push(if condition[c] { x[a] } else { y[b] }));
        out
    }
}
