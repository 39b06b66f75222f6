//! Canonical form: the cheapest graph that the rules prove equal.
//!
//! Each function, and each scan's body, gets an e-graph of its own; bodies come first. Loops and calls are opaque in
//! the e-graph around them, so that nothing is copied with depth and no binder exists inside one. Interfaces stay:
//! inputs and outputs of functions, states of scans. If nothing cheaper is found the graph keeps its shape, save for
//! dead code and common subexpressions.
//!
//! Stabilisation stands beside this module, on the same language, rules and analysis.

mod insert;
mod rebuild;

use crate::analysis::{Facts, Terms, operation};
use crate::cost::{Cost, SizeWeighted};
use crate::extract::{Selection, extract};
use crate::language::{Head, Term};
use crate::loops::specialise;
use crate::plain;
use crate::proof::{self, Chosen, Claims};
use crate::report::{GraphReport, Report};
use crate::rules::{RuleSet, Rules};
use crate::saturate::{Limits, saturate};
use crate::trace::{self, GraphTrace, Trace, Tracing};
use carousel_ir::{Function, Graph, Module, Op, Scan, Type};
use egg::Id;
use rustc_hash::FxHashMap;

pub(crate) use insert::{Inserted, insert, insert_replacing};

/// How [`canonicalize_with`] goes about it.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The rules; those whose tag is not allowed are not used.
    pub rules: &'a Rules,
    /// How far saturation goes.
    pub limits: Limits,
    /// How equal terms are compared.
    pub cost: &'a dyn Cost,
    /// What has been brought into canonical form so already: functions that are the same in it, by number, stay as they
    /// are, and the report does not speak of them.
    pub done: Option<&'a Module>,
}

/// The canonical form of every function and every scan's body of a verified module.
pub fn canonicalize(module: &Module, rules: &Rules) -> (Module, Report) {
    canonicalize_with(
        module,
        Options { rules, limits: Limits::default(), cost: &SizeWeighted::default(), done: None },
    )
}

/// [`canonicalize`] with limits and costs.
pub fn canonicalize_with(module: &Module, options: Options<'_>) -> (Module, Report) {
    let mut log = Log::new(Tracing::Off);
    (canonicalize_logged(module, options, &mut log), log.report)
}

/// [`canonicalize_with`], with proofs and pictures of the e-graphs.
pub fn canonicalize_traced(module: &Module, options: Options<'_>) -> (Module, Report, Trace) {
    let mut log = Log::new(Tracing::On);
    (canonicalize_logged(module, options, &mut log), log.report, log.trace)
}

fn canonicalize_logged(module: &Module, options: Options<'_>, log: &mut Log) -> Module {
    let mut result = Module::default();
    for (place, function) in module.functions.iter().enumerate() {
        let known = options.done.and_then(|done| done.functions.get(place));
        if known.is_some_and(|known| plain::is_copy(&known.graph, &function.graph)) {
            result.push(function.clone());
            continue;
        }
        let name = function.name.as_str();
        let graph = canonical_graph(&result, &function.graph, name, Inputs::Keep, options, log);
        result.push(Function { graph, ..function.clone() });
    }
    if cfg!(debug_assertions)
        && let Some(problem) = carousel_ir::verify(&result).first()
    {
        panic!("the canonical form does not verify: {problem}");
    }
    result
}

/// What was done so far.
struct Log {
    report: Report,
    tracing: Tracing,
    trace: Trace,
    /// By graph: those that compute the same, with what became of each.
    known: FxHashMap<Graph, Vec<Known>>,
}

struct Known {
    graph: Graph,
    inputs: Inputs,
    result: Graph,
    report: GraphReport,
}

impl Log {
    fn new(tracing: Tracing) -> Log {
        Log { report: Report::default(), tracing, trace: Trace::default(), known: FxHashMap::default() }
    }

    /// What became of the same graph before: the same to the last name and span, for these stay in the result.
    fn known(&self, graph: &Graph, inputs: Inputs) -> Option<&Known> {
        let candidates = self.known.get(graph)?;
        candidates.iter().find(|k| k.inputs == inputs && plain::is_copy(&k.graph, graph))
    }
}

/// What becomes of inputs that are no longer used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Inputs {
    /// Their nodes stay: the inputs are an interface.
    Keep,
    /// The scan's normal form will drop them.
    Drop,
}

/// The canonical form of one graph; `module` holds the functions that it may call, in canonical form.
fn canonical_graph(
    module: &Module,
    graph: &Graph,
    name: &str,
    inputs: Inputs,
    options: Options<'_>,
    log: &mut Log,
) -> Graph {
    let graph = canonical_bodies(module, graph, name, options, log);
    if let Some(known) = log.known(&graph, inputs) {
        let (name, result) = (name.to_string(), known.result.clone());
        let report = GraphReport { name, again: true, ..known.report.clone() };
        log.report.graphs.push(report);
        return result;
    }
    let mut terms = Terms::new(Facts::new(graph.axes.clone()));
    let inserted = insert(&mut terms, &graph);
    let roots: Vec<Id> =
        graph.outputs.iter().filter_map(|o| inserted[o.value.index()].as_ref()).map(|i| i.class).collect();
    let price = |terms: &Terms, class: Id, term: &Term| price(terms, class, term, options.cost);
    terms.rebuild();
    let before = extract(&terms, &roots, &|class, term| price(&terms, class, term))
        .expect("every value has its own term");
    if log.tracing == Tracing::On {
        terms.analysis.instances = Some(Vec::new());
    }
    let outcome = saturate(&mut terms, options.rules, options.limits);
    // Classes can become one without a rule that says so: a term that a rule made may be a number that is known.
    let is_changed = outcome.fired.iter().any(|count| *count > 0)
        || before.0.keys().any(|class| terms.find(*class) != *class);
    let after = if is_changed {
        extract(&terms, &roots, &|class, term| price(&terms, class, term))
            .expect("every value has its own term")
    } else {
        before.clone()
    };
    let costs = (before.1, after.1);
    // Greedy choices need not be the best ones; what was given is a choice too.
    let selection: Selection = if costs.1 <= costs.0 { after.0 } else { original(&terms, &inserted) };
    let result = rebuild::rebuild(module, &graph, &terms, &inserted, &selection, inputs);
    let report = GraphReport {
        name: name.to_string(),
        nodes: (graph.nodes.len(), result.nodes.len()),
        cost: (costs.0, costs.1.min(costs.0)),
        terms: terms.total_number_of_nodes(),
        classes: terms.number_of_classes(),
        rounds: outcome.rounds,
        stop: outcome.stop,
        alarms: terms.analysis.alarms,
        fired: options
            .rules
            .iter()
            .zip(&outcome.fired)
            .filter(|(_, count)| **count > 0)
            .map(|(rule, count)| (rule.name().to_string(), *count))
            .collect(),
        again: false,
    };
    log.report.graphs.push(report.clone());
    if log.tracing == Tracing::On {
        let chosen = roots.iter().map(|root| Chosen::Class(*root)).collect();
        let (more_inputs, inserted) = (Vec::new(), inserted.as_slice());
        let claims = Claims { graph: &graph, inserted, selection: &selection, more_inputs, chosen };
        let proof = Some(proof::build(&terms, options.rules, &claims));
        let (name, set, dot) = (name.to_string(), RuleSet::Canonical, trace::dot(name, &terms));
        log.trace.graphs.push(GraphTrace { name, set, proof, dot });
    }
    let known = Known { inputs, result: result.clone(), report, graph: graph.clone() };
    log.known.entry(graph).or_default().push(known);
    result
}

/// The graph with its scans' bodies in canonical form, without dead code.
fn canonical_bodies(
    module: &Module,
    graph: &Graph,
    name: &str,
    options: Options<'_>,
    log: &mut Log,
) -> Graph {
    let mut graph = plain::live(module, &plain::shared(module, graph));
    for place in 0..graph.nodes.len() {
        let Op::Scan { scan } = &graph.nodes[place].op else { continue };
        let name = format!("{name}/scan {place}");
        let (scan, operands) = specialise(scan, &graph.nodes[place].operands, &graph);
        let body = canonical_graph(&Module::default(), &scan.body, &name, Inputs::Drop, options, log);
        let (scan, operands) = carousel_ir::scan::normalize(Scan { body, ..scan }, &operands);
        let node = &mut graph.nodes[place];
        node.operands = operands.into_iter().collect();
        node.op = Op::Scan { scan: Box::new(scan) };
    }
    graph
}

/// The terms of the graph as it was. A class takes the term of its first value, whose operands are earlier still, so
/// that there is no cycle even among classes that have become one.
fn original(terms: &Terms, inserted: &[Option<Inserted>]) -> Selection {
    let mut selection = Selection::new();
    for value in inserted.iter().flatten() {
        selection.entry(terms.find(value.class)).or_insert_with(|| value.term.clone());
    }
    selection
}

/// The graph that computes the outputs of `graph`, which calls nothing, by chosen terms.
pub(crate) fn rebuild_chosen(
    graph: &Graph,
    terms: &Terms,
    inserted: &[Option<Inserted>],
    selection: &Selection,
) -> Graph {
    rebuild::rebuild(&Module::default(), graph, terms, inserted, selection, Inputs::Keep)
}

/// The cost of a term; of an attribute nothing.
fn price(terms: &Terms, class: Id, term: &Term, cost: &dyn Cost) -> f64 {
    if matches!(term.head, Head::Leaf(_)) {
        return 0.0;
    }
    let Some((op, count)) = operation(terms, term) else { return f64::INFINITY };
    let operands: Vec<&Type> =
        term.children[count..].iter().filter_map(|c| terms[*c].data.types.first()).collect();
    cost.operation(&op, &operands, &terms[class].data.types, &terms.analysis.axes)
}
