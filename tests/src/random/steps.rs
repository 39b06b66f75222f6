//! One operation of each kind.

use super::Purpose;
use super::choices::Choices;
use super::generator::{Callee, Generator};
use super::values::Bounded;
use carousel_ir::{Axes, Axis, DType, Direction, Name, Op, Size, ValueId};

impl Generator<'_, '_> {
    /// Adds one operation with its result.
    pub(super) fn step(&mut self, choices: &mut Choices<'_>, callees: &[Callee]) {
        match choices.below(16) {
            0 | 1 => self.unary(choices),
            2..=4 => self.binary(choices),
            5 => self.reduce(choices),
            6 => self.dot(choices),
            7 => self.cumulative(choices),
            8 | 9 => self.view(choices),
            10 => self.indexed(choices),
            11 => self.logic(choices),
            12 => self.leaf(choices),
            13 if !callees.is_empty() => self.call(choices, callees),
            13 => self.integer(choices),
            _ => self.scan(choices),
        }
    }

    fn unary(&mut self, choices: &mut Choices<'_>) {
        let x = self.float(choices);
        let kinks = self.shared.purpose == Purpose::Values;
        let (value, bound) = match choices.below(if kinks { 14 } else { 10 }) {
            0 => (self.b.neg(x.value), x.bound),
            1 => {
                let x = self.small(x, 3.0);
                (self.b.exp(x.value), x.bound.exp())
            }
            2 => {
                let x = self.positive(x);
                (self.b.log(x), 1.0)
            }
            3 => {
                let x = self.positive(x);
                (self.b.log1p(x), 1.0)
            }
            4 => {
                let x = self.positive(x);
                (self.b.sqrt(x), 1.5)
            }
            5 => (self.b.tanh(x.value), 1.0),
            6 => (self.b.sigmoid(x.value), 1.0),
            7 => (self.b.logsigmoid(x.value), x.bound + 1.0),
            8 => (self.b.erf(x.value), 1.0),
            9 => (self.b.abs(x.value), x.bound),
            10 => (self.b.sign(x.value), 1.0),
            11 => (self.whole(Op::Floor, x), x.bound + 1.0),
            12 => (self.whole(Op::Ceil, x), x.bound + 1.0),
            _ => (self.b.detach(x.value), x.bound),
        };
        self.keep(value, bound);
    }

    /// A number beside it rounded to a whole one: functions that saturate come arbitrarily near to 0 and 1.
    fn whole(&mut self, op: Op, x: Bounded) -> ValueId {
        let beside = self.constant(0.3718);
        let sum = self.b.add(x.value, beside);
        self.b.push(op, &[sum])
    }

    fn binary(&mut self, choices: &mut Choices<'_>) {
        let (x, y) = (self.float(choices), self.float(choices));
        let (value, bound) = match choices.below(6) {
            0 => (self.b.add(x.value, y.value), x.bound + y.bound),
            1 => (self.b.sub(x.value, y.value), x.bound + y.bound),
            2 => (self.b.mul(x.value, y.value), x.bound * y.bound),
            3 => {
                let divisor = self.positive(y);
                (self.b.div(x.value, divisor), 2.0 * x.bound)
            }
            4 => (self.b.min(x.value, y.value), x.bound.max(y.bound)),
            _ => (self.b.max(x.value, y.value), x.bound.max(y.bound)),
        };
        self.keep(value, bound);
    }

    fn reduce(&mut self, choices: &mut Choices<'_>) {
        let x = self.float(choices);
        let axes = self.axes_of(x.value);
        if axes.is_empty() {
            return;
        }
        let over = choices.some(&axes);
        if choices.below(3) == 2 {
            let value = self.b.rmax(x.value, Axes::new(over));
            self.keep(value, x.bound);
        } else {
            let bound = self.sum_bound(x.bound, over.len());
            let value = self.b.sum(x.value, Axes::new(over));
            self.keep(value, bound);
        }
    }

    fn dot(&mut self, choices: &mut Choices<'_>) {
        let (x, y) = (self.float(choices), self.float(choices));
        let axes: Vec<Axis> = self.b.ty(x.value).axes.union(&self.b.ty(y.value).axes).iter().collect();
        if axes.is_empty() {
            return;
        }
        let over = choices.some(&axes);
        let bound = self.sum_bound(x.bound * y.bound, over.len());
        let axes = Axes::new(over);
        // The same contraction in its two spellings.
        let value = if choices.flag() {
            let product = self.b.mul(x.value, y.value);
            self.b.sum(product, axes)
        } else {
            self.b.dot(x.value, y.value, axes)
        };
        self.keep(value, bound);
    }

    fn cumulative(&mut self, choices: &mut Choices<'_>) {
        let x = self.float(choices);
        let axes = self.axes_of(x.value);
        if axes.is_empty() {
            return;
        }
        let axis = choices.one(&axes);
        let direction = choices.one(&[Direction::Forward, Direction::Reverse]);
        if choices.flag() {
            let value = self.b.cummax(x.value, axis, direction);
            self.keep(value, x.bound);
        } else {
            let value = self.b.cumsum(x.value, axis, direction);
            let bound = self.sum_bound(x.bound, 1);
            self.keep(value, bound);
        }
    }

    fn view(&mut self, choices: &mut Choices<'_>) {
        let Bounded { value: x, bound } = self.values.float(choices);
        let axes = self.axes_of(x);
        let missing: Vec<Axis> = self.axes.iter().copied().filter(|a| !axes.contains(a)).collect();
        if axes.is_empty() {
            if !missing.is_empty() {
                let new = choices.some(&missing);
                let value = self.b.broadcast(x, &Axes::new(new));
                self.keep(value, bound);
            }
            return;
        }
        let axis = choices.one(&axes);
        let size = self.size(axis);
        let value = match choices.below(8) {
            0 => {
                let to = self.fresh(size);
                self.b.rename(x, axis, to)
            }
            1 => {
                let together = choices.some(&axes);
                let sizes: Vec<Size> = together.iter().map(|a| self.size(*a)).collect();
                let into = self.fresh(Size::product(sizes));
                self.b.merge(x, Axes::new(together), into)
            }
            2 => {
                // A merge and the split that undoes it, into new axes.
                let into = self.fresh(Size::product([size.clone(), Size::Known(2)]));
                let two = self.fresh(Size::Known(2));
                let wide = self.b.broadcast(x, &two.into());
                let merged = self.b.merge(wide, Axes::new([axis, two]), into);
                let (first, second) = (self.fresh(Size::Known(2)), self.fresh(size));
                self.b.split(merged, into, Axes::new([first, second]))
            }
            3 => match missing.is_empty() {
                true => return,
                false => {
                    let new = choices.some(&missing);
                    self.b.broadcast(x, &Axes::new(new))
                }
            },
            4 => {
                // The upper half, at least one element.
                let half = size.clone().ceil_div(Size::Known(2));
                let start = size.minus(half.clone());
                let to = self.fresh(half);
                self.b.slice(x, axis, to, start)
            }
            5 => {
                let to = self.fresh(Size::sum([size, Size::Known(3)]));
                let before = Size::Known(choices.below(4) as u64);
                self.b.pad(x, axis, to, before)
            }
            6 => {
                let other = self.values.float(choices);
                let shape = self.b.ty(x).axes.clone();
                let other = self.conform(other, &shape);
                let to = self.fresh(Size::sum([size.clone(), size]));
                let value = self.b.concat(&[(x, axis), (other.value, axis)], to);
                self.keep(value, bound.max(other.bound));
                return;
            }
            _ => self.b.shift(x, axis, choices.one(&[1, -1, 2, -5])),
        };
        self.keep(value, bound);
    }

    /// An index along `axis` made of any integer.
    fn index(&mut self, axis: Axis, integer: ValueId) -> ValueId {
        let (zero, one) = (self.b.constant(0.0, DType::I32), self.b.constant(1.0, DType::I32));
        let size = self.b.size_of(axis, DType::I32);
        let last = self.b.sub(size, one);
        let low = self.b.max(integer, zero);
        self.b.min(low, last)
    }

    fn indexed(&mut self, choices: &mut Choices<'_>) {
        let x = self.float(choices);
        let integer = self.values.integer(choices);
        if choices.flag() {
            let candidates: Vec<Axis> =
                self.axes_of(x.value).into_iter().filter(|a| !self.b.ty(integer).axes.contains(*a)).collect();
            if candidates.is_empty() {
                return;
            }
            let axis = choices.one(&candidates);
            let index = self.index(axis, integer);
            let value = self.b.gather(x.value, axis, index);
            self.keep(value, x.bound);
        } else {
            let taken = self.b.ty(integer).axes.union(&self.b.ty(x.value).axes);
            let candidates: Vec<Axis> = self.axes.iter().copied().filter(|a| !taken.contains(*a)).collect();
            if candidates.is_empty() {
                return;
            }
            let axis = choices.one(&candidates);
            let index = self.index(axis, integer);
            let index_axes = self.axes_of(index);
            let over = Axes::new(choices.subset(&index_axes));
            let bound = self.sum_bound(x.bound, over.len());
            let value = self.b.scatter_add(x.value, index, axis, over);
            self.keep(value, bound);
        }
    }

    fn logic(&mut self, choices: &mut Choices<'_>) {
        let floats = self.shared.purpose == Purpose::Values;
        let condition = match choices.below(if floats { 7 } else { 5 }) {
            0 => self.values.bool(choices),
            1 => {
                let (a, b) = (self.values.integer(choices), self.values.integer(choices));
                match choices.below(4) {
                    0 => self.b.eq(a, b),
                    1 => self.b.ne(a, b),
                    2 => self.b.lt(a, b),
                    _ => self.b.le(a, b),
                }
            }
            2 => {
                let a = self.values.bool(choices);
                self.b.not(a)
            }
            3 => {
                let (a, b) = (self.values.bool(choices), self.values.bool(choices));
                self.b.and(a, b)
            }
            4 => {
                let (a, b) = (self.values.bool(choices), self.values.bool(choices));
                self.b.or(a, b)
            }
            // Values that rounding may turn round are not compared: a backend rounds otherwise.
            n => {
                let x = self.b.iota(self.axes[0]);
                let x = self.b.cast(x, DType::F32);
                let limit = self.constant(1.5);
                if n == 5 { self.b.lt(x, limit) } else { self.b.le(limit, x) }
            }
        };
        self.keep(condition, 1.0);
        match choices.below(3) {
            0 => {
                let value = self.b.cast(condition, DType::F32);
                self.keep(value, 1.0);
            }
            _ => {
                let (a, b) = (self.float(choices), self.float(choices));
                let value = self.b.select(condition, a.value, b.value);
                self.keep(value, a.bound.max(b.bound));
            }
        }
    }

    fn integer(&mut self, choices: &mut Choices<'_>) {
        let (a, b) = (self.values.integer(choices), self.values.integer(choices));
        let value = match choices.below(6) {
            0 => self.b.add(a, b),
            1 => self.b.sub(a, b),
            2 => self.b.mul(a, b),
            3 => self.b.min(a, b),
            4 => self.b.neg(a),
            _ => {
                let truth = self.values.bool(choices);
                self.b.cast(truth, DType::I32)
            }
        };
        self.keep(value, f64::INFINITY);
    }

    fn leaf(&mut self, choices: &mut Choices<'_>) {
        match choices.below(5) {
            0 => {
                let number = choices.one(&[0.5, -1.0, 0.0, 3.25, 1e-5]);
                let value = self.constant(number);
                self.keep(value, number.abs());
            }
            1 if !self.axes.is_empty() => {
                let axis = choices.one(&self.axes);
                let value = self.b.size_of(axis, DType::F32);
                self.keep(value, 16.0);
            }
            2 if !self.axes.is_empty() => {
                let axis = choices.one(&self.axes);
                let value = self.b.iota(axis);
                self.keep(value, 16.0);
            }
            3 if self.seeds.len() >= 2 => {
                let seed = self.b.push(Op::FoldIn { number: choices.below(5) as u32 }, &[self.seeds[0]]);
                let axes = Axes::new(choices.subset(&self.axes));
                let op = Op::Uniform { stream: Name::new("noise"), axes };
                let value = self.b.push(op, &[seed, self.seeds[1]]);
                self.keep(value, 1.0);
            }
            // Numbers that are awkward to write down; nothing uses them.
            _ => {
                let number =
                    choices.one(&[f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -0.0, 1e300, 1e-300, 0.1]);
                self.b.constant(number, choices.one(&[DType::F32, DType::F64, DType::Bf16, DType::F16]));
            }
        }
    }
}
