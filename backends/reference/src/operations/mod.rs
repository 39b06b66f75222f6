//! The meaning of every operation that is no loop and no call, on row-major tensors: one row an operation.
//!
//! Invariant: the result's elements are in the order of the node's type. Checked by the caller: dtypes and axes, by
//! the verifier. Checked here: what only data or sizes can tell.

mod cumulative;
mod elementwise;
mod indexed;
mod leaf;
mod reduce;
mod view;

use crate::frame::Frame;
use crate::geometry::{Layout, gather_strided};
use crate::tensor::{integer_range, map_data};
use crate::{Data, EvalError, Scalar, Tensor};
use carousel_ir::{Axes, Axis, DType, Node, Op, ValueId};

/// An operand with the names of its axes.
pub(crate) struct Operand<'a, S> {
    pub(crate) axes: &'a Axes,
    pub(crate) tensor: &'a Tensor<S>,
}

/// The node that is computed.
#[derive(Clone, Copy)]
struct At<'a> {
    frame: &'a Frame<'a>,
    node: &'a Node,
    /// Axes of the result, and their sizes.
    axes: &'a Axes,
    shape: &'a [usize],
    dtype: DType,
}

/// The result of a node with one result, `value` of the frame's graph. A sum comes with two operands if it is to
/// compute their product itself.
pub(crate) fn evaluate<S: Scalar>(
    frame: &Frame<'_>,
    value: ValueId,
    operands: &[Operand<'_, S>],
) -> Result<Tensor<S>, EvalError> {
    let node = &frame.graph[value];
    let shape = frame.shapes[value.index()][0].as_slice();
    let at = At { frame, node, axes: &node.ty().axes, shape, dtype: node.ty().dtype };
    let data = compute(at, operands)?;
    Ok(Tensor { shape: shape.to_vec(), data: rounded(data, at.dtype) })
}

#[rustfmt::skip]
fn compute<S: Scalar>(at: At<'_>, x: &[Operand<'_, S>]) -> Result<Data<S>, EvalError> {
    use elementwise::{arithmetic, cast, choose, compare, divide, float, logical, not, numeric};
    use std::cmp::Ordering::{Equal, Greater, Less};
    let lowest = integer_range(at.dtype).map_or(0, |r| *r.start());
    Ok(match &at.node.op {
        Op::Const { value, dtype }      => leaf::number(value.get(), *dtype),
        Op::SizeOf { axis, dtype }      => leaf::number(at.frame.size(*axis)? as f64, *dtype),
        Op::Iota { axis: _ }            => leaf::iota(at),
        Op::Uniform { stream, axes: _ } => leaf::uniform(at, *stream, &x[0], &x[1]),
        Op::FoldIn { number }           => leaf::fold_in(*number, &x[0]),

        Op::Neg        => numeric(at, &x[0], |x| -x, |x| -x),
        Op::Abs        => numeric(at, &x[0], S::abs, i64::abs),
        Op::Sign       => numeric(at, &x[0], S::sign, i64::signum),
        Op::Floor      => float(&x[0], S::floor),
        Op::Ceil       => float(&x[0], S::ceil),
        Op::Exp        => float(&x[0], S::exp),
        Op::Log        => float(&x[0], S::log),
        Op::Log1p      => float(&x[0], S::log1p),
        Op::Sqrt       => float(&x[0], S::sqrt),
        Op::Tanh       => float(&x[0], S::tanh),
        Op::Sigmoid    => float(&x[0], S::sigmoid),
        Op::Logsigmoid => float(&x[0], S::logsigmoid),
        Op::Erf        => float(&x[0], S::erf),
        Op::Not        => not(&x[0]),
        Op::Cast { dtype } => cast(&x[0].tensor.data, *dtype),
        Op::Detach     => x[0].tensor.data.clone(),

        Op::Add    => arithmetic(at, &x[0], &x[1], |a, b| a + b, i64::wrapping_add),
        Op::Sub    => arithmetic(at, &x[0], &x[1], |a, b| a - b, i64::wrapping_sub),
        Op::Mul    => arithmetic(at, &x[0], &x[1], |a, b| a * b, i64::wrapping_mul),
        Op::Div    => divide(at, &x[0], &x[1])?,
        Op::Min    => arithmetic(at, &x[0], &x[1], S::minimum, i64::min),
        Op::Max    => arithmetic(at, &x[0], &x[1], S::maximum, i64::max),
        Op::Eq     => compare(at, &x[0], &x[1], |order| order == Some(Equal)),
        Op::Ne     => compare(at, &x[0], &x[1], |order| order != Some(Equal)),
        Op::Lt     => compare(at, &x[0], &x[1], |order| order == Some(Less)),
        Op::Le     => compare(at, &x[0], &x[1], |order| !matches!(order, None | Some(Greater))),
        Op::And    => logical(at, &x[0], &x[1], |a, b| a && b),
        Op::Or     => logical(at, &x[0], &x[1], |a, b| a || b),
        Op::Select => choose(at, &x[0], &x[1], &x[2]),

        Op::Sum { axes } if x.len() == 2 => reduce::dot(at, axes, &x[0], &x[1])?,
        Op::Sum { axes }       => reduce::reduce(at, axes, &x[0], (S::zero(), |a, b| a + b), (0, |a, b| a + b))?,
        Op::ReduceMax { axes } => reduce::reduce(at, axes, &x[0], (S::from_f64(f64::NEG_INFINITY), S::maximum), (lowest, i64::max))?,
        Op::Dot { axes }       => reduce::dot(at, axes, &x[0], &x[1])?,

        Op::CumSum { axis, direction } => cumulative::run(at, *axis, *direction, &x[0], |a, b| a + b, |a, b| a + b),
        Op::CumMax { axis, direction } => cumulative::run(at, *axis, *direction, &x[0], S::maximum, i64::max),

        // The parts of a split stand where the whole stood, the last one fastest: no element moves.
        Op::Rename { from, to }           => view::regrouped(at, *to, &(*from).into(), x[0].tensor)?,
        Op::Split { axis, into }          => view::regrouped(at, *axis, into, x[0].tensor)?,
        Op::Merge { axes, into }          => view::merge(at, axes, *into, &x[0])?,
        Op::Broadcast { axes: _ }         => x[0].arranged(at.axes, at.shape),
        Op::Slice { axis, to, start }     => view::slice(at, *axis, *to, start, &x[0])?,
        Op::Pad { axis, to, before }      => view::pad(at, *axis, *to, before, &x[0])?,
        Op::Concat { axes, to }           => view::concat(at, axes, *to, x),
        Op::Shift { axis, by }            => view::shift(at, *axis, *by, &x[0]),

        Op::Gather { axis }               => indexed::gather(at, *axis, &x[0], &x[1])?,
        Op::ScatterAdd { axis, over }     => indexed::scatter_add(at, *axis, over, &x[0], &x[1])?,

        Op::LinRead { .. } | Op::LinReadDecay { .. } | Op::LinSolve { .. } | Op::Input { .. } | Op::Scan { .. } | Op::Call { .. } | Op::Proj { .. } => {
            panic!("`{}` is no operation on tensors", at.node.op.kind())
        }
    })
}

/// The precision of the dtype, where that is less than the scalar's by definition.
fn rounded<S: Scalar>(data: Data<S>, dtype: DType) -> Data<S> {
    match data {
        Data::Float(v) if dtype.is_half() => Data::Float(v.iter().map(|x| x.rounded_to(dtype)).collect()),
        Data::Float(_) | Data::Integer(_) | Data::Bool(_) => data,
    }
}

impl<S: Scalar> Operand<'_, S> {
    fn layout(&self) -> Layout {
        Layout::new(self.axes, &self.tensor.shape)
    }

    fn strides(&self, axes: impl IntoIterator<Item = Axis>) -> Vec<usize> {
        self.layout().strides(axes)
    }

    /// The size of an axis, 1 if it is not there.
    fn size(&self, axis: Axis) -> usize {
        self.axes.position(axis).map_or(1, |at| self.tensor.shape[at])
    }

    fn floats(&self) -> &[S] {
        if let Data::Float(v) = &self.tensor.data { v } else { mistyped("floats") }
    }

    fn integers(&self) -> &[i64] {
        if let Data::Integer(v) = &self.tensor.data { v } else { mistyped("integers") }
    }

    fn bools(&self) -> &[bool] {
        if let Data::Bool(v) = &self.tensor.data { v } else { mistyped("truth values") }
    }

    /// The elements in the order of `axes`, repeated along those that are new.
    fn arranged(&self, axes: &Axes, shape: &[usize]) -> Data<S> {
        if axes.same_order(self.axes) {
            return self.tensor.data.clone();
        }
        let strides = self.strides(axes.iter());
        map_data!(&self.tensor.data, v => gather_strided(v, 0, shape, &strides))
    }
}

/// A verified graph never comes here.
fn mistyped(wanted: &str) -> ! {
    panic!("an operand of a verified node is not of {wanted}")
}
