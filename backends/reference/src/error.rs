//! What can go wrong when a verified function meets data.

use carousel_ir::{Axis, DType, Name, Span};
use thiserror::Error;

/// Why an evaluation stopped. A module that does not pass [`carousel_ir::verify`] is outside this contract.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum EvalError {
    /// Too few or too many inputs.
    #[error("`{function}` takes {wanted} inputs, not {found}")]
    InputCount {
        /// The function.
        function: Name,
        /// How many it takes.
        wanted: usize,
        /// How many came.
        found: usize,
    },
    /// An input of another kind of elements.
    #[error("input `{input}` is {wanted}: these elements are of another kind or out of range")]
    InputDType {
        /// The input.
        input: Name,
        /// Its dtype.
        wanted: DType,
    },
    /// An input with another number of axes, or whose elements do not fill its shape.
    #[error("input `{input}` has the axes [{axes}]: a shape {shape:?} with {elements} elements does not fit")]
    InputShape {
        /// The input.
        input: Name,
        /// Its axes in the declared order.
        axes: String,
        /// The shape that came.
        shape: Vec<usize>,
        /// The number of elements that came.
        elements: usize,
    },
    /// An axis with another size than it must have.
    #[error("axis `{axis}` of input `{input}` has size {found}, but it must be {wanted}")]
    AxisSize {
        /// The input.
        input: Name,
        /// The axis.
        axis: Axis,
        /// The size that it must have.
        wanted: u64,
        /// The size that came.
        found: u64,
    },
    /// A size symbol that no input tells.
    #[error("axis `{axis}` has size {size}, and no input tells what that is")]
    UnknownSize {
        /// The axis.
        axis: Axis,
        /// Its size as an expression.
        size: String,
    },
    /// A tensor with more elements than can be counted.
    #[error("a tensor with the axes [{axes}] is too large")]
    TooLarge {
        /// Its axes.
        axes: String,
    },
    /// An index that is not an element of the axis.
    #[error("index {index} along axis `{axis}`, which has size {size}")]
    IndexOutOfRange {
        /// The axis.
        axis: Axis,
        /// The index.
        index: i64,
        /// The size of the axis.
        size: usize,
        /// The gather or scatter.
        span: Span,
    },
    /// Elements beyond the end of an axis.
    #[error("elements {start}..{end} of axis `{axis}`, which has size {size}")]
    RangeOutOfBounds {
        /// The axis.
        axis: Axis,
        /// The first element.
        start: u64,
        /// One past the last.
        end: u64,
        /// The size of the axis.
        size: u64,
        /// The slice or pad.
        span: Span,
    },
    /// An axis that does not have the size of its parts.
    #[error("axis `{axis}` has size {size}, its parts have {parts} elements")]
    UnequalParts {
        /// The axis.
        axis: Axis,
        /// Its size.
        size: usize,
        /// The number of elements of its parts.
        parts: usize,
        /// The split, merge or rename.
        span: Span,
    },
    /// An integer divided by 0.
    #[error("an integer is divided by 0")]
    DivisionByZero {
        /// The division.
        span: Span,
    },
}

impl EvalError {
    /// Where in the source, if it is one operation that failed.
    pub fn span(&self) -> Span {
        match self {
            EvalError::IndexOutOfRange { span, .. }
            | EvalError::RangeOutOfBounds { span, .. }
            | EvalError::UnequalParts { span, .. }
            | EvalError::DivisionByZero { span } => *span,
            EvalError::InputCount { .. }
            | EvalError::InputDType { .. }
            | EvalError::InputShape { .. }
            | EvalError::AxisSize { .. }
            | EvalError::UnknownSize { .. }
            | EvalError::TooLarge { .. } => Span::default(),
        }
    }
}
