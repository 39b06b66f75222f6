//! Linear scans step by step: their definition, as loops.
//!
//! Invariant: a step does what the table of [`Line`] says. The gradient of the decay is the running sum of q dq and
//! -x dx from the line's end, which starts again at every cut; it needs no state of any step.

use super::chunked::{Operands, written_axes};
use super::weights::vanishes;
use carousel_ir::{Axes, Builder, Edge, Line, Read, Role, Scan, Type, ValueId};

/// A body under construction: the operands that it takes, with the values inside.
struct Body {
    b: Builder<'static>,
    line: Line,
    sources: Vec<ValueId>,
}

impl Body {
    fn new(outer: &Builder<'_>, line: &Line) -> Body {
        Body { b: Builder::body(outer.axes().clone()), line: line.clone(), sources: Vec::new() }
    }

    /// The current element of a sequence, or a state.
    fn input(&mut self, outer: &Builder<'_>, name: &str, source: ValueId) -> ValueId {
        self.sources.push(source);
        let ty = outer.ty(source);
        let element = Type { dtype: ty.dtype, axes: ty.axes.without(&self.line.axis.into()) };
        self.b.input(name, element, Role::Argument)
    }

    /// The loop with one state, which is the first input, and the sequences that follow it.
    fn run(self, outer: &mut Builder<'_>) -> Vec<ValueId> {
        let sequences = self.sources.len() as u32 - 1;
        let Line { axis, direction, .. } = self.line;
        let scan = Scan { axis, direction, states: 1, sequences, body: self.b.finish_pass() };
        outer.scan(scan, &self.sources)
    }

    /// 0 where `condition` holds.
    fn unless(&mut self, condition: ValueId, x: ValueId) -> ValueId {
        let zero = self.b.constant(0.0, self.b.ty(x).dtype);
        self.b.select(condition, zero, x)
    }
}

/// What is read, and the final state.
pub(super) fn linread(
    outer: &mut Builder<'_>,
    line: &Line,
    key: &Axes,
    operands: &Operands,
) -> (ValueId, ValueId) {
    let [q, x, w, l, cut, start] = *operands;
    let axes = outer.ty(start).axes.clone();
    let mut body = Body::new(outer, line);
    let state = body.input(outer, "state", start);
    let [q, x, w, l, cut] = [("q", q), ("x", x), ("w", w), ("l", l), ("cut", cut)]
        .map(|(name, source)| body.input(outer, name, source));
    let decay = body.b.exp(l);
    let written = body.b.mul(x, w);
    let read = |body: &mut Body, state: ValueId| {
        let read = body.b.dot(q, state, key.clone());
        body.b.broadcast(read, &axes.without(key))
    };
    let (read, next) = match (line.edge, line.read) {
        (Edge::Before, Read::New) => {
            let kept = body.b.mul(decay, state);
            let kept = body.unless(cut, kept);
            let next = body.b.add(kept, written);
            (read(&mut body, next), next)
        }
        (Edge::After, Read::New) => {
            let full = body.b.add(state, written);
            let kept = body.b.mul(decay, full);
            (read(&mut body, full), body.unless(cut, kept))
        }
        (Edge::Before, Read::Old) => {
            let state = body.unless(cut, state);
            let kept = body.b.mul(decay, state);
            (read(&mut body, state), body.b.add(kept, written))
        }
        (Edge::After, Read::Old) => {
            let kept = body.b.mul(decay, state);
            let full = body.b.add(kept, written);
            (read(&mut body, state), body.unless(cut, full))
        }
    };
    body.b.output("state", next);
    body.b.output("y", read);
    let results = body.run(outer);
    (results[1], results[0])
}

/// The gradient by the logarithm of the decay.
pub(super) fn decay_gradient(
    outer: &mut Builder<'_>,
    line: &Line,
    key: &Axes,
    operands: &Operands,
    cotangents: [ValueId; 2],
) -> ValueId {
    let [q, x, w, l, cut, start] = *operands;
    let [dy, last] = cotangents;
    let written = written_axes(outer, key, operands);
    let w_full = outer.broadcast(w, &written);
    let back = line.adjoint();
    let (dq, _) = linread(outer, line, &written, &[dy, w_full, x, l, cut, start]);
    let (dx, _) = linread(outer, &back, &written, &[w_full, dy, q, l, cut, last]);
    let (_, end) = linread(outer, line, key, operands);

    let own = outer.ty(l).axes.clone();
    let element = own.without(&line.axis.into());
    // With the axes of the cuts as well, along which the sums start again at different steps.
    let kept = element.union(&outer.ty(cut).axes).union(&line.axis.into());
    let narrow = |b: &mut Builder<'_>, v: ValueId| {
        let rest = b.ty(v).axes.without(&kept);
        b.sum(v, rest)
    };
    let both = |b: &mut Builder<'_>, a: ValueId, c: ValueId| {
        let product = b.mul(a, c);
        let sum = narrow(b, product);
        let axes = kept.intersection(&b.ty(start).axes.union(&line.axis.into()));
        b.broadcast(sum, &axes)
    };
    let (reads, writes) = (both(outer, q, dq), both(outer, x, dx));
    let whole = outer.mul(end, last);
    let whole = narrow(outer, whole);

    // A decay that is 0 passes nothing on: reading new it cuts the edge, else what lies between read and write.
    let hard = vanishes(outer, l);
    let cut = if line.read == Read::New { outer.or(cut, hard) } else { cut };
    let mut body = Body::new(outer, &back);
    let sum = body.input(outer, "sum", whole);
    let [reads, writes, cut, hard] = [("reads", reads), ("writes", writes), ("cut", cut), ("hard", hard)]
        .map(|(name, source)| body.input(outer, name, source));
    let b = &mut body.b;
    let (gradient, next) = match (line.edge, line.read) {
        (Edge::Before, Read::New) => {
            let sum = b.add(sum, reads);
            let sum = b.sub(sum, writes);
            let sum = body.unless(cut, sum);
            (sum, sum)
        }
        (Edge::After, Read::New) => {
            let sum = body.unless(cut, sum);
            let next = body.b.add(sum, reads);
            (sum, body.b.sub(next, writes))
        }
        (Edge::Before, Read::Old) => {
            let sum = b.sub(sum, writes);
            let sum = body.unless(hard, sum);
            let next = body.b.add(sum, reads);
            (sum, body.unless(cut, next))
        }
        (Edge::After, Read::Old) => {
            let sum = body.unless(cut, sum);
            let sum = body.b.sub(sum, writes);
            let sum = body.unless(hard, sum);
            (sum, body.b.add(sum, reads))
        }
    };
    let b = &mut body.b;
    let rest = b.ty(gradient).axes.without(&element);
    let gradient = b.sum(gradient, rest);
    let gradient = b.broadcast(gradient, &element);
    let axes = b.ty(sum).axes.clone();
    let next = b.broadcast(next, &axes);
    b.output("sum", next);
    b.output("gradient", gradient);
    body.run(outer)[1]
}
