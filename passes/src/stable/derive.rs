//! From a loop to the same loop with scales, or to the reason why not.
//!
//! 1. *Growing* states are found: those whose update grows like an exponential of something unbounded.
//! 2. Each of them alone is given a scale; what becomes of the scale says which states belong together.
//! 3. These groups are tried, then one scale for all, then one for each; the first that leaves no virtual operation
//!    is taken.
//!
//! The body is the whole input: names are only looked at for messages, and the order of inputs only for ties.

use super::body::{Body, Group};
use super::emit::{Emitter, Style};
use super::report::{Outcome, ScaleGroup};
use super::search::{Partition, partitions};
use super::{Given, describe, fine};
use crate::analysis::Terms;
use crate::extract::Selection;
use crate::growth::Reach;
use crate::plain;
use crate::proof::{self, Chosen, Claims, Proof};
use crate::saturate::Stop;
use crate::trace::Tracing;
use crate::{Rules, StableOptions};
use carousel_ir::{Axes, Builder, Graph, Input, Module, Name, Node, Output, Role, Scan, Type, ValueId};
use egg::Id;
use std::collections::BTreeMap;

/// What was found for a loop. Without groups and without a body it stays as it is.
#[derive(Clone)]
pub(super) struct Derivation {
    pub(super) outcome: Outcome,
    /// The new body: states, the scales of the groups, sequences, shared values.
    pub(super) body: Option<Graph>,
    pub(super) groups: Vec<Group>,
    pub(super) shown: Vec<ScaleGroup>,
    pub(super) notes: Vec<String>,
    /// What is in the way, if something that can overflow is left.
    pub(super) blocked: Option<Blocked>,
    pub(super) work: Work,
}

/// The e-graph of the last attempt, and why what was chosen in it is equal to what was there.
pub(super) struct Picture {
    pub(super) terms: Terms,
    pub(super) proof: Option<Result<Proof, String>>,
}

/// What it took.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) attempts: usize,
    pub(super) terms: usize,
    pub(super) stop: Stop,
    pub(super) alarms: usize,
    pub(super) fired: BTreeMap<String, usize>,
}

/// How often the axes of scales may grow: once an axis of a state, at most.
const AXIS_ROUNDS: usize = 6;

/// What is in the way.
#[derive(Clone)]
pub(super) struct Blocked {
    pub(super) reason: String,
    pub(super) term: String,
    pub(super) value: Option<ValueId>,
}

/// A body in which every root has a choice of terms.
struct Solved<'g> {
    body: Body<'g>,
    selection: Selection,
    groups: Vec<Group>,
    /// Per group the new scale and the new factors.
    packs: Vec<(Id, Vec<Id>)>,
    /// The same before scales were detached.
    attached: Vec<(Id, Vec<Id>)>,
    /// What else was found.
    notes: Vec<String>,
}

/// Derives the stable form of a loop whose inner loops are done.
pub(super) fn derive(
    scan: &Scan,
    given: &Given,
    options: &StableOptions<'_>,
    tracing: Tracing,
) -> (Derivation, Option<Picture>) {
    let stop = Stop::Saturated;
    let work = Work { attempts: 0, terms: 0, stop, alarms: 0, fired: BTreeMap::new() };
    let fine = Axes::none();
    let mut search = Search { scan, given, fine, options, tracing, last: None, blocked: None, work };
    let (outcome, solved) = search.run();
    let mut derivation = Derivation {
        outcome,
        body: None,
        groups: Vec::new(),
        shown: Vec::new(),
        notes: Vec::new(),
        blocked: search.blocked,
        work: search.work,
    };
    let mut picture = search.last.map(|terms| Picture { terms, proof: None });
    if let Some(solved) = solved {
        let body = rebuild(scan, &solved);
        derivation.shown = shown(scan, &solved, &body);
        derivation.notes = solved.notes.iter().cloned().chain(risks(scan, &solved)).collect();
        let proof = (tracing == Tracing::On).then(|| proved(scan, &solved, options.rules));
        picture = proof.map(|proof| Picture { terms: solved.body.terms, proof: Some(proof) });
        derivation.groups = solved.groups;
        derivation.body = Some(body);
    }
    (derivation, picture)
}

pub(super) struct Search<'s, 'o> {
    pub(super) scan: &'s Scan,
    /// What is known of what comes into the body.
    pub(super) given: &'s Given,
    /// The axes along which scales follow every element.
    fine: Axes,
    options: &'s StableOptions<'o>,
    tracing: Tracing,
    /// The e-graph of the last attempt that failed, if a trace is wanted.
    last: Option<Terms>,
    blocked: Option<Blocked>,
    work: Work,
}

impl<'s> Search<'s, '_> {
    fn run(&mut self) -> (Outcome, Option<Solved<'s>>) {
        let graph = &self.scan.body;
        let source = Body::new(graph, &[], &self.given.ranges);
        let risky: Vec<ValueId> = (0..graph.nodes.len() as u32)
            .map(ValueId)
            .filter(|v| source.terms[source.class(*v)].nodes.iter().any(|t| source.is_risky(t)))
            .collect();
        let Some(first) = risky.first() else {
            let reason = "it has no exponential without bound".to_string();
            return (Outcome::LeftAlone { reason }, None);
        };
        let growing = self.growing();
        self.fine = fine::axes(&source, &growing);
        if growing.is_empty() {
            return match self.attempt(&[]) {
                Ok(solved) if risks(self.scan, &solved).is_empty() => (Outcome::Rewritten, Some(solved)),
                _ => {
                    let term = describe::value(graph, *first);
                    let reason = format!("`{term}` has no bound, but does not accumulate in a state");
                    (Outcome::LeftAlone { reason }, None)
                }
            };
        }
        let mut first_problem = None;
        let mut candidates = growing.clone();
        while !candidates.is_empty() {
            match partitions(self, &candidates) {
                Err((state, blocked)) => {
                    first_problem.get_or_insert(blocked);
                    candidates.retain(|s| *s != state);
                }
                Ok(list) => {
                    for partition in list {
                        match self.attempt(&partition) {
                            Ok(solved) => return self.solved(solved, &growing, first_problem),
                            Err(blocked) => {
                                first_problem.get_or_insert(blocked);
                            }
                        }
                    }
                    break;
                }
            }
        }
        let blocked = first_problem.unwrap_or_else(|| Blocked {
            reason: "no group of states can be scaled".to_string(),
            term: describe::value(graph, *first),
            value: Some(*first),
        });
        self.blocked = Some(blocked.clone());
        (Outcome::Refused { reason: blocked.reason, blocking: blocked.term }, None)
    }

    /// The outcome, with a note about growing states that are left as they are.
    fn solved(
        &mut self,
        mut solved: Solved<'s>,
        growing: &[usize],
        problem: Option<Blocked>,
    ) -> (Outcome, Option<Solved<'s>>) {
        let left = growing.iter().filter(|s| !solved.groups.iter().any(|g| g.states.contains(s)));
        let left: Vec<&str> = left.map(|s| self.scan.body.inputs[*s].name.as_str()).collect();
        if let (false, Some(blocked)) = (left.is_empty(), problem) {
            let (states, Blocked { reason, term, value: _ }) = (left.join(", "), &blocked);
            solved.notes.push(format!("{states} can overflow, as written: {reason}: `{term}`"));
            self.blocked = Some(blocked);
        }
        (Outcome::Stabilized, Some(solved))
    }

    /// The states that grow, and those that add up growing ones.
    fn growing(&self) -> Vec<usize> {
        let graph = &self.scan.body;
        let states = self.scan.states as usize;
        let is_float = |s: usize| graph.inputs[s].ty.dtype.is_float();
        let mut growing: Vec<usize> = Vec::new();
        loop {
            let groups = alone(&growing);
            let body = Body::new(graph, &groups, &self.given.ranges);
            let grows = |s: &usize| body.terms[body.output(*s)].data.growth.size == Reach::Scaled;
            let found: Vec<usize> =
                (0..states).filter(|s| is_float(*s) && (growing.contains(s) || grows(s))).collect();
            if found == growing {
                return growing;
            }
            growing = found;
        }
    }

    /// Saturates the body with these groups.
    fn saturated(&mut self, groups: &[Group]) -> Body<'s> {
        let mut body = Body::new(&self.scan.body, groups, &self.given.ranges);
        body.terms.analysis.fine = self.fine.clone();
        if self.tracing == Tracing::On {
            body.terms.analysis.instances = Some(Vec::new());
        }
        let outcome = body.saturate(self.options.rules, self.options.limits);
        let work = &mut self.work;
        work.attempts += 1;
        work.terms = work.terms.max(body.terms.total_number_of_nodes());
        work.alarms += body.terms.analysis.alarms;
        if work.stop == Stop::Saturated {
            work.stop = outcome.stop;
        }
        let rules = self.options.rules.iter().zip(&outcome.fired);
        work.fired = rules.filter(|(_, n)| **n > 0).map(|(r, n)| (r.name().to_string(), *n)).collect();
        body
    }

    /// Saturates the body with these groups, whose scales get the axes that they turn out to need.
    pub(super) fn settled(&mut self, groups: &[Group]) -> (Body<'s>, Vec<Group>) {
        let mut groups = groups.to_vec();
        for _ in 0..AXIS_ROUNDS {
            let body = self.saturated(&groups);
            let mut wanted = groups.clone();
            for group in &mut wanted {
                for (scale, _) in body.common(group) {
                    if let Some(ty) = body.terms[scale].data.ty() {
                        group.axes = group.axes.union(&ty.axes);
                    }
                }
            }
            if wanted == groups {
                return (body, groups);
            }
            groups = wanted;
        }
        (self.saturated(&groups), groups)
    }

    /// Tries these groups.
    fn attempt(&mut self, groups: &Partition) -> Result<Solved<'s>, Blocked> {
        let (mut body, groups) = self.settled(groups);
        let (mut packs, mut attached) = (Vec::new(), Vec::new());
        for group in &groups {
            let mut best: Option<(f64, Id, Vec<Id>)> = None;
            for (scale, factors) in body.common(group) {
                let mut chosen = Vec::new();
                for options in factors {
                    let cost = |f: &Id| body.extract(&[*f, scale]).map_or(f64::INFINITY, |(_, cost)| cost);
                    let costs: Vec<f64> = options.iter().map(cost).collect();
                    let cheapest = (0..options.len()).min_by(|a, b| costs[*a].total_cmp(&costs[*b]));
                    chosen.extend(cheapest.map(|c| options[c]));
                }
                let roots: Vec<Id> = chosen.iter().copied().chain([scale]).collect();
                if let Some((_, cost)) = body.extract(&roots)
                    && best.as_ref().is_none_or(|(known, ..)| cost < *known)
                {
                    best = Some((cost, scale, chosen));
                }
            }
            let Some((_, scale, factors)) = best else {
                let blocked = self.no_scale(&body, group);
                self.keep(body);
                return Err(blocked);
            };
            let pack = body.detached(scale, &factors);
            attached.push((scale, factors));
            packs.push(pack.ok_or_else(|| self.no_scale(&body, group))?);
        }
        let rest = self.other_outputs(&groups);
        let roots: Vec<Id> = packs
            .iter()
            .flat_map(|(scale, factors)| factors.iter().copied().chain([*scale]))
            .chain(rest.iter().map(|o| body.output(*o)))
            .collect();
        match body.extract(&roots) {
            Some((selection, _)) if !packs.iter().all(|(s, _)| body.is_whole(&selection, *s)) => {
                let blocked = self.no_scale(&body, &groups[0]);
                self.keep(body);
                Err(blocked)
            }
            Some((selection, _)) => {
                Ok(Solved { body, selection, groups, packs, attached, notes: Vec::new() })
            }
            None => {
                let blocked = blocked(&body, &rest);
                self.keep(body);
                Err(blocked)
            }
        }
    }

    /// Keeps the e-graph of an attempt that failed, for those who want to see it.
    pub(super) fn keep(&mut self, body: Body<'_>) {
        if self.tracing == Tracing::On {
            self.last = Some(body.terms);
        }
    }

    /// The results of the body that are no states of a group.
    fn other_outputs(&self, groups: &[Group]) -> Vec<usize> {
        let in_group = |o: &usize| groups.iter().any(|g| g.states.contains(o));
        (0..self.scan.body.outputs.len()).filter(|o| !in_group(o)).collect()
    }

    pub(super) fn no_scale(&self, body: &Body<'_>, group: &Group) -> Blocked {
        if let Some(state) = group.states.iter().find(|s| body.scaled(body.output(**s)).is_empty()) {
            return blocked(body, &[*state]);
        }
        let names: Vec<&str> = group.states.iter().map(|s| self.scan.body.inputs[*s].name.as_str()).collect();
        Blocked {
            reason: format!("the states {} have no scale in common", names.join(", ")),
            term: describe::value(&self.scan.body, self.scan.body.outputs[group.states[0]].value),
            value: Some(self.scan.body.outputs[group.states[0]].value),
        }
    }
}

/// Each state as a group, with scales without axes.
pub(super) fn alone(states: &[usize]) -> Vec<Group> {
    states.iter().map(|s| Group { states: vec![*s], axes: Axes::none() }).collect()
}

/// The first operation that keeps one of the results from being computed.
fn blocked(body: &Body<'_>, outputs: &[usize]) -> Blocked {
    let graph = body.graph;
    let executable = body.executable();
    let stuck = |v: ValueId| !executable.contains(&body.class(v));
    let is_scaled = |v: ValueId| !body.scaled(body.class(v)).is_empty();
    let output = outputs.iter().find(|o| stuck(graph.outputs[**o].value)).or(outputs.first());
    let Some(output) = output else {
        let reason = "the choices depend on each other".to_string();
        return Blocked { reason, term: String::new(), value: None };
    };
    let mut value = graph.outputs[*output].value;
    if is_scaled(value) {
        let name = graph.outputs[*output].name;
        let reason = format!("nothing takes the scale of `{name}` away, which grows without bound");
        return Blocked { reason, term: describe::value(graph, value), value: Some(value) };
    }
    while let Some(next) = graph[value].operands.iter().find(|o| stuck(**o) && !is_scaled(**o)) {
        value = *next;
    }
    let reason = format!("a scale does not pass through `{}`", graph[value].op.kind());
    Blocked { reason, term: describe::value(graph, value), value: Some(value) }
}

/// Exponentials without bound that are left.
fn risks(scan: &Scan, solved: &Solved<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let left = |v: ValueId| {
        let term = solved.selection.get(&solved.body.class(v));
        term.is_some_and(|t| solved.body.is_risky(t))
    };
    for value in (0..scan.body.nodes.len() as u32).map(ValueId).filter(|v| left(*v)) {
        let note = format!("`{}` is computed as written, without bound", describe::value(&scan.body, value));
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

/// The names of the scales: `scale`, or `scale` with a number where that is taken.
fn names(body: &Graph, count: usize) -> Vec<Name> {
    let taken = |name: &Name| {
        body.inputs.iter().any(|i| i.name == *name) || body.outputs.iter().any(|o| o.name == *name)
    };
    (0..)
        .map(|n| if n == 0 { Name::new("scale") } else { Name::new(&format!("scale.{n}")) })
        .filter(|name| !taken(name))
        .take(count)
        .collect()
}

/// The new body.
fn rebuild(scan: &Scan, solved: &Solved<'_>) -> Graph {
    let old = &scan.body;
    let states = scan.states as usize;
    let Solved { body, selection, groups, packs, attached: _, notes: _ } = solved;
    let names = names(old, groups.len());
    let builder = Builder::body(old.axes.clone());
    let mut emitter = Emitter::new(builder, &body.terms, selection, Style::Program);
    let mut inputs: Vec<(usize, Input)> = old.inputs.iter().cloned().enumerate().collect();
    let scales = groups.iter().zip(&names).enumerate().map(|(place, (group, name))| {
        let dtype = old.inputs[group.states[0]].ty.dtype;
        let ty = Type { dtype, axes: group.axes.clone() };
        (old.inputs.len() + place, Input { name: *name, ty, role: Role::Argument })
    });
    let scales: Vec<(usize, Input)> = scales.collect();
    inputs.splice(states..states, scales);
    emitter.inputs = vec![ValueId(0); inputs.len()];
    for (number, input) in inputs {
        emitter.inputs[number] = emitter.builder.input(input.name.as_str(), input.ty, input.role);
    }
    let known: Vec<(Id, &Node)> = old.iter().map(|(v, n)| (body.class(v), n)).collect();
    for (class, node) in known {
        let origin = emitter.origins.entry(class).or_insert((node.span, None));
        origin.1 = origin.1.or(node.name);
    }
    let mut outputs: Vec<Output> = Vec::new();
    for (place, output) in old.outputs.iter().enumerate() {
        let of_group = groups.iter().zip(packs).find_map(|(group, (_, factors))| {
            group.states.iter().position(|s| *s == place).map(|at| factors[at])
        });
        let class = of_group.unwrap_or_else(|| body.output(place));
        let value = emitter.value_with(class, &output.axes);
        outputs.push(Output { value, ..output.clone() });
    }
    let scales = groups.iter().zip(packs).zip(&names).map(|((group, (scale, _)), name)| {
        let value = emitter.unrounded(*scale);
        let value = emitter.builder.broadcast(value, &group.axes);
        Output { name: *name, value, axes: group.axes.clone() }
    });
    let scales: Vec<Output> = scales.collect();
    outputs.splice(states..states, scales);
    for output in outputs {
        emitter.builder.output_as(output.name.as_str(), output.value, output.axes);
    }
    let graph = plain::shared(&Module::default(), &emitter.builder.finish_pass());
    plain::live_with_inputs(&Module::default(), &graph)
}

/// Why the new states, times the exponential of their scales, are what the loop computes, and the other results too.
/// That a scale may be detached is no matter of rules: no result depends on it.
fn proved(scan: &Scan, solved: &Solved<'_>, rules: &Rules) -> Result<Proof, String> {
    let Solved { body, groups, attached, .. } = solved;
    let choice = |place: usize| {
        groups.iter().zip(attached).find_map(|(group, (scale, factors))| {
            let at = group.states.iter().position(|s| *s == place)?;
            Some(Chosen::Scaled(factors[at], *scale))
        })
    };
    let chosen: Vec<Chosen> = (0..scan.body.outputs.len())
        .map(|place| choice(place).unwrap_or_else(|| Chosen::Class(body.output(place))))
        .collect();
    let roots: Vec<Id> = chosen
        .iter()
        .flat_map(|choice| match choice {
            Chosen::Class(class) => vec![*class],
            Chosen::Scaled(factor, scale) => vec![*factor, *scale],
        })
        .collect();
    let (selection, _) = body.extract(&roots).ok_or("nothing can be chosen before scales are detached")?;
    let more_inputs = names(&scan.body, groups.len()).iter().map(|n| n.to_string()).collect();
    let (graph, inserted) = (&scan.body, body.inserted());
    proof::build(&body.terms, rules, &Claims { graph, inserted, selection: &selection, more_inputs, chosen })
}

fn shown(scan: &Scan, solved: &Solved<'_>, body: &Graph) -> Vec<ScaleGroup> {
    let states = scan.states as usize;
    let group = |(place, group): (usize, &Group)| {
        let output = &body.outputs[states + place];
        ScaleGroup {
            scale: output.name.to_string(),
            states: group.states.iter().map(|s| scan.body.inputs[*s].name.to_string()).collect(),
            axes: group.axes.clone(),
            update: describe::value(body, output.value),
        }
    };
    solved.groups.iter().enumerate().map(group).collect()
}
