//! Linear scans replaced by one of their forms, in functions and in the bodies of loops.
//!
//! Invariant: interfaces stay, and no linear scan is left. What several scans have in common (weights, products,
//! states between chunks) is written once for each and left to [`crate::common_subexpressions`].

use super::derive::{self, Candidates};
use super::functions::origin;
use super::policy::{ChooseForm, Form, Site};
use super::recurrent::written_axes;
use crate::plain;
use crate::rules::Rules;
use crate::saturate::Stop;
use crate::trace::{Trace, Tracing};
use carousel_ir::{Axes, Axis, AxisTable, Builder, Graph, Line, Module, Name, Op, Scan, Size, ValueId};
use std::collections::HashMap;

/// A linear scan that was expanded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expanded {
    /// The function that it is in.
    pub function: Name,
    /// The operation: `linread`, its derivative by the decay, or what solves one that reads itself.
    pub operation: &'static str,
    /// How many steps it has, as a size expression.
    pub length: String,
    /// The form that was chosen.
    pub form: Form,
    /// The rules that it was derived by, each of them once, from the scan inwards; none is needed step by step.
    pub rules: Vec<String>,
    /// Why the search for forms ended.
    pub stop: Stop,
}

/// Replaces every linear scan by the form that `policy` chooses. The module is verified, and so is the result.
pub fn expand(module: &Module, policy: &dyn ChooseForm) -> (Module, Vec<Expanded>) {
    expand_with(module, policy, Rules::forms())
}

/// [`expand`] by these rules of forms.
pub fn expand_with(module: &Module, policy: &dyn ChooseForm, rules: &Rules) -> (Module, Vec<Expanded>) {
    expand_among(&mut Candidates::new(rules, Tracing::Off), module, policy)
}

/// [`expand_with`], with a proof of each form that was taken, and its e-graph.
pub fn expand_traced(module: &Module, policy: &dyn ChooseForm, rules: &Rules) -> (Module, Trace) {
    let mut candidates = Candidates::new(rules, Tracing::On);
    let (module, _) = expand_among(&mut candidates, module, policy);
    (module, candidates.trace)
}

/// The same, where forms that were derived before are taken from `candidates`.
pub(super) fn expand_among(
    candidates: &mut Candidates<'_>,
    module: &Module,
    policy: &dyn ChooseForm,
) -> (Module, Vec<Expanded>) {
    let mut result = Module::default();
    let mut done = Vec::new();
    for function in &module.functions {
        if !contains(&function.graph) {
            result.push(function.clone());
            continue;
        }
        let (candidates, done) = (&mut *candidates, &mut done);
        let mut expansion = Expansion { policy, candidates, function: function.name, number: 0, done };
        let graph = expansion.graph(&result, &function.graph);
        result.push(carousel_ir::Function { graph, ..function.clone() });
    }
    if cfg!(debug_assertions)
        && let Some(problem) = carousel_ir::verify(&result).first()
    {
        panic!("an expanded linear scan does not verify: {problem}");
    }
    (result, done)
}

struct Expansion<'a, 'r> {
    policy: &'a dyn ChooseForm,
    candidates: &'a mut Candidates<'r>,
    function: Name,
    /// How many linear scans of the function have been met.
    number: usize,
    done: &'a mut Vec<Expanded>,
}

/// Where a value of the old graph is in the new one.
enum Made {
    One(ValueId),
    Results(Vec<ValueId>),
}

/// What the new axes of candidates are called in one graph, by the word for what they are, the axis that they are made
/// from and their size. Scans along one axis with chunks of one length share them, so that what they have in common
/// is found to be equal.
#[derive(Default)]
struct Names(HashMap<(&'static str, Axis, Size), Axis>);

impl Names {
    fn of(&mut self, table: &mut AxisTable, candidate: &AxisTable, axis: Axis) -> Axis {
        let Some((word, from)) = origin(axis) else { return axis };
        let from = self.of(table, candidate, from);
        let size = candidate.size(axis).clone();
        *self.0.entry((word, from, size.clone())).or_insert_with(|| table.fresh(word.into(), size))
    }
}

impl Expansion<'_, '_> {
    fn graph(&mut self, module: &Module, graph: &Graph) -> Graph {
        let empty = Graph { axes: graph.axes.clone(), inputs: graph.inputs.clone(), ..Graph::default() };
        let mut b = Builder::resume(module, empty);
        let mut names = Names::default();
        let mut made: Vec<Made> = Vec::with_capacity(graph.nodes.len());
        for (_, node) in graph.iter() {
            b.span = node.span;
            if let Op::Proj { index } = node.op
                && let Made::Results(results) = &made[node.operands[0].index()]
            {
                let value = results[index as usize];
                node.name.iter().for_each(|name| b.name(value, *name));
                made.push(Made::One(value));
                continue;
            }
            let operands: Vec<ValueId> = node
                .operands
                .iter()
                .map(|o| match made[o.index()] {
                    Made::One(value) => value,
                    Made::Results(_) => panic!("the results of a linear scan are taken one by one"),
                })
                .collect();
            let value = match (Line::of(&node.op), &node.op) {
                (Some(line), Op::LinRead { key, .. }) => {
                    let results = self.scan(&mut b, &mut names, &line, key, &node.op, &operands);
                    made.push(Made::Results(results));
                    continue;
                }
                (Some(line), Op::LinReadDecay { key, .. } | Op::LinSolve { key, .. }) => {
                    self.scan(&mut b, &mut names, &line, key, &node.op, &operands)[0]
                }
                (_, Op::Scan { scan }) => {
                    let body = self.body(&mut b, &scan.body);
                    let scan = Scan { body, ..(**scan).clone() };
                    let (scan, operands) = carousel_ir::scan::normalize(scan, &operands);
                    b.push(Op::Scan { scan: Box::new(scan) }, &operands)
                }
                (_, op) => b.push(op.clone(), &operands),
            };
            node.name.iter().for_each(|name| b.name(value, *name));
            made.push(Made::One(value));
        }
        for output in &graph.outputs {
            let Made::One(value) = made[output.value.index()] else {
                panic!("the results of a linear scan are taken one by one")
            };
            b.output_as(output.name.as_str(), value, output.axes.clone());
        }
        let graph = carousel_ir::transform::without_dead_code(&b.finish_pass());
        plain::live(module, &plain::shared(module, &graph))
    }

    /// The results of a linear scan, or of its derivative, in the form that is chosen for it.
    fn scan(
        &mut self,
        b: &mut Builder<'_>,
        names: &mut Names,
        line: &Line,
        key: &Axes,
        op: &Op,
        operands: &[ValueId],
    ) -> Vec<ValueId> {
        let length = b.axes().size(line.axis);
        let kind = op.kind();
        let written = written_axes(b, op, operands);
        let state = b.axes().elements(&key.union(&written));
        let (function, number) = (self.function, self.number);
        self.number += 1;
        let site = Site { function, number, kind, line, length, key, written: &written, state: &state };
        let form = self.policy.choose(site);
        let (operation, length) = (kind.mnemonic(), length.to_string());
        let candidate = self.candidates.get(derive::Scan::new(b, op, operands), form, function);
        let (rules, stop) = (candidate.rules.clone(), candidate.stop);
        self.done.push(Expanded { function: self.function, operation, length, form, rules, stop });
        let axes = &candidate.graph.axes;
        let renamed: HashMap<Axis, Axis> =
            axes.iter().map(|(axis, _)| (axis, names.of(b.axes_mut(), axes, axis))).collect();
        let graph = carousel_ir::transform::rename_axes(&candidate.graph, &|axis| renamed[&axis]);
        let mut made: Vec<ValueId> = Vec::with_capacity(graph.nodes.len());
        for (_, node) in graph.iter() {
            made.push(if let Op::Input { index } = node.op {
                operands[index as usize]
            } else {
                let operands: Vec<ValueId> = node.operands.iter().map(|o| made[o.index()]).collect();
                b.push(node.op.clone(), &operands)
            });
        }
        graph.outputs.iter().map(|o| made[o.value.index()]).collect()
    }

    /// A loop's body; its new axes get the same sizes outside.
    fn body(&mut self, b: &mut Builder<'_>, body: &Graph) -> Graph {
        if !contains(body) {
            return body.clone();
        }
        let with_outer_axes = Graph { axes: b.axes().clone(), ..body.clone() };
        let body = self.graph(&Module::default(), &with_outer_axes);
        for (axis, size) in body.axes.iter() {
            b.axes_mut().declare(axis, size.clone());
        }
        body
    }
}

/// Whether there are linear scans in the graph.
pub(super) fn contains(graph: &Graph) -> bool {
    graph.nodes.iter().any(|n| {
        Line::of(&n.op).is_some() || if let Op::Scan { scan } = &n.op { contains(&scan.body) } else { false }
    })
}
