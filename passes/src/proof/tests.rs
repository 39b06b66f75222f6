//! Proofs of what saturation finds, and what happens to those that were tampered with.

use super::*;
use crate::rules::{RuleSet, RuleSets};
use crate::stable::{StableOptions, stabilize_traced};
use crate::{Limits, Options, Rules, SizeWeighted, Trace, canonicalize_traced};
use carousel_ir::text::{Options as Elaboration, elaborate, parse_program};

const MLSTM: &str = include_str!("../../../models/xl/cells/mlstm.xl");
const SLSTM: &str = include_str!("../../../models/xl/cells/slstm.xl");
const WKV: &str = "
fn wkv(w: [d], u: [d], k: [s, d], v: [s, d]) -> (y: [s, d]) {
  scan s {
    state a: [d] = 0
    state b: [d] = 0
    yield y = (a + exp(u + k) * v) / (b + exp(u + k))
    a' = exp(-exp(w)) * a + exp(k) * v
    b' = exp(-exp(w)) * b + exp(k)
  }
}";

/// Everything that was proved on the way to the stable form.
fn traced(text: &str, function: &str) -> Trace {
    let program = parse_program("cell.xl", text, &|_| Err("there are no files".into())).unwrap();
    let module = elaborate(&program, &[function], &Elaboration::default()).unwrap();
    let cost = SizeWeighted::default();
    let options = Options { rules: Rules::builtin(), limits: Limits::default(), cost: &cost, done: None };
    let (module, _, mut trace) = canonicalize_traced(&module, options);
    let (_, _, more) = stabilize_traced(&module, &StableOptions::default());
    trace.graphs.extend(more.graphs);
    trace
}

fn proofs(trace: &Trace) -> Vec<(RuleSet, &Proof)> {
    let proof = |g: &crate::GraphTrace| match &g.proof {
        Some(Ok(_)) | None => (),
        Some(Err(why)) => panic!("{}: {why}", g.name),
    };
    trace.graphs.iter().for_each(proof);
    let found = trace.graphs.iter().filter_map(|g| Some((g.set, g.proof.as_ref()?.as_ref().ok()?)));
    found.collect()
}

/// The proof of the stable form of the paper's mLSTM.
fn example() -> Proof {
    let trace = traced(MLSTM, "mlstm");
    let found = proofs(&trace).into_iter().find(|(set, _)| *set == RuleSet::Stable);
    found.expect("it is stabilised").1.clone()
}

#[test]
fn derivations_are_proved_and_hold_again() {
    let rules = RuleSets::default();
    for (text, function) in [(MLSTM, "mlstm"), (SLSTM, "slstm"), (WKV, "wkv")] {
        let trace = traced(text, function);
        let proofs = proofs(&trace);
        assert!(proofs.iter().any(|(set, p)| *set == RuleSet::Stable && p.steps().len() > 10), "{function}");
        for (set, proof) in proofs {
            assert_eq!(proof.recheck(rules.get(set)), Ok(()), "{function}");
            assert!(proof.is_minimal(), "{function}");
        }
    }
}

#[test]
fn a_proof_says_what_was_done_in_the_authors_names() {
    let text = example().to_string();
    for part in [
        "sigmoid-scaled: ",
        "scaled(",
        "exp(i)",
        "sigmoid(f)",
        "so C",
        "so n",
        "so h",
        "logsigmoid(f) + scale",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert_eq!(text, example().to_string(), "it is the same every time");
}

#[test]
fn every_step_is_needed() {
    let proof = example();
    let rules = Rules::stable();
    for place in 0..proof.steps.len() {
        let mut fewer = proof.clone();
        let step = fewer.steps.remove(place);
        assert!(fewer.recheck(rules).is_err(), "`{}` is superfluous", step.rule);
    }
}

#[test]
fn a_step_that_was_tampered_with_is_noticed() {
    let proof = example();
    let rules = Rules::stable();
    for place in 0..proof.steps.len() {
        let tampered = |change: &dyn Fn(&mut Step)| {
            let mut other = proof.clone();
            change(&mut other.steps[place]);
            if other.steps == proof.steps { Err("it is as it was".to_string()) } else { other.recheck(rules) }
        };
        let source = proof.claims[0].before;
        assert!(tampered(&|s| s.before = source).is_err(), "{place}: another left-hand side");
        assert!(tampered(&|s| s.after = source).is_err(), "{place}: another right-hand side");
        assert!(tampered(&|s| s.rule = "neg-neg".into()).is_err(), "{place}: a rule that is not there");
        assert!(tampered(&|s| s.rule = "rmax-through".into()).is_err(), "{place}: another rule");
    }
}

#[test]
fn a_false_claim_is_noticed() {
    let proof = example();
    let mut other = proof.clone();
    other.claims[0].after = proof.claims[1].after;
    let problem = other.recheck(Rules::stable()).expect_err("C is not n");
    assert!(problem.contains("does not follow"), "{problem}");
}

#[test]
fn side_conditions_are_checked_again() {
    let proof = example();
    let gate = Rules::stable().iter().find(|r| r.name() == "sigmoid-scaled").expect("it is built in").text();
    let without: String = Rules::stable()
        .iter()
        .filter(|r| r.name() != "sigmoid-scaled")
        .map(|r| format!("{}  # {}\n", r.text(), r.tag()))
        .collect();
    let with = |gate: &str| Rules::parse("other.rules", &format!("{without}{gate}")).unwrap();
    assert_eq!(proof.recheck(&with(&format!("{gate}  # real"))), Ok(()));
    let stricter = with(&format!("{gate}, const ?a  # real"));
    assert!(proof.recheck(&stricter).expect_err("no gate is constant").contains("side condition"));
    let approximate = with(&format!("{gate}  # approx"));
    assert!(proof.recheck(&approximate).expect_err("it must be allowed").contains("not allowed"));
    assert!(proof.recheck(&with("")).expect_err("it is gone").contains("no such rule"));
}

#[test]
fn pictures_have_every_class_and_every_term() {
    for graph in traced(MLSTM, "mlstm").graphs {
        let header = graph.dot.lines().next().unwrap_or_default();
        let count = |what: &str| -> usize {
            let before = header.split(what).next().unwrap_or_default();
            before.split_whitespace().last().and_then(|n| n.parse().ok()).expect("the header counts")
        };
        assert_eq!(graph.dot.matches("subgraph cluster_").count(), count(" classes"), "{header}");
        let is_term = |l: &&str| l.starts_with("    t");
        assert_eq!(graph.dot.lines().filter(is_term).count(), count(" terms"), "{header}");
    }
}
