//! Proofs: which rules, applied to what, make an expression equal to the one that was chosen for it.
//!
//! A proof is a list of ground equations, each an instance of a named rule, and of claims that follow from them: equal
//! operands make equal results, constants are computed, operands of commutative operations change places. It speaks of
//! terms, not of the e-graph that it was found in, and [`Proof::recheck`] goes by nothing else: every left-hand side
//! must match, every side condition must hold on the facts that the steps before give, every right-hand side must
//! be what the rule says. Steps without which the claims still hold are left out.
//!
//! Nothing of this is done unless it is asked for.

pub(crate) mod bank;
mod build;
mod check;

pub(crate) use build::{Chosen, Claims, build};

use crate::analysis::Facts;
use crate::language::Term;
use crate::rules::Rules;
use bank::{Bank, Names, text};
use egg::Id;
use std::fmt;

/// A rule that was applied.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// Its place among the rules.
    pub(crate) rule: usize,
    /// Which of its patterns.
    pub(crate) pattern: usize,
    /// What the variables stood for.
    pub(crate) subst: egg::Subst,
    /// The terms of its right-hand side, before they were those of its left-hand side too.
    pub(crate) made: Vec<Term>,
}

/// One rule applied to one term.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Step {
    rule: String,
    before: Id,
    after: Id,
}

/// What is proved of one result.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Claim {
    name: String,
    before: Id,
    after: Id,
}

/// Why the chosen terms are equal to those of the source.
#[derive(Clone, Debug)]
pub struct Proof {
    facts: Facts,
    bank: Bank,
    names: Names,
    steps: Vec<Step>,
    claims: Vec<Claim>,
    /// Whether no step can be left out; otherwise there was no time to find out.
    minimal: bool,
}

/// A step of a proof, or a claim, as people read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Equation {
    /// The rule, or the name of the result.
    pub name: String,
    /// What it applies to.
    pub before: String,
    /// What it makes of that.
    pub after: String,
}

impl Proof {
    /// The rules in the order in which they apply.
    pub fn steps(&self) -> Vec<Equation> {
        self.steps.iter().map(|s| self.equation(&s.rule, s.before, s.after)).collect()
    }

    /// What follows: one equation for each result that was changed.
    pub fn claims(&self) -> Vec<Equation> {
        let changed = self.claims.iter().filter(|c| c.before != c.after);
        changed.map(|c| self.equation(&c.name, c.before, c.after)).collect()
    }

    /// Whether none of the steps can be left out. If not, the search for superfluous ones hit its limit.
    pub fn is_minimal(&self) -> bool {
        self.minimal
    }

    /// Goes through the proof again, from nothing but its own terms and the rules: what is wrong with it.
    pub fn recheck(&self, rules: &Rules) -> Result<(), String> {
        check::check(self, &self.steps, rules)
    }

    fn equation(&self, name: &str, before: Id, after: Id) -> Equation {
        let show = |id| text(&self.bank, &self.names, self.facts.opaque_ops(), id);
        Equation { name: name.to_string(), before: show(before), after: show(after) }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.steps().iter().enumerate() {
            writeln!(f, "{:>3}. {}: {}\n     => {}", place + 1, step.name, step.before, step.after)?;
        }
        for claim in self.claims() {
            writeln!(f, "     so {}: {}\n      = {}", claim.name, claim.before, claim.after)?;
        }
        if !self.minimal {
            writeln!(f, "     some steps may be superfluous: the search for such hit its limit")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
