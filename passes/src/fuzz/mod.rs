//! Trying rules on random values: both sides must be equal, and defined in the same places.
//!
//! The left-hand side is made a graph with random types, constants and attributes; the rule alone is applied to it; and
//! every term that the result then has is evaluated beside the original. Values that are not numbers are among the
//! inputs, so that a rule which forgets an operand is caught. The evaluator is handed in: this crate knows none.
//! Passing is evidence, not proof; a rule that never applied in its trials is reported as such. Rules that speak of
//! scales are tried in `scaled`, those about linear scans in `lines`.

mod lines;
mod scaled;

use crate::analysis::{Facts, Terms};
use crate::canonical::{Inserted, insert, rebuild_chosen};
use crate::extract::extract;
use crate::language::Leaf;
use crate::rules::{Expr, Hole, Rule, Rules, Tag, holes};
use crate::saturate::{Limits, saturate};
use carousel_ir::{Axes, Axis, AxisTable, Builder, DType, Direction, Graph, OpKind, Size, ValueId};
use std::collections::BTreeMap;
use std::fmt;

/// Evaluates a graph that calls nothing: one list of numbers per input, in the declared order of its axes, to one per
/// output; truth values are 0 and 1.
pub type Evaluate<'a> = &'a dyn Fn(&Graph, &[Vec<f64>]) -> Vec<Vec<f64>>;

/// Values on which the two sides of a rule differ.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The rule.
    pub rule: String,
    /// Its text.
    pub text: String,
    /// What came out.
    pub difference: String,
    /// What was tried: both sides, and the inputs with their elements; a line each.
    pub details: Vec<String>,
    /// How many numbers were tried at once.
    elements: usize,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule `{}` is wrong: {}\n  {}", self.rule, self.difference, self.text)?;
        self.details.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// What fuzzing found.
#[derive(Clone, Default, Debug)]
pub struct FuzzReport {
    /// How often each rule applied and held.
    pub held: BTreeMap<String, usize>,
    /// The smallest counterexample found of each rule that is wrong.
    pub failures: Vec<Counterexample>,
}

/// Tries every rule that claims to be exact until it has applied `trials` times. The same seed gives the same trials.
pub fn fuzz(rules: &Rules, trials: usize, seed: u64, evaluate: Evaluate<'_>) -> FuzzReport {
    let mut report = FuzzReport::default();
    for (place, rule) in rules.iter().enumerate().filter(|(_, r)| r.tag() <= Tag::Real) {
        let mut random = Random(seed ^ (place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let alone = rules.only(place);
        let held = report.held.entry(rule.name().to_string()).or_insert(0);
        let mut smallest: Option<Counterexample> = None;
        let mut left = trials * ATTEMPTS;
        while left > 0 && *held < trials {
            left -= 1;
            let tried = if rule.speaks_of_scales() {
                scaled::attempt(rule, &alone, &mut random, evaluate)
            } else if rule.speaks_of_lines() {
                lines::attempt(rule, &alone, &mut random, evaluate)
            } else {
                attempt(rule, &alone, &mut random, evaluate)
            };
            match tried {
                Some(Ok(())) => *held += 1,
                Some(Err(found)) => {
                    if smallest.is_none() {
                        left = left.min(SMALLER);
                    }
                    smallest = smallest.into_iter().chain([found]).min_by_key(|c| c.elements);
                }
                None => {}
            }
        }
        report.failures.extend(smallest);
    }
    report
}

/// How many random graphs are made for one that the rule applies to.
const ATTEMPTS: usize = 400;

/// How many more are made in search of a smaller counterexample.
const SMALLER: usize = 400;

/// xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// In \[0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    fn choose<T: Copy>(&mut self, list: &[T]) -> T {
        list[(self.next() >> 33) as usize % list.len()]
    }
}

/// Names and sizes of the axes; `jk` is `j` and `k` as one, `m` another name for `k`.
const AXES: [(&str, u64); 6] = [("i", 2), ("j", 2), ("k", 3), ("m", 3), ("jk", 6), ("l", 1)];

fn axis(random: &mut Random) -> Axis {
    Axis::new(random.choose(&AXES).0)
}

/// A random attribute for a place of an operation.
fn attribute(random: &mut Random, kind: OpKind, place: usize) -> Leaf {
    let whole = Axis::new("jk");
    let parts = [["j", "k"], ["k", "j"], ["j", "m"]];
    match (kind, place) {
        (OpKind::Split, 0) | (OpKind::Merge, 1) => Leaf::Axis(whole),
        (OpKind::Split, _) | (OpKind::Merge, _) => Leaf::Axes(random.choose(&parts).map(Axis::new).to_vec()),
        (OpKind::Sum | OpKind::ReduceMax | OpKind::Dot | OpKind::Broadcast, _) => {
            let mut axes: Vec<Axis> =
                AXES.iter().filter(|_| random.chance(0.3)).map(|(a, _)| Axis::new(a)).collect();
            if axes.is_empty() {
                axes.push(axis(random));
            }
            Leaf::Axes(axes).for_kind(kind)
        }
        (OpKind::CumSum | OpKind::CumMax, 1) => {
            Leaf::Direction(random.choose(&[Direction::Forward, Direction::Reverse]))
        }
        (OpKind::Shift, 1) => Leaf::Integer(random.choose(&[-2, -1, 0, 1, 2])),
        (OpKind::Slice | OpKind::Pad, 2) => Leaf::Size(Size::Known(random.choose(&[0, 1]))),
        (OpKind::Cast, _) | (OpKind::SizeOf | OpKind::Const, 1) => {
            Leaf::DType(random.choose(&[DType::F32, DType::F64]))
        }
        (OpKind::Const, _) => Leaf::Number(carousel_ir::Number::new(random.choose(&NUMBERS))),
        _ => Leaf::Axis(axis(random)),
    }
}

const NUMBERS: [f64; 9] = [0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 3.0, -0.25, 0.7];

/// What stands for the variables.
#[derive(Default)]
struct Assignment {
    values: BTreeMap<String, ValueId>,
    leaves: BTreeMap<String, Leaf>,
}

/// A random value for a variable.
fn value(b: &mut Builder<'_>, random: &mut Random, name: &str, hole: Hole) -> ValueId {
    let dtype = if hole == Hole::Condition { DType::Bool } else { DType::F32 };
    if random.chance(0.25) {
        let number = if dtype == DType::Bool { random.choose(&[0.0, 1.0]) } else { random.choose(&NUMBERS) };
        return b.constant(number, dtype);
    }
    let axes: Vec<Axis> = AXES.iter().filter(|_| random.chance(0.35)).map(|(a, _)| Axis::new(a)).collect();
    let input = b.argument(&name[1..], dtype, &axes);
    if dtype == DType::Bool {
        return input;
    }
    match random.next() >> 40 & 7 {
        0 => b.exp(input),
        1 => b.abs(input),
        2 => {
            let size = b.abs(input);
            b.neg(size)
        }
        3 => b.sigmoid(input),
        _ => input,
    }
}

fn build(b: &mut Builder<'_>, expr: &Expr, assignment: &Assignment) -> Option<ValueId> {
    match expr {
        Expr::Variable(var) => assignment.values.get(&var.to_string()).copied(),
        Expr::Number(number) => Some(b.constant(number.get(), DType::F32)),
        Expr::Truth(truth) => Some(b.constant(f64::from(u8::from(*truth)), DType::Bool)),
        Expr::Op(kind, children) => {
            let count = crate::language::attribute_count(*kind)?;
            let leaf = |child: &Expr| match child {
                Expr::Variable(var) => assignment.leaves.get(&var.to_string()).cloned(),
                Expr::Leaf(leaf) => Some(leaf.clone()),
                Expr::Number(n) => Some(Leaf::Number(*n)),
                Expr::Truth(_)
                | Expr::Op(..)
                | Expr::Virtual(..)
                | Expr::Axes(..)
                | Expr::Line(..)
                | Expr::Function(..)
                | Expr::Count(_) => None,
            };
            let leaves: Option<Vec<Leaf>> = children[..count].iter().map(leaf).collect();
            let op = crate::language::operation_of(*kind, leaves?.iter())?;
            let operands: Option<Vec<ValueId>> =
                children[count..].iter().map(|c| build(b, c, assignment)).collect();
            b.try_push(op, &operands?).ok()
        }
        Expr::Virtual(..)
        | Expr::Axes(..)
        | Expr::Line(..)
        | Expr::Function(..)
        | Expr::Count(_)
        | Expr::Leaf(_) => None,
    }
}

/// A random graph of the rule's left-hand side; `None` if it happens to be ill-typed.
fn left_hand_side(rule: &Rule, random: &mut Random) -> Option<Graph> {
    let mut table = AxisTable::default();
    AXES.iter().for_each(|(name, size)| {
        table.declare(Axis::new(name), Size::Known(*size));
    });
    let mut b = Builder::body(table);
    let mut assignment = Assignment::default();
    for (name, hole) in holes(&rule.left).ok()? {
        match hole {
            Hole::Attribute(kind, place) => {
                assignment.leaves.insert(name, attribute(random, kind, place));
            }
            Hole::Value | Hole::Condition => {
                let value = value(&mut b, random, &name, hole);
                assignment.values.insert(name, value);
            }
        }
    }
    let root = build(&mut b, &rule.left, &assignment)?;
    let axes: Axes = b.ty(root).axes.clone();
    b.output_as("result", root, axes);
    b.finish().ok()
}

/// One random graph: `None` if the rule does not apply to it.
fn attempt(
    rule: &Rule,
    alone: &Rules,
    random: &mut Random,
    evaluate: Evaluate<'_>,
) -> Option<Result<(), Counterexample>> {
    let graph = left_hand_side(rule, random)?;
    let mut terms = Terms::new(Facts::new(graph.axes.clone()));
    let inserted = insert(&mut terms, &graph);
    let outcome = saturate(&mut terms, alone, Limits { nodes: 2_000, rounds: 1 });
    if outcome.fired[0] == 0 {
        return None;
    }
    let inputs = input_values(&graph, random);
    let expected = evaluate(&graph, &inputs).remove(0);
    for other in alternatives(&graph, &terms, &inserted) {
        let found = evaluate(&other, &inputs).remove(0);
        if let Some(at) = (0..expected.len()).find(|i| !agree(expected[*i], found[*i])) {
            let difference = Difference { at, left: expected[at], right: found[at], how: "" };
            return Some(Err(counterexample(rule, [&graph, &other], &inputs, difference)));
        }
    }
    Some(Ok(()))
}

/// Random elements; now and then special ones, and in some trials some that are not numbers.
fn input_values(graph: &Graph, random: &mut Random) -> Vec<Vec<f64>> {
    let undefined = random.chance(0.2);
    let mut element = |dtype: DType| {
        if dtype == DType::Bool {
            return f64::from(u8::from(random.chance(0.5)));
        }
        if undefined && random.chance(0.2) {
            return f64::NAN;
        }
        if random.chance(0.15) { random.choose(&NUMBERS) } else { (random.unit() - 0.5) * 6.0 }
    };
    let length = |axes: &Axes| graph.axes.elements(axes).known().unwrap_or(0);
    graph.inputs.iter().map(|i| (0..length(&i.ty.axes)).map(|_| element(i.ty.dtype)).collect()).collect()
}

/// The graphs that have each term of the result's class as their last operation.
fn alternatives(graph: &Graph, terms: &Terms, inserted: &[Option<Inserted>]) -> Vec<Graph> {
    let output = graph.outputs[0].value.index();
    let Some(root) = inserted[output].as_ref().map(|i| terms.find(i.class)) else { return Vec::new() };
    // Rules may have made new axes.
    let graph = &Graph { axes: terms.analysis.axes.clone(), ..graph.clone() };
    terms[root]
        .nodes
        .iter()
        .filter_map(|forced| {
            let cost = |class, term: &_| if class == root && term != forced { f64::INFINITY } else { 1.0 };
            let (selection, _) = extract(terms, &[root], &cost)?;
            Some(rebuild_chosen(graph, terms, inserted, &selection))
        })
        .collect()
}

/// Equal up to rounding, or both undefined.
fn agree(a: f64, b: f64) -> bool {
    match (a.is_finite(), b.is_finite()) {
        (true, true) => (a - b).abs() <= 1e-9 * (1.0 + a.abs() + b.abs()),
        (a, b) => a == b,
    }
}

/// Where two sides differ.
struct Difference {
    at: usize,
    left: f64,
    right: f64,
    /// Under which circumstances.
    how: &'static str,
}

/// Both sides have the inputs of the left one.
fn counterexample(
    rule: &Rule,
    sides: [&Graph; 2],
    inputs: &[Vec<f64>],
    difference: Difference,
) -> Counterexample {
    let Difference { at, left, right, how } = difference;
    let side = |(name, graph): (&str, &Graph)| {
        let value = graph.outputs[0].value;
        format!("{name}: {}, {}", crate::stable::describe::value(graph, value), graph.ty(value))
    };
    let mut details: Vec<String> = ["left", "right"].into_iter().zip(sides).map(side).collect();
    let values = sides[0].inputs.iter().zip(inputs);
    details.extend(values.map(|(input, values)| format!("{}: {} = {values:?}", input.name, input.ty)));
    Counterexample {
        rule: rule.name().to_string(),
        text: rule.text().to_string(),
        elements: inputs.iter().map(Vec::len).sum(),
        difference: format!("element {at} is {left} on the left and {right} on the right{how}"),
        details,
    }
}
