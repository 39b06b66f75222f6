//! Types: a dtype and a set of named axes.

use crate::Axis;
use smallvec::SmallVec;
use std::fmt;

/// The element type of a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 16-bit float with the exponent of `F32`; storage only, arithmetic is in `F32`.
    Bf16,
    /// 16-bit float of IEEE 754: up to 65504, subnormal below 2^-14; storage only, arithmetic is in `F32`.
    F16,
    /// 32-bit signed integer.
    I32,
    /// 32-bit unsigned integer.
    U32,
    /// Truth value.
    Bool,
}

impl DType {
    /// Every dtype.
    pub const ALL: [DType; 7] =
        [DType::F32, DType::F64, DType::Bf16, DType::F16, DType::I32, DType::U32, DType::Bool];

    /// Its name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::Bool => "bool",
        }
    }

    /// The dtype with that name.
    pub fn parse(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }

    /// Whether gradients flow through it.
    pub fn is_float(self) -> bool {
        match self {
            DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => true,
            DType::I32 | DType::U32 | DType::Bool => false,
        }
    }

    /// Whether it is a float of 16 bits, which is stored and never computed with.
    pub fn is_half(self) -> bool {
        match self {
            DType::Bf16 | DType::F16 => true,
            DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::Bool => false,
        }
    }

    /// Whether it is `I32` or `U32`.
    pub fn is_integer(self) -> bool {
        match self {
            DType::I32 | DType::U32 => true,
            DType::F32 | DType::F64 | DType::Bf16 | DType::F16 | DType::Bool => false,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A short list of distinct axes. Equality is that of *sets*: the order is only the default layout, and the
/// declared order at the boundary.
#[derive(Clone, Default)]
pub struct Axes(SmallVec<[Axis; 6]>);

impl Axes {
    /// No axes: a scalar.
    pub fn none() -> Axes {
        Axes::default()
    }

    /// The axes in this order; repeated ones are dropped.
    pub fn new(axes: impl IntoIterator<Item = Axis>) -> Axes {
        let mut list = Axes::default();
        axes.into_iter().for_each(|a| list.insert(a));
        list
    }

    /// Appends `axis` unless it is there.
    pub fn insert(&mut self, axis: Axis) {
        if !self.contains(axis) {
            self.0.push(axis);
        }
    }

    /// Whether `axis` is among them.
    pub fn contains(&self, axis: Axis) -> bool {
        self.0.contains(&axis)
    }

    /// In order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Axis> + ExactSizeIterator + '_ {
        self.0.iter().copied()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this is a scalar's list.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The place of `axis` in the order.
    pub fn position(&self, axis: Axis) -> Option<usize> {
        self.0.iter().position(|a| *a == axis)
    }

    /// These, then those of `other` that are new.
    pub fn union(&self, other: &Axes) -> Axes {
        Axes::new(self.iter().chain(other.iter()))
    }

    /// These without those of `other`.
    pub fn without(&self, other: &Axes) -> Axes {
        Axes::new(self.iter().filter(|a| !other.contains(*a)))
    }

    /// Those that are in both, in the order of `self`.
    pub fn intersection(&self, other: &Axes) -> Axes {
        Axes::new(self.iter().filter(|a| other.contains(*a)))
    }

    /// Whether every axis of `self` is in `other`.
    pub fn is_subset(&self, other: &Axes) -> bool {
        self.iter().all(|a| other.contains(a))
    }

    /// The same axes in the same order.
    pub fn same_order(&self, other: &Axes) -> bool {
        self.0 == other.0
    }

    /// As a slice, in order.
    pub fn as_slice(&self) -> &[Axis] {
        &self.0
    }
}

impl PartialEq for Axes {
    fn eq(&self, other: &Axes) -> bool {
        self.len() == other.len() && self.is_subset(other)
    }
}

impl Eq for Axes {}

impl std::hash::Hash for Axes {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // Equal sets must hash alike.
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted.hash(state);
    }
}

impl FromIterator<Axis> for Axes {
    fn from_iter<I: IntoIterator<Item = Axis>>(axes: I) -> Axes {
        Axes::new(axes)
    }
}

impl From<Axis> for Axes {
    fn from(axis: Axis) -> Axes {
        Axes::new([axis])
    }
}

impl fmt::Display for Axes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, axis) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{axis}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Axes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

/// The type of a value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Type {
    /// Element type.
    pub dtype: DType,
    /// The axes; sizes are in the graph's [`AxisTable`](crate::AxisTable).
    pub axes: Axes,
}

impl Type {
    /// A tensor.
    pub fn new(dtype: DType, axes: impl IntoIterator<Item = Axis>) -> Type {
        Type { dtype, axes: Axes::new(axes) }
    }

    /// A scalar.
    pub fn scalar(dtype: DType) -> Type {
        Type { dtype, axes: Axes::none() }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.dtype, self.axes)
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
