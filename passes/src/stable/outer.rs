//! The loop in its graph: where its scales start, and what its final states are outside.
//!
//! States that start at a known zero start with the lowest scale. What comes from outside starts at scale 0, and
//! with the lowest scale where all states of the group turn out to be zero. (There, in an element of the scale where
//! every state is zero, the derivative by the initial state is taken as zero: in the scaled form it has none.)

use super::body::Group;
use super::derive::Derivation;
use super::emit::LOWEST;
use carousel_ir::{Axes, Builder, DType, Graph, Op, OpKind, Scan, ValueId};

/// Over how many factors the exponential of a final scale is spread, so that none of them is infinite where the
/// product is not, and zero stays zero.
const FACTORS: usize = 8;

/// An argument whose exponential is finite in every float type.
const FINITE: f64 = 88.0;

/// Adds the loop with its scales. Its old results in order.
pub(super) fn add(
    builder: &mut Builder<'_>,
    scan: &Scan,
    operands: &[ValueId],
    derivation: &Derivation,
    used: &[bool],
) -> Vec<Option<ValueId>> {
    let Some(body) = derivation.body.clone() else {
        let results = builder.scan(scan.clone(), operands);
        return results.into_iter().map(Some).collect();
    };
    let (states, groups) = (scan.states as usize, &derivation.groups);
    let starts: Vec<ValueId> = groups.iter().map(|group| start(builder, operands, group)).collect();
    let mut operands = operands.to_vec();
    operands.splice(states..states, starts);
    let scan = Scan { states: (states + groups.len()) as u32, body, ..scan.clone() };
    let results = builder.scan(scan, &operands);
    let old = (0..used.len()).map(|result| {
        if !used[result] {
            return None;
        }
        let new = results[if result < states { result } else { result + groups.len() }];
        match groups.iter().position(|g| g.states.contains(&result)) {
            Some(group) => Some(unscaled(builder, new, results[states + group])),
            None => Some(new),
        }
    });
    old.collect()
}

/// The first scale of a group.
fn start(builder: &mut Builder<'_>, operands: &[ValueId], group: &Group) -> ValueId {
    let dtype = builder.ty(operands[group.states[0]]).dtype;
    let lowest = builder.constant(LOWEST, dtype);
    let given = group.states.iter().map(|s| operands[*s]).filter(|v| !is_zero(builder.graph(), *v));
    let given: Vec<ValueId> = given.collect();
    let mut largest: Option<ValueId> = None;
    for state in given {
        let size = builder.abs(state);
        let others = builder.ty(size).axes.without(&group.axes);
        let size = if others.is_empty() { size } else { builder.rmax(size, others) };
        largest = Some(match largest {
            Some(known) => builder.max(known, size),
            None => size,
        });
    }
    let scale = match largest {
        Some(largest) => {
            let zero = builder.constant(0.0, dtype);
            let none = builder.eq(largest, zero);
            builder.select(none, lowest, zero)
        }
        None => lowest,
    };
    builder.broadcast(scale, &group.axes)
}

/// Whether every element is known to be 0.
fn is_zero(graph: &Graph, value: ValueId) -> bool {
    let node = &graph[value];
    if let Op::Const { value, dtype: _ } = node.op {
        return value.get() == 0.0;
    }
    let keeps_zero = [OpKind::Broadcast, OpKind::Rename, OpKind::Detach, OpKind::Neg];
    keeps_zero.contains(&node.op.kind()) && is_zero(graph, node.operands[0])
}

/// `state * exp(M)`, where M is the next whole number of the scale.
fn unscaled(builder: &mut Builder<'_>, state: ValueId, scale: ValueId) -> ValueId {
    let axes: Axes = builder.ty(state).axes.clone();
    let dtype: DType = builder.ty(state).dtype;
    let scale = builder.detach(scale);
    let scale = builder.ceil(scale);
    let part = builder.constant(1.0 / FACTORS as f64, dtype);
    let part = builder.mul(scale, part);
    let bound = builder.constant(FINITE, dtype);
    let part = builder.min(part, bound);
    let factor = builder.exp(part);
    let mut value = state;
    for _ in 0..FACTORS {
        value = builder.mul(value, factor);
    }
    builder.broadcast(value, &axes)
}
