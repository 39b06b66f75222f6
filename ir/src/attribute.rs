//! Attributes of operations as data, so that the printer, the parser and the e-graph need no arm per operation.

use crate::{Axes, Axis, DType, Direction, FunctionId, Name, Number, Op, Scan, Size};

/// One attribute of an operation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Attribute {
    /// An axis.
    Axis(Axis),
    /// Several axes, in order.
    Axes(Vec<Axis>),
    /// A size.
    Size(Size),
    /// An integer.
    Integer(i64),
    /// A number.
    Number(Number),
    /// A dtype.
    DType(DType),
    /// A name.
    Name(Name),
    /// A direction.
    Direction(Direction),
    /// A function of the module.
    Function(FunctionId),
    /// A loop.
    Scan(Box<Scan>),
}

/// A field of an operation that can be packed into an [`Attribute`].
pub trait Attributes: Sized {
    /// As data.
    fn pack(&self) -> Attribute;
    /// From data; `None` if it is of another kind or out of range.
    fn unpack(attribute: &Attribute) -> Option<Self>;
}

macro_rules! attributes {
    ($( $ty:ty, $variant:ident, |$this:ident| $pack:expr, |$value:ident| $unpack:expr; )+) => {
        $(impl Attributes for $ty {
            fn pack(&self) -> Attribute {
                let $this = self;
                Attribute::$variant($pack)
            }

            fn unpack(attribute: &Attribute) -> Option<Self> {
                if let Attribute::$variant($value) = attribute { $unpack } else { None }
            }
        })+
    };
}

#[rustfmt::skip]
attributes! {
    Axis,       Axis,      |a| *a,                |a| Some(*a);
    Axes,       Axes,      |a| a.iter().collect(),|a| Some(Axes::new(a.iter().copied()));
    Vec<Axis>,  Axes,      |a| a.clone(),         |a| Some(a.clone());
    Size,       Size,      |s| s.clone(),         |s| Some(s.clone());
    i64,        Integer,   |n| *n,                |n| Some(*n);
    u32,        Integer,   |n| i64::from(*n),     |n| u32::try_from(*n).ok();
    Number,     Number,    |n| *n,                |n| Some(*n);
    DType,      DType,     |d| *d,                |d| Some(*d);
    Name,       Name,      |n| *n,                |n| Some(*n);
    Direction,  Direction, |d| *d,                |d| Some(*d);
    FunctionId, Function,  |f| *f,                |f| Some(*f);
    Box<Scan>,  Scan,      |s| s.clone(),         |s| Some(s.clone());
}

impl Op {
    /// Whether one of its attributes is that axis.
    pub fn names_axis(&self, axis: Axis) -> bool {
        self.attributes().into_iter().any(|attribute| match attribute {
            Attribute::Axis(found) => found == axis,
            Attribute::Axes(found) => found.contains(&axis),
            Attribute::Scan(_)
            | Attribute::Size(_)
            | Attribute::Integer(_)
            | Attribute::Number(_)
            | Attribute::DType(_)
            | Attribute::Name(_)
            | Attribute::Direction(_)
            | Attribute::Function(_) => false,
        })
    }
}
