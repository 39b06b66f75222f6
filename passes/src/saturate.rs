//! Applying rules until nothing new follows.
//!
//! Every rule is tried on every class (the back-off of other schedulers misses forms), in the order of the rules. After
//! the first round that means the classes near which something has changed: elsewhere the same matches would be found
//! again, and do nothing again (*semi-naive evaluation*). Limits count nodes and rounds, never time, so that results do
//! not depend on the machine; hitting one is part of the result.

use crate::analysis::Terms;
use crate::language::Term;
use crate::proof::Instance;
use crate::rules::{Rules, apply};
use egg::{ENodeOrVar, Id, Language, Pattern, SearchMatches, Searcher};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// How far to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Terms in the e-graph.
    pub nodes: usize,
    /// Rounds.
    pub rounds: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { nodes: 20_000, rounds: 24 }
    }
}

/// Why saturation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// No rule has anything to add.
    Saturated,
    /// The limit of terms was hit: what was found is right, more might have been found.
    Nodes,
    /// The limit of rounds was hit: what was found is right, more might have been found.
    Rounds,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stop::Saturated => "saturated",
            Stop::Nodes => "limit of terms hit",
            Stop::Rounds => "limit of rounds hit",
        })
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) stop: Stop,
    pub(crate) rounds: usize,
    /// How often each rule made two classes one, by its place among the rules.
    pub(crate) fired: Vec<usize>,
}

/// Applies the allowed rules.
pub(crate) fn saturate(terms: &mut Terms, rules: &Rules, limits: Limits) -> Outcome {
    let mut outcome = Outcome { stop: Stop::Rounds, rounds: 0, fired: vec![0; rules.iter().len()] };
    terms.rebuild();
    let height = rules.iter().map(|rule| rule.height).max().unwrap_or(0);
    let mut near = None;
    terms.analysis.changed.clear();
    while outcome.rounds < limits.rounds {
        outcome.rounds += 1;
        let mut found: Vec<(usize, usize, Vec<SearchMatches<'_, Term>>)> = Vec::new();
        for (place, rule) in rules.iter().enumerate().filter(|(_, r)| r.tag() <= rules.allowed()) {
            for (order, pattern) in rule.patterns.iter().enumerate() {
                let matches = search(terms, pattern, rule.height, near.as_ref());
                if !matches.is_empty() {
                    found.push((place, order, matches));
                }
            }
        }
        let mut changed = false;
        let mut full = false;
        for (place, order, matches) in found {
            let rule = rules.get(place);
            for (class, subst) in matches.iter().flat_map(|m| m.substs.iter().map(|s| (m.eclass, s))) {
                if terms.total_size() >= limits.nodes {
                    full = true;
                    break;
                }
                if let Some(made) = apply(terms, rule, class, subst) {
                    outcome.fired[place] += 1;
                    if let Some(instances) = &mut terms.analysis.instances {
                        instances.push(Instance { rule: place, pattern: order, subst: subst.clone(), made });
                    }
                    changed = true;
                }
            }
        }
        terms.rebuild();
        if full {
            outcome.stop = Stop::Nodes;
            break;
        }
        if !changed {
            outcome.stop = Stop::Saturated;
            break;
        }
        near = Some(neighbourhood(terms, height));
    }
    outcome
}

/// How many edges a class is above the next one that has changed.
type Near = HashMap<Id, usize>;

/// The classes at most `height` edges above what has changed since this was asked last.
fn neighbourhood(terms: &mut Terms, height: usize) -> Near {
    let changed = std::mem::take(&mut terms.analysis.changed);
    let mut ring: Vec<Id> =
        changed.into_iter().map(|id| terms.find(id)).collect::<HashSet<Id>>().into_iter().collect();
    let mut near: Near = ring.iter().map(|id| (*id, 0)).collect();
    for distance in 1..=height {
        let mut next = Vec::new();
        for parent in ring.iter().flat_map(|id| terms[*id].parents()).map(|id| terms.find(id)) {
            near.entry(parent).or_insert_with(|| {
                next.push(parent);
                distance
            });
        }
        ring = next;
    }
    near
}

/// The matches of a pattern; if `near` is given, those in which something at most `height` edges down has changed. What is a
/// known number is not looked at: nothing is cheaper, and numbers are products of each other in endlessly many ways.
fn search<'p>(
    terms: &Terms,
    pattern: &'p Pattern<Term>,
    height: usize,
    near: Option<&Near>,
) -> Vec<SearchMatches<'p, Term>> {
    let ENodeOrVar::ENode(root) = &pattern.ast[pattern.ast.root()] else {
        unreachable!("left-hand sides are operations")
    };
    let is_near = |class: &Id| near.is_none_or(|near| near.get(class).is_some_and(|d| *d <= height));
    let classes = terms.classes_for_op(&root.discriminant()).into_iter().flatten();
    let classes = classes.filter(|class| is_near(class) && terms[*class].data.constant.is_none());
    classes.filter_map(|class| pattern.search_eclass(terms, class)).collect()
}
