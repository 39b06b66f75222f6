//! Reads of linear states: where the linear scans themselves are made.
//!
//! Invariant: a scan's write is an outer product; its factors with axes that are contracted go into x, and so do
//! those that only the step or the batch knows, the others into w. A state that several reads share gets a scan for
//! each of them; the first one gives the final state.

use super::lift::{Lift, Linear, Status, Term, refuse};
use super::refusal::{Class, Refusal};
use carousel_ir::{Axes, Edge, Line, Op, Read, ValueId};

/// Whether a state may be read element by element at every step, where it is the product of two vectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whole {
    Refused,
    Allowed,
}

/// What two reads must have in common to be one: state, which, contracted axes, factors of q.
pub(super) type Key = (usize, Read, Vec<carousel_ir::Axis>, Vec<ValueId>);

/// Far below the logarithm of any decay that is not 0.
const NO_DECAY: f64 = -1e30;

/// The vectors of an outer product, as factors.
struct Outer {
    x: Vec<ValueId>,
    w: Vec<ValueId>,
}

impl Lift<'_, '_> {
    /// The factors of a value.
    pub(super) fn factors(&mut self, value: ValueId) -> Vec<ValueId> {
        let node = self.b.graph()[value].clone();
        match (&node.op, node.operands.as_slice()) {
            (Op::Mul, [x, y]) => [self.factors(*x), self.factors(*y)].concat(),
            (Op::Broadcast { .. }, [x]) => self.factors(*x),
            (Op::Neg, [x]) => {
                let one = self.one();
                let minus = self.b.neg(one);
                let mut factors = self.factors(*x);
                factors.push(minus);
                factors
            }
            (Op::Const { value: number, .. }, _) if number.get() == 1.0 => Vec::new(),
            (Op::Select, [condition, x, y]) => {
                let (zero, one) = (self.zero(), self.one());
                let is_zero = |v| super::facts::is_number(self.b.graph(), v, 0.0);
                let (kept, mask) = if is_zero(*x) {
                    (*y, self.b.select(*condition, zero, one))
                } else if is_zero(*y) {
                    (*x, self.b.select(*condition, one, zero))
                } else {
                    return vec![value];
                };
                let mut factors = self.factors(kept);
                factors.push(mask);
                factors
            }
            _ => vec![value],
        }
    }

    pub(super) fn multiplied(&mut self, factors: &[ValueId]) -> Option<ValueId> {
        factors.iter().copied().reduce(|x, y| self.b.mul(x, y))
    }

    /// A sequence with these axes, 1 if there are no factors.
    pub(super) fn sequence(&mut self, factors: &[ValueId], axes: &Axes) -> ValueId {
        let product = match self.multiplied(factors) {
            Some(product) => product,
            None => self.one(),
        };
        self.b.broadcast(product, &axes.union(&self.scan.axis.into()))
    }

    /// The multiple of a state, contracted over `key`, for all steps.
    pub(super) fn read(&mut self, term: &Term, key: &Axes, whole: Whole) -> Result<ValueId, Refusal> {
        let factors = term.coefficient.map(|c| self.factors(c)).unwrap_or_default();
        let (mut inner, outer): (Vec<_>, Vec<_>) =
            factors.into_iter().partition(|f| !self.b.ty(*f).axes.intersection(key).is_empty());
        inner.sort();
        let mut sorted: Vec<_> = key.iter().collect();
        sorted.sort();
        let memo: Key = (term.state, term.read, sorted, inner.clone());
        let read = match self.reads.get(&memo) {
            Some(read) => *read,
            None => {
                let read = self.scan_state(term.state, term.read, key, &inner, whole)?;
                self.reads.insert(memo, read);
                read
            }
        };
        Ok(match self.multiplied(&outer) {
            Some(outer) => self.b.mul(outer, read),
            None => read,
        })
    }

    /// A linear scan of a state: what is read with `q`.
    pub(super) fn scan_state(
        &mut self,
        state: usize,
        read: Read,
        key: &Axes,
        q: &[ValueId],
        whole: Whole,
    ) -> Result<ValueId, Refusal> {
        let known = self.states[state].clone();
        let Status::Linear(linear) = known.status else {
            return refuse(Some(known.name), Class::Nonlinear, "it is read before it is solved");
        };
        let axis = self.scan.axis;
        let line = Line { axis, direction: self.scan.direction, edge: Edge::Before, read };
        let (log, cut) = self.decay(&linear, read, key);
        self.has_keyed_decays |= !self.b.ty(log).axes.intersection(key).is_empty();
        let q = self.sequence(q, key);
        // Reads by vectors with axes that the state lacks get a copy of the state each.
        let copies = self.b.ty(q).axes.without(&known.axes).without(&axis.into());
        let start = self.b.broadcast(known.start, &copies);
        let shared = [q, log, cut].iter().fold(Axes::from(axis), |a, v| a.union(&self.b.ty(*v).axes));

        let zero = self.zero();
        let writes = if linear.writes.is_empty() { vec![vec![zero]] } else { linear.writes };
        let mut outers: Vec<(Vec<ValueId>, ValueId)> = Vec::new();
        for write in &writes {
            let Outer { mut x, mut w } = self.outer(write, key, &shared, known.name, whole)?;
            self.has_vectors |= !key.is_empty() || !w.is_empty();
            if writes.len() > 1 {
                // What differs by a scale is written along the same vector.
                let is_scale = |axes: &Axes| axes.intersection(key).is_empty() && axes.is_subset(&shared);
                w.extend(x.extract_if(.., |f| is_scale(&self.b.ty(*f).axes)));
            }
            let w = self.sequence(&w, &Axes::none());
            match outers.iter_mut().find(|(known, _)| *known == x) {
                Some((_, sum)) => *sum = self.b.add(*sum, w),
                None => outers.push((x, w)),
            }
        }
        let (mut sum, mut last) = (None, None);
        for (place, (x, w)) in outers.into_iter().enumerate() {
            let x = self.sequence(&x, key);
            let start = if place == 0 {
                start
            } else {
                let axes = self.b.ty(start).axes.clone();
                self.b.broadcast(zero, &axes)
            };
            let (y, end) = self.b.linread(&line, key.clone(), [q, x, w, log, cut, start]);
            sum = Some(sum.map_or(y, |sum| self.b.add(sum, y)));
            last = Some(last.map_or(end, |last| self.b.add(last, end)));
        }
        if copies.is_empty()
            && let Status::Linear(linear) = &mut self.states[state].status
        {
            linear.last = linear.last.or(last);
        }
        Ok(sum.unwrap_or(zero))
    }

    /// The logarithm of the decay and the cuts, as the operation takes them. Reading old, the cut is where the state
    /// starts anew, and a decay of 0 is one that is far below all others. What is cut key by key decays key by key.
    pub(super) fn decay(&mut self, linear: &Linear, read: Read, key: &Axes) -> (ValueId, ValueId) {
        let axis = Axes::from(self.scan.axis);
        let Linear { mut log, zero, reset, .. } = *linear;
        let cut = match (read, zero, reset) {
            (Read::New, Some(zero), Some(reset)) => Some(self.b.or(zero, reset)),
            (Read::New, zero, reset) => zero.or(reset),
            (Read::Old, zero, reset) => {
                if let Some(zero) = zero {
                    let none = self.b.constant(NO_DECAY, self.b.ty(log).dtype);
                    log = self.b.select(zero, none, log);
                }
                reset
            }
        };
        let cut = cut.unwrap_or_else(|| self.b.constant(0.0, carousel_ir::DType::Bool));
        let keyed = self.b.ty(cut).axes.intersection(key);
        (self.b.broadcast(log, &axis.union(&keyed)), self.b.broadcast(cut, &axis))
    }

    /// The factors of a write as those of two vectors. `shared` are axes that all of them may have.
    fn outer(
        &mut self,
        write: &[ValueId],
        key: &Axes,
        shared: &Axes,
        state: carousel_ir::Name,
        whole: Whole,
    ) -> Result<Outer, Refusal> {
        let own = |f: &ValueId| self.b.ty(*f).axes.without(shared);
        if key.is_empty() {
            return self.without_key(write, shared, state, whole);
        }
        let (mut x, rest): (Vec<_>, Vec<_>) =
            write.iter().copied().partition(|f| !self.b.ty(*f).axes.intersection(key).is_empty());
        let (scales, mut w): (Vec<_>, Vec<_>) = rest.into_iter().partition(|f| own(f).is_empty());
        // A scale goes to the vector that has its axes already.
        let vectors = x.iter().fold(Axes::from(self.scan.axis), |all, f| all.union(&self.b.ty(*f).axes));
        let (to_x, to_w): (Vec<_>, Vec<_>) =
            scales.into_iter().partition(|f| self.b.ty(*f).axes.is_subset(&vectors));
        x.extend(to_x);
        w.extend(to_w);
        x.sort();
        Ok(Outer { x, w })
    }

    /// The same where nothing is contracted: factors that have axes in common belong together.
    fn without_key(
        &mut self,
        write: &[ValueId],
        shared: &Axes,
        state: carousel_ir::Name,
        whole: Whole,
    ) -> Result<Outer, Refusal> {
        let own = |f: &ValueId| self.b.ty(*f).axes.without(shared);
        let (mut scales, mut vectors): (Vec<_>, Vec<_>) =
            write.iter().copied().partition(|f| own(f).is_empty());
        scales.sort();
        let Some(first) = vectors.first().copied() else { return Ok(Outer { x: scales, w: Vec::new() }) };
        let mut axes = own(&first);
        let mut together = vec![first];
        vectors.remove(0);
        while let Some(at) = vectors.iter().position(|f| !own(f).intersection(&axes).is_empty()) {
            let next = vectors.remove(at);
            axes = axes.union(&own(&next));
            together.push(next);
        }
        if vectors.is_empty() {
            return Ok(Outer { x: scales, w: together });
        }
        if whole == Whole::Refused {
            let reason = "all its elements are used at every step";
            return refuse(Some(state), Class::Other, reason);
        }
        scales.extend(together);
        Ok(Outer { x: scales, w: vectors })
    }
}
