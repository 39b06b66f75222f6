//! Trying rules about linear scans: random lines, axes, lengths, decays and cuts, and chunks of random length.
//!
//! Operands are numbers: a form that adds over all pairs of steps multiplies what a step does not see by 0. Decays go
//! from 0 to far below what any float holds, and a little above 0, as scales that are whole numbers make them.

use super::{Assignment, Counterexample, Difference, Random, agree, alternatives, build, counterexample};
use crate::analysis::{Facts, Terms};
use crate::canonical::insert;
use crate::fuzz::Evaluate;
use crate::interval::Interval;
use crate::language::{Leaf, attribute_count};
use crate::rules::{Expr, Rule, Rules};
use crate::saturate::{Limits, saturate};
use carousel_ir::{
    Axes, Axis, AxisTable, Builder, DType, Direction, Edge, Graph, Line, OpKind, Read, Role, Size, Type,
};

/// The axes beside that of the line, and their sizes.
const AXES: [(&str, u64); 4] = [("b", 2), ("i", 1), ("k", 3), ("v", 2)];

/// What an operand of a linear scan, or of its derivative, is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Number,
    State,
    Decay,
    Cut,
}

/// One random scan: `None` if the rule does not apply to it.
pub(super) fn attempt(
    rule: &Rule,
    alone: &Rules,
    random: &mut Random,
    evaluate: Evaluate<'_>,
) -> Option<Result<(), Counterexample>> {
    let (graph, parts) = left_hand_side(rule, random)?;
    let mut terms = Terms::new(Facts::new(graph.axes.clone()));
    terms.analysis.chunks.insert(Axis::new("s"), random.choose(&[1, 2, 3, 4, 5, 8]));
    // Now and then decays are known to be small.
    let is_narrow = random.chance(0.5);
    if is_narrow {
        let range = |part: &Part| if *part == Part::Decay { Interval::new(-1.0, 0.0) } else { Interval::ANY };
        terms.analysis.input_ranges = parts.iter().map(range).collect();
    }
    let inserted = insert(&mut terms, &graph);
    if saturate(&mut terms, alone, Limits { nodes: 4_000, rounds: 1 }).fired[0] == 0 {
        return None;
    }
    let inputs: Vec<Vec<f64>> = graph
        .inputs
        .iter()
        .zip(&parts)
        .map(|(input, part)| {
            let length = graph.axes.elements(&input.ty.axes).known().unwrap_or(0);
            (0..length).map(|_| element(*part, is_narrow, random)).collect()
        })
        .collect();
    let expected = evaluate(&graph, &inputs);
    for other in alternatives(&graph, &terms, &inserted) {
        let found = evaluate(&other, &inputs);
        let differs = |i: &usize| !agree(expected[0][*i], found[0][*i]);
        if let Some(at) = (0..expected[0].len()).find(differs) {
            let difference = Difference { at, left: expected[0][at], right: found[0][at], how: "" };
            return Some(Err(counterexample(rule, [&graph, &other], &inputs, difference)));
        }
    }
    Some(Ok(()))
}

fn element(part: Part, is_narrow: bool, random: &mut Random) -> f64 {
    match part {
        Part::Decay if is_narrow => -random.unit(),
        Part::Number | Part::State => (random.unit() - 0.5) * 4.0,
        Part::Cut => f64::from(u8::from(random.chance(0.15))),
        Part::Decay => match random.next() >> 40 & 15 {
            0 => -1e30,
            1 => -800.0,
            2 => -90.0 * random.unit(),
            3 => 0.5 * random.unit(),
            4..=6 => 0.0,
            _ => -2.0 * random.unit(),
        },
    }
}

/// Some of the axes.
fn some(random: &mut Random, of: &Axes) -> Axes {
    of.iter().filter(|_| random.chance(0.6)).collect()
}

/// The types of the operands of a random scan along `s` whose state has the axes `state`, read along `key`.
fn operands(random: &mut Random, state: &Axes, key: &Axes) -> Vec<(Type, Part)> {
    let s = Axis::new("s");
    let kept = state.without(key);
    let sequence = |dtype, axes: &Axes| Type { dtype, axes: Axes::from(s).union(axes) };
    let float = DType::F32;
    let [q, x] = [(); 2].map(|()| key.union(&some(random, &kept)));
    let w = some(random, &kept);
    // Decays of all keys alike, or of some apart.
    let decaying = if random.chance(0.5) { &kept } else { state };
    let l = some(random, decaying);
    let cut = some(random, &kept.union(&l));
    vec![
        (sequence(float, &q), Part::Number),
        (sequence(float, &x), Part::Number),
        (sequence(float, &w), Part::Number),
        (sequence(float, &l), Part::Decay),
        (sequence(DType::Bool, &cut), Part::Cut),
        (Type { dtype: float, axes: state.clone() }, Part::State),
        (sequence(float, &kept), Part::Number),
        (Type { dtype: float, axes: state.clone() }, Part::State),
    ]
}

/// The operands of what solves a linear scan that reads itself.
fn solve_operands(random: &mut Random, state: &Axes, key: &Axes) -> Vec<(Type, Part)> {
    let [a, b, _, l, cut, _, z, _] = <[(Type, Part); 8]>::try_from(operands(random, state, key))
        .unwrap_or_else(|_| unreachable!("a linear scan has six operands, and two cotangents"));
    vec![a, b, z, l, cut]
}

/// The linear scan in a pattern.
fn scan(expr: &Expr) -> Option<(OpKind, &[Expr])> {
    match expr {
        Expr::Op(kind @ (OpKind::LinRead | OpKind::LinReadDecay | OpKind::LinSolve), children) => {
            Some((*kind, children))
        }
        Expr::Op(_, children) | Expr::Virtual(_, children) => children.iter().find_map(scan),
        Expr::Variable(_)
        | Expr::Number(_)
        | Expr::Truth(_)
        | Expr::Axes(..)
        | Expr::Line(..)
        | Expr::Function(..)
        | Expr::Count(_)
        | Expr::Leaf(_) => None,
    }
}

/// A random graph of the rule's left-hand side, and what its inputs are; `None` if it happens to be ill-typed.
fn left_hand_side(rule: &Rule, random: &mut Random) -> Option<(Graph, Vec<Part>)> {
    let mut table = AxisTable::default();
    let length = random.choose(&[1, 1, 2, 3, 5, 7, 9]);
    for (name, size) in AXES.into_iter().chain([("s", length)]) {
        table.declare(Axis::new(name), Size::Known(size));
    }
    let all: Axes = AXES.iter().map(|(name, _)| Axis::new(name)).collect();
    let state = some(random, &all);
    let key = some(random, &state);
    let line = Line {
        axis: Axis::new("s"),
        direction: random.choose(&[Direction::Forward, Direction::Reverse]),
        edge: random.choose(&[Edge::Before, Edge::After]),
        read: random.choose(&[Read::New, Read::Old]),
    };
    let (kind, parts_of_scan) = scan(&rule.left)?;
    let types = if kind == OpKind::LinSolve {
        solve_operands(random, &state, &key)
    } else {
        operands(random, &state, &key)
    };
    let mut b = Builder::body(table);
    let (mut assignment, mut parts) = (Assignment::default(), Vec::new());
    let (attributes, values) = parts_of_scan.split_at(attribute_count(kind)?);
    let [line_part, key_part, ..] = attributes else { return None };
    for (part, leaf) in [(line_part, Leaf::Line(line)), (key_part, Leaf::Axes(key.iter().collect()))] {
        if let Expr::Variable(var) = part {
            assignment.leaves.insert(var.to_string(), leaf.for_kind(OpKind::LinRead));
        }
    }
    for (value, (ty, part)) in values.iter().zip(types) {
        if let Expr::Variable(var) = value
            && !assignment.values.contains_key(&var.to_string())
        {
            let name = var.to_string();
            // Scans without decay, cuts or initial state are what rules may be about.
            let value = if part != Part::Number && random.chance(0.3) {
                let none = b.constant(0.0, ty.dtype);
                b.broadcast(none, &ty.axes)
            } else {
                parts.push(part);
                b.input(&name[1..], ty, Role::Argument)
            };
            assignment.values.insert(name, value);
        }
    }
    let root = build(&mut b, &rule.left, &assignment)?;
    b.output("result", root);
    Some((b.finish().ok()?, parts))
}
