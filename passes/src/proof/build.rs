//! From the rules that were applied in an e-graph to a proof, without the steps that it does not need.

use super::bank::{Bank, Names};
use super::check::check;
use super::{Claim, Proof, Step};
use crate::analysis::{Terms, add_broadcast};
use crate::canonical::Inserted;
use crate::extract::Selection;
use crate::language::{Head, Term};
use crate::rules::{Rule, Rules, value};
use carousel_ir::{Graph, Op};
use egg::{Id, Subst};
use std::collections::HashMap;

/// What is to be proved: of each result the source's term and its chosen one.
pub(crate) struct Claims<'a> {
    /// The graph that was inserted, and where its values are.
    pub(crate) graph: &'a Graph,
    pub(crate) inserted: &'a [Option<Inserted>],
    /// The chosen terms.
    pub(crate) selection: &'a Selection,
    /// Names of inputs that the graph does not have.
    pub(crate) more_inputs: Vec<String>,
    /// Per result what is chosen for it.
    pub(crate) chosen: Vec<Chosen>,
}

/// What is chosen for a result.
pub(crate) enum Chosen {
    /// Its class.
    Class(Id),
    /// Something scaled: factor and scale.
    Scaled(Id, Id),
}

/// How many steps are gone through again, all in all, in search of superfluous ones.
const BUDGET: usize = 200_000;

/// A proof of the claims from what was recorded; `Err` if it does not hold, or if nothing was recorded.
pub(crate) fn build(terms: &Terms, rules: &Rules, claims: &Claims<'_>) -> Result<Proof, String> {
    let instances = terms.analysis.instances.as_ref().ok_or("no rules were recorded")?;
    let mut bank = Bank::default();
    let mut made = HashMap::new();
    let mut steps: Vec<Step> = Vec::new();
    for instance in instances {
        let rule = rules.get(instance.rule);
        let pattern = &rule.patterns[instance.pattern];
        let before = bank.instance(&pattern.ast, &instance.subst, terms, &mut made);
        let right = right_hand_side(terms, &bank, rule, instance.pattern, before);
        let (scratch, right) = right.ok_or_else(|| format!("`{}` cannot be applied again", rule.name()))?;
        let after = bank.as_added(&scratch, right, &mut HashMap::new());
        let step = Step { rule: rule.name().to_string(), before, after };
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    let (sources, names) = sources(terms, claims, &mut bank, &mut made);
    let mut chosen = HashMap::new();
    let mut list = Vec::new();
    for (output, choice) in claims.graph.outputs.iter().zip(&claims.chosen) {
        let mut pick = |class: Id| {
            let found = bank.as_chosen(terms, claims.selection, class, &mut chosen);
            found.ok_or_else(|| format!("nothing was chosen for `{}`", output.name))
        };
        let after = match choice {
            Chosen::Class(class) => pick(*class)?,
            Chosen::Scaled(factor, scale) => {
                let children = [pick(*factor)?, pick(*scale)?].into_iter().collect();
                bank.add(Term { head: Head::Virtual(crate::language::Virtual::Scaled), children })
            }
        };
        let name = output.name.to_string();
        list.push(Claim { name, before: sources[output.value.index()], after });
    }
    let facts = terms.analysis.without_terms();
    let mut proof = Proof { facts, bank, names, steps, claims: list, minimal: true };
    check(&proof, &proof.steps, rules)?;
    prune(&mut proof, rules);
    Ok(proof)
}

/// An e-graph with the term alone, and in it what the rule makes of the term.
fn right_hand_side(
    terms: &Terms,
    bank: &Bank,
    rule: &Rule,
    pattern: usize,
    before: Id,
) -> Option<(Terms, Id)> {
    let mut scratch = Terms::new(terms.analysis.without_terms());
    let mut realised = HashMap::new();
    let class = super::check::realise(&mut scratch, bank, before, &mut realised)?;
    let ast = &rule.patterns[pattern].ast;
    let mut subst = Subst::default();
    super::check::matches(bank, ast, ast.root(), before, &mut |var, id| {
        subst.insert(var, realised[&id]);
        true
    })
    .then_some(())?;
    let ty = scratch[class].data.ty()?.clone();
    let right = value(&mut scratch, &rule.right, &subst, &ty)?;
    let right = add_broadcast(&mut scratch, right, &ty.axes)?;
    Some((scratch, right))
}

/// The terms of the graph's values, and the names that the author gave them.
fn sources(
    terms: &Terms,
    claims: &Claims<'_>,
    bank: &mut Bank,
    made: &mut HashMap<Id, Id>,
) -> (Vec<Id>, Names) {
    let inputs = claims.graph.inputs.iter().map(|i| i.name.to_string()).chain(claims.more_inputs.clone());
    let mut names = Names { inputs: inputs.collect(), ..Names::default() };
    let mut sources: Vec<Id> = Vec::with_capacity(claims.graph.nodes.len());
    for ((_, node), inserted) in claims.graph.iter().zip(claims.inserted) {
        let inserted = inserted.as_ref().expect("a verified graph is well typed");
        let id = if let Op::Input { .. } = node.op {
            bank.as_added(terms, inserted.class, made)
        } else {
            let mut term = inserted.term.clone();
            let attributes = term.children.len() - node.operands.len();
            for (place, child) in term.children.iter_mut().enumerate() {
                *child = match place.checked_sub(attributes) {
                    None => bank.as_added(terms, *child, made),
                    Some(operand) => sources[node.operands[operand].index()],
                };
            }
            bank.add(term)
        };
        let is_input = matches!(node.op, Op::Input { .. } | Op::Const { .. });
        if let (Some(name), false) = (node.name, is_input) {
            names.terms.entry(id).or_insert_with(|| name.to_string());
        }
        sources.push(id);
    }
    (sources, names)
}

/// Leaves out steps, many at a time and then fewer, as long as the claims hold.
fn prune(proof: &mut Proof, rules: &Rules) {
    let mut left = BUDGET;
    let mut size = proof.steps.len().div_ceil(2);
    while size > 0 {
        let mut changed = false;
        let mut end = proof.steps.len();
        while end > 0 {
            let start = end.saturating_sub(size);
            let mut fewer = proof.steps.clone();
            fewer.drain(start..end);
            if left < proof.steps.len() {
                proof.minimal = false;
                return;
            }
            left -= proof.steps.len();
            if check(proof, &fewer, rules).is_ok() {
                proof.steps = fewer;
                changed = true;
            }
            end = start;
        }
        // One step may have been needed only for one that is gone.
        size = if size == 1 && changed { 1 } else { size / 2 };
    }
}
