//! Trying rules about scales: both sides are written out by the definitions of the virtual operations.
//!
//! Each trial is made twice. Once as it stands, where moreover no `gexp` may be above 1; and once with an arbitrary
//! number in place of everything detached: a rule under which the result changes then would make a gradient wrong.
//! A scale is a finite number, so no input is undefined here; divisions by 0 and logarithms still are.

use super::{
    AXES, Counterexample, Difference, Random, agree, attribute, counterexample, input_values, value,
};
use crate::analysis::{Facts, Terms};
use crate::canonical::insert_replacing;
use crate::extract::{Selection, extract};
use crate::fuzz::Evaluate;
use crate::language::{Children, Head, Term};
use crate::rules::{Hole, Rule, Rules, holes, value as class_of};
use crate::saturate::{Limits, saturate};
use crate::stable::emit::{Emitter, Style};
use carousel_ir::{Axis, AxisTable, Builder, DType, Graph, Op, OpKind, Size, Type, ValueId};
use egg::{Id, Subst, Var};
use smallvec::smallvec;

/// One random term: `None` if the rule does not apply to it.
pub(super) fn attempt(
    rule: &Rule,
    alone: &Rules,
    random: &mut Random,
    evaluate: Evaluate<'_>,
) -> Option<Result<(), Counterexample>> {
    let mut terms = Terms::new(Facts::new(axes()));
    let (graph, root) = left_hand_side(rule, &mut terms, random)?;
    let as_written: Vec<Term> = terms[root].nodes.clone();
    if saturate(&mut terms, alone, Limits { nodes: 2_000, rounds: 1 }).fired[0] == 0 {
        return None;
    }
    let root = terms.find(root);
    let inputs = inputs(&graph, random);
    for style in [Style::Definition, Style::Gauge] {
        let mut results: Vec<(Graph, Vec<f64>)> = Vec::new();
        for forced in &terms[root].nodes {
            let cost = |class, term: &Term| if class == root && term != forced { f64::INFINITY } else { 1.0 };
            let Some((selection, _)) = extract(&terms, &[root], &cost) else { continue };
            let written = written_out(&graph, &terms, root, &selection, style)?;
            let mut values = evaluate(&written, &inputs);
            let result = values.remove(0);
            if let Some(above) = values.iter().flatten().find(|d| **d > 1e-9)
                && style == Style::Definition
            {
                let difference = Difference { at: 0, left: result[0], right: result[0], how: "" };
                let mut found = counterexample(rule, [&written, &written], &inputs, difference);
                found.difference = format!("an argument of gexp is {above} above its maximum");
                return Some(Err(found));
            }
            let is_left = as_written.iter().any(|t| same(&terms, t, forced));
            results.insert(if is_left { 0 } else { results.len() }, (written, result));
        }
        let ((left, expected), others) = results.split_first()?;
        for (right, found) in others {
            if let Some(at) = (0..expected.len()).find(|i| !agree(expected[*i], found[*i])) {
                let how =
                    if style == Style::Gauge { ", with other numbers for what is detached" } else { "" };
                let difference = Difference { at, left: expected[at], right: found[at], how };
                return Some(Err(counterexample(rule, [left, right], &inputs, difference)));
            }
        }
    }
    Some(Ok(()))
}

fn axes() -> AxisTable {
    let mut table = AxisTable::default();
    AXES.iter().for_each(|(name, size)| {
        table.declare(Axis::new(name), Size::Known(*size));
    });
    table
}

/// Terms are compared by their classes: those may have become others.
fn same(terms: &Terms, a: &Term, b: &Term) -> bool {
    let find = |t: &Term| t.children.iter().map(|c| terms.find(*c)).collect::<Children>();
    a.head == b.head && find(a) == find(b)
}

/// The class of a random left-hand side, and the graph of what stands for its variables.
fn left_hand_side(rule: &Rule, terms: &mut Terms, random: &mut Random) -> Option<(Graph, Id)> {
    let mut b = Builder::body(axes());
    let mut subst = Subst::default();
    let mut values: Vec<(Var, ValueId)> = Vec::new();
    for (name, hole) in holes(&rule.left).ok()? {
        let var: Var = name.parse().ok()?;
        match hole {
            Hole::Attribute(kind, place) => {
                subst.insert(var, terms.add(attribute(random, kind, place).term()));
            }
            Hole::Value | Hole::Condition => values.push((var, value(&mut b, random, &name, hole))),
        }
    }
    let graph = b.finish().ok()?;
    let carried: Vec<bool> = graph.inputs.iter().map(|_| random.chance(0.4)).collect();
    // The scale of the step before is as it was carried, or has been made the next one.
    let settled: Vec<bool> = graph.inputs.iter().map(|_| random.chance(0.5)).collect();
    let inserted = insert_replacing(terms, &graph, &mut |terms, index| {
        let ty = &graph.inputs[index as usize].ty;
        if !carried[index as usize] || ty.dtype == DType::Bool {
            return None;
        }
        let number = terms.analysis.opaque(&Op::Input { index }, &smallvec![ty.clone()]);
        terms.analysis.scales.insert(number);
        let scale = terms.add(Term { head: Head::Opaque(number), children: Children::new() });
        let is_settled = settled[index as usize] && ty.dtype.is_float();
        let detach = Term { head: Head::Op(OpKind::Detach), children: smallvec![scale] };
        Some(if is_settled { terms.add(detach) } else { scale })
    });
    for (var, value) in values {
        subst.insert(var, inserted[value.index()].as_ref()?.class);
    }
    let root = class_of(terms, &rule.left, &subst, &Type::scalar(DType::F32))?;
    terms.rebuild();
    Some((graph, terms.find(root)))
}

/// Random elements, some of them far beyond what an exponential of a float can hold.
fn inputs(graph: &Graph, random: &mut Random) -> Vec<Vec<f64>> {
    let mut values = input_values(graph, random);
    // What is an exponential already stays small: twice an exponential is beyond every number.
    let exponentials: Vec<ValueId> =
        graph.nodes.iter().filter(|n| n.op.kind() == OpKind::Exp).map(|n| n.operands[0]).collect();
    let places = graph.input_values();
    for ((values, input), place) in values.iter_mut().zip(&graph.inputs).zip(places) {
        let small = place.is_some_and(|p| exponentials.contains(&p));
        let size = if small { 1.0 } else { random.choose(&[1.0, 1.0, 10.0, 40.0]) };
        for value in values.iter_mut().filter(|_| input.ty.dtype != DType::Bool) {
            *value = if value.is_nan() { 0.5 } else { *value * size };
        }
    }
    values
}

/// The graph of the class by chosen terms; its first output is the class.
fn written_out(graph: &Graph, terms: &Terms, root: Id, selection: &Selection, style: Style) -> Option<Graph> {
    let builder = Builder::body(axes());
    let mut emitter = Emitter::new(builder, terms, selection, style);
    for input in &graph.inputs {
        let value = emitter.builder.input(input.name.as_str(), input.ty.clone(), input.role);
        emitter.inputs.push(value);
    }
    let axes = terms[root].data.ty()?.axes.clone();
    let value = emitter.value_with(root, &axes);
    emitter.builder.output_as("result", value, axes);
    for (place, difference) in std::mem::take(&mut emitter.differences).into_iter().enumerate() {
        emitter.builder.output(&format!("difference.{place}"), difference);
    }
    emitter.builder.finish().ok()
}
