//! What is known about values of a graph: ranges, logarithms of decays, and why a decay is at most 1.
//!
//! Invariant: a proof is by the structure of the graph alone. Values are compared by identity, so that equal
//! expressions must be one node.

use crate::interval::Interval;
use carousel_ir::{Builder, Graph, Op, ValueId};
use std::collections::{BTreeMap, HashMap};

/// Values that are at least as large as others: the results of a loop's maxima.
#[derive(Default)]
pub(super) struct Facts {
    ranges: HashMap<ValueId, Interval>,
    /// For a value the sums that it is at least as large as.
    above: HashMap<ValueId, Vec<Sum>>,
    /// The values of kept states.
    carried: Vec<Carried>,
}

/// The values of a state that a loop carries, before and after each step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    pub(super) before: ValueId,
    pub(super) after: ValueId,
}

/// Why the product of the decays of any run of steps is bounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bound {
    /// No logarithm is above 0.
    EachStep,
    /// A logarithm is at most the difference of a carried value before and after the step, each rounded up to a whole
    /// number. Unrounded, it would be at most 0; over any run of steps the rounded differences cancel but for two of
    /// them, so that the sum of the logarithms is at most 1.
    Telescoping,
}

/// A sum of multiples of values.
pub(super) type Sum = BTreeMap<ValueId, i64>;

impl Facts {
    /// Notes that `large` is at least as large as each of `small`.
    pub(super) fn is_above(&mut self, graph: &Graph, large: ValueId, small: &[ValueId]) {
        self.above.entry(large).or_default().extend(small.iter().map(|v| sum(graph, *v)));
    }

    /// Notes the values of a state that a loop carries.
    pub(super) fn is_carried(&mut self, carried: Carried) {
        self.carried.push(carried);
    }

    /// What a sum contains of a carried value before and after the step: their difference, rounded or not.
    pub(super) fn carried_difference(&self, graph: &Graph, whole: &Sum) -> Option<Carried> {
        let exact = |v: ValueId| rounded(graph, v).unwrap_or(v);
        let find = |times: i64, is_it: &dyn Fn(ValueId) -> bool| {
            whole.iter().find(|(v, n)| **n == times && is_it(exact(**v))).map(|(v, _)| *v)
        };
        self.carried.iter().find_map(|known| {
            let is_before = |v| v == known.before || start(graph, v, known.before).is_some();
            let before = find(1, &is_before)?;
            let after = find(-1, &|v| v == known.after)?;
            let alike = rounded(graph, before).is_some() == rounded(graph, after).is_some();
            alike.then_some(Carried { before, after })
        })
    }

    /// Why decays with these logarithms are bounded, if they are known to be.
    pub(super) fn bound(&mut self, graph: &Graph, log: ValueId) -> Option<Bound> {
        if self.is_nonpositive(graph, log) {
            return Some(Bound::EachStep);
        }
        let mut whole = sum(graph, log);
        let Carried { before, after } = self.carried_difference(graph, &whole)?;
        // Rounding what the state starts anew from must not add to the sum.
        let exact = rounded(graph, before)?;
        let starts = self.carried.iter().find_map(|known| start(graph, exact, known.before));
        if starts.is_some_and(|start| !is_whole_number(graph, start)) {
            return None;
        }
        for (value, times) in [(before, 1), (after, -1)] {
            let exact = rounded(graph, value)?;
            add(&mut whole, &Sum::from([(value, 1)]), -times);
            add(&mut whole, &Sum::from([(exact, 1)]), times);
        }
        self.is_sum_nonpositive(graph, &whole).then_some(Bound::Telescoping)
    }

    /// The range of a number.
    pub(super) fn range(&mut self, graph: &Graph, value: ValueId) -> Interval {
        crate::ranges::range(graph, value, &mut self.ranges)
    }

    /// Whether the value is always below 0. Ranges have coarse bounds, so that numbers and products are looked into.
    fn is_negative(&mut self, graph: &Graph, value: ValueId) -> bool {
        let node = &graph[value];
        match (&node.op, node.operands.as_slice()) {
            (Op::Const { value, .. }, _) => value.get() < 0.0,
            (Op::Neg, [a]) => self.range(graph, *a).positive,
            (Op::Mul, [a, b]) => [(*a, *b), (*b, *a)]
                .into_iter()
                .any(|(a, b)| self.is_negative(graph, a) && self.range(graph, b).positive),
            (Op::Broadcast { .. }, [a]) => self.is_negative(graph, *a),
            _ => self.range(graph, value).high < 0.0,
        }
    }

    /// Whether the value is a weighted mean of 1 and something between 0 and 1: `s + (1 - s) x`.
    fn is_mean(&mut self, graph: &Graph, value: ValueId) -> bool {
        let (Op::Add, [x, y]) = (&graph[value].op, graph[value].operands.as_slice()) else { return false };
        [(*x, *y), (*y, *x)].into_iter().any(|(weight, rest)| {
            let mut factors = Vec::new();
            product(graph, rest, &mut factors);
            let Some(at) = factors.iter().position(|f| are_complements(graph, weight, *f)) else {
                return false;
            };
            // The weight and the factors beside the other weight are between 0 and 1.
            factors[at] = weight;
            factors.into_iter().all(|f| {
                let range = self.range(graph, f);
                range.low >= 0.0 && range.high <= 1.0
            })
        })
    }

    /// Whether the value is never above 0.
    pub(super) fn is_nonpositive(&mut self, graph: &Graph, value: ValueId) -> bool {
        if self.range(graph, value).high <= 0.0 {
            return true;
        }
        if let (Op::Log, [x]) = (&graph[value].op, graph[value].operands.as_slice())
            && self.is_mean(graph, *x)
        {
            return true;
        }
        self.is_sum_nonpositive(graph, &sum(graph, value))
    }

    fn is_sum_nonpositive(&mut self, graph: &Graph, whole: &Sum) -> bool {
        if self.remainder_is_nonpositive(graph, whole) {
            return true;
        }
        let subtracted: Vec<ValueId> = whole.iter().filter(|(_, n)| **n < 0).map(|(v, _)| *v).collect();
        for large in subtracted {
            for small in self.lower_bounds(graph, large) {
                let mut rest = whole.clone();
                add(&mut rest, &Sum::from([(large, 1)]), 1);
                add(&mut rest, &small, -1);
                if self.remainder_is_nonpositive(graph, &rest) {
                    return true;
                }
            }
        }
        false
    }

    /// The sums that a value is at least as large as, by what was noted and by being a maximum.
    fn lower_bounds(&self, graph: &Graph, large: ValueId) -> Vec<Sum> {
        let mut bounds = self.above.get(&large).cloned().unwrap_or_default();
        bounds.extend(alternatives(graph, large).into_iter().filter(|v| *v != large).map(|v| sum(graph, v)));
        bounds
    }

    fn remainder_is_nonpositive(&mut self, graph: &Graph, rest: &Sum) -> bool {
        rest.iter().all(|(value, n)| {
            let range = self.range(graph, *value);
            if *n > 0 { range.high <= 0.0 } else { range.low >= 0.0 }
        })
    }
}

/// The factors of a product.
fn product(graph: &Graph, value: ValueId, found: &mut Vec<ValueId>) {
    match (&graph[value].op, graph[value].operands.as_slice()) {
        (Op::Mul, [x, y]) => {
            product(graph, *x, found);
            product(graph, *y, found);
        }
        (Op::Broadcast { .. }, [x]) => product(graph, *x, found),
        _ => found.push(value),
    }
}

/// Whether the two add up to 1: `x` and `1 - x`, or sigmoids of opposite numbers.
fn are_complements(graph: &Graph, x: ValueId, y: ValueId) -> bool {
    let (x, y) = (bare(graph, x), bare(graph, y));
    let operands = |v: ValueId| (&graph[v].op, graph[v].operands.as_slice());
    let is_rest = |x: ValueId, y: ValueId| match operands(y) {
        (Op::Sub, [one, other]) => is_one(graph, *one) && bare(graph, *other) == x,
        _ => false,
    };
    let is_negative = |x: ValueId, y: ValueId| matches!(operands(x), (Op::Neg, [x]) if *x == y);
    let opposite = match [operands(x), operands(y)] {
        [(Op::Sigmoid, [x]), (Op::Sigmoid, [y])] => is_negative(*x, *y) || is_negative(*y, *x),
        _ => false,
    };
    opposite || is_rest(x, y) || is_rest(y, x)
}

fn is_one(graph: &Graph, value: ValueId) -> bool {
    matches!(&graph[bare(graph, value)].op, Op::Const { value, .. } if value.get() == 1.0)
}

/// What the value is the next whole number of.
fn rounded(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let node = &graph[value];
    match (&node.op, node.operands.as_slice()) {
        (Op::Ceil, [x]) => Some(bare(graph, *x)),
        (Op::Broadcast { .. } | Op::Detach, [x]) => rounded(graph, *x),
        _ => None,
    }
}

/// The value without repetition, whether it is detached or not.
fn bare(graph: &Graph, value: ValueId) -> ValueId {
    let node = &graph[value];
    if let Op::Broadcast { .. } | Op::Detach = node.op { bare(graph, node.operands[0]) } else { value }
}

/// The value that the state starts anew from, if this is the state with a reset.
fn start(graph: &Graph, value: ValueId, before: ValueId) -> Option<ValueId> {
    match (&graph[value].op, graph[value].operands.as_slice()) {
        (Op::Select, [_, x, y]) if bare(graph, *y) == before => Some(*x),
        (Op::Select, [_, x, y]) if bare(graph, *x) == before => Some(*y),
        _ => None,
    }
}

fn is_whole_number(graph: &Graph, value: ValueId) -> bool {
    matches!(graph[bare(graph, value)].op, Op::Const { value, .. } if value.get().fract() == 0.0)
}

/// The operands of nested maxima, detached or not; the value itself if it is none.
pub(super) fn alternatives(graph: &Graph, value: ValueId) -> Vec<ValueId> {
    if let Op::Max | Op::Detach = graph[value].op {
        graph[value].operands.iter().flat_map(|o| alternatives(graph, *o)).collect()
    } else {
        vec![value]
    }
}

/// A value as a sum of values that are no sums. A detached value is the value: proofs are about numbers.
pub(super) fn sum(graph: &Graph, value: ValueId) -> Sum {
    let mut found = Sum::new();
    collect(graph, value, 1, &mut found);
    found
}

fn collect(graph: &Graph, value: ValueId, times: i64, found: &mut Sum) {
    let node = &graph[value];
    match (&node.op, node.operands.as_slice()) {
        (Op::Add, [a, b]) => {
            collect(graph, *a, times, found);
            collect(graph, *b, times, found);
        }
        (Op::Sub, [a, b]) => {
            collect(graph, *a, times, found);
            collect(graph, *b, -times, found);
        }
        (Op::Neg, [a]) => collect(graph, *a, -times, found),
        (Op::Broadcast { .. } | Op::Detach, [a]) => collect(graph, *a, times, found),
        _ => add(found, &Sum::from([(value, 1)]), times),
    }
}

fn add(sum: &mut Sum, other: &Sum, times: i64) {
    for (value, n) in other {
        let count = sum.entry(*value).or_insert(0);
        *count += n * times;
        if *count == 0 {
            sum.remove(value);
        }
    }
}

/// The logarithm of a factor that is nowhere negative, and where the factor is 0.
pub(super) struct Logarithm {
    pub(super) log: ValueId,
    pub(super) zero: Option<ValueId>,
}

/// The logarithm of a decay, by its structure; `None` if it is not known to be positive.
pub(super) fn logarithm(b: &mut Builder<'_>, facts: &mut Facts, decay: ValueId) -> Option<Logarithm> {
    let node = b.graph()[decay].clone();
    let plain = |log| Some(Logarithm { log, zero: None });
    match (&node.op, node.operands.as_slice()) {
        (Op::Exp, [a]) => plain(*a),
        (Op::Sigmoid, [a]) => plain(b.push(Op::Logsigmoid, &[*a])),
        (Op::Const { value, dtype }, _) if value.get() > 0.0 => plain(b.constant(value.get().ln(), *dtype)),
        (Op::Broadcast { .. }, [a]) => logarithm(b, facts, *a),
        (Op::Mul, [x, y]) => {
            let (x, y) = (logarithm(b, facts, *x)?, logarithm(b, facts, *y)?);
            let log = b.add(x.log, y.log);
            let zero = match (x.zero, y.zero) {
                (Some(x), Some(y)) => Some(b.or(x, y)),
                (x, y) => x.or(y),
            };
            Some(Logarithm { log, zero })
        }
        (Op::Select, [condition, x, y]) => {
            let (other, condition) = if is_number(b.graph(), *x, 0.0) {
                (*y, *condition)
            } else if is_number(b.graph(), *y, 0.0) {
                (*x, b.not(*condition))
            } else {
                return general(b, facts, decay);
            };
            let inner = logarithm(b, facts, other)?;
            let zero = match inner.zero {
                Some(zero) => b.or(zero, condition),
                None => condition,
            };
            Some(Logarithm { log: inner.log, zero: Some(zero) })
        }
        // Without cancellation: 1 - sigmoid(x) = sigmoid(-x), and 1 - exp(x) for an x that stays away from 0.
        (Op::Sub, [one, s]) if is_number(b.graph(), *one, 1.0) => {
            match (b.graph()[*s].op.clone(), b.graph()[*s].operands.first().copied()) {
                (Op::Sigmoid, Some(x)) => {
                    let x = b.neg(x);
                    plain(b.push(Op::Logsigmoid, &[x]))
                }
                (Op::Exp, Some(x)) if facts.is_negative(b.graph(), x) => {
                    let part = b.neg(*s);
                    plain(b.push(Op::Log1p, &[part]))
                }
                _ => general(b, facts, decay),
            }
        }
        _ => general(b, facts, decay),
    }
}

fn general(b: &mut Builder<'_>, facts: &mut Facts, decay: ValueId) -> Option<Logarithm> {
    let positive = facts.range(b.graph(), decay).positive;
    positive.then(|| Logarithm { log: b.log(decay), zero: None })
}

/// Whether a value is this number everywhere.
pub(super) fn is_number(graph: &Graph, value: ValueId, number: f64) -> bool {
    match (&graph[value].op, graph[value].operands.as_slice()) {
        (Op::Const { value, .. }, _) => value.get() == number,
        (Op::Broadcast { .. }, [a]) => is_number(graph, *a, number),
        _ => false,
    }
}
