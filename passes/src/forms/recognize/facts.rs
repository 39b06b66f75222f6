//! What is known about values of a graph: ranges, logarithms of decays, and why a decay is at most 1.
//!
//! Invariant: a proof is by the structure of the graph alone. Values are compared by identity, so that equal
//! expressions must be one node.

use crate::analysis::operation_range;
use crate::interval::Interval;
use carousel_ir::{Builder, DType, Graph, Op, ValueId};
use std::collections::{BTreeMap, HashMap};

/// Values that are at least as large as others: the results of a loop's maxima.
#[derive(Default)]
pub(super) struct Facts {
    ranges: HashMap<ValueId, Interval>,
    /// For a value the sums that it is at least as large as.
    above: HashMap<ValueId, Vec<Sum>>,
}

/// A sum of multiples of values.
pub(super) type Sum = BTreeMap<ValueId, i64>;

impl Facts {
    /// Notes that `large` is at least as large as each of `small`.
    pub(super) fn is_above(&mut self, graph: &Graph, large: ValueId, small: &[ValueId]) {
        self.above.entry(large).or_default().extend(small.iter().map(|v| sum(graph, *v)));
    }

    /// The range of a number.
    pub(super) fn range(&mut self, graph: &Graph, value: ValueId) -> Interval {
        if let Some(known) = self.ranges.get(&value) {
            return *known;
        }
        let node = &graph[value];
        let range = if let Op::Const { value, .. } = node.op {
            Interval::new(value.get(), value.get())
        } else if node.types.len() != 1 || node.ty().dtype == DType::Bool {
            Interval::ANY
        } else {
            let operands: Vec<Interval> = node
                .operands
                .iter()
                .map(|o| if graph[*o].types.len() == 1 { self.range(graph, *o) } else { Interval::ANY })
                .collect();
            let same = |a: usize, b: usize| node.operands[a] == node.operands[b];
            operation_range(&node.op, &|i| operands[i], &same)
        };
        self.ranges.insert(value, range);
        range
    }

    /// Whether the value is always below 0. Ranges have coarse bounds, so that products are looked into.
    fn is_negative(&mut self, graph: &Graph, value: ValueId) -> bool {
        let node = &graph[value];
        match (&node.op, node.operands.as_slice()) {
            (Op::Neg, [a]) => self.range(graph, *a).positive,
            (Op::Mul, [a, b]) => [(*a, *b), (*b, *a)]
                .into_iter()
                .any(|(a, b)| self.is_negative(graph, a) && self.range(graph, b).positive),
            (Op::Broadcast { .. }, [a]) => self.is_negative(graph, *a),
            _ => self.range(graph, value).high < 0.0,
        }
    }

    /// Whether the value is never above 0.
    pub(super) fn is_nonpositive(&mut self, graph: &Graph, value: ValueId) -> bool {
        if self.range(graph, value).high <= 0.0 {
            return true;
        }
        let whole = sum(graph, value);
        if self.remainder_is_nonpositive(graph, &whole) {
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
