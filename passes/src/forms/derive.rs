//! The forms of one linear scan, derived in an e-graph of its own.
//!
//! The scan, with its operands as inputs, is saturated with the rules of forms; then the candidate is taken that a plan
//! describes: for each axis of a scan, which kind of rule took the scan away. One e-graph has chunks of one length (or
//! of one per level). Invariants: work is done once per distinct scan, whatever function it is in; a candidate has the
//! same outputs as the scan, and no linear scan in it; a user's rules take none of our own candidates away.

use super::functions::steps_of;
use super::policy::Form;
use super::recurrent;
use crate::analysis::{Facts, Terms, operation};
use crate::canonical::{Inserted, insert, rebuild_chosen};
use crate::cost::{Cost, SizeWeighted};
use crate::extract::{Selection, extract};
use crate::interval::Interval;
use crate::language::{Head, Leaf, Term};
use crate::proof::{self, Chosen, Claims};
use crate::ranges::range;
use crate::rules::{Expr, Rule, RuleSet, Rules};
use crate::saturate::{Limits, Stop, saturate};
use crate::trace::{self, GraphTrace, Trace, Tracing};
use carousel_ir::{
    Axis, AxisTable, Builder, DType, Diagnostic, Graph, Line, Name, Number, Op, OpKind, Role, Size, Type,
    ValueId,
};
use egg::Id;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// How far saturation goes; many times what a linear scan on three levels needs.
const LIMITS: Limits = Limits { nodes: 60_000, rounds: 12 };

/// The forms that rules give: the first word of a rule's name says which one it is for.
const KINDS: [&str; 3] = ["parallel", "chunk", "stepwise"];

/// What operands are called in proofs.
const NAMES: [&str; 8] = ["q", "x", "w", "l", "cut", "S", "dy", "dS"];

/// The place of the decays among the operands of all three operations.
const DECAY: usize = 3;

/// The form that a rule is for.
fn kind(rule: &str) -> Option<&'static str> {
    let word = rule.split('-').next().unwrap_or(rule);
    KINDS.into_iter().find(|kind| *kind == word)
}

/// What is wrong with a rule of forms beside what trials find: no form is made of a scan by a rule that is for none.
pub(crate) fn problem(rule: &Rule) -> Option<Diagnostic> {
    let replaces_scan = match &rule.left {
        Expr::Op(OpKind::LinReadDecay | OpKind::LinSolve, _) => true,
        Expr::Op(OpKind::Proj, parts) => matches!(parts.last(), Some(Expr::Op(OpKind::LinRead, _))),
        Expr::Op(..) | Expr::Virtual(..) | Expr::Variable(_) | Expr::Number(_) | Expr::Truth(_) => false,
        Expr::Axes(..) | Expr::Line(..) | Expr::Function(..) | Expr::Count(_) | Expr::Leaf(_) => false,
    };
    if !replaces_scan || kind(rule.name()).is_some() {
        return None;
    }
    let message =
        format!("`{}` replaces a linear scan, but its name does not say in which form", rule.name());
    let forms = KINDS.map(|kind| format!("`{kind}-{}`", rule.name())).join(" or ");
    Some(Diagnostic::error("rule-form", rule.span(), message).with_help(format!("call it {forms}")))
}

/// The steps of a chunk of the gradient by the decay, where everything else goes step by step. Running sums of q dq and
/// -x dx over the whole sequence would need no chunks, but they cancel: in f32 they lose what a large early step leaves.
const DECAY_STEPS: u64 = 16;

/// An operand of a scan: what is known of it here.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Operand {
    dtype: DType,
    /// In order: it is the layout.
    axes: Vec<Axis>,
    /// The number that every element is.
    constant: Option<Number>,
    /// Where it lies, if it is the decay; nothing is asked of the others.
    range: Interval,
}

/// A scan or its derivative by the decay, without the program around it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Scan {
    op: Op,
    operands: Vec<Operand>,
    sizes: Vec<(Axis, Size)>,
}

impl Scan {
    /// The operation `op` with operands of a graph under construction.
    pub(super) fn new(b: &Builder<'_>, op: &Op, operands: &[ValueId]) -> Scan {
        let operands: Vec<Operand> = operands
            .iter()
            .enumerate()
            .map(|(place, v)| {
                let Type { dtype, axes } = b.ty(*v);
                let constant = constant(b.graph(), *v);
                let is_decay = place == DECAY;
                let range =
                    if is_decay { range(b.graph(), *v, &mut Default::default()) } else { Interval::ANY };
                Operand { dtype: *dtype, axes: axes.iter().collect(), constant, range }
            })
            .collect();
        let mut sizes: Vec<(Axis, Size)> = Vec::new();
        for axis in operands.iter().flat_map(|o| &o.axes) {
            if !sizes.iter().any(|(known, _)| known == axis) {
                sizes.push((*axis, b.axes().size(*axis).clone()));
            }
        }
        // In the program's order: what is decided by it is decided alike for all scans, so that they share.
        sizes.sort_by_key(|(axis, _)| b.axes().position(*axis));
        Scan { op: op.clone(), operands, sizes }
    }

    /// What reports call it in that form.
    fn name(&self, form: Form) -> String {
        let axis = Line::of(&self.op).map_or(String::new(), |line| format!(" along {}", line.axis));
        format!("{}{axis}, {form}", self.op.kind())
    }

    /// Whether this is a gradient by decays where every element of the state decays at a rate of its own: then the
    /// state of every step has no more elements than the decays.
    fn decays_apart(&self) -> bool {
        if self.op.kind() != OpKind::LinReadDecay {
            return false;
        }
        let [l, start] = [&self.operands[DECAY], &self.operands[5]];
        start.axes.iter().all(|axis| l.axes.contains(axis))
    }

    /// A graph of this one operation, with an input for each operand.
    fn graph(&self) -> Graph {
        let mut axes = AxisTable::default();
        for (axis, size) in &self.sizes {
            axes.declare(*axis, size.clone());
        }
        let mut b = Builder::body(axes);
        let mut operands: Vec<ValueId> = Vec::new();
        for (place, operand) in self.operands.iter().enumerate() {
            let ty = Type::new(operand.dtype, operand.axes.iter().copied());
            let input = b.input(NAMES[place], ty.clone(), Role::Argument);
            operands.push(match operand.constant {
                Some(number) => {
                    let number = b.constant(number.get(), ty.dtype);
                    b.broadcast(number, &ty.axes)
                }
                None => input,
            });
        }
        let value = b.push(self.op.clone(), &operands);
        if let Op::LinRead { .. } = self.op {
            for (index, name) in ["read", "state"].iter().enumerate() {
                let result = b.push(Op::Proj { index: index as u32 }, &[value]);
                b.output(name, result);
            }
        } else {
            b.output("gradient", value);
        }
        b.finish_pass()
    }
}

/// The number that every element of a value is, if it is written so.
pub(super) fn constant(graph: &Graph, value: ValueId) -> Option<Number> {
    if let Op::Const { value, .. } = graph[value].op {
        return Some(value);
    }
    let is_repeated = matches!(graph[value].op, Op::Broadcast { .. });
    is_repeated.then(|| constant(graph, graph[value].operands[0])).flatten()
}

/// A form of a scan: a graph with its operands as inputs.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) graph: Graph,
    /// The rules that were used, from the scan inwards; each of them once.
    pub(super) rules: Vec<String>,
    pub(super) stop: Stop,
}

/// What was derived so far by some rules, each scan once in each form.
pub(super) struct Candidates<'r> {
    rules: &'r Rules,
    tracing: Tracing,
    known: FxHashMap<(Scan, Form), Candidate>,
    /// The e-graphs with proofs of what was taken from them, if they are wanted.
    pub(super) trace: Trace,
}

impl<'r> Candidates<'r> {
    /// None yet.
    pub(super) fn new(rules: &'r Rules, tracing: Tracing) -> Candidates<'r> {
        Candidates { rules, tracing, known: FxHashMap::default(), trace: Trace::default() }
    }

    /// The scan in that form; `function` is where it was met.
    pub(super) fn get(&mut self, scan: Scan, form: Form, function: Name) -> &Candidate {
        let (rules, tracing, trace) = (self.rules, self.tracing, &mut self.trace);
        self.known.entry((scan, form)).or_insert_with_key(|(scan, form)| {
            let (candidate, graph) = derive(scan, *form, rules, tracing);
            let named = |graph| GraphTrace { name: format!("{function}: {}", scan.name(*form)), ..graph };
            trace.graphs.extend(graph.map(named));
            candidate
        })
    }

    /// The limits that were hit, of whatever candidate.
    pub(super) fn limits(&self) -> BTreeSet<String> {
        let hit = self.known.iter().filter(|(_, candidate)| candidate.stop != Stop::Saturated);
        hit.map(|((scan, form), candidate)| format!("{}: {}", scan.name(*form), candidate.stop)).collect()
    }
}

/// For each axis that scans go along, which rules take them away, and how long chunks are.
struct Plan {
    kinds: BTreeMap<Axis, &'static str>,
    chunks: BTreeMap<Axis, u64>,
    /// Gradients by decays are products of states and their cotangents.
    stepwise: bool,
}

impl Plan {
    /// Chunks that would hold the whole line are left out.
    fn new(scan: &Scan, form: Form, mut axis: Axis, size: &Size) -> Plan {
        let stepwise = scan.decays_apart();
        let mut plan = Plan { kinds: BTreeMap::new(), chunks: BTreeMap::new(), stepwise };
        let by_decay = scan.op.kind() == OpKind::LinReadDecay && !stepwise;
        let levels = match form {
            Form::Recurrent if by_decay => vec![DECAY_STEPS],
            // Within a chunk that gradient has to be a sum over pairs.
            Form::Associative(length) if by_decay => vec![length, DECAY_STEPS],
            Form::Recurrent => return plan,
            Form::Parallel => vec![],
            Form::Chunkwise(length) | Form::Associative(length) => vec![length],
            Form::TwoLevel(outer, inner) => vec![outer, inner],
        };
        let mut whole = size.known();
        for length in levels.into_iter().map(|n| n.max(1)) {
            if whole.is_none_or(|whole| whole > length) {
                plan.chunks.insert(axis, length);
                plan.kinds.insert(axis, "chunk");
                (axis, whole) = (steps_of(axis), Some(length));
            }
        }
        if by_decay || !matches!(form, Form::Associative(_)) {
            plan.kinds.insert(axis, "parallel");
        }
        plan
    }

    /// Which rules take away such an operation along `axis`; it stays a loop if none do.
    fn kind(&self, (axis, kind): Scanned) -> Option<&'static str> {
        let is_product = self.stepwise && kind == OpKind::LinReadDecay;
        if is_product { Some("stepwise") } else { self.kinds.get(&axis).copied() }
    }

    /// Whether a rule of that name takes away such an operation.
    fn wants(&self, scanned: Scanned, rule: &str) -> bool {
        self.kind(scanned).is_some_and(|wanted| kind(rule) == Some(wanted))
    }
}

/// An operation along an axis.
type Scanned = (Axis, OpKind);

/// The scan in that form, and its e-graph if that is wanted, with a proof.
fn derive(scan: &Scan, form: Form, rules: &Rules, tracing: Tracing) -> (Candidate, Option<GraphTrace>) {
    let graph = scan.graph();
    if form == Form::Recurrent && scan.op.kind() != OpKind::LinReadDecay {
        let graph = with_used_axes(recurrent::lower(&graph));
        return (Candidate { graph, rules: Vec::new(), stop: Stop::Saturated }, None);
    }
    let line = Line::of(&scan.op).expect("only linear scans are derived");
    let plan = Plan::new(scan, form, line.axis, graph.axes.size(line.axis));
    let mut terms = Terms::new(Facts::new(graph.axes.clone()));
    terms.analysis.chunks = plan.chunks.clone();
    terms.analysis.input_ranges = scan.operands.iter().map(|operand| operand.range).collect();
    terms.analysis.instances = Some(Vec::new());
    let inserted = insert(&mut terms, &graph);
    let outcome = saturate(&mut terms, rules, LIMITS);
    let space = Space::new(&terms, &plan, rules);
    let roots = roots(&graph, &inserted);
    let cost = |class, term: &Term| space.price(class, term);
    let Some((selection, _)) = extract(&terms, &roots, &cost) else {
        // A user's rule without end was stopped by the limits before ours had made the form.
        let is_ours = rules.iter().len() == Rules::forms().iter().len();
        assert!(!is_ours, "no rules of forms make {} {form:?}: {}", scan.op.kind(), outcome.stop);
        let (candidate, trace) = derive(scan, form, Rules::forms(), tracing);
        return (Candidate { stop: outcome.stop, ..candidate }, trace);
    };
    let used = space.used(&roots, &selection);
    let trace = (tracing == Tracing::On).then(|| {
        let chosen = roots.iter().map(|root| Chosen::Class(*root)).collect();
        let (more_inputs, inserted) = (Vec::new(), inserted.as_slice());
        let claims = Claims { graph: &graph, inserted, selection: &selection, more_inputs, chosen };
        let proof = Some(proof::build(&terms, rules, &claims));
        let name = scan.name(form);
        GraphTrace { dot: trace::dot(&name, &terms), name, set: RuleSet::Forms, proof }
    });
    let graph = Graph { axes: terms.analysis.axes.clone(), ..graph };
    let graph = rebuild_chosen(&graph, &terms, &inserted, &selection);
    let graph = with_used_axes(recurrent::lower(&graph));
    (Candidate { graph, rules: used, stop: outcome.stop }, trace)
}

/// The graph without the axes of other candidates in its table.
fn with_used_axes(mut graph: Graph) -> Graph {
    let mut used: HashSet<Axis> = HashSet::new();
    for node in &mut graph.nodes {
        used.extend(node.types.iter().flat_map(|t| t.axes.iter()));
        if let Op::Scan { scan } = &mut node.op {
            used.insert(scan.axis);
            scan.body = with_used_axes(std::mem::take(&mut scan.body));
        } else if let Op::SizeOf { axis, .. } = node.op {
            used.insert(axis);
        }
    }
    let mut axes = AxisTable::default();
    for (axis, size) in graph.axes.iter().filter(|(axis, _)| used.contains(axis)) {
        axes.declare(axis, size.clone());
    }
    Graph { axes, ..graph }
}

fn roots(graph: &Graph, inserted: &[Option<Inserted>]) -> Vec<Id> {
    let outputs = graph.outputs.iter();
    outputs.filter_map(|o| inserted[o.value.index()].as_ref()).map(|i| i.class).collect()
}

/// A saturated e-graph, and what extraction asks of it.
struct Space<'a> {
    terms: &'a Terms,
    plan: &'a Plan,
    /// The classes that are results of linear scans.
    scans: FxHashMap<Id, Scanned>,
    /// The rules that made a term.
    origins: FxHashMap<Term, Vec<&'a str>>,
}

impl<'a> Space<'a> {
    fn new(terms: &'a Terms, plan: &'a Plan, rules: &'a Rules) -> Space<'a> {
        let mut scans = FxHashMap::default();
        for class in terms.classes() {
            if let Some(scan) = class.nodes.iter().find_map(|term| scanned(terms, term)) {
                scans.insert(class.id, scan);
            }
        }
        let mut origins: FxHashMap<Term, Vec<&str>> = FxHashMap::default();
        for instance in terms.analysis.instances.iter().flatten() {
            for term in &instance.made {
                origins.entry(settled(terms, term)).or_default().push(rules.get(instance.rule).name());
            }
        }
        Space { terms, plan, scans, origins }
    }

    /// The rule of the plan that made a term of a class.
    fn rule(&self, class: Id, term: &Term) -> Option<&'a str> {
        let scan = *self.scans.get(&self.terms.find(class))?;
        let rules = self.origins.get(&settled(self.terms, term))?;
        rules.iter().copied().find(|rule| self.plan.wants(scan, rule))
    }

    fn price(&self, class: Id, term: &Term) -> f64 {
        let terms = self.terms;
        let Some((op, count)) = operation(terms, term) else {
            return if let Head::Leaf(_) = term.head { 0.0 } else { f64::INFINITY };
        };
        if let Some(scan) = self.scans.get(&terms.find(class)) {
            let is_loop = scanned(terms, term).is_some();
            let allowed = if self.plan.kind(*scan).is_some() {
                self.rule(class, term).is_some()
                    || (!is_loop && !self.origins.contains_key(&settled(terms, term)))
            } else {
                is_loop
            };
            if !allowed {
                return f64::INFINITY;
            }
        }
        let operands: Vec<&Type> =
            term.children[count..].iter().filter_map(|c| terms[*c].data.types.first()).collect();
        SizeWeighted::default().operation(&op, &operands, &terms[class].data.types, &terms.analysis.axes)
    }

    /// The rules that were used, from the roots on.
    fn used(&self, roots: &[Id], selection: &Selection) -> Vec<String> {
        let mut used: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        let mut queue: std::collections::VecDeque<Id> = roots.iter().map(|r| self.terms.find(*r)).collect();
        while let Some(class) = queue.pop_front() {
            let Some(term) = selection.get(&class).filter(|_| seen.insert(class)) else { continue };
            if let Some(rule) = self.rule(class, term)
                && !used.iter().any(|known| known == rule)
            {
                used.push(rule.to_string());
            }
            queue.extend(term.children.iter().map(|c| self.terms.find(*c)));
        }
        used
    }
}

/// The scan whose result a term is.
fn scanned(terms: &Terms, term: &Term) -> Option<Scanned> {
    let line = |term: &Term| match (&terms[*term.children.first()?].data.leaf, &term.head) {
        (Some(Leaf::Line(line)), Head::Op(kind)) => Some((line.axis, *kind)),
        (Some(_) | None, _) => None,
    };
    match term.head {
        Head::Op(OpKind::LinReadDecay | OpKind::LinSolve) => line(term),
        Head::Op(OpKind::Proj) => {
            let scans = &terms[term.children[1]].nodes;
            scans.iter().filter(|t| t.head == Head::Op(OpKind::LinRead)).find_map(line)
        }
        Head::Op(_) | Head::Opaque(_) | Head::Virtual(_) | Head::Leaf(_) => None,
    }
}

/// A term with its children as they are called now.
fn settled(terms: &Terms, term: &Term) -> Term {
    Term { head: term.head.clone(), children: term.children.iter().map(|c| terms.find(*c)).collect() }
}
