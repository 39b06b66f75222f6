//! Graphs over pieces of a sequence and over heads: what chunkwise forms consist of, in any order and combination.

use super::choices::Choices;
use super::generator::Generator;
use super::{Purpose, Shared};
use carousel_ir::{Axes, Axis, Builder, DType, Direction, FunctionKind, Module, Scan, Size, Type, ValueId};

/// Steps of a piece.
const LENGTH: u64 = 3;
/// Values have at most that many axes.
const MOST_AXES: usize = 4;

/// A module of one function, whose sequences have `s` steps.
pub(super) fn module(choices: &mut Choices<'_>) -> Module {
    let mut module = Module::default();
    let graph = {
        let mut b = Builder::new(&module);
        let count = Size::symbol("s").ceil_div(Size::Known(LENGTH));
        let [h, d, e] = [("h", 2), ("d", 2), ("e", 4)].map(|(name, size)| b.axis(name, Size::Known(size)));
        let s = b.axis("s", Size::symbol("s"));
        b.axis("filled", Size::product([count.clone(), Size::Known(LENGTH)]));
        b.axis("piece", count);
        for name in ["step", "other"] {
            b.axis(name, Size::Known(LENGTH));
        }
        let mut shared = Shared { purpose: Purpose::Pieces, axes: 0 };
        let mut g = Generator::new(&mut b, &mut shared, Vec::new());
        let inputs: [&[Axis]; 6] = [&[s], &[h, s], &[s, e], &[h, s, d], &[e], &[h, e]];
        for (place, axes) in inputs.into_iter().enumerate() {
            g.argument(&format!("x{place}"), DType::F32, axes);
        }
        for _ in 0..30 {
            if choices.remain() {
                g.piecewise(choices);
            }
        }
        for place in 0..1 + choices.below(4) {
            let value = g.values.float(choices).value;
            g.b.output_as(&format!("y{place}"), value, g.b.ty(value).axes.clone());
        }
        b.finish().unwrap_or_else(|problems| panic!("the generator made a mistake: {problems:?}"))
    };
    let (kind, residuals) = (FunctionKind::Fn, carousel_ir::Residuals::Save);
    module.push(carousel_ir::Function { name: "root".into(), kind, residuals, graph });
    module
}

impl Generator<'_, '_> {
    fn piecewise(&mut self, choices: &mut Choices<'_>) {
        let [h, d, e, s, filled, piece, step, other] =
            ["h", "d", "e", "s", "filled", "piece", "step", "other"].map(Axis::new);
        let x = self.float(choices);
        let axes = self.b.ty(x.value).axes.clone();
        let has = |axis: Axis| axes.contains(axis);
        let all: Vec<Axis> = axes.iter().collect();
        let (value, bound) = match choices.below(12) {
            0 | 1 if has(s) && !has(filled) && !has(piece) && !has(step) => {
                let whole = self.b.pad(x.value, s, filled, Size::Known(0));
                (self.b.split(whole, filled, Axes::new([piece, step])), x.bound)
            }
            2 if has(piece) && has(step) && !has(s) && !has(filled) => {
                let whole = self.b.merge(x.value, Axes::new([piece, step]), filled);
                (self.b.slice(whole, filled, s, Size::Known(0)), x.bound)
            }
            2 if has(e) && !has(h) && !has(d) => (self.b.split(x.value, e, Axes::new([h, d])), x.bound),
            2 | 3 if has(h) && has(d) && !has(e) => (self.b.merge(x.value, Axes::new([h, d]), e), x.bound),
            3 if has(step) && !has(other) => (self.b.rename(x.value, step, other), x.bound),
            3 if has(s) && !has(filled) => {
                // Filled up at the end or at the beginning.
                let before =
                    if choices.flag() { Size::Known(0) } else { self.size(filled).minus(self.size(s)) };
                (self.b.pad(x.value, s, filled, before), x.bound)
            }
            4 if has(filled) && !has(piece) && !has(step) => {
                (self.b.split(x.value, filled, Axes::new([piece, step])), x.bound)
            }
            4 if has(piece) && !has(other) && !has(step) => {
                (self.step_by_step(x.value, piece), 2.0 * x.bound)
            }
            5 | 6 if !all.is_empty() => {
                let by = choices.one(&[1, -1, 2, 3, -3]);
                (self.b.shift(x.value, choices.one(&all), by), x.bound)
            }
            7 if !all.is_empty() => {
                let direction = choices.one(&[Direction::Forward, Direction::Reverse]);
                let sum = self.b.cumsum(x.value, choices.one(&all), direction);
                (sum, self.sum_bound(x.bound, 1))
            }
            8 if !all.is_empty() => {
                let over = choices.some(&all);
                (self.b.sum(x.value, Axes::new(over.iter().copied())), self.sum_bound(x.bound, over.len()))
            }
            9 => (self.b.exp(x.value), x.bound.exp()),
            kind => {
                let y = self.float(choices);
                let both = self.b.ty(y.value).axes.intersection(&axes);
                let either: Vec<Axis> = axes.union(&self.b.ty(y.value).axes).iter().collect();
                let over =
                    if kind == 10 { choices.subset(&both.iter().collect::<Vec<_>>()) } else { Vec::new() };
                if either.len() - over.len() > MOST_AXES {
                    return;
                }
                let bound = self.sum_bound(x.bound * y.bound, over.len());
                (self.b.dot(x.value, y.value, Axes::new(over)), bound)
            }
        };
        let small = self.small(super::values::Bounded { value, bound }, 3.0);
        self.keep(small.value, small.bound);
    }

    /// What a decaying state was before each step along the axis.
    fn step_by_step(&mut self, x: ValueId, axis: Axis) -> ValueId {
        let axes = self.b.ty(x).axes.without(&axis.into());
        let zero = self.constant(0.0);
        let start = self.b.broadcast(zero, &axes);
        let mut body = Builder::body(self.b.axes().clone());
        let ty = Type { dtype: DType::F32, axes };
        let [state, add] = ["c", "x"].map(|name| body.input(name, ty.clone(), carousel_ir::Role::Argument));
        let half = body.constant(0.5, DType::F32);
        let decayed = body.mul(half, state);
        let next = body.add(decayed, add);
        body.output("next", next);
        body.output("before", state);
        let body = body.finish_pass();
        let scan = Scan { axis, direction: Direction::Forward, states: 1, sequences: 1, body };
        self.b.scan(scan, &[start, x])[1]
    }
}
