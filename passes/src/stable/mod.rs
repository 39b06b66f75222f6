//! Stabilisation: recurrences with exponential gates, as on paper, made free of overflow.
//!
//! A state `s` whose update can overflow becomes `s * exp(-m)` with a new state `m`, its *scale*; states that share
//! their gates share the scale. That is exact for any finite sequence of scales; the rules (`rules/stable.rules`) find
//! the scale that keeps every factor at most 1, and the reason why none exists otherwise. Every scale is detached: it
//! is the compiler's own choice and its derivative is zero. A loop is known by its equations alone, no cell by name.
//!
//! Map: `derive` is the search for one body, `search` its groups, `fine` the axes of their scales, `body` the e-graph, `emit`
//! the way back to a graph, `outer` the loop in its function. Each distinct body is derived once.

mod body;
mod decays;
mod derive;
pub(crate) mod describe;
pub(crate) mod emit;
mod fine;
mod outer;
mod report;
mod search;
mod start;

use crate::interval::Interval;
use crate::loops::specialise;
use crate::plain;
use crate::ranges::range;
use crate::rules::{RuleSet, Rules};
use crate::saturate::Limits;
use crate::trace::{self, GraphTrace, Trace, Tracing};
use carousel_ir::{Builder, Function, Graph, Module, Op, Scan, Span, ValueId};
use derive::{Blocked, Derivation, Picture, derive};
use std::collections::HashMap;

pub use report::{Outcome, Overflow, ScaleGroup, ScanReport, StableReport};

/// How [`stabilize`] goes about it.
#[derive(Clone, Copy, Debug)]
pub struct StableOptions<'a> {
    /// The rules, [`Rules::stable`] unless there are more.
    pub rules: &'a Rules,
    /// How far saturation goes.
    pub limits: Limits,
}

impl Default for StableOptions<'_> {
    fn default() -> Self {
        StableOptions { rules: Rules::stable(), limits: Limits::default() }
    }
}

/// The module with its recurrences made free of overflow, as far as that follows from the rules; interfaces of
/// functions stay. The module must be verified, and the result is.
pub fn stabilize(module: &Module, options: &StableOptions<'_>) -> (Module, StableReport) {
    let mut pass = Pass::new(options, Tracing::Off);
    (pass.module(module), pass.report)
}

/// [`stabilize`], with proofs and pictures of the e-graphs.
pub fn stabilize_traced(module: &Module, options: &StableOptions<'_>) -> (Module, StableReport, Trace) {
    let mut pass = Pass::new(options, Tracing::On);
    (pass.module(module), pass.report, pass.trace)
}

/// A loop, the ranges of what comes into it, and which states start at zero.
type LoopKey = (Scan, Vec<Interval>, Vec<bool>);

struct Pass<'o> {
    options: &'o StableOptions<'o>,
    known: HashMap<LoopKey, Derivation>,
    report: StableReport,
    tracing: Tracing,
    trace: Trace,
}

impl<'o> Pass<'o> {
    fn new(options: &'o StableOptions<'o>, tracing: Tracing) -> Pass<'o> {
        let (report, trace) = (StableReport::default(), Trace::default());
        Pass { options, known: HashMap::new(), report, tracing, trace }
    }

    fn module(&mut self, module: &Module) -> Module {
        let mut result = Module::default();
        for function in &module.functions {
            let graph = decays::bounded(&result, &function.graph);
            let graph = self.graph(&result, &graph, function.name.as_str());
            result.push(Function { graph, ..function.clone() });
        }
        if cfg!(debug_assertions)
            && let Some(problem) = carousel_ir::verify(&result).first()
        {
            panic!("the stabilised module does not verify: {problem}");
        }
        result
    }

    /// The graph with its loops stabilised; `module` holds the functions that it may call.
    fn graph(&mut self, module: &Module, graph: &Graph, name: &str) -> Graph {
        let empty = Graph { axes: graph.axes.clone(), inputs: graph.inputs.clone(), ..Graph::default() };
        let mut builder = Builder::resume(module, empty);
        let used = results_used(graph);
        let mut made: Vec<Option<ValueId>> = vec![None; graph.nodes.len()];
        let mut results: HashMap<ValueId, Vec<Option<ValueId>>> = HashMap::new();
        for (value, node) in graph.iter() {
            builder.span = node.span;
            let operand = |v: &ValueId| made[v.index()].expect("operands precede users");
            if let (Op::Proj { index }, Some(results)) =
                (&node.op, results.get(&node.operands.first().copied().unwrap_or(value)))
            {
                made[value.index()] = results[*index as usize];
            } else if let Op::Scan { scan } = &node.op {
                let operands: Vec<ValueId> = node.operands.iter().map(operand).collect();
                let name = format!("{name}/scan {}", value.0);
                let (scan, operands) = self.inner(scan, &operands, builder.graph(), &name);
                let derivation =
                    self.derive(&scan, given(builder.graph(), &scan, &operands), &name, node.span);
                let used = used.get(&value).map_or(&[][..], Vec::as_slice);
                // Axes that loops inside were given are known outside too.
                for (axis, size) in scan.body.axes.iter() {
                    builder.axes_mut().declare(axis, size.clone());
                }
                let new = outer::add(&mut builder, &scan, &operands, &derivation, used);
                results.insert(value, new);
            } else {
                let operands: Vec<ValueId> = node.operands.iter().map(operand).collect();
                made[value.index()] = Some(builder.push(node.op.clone(), &operands));
            }
            if let (Some(new), Some(name)) = (made[value.index()], node.name) {
                builder.name(new, name);
            }
        }
        for output in &graph.outputs {
            let value = made[output.value.index()].expect("outputs are values");
            builder.output_as(output.name.as_str(), value, output.axes.clone());
        }
        plain::live(module, &plain::shared(module, &builder.finish_pass()))
    }

    /// The loop with the loops inside it stabilised, and constants inside its body.
    fn inner(
        &mut self,
        scan: &Scan,
        operands: &[ValueId],
        outer: &Graph,
        name: &str,
    ) -> (Scan, Vec<ValueId>) {
        let (scan, operands) = specialise(scan, operands, outer);
        if !scan.body.nodes.iter().any(|n| matches!(n.op, Op::Scan { .. })) {
            return (scan, operands);
        }
        let body = self.graph(&Module::default(), &scan.body, name);
        let body = plain::live_with_inputs(&Module::default(), &body);
        carousel_ir::scan::normalize(Scan { body, ..scan }, &operands)
    }

    fn derive(&mut self, scan: &Scan, given: Given, name: &str, place: Span) -> Derivation {
        let key = (scan.clone(), given.ranges.clone(), given.zero.clone());
        let (derivation, again) = match self.known.get(&key) {
            Some(known) => (known.clone(), true),
            None => {
                let (new, picture) = derive(scan, &given, self.options, self.tracing);
                self.known.insert(key, new.clone());
                if let Some(Picture { terms, proof }) = picture {
                    let dot = trace::dot(name, &terms);
                    let set = RuleSet::Stable;
                    self.trace.graphs.push(GraphTrace { name: name.to_string(), set, proof, dot });
                }
                (new, false)
            }
        };
        let Derivation { outcome, shown, notes, work, blocked, .. } = derivation.clone();
        let overflowing = blocked.into_iter().map(|Blocked { reason, term, value }| Overflow {
            reason,
            term,
            span: value.map_or(Span::default(), |value| scan.body[value].span),
        });
        self.report.scans.push(ScanReport {
            name: name.to_string(),
            outcome,
            groups: shown,
            notes,
            attempts: work.attempts,
            terms: work.terms,
            stop: work.stop,
            alarms: work.alarms,
            fired: work.fired,
            again,
            place,
            overflowing: overflowing.collect(),
        });
        derivation
    }
}

/// What is known of the operands of a loop.
struct Given {
    /// Where the inputs of its body lie: nothing is known of states.
    ranges: Vec<Interval>,
    /// Which states start at zero.
    zero: Vec<bool>,
}

fn given(graph: &Graph, scan: &Scan, operands: &[ValueId]) -> Given {
    let mut known = HashMap::new();
    let states = scan.states as usize;
    let bounds = |(place, operand): (usize, &ValueId)| {
        if place < states { Interval::ANY } else { range(graph, *operand, &mut known) }
    };
    let ranges = operands.iter().enumerate().map(bounds).collect();
    Given { ranges, zero: operands[..states].iter().map(|v| graph.is_zero(*v)).collect() }
}

/// Which results of loops are taken, by the loop.
fn results_used(graph: &Graph) -> HashMap<ValueId, Vec<bool>> {
    let mut used: HashMap<ValueId, Vec<bool>> = HashMap::new();
    let uses = graph.uses();
    for (_, node) in graph.iter().filter(|(v, _)| uses[v.index()] > 0) {
        if let Op::Proj { index } = node.op
            && let Op::Scan { .. } = graph[node.operands[0]].op
        {
            let count = graph[node.operands[0]].types.len();
            used.entry(node.operands[0]).or_insert_with(|| vec![false; count])[index as usize] = true;
        }
    }
    used
}
