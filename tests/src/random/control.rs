//! Calls and scans.

use super::choices::Choices;
use super::generator::{Callee, Generator};
use super::values::Bounded;
use carousel_ir::{Axes, Axis, Builder, DType, Direction, Scan, Type, ValueId};

impl Generator<'_, '_> {
    /// Calls a function with operands made of what is there.
    pub(super) fn call(&mut self, choices: &mut Choices<'_>, callees: &[Callee]) {
        let callee = &callees[choices.below(callees.len())];
        let mut seeds = self.seeds.clone().into_iter();
        let operands: Option<Vec<ValueId>> = callee
            .inputs
            .iter()
            .map(|ty| match ty.dtype {
                DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => {
                    let x = self.values.float(choices);
                    let x = self.small(x, 2.0);
                    let x = self.conform(x, &ty.axes);
                    Some(self.small(x, 2.0).value)
                }
                DType::I32 => {
                    let index = self.b.iota(Axis::new("b"));
                    Some(self.spread(index, &ty.axes))
                }
                DType::Bool => {
                    let truth = self.values.bool(choices);
                    let truth = self.b.cast(truth, DType::F32);
                    let wide = self.conform(Bounded { value: truth, bound: 1.0 }, &ty.axes);
                    Some(self.b.cast(wide.value, DType::Bool))
                }
                DType::U32 => seeds.next(),
            })
            .collect();
        let Some(operands) = operands else { return };
        for result in self.b.call(callee.function, &operands) {
            self.keep(result, f64::INFINITY);
        }
    }

    /// An integer with exactly these axes: a sum over those of `x` that are not wanted.
    fn spread(&mut self, x: ValueId, axes: &Axes) -> ValueId {
        let extra = self.b.ty(x).axes.without(axes);
        let x = self.b.sum(x, extra);
        self.b.broadcast(x, axes)
    }

    /// A loop with up to three states and a body that may contain a loop.
    pub(super) fn scan(&mut self, choices: &mut Choices<'_>) {
        if self.axes.len() < 2 {
            return;
        }
        let axis = self.axes[choices.below(2)];
        let direction = choices.one(&[Direction::Forward, Direction::Reverse]);
        let mut body = Builder::body(self.b.axes().clone());
        let free: Vec<Axis> = self.axes.iter().copied().filter(|a| *a != axis).collect();
        let mut g = Generator::new(&mut body, self.shared, free);

        // States start from values that do not run along the axis.
        let mut operands = Vec::new();
        let starts: Vec<Bounded> =
            self.values.floats.iter().copied().filter(|x| !self.b.ty(x.value).axes.contains(axis)).collect();
        let wanted = if starts.is_empty() { 0 } else { choices.below(4) };
        let mut states = Vec::new();
        for place in 0..wanted {
            let start = choices.one(&starts);
            let start = if start.bound <= 2.0 {
                start
            } else {
                Bounded { value: self.b.tanh(start.value), bound: 1.0 }
            };
            let axes = self.b.ty(start.value).axes.clone();
            operands.push(start.value);
            let state: Vec<Axis> = axes.iter().collect();
            let state = g.argument(&format!("state{place}"), DType::F32, &state);
            states.push((state, axes));
        }
        let counts = choices.below(4) == 3;
        if counts {
            operands.push(self.b.constant(0.0, DType::I32));
            let state = g.argument("count", DType::I32, &[]);
            states.push((state, Axes::none()));
        }

        // Everything else: what runs along the axis is a sequence, what does not is shared.
        let mut outer: Vec<(ValueId, f64)> =
            self.values.floats.iter().rev().take(4).map(|x| (x.value, x.bound)).collect();
        outer.extend(self.values.integers.iter().rev().take(2).map(|v| (*v, f64::INFINITY)));
        outer.extend(self.values.bools.iter().rev().take(2).map(|v| (*v, 1.0)));
        let (sequences, shared): (Vec<_>, Vec<_>) =
            outer.into_iter().partition(|(v, _)| self.b.ty(*v).axes.contains(axis));
        for (place, (value, bound)) in sequences.iter().chain(&shared).copied().enumerate() {
            let ty = self.b.ty(value);
            let dtype = ty.dtype;
            let element = Type { dtype, axes: ty.axes.without(&axis.into()) };
            let inner = g.b.input(&format!("in{place}"), element, carousel_ir::Role::Argument);
            g.values.add(inner, dtype, bound);
            operands.push(value);
        }
        if g.values.floats.is_empty() {
            let one = g.constant(1.0);
            g.keep(one, 1.0);
        }
        // The other steps want an integer and a truth value.
        let zero = g.b.constant(0.0, DType::I32);
        g.values.integers.insert(0, zero);
        let truth = g.b.constant(1.0, DType::Bool);
        g.values.bools.insert(0, truth);

        g.grow(choices, &[], 5);
        for (place, (state, axes)) in states.iter().enumerate() {
            let next = if counts && place + 1 == states.len() {
                let one = g.b.constant(1.0, DType::I32);
                g.b.add(*state, one)
            } else {
                // Bounded by 2 whatever the body computes.
                let x = g.values.float(choices);
                let x = g.conform(x, axes);
                let x = g.b.tanh(x.value);
                let half = g.constant(0.5);
                let decayed = g.b.mul(*state, half);
                g.b.add(decayed, x)
            };
            g.b.output(&format!("next{place}"), next);
        }
        let least = usize::from(states.is_empty());
        let yields: Vec<Bounded> = (0..least + choices.below(3)).map(|_| g.values.any(choices)).collect();
        for (place, yielded) in yields.iter().enumerate() {
            g.b.output(&format!("yield{place}"), yielded.value);
        }

        let body = match body.finish() {
            Ok(body) => body,
            Err(problems) => panic!("the generator made a mistake in a body: {problems:?}"),
        };
        for (axis, size) in body.axes.iter() {
            self.b.axis(axis.as_str(), size.clone());
        }
        let scan =
            Scan { axis, direction, states: states.len() as u32, sequences: sequences.len() as u32, body };
        let results = self.b.scan(scan, &operands);
        let bounds = states.iter().map(|_| 4.0).chain(yields.iter().map(|y| y.bound));
        for (result, bound) in results.into_iter().zip(bounds) {
            self.keep(result, bound);
        }
    }
}
