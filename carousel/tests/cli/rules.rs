//! Rules from files: accepted after trials, refused with a counterexample, used by every command that compiles.

use crate::support::{f32s, fixture, folder, model_file, read_tensors, run_in, write_tensors};

#[test]
fn a_users_rules_make_a_cell_stable() {
    let here = folder();
    let (file, rules) = (fixture("evidence.xl"), fixture("evidence.rules"));
    let explained = |function: &str, more: &[&str]| {
        let arguments = [&["explain", &file, "--fn", function], more].concat();
        run_in(here.path(), &arguments).ok().out
    };
    assert!(explained("odds", &[]).contains("left alone"));
    assert!(explained("surprise", &[]).contains("refused: a scale does not pass through `log1p`"));
    for function in ["odds", "surprise"] {
        let text = explained(function, &["--rules", &rules]);
        assert!(text.contains("  stabilised\n") && !text.contains("NOT PROVED"), "{text}");
    }
    let proof = explained("surprise", &["--rules", &rules]);
    assert!(proof.contains("log1p-open: log1p(scaled("), "{proof}");
    let run = run_in(here.path(), &["check", &file, "--deny-overflow"]);
    run.refuses(&["log1p"]);
    run_in(here.path(), &["check", &file, "--deny-overflow", "--rules", &rules]).ok();
}

#[test]
fn a_users_rules_change_what_runs() {
    let here = folder();
    let (file, rules) = (fixture("evidence.xl"), fixture("evidence.rules"));
    write_tensors(&here.path().join("x.safetensors"), &[f32s("i", &[3], &[1.0, 200.0, 300.0])]);
    let run = |more: &[&str]| {
        let arguments = ["run", &file, "--fn", "surprise", "--in", "x.safetensors", "--out", "y.safetensors"];
        run_in(here.path(), &[&arguments, more].concat()).ok();
        read_tensors(&here.path().join("y.safetensors"))["h"].1.clone()
    };
    assert!(run(&[])[2].is_infinite());
    let stable = run(&["--rules", &rules]);
    assert!((stable[0] - 1.313_261_7).abs() < 1e-5 && (stable[2] - 300.0).abs() < 1e-3, "{stable:?}");
}

#[test]
fn a_wrong_rule_is_refused_with_a_counterexample() {
    let here = folder();
    let wrong = "exp-of-log: (exp (log ?a)) => ?a  # real\n\
                 lost-scale: (add (scaled ?a ?m) (scaled ?b ?n)) => (scaled (add ?a ?b) (max ?m ?n))  # real\n\
                 never: (add ?a ?b) => (add ?b ?a)  if zero ?a, not_zero ?a  # real\n\
                 square-of-sum: (sum ?A (mul ?a ?a)) => (mul (sum ?A ?a) (sum ?A ?a))  # real\n";
    std::fs::write(here.path().join("wrong.rules"), wrong).expect("it is written");
    let file = model_file("cells/mlstm.xl");
    for command in [
        &["print", file.as_str(), "--rules", "wrong.rules"][..],
        &["check", &file, "--rules", "wrong.rules"],
        &["explain", &file, "--fn", "mlstm", "--rules", "wrong.rules"],
        &["train", "--rules", "wrong.rules"],
        &["bench", "mlstm", "--rules", "wrong.rules"],
    ] {
        let run = run_in(here.path(), command).refuses(&[
            "4 problems",
            "wrong.rules:1:1",
            "exp-of-log",
            "on the left and",
            "left: exp(log(",
            "wrong.rules:2:1",
            "lost-scale",
            "wrong.rules:3:1",
            "was not tried",
            "right: sum[",
            "a: f32[",
        ]);
        assert_eq!(run.out, "");
    }
}

#[test]
fn mistakes_in_a_file_have_their_places() {
    let here = folder();
    let write = |name: &str, text: &str| std::fs::write(here.path().join(name), text).expect("it is written");
    write("a.rules", "[stabel]\nx: (sigmod ?a) => ?a  # real\n");
    write("b.rules", "neg-neg: (abs (abs ?a)) => (abs ?a)  # bitwise\n");
    write("c.rules", "far: (abs (neg ?a)) => (abs ?a)  # bitwise\n");
    let file = model_file("cells/mlstm.xl");
    let print = |more: &[&str]| run_in(here.path(), &[&["print", file.as_str()], more].concat());
    print(&["--rules", "a.rules"]).refuses(&[
        "a.rules:1:2",
        "did you mean `stable`?",
        "a.rules:2:5",
        "`sigmoid`",
    ]);
    print(&["--rules", "b.rules"]).refuses(&["b.rules:1:1", "there is another rule called `neg-neg`"]);
    print(&["--rules", "c.rules", "--rules", "c.rules"]).refuses(&["there is another rule called `far`"]);
    print(&["--rules", "none.rules"]).refuses(&["cannot read none.rules"]);
    print(&["--rules", "c.rules", "--allow", "rael"]).refuses(&["bitwise, real, approx"]);
}

#[test]
fn a_rule_of_forms_says_which() {
    let here = folder();
    let sum = "(proj 1 (linread ?line ?K ?q ?x ?w ?l ?cut ?S)) => (add ?S (dot ?line ?x ?w))";
    let write = |name: &str, text: &str| std::fs::write(here.path().join(name), text).expect("it is written");
    write("nameless.rules", &format!("[forms]\nsum: {sum}  if zero ?l, zero ?cut  # real\n"));
    write("wrong.rules", &format!("[forms]\nparallel-sum: {sum}  if zero ?cut  # real\n"));
    let file = model_file("cells/mlstm.xl");
    let print = |rules: &str| run_in(here.path(), &["print", &file, "--rules", rules]);
    print("nameless.rules").refuses(&["nameless.rules:2:1", "rule-form", "`parallel-sum` or `chunk-sum`"]);
    print("wrong.rules").refuses(&["wrong.rules:2:1", "rule `parallel-sum` is wrong", "linread"]);
}

#[test]
fn a_rule_without_end_takes_no_form_away() {
    let here = folder();
    let endless = "[forms]\nsplit-exp: (exp ?x) => (mul (exp (sub ?x 1)) (exp 1))  # real\n";
    std::fs::write(here.path().join("endless.rules"), endless).expect("it is written");
    let file = model_file("cells/mlstm.xl");
    let explained = |more: &[&str]| {
        let arguments = [&["explain", &file, "--fn", "mlstm", "--form", "chunkwise:16"], more].concat();
        run_in(here.path(), &arguments).ok().out
    };
    assert!(explained(&[]).ends_with("limits\n\nnone was hit\n"));
    let text = explained(&["--rules", "endless.rules"]);
    assert!(text.contains("\nlimits\n\nlinread along s, chunkwise:16: limit of "), "{text}");
    assert!(text.contains("  by chunk-read, chunk-state, parallel-read\n"), "{text}");
}

#[test]
fn approximate_rules_must_be_asked_for() {
    let here = folder();
    let rule = "drop-clamp: (max (abs ?x) 1) => (abs ?x)  # approx\n";
    std::fs::write(here.path().join("rough.rules"), rule).expect("it is written");
    let file = model_file("cells/mlstm.xl");
    let print = |more: &[&str]| {
        let arguments = ["print", &file, "--stage", "canonical", "--rules", "rough.rules"];
        run_in(here.path(), &[&arguments, more].concat()).ok()
    };
    let run = print(&[]);
    assert!(run.err.contains("`drop-clamp` is not used") && run.out.contains("max("), "{}", run.err);
    let run = print(&["--allow", "approx"]);
    assert!(run.err.is_empty() && !run.out.contains("max("), "{}{}", run.err, run.out);
}

#[test]
fn stages_can_be_compared() {
    let here = folder();
    let file = model_file("cells/mlstm.xl");
    let print = |more: &[&str]| run_in(here.path(), &[&["print", file.as_str()], more].concat()).ok().out;
    let text = print(&["--stage", "canonical", "--diff", "stable"]);
    assert!(text.starts_with("--- canonical\n+++ stable\n@@ "), "{text}");
    assert!(
        text.contains("\n+  let logsigmoid.1: f32[s] = logsigmoid(f)\n") && text.contains("\n-  "),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "no colour where no terminal is");
    assert_eq!(print(&["--stage", "stable", "--diff", "stable"]), "");
}
