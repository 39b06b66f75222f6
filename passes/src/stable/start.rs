//! Where the scales of states from outside start.
//!
//! A state that is not zero starts at scale 0. Where all states of a group are zero their scale may be any number, and
//! must not be larger than what the first step writes: m with `next(m) = next(lowest)` is found from two values of the
//! first step's scale, `m = 2 a - next(a)` with `a = next(lowest)`. So nothing is lost, and the derivative by the
//! initial state goes through a decay that is not 0. Where the first step writes nothing the scale stays the lowest,
//! and that derivative is 0.

use super::body::Group;
use super::emit::LOWEST;
use carousel_ir::{Axis, Builder, DType, Direction, Op, Scan, Size, ValueId};

/// A group whose states are not known to be zero.
pub(super) struct Given {
    /// Which group.
    pub(super) group: usize,
    /// Where all of its states turn out to be zero.
    pub(super) none: ValueId,
}

/// The scales in which zero states start, in place of the lowest one in `starts`. `scan` has the scales after its first
/// `states` states, and `operands` are without them.
pub(super) fn of_zero_states(
    builder: &mut Builder<'_>,
    scan: &Scan,
    states: usize,
    operands: &[ValueId],
    starts: &[ValueId],
    given: &[Given],
) -> Vec<ValueId> {
    let mut scales = starts.to_vec();
    if given.is_empty() {
        return scales;
    }
    let elements = first_step(builder, scan, states, operands);
    let once = next(builder, scan, states, &elements, starts);
    let mut second = starts.to_vec();
    for g in given {
        second[g.group] = builder.select(g.none, once[g.group], starts[g.group]);
    }
    let twice = next(builder, scan, states, &elements, &second);
    for g in given {
        let (a, b) = (once[g.group], twice[g.group]);
        let dtype = builder.ty(a).dtype;
        let difference = builder.sub(a, b);
        let scale = builder.add(a, difference);
        let half = builder.constant(LOWEST / 2.0, dtype);
        let is_written = builder.lt(half, a);
        let is_new = builder.and(g.none, is_written);
        let scale = builder.select(is_new, scale, starts[g.group]);
        let axes = builder.ty(starts[g.group]).axes.clone();
        let scale = builder.broadcast(scale, &axes);
        scales[g.group] = builder.detach(scale);
    }
    scales
}

/// The operands of the body at the first step; zeros where there is no step.
fn first_step(builder: &mut Builder<'_>, scan: &Scan, states: usize, operands: &[ValueId]) -> Vec<ValueId> {
    let size = builder.axes().size(scan.axis).clone();
    let (before, start) = match scan.direction {
        Direction::Forward => (Size::Known(0), Size::Known(0)),
        Direction::Reverse => (Size::Known(1), size.clone()),
    };
    let longer = builder.axes_mut().fresh("longer".into(), Size::sum([size, Size::Known(1)]));
    let first = builder.axes_mut().fresh("first".into(), Size::Known(1));
    let element = |builder: &mut Builder<'_>, value: ValueId| {
        let dtype = builder.ty(value).dtype;
        let is_truth = dtype == DType::Bool;
        let value = if is_truth { builder.cast(value, DType::I32) } else { value };
        let value = taken(builder, value, [scan.axis, longer, first], (before.clone(), start.clone()));
        if is_truth { builder.cast(value, DType::Bool) } else { value }
    };
    let sequences = states..states + scan.sequences as usize;
    let mut elements = operands.to_vec();
    for place in sequences {
        elements[place] = element(builder, elements[place]);
    }
    elements
}

fn taken(
    builder: &mut Builder<'_>,
    value: ValueId,
    [axis, longer, first]: [Axis; 3],
    (before, start): (Size, Size),
) -> ValueId {
    let value = builder.pad(value, axis, longer, before);
    let value = builder.slice(value, longer, first, start);
    builder.sum(value, first.into())
}

/// The scales after a step from these.
fn next(
    builder: &mut Builder<'_>,
    scan: &Scan,
    states: usize,
    elements: &[ValueId],
    scales: &[ValueId],
) -> Vec<ValueId> {
    let mut inputs = elements.to_vec();
    inputs.splice(states..states, scales.iter().copied());
    let mut made: Vec<ValueId> = Vec::with_capacity(scan.body.nodes.len());
    for (_, node) in scan.body.iter() {
        let value = if let Op::Input { index } = node.op {
            inputs[index as usize]
        } else {
            let operands: Vec<ValueId> = node.operands.iter().map(|o| made[o.index()]).collect();
            builder.push(node.op.clone(), &operands)
        };
        made.push(value);
    }
    let outputs = &scan.body.outputs[states..states + scales.len()];
    outputs.iter().map(|o| made[o.value.index()]).collect()
}

/// Which groups have states that are not known to be zero, and where they turn out to be.
pub(super) fn given(
    builder: &mut Builder<'_>,
    operands: &[ValueId],
    groups: &[Group],
    is_zero: &dyn Fn(&Builder<'_>, ValueId) -> bool,
) -> Vec<Given> {
    let mut found = Vec::new();
    for (place, group) in groups.iter().enumerate() {
        let states = group.states.iter().map(|s| operands[*s]);
        let states: Vec<ValueId> = states.filter(|v| !is_zero(builder, *v)).collect();
        let mut largest: Option<ValueId> = None;
        for state in states {
            let size = builder.abs(state);
            let others = builder.ty(size).axes.without(&group.axes);
            let size = if others.is_empty() { size } else { builder.rmax(size, others) };
            largest = Some(largest.map_or(size, |known| builder.max(known, size)));
        }
        if let Some(largest) = largest {
            let zero = builder.constant(0.0, builder.ty(largest).dtype);
            let none = builder.eq(largest, zero);
            found.push(Given { group: place, none });
        }
    }
    found
}
