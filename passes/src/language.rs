//! The language of the e-graph: the op table, with the attributes that rules may bind as leaf children.
//!
//! A term of an operation has its attributes first, then its operands; the line of a linear scan is one attribute.
//! Operations that no rule looks into (inputs, loops, calls, everything addressed by data) are opaque: numbered, with
//! operands only. Nothing here knows types; that is the analysis.

use carousel_ir::{Attribute, Axes, Axis, DType, Direction, Line, Number, Op, OpKind, Size};
use egg::Id;
use smallvec::SmallVec;

/// Children of a term.
pub(crate) type Children = SmallVec<[Id; 4]>;

/// A node of the e-graph.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Term {
    /// What it is.
    pub(crate) head: Head,
    /// Attributes, then operands.
    pub(crate) children: Children,
}

/// A term without its children.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Head {
    /// An operation of the table whose attributes are children.
    Op(OpKind),
    /// An operation that rules do not look into, by its number in the analysis.
    Opaque(u32),
    /// An operation that exists in e-graphs only.
    Virtual(Virtual),
    /// An attribute.
    Leaf(Leaf),
}

/// Operations of two operands that rules may speak of and that no graph contains.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Virtual {
    /// `(scaled ?a ?m)` is `a * exp(m)`, whose size no float need be able to hold.
    Scaled,
    /// `(gexp ?a ?m)` is `exp(a - m)` where `a` is never above `m`.
    Gexp,
}

impl Virtual {
    /// Both, with their names in rules.
    pub(crate) const ALL: [(&'static str, Virtual); 2] =
        [("scaled", Virtual::Scaled), ("gexp", Virtual::Gexp)];

    /// Its name in rules.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Virtual::Scaled => "scaled",
            Virtual::Gexp => "gexp",
        }
    }
}

/// An attribute that rules can bind.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Leaf {
    /// An axis.
    Axis(Axis),
    /// Several axes: sorted where they are a set, in order where the order means something.
    Axes(Vec<Axis>),
    /// A size.
    Size(Size),
    /// An integer.
    Integer(i64),
    /// A number.
    Number(Number),
    /// A dtype.
    DType(DType),
    /// A direction.
    Direction(Direction),
    /// The line of a linear scan.
    Line(Line),
}

/// The attributes of an operation as leaves; `None` if rules do not look into it.
pub(crate) fn leaves(op: &Op) -> Option<Vec<Leaf>> {
    let kind = op.kind();
    attribute_count(kind)?;
    if let (Some(line), Op::LinRead { key, .. } | Op::LinReadDecay { key, .. }) = (Line::of(op), op) {
        return Some(vec![Leaf::Line(line), Leaf::Axes(key.iter().collect()).for_kind(kind)]);
    }
    if let (Some(line), Op::LinSolve { key, rank, .. }) = (Line::of(op), op) {
        let axes = |axes: &Axes| Leaf::Axes(axes.iter().collect()).for_kind(kind);
        return Some(vec![Leaf::Line(line), axes(key), axes(rank)]);
    }
    op.attributes().iter().map(|a| Leaf::new(kind, a)).collect()
}

/// The operation of this kind with these attributes; `None` if they do not fit.
pub(crate) fn operation_of<'l>(kind: OpKind, leaves: impl Iterator<Item = &'l Leaf>) -> Option<Op> {
    let leaves: SmallVec<[&Leaf; 4]> = leaves.collect();
    match (kind, leaves.as_slice()) {
        (OpKind::LinRead, [Leaf::Line(line), Leaf::Axes(key)]) => {
            Some(line.linread(Axes::new(key.iter().copied())))
        }
        (OpKind::LinReadDecay, [Leaf::Line(line), Leaf::Axes(key)]) => {
            Some(line.decay_gradient(Axes::new(key.iter().copied())))
        }
        (OpKind::LinSolve, [Leaf::Line(line), Leaf::Axes(key), Leaf::Axes(rank)]) => {
            Some(line.linsolve(Axes::new(key.iter().copied()), Axes::new(rank.iter().copied())))
        }
        (kind, leaves) => {
            let attributes: Option<Vec<Attribute>> = leaves.iter().map(|l| l.attribute()).collect();
            kind.with_attributes(&attributes?)
        }
    }
}

impl Leaf {
    /// As one attribute of an operation; `None` for a line, which is several.
    fn attribute(&self) -> Option<Attribute> {
        Some(match self {
            Leaf::Axis(a) => Attribute::Axis(*a),
            Leaf::Axes(a) => Attribute::Axes(a.clone()),
            Leaf::Size(s) => Attribute::Size(s.clone()),
            Leaf::Integer(n) => Attribute::Integer(*n),
            Leaf::Number(n) => Attribute::Number(*n),
            Leaf::DType(d) => Attribute::DType(*d),
            Leaf::Direction(d) => Attribute::Direction(*d),
            Leaf::Line(_) => return None,
        })
    }

    /// An attribute of an operation of this kind, with sets of axes sorted; `None` if rules cannot bind it alone.
    fn new(kind: OpKind, attribute: &Attribute) -> Option<Leaf> {
        Some(match attribute {
            Attribute::Axis(a) => Leaf::Axis(*a),
            Attribute::Axes(a) => Leaf::Axes(a.clone()).for_kind(kind),
            Attribute::Size(s) => Leaf::Size(s.clone()),
            Attribute::Integer(n) => Leaf::Integer(*n),
            Attribute::Number(n) => Leaf::Number(*n),
            Attribute::DType(d) => Leaf::DType(*d),
            Attribute::Direction(d) => Leaf::Direction(*d),
            Attribute::Name(_) | Attribute::Function(_) | Attribute::Scan(_) => return None,
        })
    }

    /// As operations of this kind have it: a set of axes is sorted.
    pub(crate) fn for_kind(self, kind: OpKind) -> Leaf {
        let mut leaf = self;
        if let Leaf::Axes(axes) = &mut leaf
            && axes_are_a_set(kind)
        {
            axes.sort();
        }
        leaf
    }

    /// As the attribute of that place of an operation: where an axis or several are wanted, a line is its axis.
    pub(crate) fn fitting(self, kind: OpKind, place: usize) -> Leaf {
        let is_line = matches!(kind, OpKind::LinRead | OpKind::LinReadDecay | OpKind::LinSolve) && place == 0;
        match self {
            Leaf::Line(line) if is_line => Leaf::Line(line),
            Leaf::Line(Line { axis, .. }) | Leaf::Axis(axis) if axes_are_a_set(kind) => {
                Leaf::Axes(vec![axis])
            }
            Leaf::Line(line) => Leaf::Axis(line.axis),
            Leaf::Axis(_)
            | Leaf::Axes(_)
            | Leaf::Size(_)
            | Leaf::Integer(_)
            | Leaf::Number(_)
            | Leaf::DType(_)
            | Leaf::Direction(_) => self,
        }
    }

    /// The axes that it names.
    pub(crate) fn axes(&self) -> Option<Vec<Axis>> {
        match self {
            Leaf::Axis(a) => Some(vec![*a]),
            Leaf::Axes(a) => Some(a.clone()),
            Leaf::Line(line) => Some(vec![line.axis]),
            Leaf::Size(_) | Leaf::Integer(_) | Leaf::Number(_) | Leaf::DType(_) | Leaf::Direction(_) => None,
        }
    }

    /// As a term.
    pub(crate) fn term(self) -> Term {
        Term { head: Head::Leaf(self), children: Children::new() }
    }
}

fn axes_are_a_set(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Sum
            | OpKind::ReduceMax
            | OpKind::Dot
            | OpKind::Broadcast
            | OpKind::LinRead
            | OpKind::LinReadDecay
            | OpKind::LinSolve
    )
}

impl egg::Language for Term {
    type Discriminant = Head;

    fn discriminant(&self) -> Head {
        self.head.clone()
    }

    fn matches(&self, other: &Term) -> bool {
        self.head == other.head && self.children.len() == other.children.len()
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}

/// How many attributes a term of this kind has before its operands; `None` if the kind is opaque.
pub(crate) fn attribute_count(kind: OpKind) -> Option<usize> {
    match kind {
        OpKind::Input
        | OpKind::Concat
        | OpKind::Gather
        | OpKind::ScatterAdd
        | OpKind::Uniform
        | OpKind::FoldIn
        | OpKind::Scan
        | OpKind::Call => None,
        OpKind::Neg
        | OpKind::Abs
        | OpKind::Sign
        | OpKind::Floor
        | OpKind::Ceil
        | OpKind::Exp
        | OpKind::Log
        | OpKind::Log1p
        | OpKind::Sqrt
        | OpKind::Tanh
        | OpKind::Sigmoid
        | OpKind::Logsigmoid
        | OpKind::Erf
        | OpKind::Not
        | OpKind::Detach
        | OpKind::Add
        | OpKind::Sub
        | OpKind::Mul
        | OpKind::Div
        | OpKind::Min
        | OpKind::Max
        | OpKind::Eq
        | OpKind::Ne
        | OpKind::Lt
        | OpKind::Le
        | OpKind::And
        | OpKind::Or
        | OpKind::Select => Some(0),
        OpKind::Iota
        | OpKind::Cast
        | OpKind::Sum
        | OpKind::ReduceMax
        | OpKind::Dot
        | OpKind::Broadcast
        | OpKind::Proj => Some(1),
        OpKind::Const
        | OpKind::SizeOf
        | OpKind::LinRead
        | OpKind::LinReadDecay
        | OpKind::CumSum
        | OpKind::CumMax
        | OpKind::Rename
        | OpKind::Split
        | OpKind::Merge
        | OpKind::Shift => Some(2),
        OpKind::Slice | OpKind::Pad | OpKind::LinSolve => Some(3),
    }
}

/// Whether the two operands may change places without changing any float.
pub(crate) fn is_commutative(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Add
            | OpKind::Mul
            | OpKind::Min
            | OpKind::Max
            | OpKind::Eq
            | OpKind::Ne
            | OpKind::And
            | OpKind::Or
            | OpKind::Dot
    )
}

/// Whether two operations are the same, the order of axes included where it means something (`Op`'s own equality
/// compares axes as sets).
pub(crate) fn same_op(a: &Op, b: &Op) -> bool {
    match (a, b) {
        (Op::Scan { scan: a }, Op::Scan { scan: b }) => {
            a == b && a.body.nodes.iter().zip(&b.body.nodes).all(|(a, b)| same_op(&a.op, &b.op))
        }
        // A model has as many inputs, and its gradient as many results, as there are parameters: these are told apart
        // without making lists of attributes.
        (Op::Input { index: a }, Op::Input { index: b }) | (Op::Proj { index: a }, Op::Proj { index: b }) => {
            a == b
        }
        (a, b) => {
            a.kind() == b.kind()
                && match (leaves(a), leaves(b)) {
                    (Some(a), Some(b)) => a == b,
                    (None, _) | (_, None) => a.attributes() == b.attributes(),
                }
        }
    }
}
