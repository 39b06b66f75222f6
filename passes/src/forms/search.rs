//! The search for forms: every candidate is a complete program, priced as such.
//!
//! Invariants: what is chosen depends on the module, the prices and the options alone; of equally cheap candidates the
//! first is taken. Functions are searched once each, callees first, and equal ones together, so that the effort does not
//! grow with depth. Prices come from outside: nothing is known of a machine here.

use super::derive::Candidates;
use super::expand::{contains, expand_among};
use super::policy::{ChooseForm, Form, Site, Wanted};
use super::report::{Candidate, FormReport, GroupReport, MemoryShare, Outcome, ProgramMemory};
use super::sites::{Group, groups};
use crate::rules::Rules;
use crate::trace::Tracing;
use carousel_ir::{FunctionId, Graph, Line, Module, Name, Op, Size};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

/// What a program takes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Price {
    /// Seconds of a run.
    pub seconds: f64,
    /// Bytes beside inputs and outputs.
    pub bytes: u64,
}

/// How sure the value of a size is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Certainty {
    /// It is known when compiled.
    Known,
    /// Somebody said so.
    Said,
    /// It is anybody's guess.
    Guessed,
}

/// The value that prices take a size for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    /// Elements.
    pub length: u64,
    /// How sure that is.
    pub certainty: Certainty,
}

/// Prices complete candidates.
pub trait PriceForms {
    /// What a run of this function takes; its linear scans, and those of what it calls, have been expanded. `lengths` are
    /// the symbols that stand for numbers of steps.
    fn price(&self, module: &Module, function: FunctionId, lengths: &BTreeSet<Name>)
    -> Result<Price, String>;

    /// What a length is taken for.
    fn expected(&self, length: &Size) -> Expected;

    /// Bytes that the callers of each function hold while it runs, at most, when `root` is run; by the name of the function.
    fn held(&self, module: &Module, root: FunctionId, lengths: &BTreeSet<Name>) -> Result<Held, String>;
}

/// Bytes by function.
pub type Held = std::collections::HashMap<Name, u64>;

/// What is searched.
#[derive(Clone, Copy, Debug)]
pub struct SearchOptions<'r> {
    /// Which forms are admitted.
    pub wanted: Wanted,
    /// Bytes that the program may take beside its inputs and outputs.
    pub memory_limit: Option<u64>,
    /// The rules that forms are derived by.
    pub rules: &'r Rules,
}

impl Default for SearchOptions<'_> {
    fn default() -> Self {
        SearchOptions { wanted: Wanted::Any, memory_limit: None, rules: Rules::forms() }
    }
}

/// The lengths of chunks that are tried.
const CHUNKS: [u64; 5] = [16, 32, 64, 128, 256];

/// The lengths of chunks that elementwise recurrences are tried in.
const SCANNED: [u64; 2] = [16, 64];

/// The forms that were chosen, as a policy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chosen {
    forms: FxHashMap<(Name, usize), Form>,
}

impl ChooseForm for Chosen {
    fn choose(&self, site: Site<'_>) -> Form {
        // A linear scan that was not met is in a function that nothing calls.
        self.forms.get(&(site.function, site.number)).copied().unwrap_or(Form::Recurrent)
    }
}

/// Chooses the forms of the linear scans in `roots` and in what they call.
pub fn choose(
    module: &Module,
    roots: &[FunctionId],
    pricer: &dyn PriceForms,
    options: &SearchOptions<'_>,
) -> (Chosen, FormReport) {
    search(module, roots, pricer, options, &mut Candidates::new(options.rules, Tracing::Off))
}

/// [`choose`], and the module in the forms that were chosen.
pub fn expand_cheapest(
    module: &Module,
    roots: &[FunctionId],
    pricer: &dyn PriceForms,
    options: &SearchOptions<'_>,
) -> (Module, Chosen, FormReport) {
    let mut derived = Candidates::new(options.rules, Tracing::Off);
    let (chosen, report) = search(module, roots, pricer, options, &mut derived);
    (expand_among(&mut derived, module, &chosen).0, chosen, report)
}

fn search(
    module: &Module,
    roots: &[FunctionId],
    pricer: &dyn PriceForms,
    options: &SearchOptions<'_>,
    derived: &mut Candidates<'_>,
) -> (Chosen, FormReport) {
    let mut chosen = Chosen::default();
    let mut report = FormReport::default();
    let mut searched: FxHashMap<&Graph, (Name, usize)> = FxHashMap::default();
    let held = match options.memory_limit {
        Some(_) => held(module, roots, pricer, derived),
        None => Held::new(),
    };
    // Callees are in their forms when a caller is priced.
    let mut done = module.clone();
    for id in reachable(module, roots) {
        let function = &module[id];
        if !contains(&function.graph) {
            continue;
        }
        let (part, members) = part(&done, id);
        let first = report.groups.len();
        if let Some((name, groups)) = searched.get(&function.graph) {
            // The same function under another name takes the same forms.
            let equal: Vec<GroupReport> =
                report.groups.iter().filter(|g| g.function == *name).cloned().collect();
            debug_assert_eq!(equal.len(), *groups, "every group was reported");
            report.groups.extend(equal.into_iter().map(|g| GroupReport { function: function.name, ..g }));
            let forms: Vec<(usize, Form)> =
                chosen.forms.iter().filter(|((n, _), _)| n == name).map(|((_, at), f)| (*at, *f)).collect();
            chosen.forms.extend(forms.into_iter().map(|(at, form)| ((function.name, at), form)));
        } else {
            let groups = groups(&part);
            let lengths = groups.iter().flat_map(|g| g.length.symbols()).collect();
            for group in &groups {
                group.numbers.iter().for_each(|at| {
                    chosen.forms.insert((function.name, *at), Form::Recurrent);
                });
            }
            for group in &groups {
                let held = held.get(&function.name).copied().unwrap_or(0);
                let search = Search {
                    pricer,
                    options,
                    memory: options.memory_limit.map(|limit| MemoryShare { limit, held }),
                    part: &part,
                    function: function.name,
                    group,
                    lengths: &lengths,
                };
                let found = search.run(&mut chosen, derived, &mut report.priced);
                report.groups.push(found);
            }
            searched.insert(&function.graph, (function.name, report.groups.len() - first));
        }
        let (mut expanded, sites) = expand_among(derived, &part, &chosen);
        for group in &mut report.groups[first..] {
            let own = sites.iter().filter(|s| s.function == function.name && s.form == group.chosen);
            own.flat_map(|s| &s.rules).for_each(|rule| {
                if !group.rules.contains(rule) {
                    group.rules.push(rule.clone());
                }
            });
        }
        if let Some(mut own) = expanded.functions.pop() {
            calls(&mut own.graph, &|callee| members[callee.index()]);
            done.functions[id.index()] = own;
        }
    }
    if let Some(limit) = options.memory_limit {
        for root in roots {
            let (part, members) = part(&done, *root);
            let last = FunctionId(members.len() as u32 - 1);
            if let Ok(price) = pricer.price(&part, last, &steps(module)) {
                report.memory.push(ProgramMemory { root: module[*root].name, bytes: price.bytes, limit });
            }
        }
    }
    report.limits = derived.limits();
    (chosen, report)
}

/// What callers hold while a function runs, with every linear scan step by step: what they hold in the forms that are
/// chosen shows in the end.
fn held(
    module: &Module,
    roots: &[FunctionId],
    pricer: &dyn PriceForms,
    derived: &mut Candidates<'_>,
) -> Held {
    let (loops, _) = expand_among(derived, module, &Form::Recurrent);
    let steps = steps(module);
    let mut all = Held::new();
    for root in roots {
        for (name, bytes) in pricer.held(&loops, *root, &steps).unwrap_or_default() {
            let known = all.entry(name).or_default();
            *known = bytes.max(*known);
        }
    }
    all
}

/// The symbols that stand for numbers of steps of linear scans.
fn steps(module: &Module) -> BTreeSet<Name> {
    fn collect(graph: &Graph, found: &mut BTreeSet<Name>) {
        for node in &graph.nodes {
            if let Some(line) = Line::of(&node.op) {
                found.extend(graph.axes.size(line.axis).symbols());
            } else if let Op::Scan { scan } = &node.op {
                collect(&scan.body, found);
            }
        }
    }
    let mut found = BTreeSet::new();
    module.functions.iter().for_each(|f| collect(&f.graph, &mut found));
    found
}

struct Search<'a> {
    pricer: &'a dyn PriceForms,
    options: &'a SearchOptions<'a>,
    memory: Option<MemoryShare>,
    part: &'a Module,
    function: Name,
    group: &'a Group,
    lengths: &'a BTreeSet<Name>,
}

impl Search<'_> {
    /// Tries all candidates for one group and enters the best one.
    fn run(&self, chosen: &mut Chosen, derived: &mut Candidates<'_>, priced: &mut usize) -> GroupReport {
        let Group { axis, length, state, sites, numbers } = self.group;
        let expected = self.pricer.expected(length);
        let mut candidates: Vec<Candidate> = Vec::new();
        for form in self.forms(expected) {
            let outcome = match self.excluded(form, expected) {
                Some(reason) => Outcome::Excluded(reason),
                None => {
                    self.enter(chosen, form);
                    let (expanded, _) = expand_among(derived, self.part, chosen);
                    *priced += 1;
                    let root = FunctionId(expanded.functions.len() as u32 - 1);
                    match self.pricer.price(&expanded, root, self.lengths) {
                        Ok(price) if self.memory.is_some_and(|share| price.bytes > share.left()) => {
                            Outcome::OverLimit(price)
                        }
                        Ok(price) => Outcome::Slower(price),
                        Err(reason) => Outcome::Unpriced(reason),
                    }
                }
            };
            candidates.push(Candidate { form, outcome });
        }
        let (best, over_limit) = self.best(&candidates);
        let form = best.map_or(candidates[0].form, |at| candidates[at].form);
        if let Some(at) = best {
            let outcome = &mut candidates[at].outcome;
            if let Outcome::Slower(price) | Outcome::OverLimit(price) = outcome {
                *outcome = Outcome::Chosen(*price);
            }
        }
        self.enter(chosen, form);
        debug_assert_eq!(numbers.len(), sites.len(), "every linear scan was met");
        GroupReport {
            function: self.function,
            axis: *axis,
            length: length.to_string(),
            expected,
            state: state.to_string(),
            sites: sites.clone(),
            candidates,
            chosen: form,
            rules: Vec::new(),
            over_limit,
        }
    }

    fn enter(&self, chosen: &mut Chosen, form: Form) {
        for number in &self.group.numbers {
            chosen.forms.insert((self.function, *number), form);
        }
    }

    /// The forms that are admitted, never none.
    fn forms(&self, expected: Expected) -> Vec<Form> {
        let chunks = CHUNKS.map(Form::Chunkwise);
        match self.options.wanted {
            Wanted::Only(form) => vec![form],
            Wanted::AnyChunks => chunks.to_vec(),
            // Every form of one step, or of none, is the step.
            Wanted::Any if expected.length <= 1 && expected.certainty == Certainty::Known => {
                vec![Form::Recurrent, Form::Parallel]
            }
            // All pairs of steps would be a number each for every element.
            Wanted::Any if self.group.is_elementwise() => {
                [Form::Recurrent].into_iter().chain(SCANNED.map(Form::Associative)).collect()
            }
            Wanted::Any => [Form::Recurrent, Form::Parallel].into_iter().chain(chunks).collect(),
        }
    }

    /// Why a form is not even priced.
    fn excluded(&self, form: Form, expected: Expected) -> Option<String> {
        if self.options.wanted != Wanted::Any {
            return None;
        }
        match (form, expected.certainty) {
            (Form::Parallel, Certainty::Guessed) => {
                Some("its work grows with the square of a length that is not known".to_string())
            }
            (Form::Chunkwise(steps) | Form::Associative(steps), Certainty::Known)
                if steps >= expected.length =>
            {
                Some("one chunk holds all steps, as in the parallel form".to_string())
            }
            (Form::Chunkwise(steps) | Form::Associative(steps), Certainty::Said)
                if steps >= 2 * expected.length.max(1) =>
            {
                Some("most of a chunk would be empty".to_string())
            }
            (
                Form::Recurrent
                | Form::Parallel
                | Form::Chunkwise(_)
                | Form::TwoLevel(..)
                | Form::Associative(_),
                Certainty::Known | Certainty::Said | Certainty::Guessed,
            ) => None,
        }
    }

    /// The cheapest candidate within the limit; if there is none, the smallest one, and the limit.
    fn best(&self, candidates: &[Candidate]) -> (Option<usize>, Option<MemoryShare>) {
        let mut fast: Option<(usize, f64)> = None;
        let mut small: Option<(usize, u64)> = None;
        for (at, candidate) in candidates.iter().enumerate() {
            match &candidate.outcome {
                Outcome::Slower(p) if fast.is_none_or(|(_, best)| p.seconds < best) => {
                    fast = Some((at, p.seconds));
                }
                Outcome::OverLimit(p) if small.is_none_or(|(_, best)| p.bytes < best) => {
                    small = Some((at, p.bytes));
                }
                Outcome::Chosen(_)
                | Outcome::Slower(_)
                | Outcome::OverLimit(_)
                | Outcome::Excluded(_)
                | Outcome::Unpriced(_) => {}
            }
        }
        match (fast, small) {
            (Some((at, _)), _) => (Some(at), None),
            (None, Some((at, _))) => (Some(at), self.memory),
            (None, None) => (None, None),
        }
    }
}

/// `roots` and what they call, callees first.
fn reachable(module: &Module, roots: &[FunctionId]) -> Vec<FunctionId> {
    let mut is_reached = vec![false; module.functions.len()];
    roots.iter().for_each(|root| is_reached[root.index()] = true);
    for (id, function) in module.iter().rev() {
        if is_reached[id.index()] {
            for node in &function.graph.nodes {
                if let Op::Call { function } = node.op {
                    is_reached[function.index()] = true;
                }
            }
        }
    }
    module.iter().map(|(id, _)| id).filter(|id| is_reached[id.index()]).collect()
}

/// A function, last, and what it calls, as a module of their own; which function of the whole each of them is.
fn part(module: &Module, root: FunctionId) -> (Module, Vec<FunctionId>) {
    let members = reachable(module, &[root]);
    let mut part = Module::default();
    for id in &members {
        let mut function = module[*id].clone();
        calls(&mut function.graph, &|callee| {
            let place = members.iter().position(|m| *m == callee).expect("what is called is reached");
            FunctionId(place as u32)
        });
        part.push(function);
    }
    (part, members)
}

/// Changes what a graph calls.
fn calls(graph: &mut Graph, change: &dyn Fn(FunctionId) -> FunctionId) {
    for node in &mut graph.nodes {
        if let Op::Call { function } = &mut node.op {
            *function = change(*function);
        }
    }
}
