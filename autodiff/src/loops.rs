//! The reverse of a loop: a loop in the other direction that carries the cotangents of the states.
//!
//! Each step makes the values of its forward step again, from the old states, the current elements, the shared values
//! and the results of the step's contractions, and sweeps backwards over them. Invariants: only states whose cotangent matters are carried; a weight's
//! gradient that is a sum of products is not carried at all, but contracted after the loop over the steps (and
//! whatever else was summed), so that no step touches a tensor of the weight's size.

use crate::expr::{Expr, Tape, product_onto};
use crate::flow;
use crate::sweep::{self, DerivedCalls};
use carousel_ir::{Axes, Axis, Builder, Graph, Name, Op, Role, Scan, Type, ValueId};
use std::cell::RefCell;
use std::collections::HashMap;

/// What a dynamic size counts as where sizes are compared to choose a way.
const TYPICAL_SIZE: u64 = 64;

/// Where an input of the backward body comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    State,
    Sequence,
    Shared,
}

/// The backward body while it grows.
struct Body {
    tape: Tape<'static>,
    axis: Axis,
    /// For each input, what it is and its operand outside.
    sources: Vec<(Place, ValueId)>,
    /// The next states, in the order of the states among the inputs.
    next: Vec<(Name, ValueId)>,
    yields: Vec<(Name, ValueId)>,
}

impl Body {
    /// An input whose value outside is `source`.
    fn input(&mut self, outer: &Tape<'_>, place: Place, base: &str, source: ValueId) -> ValueId {
        let ty = outer.borrow().ty(source).clone();
        let element = Type { dtype: ty.dtype, axes: ty.axes.without(&self.axis.into()) };
        self.sources.push((place, source));
        crate::free_input(&self.tape, base, element, Role::Argument)
    }

    /// The number of the yield that is `value`; a new one if there is none.
    fn yielded(&mut self, base: &str, value: ValueId) -> usize {
        if let Some(known) = self.yields.iter().position(|(_, v)| *v == value) {
            return known;
        }
        let taken = |name| self.yields.iter().chain(&self.next).any(|(n, _)| *n == name);
        let name = crate::free_name(base, taken);
        self.yields.push((name, value));
        self.yields.len() - 1
    }

    fn next_state(&mut self, base: &str, value: ValueId) -> usize {
        let taken = |name| self.yields.iter().chain(&self.next).any(|(n, _)| *n == name);
        let name = crate::free_name(base, taken);
        self.next.push((name, value));
        self.next.len() - 1
    }

    /// The value outside, stacked if it differs from step to step, of a value that is an input up to renamed axes.
    fn outside(&self, value: ValueId) -> Option<Factor> {
        let b = self.tape.borrow();
        let node = &b.graph()[value];
        if let Op::Input { index } = node.op {
            let (place, source) = self.sources[index as usize];
            (place != Place::State).then_some(Factor::Outer(source, Vec::new()))
        } else if let Op::Rename { from, to } = node.op
            && let Some(Factor::Outer(source, mut renames)) = self.outside(node.operands[0])
        {
            renames.push((from, to));
            Some(Factor::Outer(source, renames))
        } else {
            None
        }
    }
}

/// A value of the body as it is to be had after the loop.
enum Factor {
    /// A value outside, with axes renamed.
    Outer(ValueId, Vec<(Axis, Axis)>),
    /// A yield, stacked.
    Yield(usize),
}

/// How an operand's gradient comes out of the loop.
enum Gradient {
    Final(usize),
    Stacked(usize),
    /// The contraction of two factors, reduced to these axes.
    Product(Factor, Factor, Axes),
    /// The sum of one.
    Sum(Factor, Axes),
}

/// What the forward loop yields for the reverse one, where it is used: the old states, and what each step summed or
/// contracted, with what was added to that; the rest of a step is cheap to make again. What is the same in all steps is not stacked. Each with the
/// number of the result that it is: one of the loop's own yields, or one that comes after them.
pub(crate) fn residuals(scan: &Scan) -> Vec<(ValueId, usize)> {
    let body = &scan.body;
    let elements = |v: ValueId| body.axes.elements(&body.ty(v).axes).evaluate(&|_| Some(TYPICAL_SIZE));
    // Verified bodies begin with their inputs.
    let mut residuals: Vec<ValueId> = (0..scan.states).map(ValueId).collect();
    let mut varies = vec![false; body.nodes.len()];
    for (value, node) in body.iter() {
        let is_stepwise = matches!(node.op, Op::Input { index } if index < scan.states + scan.sequences);
        varies[value.index()] = is_stepwise || node.operands.iter().any(|o| varies[o.index()]);
        let contracts = matches!(node.op, Op::Sum { .. } | Op::Dot { .. } | Op::ReduceMax { .. });
        let grows = || node.operands.iter().all(|o| elements(*o) < elements(value));
        if contracts && varies[value.index()] && !grows() {
            residuals.push(value);
        }
    }
    // A sum with a contraction in it serves as well, and what it is the sum with need not be read.
    for value in &mut residuals[scan.states as usize..] {
        while let Some(sum) = only_sum(body, *value) {
            *value = sum;
        }
    }
    let mut new = body.outputs.len()..;
    let yields = &body.outputs[scan.states as usize..];
    let mut place = |value| match yields.iter().position(|o| o.value == value) {
        Some(own) => scan.states as usize + own,
        None => new.next().expect("the range has no end"),
    };
    residuals.into_iter().map(|value| (value, place(value))).collect()
}

/// The sum or difference that is the only use of a value, if it is as large as that.
fn only_sum(body: &Graph, value: ValueId) -> Option<ValueId> {
    let mut users = body.iter().filter(|(_, node)| node.operands.contains(&value));
    let ((user, node), None) = (users.next()?, users.next()) else { return None };
    let is_sum = matches!(node.op, Op::Add | Op::Sub);
    let is_output = body.outputs.iter().any(|output| output.value == value);
    (is_sum && !is_output && *node.ty() == *body.ty(value)).then_some(user)
}

/// The contributions to the operands of `scan`, whose results on the tape are `results` (its own, then its
/// [`residuals`]) and have the cotangents `cotangents`.
pub(crate) fn vjp(
    tape: &Tape<'_>,
    scan: &Scan,
    operands: &[ValueId],
    results: &[ValueId],
    varied_operands: &[bool],
    cotangents: &[Option<ValueId>],
) -> Vec<(usize, ValueId)> {
    let states = scan.states as usize;
    let varied_inputs = varied_inputs(scan, varied_operands);
    let useful_outputs = useful_outputs(scan, cotangents);
    let carried: Vec<usize> = (0..states).filter(|i| varied_inputs[*i] && useful_outputs[*i]).collect();

    let residuals = residuals(scan);

    // The inputs of the backward body: those of the forward body, then the cotangents.
    let mut body = Body {
        tape: RefCell::new(Builder::body(scan.body.axes.clone())),
        axis: scan.axis,
        sources: Vec::new(),
        next: Vec::new(),
        yields: Vec::new(),
    };
    let mut inputs = Vec::new();
    for (i, input) in scan.body.inputs.iter().enumerate() {
        let (place, source) = match i {
            _ if i < states => (Place::Sequence, results[residuals[i].1]),
            _ if i < states + scan.sequences as usize => (Place::Sequence, operands[i]),
            _ => (Place::Shared, operands[i]),
        };
        inputs.push(body.input(tape, place, input.name.as_str(), source));
    }
    let mut known = HashMap::new();
    for &(value, place) in &residuals[states..] {
        known.insert(value, body.input(tape, Place::Sequence, &format!("saved.{}", value.0), results[place]));
    }
    let mut seeds = Vec::new();
    for &i in &carried {
        let ty = scan.body.inputs[i].ty.clone();
        let start = match cotangents[i] {
            Some(given) => Expr::new(tape, given).full(&ty.axes).value,
            None => sweep::zeros(tape, &ty),
        };
        let name = format!("cot.{}", scan.body.inputs[i].name);
        seeds.push((scan.body.outputs[i].value, body.input(tape, Place::State, &name, start)));
    }
    for (output, cotangent) in scan.body.outputs.iter().zip(cotangents).skip(states) {
        let Some(given) = *cotangent else { continue };
        let place =
            if tape.borrow().ty(given).axes.contains(scan.axis) { Place::Sequence } else { Place::Shared };
        seeds.push((output.value, body.input(tape, place, &format!("cot.{}", output.name), given)));
    }

    // One step: forward, then backward.
    let varied = flow::varied(&scan.body, &varied_inputs);
    let none = DerivedCalls::new();
    let forward = sweep::forward(&body.tape, &scan.body, &inputs, &known, &varied, &none);
    let given = sweep::sweep(&body.tape, &scan.body, &forward, &varied, &none, &seeds);

    // Where the gradients go.
    let mut gradients: Vec<(usize, Gradient)> = Vec::new();
    for &i in &carried {
        let ty = &scan.body.inputs[i].ty;
        let next = match sweep::total(&body.tape, &given[i]) {
            Some(sum) => Expr::new(&body.tape, sum).full(&ty.axes).value,
            None => sweep::zeros(&body.tape, ty),
        };
        let state = body.next_state(&format!("cot.{}", scan.body.inputs[i].name), next);
        gradients.push((i, Gradient::Final(state)));
    }
    for (i, input) in scan.body.inputs.iter().enumerate().skip(states) {
        if !varied_operands[i] || given[i].is_empty() {
            continue;
        }
        let name = format!("grad.{}", input.name);
        if i < states + scan.sequences as usize {
            let sum = sweep::total(&body.tape, &given[i]).expect("there are contributions");
            gradients.push((i, Gradient::Stacked(body.yielded(&name, sum))));
        } else {
            shared_gradient(tape, &mut body, i, &name, &given[i], &mut gradients);
        }
    }
    if gradients.is_empty() {
        return Vec::new();
    }
    let (sources, next_count) = (body.sources.clone(), body.next.len());
    let loop_ = finish(scan, body);
    let operands: Vec<ValueId> = order(&sources).into_iter().map(|i| sources[i].1).collect();
    let results = tape.borrow_mut().scan(loop_, &operands);
    let after = |factor: &Factor| match factor {
        Factor::Yield(y) => Expr::new(tape, results[next_count + y]),
        Factor::Outer(source, renames) => {
            renames.iter().fold(Expr::new(tape, *source), |e, (from, to)| e.rename(*from, *to))
        }
    };
    let steps = Axes::from(scan.axis);
    gradients
        .iter()
        .map(|(i, gradient)| {
            let value = match gradient {
                Gradient::Final(state) => results[*state],
                Gradient::Stacked(y) => results[next_count + y],
                Gradient::Product(a, b, target) => {
                    let (a, b) = (after(a), after(b));
                    product_onto(a, b, &a.axes().union(&b.axes()).union(&steps), target).value
                }
                Gradient::Sum(x, target) => {
                    let x = after(x);
                    x.onto(&x.axes().union(&steps), target).value
                }
            };
            (*i, value)
        })
        .collect()
}

/// Which inputs of the body can be felt to vary: states also do if their next value does.
fn varied_inputs(scan: &Scan, varied_operands: &[bool]) -> Vec<bool> {
    let mut inputs = varied_operands.to_vec();
    loop {
        let varied = flow::varied(&scan.body, &inputs);
        let state = |i: usize| varied[scan.body.outputs[i].value.index()];
        match (0..scan.states as usize).find(|i| !inputs[*i] && state(*i)) {
            Some(i) => inputs[i] = true,
            None => return inputs,
        }
    }
}

/// Which outputs of the body matter: next states also do if the old state matters to an output that does.
fn useful_outputs(scan: &Scan, cotangents: &[Option<ValueId>]) -> Vec<bool> {
    let mut outputs: Vec<bool> = cotangents.iter().map(Option::is_some).collect();
    loop {
        let useful = flow::useful(&scan.body, &outputs);
        // Verified bodies begin with their inputs.
        match (0..scan.states as usize).find(|i| !outputs[*i] && useful[*i]) {
            Some(i) => outputs[i] = true,
            None => return outputs,
        }
    }
}

/// Decides how the contributions to a shared operand leave the loop: products as their factors, sums of what is
/// yielded anyway after the loop, all others by a state that accumulates them.
fn shared_gradient(
    outer: &Tape<'_>,
    body: &mut Body,
    operand: usize,
    name: &str,
    contributions: &[ValueId],
    gradients: &mut Vec<(usize, Gradient)>,
) {
    let mut rest = Vec::new();
    for &contribution in contributions {
        let (op, factors, target) = {
            let b = body.tape.borrow();
            let node = &b.graph()[contribution];
            (node.op.clone(), node.operands.clone(), node.ty().axes.clone())
        };
        let known = |body: &Body, v: ValueId| {
            body.outside(v).or_else(|| body.yields.iter().position(|(_, y)| *y == v).map(Factor::Yield))
        };
        if let Some(already) = known(body, contribution) {
            gradients.push((operand, Gradient::Sum(already, target)));
        } else if let Op::Sum { .. } = op
            && let Some(already) = known(body, factors[0])
        {
            gradients.push((operand, Gradient::Sum(already, target)));
        } else if matches!(op, Op::Mul | Op::Dot { .. }) && pays(body, &factors, &target) {
            let [a, b] = [factors[0], factors[1]].map(|v| match known(body, v) {
                Some(known) => known,
                None => Factor::Yield(body.yielded(&format!("factor.{name}"), v)),
            });
            gradients.push((operand, Gradient::Product(a, b, target)));
        } else {
            rest.push(contribution);
        }
    }
    let Some(sum) = sweep::total(&body.tape, &rest) else { return };
    let ty = body.tape.borrow().ty(sum).clone();
    let start = sweep::zeros(outer, &ty);
    let accumulator = body.input(outer, Place::State, &format!("acc.{name}"), start);
    let next = body.tape.borrow_mut().add(accumulator, sum);
    let state = body.next_state(&format!("acc.{name}"), next);
    gradients.push((operand, Gradient::Final(state)));
}

/// Whether yielding the factors of an outer product writes less a step than adding up the product: compares the
/// elements of the factors that are not yielded yet, summed axes aside, with those of the product.
fn pays(body: &Body, factors: &[ValueId], target: &Axes) -> bool {
    let b = body.tape.borrow();
    let elements =
        |axes: &Axes| b.axes().elements(axes).evaluate(&|_| Some(TYPICAL_SIZE)).unwrap_or(u64::MAX);
    let new =
        factors.iter().filter(|v| body.outside(**v).is_none() && !body.yields.iter().any(|(_, y)| y == *v));
    let written: u64 =
        new.map(|v| elements(&b.ty(*v).axes.intersection(target))).fold(0, u64::saturating_add);
    written < elements(target)
}

/// The order of the operands of a scan: states, sequences, shared values.
fn order(sources: &[(Place, ValueId)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sources.len()).collect();
    order.sort_by_key(|i| sources[*i].0);
    order
}

fn finish(scan: &Scan, body: Body) -> Scan {
    let order = order(&body.sources);
    let of = |place| body.sources.iter().filter(|(p, _)| *p == place).count() as u32;
    let (states, sequences) = (of(Place::State), of(Place::Sequence));
    let mut b = body.tape.into_inner();
    body.next.iter().chain(&body.yields).for_each(|(name, value)| b.output(name.as_str(), *value));
    let graph: Graph = carousel_ir::transform::with_inputs(&b.finish_pass(), &order);
    Scan { axis: scan.axis, direction: scan.direction.flipped(), states, sequences, body: graph }
}
