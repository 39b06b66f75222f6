//! The op table: every operation of the IR, once, with its mnemonic, arity, class and domain.
//!
//! From the table come [`Op`], the fieldless [`OpKind`] with `ALL`, and the packing of attributes that the printer,
//! the parser and the e-graph use. To add an operation: one row here, then one arm in each exhaustive `match`
//! (inference, reference evaluation, VJP, lowering), which the compiler demands.

use std::hash::{Hash, Hasher};

use crate::{
    Attribute, Attributes, Axes, Axis, DType, Direction, Edge, FunctionId, Name, Number, Read, Scan, Size,
};

/// How many operands an operation takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arity {
    /// Exactly that many.
    Exactly(usize),
    /// Any number; inference knows.
    Any,
}

/// What kind of operation it is; later stages treat the members of a class alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// No operands, or none that carry data.
    Leaf,
    /// Element by element; operands broadcast by name over the union of their axes.
    Elementwise,
    /// Removes axes.
    Reduce,
    /// Runs along an axis and keeps it.
    Cumulative,
    /// Moves elements, computes nothing.
    View,
    /// Addresses elements by data.
    Indexed,
    /// Loops, calls and their results.
    Control,
}

/// Where a floating-point operation is defined and smooth enough to be checked by finite differences.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Domain {
    /// Every number.
    Any,
    /// Numbers above 0.
    Positive,
    /// Numbers other than 0.
    NonZero,
    /// Numbers above -1.
    AboveMinusOne,
}

macro_rules! ops {
    ($( $(#[doc = $doc:literal])+ $name:ident $({ $($(#[doc = $fdoc:literal])+ $field:ident : $fty:ty),+ $(,)? })?
        = $mnemonic:literal / $arity:tt, $class:ident, $domain:ident; )+) => {
        /// An operation with its attributes.
        #[derive(Clone, Debug)]
        pub enum Op {
            $( $(#[doc = $doc])+ $name $({ $($(#[doc = $fdoc])+ $field: $fty),+ })?, )+
        }

        /// An operation without its attributes.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum OpKind {
            $( $(#[doc = $doc])+ $name, )+
        }

        impl OpKind {
            /// Every operation.
            pub const ALL: &'static [OpKind] = &[$(OpKind::$name),+];

            /// The name in the text form.
            pub fn mnemonic(self) -> &'static str {
                match self { $(OpKind::$name => $mnemonic),+ }
            }

            /// How many operands.
            pub fn arity(self) -> Arity {
                match self { $(OpKind::$name => ops!(@arity $arity)),+ }
            }

            /// The class.
            pub fn class(self) -> Class {
                match self { $(OpKind::$name => Class::$class),+ }
            }

            /// Where its floating-point operands may lie.
            pub fn domain(self) -> Domain {
                match self { $(OpKind::$name => Domain::$domain),+ }
            }

            /// One line about it.
            pub fn doc(self) -> &'static str {
                match self { $(OpKind::$name => concat!($($doc),+).trim_ascii()),+ }
            }

            /// The operation of this kind with `attributes`, in the order of its fields; `None` if they do not fit.
            pub fn with_attributes(self, attributes: &[Attribute]) -> Option<Op> {
                let mut rest = attributes.iter();
                let op = match self {
                    $( OpKind::$name => Op::$name $({ $($field: <$fty as Attributes>::unpack(rest.next()?)?),+ })?, )+
                };
                rest.next().is_none().then_some(op)
            }
        }

        impl Op {
            /// The operation without its attributes.
            pub fn kind(&self) -> OpKind {
                match self { $( Op::$name $({ $($field: _),+ })? => OpKind::$name, )+ }
            }

            /// The attributes in the order of the fields.
            pub fn attributes(&self) -> Vec<Attribute> {
                match self { $( Op::$name $({ $($field),+ })? => vec![$($(Attributes::pack($field)),+)?], )+ }
            }
        }
    };
    (@arity any) => { Arity::Any };
    (@arity $n:literal) => { Arity::Exactly($n) };
}

#[rustfmt::skip]
ops! {
    // ---- leaves ----
    /// The graph's input number `index`.
    Input { /** Place among the inputs. */ index: u32 } = "input" / 0, Leaf, Any;
    /// A scalar constant.
    Const { /** The number. */ value: Number, /** Its dtype. */ dtype: DType } = "const" / 0, Leaf, Any;
    /// The size of an axis, as a scalar of the given dtype.
    SizeOf { /** The axis. */ axis: Axis, /** dtype of the result. */ dtype: DType } = "size" / 0, Leaf, Any;
    /// The index along an axis: i32\[axis\].
    Iota { /** The axis. */ axis: Axis } = "iota" / 0, Leaf, Any;

    // ---- elementwise, one operand ----
    /// `-x`.
    Neg = "neg" / 1, Elementwise, Any;
    /// Absolute value; the derivative at 0 is 0.
    Abs = "abs" / 1, Elementwise, NonZero;
    /// -1, 0 or 1; NaN stays NaN; the derivative is 0.
    Sign = "sign" / 1, Elementwise, NonZero;
    /// The largest whole number that is not above x; the derivative is 0.
    Floor = "floor" / 1, Elementwise, Any;
    /// The smallest whole number that is not below x; the derivative is 0.
    Ceil = "ceil" / 1, Elementwise, Any;
    /// Exponential.
    Exp = "exp" / 1, Elementwise, Any;
    /// Natural logarithm.
    Log = "log" / 1, Elementwise, Positive;
    /// `log(1 + x)`, accurate near 0.
    Log1p = "log1p" / 1, Elementwise, AboveMinusOne;
    /// Square root.
    Sqrt = "sqrt" / 1, Elementwise, Positive;
    /// Hyperbolic tangent.
    Tanh = "tanh" / 1, Elementwise, Any;
    /// Logistic function `1 / (1 + exp(-x))`.
    Sigmoid = "sigmoid" / 1, Elementwise, Any;
    /// `log(sigmoid(x)) = min(x, 0) - log1p(exp(-|x|))`.
    Logsigmoid = "logsigmoid" / 1, Elementwise, Any;
    /// Error function.
    Erf = "erf" / 1, Elementwise, Any;
    /// Logical negation.
    Not = "not" / 1, Elementwise, Any;
    /// Another dtype; floats go to integers by truncation, truth values to 0 and 1.
    Cast { /** The new dtype. */ dtype: DType } = "cast" / 1, Elementwise, Any;
    /// The same value, through which no gradient flows.
    Detach = "detach" / 1, Elementwise, Any;

    // ---- elementwise, two and three operands ----
    /// `a + b`.
    Add = "add" / 2, Elementwise, Any;
    /// `a - b`.
    Sub = "sub" / 2, Elementwise, Any;
    /// `a * b`.
    Mul = "mul" / 2, Elementwise, Any;
    /// `a / b`.
    Div = "div" / 2, Elementwise, NonZero;
    /// The smaller; NaN wins; a tie splits the gradient in half.
    Min = "min" / 2, Elementwise, Any;
    /// The larger; NaN wins; a tie splits the gradient in half.
    Max = "max" / 2, Elementwise, Any;
    /// `a == b`.
    Eq = "eq" / 2, Elementwise, Any;
    /// `a != b`.
    Ne = "ne" / 2, Elementwise, Any;
    /// `a < b`.
    Lt = "lt" / 2, Elementwise, Any;
    /// `a <= b`.
    Le = "le" / 2, Elementwise, Any;
    /// Both.
    And = "and" / 2, Elementwise, Any;
    /// At least one.
    Or = "or" / 2, Elementwise, Any;
    /// `condition ? a : b`.
    Select = "select" / 3, Elementwise, Any;

    // ---- reductions ----
    /// Sum over axes.
    Sum { /** The axes that vanish. */ axes: Axes } = "sum" / 1, Reduce, Any;
    /// Maximum over axes; NaN wins; a tie shares the gradient equally.
    ReduceMax { /** The axes that vanish. */ axes: Axes } = "rmax" / 1, Reduce, Any;
    /// Contraction: the sum over axes of the product of two tensors.
    Dot { /** The axes that vanish. */ axes: Axes } = "dot" / 2, Reduce, Any;

    // ---- cumulative ----
    /// Running sum along an axis, the current element included.
    CumSum { /** Along which. */ axis: Axis, /** From which end. */ direction: Direction } = "cumsum" / 1, Cumulative, Any;
    /// Running maximum along an axis, the current element included.
    CumMax { /** Along which. */ axis: Axis, /** From which end. */ direction: Direction } = "cummax" / 1, Cumulative, Any;

    // ---- views ----
    /// The same elements with one axis under another name.
    Rename { /** Old name. */ from: Axis, /** New name, of the same size. */ to: Axis } = "rename" / 1, View, Any;
    /// One axis as several, the last one fastest.
    Split { /** The axis that goes. */ axis: Axis, /** What it becomes. */ into: Axes } = "split" / 1, View, Any;
    /// Several axes as one, the last one fastest.
    Merge { /** The axes that go, in order. */ axes: Axes, /** What they become. */ into: Axis } = "merge" / 1, View, Any;
    /// Repetition along new axes.
    Broadcast { /** The new axes. */ axes: Axes } = "broadcast" / 1, View, Any;
    /// `size(to)` elements of `axis`, from `start` on, under the name `to`.
    Slice { /** The axis that goes. */ axis: Axis, /** What remains of it. */ to: Axis, /** First element. */ start: Size } = "slice" / 1, View, Any;
    /// Zeros around the elements of `axis`: `before` of them first, then up to `size(to)`.
    Pad { /** The axis that goes. */ axis: Axis, /** The longer one. */ to: Axis, /** Zeros in front. */ before: Size } = "pad" / 1, View, Any;
    /// Operands one after the other: operand number i along its `axes[i]`, the result along `to`.
    Concat { /** One axis per operand. */ axes: Vec<Axis>, /** The axis of the result. */ to: Axis } = "concat" / any, View, Any;
    /// Delay along an axis: `y_t = x_{t-by}`, 0 where there is none; `by` may be negative.
    Shift { /** Along which. */ axis: Axis, /** How far. */ by: i64 } = "shift" / 1, View, Any;

    // ---- addressed by data ----
    /// `table[axis = index]`: rows of a table. Axes: the table's without `axis`, and the index's.
    Gather { /** The axis of the table that is addressed. */ axis: Axis } = "gather" / 2, Indexed, Any;
    /// Adds updates into a zero table at `axis = index`, summed over the axes `over`, in ascending order.
    ScatterAdd { /** The axis of the result that is addressed. */ axis: Axis, /** Axes of the index that vanish. */ over: Axes } = "scatter_add" / 2, Indexed, Any;

    // ---- random numbers ----
    /// Uniform f32 in \[0, 1): element i (row-major) is [`crate::philox::uniform`] of seed, stream, step and i.
    Uniform { /** Which stream. */ stream: Name, /** Axes of the result. */ axes: Axes } = "uniform" / 2, Leaf, Any;
    /// A new u32 seed from a seed and a number, for one of several calls.
    FoldIn { /** The number. */ number: u32 } = "fold_in" / 1, Leaf, Any;

    // ---- linear scans ----
    /// `S = e^l S + x w` along an axis, read as `sum(q S)` over the key axes. Operands: q, x, w, l, cut, and the
    /// initial state; results: what was read, and the final state. A step whose cut is true forgets the state.
    LinRead { /** Along which. */ axis: Axis, /** From which end. */ direction: Direction, /** Where a step's edge lies. */ edge: Edge, /** What a step reads. */ read: Read, /** Axes of the state that reading contracts. */ key: Axes } = "linread" / 6, Control, Any;
    /// The derivative of `linread` by l. Operands: those of `linread`, then the cotangents of its results.
    LinReadDecay { /** Along which. */ axis: Axis, /** From which end. */ direction: Direction, /** Where a step's edge lies. */ edge: Edge, /** What a step reads. */ read: Read, /** Axes of the state that reading contracts. */ key: Axes } = "linread_decay" / 8, Cumulative, Any;
    /// Solves `r = z + sum(a S)` over the key axes, where `S = e^l S + sum(b r)` over the rank axes along an axis: what a
    /// memory reads of itself. A step reads before it decays and writes; S starts at 0. Operands: a, b, z, l, cut.
    LinSolve { /** Along which. */ axis: Axis, /** From which end. */ direction: Direction, /** Where a step's edge lies. */ edge: Edge, /** Axes of the state that reading contracts. */ key: Axes, /** Axes of r that writing contracts. */ rank: Axes } = "linsolve" / 5, Cumulative, Any;

    // ---- control ----
    /// A loop along an axis, with carried states. Results: final states, then stacked yields.
    Scan { /** Axis, direction and body. */ scan: Box<Scan> } = "scan" / any, Control, Any;
    /// A call of another function of the module. Results: its outputs.
    Call { /** Which function. */ function: FunctionId } = "call" / any, Control, Any;
    /// One of the results of a scan, a linear scan or a call.
    Proj { /** Which. */ index: u32 } = "proj" / 1, Control, Any;
}

// Not derived: axes are equal as sets elsewhere, but their order is the meaning of a split, a merge or a stream.
impl PartialEq for Op {
    fn eq(&self, other: &Op) -> bool {
        match (self, other) {
            (Op::Scan { scan: a }, Op::Scan { scan: b }) => a == b,
            (a, b) => a.kind() == b.kind() && a.attributes() == b.attributes(),
        }
    }
}

impl Eq for Op {}

impl Hash for Op {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind().hash(state);
        if let Op::Scan { scan } = self { scan.hash(state) } else { self.attributes().hash(state) }
    }
}

impl std::fmt::Display for OpKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.mnemonic())
    }
}

impl OpKind {
    /// The operation with that mnemonic.
    pub fn parse(mnemonic: &str) -> Option<OpKind> {
        OpKind::ALL.iter().copied().find(|k| k.mnemonic() == mnemonic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mnemonics_are_distinct_and_found() {
        for &kind in OpKind::ALL {
            assert_eq!(OpKind::parse(kind.mnemonic()), Some(kind));
            assert!(!kind.doc().is_empty());
        }
    }

    #[test]
    fn the_order_of_split_axes_counts() {
        let split =
            |axes: [&str; 2]| Op::Split { axis: "s".into(), into: axes.map(Axis::new).into_iter().collect() };
        assert_eq!(split(["a", "b"]), split(["a", "b"]));
        assert_ne!(split(["a", "b"]), split(["b", "a"]));
    }

    #[test]
    fn attributes_round_trip() {
        let op = Op::Slice { axis: "s".into(), to: "t".into(), start: Size::Known(2) };
        assert_eq!(op.kind().with_attributes(&op.attributes()), Some(op));
        assert_eq!(OpKind::Exp.with_attributes(&[Attribute::Axis("s".into())]), None);
    }
}
