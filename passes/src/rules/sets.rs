//! The sets of rules that passes go by, and files that add to them.
//!
//! Invariant: a rule of a file is in a set only after it has been tried on random values; a file with one rule that is
//! refused adds nothing. Who wants another set adds it to [`RuleSet`]; nothing else here knows them one by one.

use super::parse::parse;
use super::{Rule, Rules, Tag};
use crate::forms;
use crate::fuzz::{Evaluate, fuzz};
use carousel_ir::{Diagnostic, Sources};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What a set of rules is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RuleSet {
    /// The canonical form of every graph.
    Canonical,
    /// Recurrences without overflow.
    Stable,
    /// Forms of linear scans.
    Forms,
}

impl RuleSet {
    /// All of them.
    pub const ALL: [RuleSet; 3] = [RuleSet::Canonical, RuleSet::Stable, RuleSet::Forms];

    /// As headers in files write it.
    pub fn name(self) -> &'static str {
        match self {
            RuleSet::Canonical => "canonical",
            RuleSet::Stable => "stable",
            RuleSet::Forms => "forms",
        }
    }

    /// The rules of this crate.
    fn builtin(self) -> &'static Rules {
        match self {
            RuleSet::Canonical => Rules::builtin(),
            RuleSet::Stable => Rules::stable(),
            RuleSet::Forms => Rules::forms(),
        }
    }

    /// Where a rule belongs that stands below no header.
    pub(super) fn by_content(rule: &Rule) -> Vec<RuleSet> {
        vec![if rule.speaks_of_scales() {
            RuleSet::Stable
        } else if rule.speaks_of_lines() {
            RuleSet::Forms
        } else {
            RuleSet::Canonical
        }]
    }
}

/// How rules of files are tried.
#[derive(Clone, Copy)]
pub struct Trials<'a> {
    /// How often each rule must apply and hold.
    pub count: usize,
    /// The same seed gives the same trials.
    pub seed: u64,
    /// What evaluates both sides.
    pub evaluate: Evaluate<'a>,
}

/// Every set: the rules of this crate, and those that were added.
#[derive(Clone, Debug)]
pub struct RuleSets {
    sets: BTreeMap<RuleSet, Cow<'static, Rules>>,
}

impl Default for RuleSets {
    fn default() -> RuleSets {
        RuleSets { sets: RuleSet::ALL.into_iter().map(|set| (set, Cow::Borrowed(set.builtin()))).collect() }
    }
}

impl RuleSets {
    /// The rules of one set.
    pub fn get(&self, set: RuleSet) -> &Rules {
        &self.sets[&set]
    }

    /// The same rules with those of this tag, and of stricter ones, allowed in every set.
    pub fn allowing(self, tag: Tag) -> RuleSets {
        let sets = self.sets.into_iter();
        RuleSets {
            sets: sets.map(|(set, rules)| (set, Cow::Owned(rules.into_owned().allowing(tag)))).collect(),
        }
    }

    /// Adds the rules of a text, if every one of them holds; the text becomes one of the sources. The warnings are about
    /// rules that are there but not allowed.
    pub fn add(
        &mut self,
        sources: &mut Sources,
        name: &str,
        text: &str,
        trials: Trials<'_>,
    ) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        let rules = Rules { rules: parse(text, sources.add(name, text))?, allowed: Tag::Real };
        let mut enlarged = self.sets.clone();
        let mut problems = Vec::new();
        for (set, known) in &mut enlarged {
            let new: Vec<Rule> = rules.rules.iter().filter(|r| r.sets.contains(set)).cloned().collect();
            if !new.is_empty() {
                let more = Rules { rules: new, allowed: Tag::Real };
                problems.extend(known.to_mut().extend(more).err().into_iter().flatten());
            }
        }
        // A rule of two sets makes no two problems of one.
        problems.dedup();
        let of_forms = rules.rules.iter().filter(|r| r.sets.contains(&RuleSet::Forms));
        problems.extend(of_forms.filter_map(forms::derive::problem));
        problems.extend(refused(&rules, trials));
        if !problems.is_empty() {
            return Err(problems);
        }
        self.sets = enlarged;
        let idle = rules.iter().filter(|r| r.tag() > self.allowed(r));
        let warning = |rule: &Rule| {
            let message = format!("`{}` is not used: `{}` must be allowed", rule.name(), rule.tag());
            Diagnostic::warning("rule-not-used", rule.span, message)
                .with_help(format!("allow it, as in `--allow {}`", rule.tag()))
        };
        Ok(idle.map(warning).collect())
    }

    fn allowed(&self, rule: &Rule) -> Tag {
        rule.sets.iter().map(|set| self.get(*set).allowed()).max().unwrap_or(Tag::Real)
    }
}

/// What is wrong with rules that claim to be exact.
fn refused(rules: &Rules, trials: Trials<'_>) -> Vec<Diagnostic> {
    let report = fuzz(rules, trials.count, trials.seed, trials.evaluate);
    let mut problems = Vec::new();
    for rule in rules.iter() {
        let failure = report.failures.iter().find(|f| f.rule == rule.name());
        if let Some(failure) = failure {
            let message = format!("rule `{}` is wrong: {}", rule.name(), failure.difference);
            let help = format!(
                "the sides must be equal, and defined, wherever its conditions hold:\n{}",
                failure.details.join("\n")
            );
            problems.push(Diagnostic::error("rule-wrong", rule.span, message).with_help(help));
        } else if report.held.get(rule.name()) == Some(&0) {
            let message = format!("rule `{}` was not tried: it applied to no random value", rule.name());
            let help = "its left-hand side may be ill-typed, its conditions may exclude each other, or its sides \
                        may be the same";
            problems.push(Diagnostic::error("rule-not-tried", rule.span, message).with_help(help));
        }
    }
    problems
}
