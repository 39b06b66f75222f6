//! Grows one graph: takes values that are there, applies an operation within its domain, adds the result.

use super::Purpose;
use super::choices::Choices;
use super::values::{Bounded, Values};
use carousel_ir::{Axes, Axis, Builder, DType, FunctionId, Role, Size, Type, ValueId};

/// Beyond this a value is squashed by `tanh` before it is used again.
const LIMIT: f64 = 30.0;

/// More elements than a tensor has along any one axis, for bounds of sums.
const LONGEST: f64 = 16.0;

/// What all graphs of a module have in common.
pub(super) struct Shared {
    pub(super) purpose: Purpose,
    /// How many axes were made: their names are distinct in the whole module, so that calls cannot clash.
    pub(super) axes: usize,
}

/// A function that may be called.
pub(super) struct Callee {
    pub(super) function: FunctionId,
    /// Types of its inputs.
    pub(super) inputs: Vec<Type>,
}

/// A graph that is being grown.
pub(super) struct Generator<'g, 'm> {
    pub(super) b: &'g mut Builder<'m>,
    pub(super) shared: &'g mut Shared,
    /// Axes that may be used freely; in a scan's body not that of the scan.
    pub(super) axes: Vec<Axis>,
    pub(super) values: Values,
    pub(super) seeds: Vec<ValueId>,
}

impl<'g, 'm> Generator<'g, 'm> {
    pub(super) fn new(b: &'g mut Builder<'m>, shared: &'g mut Shared, axes: Vec<Axis>) -> Generator<'g, 'm> {
        Generator { b, shared, axes, values: Values::default(), seeds: Vec::new() }
    }

    pub(super) fn input(&mut self, name: &str, dtype: DType, axes: &[Axis], role: Role) -> ValueId {
        let value = self.b.input(name, Type::new(dtype, axes.iter().copied()), role);
        if dtype == DType::U32 {
            self.seeds.push(value);
        }
        self.values.add(value, dtype, 2.0);
        value
    }

    pub(super) fn argument(&mut self, name: &str, dtype: DType, axes: &[Axis]) -> ValueId {
        self.input(name, dtype, axes, Role::Argument)
    }

    /// Up to `most` operations, as long as choices remain.
    pub(super) fn grow(&mut self, choices: &mut Choices<'_>, callees: &[Callee], most: usize) {
        for _ in 0..most {
            if !choices.remain() {
                break;
            }
            self.step(choices, callees);
        }
    }

    /// One to three outputs, a float among them; axes in the value's order or backwards.
    pub(super) fn outputs(&mut self, choices: &mut Choices<'_>) {
        let first = self.values.float(choices);
        let more: Vec<Bounded> = (0..choices.below(3)).map(|_| self.values.any(choices)).collect();
        for (place, value) in std::iter::once(first).chain(more).enumerate() {
            let axes = self.b.ty(value.value).axes.clone();
            let axes = if choices.flag() { axes.iter().rev().collect() } else { axes };
            self.b.output_as(&format!("y{place}"), value.value, axes);
        }
    }

    /// Adds a result.
    pub(super) fn keep(&mut self, value: ValueId, bound: f64) -> ValueId {
        let dtype = self.b.ty(value).dtype;
        self.values.add(value, dtype, bound);
        value
    }

    pub(super) fn constant(&mut self, value: f64) -> ValueId {
        self.b.constant(value, DType::F32)
    }

    /// A new axis.
    pub(super) fn fresh(&mut self, size: Size) -> Axis {
        self.shared.axes += 1;
        self.b.axis(&format!("x{}", self.shared.axes), size)
    }

    pub(super) fn size(&self, axis: Axis) -> Size {
        self.b.axes().size(axis).clone()
    }

    pub(super) fn axes_of(&self, value: ValueId) -> Vec<Axis> {
        self.b.ty(value).axes.iter().collect()
    }

    /// The value itself, or its `tanh` if it may be large.
    pub(super) fn small(&mut self, x: Bounded, limit: f64) -> Bounded {
        if x.bound <= limit { x } else { Bounded { value: self.b.tanh(x.value), bound: 1.0 } }
    }

    /// A float that is small enough to be computed with.
    pub(super) fn float(&mut self, choices: &mut Choices<'_>) -> Bounded {
        let x = self.values.float(choices);
        self.small(x, LIMIT)
    }

    /// A float in \[0.5, 1.5\] that depends on `x`.
    pub(super) fn positive(&mut self, x: Bounded) -> ValueId {
        let half = self.constant(0.5);
        let sigmoid = self.b.sigmoid(x.value);
        self.b.add(sigmoid, half)
    }

    /// The bound of a sum of values bounded by `bound` over `axes`.
    pub(super) fn sum_bound(&self, bound: f64, axes: usize) -> f64 {
        bound * LONGEST.powi(axes as i32)
    }

    /// Another value of the type: sums over the axes that it lacks, repeats along those that it has in addition.
    pub(super) fn conform(&mut self, x: Bounded, axes: &Axes) -> Bounded {
        let extra = self.b.ty(x.value).axes.without(axes);
        let x = if extra.is_empty() {
            x
        } else {
            let small = self.small(x, LIMIT);
            let value = self.b.sum(small.value, extra.clone());
            let bound = self.sum_bound(small.bound, extra.len());
            self.small(Bounded { value, bound }, LIMIT)
        };
        Bounded { value: self.b.broadcast(x.value, axes), bound: x.bound }
    }
}
