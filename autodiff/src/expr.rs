//! Expressions over a graph under construction, so that a derivative reads like its formula: `g * y * (-x).sigmoid()`.
//!
//! Invariant: an expression is a value of the tape it was made on. A cotangent may be *narrow*: it may lack axes of
//! the value that it belongs to, along which it is constant. [`Expr::onto`] and [`product_onto`] are the only places
//! that know what reducing a narrow cotangent means.

use carousel_ir::{Axes, Axis, Builder, DType, Direction, Op, Size, ValueId};
use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// The graph under construction.
pub(crate) type Tape<'m> = RefCell<Builder<'m>>;

/// A value of a tape.
#[derive(Clone, Copy)]
pub(crate) struct Expr<'t, 'm> {
    tape: &'t Tape<'m>,
    /// Which.
    pub(crate) value: ValueId,
}

impl<'t, 'm> Expr<'t, 'm> {
    pub(crate) fn new(tape: &'t Tape<'m>, value: ValueId) -> Expr<'t, 'm> {
        Expr { tape, value }
    }

    /// A scalar constant of the dtype of `self`.
    pub(crate) fn constant(self, number: f64) -> Expr<'t, 'm> {
        let dtype = self.dtype();
        self.make(|b| b.constant(number, dtype))
    }

    pub(crate) fn make(self, make: impl FnOnce(&mut Builder<'m>) -> ValueId) -> Expr<'t, 'm> {
        Expr { value: make(&mut self.tape.borrow_mut()), ..self }
    }

    pub(crate) fn dtype(self) -> DType {
        self.tape.borrow().ty(self.value).dtype
    }

    pub(crate) fn axes(self) -> Axes {
        self.tape.borrow().ty(self.value).axes.clone()
    }

    pub(crate) fn is_constant(self) -> bool {
        matches!(self.tape.borrow().graph()[self.value].op, Op::Const { .. })
    }

    pub(crate) fn has(self, axis: Axis) -> bool {
        self.tape.borrow().ty(self.value).axes.contains(axis)
    }

    fn unary(self, op: Op) -> Expr<'t, 'm> {
        self.make(|b| b.push(op, &[self.value]))
    }

    fn binary(self, op: Op, other: Expr<'t, 'm>) -> Expr<'t, 'm> {
        self.make(|b| b.push(op, &[self.value, other.value]))
    }

    /// With all of `axes`, repeated along those that it lacks.
    pub(crate) fn full(self, axes: &Axes) -> Expr<'t, 'm> {
        self.make(|b| b.broadcast(self.value, axes))
    }

    pub(crate) fn sum(self, axes: Axes) -> Expr<'t, 'm> {
        self.make(|b| b.sum(self.value, axes))
    }

    pub(crate) fn cast(self, dtype: DType) -> Expr<'t, 'm> {
        self.make(|b| b.cast(self.value, dtype))
    }

    pub(crate) fn select(self, yes: Expr<'t, 'm>, no: Expr<'t, 'm>) -> Expr<'t, 'm> {
        self.make(|b| b.select(self.value, yes.value, no.value))
    }

    pub(crate) fn rename(self, from: Axis, to: Axis) -> Expr<'t, 'm> {
        self.make(|b| b.rename(self.value, from, to))
    }

    pub(crate) fn split(self, axis: Axis, into: Axes) -> Expr<'t, 'm> {
        self.make(|b| b.split(self.value, axis, into))
    }

    pub(crate) fn merge(self, axes: Axes, into: Axis) -> Expr<'t, 'm> {
        self.make(|b| b.merge(self.value, axes, into))
    }

    pub(crate) fn slice(self, axis: Axis, to: Axis, start: Size) -> Expr<'t, 'm> {
        self.make(|b| b.slice(self.value, axis, to, start))
    }

    pub(crate) fn pad(self, axis: Axis, to: Axis, before: Size) -> Expr<'t, 'm> {
        self.make(|b| b.pad(self.value, axis, to, before))
    }

    pub(crate) fn shift(self, axis: Axis, by: i64) -> Expr<'t, 'm> {
        self.make(|b| b.shift(self.value, axis, by))
    }

    pub(crate) fn cumsum(self, axis: Axis, direction: Direction) -> Expr<'t, 'm> {
        self.make(|b| b.cumsum(self.value, axis, direction))
    }

    pub(crate) fn gather(self, axis: Axis, index: Expr<'t, 'm>) -> Expr<'t, 'm> {
        self.make(|b| b.gather(self.value, axis, index.value))
    }

    pub(crate) fn scatter_add(self, index: Expr<'t, 'm>, axis: Axis, over: Axes) -> Expr<'t, 'm> {
        self.make(|b| b.scatter_add(self.value, index.value, axis, over))
    }

    /// The index along `axis`.
    pub(crate) fn iota(self, axis: Axis) -> Expr<'t, 'm> {
        self.make(|b| b.iota(axis))
    }

    /// The size of `axis` in the dtype of `self`.
    pub(crate) fn size(self, axis: Axis) -> Expr<'t, 'm> {
        let dtype = self.dtype();
        self.make(|b| b.size_of(axis, dtype))
    }

    /// The contribution `self` to the cotangent of a value with axes `full`, reduced to an operand that has only
    /// `target` of them and was repeated along the others.
    pub(crate) fn onto(self, full: &Axes, target: &Axes) -> Expr<'t, 'm> {
        let repeated = full.without(target);
        let own = self.axes();
        // Along an axis that the cotangent lacks it is constant: the sum is a multiple.
        let missing = repeated.without(&own);
        missing.iter().fold(self.sum(own.intersection(&repeated)), |sum, axis| sum * sum.size(axis))
    }
}

/// The contribution `a * b`, reduced like [`Expr::onto`], but never made in full where it is to be summed.
pub(crate) fn product_onto<'t, 'm>(
    a: Expr<'t, 'm>,
    b: Expr<'t, 'm>,
    full: &Axes,
    target: &Axes,
) -> Expr<'t, 'm> {
    let repeated = full.without(target);
    let (of_a, of_b) = (a.axes().intersection(&repeated), b.axes().intersection(&repeated));
    let shared = of_a.intersection(&of_b);
    // An axis of one factor only is summed before the product.
    let (a, b) = (a.sum(of_a.without(&shared)), b.sum(of_b.without(&shared)));
    let product = a.make(|t| t.dot(a.value, b.value, shared));
    repeated.without(&of_a).without(&of_b).iter().fold(product, |p, axis| p * p.size(axis))
}

macro_rules! unary {
    ($($method:ident => $op:ident),+ $(,)?) => {
        impl<'t, 'm> Expr<'t, 'm> { $( pub(crate) fn $method(self) -> Expr<'t, 'm> { self.unary(Op::$op) } )+ }
    };
}

macro_rules! binary {
    ($($method:ident => $op:ident),+ $(,)?) => {
        impl<'t, 'm> Expr<'t, 'm> {
            $( pub(crate) fn $method(self, other: Expr<'t, 'm>) -> Expr<'t, 'm> { self.binary(Op::$op, other) } )+
        }
    };
}

macro_rules! operators {
    ($($operator:ident $method:ident $op:ident),+ $(,)?) => { $(
        impl<'t, 'm> $operator for Expr<'t, 'm> {
            type Output = Expr<'t, 'm>;

            fn $method(self, other: Expr<'t, 'm>) -> Expr<'t, 'm> {
                self.binary(Op::$op, other)
            }
        }

        impl<'t, 'm> $operator<f64> for Expr<'t, 'm> {
            type Output = Expr<'t, 'm>;

            fn $method(self, other: f64) -> Expr<'t, 'm> {
                self.binary(Op::$op, self.constant(other))
            }
        }

        impl<'t, 'm> $operator<Expr<'t, 'm>> for f64 {
            type Output = Expr<'t, 'm>;

            fn $method(self, other: Expr<'t, 'm>) -> Expr<'t, 'm> {
                other.constant(self).binary(Op::$op, other)
            }
        }
    )+ };
}

unary!(sign => Sign, exp => Exp, sigmoid => Sigmoid);
binary!(eq => Eq, lt => Lt);
operators!(Add add Add, Sub sub Sub, Mul mul Mul, Div div Div);

impl<'t, 'm> Neg for Expr<'t, 'm> {
    type Output = Expr<'t, 'm>;

    fn neg(self) -> Expr<'t, 'm> {
        self.unary(Op::Neg)
    }
}
