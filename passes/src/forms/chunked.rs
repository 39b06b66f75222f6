//! Linear scans chunk by chunk, and all at once: one chunk.
//!
//! Within a chunk every read is a weighted sum over the writes of the chunk, and of the state before it; only the
//! states between chunks are carried. Invariants: no value has the line's axis and all axes of the state, the states
//! between chunks aside; any length will do, for steps that fill up the last chunk neither decay nor write.

use super::weights::{Edges, Flows, Steps, Weights, edges};
use carousel_ir::{Axes, Axis, Builder, Line, Role, Scan, Size, Type, ValueId};
use std::collections::HashMap;

/// A linear scan's operands: q, x, w, l, cut, initial state.
pub(super) type Operands = [ValueId; 6];

/// How the steps are laid out.
pub(super) struct Layout {
    /// The line's own axis.
    line: Axis,
    /// That of the chunks; `None` if there is one.
    chunk: Option<Axis>,
    /// The steps and those that fill up, where there are such.
    padded: Option<Axis>,
    steps: Steps,
}

/// The axes of chunks, of a padded sequence, and of the steps that read and write.
#[derive(Clone, Copy)]
struct ChunkAxes {
    chunk: Option<Axis>,
    padded: Option<Axis>,
    t: Axis,
    u: Axis,
}

/// The axes that the scans of one graph are laid out along. Scans along one axis with chunks of one length share
/// them, so that what they have in common is found to be equal.
#[derive(Default)]
pub(super) struct Layouts(HashMap<(Axis, Option<u64>), ChunkAxes>);

impl Layouts {
    /// Chunks of `length` steps; one chunk if that is not given or enough.
    pub(super) fn layout(&mut self, b: &mut Builder<'_>, line: &Line, length: Option<u64>) -> Layout {
        let size = b.axes().size(line.axis).clone();
        let whole = size.known();
        let length = length.map(|n| n.max(1)).filter(|n| whole.is_none_or(|whole| whole > *n));
        let axes = *self.0.entry((line.axis, length)).or_insert_with(|| {
            let Some(length) = length.map(Size::Known) else {
                let u = b.axes_mut().fresh("written".into(), size);
                return ChunkAxes { chunk: None, padded: None, t: line.axis, u };
            };
            let chunks = size.clone().ceil_div(length.clone());
            let total = Size::product([chunks.clone(), length.clone()]);
            let padded = (total != size).then(|| b.axes_mut().fresh("padded".into(), total));
            let chunk = Some(b.axes_mut().fresh("chunk".into(), chunks));
            let t = b.axes_mut().fresh("step".into(), length.clone());
            let u = b.axes_mut().fresh("written".into(), length);
            ChunkAxes { chunk, padded, t, u }
        });
        let ChunkAxes { chunk, padded, t, u } = axes;
        Layout { line: line.axis, chunk, padded, steps: Steps::new(line, t, u) }
    }
}

impl Layout {
    /// A sequence, chunk by chunk.
    fn lay(&self, b: &mut Builder<'_>, x: ValueId) -> ValueId {
        let Some(chunk) = self.chunk else { return x };
        let into = Axes::new([chunk, self.steps.t]);
        match self.padded {
            Some(padded) => {
                let x = b.pad(x, self.line, padded, Size::Known(0));
                b.split(x, padded, into)
            }
            None => b.split(x, self.line, into),
        }
    }

    /// A sequence as it was.
    fn back(&self, b: &mut Builder<'_>, x: ValueId) -> ValueId {
        let Some(chunk) = self.chunk else { return x };
        let parts = Axes::new([chunk, self.steps.t]);
        match self.padded {
            Some(padded) => {
                let x = b.merge(x, parts, padded);
                b.slice(x, padded, self.line, Size::Known(0))
            }
            None => b.merge(x, parts, self.line),
        }
    }

    /// The axes of a laid out sequence in front of its own.
    fn front(&self) -> Axes {
        self.chunk.into_iter().chain([self.steps.t]).collect()
    }

    fn edges(&self, b: &mut Builder<'_>, line: &Line, l: ValueId, cut: ValueId) -> Edges {
        let edges = edges(b, line, l, cut);
        Edges {
            log: self.lay(b, edges.log),
            gap: self.lay(b, edges.gap),
            inner: edges.inner.map(|inner| self.lay(b, inner)),
            closed: self.lay(b, edges.closed),
        }
    }
}

/// The states before each chunk, in the order of `line`, and the last one: each is `total` times the one before, and
/// the sum over the chunk's steps of `weight * x * w`. `scaled` is the one of x and w that takes the weight.
fn carried(
    b: &mut Builder<'_>,
    layout: &Layout,
    line: &Line,
    total: ValueId,
    weighted: (ValueId, ValueId),
    start: ValueId,
) -> (ValueId, ValueId) {
    let written = b.dot(weighted.0, weighted.1, layout.steps.t.into());
    let state = b.ty(start).axes.clone();
    let Some(chunk) = layout.chunk else {
        let kept = b.mul(total, start);
        return (start, b.add(kept, written));
    };
    let all = Axes::from(chunk).union(&state);
    let written = b.broadcast(written, &all);
    let total = b.broadcast(total, &chunk.into());
    let mut body = Builder::body(b.axes().clone());
    let element = |v: ValueId, b: &Builder<'_>| {
        let ty = b.ty(v);
        Type { dtype: ty.dtype, axes: ty.axes.without(&chunk.into()) }
    };
    let before = body.input("state", element(start, b), Role::Argument);
    let decay = body.input("total", element(total, b), Role::Argument);
    let added = body.input("written", element(written, b), Role::Argument);
    let kept = body.mul(decay, before);
    let after = body.add(kept, added);
    body.output("state", after);
    body.output("before", before);
    let scan =
        Scan { axis: chunk, direction: line.direction, states: 1, sequences: 2, body: body.finish_pass() };
    let results = b.scan(scan, &[start, total, written]);
    (results[1], results[0])
}

/// A pair of factors, the first one times `weight`. Which one that is does not depend on their order, so that the
/// scans of a forward and a backward pass carry the same states.
fn weighted(
    b: &mut Builder<'_>,
    layout: &Layout,
    weight: ValueId,
    x: ValueId,
    w: ValueId,
) -> (ValueId, ValueId) {
    let (first, second) = if x < w { (x, w) } else { (w, x) };
    let (first, second) = (layout.lay(b, first), layout.lay(b, second));
    (b.mul(weight, first), second)
}

/// What is read, and the final state.
pub(super) fn linread(
    b: &mut Builder<'_>,
    line: &Line,
    key: &Axes,
    operands: &Operands,
    layout: &Layout,
) -> (ValueId, ValueId) {
    let [q, x, w, l, cut, start] = *operands;
    let edges = layout.edges(b, line, l, cut);
    let Weights { between, inward, outward, total } = layout.steps.weights(b, &edges);
    let added = weighted(b, layout, outward, x, w);
    let (before, last) = carried(b, layout, line, total, added, start);

    let (q, x, w) = (layout.lay(b, q), layout.lay(b, x), layout.lay(b, w));
    let (t, u) = (layout.steps.t, layout.steps.u);
    let old = b.dot(q, before, key.clone());
    let old = b.mul(inward, old);
    let x = b.rename(x, t, u);
    let w = b.rename(w, t, u);
    let products = b.dot(q, x, key.clone());
    let scores = b.mul(between, products);
    let new = b.dot(scores, w, u.into());
    let read = b.add(old, new);
    let axes = layout.front().union(&b.ty(start).axes.without(key));
    let read = b.broadcast(read, &axes);
    (layout.back(b, read), last)
}

/// The gradient by the logarithm of the decay: the sum over all paths through it.
pub(super) fn decay_gradient(
    b: &mut Builder<'_>,
    line: &Line,
    key: &Axes,
    operands: &Operands,
    cotangents: [ValueId; 2],
    layout: &Layout,
) -> ValueId {
    let [q, x, w, l, cut, start] = *operands;
    let [dy, last] = cotangents;
    let edges = layout.edges(b, line, l, cut);
    let weights = layout.steps.weights(b, &edges);
    let own = b.ty(l).axes.clone();
    let written = written_axes(b, key, operands);

    let added = weighted(b, layout, weights.outward, x, w);
    let (before, _) = carried(b, layout, line, weights.total, added, start);
    let added = weighted(b, layout, weights.inward, q, dy);
    let (after, _) = carried(b, layout, &line.adjoint(), weights.total, added, last);

    let [q, x, w, dy] = [q, x, w, dy].map(|v| layout.lay(b, v));
    let (t, u) = (layout.steps.t, layout.steps.u);
    // Only the axes of the decay itself are left, and until the end those of the cuts, which close edges one by one.
    let kept = own.union(&b.ty(edges.closed).axes).union(&layout.front()).union(&u.into());
    let narrow = |b: &mut Builder<'_>, v: ValueId| {
        let rest = b.ty(v).axes.without(&kept);
        b.sum(v, rest)
    };
    let (x_u, w_u) = (b.rename(x, t, u), b.rename(w, t, u));
    let products = b.dot(q, x_u, key.clone());
    let pairs = b.dot(dy, w_u, written.clone());
    let scores = b.mul(products, pairs);
    let scores = b.mul(weights.between, scores);
    let between = narrow(b, scores);

    let old = b.dot(q, before, key.clone());
    let old = b.dot(old, dy, written.clone());
    let old = b.mul(weights.inward, old);
    let inward = narrow(b, old);

    let new = b.dot(x, after, key.clone());
    let new = b.dot(new, w, written);
    let new = b.mul(weights.outward, new);
    let outward = narrow(b, new);

    let summed = b.ty(start).axes.without(&kept);
    let whole = b.dot(after, before, summed.without(&b.ty(weights.total).axes));
    let whole = b.mul(weights.total, whole);
    let total = narrow(b, whole);

    let flows = Flows { between, inward, outward, total };
    let gradient = layout.steps.gradient(b, &edges, &flows);
    let rest = b.ty(gradient).axes.without(&own).without(&layout.front());
    let gradient = b.sum(gradient, rest);
    let gradient = b.broadcast(gradient, &layout.front().union(&own.without(&line.axis.into())));
    layout.back(b, gradient)
}

/// The axes of the state that only the written vector has.
pub(super) fn written_axes(b: &Builder<'_>, key: &Axes, operands: &Operands) -> Axes {
    let [q, x, _, l, cut, start] = *operands;
    let others = [q, x, l, cut].iter().fold(key.clone(), |axes, v| axes.union(&b.ty(*v).axes));
    b.ty(start).axes.without(&others)
}
