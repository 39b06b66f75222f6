//! Checkpointed loops: a loop of n steps as about sqrt(n) loops of about sqrt(n) steps.
//!
//! The reverse of the outer loop keeps the states at the starts of the inner loops only, and runs each inner loop
//! again; nothing else has to know. Invariants: any length works, 0 and 1 included; the steps that fill up the first
//! inner loop repeat the first real step on the initial states and are then discarded, so that they compute nothing
//! that the loop does not compute anyway.

use crate::calls::Context;
use crate::expr::{Expr, Tape};
use crate::flow;
use crate::{ScanResiduals, free_input, free_name};
use carousel_ir::{
    Axes, Axis, Builder, DType, Direction, Graph, Module, Op, Output, Role, Scan, Size, Type, ValueId,
};
use std::cell::RefCell;
use std::collections::HashMap;

/// The graph with the loops that will be differentiated checkpointed, if the options say so.
pub(crate) fn apply(context: &Context<'_>, graph: &Graph, cotangents: &[bool], needs: &[bool]) -> Graph {
    match context.options.scans {
        ScanResiduals::Save => graph.clone(),
        ScanResiduals::Checkpoint => {
            let (varied, useful) = (flow::varied(graph, needs), flow::useful(graph, cotangents));
            let chosen: Vec<bool> = varied.iter().zip(&useful).map(|(a, b)| *a && *b).collect();
            rewrite(&context.module, graph, &chosen)
        }
    }
}

/// Copies the graph; the chosen loops are split in two.
fn rewrite(module: &Module, graph: &Graph, chosen: &[bool]) -> Graph {
    let tape = RefCell::new(Builder::with_axes(module, graph.axes.clone()));
    let mut values: Vec<Option<ValueId>> = vec![None; graph.nodes.len()];
    let mut results: HashMap<ValueId, Vec<ValueId>> = HashMap::new();
    for input in &graph.inputs {
        free_input(&tape, input.name.as_str(), input.ty.clone(), input.role);
    }
    for (value, node) in graph.iter() {
        if let Op::Proj { index } = node.op
            && let Some(split) = results.get(&node.operands[0])
        {
            values[value.index()] = Some(split[index as usize]);
            continue;
        }
        let operands: Vec<ValueId> =
            node.operands.iter().map(|o| values[o.index()].expect("operands precede users")).collect();
        tape.borrow_mut().span = node.span;
        let copy = if let Op::Input { index } = node.op {
            ValueId(index)
        } else if let Op::Scan { scan } = &node.op
            && chosen[value.index()]
        {
            results.insert(value, split(&tape, scan, &operands));
            continue;
        } else {
            tape.borrow_mut().push(node.op.clone(), &operands)
        };
        node.name.iter().for_each(|name| tape.borrow_mut().name(copy, *name));
        values[value.index()] = Some(copy);
    }
    for output in &graph.outputs {
        let value = values[output.value.index()].expect("outputs are values");
        tape.borrow_mut().output_as(output.name.as_str(), value, output.axes.clone());
    }
    tape.into_inner().finish_pass()
}

/// How the steps of a loop are laid out.
struct Layout {
    /// The loop's own axis.
    steps: Axis,
    /// The steps and those that fill up; the same axis as `steps` if there are none.
    padded: Axis,
    /// Of the outer loop.
    outer: Axis,
    /// Of the inner loop.
    inner: Axis,
    /// How many steps fill up at the beginning of the axis.
    before: Size,
}

impl Layout {
    fn is_padded(&self) -> bool {
        self.steps != self.padded
    }

    fn both(&self) -> Axes {
        Axes::new([self.outer, self.inner])
    }
}

fn layout(tape: &Tape<'_>, scan: &Scan) -> Layout {
    let mut b = tape.borrow_mut();
    let size = b.axes().size(scan.axis).clone();
    let (inner, outer) = (size.clone().ceil_sqrt(), size.clone().ceil_div(size.clone().ceil_sqrt()));
    let total = Size::product([outer.clone(), inner.clone()]);
    let padded = if total == size { scan.axis } else { b.axes_mut().fresh("padded".into(), total.clone()) };
    // The steps that come first in time are repeated.
    let before = match scan.direction {
        Direction::Forward => total.minus(size),
        Direction::Reverse => Size::Known(0),
    };
    let outer = b.axes_mut().fresh("segment".into(), outer);
    let inner = b.axes_mut().fresh("step".into(), inner);
    Layout { steps: scan.axis, padded, outer, inner, before }
}

/// The results of the loop, made by two nested loops.
fn split(tape: &Tape<'_>, scan: &Scan, operands: &[ValueId]) -> Vec<ValueId> {
    let layout = layout(tape, scan);
    let (states, sequences) = (scan.states as usize, scan.sequences as usize);
    let places = layout.is_padded().then(|| real_steps(tape, scan.direction, &layout));
    let lay_out = |x: Expr<'_, '_>| x.split(layout.padded, layout.both()).value;
    let mut new_operands = operands.to_vec();
    for operand in &mut new_operands[states..states + sequences] {
        let x = Expr::new(tape, *operand);
        let padded =
            places.as_ref().map_or(x, |(source, _)| x.gather(layout.steps, Expr::new(tape, *source)));
        *operand = lay_out(padded);
    }
    let (inner, extra) = match places {
        None => (Scan { axis: layout.inner, ..scan.clone() }, 0),
        Some((_, is_real)) => {
            new_operands.insert(states + sequences, lay_out(Expr::new(tape, is_real)));
            (with_condition(scan, layout.inner), 1)
        }
    };
    let sequences = sequences + extra;

    // One turn of the outer loop is a whole inner loop.
    let mut axes = scan.body.axes.clone();
    axes.declare(layout.inner, tape.borrow().axes().size(layout.inner).clone());
    let turn = RefCell::new(Builder::body(axes));
    let mut inputs = Vec::new();
    for (i, input) in inner.body.inputs.iter().enumerate() {
        let is_sequence = (states..states + sequences).contains(&i);
        let front = is_sequence.then_some(layout.inner);
        let ty = Type::new(input.ty.dtype, front.into_iter().chain(input.ty.axes.iter()));
        inputs.push(free_input(&turn, input.name.as_str(), ty, Role::Argument));
    }
    let names: Vec<_> = inner.body.outputs.iter().map(|o| o.name).collect();
    let mut turn = turn.into_inner();
    let results = turn.scan(inner, &inputs);
    names.iter().zip(results).for_each(|(name, value)| turn.output(name.as_str(), value));
    let outer = Scan {
        axis: layout.outer,
        direction: scan.direction,
        states: scan.states,
        sequences: sequences as u32,
        body: turn.finish_pass(),
    };
    let mut results = tape.borrow_mut().scan(outer, &new_operands);
    for stacked in &mut results[states..] {
        let whole = Expr::new(tape, *stacked).merge(layout.both(), layout.padded);
        *stacked = if layout.is_padded() {
            whole.slice(layout.padded, layout.steps, layout.before.clone()).value
        } else {
            whole.value
        };
    }
    results
}

/// For every place of the padded axis, the step to be found there, and whether it is a real one.
fn real_steps(tape: &Tape<'_>, direction: Direction, layout: &Layout) -> (ValueId, ValueId) {
    let mut b = tape.borrow_mut();
    let place = b.iota(layout.padded);
    let length = b.size_of(layout.steps, DType::I32);
    let zero = b.constant(0.0, DType::I32);
    match direction {
        Direction::Forward => {
            let padded = b.size_of(layout.padded, DType::I32);
            let before = b.sub(padded, length);
            let step = b.sub(place, before);
            (b.max(step, zero), b.le(zero, step))
        }
        Direction::Reverse => {
            let one = b.constant(1.0, DType::I32);
            let last = b.sub(length, one);
            let last = b.max(last, zero);
            (b.min(place, last), b.lt(place, length))
        }
    }
}

/// The loop over `axis` with one more sequence, after the others: where it is false, the states stay as they are.
fn with_condition(scan: &Scan, axis: Axis) -> Scan {
    let (states, sequences) = (scan.states as usize, scan.sequences as usize);
    let mut body = scan.body.clone();
    let taken: Vec<_> = body.inputs.iter().map(|i| i.name).collect();
    let name = free_name("is_real", |n| taken.contains(&n));
    let tape = RefCell::new(Builder::body(body.axes.clone()));
    let mut values: Vec<ValueId> = Vec::new();
    for input in &body.inputs {
        free_input(&tape, input.name.as_str(), input.ty.clone(), input.role);
    }
    let is_real = free_input(&tape, name.as_str(), Type::scalar(DType::Bool), Role::Argument);
    let mut b = tape.into_inner();
    for node in &body.nodes {
        let operands: Vec<ValueId> = node.operands.iter().map(|o| values[o.index()]).collect();
        b.span = node.span;
        let copy = if let Op::Input { index } = node.op {
            ValueId(index)
        } else {
            b.push(node.op.clone(), &operands)
        };
        node.name.iter().for_each(|name| b.name(copy, *name));
        values.push(copy);
    }
    let outputs = std::mem::take(&mut body.outputs);
    for (i, output) in outputs.into_iter().enumerate() {
        let Output { name, value, .. } = output;
        let value = values[value.index()];
        let value = if i < states { b.select(is_real, value, ValueId(i as u32)) } else { value };
        b.output(name.as_str(), value);
    }
    let graph = b.finish_pass();
    let last = graph.inputs.len() - 1;
    let order: Vec<usize> =
        (0..states + sequences).chain(std::iter::once(last)).chain(states + sequences..last).collect();
    let body = carousel_ir::transform::with_inputs(&graph, &order);
    Scan { axis, sequences: scan.sequences + 1, body, ..scan.clone() }
}
