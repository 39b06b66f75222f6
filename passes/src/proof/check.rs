//! Going through a proof.
//!
//! The e-graph here has no rules: it holds the terms of the proof, the facts that follow from them, and equality of
//! what has equal operands. A step is believed only after its rule was found to say so.

use super::bank::Bank;
use super::{Proof, Step};
use crate::analysis::{Terms, add, add_broadcast};
use crate::language::{Head, Term};
use crate::rules::{Rule, Rules, value};
use egg::{ENodeOrVar, Id, Language, PatternAst, Subst, Var};
use std::collections::HashMap;

/// Whether the claims follow from these steps.
pub(super) fn check(proof: &Proof, steps: &[Step], rules: &Rules) -> Result<(), String> {
    let mut terms = Terms::new(proof.facts.without_terms());
    let mut realised = HashMap::new();
    let of = |terms: &mut Terms, realised: &mut HashMap<Id, Id>, id: Id| {
        realise(terms, &proof.bank, id, realised).ok_or_else(|| "a term is ill-typed".to_string())
    };
    for (place, step) in steps.iter().enumerate() {
        let wrong = |what: &str| format!("step {}, `{}`: {what}", place + 1, step.rule);
        let rule =
            rules.iter().find(|r| r.name() == step.rule).ok_or_else(|| wrong("there is no such rule"))?;
        if rule.tag() > rules.allowed() {
            return Err(wrong("the rule is not allowed"));
        }
        let before = of(&mut terms, &mut realised, step.before)?;
        let after = of(&mut terms, &mut realised, step.after)?;
        terms.rebuild();
        let mut problem = "its left-hand side does not match";
        let mut is_right = false;
        for pattern in &rule.patterns {
            let Some(subst) = matched(&terms, &proof.bank, &pattern.ast, step.before, &realised) else {
                continue;
            };
            match right_hand_side(&mut terms, rule, before, &subst) {
                Err(what) => problem = what,
                Ok(right) => {
                    terms.rebuild();
                    if terms.find(right) == terms.find(after) {
                        is_right = true;
                        break;
                    }
                    problem = "its right-hand side is something else";
                }
            }
        }
        if !is_right {
            return Err(wrong(problem));
        }
        terms.union(before, after);
        terms.rebuild();
    }
    for claim in &proof.claims {
        let before = of(&mut terms, &mut realised, claim.before)?;
        let after = of(&mut terms, &mut realised, claim.after)?;
        terms.rebuild();
        if terms.find(before) != terms.find(after) {
            return Err(format!("`{}` does not follow from the steps", claim.name));
        }
    }
    if terms.analysis.alarms > 0 {
        return Err("two terms that were made equal have facts that exclude each other".to_string());
    }
    Ok(())
}

/// What the rule makes of a match whose conditions hold.
fn right_hand_side(terms: &mut Terms, rule: &Rule, class: Id, subst: &Subst) -> Result<Id, &'static str> {
    if !rule.conditions.iter().all(|c| c.holds(terms, subst)) {
        return Err("a side condition does not hold");
    }
    let ty = terms[class].data.ty().cloned().ok_or("its left-hand side is no value")?;
    let right = value(terms, &rule.right, subst, &ty).ok_or("its right-hand side is ill-typed")?;
    let right = add_broadcast(terms, right, &ty.axes).ok_or("its right-hand side is ill-typed")?;
    if terms[right].data.ty() == Some(&ty) { Ok(right) } else { Err("its right-hand side has another type") }
}

/// The class of a term, which is added with its parts.
pub(super) fn realise(terms: &mut Terms, bank: &Bank, id: Id, realised: &mut HashMap<Id, Id>) -> Option<Id> {
    if let Some(known) = realised.get(&id) {
        return Some(*known);
    }
    let mut term: Term = bank.get(id).clone();
    for place in 0..term.children.len() {
        term.children[place] = realise(terms, bank, term.children[place], realised)?;
    }
    let class = if matches!(term.head, Head::Leaf(_)) { terms.add(term) } else { add(terms, term)? };
    realised.insert(id, class);
    Some(class)
}

/// What the variables of a pattern stand for in a term; where one occurs twice, the two must be known to be equal.
fn matched(
    terms: &Terms,
    bank: &Bank,
    ast: &PatternAst<Term>,
    id: Id,
    places: &HashMap<Id, Id>,
) -> Option<Subst> {
    let mut subst = Subst::default();
    let fits = matches(bank, ast, ast.root(), id, &mut |var, id| {
        let class = terms.find(places[&id]);
        match subst.get(var).copied() {
            Some(known) => terms.find(known) == class,
            None => subst.insert(var, class).is_none(),
        }
    });
    fits.then_some(subst)
}

/// Whether a term has the shape of a pattern; `bind` is asked about every variable.
pub(super) fn matches(
    bank: &Bank,
    ast: &PatternAst<Term>,
    at: Id,
    id: Id,
    bind: &mut dyn FnMut(Var, Id) -> bool,
) -> bool {
    match &ast[at] {
        ENodeOrVar::Var(var) => bind(*var, id),
        ENodeOrVar::ENode(pattern) => {
            let term = bank.get(id);
            pattern.matches(term)
                && pattern
                    .children
                    .iter()
                    .zip(&term.children)
                    .all(|(pattern, child)| matches(bank, ast, *pattern, *child, bind))
        }
    }
}
