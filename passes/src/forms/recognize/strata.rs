//! The states of a loop, one after the other.
//!
//! Invariant: a state is solved from inputs and solved states only. Linear where that is possible; else it stays in a
//! loop with those that it depends on, as long as none of them is linear and it is no larger than the linear ones.

use super::super::classify::Recurrence;
use super::Stratum;
use super::facts::{Carried, Logarithm, alternatives, logarithm, sum};
use super::lift::{ITSELF, Itself, Lift, Linear, State, Status, refuse};
use super::reads::Whole;
use super::refusal::{Class, Refusal};
use carousel_ir::{Axes, Builder, Edge, Graph, Line, Name, Op, Output, Read, Scan, ValueId};

/// What takes the place of a loop.
pub(super) struct Solution {
    pub(super) states: Vec<(Name, Stratum)>,
    pub(super) kind: Recurrence,
    /// The results of the loop.
    pub(super) results: Vec<ValueId>,
}

/// Takes a loop apart.
pub(super) fn solve(b: &mut Builder<'_>, scan: &Scan, operands: &[ValueId]) -> Result<Solution, Refusal> {
    let count = scan.states as usize;
    if count == 0 {
        return refuse(None, Class::Other, "the loop has no state");
    }
    let mut lift = Lift::new(b, scan, operands)?;
    let same = lift.states.iter().all(|s| lift.b.ty(s.start).dtype.is_float())
        && (1..count).all(|i| lift.body.inputs[i].ty.dtype == lift.body.inputs[0].ty.dtype);
    if !same {
        return refuse(None, Class::Other, "its states are not floats of one kind");
    }
    let mut why = None;
    while lift.states.iter().any(|s| matches!(s.status, Status::Unsolved)) {
        let mut progress = false;
        for state in 0..count {
            if !lift.is_ready(state) {
                continue;
            }
            match lift.solve_linear(state) {
                Ok(linear) => {
                    lift.states[state].status = Status::Linear(linear);
                    progress = true;
                }
                Err(refusal) => {
                    why.get_or_insert(refusal);
                }
            }
        }
        if !progress {
            let group = lift.group();
            let kept = group.iter().all(|i| !matches!(lift.states[*i].status, Status::Linear(_)));
            if group.is_empty() || !kept {
                return Err(why.unwrap_or_else(coupled));
            }
            lift.keep(&group);
        }
    }
    let linear = |s: &State| matches!(s.status, Status::Linear(_));
    if !lift.states.iter().any(linear) {
        return Err(why.unwrap_or_else(coupled));
    }
    for (place, kept) in lift.states.iter().enumerate().filter(|(_, s)| !linear(s)) {
        let uses = |s: &State| lift.depends[s.next.index()] >> place & 1 == 1;
        if lift.states.iter().any(|s| linear(s) && uses(s) && !kept.axes.is_subset(&s.axes)) {
            let reason = "a state that stays a loop is not smaller than a linear one";
            return refuse(Some(kept.name), Class::Nonlinear, reason);
        }
    }
    let results = lift.results()?;
    let kind = match lift {
        Lift { has_feedback: true, .. } => Recurrence::LowRank,
        Lift { has_keyed_decays: true, .. } => Recurrence::Diagonal,
        Lift { has_vectors: true, .. } => Recurrence::Scalar,
        Lift { .. } => Recurrence::Elementwise,
    };
    let states = lift.states.iter().map(|s| {
        let stratum = if linear(s) { Stratum::Linear } else { Stratum::Kept };
        (s.name, stratum)
    });
    Ok(Solution { states: states.collect(), kind, results })
}

/// Why no state could be solved where none was tried.
fn coupled() -> Refusal {
    Refusal { state: None, class: Class::Coupled, reason: "its states go into each other's updates".into() }
}

impl Lift<'_, '_> {
    fn unsolved(&self) -> u64 {
        let bit = |(i, s): (usize, &State)| u64::from(matches!(s.status, Status::Unsolved)) << i;
        self.states.iter().enumerate().map(bit).sum()
    }

    /// Whether the state is unsolved, and its update depends on no other unsolved state.
    fn is_ready(&self, state: usize) -> bool {
        let own = 1u64 << state;
        let unsolved = self.unsolved();
        unsolved & own != 0 && self.depends[self.states[state].next.index()] & unsolved & !own == 0
    }

    /// The smallest set of unsolved states whose updates depend on no others, with the kept ones that they need.
    fn group(&self) -> Vec<usize> {
        let unsolved = self.unsolved();
        let closure = |state: usize| {
            let mut all = 1u64 << state;
            loop {
                let more = (0..self.states.len())
                    .filter(|i| all >> i & 1 == 1)
                    .fold(all, |m, i| m | self.depends[self.states[i].next.index()]);
                if more == all {
                    return all;
                }
                all = more;
            }
        };
        let closures = (0..self.states.len()).filter(|i| unsolved >> i & 1 == 1).map(closure);
        let smallest = closures.min_by_key(|c| c.count_ones()).unwrap_or(0);
        (0..self.states.len()).filter(|i| smallest >> i & 1 == 1).collect()
    }

    fn solve_linear(&mut self, state: usize) -> Result<Linear, Refusal> {
        self.set_current(Some(state));
        let solved = self.linear_update(state);
        let itself = self.itself.take();
        self.set_current(None);
        let (linear, written) = solved?;
        match (itself, written) {
            (Some(itself), Some(written)) => self.with_feedback(state, linear, &itself, written),
            _ => Ok(linear),
        }
    }

    /// The state that also writes what it reads of itself, times `written`. What it reads is what it would read without that,
    /// and what it then reads of what it has read: the solution of a triangular system.
    fn with_feedback(
        &mut self,
        state: usize,
        linear: Linear,
        itself: &Itself,
        written: ValueId,
    ) -> Result<Linear, Refusal> {
        self.states[state].status = Status::Linear(linear.clone());
        let read = self.scan_state(state, Read::Old, &itself.key, &itself.query, Whole::Refused);
        self.states[state].status = Status::Unsolved;
        let read = read?;
        let axis = self.scan.axis;
        let (log, cut) = self.decay(&linear, Read::Old, &itself.key);
        let mut factors = self.factors(written);
        let [a, b] = [&itself.query, &factors].map(|f| self.sequence(f, &itself.key));
        let line = Line { axis, direction: self.scan.direction, edge: Edge::Before, read: Read::Old };
        let solve = line.linsolve(itself.key.clone(), Axes::none());
        factors.push(self.b.push(solve, &[a, b, read, log, cut]));
        self.has_feedback = true;
        let writes = linear.writes.iter().cloned().chain([factors]).collect();
        Ok(Linear { writes, ..linear })
    }

    /// Without what the state reads of itself; the factor with which that is written.
    fn linear_update(&mut self, state: usize) -> Result<(Linear, Option<ValueId>), Refusal> {
        let State { name, next, reset, .. } = self.states[state].clone();
        let form = self.affine(next)?;
        let (own, others): (Vec<_>, Vec<_>) = form.terms.into_iter().partition(|t| t.state == state);
        let (itself, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|t| t.state == ITSELF);
        let one = self.one();
        let itself = itself.iter().map(|t| t.coefficient.unwrap_or(one)).reduce(|x, y| self.b.add(x, y));
        if own.is_empty() {
            return refuse(Some(name), Class::Other, "its next value does not depend on it");
        }
        let decay = if own.len() == 1 && own[0].coefficient.is_none() {
            None
        } else {
            own.iter().map(|t| t.coefficient.unwrap_or(one)).reduce(|x, y| self.b.add(x, y))
        };
        let Logarithm { log, zero } = match decay {
            None => Logarithm { log: self.zero(), zero: None },
            Some(decay) => match logarithm(self.b, &mut self.facts, decay) {
                Some(log) => log,
                None => {
                    let reason = "its decay is not known to be positive";
                    return refuse(Some(name), Class::Unbounded, reason);
                }
            },
        };
        if self.facts.bound(self.b.graph(), log).is_none() {
            let reason = "its decay is not known to be at most 1";
            return refuse(Some(name), Class::Unbounded, reason);
        }
        let log = self.bracketed(log);
        // Other linear states that are added are read.
        let mut written = form.constant;
        for other in others {
            let read = self.read(&other, &Axes::none(), Whole::Refused)?;
            written = Some(written.map_or(read, |w| self.b.add(w, read)));
        }
        let reset = match reset {
            None => None,
            Some((condition, when)) => {
                let form = self.affine(condition)?;
                let value = self.force(&form, condition)?;
                Some(if when { value } else { self.b.not(value) })
            }
        };
        let writes = written.map(|w| self.products(w, 1)).unwrap_or_default();
        Ok((Linear { log, zero, reset, writes, last: None }, itself))
    }

    /// A sum of products, each as its factors.
    fn products(&mut self, value: ValueId, sign: i32) -> Vec<Vec<ValueId>> {
        let node = self.b.graph()[value].clone();
        match (&node.op, node.operands.as_slice()) {
            (Op::Add, [x, y]) => [self.products(*x, sign), self.products(*y, sign)].concat(),
            (Op::Sub, [x, y]) => [self.products(*x, sign), self.products(*y, -sign)].concat(),
            (Op::Neg, [x]) => self.products(*x, -sign),
            (Op::Broadcast { .. }, [x]) => self.products(*x, sign),
            _ if super::facts::is_number(self.b.graph(), value, 0.0) => Vec::new(),
            _ => {
                let mut factors = self.factors(value);
                if sign < 0 {
                    let one = self.one();
                    factors.push(self.b.neg(one));
                }
                if factors.is_empty() {
                    factors.push(self.one());
                }
                vec![factors]
            }
        }
    }

    /// The logarithm of a decay with the difference of a kept state's values taken first: that difference is small
    /// where the values themselves are large.
    fn bracketed(&mut self, log: ValueId) -> ValueId {
        let mut rest = sum(self.b.graph(), log);
        let difference = self.facts.carried_difference(self.b.graph(), &rest);
        let Some(Carried { before, after }) = difference else { return log };
        rest.remove(&before);
        rest.remove(&after);
        if rest.values().any(|n| n.abs() != 1) {
            return log;
        }
        let mut total = self.b.sub(before, after);
        for (value, n) in rest {
            total = if n > 0 { self.b.add(value, total) } else { self.b.sub(total, value) };
        }
        total
    }

    /// Leaves the states of `group` in a loop of their own, which yields their values before and after each step.
    fn keep(&mut self, group: &[usize]) {
        let count = self.states.len();
        let mut body = Graph { outputs: Vec::new(), ..self.body.clone() };
        let inputs = self.body.input_values();
        let output = |name: String, value: ValueId| Output {
            name: Name::new(&name),
            value,
            axes: self.body.ty(value).axes.clone(),
        };
        for (place, i) in group.iter().enumerate() {
            body.outputs.push(output(format!("next.{place}"), self.states[*i].next));
        }
        for (place, i) in group.iter().enumerate() {
            let before = inputs[*i].expect("a body in normal form has a node for each input");
            body.outputs.push(output(format!("before.{place}"), before));
            body.outputs.push(output(format!("after.{place}"), self.states[*i].next));
        }
        let body = crate::plain::live_with_inputs(&carousel_ir::Module::default(), &body);
        let order: Vec<usize> = group.iter().copied().chain(count..body.inputs.len()).collect();
        let operands: Vec<ValueId> = order.iter().map(|i| self.operands[*i]).collect();
        let body = carousel_ir::transform::with_inputs(&body, &order);
        let scan = Scan {
            axis: self.scan.axis,
            direction: self.scan.direction,
            states: group.len() as u32,
            sequences: self.scan.sequences,
            body,
        };
        let results = self.b.scan(scan, &operands);
        for (place, i) in group.iter().enumerate() {
            let (previous, new) = (results[group.len() + 2 * place], results[group.len() + 2 * place + 1]);
            let name = self.states[*i].name;
            self.b.name(new, name);
            self.states[*i].status = Status::Kept { previous, new, last: results[place] };
            self.facts.is_carried(Carried { before: previous, after: new });
        }
        for i in group {
            self.note_maximum(*i);
        }
    }

    /// A state that is a maximum is at least as large as what it is the maximum of.
    fn note_maximum(&mut self, state: usize) {
        let Status::Kept { new, .. } = self.states[state].status else { return };
        let next = self.states[state].next;
        let mut small = Vec::new();
        for alternative in alternatives(&self.body, next).into_iter().filter(|v| *v != next) {
            if let Ok(form) = self.affine(alternative)
                && let (Some(value), true) = (form.constant, form.terms.is_empty())
            {
                small.push(value);
            }
        }
        self.facts.is_above(self.b.graph(), new, &small);
    }

    /// The results of the loop: final states, then yields.
    fn results(&mut self) -> Result<Vec<ValueId>, Refusal> {
        let count = self.states.len();
        let axis = Axes::from(self.scan.axis);
        let mut yields = Vec::new();
        for output in self.body.outputs.clone().into_iter().skip(count) {
            let form = self.affine(output.value)?;
            let value = self.force_whole(&form, output.value, Whole::Allowed)?;
            yields.push(self.b.broadcast(value, &axis));
        }
        let mut results = Vec::new();
        for i in 0..count {
            results.push(self.last(i)?);
        }
        results.extend(yields);
        Ok(results)
    }

    fn last(&mut self, state: usize) -> Result<ValueId, Refusal> {
        let known = |lift: &Self| match &lift.states[state].status {
            Status::Kept { last, .. } => Some(*last),
            Status::Linear(linear) => linear.last,
            Status::Unsolved => None,
        };
        if known(self).is_none() {
            // Nothing reads it: what is read here is dropped.
            let term = super::lift::Term { state, read: Read::New, coefficient: None };
            self.read(&term, &Axes::none(), Whole::Allowed)?;
        }
        match known(self) {
            Some(last) => Ok(last),
            None => refuse(Some(self.states[state].name), Class::Other, "its last value is not known"),
        }
    }
}
