//! The weights of a line: how much of what one step wrote another step reads.
//!
//! A weight is e to the sum of the decays on the way, 0 where the way is cut. Invariants: cut edges count 0 in every
//! sum, and a sum that would cross one is masked; sums are added up from the nearer end and never subtracted, so that
//! their error is relative to the exponent itself; a decay below the working type's range counts as a cut. With
//! decays of at most 1 no weight is above 1.

use carousel_ir::{Axes, Axis, Builder, DType, Direction, Edge, Line, Read, ValueId};

/// Decays whose exponential is 0 in the dtype are cuts.
fn vanishing(dtype: DType) -> f64 {
    if dtype == DType::F64 { -745.2 } else { -103.98 }
}

/// The logarithm of a decay that leaves nothing, in every float type.
const NONE: f64 = -1e30;

/// The decays of a line, with what cuts it.
pub(super) struct Edges {
    /// The logarithms, 0 where they are cut.
    pub(super) log: ValueId,
    /// 1 where the step's edge is cut.
    pub(super) gap: ValueId,
    /// 1 where the decay between read and write is; only where old states are read.
    pub(super) inner: Option<ValueId>,
    /// 1 where the decay passes nothing on.
    pub(super) closed: ValueId,
}

/// Where a decay is 0 in the working type.
pub(super) fn vanishes(b: &mut Builder<'_>, l: ValueId) -> ValueId {
    let dtype = b.ty(l).dtype;
    let least = b.constant(vanishing(dtype), dtype);
    b.le(l, least)
}

/// The edges of a line with logarithms of decays `l` and cuts `cut`.
pub(super) fn edges(b: &mut Builder<'_>, line: &Line, l: ValueId, cut: ValueId) -> Edges {
    let dtype = b.ty(l).dtype;
    let zero = b.constant(0.0, dtype);
    let hard = vanishes(b, l);
    match line.read {
        Read::New => {
            // In the order of the decay's axes.
            let cut = b.or(hard, cut);
            let log = b.select(cut, zero, l);
            let gap = b.cast(cut, dtype);
            Edges { log, gap, inner: None, closed: gap }
        }
        Read::Old => {
            let log = b.select(hard, zero, l);
            let (gap, inner) = (b.cast(cut, dtype), b.cast(hard, dtype));
            Edges { log, gap, inner: Some(inner), closed: inner }
        }
    }
}

/// A line in which `t` counts steps that read, `u` steps that write.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    pub(super) t: Axis,
    pub(super) u: Axis,
    pub(super) direction: Direction,
    pub(super) edge: Edge,
    pub(super) read: Read,
}

/// Cotangents of the logarithms of the weights.
pub(super) struct Flows {
    pub(super) between: ValueId,
    pub(super) inward: ValueId,
    pub(super) outward: ValueId,
    pub(super) total: ValueId,
}

impl Steps {
    pub(super) fn new(line: &Line, t: Axis, u: Axis) -> Steps {
        Steps { t, u, direction: line.direction, edge: line.edge, read: line.read }
    }

    /// The running sum up to each step, itself included, in the line's direction.
    fn since_start(&self, b: &mut Builder<'_>, x: ValueId) -> ValueId {
        b.cumsum(x, self.t, self.direction)
    }

    /// The sum from each step on, itself included.
    fn until_end(&self, b: &mut Builder<'_>, x: ValueId) -> ValueId {
        b.cumsum(x, self.t, self.direction.flipped())
    }

    /// Each step's value one step later in the line's direction.
    fn later(&self, b: &mut Builder<'_>, x: ValueId) -> ValueId {
        b.shift(x, self.t, if self.direction == Direction::Forward { 1 } else { -1 })
    }

    fn earlier(&self, b: &mut Builder<'_>, x: ValueId) -> ValueId {
        b.shift(x, self.t, if self.direction == Direction::Forward { -1 } else { 1 })
    }

    /// Whether step t comes more than `by` steps after step u.
    fn is_after(&self, b: &mut Builder<'_>, by: u32) -> ValueId {
        let (t, u) = (b.iota(self.t), b.iota(self.u));
        let (first, second) = if self.direction == Direction::Forward { (u, t) } else { (t, u) };
        if by == 0 {
            return b.lt(first, second);
        }
        let by = b.constant(f64::from(by), DType::I32);
        let first = b.add(first, by);
        b.lt(first, second)
    }

    /// Whether the decay of the place t of [`Steps::placed`] lies between the write of u and the read of t.
    fn is_between(&self, b: &mut Builder<'_>) -> ValueId {
        match self.read {
            Read::New => self.is_after(b, 0),
            Read::Old => self.is_after(b, 1),
        }
    }

    /// Whether the decay of a step comes before its read.
    fn decays_first(&self) -> bool {
        self.edge == Edge::Before && self.read == Read::New
    }

    /// The decays, moved such that the one of place t is the last before the read of step t.
    fn placed(&self, b: &mut Builder<'_>, log: ValueId) -> ValueId {
        if self.decays_first() { log } else { self.later(b, log) }
    }

    /// The counts of cut edges before the read and before the write of each step.
    fn counts(&self, b: &mut Builder<'_>, edges: &Edges) -> (ValueId, ValueId) {
        let upto = self.since_start(b, edges.gap);
        let gaps = match self.edge {
            Edge::Before => upto,
            // Counts are whole numbers: their difference is exact.
            Edge::After => b.sub(upto, edges.gap),
        };
        match edges.inner {
            None => (gaps, gaps),
            Some(inner) => {
                let upto = self.since_start(b, inner);
                let before = b.sub(upto, inner);
                (b.add(gaps, before), b.add(gaps, upto))
            }
        }
    }

    /// The count of cut edges after the write of each step.
    fn counts_after(&self, b: &mut Builder<'_>, edges: &Edges) -> ValueId {
        let from = self.until_end(b, edges.gap);
        let gaps = match self.edge {
            Edge::After => from,
            Edge::Before => b.sub(from, edges.gap),
        };
        match edges.inner {
            None => gaps,
            Some(inner) => {
                let from = self.until_end(b, inner);
                let after = b.sub(from, inner);
                b.add(gaps, after)
            }
        }
    }

    /// The line, or its adjoint, whichever runs forward: along the same steps, and with reads and writes exchanged. What is
    /// read there was written here, so weights are the same; made in one way, a line and its adjoint, which gradients run
    /// along, have one matrix of them.
    fn forward(&self) -> (Steps, Steps) {
        let (direction, edge) = match self.direction {
            Direction::Forward => return (*self, *self),
            Direction::Reverse => (self.direction.flipped(), self.edge.flipped()),
        };
        let along = Steps { direction, edge, ..*self };
        (along, Steps { t: self.u, u: self.t, ..along })
    }

    /// A value of the line's steps under the name that they have as reads or writes.
    fn named(&self, b: &mut Builder<'_>, x: ValueId, axis: Axis) -> ValueId {
        if axis == self.t { x } else { b.rename(x, self.t, axis) }
    }

    /// From the write of step u to the read of step t.
    pub(super) fn between(&self, b: &mut Builder<'_>, edges: &Edges) -> ValueId {
        let zero = b.constant(0.0, b.ty(edges.log).dtype);
        let (along, across) = self.forward();
        let placed = along.placed(b, edges.log);
        let placed = self.named(b, placed, across.t);
        let is_between = across.is_between(b);
        let steps = b.select(is_between, placed, zero);
        let log = b.cumsum(steps, across.t, across.direction);
        let exp = b.exp(log);
        let is_seen = self.is_seen(b, edges);
        b.select(is_seen, exp, zero)
    }

    /// 1 where step t reads what step u wrote, however little of it is left.
    pub(super) fn seen(&self, b: &mut Builder<'_>, edges: &Edges) -> ValueId {
        let is_seen = self.is_seen(b, edges);
        b.cast(is_seen, b.ty(edges.log).dtype)
    }

    /// Whether step t comes after the write of step u, without a cut on the way.
    fn is_seen(&self, b: &mut Builder<'_>, edges: &Edges) -> ValueId {
        let (along, across) = self.forward();
        let (at_read, at_write) = along.counts(b, edges);
        let (at_read, at_write) = (self.named(b, at_read, across.t), self.named(b, at_write, across.u));
        let is_uncut = b.eq(at_read, at_write);
        let is_seen = match self.read {
            Read::Old => across.is_after(b, 0),
            Read::New => {
                let opposite = Steps { direction: across.direction.flipped(), ..across };
                let is_before = opposite.is_after(b, 0);
                b.not(is_before)
            }
        };
        b.and(is_seen, is_uncut)
    }

    /// The factor of the weights that is the read's: a weight is this times [`Steps::away`] where nothing is cut. Both
    /// count from the middle of all that decays, so that neither is larger than need be.
    pub(super) fn toward(&self, b: &mut Builder<'_>, log: ValueId) -> ValueId {
        let (upto, middle) = self.about_middle(b, log);
        let log = b.sub(upto, middle);
        b.exp(log)
    }

    /// The write's.
    pub(super) fn away(&self, b: &mut Builder<'_>, log: ValueId) -> ValueId {
        let (upto, middle) = self.about_middle(b, log);
        let upto = match self.read {
            Read::New => upto,
            // The decay of the step after the write comes before it is read.
            Read::Old => self.earlier(b, upto),
        };
        let log = b.sub(middle, upto);
        b.exp(log)
    }

    /// The decays up to each read, and half of all.
    fn about_middle(&self, b: &mut Builder<'_>, log: ValueId) -> (ValueId, ValueId) {
        let placed = self.placed(b, log);
        let upto = self.since_start(b, placed);
        let total = b.sum(placed, self.t.into());
        let half = b.constant(0.5, b.ty(log).dtype);
        (upto, b.mul(total, half))
    }

    /// From the line's start to the read of step t.
    pub(super) fn inward(&self, b: &mut Builder<'_>, edges: &Edges) -> ValueId {
        let zero = b.constant(0.0, b.ty(edges.log).dtype);
        let placed = self.placed(b, edges.log);
        let (at_read, _) = self.counts(b, edges);
        let log = self.since_start(b, placed);
        let exp = b.exp(log);
        let is_uncut = b.eq(at_read, zero);
        b.select(is_uncut, exp, zero)
    }

    /// From the write of step t to the line's end.
    pub(super) fn outward(&self, b: &mut Builder<'_>, edges: &Edges) -> ValueId {
        let zero = b.constant(0.0, b.ty(edges.log).dtype);
        let after = if self.decays_at_end() { edges.log } else { self.earlier(b, edges.log) };
        let log = self.until_end(b, after);
        let exp = b.exp(log);
        let cuts = self.counts_after(b, edges);
        let is_uncut = b.eq(cuts, zero);
        b.select(is_uncut, exp, zero)
    }

    /// The logarithm of the weight from the line's start to its end; where that is 0, a decay that vanishes.
    pub(super) fn log_total(&self, b: &mut Builder<'_>, edges: &Edges) -> ValueId {
        let dtype = b.ty(edges.log).dtype;
        let zero = b.constant(0.0, dtype);
        let log = b.sum(edges.log, self.t.into());
        let mut cuts = b.sum(edges.gap, self.t.into());
        if let Some(inner) = edges.inner {
            let inner = b.sum(inner, self.t.into());
            cuts = b.add(cuts, inner);
        }
        let is_uncut = b.eq(cuts, zero);
        let none = b.constant(NONE, dtype);
        b.select(is_uncut, log, none)
    }

    /// Whether the decay of a step comes after its write.
    fn decays_at_end(&self) -> bool {
        self.edge == Edge::After && self.read == Read::New
    }

    /// What the four weights do to the decays, transposed: the gradient of the logarithms of the decays.
    pub(super) fn gradient(&self, b: &mut Builder<'_>, edges: &Edges, flows: &Flows) -> ValueId {
        let zero = b.constant(0.0, b.ty(edges.log).dtype);
        let is_between = self.is_between(b);
        let through = self.until_end(b, flows.between);
        let through = b.select(is_between, through, zero);
        let through = b.sum(through, Axes::from(self.u));
        let inward = self.until_end(b, flows.inward);
        let placed = b.add(through, inward);
        let placed = if self.decays_first() { placed } else { self.earlier(b, placed) };
        let outward = self.since_start(b, flows.outward);
        let outward = if self.decays_at_end() { outward } else { self.later(b, outward) };
        let sum = b.add(placed, outward);
        let sum = b.add(sum, flows.total);
        let is_open = b.eq(edges.closed, zero);
        b.select(is_open, sum, zero)
    }
}
