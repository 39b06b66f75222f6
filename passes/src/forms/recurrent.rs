//! Linear scans step by step: their definition, as loops.
//!
//! Invariant: a step does what the table of [`Line`] says. The gradient by the decay has no such form: it is taken in
//! chunks (`chunked`).

use super::chunked::Operands;
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
