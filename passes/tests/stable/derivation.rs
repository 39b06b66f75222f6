//! What is derived: groups, scales, reasons. Names decide nothing.

use crate::cells;
use crate::support::{kinds, module, scans, stable};
use carousel_ir::{Module, OpKind, verify};
use carousel_passes::{Limits, Outcome, Rules, ScanReport, StableOptions, Stop, canonicalize, stabilize};
use std::collections::HashMap;

fn report(text: &str) -> ScanReport {
    let (module, function, mut report) = stable(text);
    assert_eq!(verify(&module), Vec::new());
    let names: Vec<_> = module[function].graph.inputs.iter().map(|i| i.name).collect();
    let (source, _) = crate::support::module(text);
    assert_eq!(names, source[function].graph.inputs.iter().map(|i| i.name).collect::<Vec<_>>());
    let last = report.scans.pop().expect("there is a loop");
    assert_eq!((last.stop, last.alarms), (Stop::Saturated, 0), "{last}");
    last
}

/// States and updates of the groups.
fn groups(text: &str) -> Vec<(String, String)> {
    let report = report(text);
    assert_eq!(report.outcome, Outcome::Stabilized, "{report}");
    let group = |g: carousel_passes::ScaleGroup| {
        (format!("{} by {}[{}]", g.states.join(", "), g.scale, g.axes), g.update)
    };
    report.groups.into_iter().map(group).collect()
}

fn one(states: &str, update: &str) -> Vec<(String, String)> {
    vec![(states.to_string(), update.to_string())]
}

#[test]
fn scales_are_those_of_the_papers() {
    assert_eq!(groups(cells::MLSTM), one("C, n by scale[]", "max((logsigmoid(f) + scale), i)"));
    assert_eq!(groups(cells::MLSTM_EXP), one("C, n by scale[]", "max((f + scale), i)"));
    assert_eq!(groups(cells::SLSTM_PLAIN), one("c, n by scale[d]", "max((logsigmoid(f) + scale), i)"));
    assert_eq!(groups(cells::PER_KEY), one("C, n by scale[dk]", "max((logsigmoid(f) + scale), i)"));
    assert_eq!(groups(cells::BATCHED), one("C, n by scale[b, h]", "max((logsigmoid(f) + scale), i)"));
    assert_eq!(groups(cells::ONLINE_SOFTMAX), one("a, z by scale[]", "max(scale, x)"));
    assert_eq!(groups(cells::SMOOTH), one("C, n by scale[]", "max((f + scale), i)"));
    assert_eq!(groups(cells::RWKV4), one("a, b by scale[d]", "max((scale - exp(min(w, 80))), k)"));
    let slstm = groups(cells::SLSTM);
    assert_eq!(slstm.len(), 1);
    assert_eq!(slstm[0].0, "c, n by scale[h, d]");
}

#[test]
fn every_positive_gate_is_in_the_scale() {
    let update = "max((log(0.5) + scale), i)";
    assert_eq!(groups(cells::CONSTANT_DECAY), one("c, n by scale[d]", update));
    let update = "max((logsigmoid(f) + scale), (i + logsigmoid(g)))";
    assert_eq!(groups(cells::TWO_FACTORS), one("c, n by scale[d]", update));
    assert_eq!(groups(cells::EXP_FEATURES), one("S, z by scale[dk]", "max(scale, k)"));
}

#[test]
fn resets_and_masks_are_in_the_scale() {
    let update = "max((f + select(r, -1e30, scale)), i)";
    assert_eq!(groups(cells::MLSTM_LOG_FORGET), one("C, n by scale[]", update));
    let update = "select(keep, scale, max((logsigmoid(f) + scale), i))";
    assert_eq!(groups(cells::MASKED), one("c, n by scale[d]", update));
}

#[test]
fn memories_with_gates_of_their_own_have_scales_of_their_own() {
    let two = [
        ("a, na by scale[d]", "max((logsigmoid(f) + scale), i)"),
        ("b, nb by scale.1[d]", "max((g + scale.1), x)"),
    ];
    assert_eq!(groups(cells::TWO_MEMORIES), two.map(|(a, b)| (a.to_string(), b.to_string())));
    let two = [
        ("c, n by scale[d]", "max((logsigmoid(f) + scale), i)"),
        ("a, w by scale.1[d]", "max((logsigmoid(g) + scale.1), x)"),
    ];
    assert_eq!(groups(cells::STACKED), two.map(|(a, b)| (a.to_string(), b.to_string())));
    assert_eq!(groups(cells::MIXED).len(), 1, "the bounded memory has none");
}

#[test]
fn loops_inside_loops_come_first() {
    let (_, _, report) = stable(cells::NESTED);
    let found: Vec<_> = report.scans.iter().map(|s| (s.groups[0].states.join(", "), &s.outcome)).collect();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], ("a, z".to_string(), &Outcome::Stabilized));
    assert_eq!(found[1], ("c, n".to_string(), &Outcome::Stabilized));
}

#[test]
fn what_cannot_overflow_is_left_alone() {
    let (module, function, report) = stable(cells::LINEAR_ATTENTION);
    let reason = "it has no exponential without bound".to_string();
    assert_eq!(report.scans[0].outcome, Outcome::LeftAlone { reason });
    assert_eq!(self::report(cells::SOFTMAX_STEP).outcome, report.scans[0].outcome);
    let (source, _) = crate::support::module(cells::LINEAR_ATTENTION);
    assert_eq!(kinds(&module[function].graph), kinds(&source[function].graph));
    assert_eq!(self::report(cells::COUPLED).outcome, Outcome::Rewritten);
}

#[test]
fn a_scale_of_the_author_gets_none_beside_it() {
    let report = report(cells::PUBLISHED);
    assert_eq!((report.outcome, report.groups.len()), (Outcome::Rewritten, 0));
    let (module, function, _) = stable(cells::PUBLISHED);
    assert_eq!(scans(&module[function].graph)[0].states, 3);
}

#[test]
fn what_is_stable_stays_as_it_is() {
    for text in [cells::MLSTM, cells::SLSTM, cells::MLSTM_LOG_FORGET, cells::TWO_MEMORIES, cells::MASKED] {
        let (once, _, _) = stable(text);
        let (_, report) = stabilize(&once, &StableOptions::default());
        let last = report.scans.last().expect("there is a loop");
        let is_left = matches!(last.outcome, Outcome::LeftAlone { .. } | Outcome::Rewritten);
        assert!(is_left && last.groups.is_empty(), "{report}");
    }
}

#[test]
fn what_is_in_the_way_is_named() {
    let Outcome::Refused { reason, blocking } = report(cells::NO_NORMALISER).outcome else { panic!() };
    assert!(reason.contains("takes the scale of `h` away"), "{reason}");
    assert_eq!(blocking, "sum[dk]((q * next.C))");
    let Outcome::Refused { reason, blocking } = report(cells::TANH).outcome else { panic!() };
    assert!(reason.contains("does not pass through `tanh`"), "{reason}");
    assert_eq!(blocking, "tanh(next.c)");
}

#[test]
fn one_memory_that_overflows_does_not_keep_the_others_from_it() {
    let report = report(cells::HALF);
    assert_eq!(report.outcome, Outcome::Stabilized);
    assert_eq!((report.groups.len(), &report.groups[0].states), (1, &vec!["c".to_string(), "n".to_string()]));
    assert!(report.notes[0].starts_with("t can overflow, as written"), "{report}");
}

#[test]
fn limits_that_are_hit_are_reported() {
    let (module, _) = module(cells::MLSTM);
    let limits = Limits { nodes: 40, rounds: 24 };
    let (_, report) = stabilize(&module, &StableOptions { rules: Rules::stable(), limits });
    assert_eq!(report.limited().count(), 1);
    assert!(report.to_string().contains("limit of terms hit"), "{report}");
}

#[test]
fn equal_bodies_are_derived_once_and_the_same_way() {
    let (_, function, first) = stable(cells::TWO_MEMORIES);
    let (again, _, second) = stable(cells::TWO_MEMORIES);
    assert_eq!(first, second);
    let (mut twice, _) = module(cells::TWO_MEMORIES);
    let mut copy = twice[function].clone();
    copy.name = "copy".into();
    twice.push(copy);
    let (stable, report) = stabilize(&twice, &StableOptions::default());
    assert_eq!(report.scans.len(), 2);
    assert_eq!(report.scans[0].groups, report.scans[1].groups);
    assert_eq!(stable.functions[0].graph, stable.functions[1].graph);
    assert_eq!(stable.functions[0].graph, again.functions[0].graph);
}

#[test]
fn the_canonical_form_has_the_same_scales() {
    for text in [cells::MLSTM, cells::MLSTM_EXP, cells::SLSTM_PLAIN, cells::TWO_MEMORIES, cells::BATCHED] {
        let (source, function) = module(text);
        let (canonical, _) = canonicalize(&source, Rules::builtin());
        let (_, of_canonical) = stabilize(&canonical, &StableOptions::default());
        let (_, of_source) = stabilize(&source, &StableOptions::default());
        let groups = |m: &[ScanReport]| -> Vec<_> {
            m[0].groups.iter().map(|g| (g.states.clone(), g.axes.clone())).collect()
        };
        assert_eq!(of_canonical.scans[0].outcome, Outcome::Stabilized, "{of_canonical}");
        assert_eq!(groups(&of_canonical.scans), groups(&of_source.scans), "{function:?}");
    }
}

#[test]
fn no_scale_is_differentiated() {
    // Whatever the scales are, no cotangent goes through them: each is detached where it is read and where it is made.
    for text in [cells::MLSTM, cells::SLSTM, cells::TWO_MEMORIES, cells::MASKED, cells::PRODUCT] {
        let (module, function, report) = stable(text);
        let scan = scans(&module[function].graph)[0];
        let body = &scan.body;
        let count = report.scans[0].groups.len();
        for place in scan.states as usize - count..scan.states as usize {
            let input = body.input_values()[place].expect("a scale is read");
            let users = body.nodes.iter().filter(|n| n.operands.contains(&input));
            assert!(users.clone().count() > 0);
            assert!(users.into_iter().all(|n| n.op.kind() == OpKind::Detach));
            assert!(detached(body, body.outputs[place].value), "{text}");
        }
    }
}

/// Whether no gradient flows through a value.
fn detached(graph: &carousel_ir::Graph, value: carousel_ir::ValueId) -> bool {
    let node = &graph[value];
    if let OpKind::Detach | OpKind::Const = node.op.kind() {
        return true;
    }
    let floats = node.operands.iter().filter(|o| graph.ty(**o).dtype.is_float());
    let passes = matches!(node.op.kind(), OpKind::Select | OpKind::Max | OpKind::Broadcast);
    passes && floats.into_iter().all(|o| detached(graph, *o))
}

/// The text with every name of the author's replaced.
fn renamed(text: &str) -> (String, HashMap<String, String>) {
    const KEPT: [&str; 22] = [
        "fn",
        "scan",
        "state",
        "let",
        "yield",
        "reset",
        "reverse",
        "bool",
        "sigmoid",
        "exp",
        "tanh",
        "max",
        "abs",
        "sum",
        "sqrt",
        "where",
        "log",
        "mix",
        "cell",
        "mlstm",
        "slstm",
        "logsigmoid",
    ];
    let mut names: HashMap<String, String> = HashMap::new();
    let mut result = String::new();
    for line in text.lines().filter(|l| !l.starts_with("//")) {
        let mut word = String::new();
        for c in line.chars().chain(['\n']) {
            if c.is_alphanumeric() || c == '_' {
                word.push(c);
                continue;
            }
            let is_name = word.chars().next().is_some_and(char::is_alphabetic);
            if is_name && !KEPT.contains(&word.as_str()) {
                // In another alphabetical order.
                let count = names.len();
                let new =
                    names.entry(word.clone()).or_insert_with(|| format!("x{}", (97 * count + 53) % 100));
                result += new;
            } else {
                result += &word;
            }
            word.clear();
            result.push(c);
        }
    }
    (result, names)
}

#[test]
fn names_decide_nothing() {
    let all = [
        cells::MLSTM,
        cells::SLSTM,
        cells::MLSTM_LOG_FORGET,
        cells::RWKV4,
        cells::TWO_MEMORIES,
        cells::PER_KEY,
        cells::ONLINE_SOFTMAX,
        cells::MASKED,
        cells::STACKED,
        cells::NO_NORMALISER,
        cells::TANH,
        cells::COUPLED,
    ];
    for text in all {
        let (other, names) = renamed(text);
        assert!(names.len() > 3);
        let (first, function, of_first) = stable(text);
        let (second, _, of_second) = stable(&other);
        let kinds_of = |m: &Module| kinds(&m[function].graph);
        assert_eq!(kinds_of(&first), kinds_of(&second), "{text}");
        let (a, b) = (&of_first.scans[0], &of_second.scans[0]);
        let name = |n: &String| names[n].clone();
        let expected: Vec<Vec<String>> =
            a.groups.iter().map(|g| g.states.iter().map(name).collect()).collect();
        let found: Vec<Vec<String>> = b.groups.iter().map(|g| g.states.clone()).collect();
        assert_eq!(expected, found);
        assert_eq!(std::mem::discriminant(&a.outcome), std::mem::discriminant(&b.outcome));
        assert_eq!((&a.fired, a.terms), (&b.fired, b.terms));
    }
}
