//! Applying rules until nothing new follows.
//!
//! Every rule is tried on every class in every round (the back-off of other schedulers misses forms), in the order of
//! the rules. Limits count nodes and rounds, never time, so that results do not depend on the machine; hitting one is
//! part of the result.

use crate::analysis::Terms;
use crate::proof::Instance;
use crate::rules::{Rules, apply};
use egg::{Pattern, SearchMatches, Searcher};
use std::fmt;

use crate::language::Term;

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
    while outcome.rounds < limits.rounds {
        outcome.rounds += 1;
        let mut found: Vec<(usize, usize, Vec<SearchMatches<'_, Term>>)> = Vec::new();
        for (place, rule) in rules.iter().enumerate().filter(|(_, r)| r.tag() <= rules.allowed()) {
            for (order, pattern) in rule.patterns.iter().enumerate() {
                let matches = <Pattern<Term> as Searcher<Term, _>>::search(pattern, terms);
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
    }
    outcome
}
