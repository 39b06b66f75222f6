//! Linear scans step by step: their definition, as loops.
//!
//! Invariant: a step does what the table of [`Line`] says. The gradient by the decay has no such form: it is taken in
//! chunks.

use super::derive::constant;
use carousel_ir::{Axes, Builder, Edge, Graph, Line, Module, Op, Read, Role, Scan, Type, ValueId};

/// A linear scan's operands: q, x, w, l, cut, initial state.
pub(super) type Operands = [ValueId; 6];

/// The operands of a verified linear scan, or the first ones of its derivative.
pub(super) fn first_six(operands: &[ValueId]) -> Operands {
    operands[..6].try_into().expect("a verified linear scan has its operands")
}

/// The axes of the state that only the written vector has.
pub(super) fn written_axes(b: &Builder<'_>, key: &Axes, operands: &Operands) -> Axes {
    let [q, x, _, l, cut, start] = *operands;
    let others = [q, x, l, cut].iter().fold(key.clone(), |axes, v| axes.union(&b.ty(*v).axes));
    b.ty(start).axes.without(&others)
}

/// A graph with its linear scans as loops; derivatives by the decay have become something else before.
pub(super) fn lower(graph: &Graph) -> Graph {
    let empty = Graph { axes: graph.axes.clone(), inputs: graph.inputs.clone(), ..Graph::default() };
    let module = Module::default();
    let mut b = Builder::resume(&module, empty);
    let mut made: Vec<Vec<ValueId>> = Vec::with_capacity(graph.nodes.len());
    for (_, node) in graph.iter() {
        let operand = |place: usize| made[node.operands[place].index()][0];
        made.push(match (&node.op, Line::of(&node.op)) {
            (Op::Proj { index }, _) => vec![made[node.operands[0].index()][*index as usize]],
            (op, line) => {
                let operands: Vec<ValueId> = (0..node.operands.len()).map(operand).collect();
                match (op, line) {
                    (Op::LinRead { key, .. }, Some(line)) => {
                        let (read, state) = linread(&mut b, &line, key, &first_six(&operands));
                        vec![read, state]
                    }
                    (op, _) => vec![b.push(op.clone(), &operands)],
                }
            }
        });
    }
    for output in &graph.outputs {
        b.output_as(output.name.as_str(), made[output.value.index()][0], output.axes.clone());
    }
    b.finish_pass()
}

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

    /// The current element of a sequence, or a state. What is the same number at every step is a constant.
    fn input(&mut self, outer: &Builder<'_>, name: &str, source: ValueId) -> ValueId {
        let ty = outer.ty(source);
        if ty.axes.contains(self.line.axis)
            && let Some(number) = constant(outer.graph(), source)
        {
            return self.b.constant(number.get(), ty.dtype);
        }
        self.sources.push(source);
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

    /// `a * b`, or `b` if `a` is 1.
    fn times(&mut self, a: ValueId, b: ValueId) -> ValueId {
        if self.is(a, 1.0) { b } else { self.b.mul(a, b) }
    }

    fn is(&self, value: ValueId, number: f64) -> bool {
        constant(self.b.graph(), value).is_some_and(|c| c.get() == number)
    }

    /// 0 where `condition` holds.
    fn unless(&mut self, condition: ValueId, x: ValueId) -> ValueId {
        if self.is(condition, 0.0) {
            return x;
        }
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
    // A decay of the whole state is made once for all steps: inside, each row of the state would make its own.
    let shared = !axes.is_subset(&outer.ty(l).axes);
    let decay = if shared { outer.exp(l) } else { l };
    let [q, x, w, decay, cut] = [("q", q), ("x", x), ("w", w), ("decay", decay), ("cut", cut)]
        .map(|(name, source)| body.input(outer, name, source));
    let decay = if shared { decay } else { body.b.exp(decay) };
    let written = body.times(x, w);
    let read = |body: &mut Body, state: ValueId| {
        let read = if key.is_empty() { body.times(q, state) } else { body.b.dot(q, state, key.clone()) };
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
