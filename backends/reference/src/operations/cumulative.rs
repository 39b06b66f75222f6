//! Running results along an axis, the current element included.

use super::{At, Operand, mistyped};
use crate::geometry::walk;
use crate::tensor::wrapped;
use crate::{Data, Scalar};
use carousel_ir::{Axis, Direction};

pub(super) fn run<S: Scalar>(
    at: At<'_>,
    axis: Axis,
    direction: Direction,
    x: &Operand<'_, S>,
    float: fn(S, S) -> S,
    integer: fn(i64, i64) -> i64,
) -> Data<S> {
    let (layout, others) = (x.layout(), x.axes.without(&axis.into()));
    let lines = Lines {
        others: others.iter().map(|a| x.size(a)).collect(),
        strides: layout.strides(others.iter()),
        length: x.size(axis),
        stride: layout.stride(axis),
        direction,
    };
    match &x.tensor.data {
        Data::Float(v) => Data::Float(lines.run(v, float)),
        Data::Integer(v) => Data::Integer(lines.run(v, |a, b| wrapped(integer(a, b), at.dtype))),
        Data::Bool(_) => mistyped("numbers"),
    }
}

/// Lines along an axis; a result has the layout of its operand.
struct Lines {
    others: Vec<usize>,
    strides: Vec<usize>,
    length: usize,
    stride: usize,
    direction: Direction,
}

impl Lines {
    fn run<T: Copy>(&self, from: &[T], step: impl Fn(T, T) -> T) -> Vec<T> {
        let mut out = from.to_vec();
        walk(&self.others, [&self.strides], |[base]| {
            let place = |t: usize| match self.direction {
                Direction::Forward => base + t * self.stride,
                Direction::Reverse => base + (self.length - 1 - t) * self.stride,
            };
            for t in 1..self.length {
                out[place(t)] = step(out[place(t - 1)], out[place(t)]);
            }
        });
        out
    }
}
