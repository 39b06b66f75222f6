//! The loop in its graph: where its scales start, and what its final states are outside.
//!
//! States that start at a known zero start with the lowest scale; how those from outside do is in `start`.

use super::derive::Derivation;
use super::emit::LOWEST;
use super::start;
use carousel_ir::{Axes, Builder, DType, Scan, ValueId};

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
    let scan = Scan { states: (states + groups.len()) as u32, body, ..scan.clone() };
    let given = start::given(builder, operands, groups, &|b, v| b.graph().is_zero(v));
    let mut starts = Vec::new();
    for (place, group) in groups.iter().enumerate() {
        let dtype = builder.ty(operands[group.states[0]]).dtype;
        let lowest = builder.constant(LOWEST, dtype);
        let scale = match given.iter().find(|g| g.group == place) {
            None => lowest,
            Some(given) => {
                let zero = builder.constant(0.0, dtype);
                builder.select(given.none, lowest, zero)
            }
        };
        starts.push(builder.broadcast(scale, &group.axes));
    }
    let starts = start::of_zero_states(builder, &scan, states, operands, &starts, &given);
    let mut operands = operands.to_vec();
    for g in &given {
        // The lowest scale is that of every zero: there is nothing to divide.
        let scale = starts[g.group];
        let dtype = builder.ty(scale).dtype;
        let (zero, half) = (builder.constant(0.0, dtype), builder.constant(LOWEST / 2.0, dtype));
        let is_low = builder.lt(scale, half);
        let scale = builder.select(is_low, zero, scale);
        let scale = builder.ceil(scale);
        let scale = builder.neg(scale);
        for state in &groups[g.group].states {
            operands[*state] = scaled(builder, operands[*state], scale);
        }
    }
    operands.splice(states..states, starts);
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

/// `state * exp(M)`, where M is the next whole number of the scale.
fn unscaled(builder: &mut Builder<'_>, state: ValueId, scale: ValueId) -> ValueId {
    let scale = builder.detach(scale);
    let scale = builder.ceil(scale);
    scaled(builder, state, scale)
}

/// `state * exp(scale)`.
fn scaled(builder: &mut Builder<'_>, state: ValueId, scale: ValueId) -> ValueId {
    let axes: Axes = builder.ty(state).axes.clone();
    let dtype: DType = builder.ty(state).dtype;
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
