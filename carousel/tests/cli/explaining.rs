//! `explain`, and what `check` says of recurrences that can overflow.

use crate::support::{fixture, folder, model_file, run_in};

/// The part of an explanation that begins with a heading, up to the next one.
fn part<'t>(text: &'t str, heading: &str) -> &'t str {
    let from = text.split_once(&format!("{heading}\n")).map_or("", |(_, rest)| rest);
    let headings = ["loops\n", "linear scans\n", "forms\n", "proofs\n", "limits\n"];
    let end = headings.iter().filter_map(|h| from.find(&format!("\n{h}"))).min().unwrap_or(from.len());
    from[..end].trim()
}

fn explained(file: &str, function: &str) -> String {
    run_in(folder().path(), &["explain", file, "--fn", function]).ok().out
}

#[test]
fn loops_are_explained() {
    let file = fixture("overflowing.xl");
    let functions = [
        "unnormalised",
        "squashed",
        "average",
        "bounded",
        "stepped",
        "wkv",
        "delta",
        "dense",
        "gated",
        "mixing",
    ];
    let mut all = vec![part(&explained(&model_file("cells/mlstm.xl"), "mlstm"), "loops").to_string()];
    all.extend(functions.map(|function| part(&explained(&file, function), "loops").to_string()));
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn a_derivation_is_proved_and_its_linear_scans_are_shown() {
    let text = explained(&model_file("cells/mlstm.xl"), "mlstm");
    let scans = part(&text, "linear scans");
    assert_eq!(scans.matches("mlstm, along s").count(), 2, "{scans}");
    assert!(scans.contains("writes u * exp(") && scans.contains("is read over dk with q"), "{scans}");
    let forms = part(&text, "forms");
    assert!(forms.contains("chosen") && forms.contains("parallel") && forms.contains("recurrent"), "{forms}");
    let proofs = part(&text, "proofs");
    for piece in [
        "stable form",
        "gone through again",
        "sigmoid-scaled: ",
        "so h: dot[dk](q, next.C)",
        "mlstm: linread along s, chunkwise:16, form: 3 steps, gone through again",
        "parallel-read: proj[0](linread[step@s, ",
        "so read: proj[0](linread[s, ",
    ] {
        assert!(proofs.contains(piece), "`{piece}` is not in\n{proofs}");
    }
    assert!(!text.contains("NOT PROVED"), "{text}");
    assert_eq!(part(&text, "limits"), "none was hit");
    assert_eq!(text, explained(&model_file("cells/mlstm.xl"), "mlstm"), "it is the same every time");
}

#[test]
fn one_function_need_not_be_named() {
    let here = folder();
    let (one, several) = (model_file("cells/mlstm.xl"), fixture("overflowing.xl"));
    let text = run_in(here.path(), &["explain", &one]).ok().out;
    assert_eq!(text, explained(&one, "mlstm"));
    run_in(here.path(), &["explain", &several])
        .refuses(&["--fn NAME is missing", "unnormalised, squashed, "]);
}

#[test]
fn every_proof_of_the_language_model_holds() {
    let text = explained(&model_file("models/lm.xl"), "lm_loss");
    assert!(text.contains("stabilised") && !text.contains("NOT PROVED"), "{text}");
}

#[test]
fn explanations_are_data() {
    let here = folder();
    let file = fixture("overflowing.xl");
    let json = |function: &str| {
        run_in(here.path(), &["explain", &file, "--fn", function, "--json"]).ok().json()["loops"][0].clone()
    };
    let squashed = json("squashed");
    assert_eq!((squashed["outcome"].as_str(), squashed["class"].as_str()), (Some("refused"), Some("E")));
    assert_eq!(squashed["overflowing"][0]["term"], "tanh(next.c)");
    let wkv = json("wkv");
    assert_eq!(wkv["scales"][0]["states"], serde_json::json!(["a", "b"]));
    for (function, class) in [("delta", "P"), ("dense", "X"), ("gated", "D"), ("mixing", "N")] {
        assert_eq!(json(function)["class"], class, "{function}");
    }
}

#[test]
fn pictures_are_graphs_with_every_term() {
    let here = folder();
    let arguments = ["explain", &model_file("cells/slstm.xl"), "--fn", "slstm", "--dot", "e.dot"];
    run_in(here.path(), &arguments).ok();
    let dot = std::fs::read_to_string(here.path().join("e.dot")).expect("it was written");
    assert!(dot.contains("digraph \"slstm/scan ") && dot.matches("digraph").count() >= 3, "{dot}");
    assert_eq!(dot.matches('{').count(), dot.matches('}').count());
    // An edge leads from a term that is there to a term that is there.
    for graph in dot.split("digraph").skip(1) {
        let terms: std::collections::HashSet<&str> = graph
            .lines()
            .filter_map(|l| l.trim().strip_prefix('t')?.split_once(" [label"))
            .map(|(t, _)| t)
            .collect();
        for (from, to) in graph.lines().filter_map(|l| l.trim().split_once(" -> ")) {
            let to = to.split(' ').next().unwrap_or_default();
            assert!(terms.contains(&from[1..]) && terms.contains(&to[1..]), "{from} -> {to}");
        }
    }
}

#[test]
fn recurrences_that_can_overflow_are_flagged() {
    let here = folder();
    let file = fixture("overflowing.xl");
    let run = run_in(here.path(), &["check", &file]).ok();
    assert_eq!(run.err.matches("[overflow] Warning").count(), 2, "{}", run.err);
    for piece in
        ["overflowing.xl:7:15", "dot[dk](q, next.C)", "overflowing.xl:15:15", "tanh(next.c)", "sigmoid"]
    {
        assert!(run.err.contains(piece), "`{piece}` is not in\n{}", run.err);
    }
    let denied = ["[overflow] Error", "2 problems"];
    run_in(here.path(), &["check", &file, "--deny-overflow"]).refuses(&denied);
    for file in [model_file("cells/mlstm.xl"), model_file("models/lm.xl"), model_file("zoo/mamba2.xl")] {
        let run = run_in(here.path(), &["check", "--deny-overflow", &file]).ok();
        assert_eq!(run.err, "", "{file}");
    }
}
