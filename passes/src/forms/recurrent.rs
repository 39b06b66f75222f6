//! Linear scans step by step: their definition, as loops.
//!
//! Invariant: a step does what the table of [`Line`] says. The gradient by the decay has no such form: it is taken in
//! chunks.

use super::derive::constant;
use carousel_ir::{Axes, Builder, Edge, Graph, Line, Module, Op, Read, Role, Scan, Type, ValueId};

/// A linear scan's operands: q, x, w, l, cut, initial state.
pub(super) type Operands = [ValueId; 6];

/// The axes of the state that only the written vector has: that of an operation along a line.
pub(super) fn written_axes(b: &Builder<'_>, op: &Op, operands: &[ValueId]) -> Axes {
    let axes = |v: ValueId| &b.ty(v).axes;
    let others = |list: [ValueId; 4]| list.iter().fold(Axes::none(), |all, v| all.union(axes(*v)));
    match (op, operands) {
        (Op::LinSolve { rank, .. }, [a, k, z, l, cut]) => {
            axes(*z).without(rank).without(&others([*a, *k, *l, *cut]))
        }
        (_, [q, x, _, l, cut, start, ..]) => axes(*start).without(&others([*q, *x, *l, *cut])),
        _ => unreachable!("a verified linear scan has its operands"),
    }
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
            (Op::Proj { index }, _) if matches!(graph[node.operands[0]].op, Op::LinRead { .. }) => {
                vec![made[node.operands[0].index()][*index as usize]]
            }
            (op, line) => {
                let operands: Vec<ValueId> = (0..node.operands.len()).map(operand).collect();
                match (op, line) {
                    (Op::LinRead { key, .. }, Some(line)) => {
                        let six = operands[..6].try_into().expect("a verified linear scan has its operands");
                        let (read, state) = linread(&mut b, &line, key, &six);
                        vec![read, state]
                    }
                    (Op::LinSolve { key, rank, .. }, Some(line)) => {
                        vec![linsolve(&mut b, &line, key, rank, &operands)]
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

/// What solves a linear scan that reads itself: a step reads the memory of what the steps before it found.
fn linsolve(outer: &mut Builder<'_>, line: &Line, key: &Axes, rank: &Axes, operands: &[ValueId]) -> ValueId {
    let &[a, b, z, l, cut] = operands else { unreachable!("a verified solve has its operands") };
    let Type { dtype, axes } = outer.ty(z).clone();
    let found = axes.without(&line.axis.into());
    let state = key.union(&found.without(rank));
    let zero = outer.constant(0.0, dtype);
    let start = outer.broadcast(zero, &state);
    let decay = outer.exp(l);
    let mut body = Body::new(outer, line);
    let memory = body.input(outer, "memory", start);
    let [a, b, z, decay, cut] = [("a", a), ("b", b), ("z", z), ("decay", decay), ("cut", cut)]
        .map(|(name, v)| body.input(outer, name, v));
    let memory = if line.edge == Edge::Before { body.unless(cut, memory) } else { memory };
    let read = body.b.dot(a, memory, key.clone());
    let r = body.b.add(z, read);
    let r = body.b.broadcast(r, &found);
    let kept = body.b.mul(decay, memory);
    let written = body.b.dot(b, r, rank.clone());
    let next = body.b.add(kept, written);
    let next = if line.edge == Edge::After { body.unless(cut, next) } else { next };
    let next = body.b.broadcast(next, &state);
    body.b.output("memory", next);
    body.b.output("r", r);
    body.run(outer)[1]
}
