//! Every built-in rule holds on random values; wrong ones are caught.

mod common;

use carousel_passes::{FuzzReport, Rules, fuzz};

/// Every rule held, and applied at least that often.
fn all_hold(report: &FuzzReport, least: usize) {
    for failure in &report.failures {
        eprintln!("{failure}\n");
    }
    assert!(report.failures.is_empty(), "{} wrong rule(s)", report.failures.len());
    let idle: Vec<_> = report.held.iter().filter(|(_, count)| **count < least).collect();
    assert!(idle.is_empty(), "these rules hardly ever applied: {idle:?}");
}

#[test]
fn builtin_rules_hold_on_random_values() {
    all_hold(&fuzz(Rules::builtin(), 60, 1, &wide), 10);
}

#[test]
fn wrong_rules_are_caught() {
    let wrong = "exp-log-everywhere:  (exp (log ?a))          => ?a                         # real\n\
                 cancel:              (div ?x ?x)             => 1                          # real\n\
                 forget:              (mul ?x 0)              => 0                          # real\n\
                 sum-of-square:       (sum ?A (mul ?a ?a))    => (mul (sum ?A ?a) (sum ?A ?a))  # real\n\
                 counted-twice:       (sum ?A (broadcast ?B ?x))  => (mul (count ?B) ?x)    # real\n\
                 select-swapped:      (select (not ?c) ?a ?b) => (select ?c ?a ?b)          # bitwise\n\
                 max-without-bound:   (max ?x ?c)             => ?x  if const ?c            # real\n\
                 transposed:          (merge ?P ?i (split ?i ?Q ?x))  => ?x                 # bitwise\n";
    let rules = Rules::parse("wrong.rules", wrong).expect("they are well formed");
    let report = fuzz(&rules, 60, 1, &wide);
    let caught: Vec<&str> = report.failures.iter().map(|f| f.rule.as_str()).collect();
    let planted: Vec<&str> = rules.iter().map(|r| r.name()).collect();
    assert_eq!(caught, planted, "{:?}", report.held);
    let examples: Vec<String> = report.failures.iter().map(|f| f.to_string()).collect();
    assert!(examples.iter().all(|e| e.contains("on the left") && e.contains("on the right")));
    assert!(examples.iter().any(|e| e.contains("x: f32[")), "inputs are shown: {examples:?}");
}

/// Evaluation in 256 bits, without overflow.
fn wide(graph: &carousel_ir::Graph, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
    common::run_as::<carousel_reference::Wide>(&common::module_of("f", graph.clone()), inputs)
}

#[test]
fn right_rules_are_not_refused_for_rounding() {
    // In f64 both sides of these differ by more than any tolerance, or are not defined in the same places.
    let right = "odds:          (div (sigmoid ?x) (sub 1 (sigmoid ?x)))    => (exp ?x)                        # real\n\
                 double-tanh:   (div (add 1 (tanh ?x)) (sub 1 (tanh ?x)))  => (exp (mul 2 ?x))                # real\n\
                 cancelled:     (log (sub (add 1 (exp ?y)) 1))             => ?y                              # real\n\
                 cubes:         (sub (mul ?x (mul ?x ?x)) (mul ?y (mul ?y ?y))) => (mul (sub ?x ?y) (add (mul ?x ?x) (add (mul ?x ?y) (mul ?y ?y))))  # real\n";
    let rules = Rules::parse("right.rules", right).expect("they are well formed");
    let report = fuzz(&rules, 60, 1, &wide);
    assert!(report.failures.is_empty(), "{}", report.failures[0]);
    let narrow = fuzz(&rules, 60, 1, &|graph, inputs| common::run_graph(graph, inputs));
    assert!(!narrow.failures.is_empty(), "f64 would do");
}

#[test]
fn rules_of_stabilisation_hold_on_random_values() {
    all_hold(&fuzz(Rules::stable(), 60, 1, &wide), 10);
}

#[test]
fn wrong_rules_about_scales_are_caught() {
    let wrong = "no-rescale:     (add (scaled ?a ?m) (scaled ?b ?n)) => (scaled (add ?a ?b) (max ?m ?n))             # real\n\
                 not-detached:   (neg (scaled ?a ?m)) => (scaled (neg (mul ?a (exp ?m))) (sub ?m (detach ?m)))       # real\n\
                 sum-forgets:    (sum ?A (scaled ?a ?m)) => (scaled (sum ?A ?a) (rmax (meet ?A ?m) ?m))  if meets ?m ?A, meets ?a ?A  # real\n\
                 not-a-maximum:  (sub ?m ?n) => (log (gexp ?m ?n))                                                   # real\n\
                 tanh-through:   (tanh (scaled ?a ?m)) => (scaled (tanh ?a) ?m)                                      # real\n\
                 signed-gate:    (mul ?g (scaled ?a ?m)) => (scaled ?a (add (log ?g) ?m))                            # real\n\
                 lost-scale:     (div (scaled ?a ?m) (scaled ?b ?n)) => (div ?a ?b)  if differs ?m ?n                # real\n";
    let rules = Rules::parse("wrong.rules", wrong).expect("they are well formed");
    let report = fuzz(&rules, 60, 1, &wide);
    let caught: Vec<&str> = report.failures.iter().map(|f| f.rule.as_str()).collect();
    let planted: Vec<&str> = rules.iter().map(|r| r.name()).collect();
    assert_eq!(caught, planted, "{:?}", report.held);
}

#[test]
fn rules_of_forms_hold_on_random_lines() {
    let report = fuzz(Rules::forms(), 400, 1, &|graph, inputs| common::run_graph(graph, inputs));
    all_hold(&report, 400);
}

#[test]
fn wrong_rules_about_lines_are_caught() {
    let scan = "(linread ?line ?K ?q ?x ?w ?l ?cut ?S)";
    let decay = "(linread_decay ?line ?K ?q ?x ?w ?l ?cut ?S ?dy ?dS)";
    let copied = "(rename ?line (writes ?line) ?x)";
    let pairs = |inward: &str, first: &str| {
        format!(
            "(proj 0 {scan}) => (add (mul ({inward} ?line ?l ?cut) (dot ?K ?q ?S)) (dot (writes ?line) \
             (mul (between ?line ?l {first}) (dot ?K ?q {copied})) (rename ?line (writes ?line) ?w)))"
        )
    };
    let lay = |x: &str| format!("(lay ?line {x})");
    let chunks = |line: &str, x: &str, start: &str| {
        format!(
            "(proj 0 {scan}) => (back ?line (proj 0 (linread {line} ?K {} {} {} {} {} {start}))) if long ?line",
            lay("?q"),
            lay(x),
            lay("?w"),
            lay("?l"),
            lay("?cut")
        )
    };
    let start = "(broadcast (chunks ?line) ?S)";
    let wrong = [
        ("no-decay", pairs("outward", "?cut")),
        ("no-cuts", pairs("inward", "(broadcast ?line false)")),
        (
            "other-end",
            format!("(proj 0 {scan}) => (proj 0 (linread (adjoint ?line) ?K ?q ?x ?w ?l ?cut ?S))"),
        ),
        ("no-total", format!("(proj 1 {scan}) => (dot ?line (mul (outward ?line ?l ?cut) ?x) ?w)")),
        ("always-the-start", chunks("(steps ?line)", "?x", start)),
        ("wrong-factor", chunks("(steps ?line)", "?q", start)),
        ("exchanged", format!("{decay} => (linread_decay ?line ?K ?x ?q ?w ?l ?cut ?S ?dy ?dS)")),
        ("no-end", format!("{decay} => (linread_decay ?line ?K ?q ?x ?w ?l ?cut ?S ?dy (mul 0 ?dS))")),
    ];
    let text: String = wrong.iter().map(|(name, rule)| format!("{name}: {rule}  # real\n")).collect();
    let rules = Rules::parse("wrong.rules", &text).unwrap_or_else(|p| panic!("{p}"));
    let report = fuzz(&rules, 200, 1, &|graph, inputs| common::run_graph(graph, inputs));
    let caught: Vec<&str> = report.failures.iter().map(|f| f.rule.as_str()).collect();
    let planted: Vec<&str> = rules.iter().map(|r| r.name()).collect();
    assert_eq!(caught, planted, "{:?}", report.held);
}
