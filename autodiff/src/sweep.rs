//! The forward copy of a graph with what the backward pass will want, and the reverse sweep over it.
//!
//! Invariant: both write to one tape; the sweep only appends. What is dead afterwards (states that nobody asks for,
//! contributions to constants) is left to dead-code elimination.

use crate::calls::{self, Derived};
use crate::expr::{Expr, Tape};
use crate::linear;
use crate::loops;
use crate::rules::{self, Vjp};
use crate::scale;
use carousel_ir::{Axes, DType, Graph, Line, Op, Scan, Type, ValueId};
use std::collections::HashMap;
use std::rc::Rc;

/// A graph on a tape.
#[derive(Default)]
pub(crate) struct Forward {
    /// The value on the tape of each value of the graph; `None` for loops and calls, which are tuples.
    values: Vec<Option<ValueId>>,
    /// The results of each loop and call on the tape; the graph's own come first.
    results: HashMap<ValueId, Vec<ValueId>>,
}

impl Forward {
    /// Where the graph's value is on the tape.
    pub(crate) fn at(&self, value: ValueId) -> ValueId {
        self.values[value.index()].unwrap_or_else(|| panic!("value {} is a tuple", value.0))
    }
}

/// The calls of a graph through which a gradient goes, with what was derived of the callees.
pub(crate) type DerivedCalls = HashMap<ValueId, Rc<Derived>>;

/// Copies `graph` to the tape, its inputs being `inputs` there. Loops through which a gradient may go also yield
/// their old states; calls are those of the derived forward functions.
pub(crate) fn forward(
    tape: &Tape<'_>,
    graph: &Graph,
    inputs: &[ValueId],
    known: &HashMap<ValueId, ValueId>,
    varied: &[bool],
    calls: &DerivedCalls,
) -> Forward {
    let mut forward = Forward { values: vec![None; graph.nodes.len()], ..Forward::default() };
    for (value, node) in graph.iter() {
        if let Some(known) = known.get(&value) {
            forward.values[value.index()] = Some(*known);
            continue;
        }
        if let Op::Proj { index } = node.op {
            let results = &forward.results[&node.operands[0]];
            forward.values[value.index()] = Some(results[index as usize]);
            continue;
        }
        let operands: Vec<ValueId> = node.operands.iter().map(|o| forward.at(*o)).collect();
        let mut b = tape.borrow_mut();
        b.span = node.span;
        if let Op::Scan { scan } = &node.op {
            let scan = if varied[value.index()] { with_residuals(scan) } else { (**scan).clone() };
            let results = b.scan(scan, &operands);
            forward.results.insert(value, results);
        } else if let Op::Call { function } = node.op {
            let callee = calls.get(&value).map_or(function, |derived| derived.forward);
            let results = b.call(callee, &operands);
            forward.results.insert(value, results);
        } else if let (Some(line), Op::LinRead { key, .. }) = (Line::of(&node.op), &node.op) {
            let operands = operands.try_into().expect("a linear scan has six operands");
            let (read, state) = b.linread(&line, key.clone(), operands);
            forward.results.insert(value, vec![read, state]);
        } else if let Op::Input { index } = node.op {
            forward.values[value.index()] = Some(inputs[index as usize]);
        } else {
            let copy = b.push(node.op.clone(), &operands);
            node.name.iter().for_each(|name| b.name(copy, *name));
            forward.values[value.index()] = Some(copy);
        }
    }
    forward
}

/// The loop that also yields its [`loops::residuals`], after its own results.
fn with_residuals(scan: &Scan) -> Scan {
    let mut with = scan.clone();
    let own = scan.body.outputs.len();
    for (value, _) in loops::residuals(scan).into_iter().filter(|(_, place)| *place >= own) {
        let node = &scan.body[value];
        let base = if let Op::Input { index } = node.op {
            format!("old.{}", scan.body.inputs[index as usize].name)
        } else {
            format!("saved.{}", value.0)
        };
        let name = crate::free_name(&base, |n| with.body.outputs.iter().any(|o| o.name == n));
        with.body.outputs.push(carousel_ir::Output { name, value, axes: node.ty().axes.clone() });
    }
    with
}

/// Zeros of a type.
pub(crate) fn zeros(tape: &Tape<'_>, ty: &Type) -> ValueId {
    filled(tape, 0.0, ty.dtype, &ty.axes)
}

/// A tensor of one number.
pub(crate) fn filled(tape: &Tape<'_>, number: f64, dtype: DType, axes: &Axes) -> ValueId {
    let mut b = tape.borrow_mut();
    let number = b.constant(number, dtype);
    b.broadcast(number, axes)
}

/// The sum of the contributions to one cotangent; `None` if there are none. It may be narrow.
pub(crate) fn total(tape: &Tape<'_>, contributions: &[ValueId]) -> Option<ValueId> {
    contributions.iter().copied().reduce(|a, b| (Expr::new(tape, a) + Expr::new(tape, b)).value)
}

/// Goes through the graph from its end, and returns the contributions to the cotangent of each input. `seeds` are
/// values of the graph with cotangents on the tape.
pub(crate) fn sweep(
    tape: &Tape<'_>,
    graph: &Graph,
    forward: &Forward,
    varied: &[bool],
    calls: &DerivedCalls,
    seeds: &[(ValueId, ValueId)],
) -> Vec<Vec<ValueId>> {
    let unfelt = scale::unfelt(graph, varied, seeds.iter().map(|(value, _)| *value));
    let mut cotangents: Vec<Vec<ValueId>> = vec![Vec::new(); graph.nodes.len()];
    seeds.iter().for_each(|(value, cotangent)| cotangents[value.index()].push(*cotangent));
    let mut of_results: HashMap<ValueId, Vec<Vec<ValueId>>> = HashMap::new();
    let mut of_inputs = vec![Vec::new(); graph.inputs.len()];
    for (value, node) in graph.iter().rev().filter(|(v, _)| varied[v.index()] && !unfelt.contains(v)) {
        let contributions = std::mem::take(&mut cotangents[value.index()]);
        tape.borrow_mut().span = node.span;
        let operands = || node.operands.iter().map(|o| forward.at(*o)).collect::<Vec<_>>();
        let varied_operands = || node.operands.iter().map(|o| varied[o.index()]).collect::<Vec<_>>();
        let mut of_results_here = || {
            let per_result = of_results.remove(&value).unwrap_or_else(|| vec![Vec::new(); node.types.len()]);
            per_result.iter().map(|c| total(tape, c)).collect::<Vec<_>>()
        };
        let given = if let Op::Input { index } = node.op {
            of_inputs[index as usize] = contributions;
            continue;
        } else if let Op::Proj { index } = node.op {
            let tuple = node.operands[0];
            let results = graph[tuple].types.len();
            let slots = of_results.entry(tuple).or_insert_with(|| vec![Vec::new(); results]);
            slots[index as usize].extend(contributions);
            continue;
        } else if let Op::Scan { scan } = &node.op {
            let results = &forward.results[&value];
            loops::vjp(tape, scan, &operands(), results, &varied_operands(), &of_results_here())
        } else if let Op::LinRead { key, .. } = &node.op {
            linear::vjp(tape, node, key, &operands(), &varied_operands(), &of_results_here())
        } else if let Op::Call { .. } = node.op {
            // Where no output of the call matters, nothing was derived.
            let Some(derived) = calls.get(&value) else { continue };
            calls::vjp(tape, derived, &node.types, &operands(), &forward.results[&value], &of_results_here())
        } else {
            let Some(cotangent) = total(tape, &contributions) else { continue };
            let (result, operands) = (forward.at(value), operands());
            let mut rule = Vjp { tape, node, operands, result, cotangent, given: Vec::new() };
            rules::apply(&mut rule);
            rule.given
        };
        for (i, contribution) in given {
            let operand = node.operands[i];
            if varied[operand.index()] {
                cotangents[operand.index()].push(contribution);
            }
        }
    }
    of_inputs
}
