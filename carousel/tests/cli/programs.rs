//! `check` and `print`: good programs, bad ones, and what is no program at all.

use std::process::Stdio;

use crate::support::{fixture, folder, model_file, program, run_in};

#[test]
fn good_programs_are_ok() {
    let folder = folder();
    let files = [
        fixture("average.xl"),
        model_file("cells/mlstm.xl"),
        model_file("cells/slstm.xl"),
        model_file("reference/mlstm.xl"),
        model_file("reference/slstm.xl"),
        model_file("models/lm.xl"),
        model_file("blocks/slstm.xl"),
        model_file("optim/adamw.xl"),
    ];
    let arguments: Vec<&str> = std::iter::once("check").chain(files.iter().map(String::as_str)).collect();
    let run = run_in(folder.path(), &arguments).ok();
    assert_eq!(run.out.lines().filter(|line| line.ends_with(": ok")).count(), files.len(), "{}", run.out);
}

#[test]
fn ten_mistakes_give_ten_diagnostics() {
    let here = folder();
    let text = std::fs::read_to_string(fixture("ten_mistakes.xl")).expect("it is there");
    std::fs::write(here.path().join("ten_mistakes.xl"), text).expect("it is written");
    let run = run_in(here.path(), &["check", "ten_mistakes.xl"]).refuses(&["10 problems"]);
    assert_eq!(run.out, "");
    // Empty space at line ends would not survive editors.
    let shown: Vec<&str> = run.err.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn one_bad_file_does_not_hide_the_others() {
    let here = folder();
    let (good, bad) = (fixture("average.xl"), fixture("ten_mistakes.xl"));
    let run = run_in(here.path(), &["check", &bad, "none.xl", &good]);
    let run = run.refuses(&["10 problems", "none.xl", "No such file"]);
    assert!(run.out.contains("average.xl: ok"), "{}", run.out);
}

#[test]
fn what_is_no_program_is_bad_input() {
    let here = folder();
    let write =
        |name: &str, bytes: &[u8]| std::fs::write(here.path().join(name), bytes).expect("it is written");
    write("latin.xl", b"fn f(x: [s]) -> (y: [s]) { let y = x } // caf\xe9\n");
    write("use.xl", b"use \"none.xl\"\nfn f(x: [s]) -> (y: [s]) {\n  let y = x\n}\n");
    write("zeros.xl", &[0; 300]);
    write("deep.xl", format!("fn f(x: [s]) -> (y: [s]) {{ let y = {}x }}", "(".repeat(100_000)).as_bytes());
    write("broken_module.xl", b"fn f(x: f32[s]) {\n  let y: f32[s] = exxp(x)\n  return (y: [s] = y)\n}\n");
    for (file, part) in [
        ("none.xl", "No such file"),
        (".", "directory"),
        ("latin.xl", "UTF-8"),
        ("use.xl", "use.xl:1:5"),
        ("zeros.xl", "zeros.xl:1:1"),
        ("deep.xl", "deep.xl:1:"),
        ("broken_module.xl", "broken_module.xl:2:"),
    ] {
        run_in(here.path(), &["check", file]).refuses(&[part]);
        run_in(here.path(), &["print", file]).refuses(&[part]);
    }
    std::fs::write(here.path().join("empty.xl"), "").expect("it is written");
    run_in(here.path(), &["check", "empty.xl"]).ok();
}

#[test]
fn gradients_are_checked_against_differences() {
    let here = folder();
    let file = fixture("average.xl");
    let run = run_in(here.path(), &["check", &file, "--grad", "--fn", "average"]).ok();
    assert!(run.out.contains("grad.x: ok") && run.out.contains("grad.rate: ok"), "{}", run.out);
    run_in(here.path(), &["check", &file, "--grad", "--fn", "averag"]).refuses(&["did you mean `average`?"]);
}

#[test]
fn text_stages_can_be_read_back() {
    let here = folder();
    for (file, function) in [
        (fixture("average.xl"), "average"),
        (model_file("cells/mlstm.xl"), "mlstm"),
        (model_file("reference/slstm.xl"), "slstm"),
        (model_file("models/lm.xl"), "lm_loss"),
    ] {
        for stage in ["parsed", "canonical", "grad"] {
            let printed = run_in(here.path(), &["print", &file, "--fn", function, "--stage", stage]).ok().out;
            std::fs::write(here.path().join("printed.xl"), &printed).expect("it is written");
            run_in(here.path(), &["check", "printed.xl"]).ok();
            assert_eq!(run_in(here.path(), &["print", "printed.xl"]).ok().out, printed, "{file} {stage}");
            // Work goes on from there to the same kernels.
            if stage == "canonical" {
                let kernels = |file: &str| {
                    run_in(here.path(), &["print", file, "--fn", function, "--stage", "kernel"]).ok().out
                };
                // Values without a name in the source have got one by being printed; all else is the same.
                let shape = |text: &str| text.lines().map(|l| l.find(|c| c != ' ')).collect::<Vec<_>>();
                assert_eq!(shape(&kernels("printed.xl")), shape(&kernels(&file)), "{file}");
            }
        }
    }
    run_in(here.path(), &["print", "printed.xl", "--bind", "d=4"]).refuses(&["specialised"]);
    run_in(here.path(), &["print", "printed.xl", "--fn", "lm_los"]).refuses(&["did you mean `lm_loss`?"]);
}

#[test]
fn every_function_of_a_file_is_printed_once() {
    let here = folder();
    let printed = run_in(here.path(), &["print", &model_file("models/lm.xl")]).ok().out;
    for header in ["model lm(", "model lm_loss(", "block mlstm_block("] {
        assert_eq!(printed.matches(header).count(), 1, "{header}\n{printed}");
    }
}

#[test]
fn every_stage_shows_something_of_its_own() {
    let here = folder();
    let file = fixture("average.xl");
    for (stage, part) in [
        ("parsed", "fn average("),
        ("canonical", "fn average("),
        ("grad", "cot.y"),
        ("kernel", "kernel 0"),
        ("clif", "%buffers: i64"),
        ("asm", "mov"),
    ] {
        let run = run_in(here.path(), &["print", &file, "--fn", "average", "--stage", stage]).ok();
        assert!(run.out.contains(part), "{part} is not in\n{}", run.out);
    }
    let fixed = ["print", &file, "--fn", "average", "--stage", "kernel", "--bind", "d=64"];
    assert!(run_in(here.path(), &fixed).ok().out.contains("f32[64]"));
    run_in(here.path(), &["print", &file, "--bind", "d"]).refuses(&["expected NAME=VALUE"]);
    run_in(here.path(), &["print", &file, "--fn", "weighted", "--bind", "facto=2"])
        .refuses(&["did you mean `factor`?"]);
    run_in(here.path(), &["print", &file, "--fn", "average", "--bind", "d=1.5"])
        .refuses(&["`d`", "whole number"]);
    run_in(here.path(), &["print", &file, "--fn", "average", "--bind", "d=-1"])
        .refuses(&["`d`", "whole number"]);
}

#[test]
fn the_report_says_which_rules_fired() {
    let here = folder();
    let file = model_file("cells/mlstm.xl");
    let run = run_in(here.path(), &["print", &file, "--stage", "canonical", "--report"]).ok();
    assert!(run.err.contains("canonical form:\nmlstm"), "{}", run.err);
    assert!(run.err.contains("nodes, cost") && run.err.contains("  sum-product\n"), "{}", run.err);
    let silent = run_in(here.path(), &["print", &file, "--stage", "canonical"]).ok();
    assert_eq!((silent.out, silent.err.as_str()), (run.out, ""));
    let parsed = run_in(here.path(), &["print", &file, "--report"]).ok();
    assert_eq!(parsed.err, "", "nothing has been rewritten at this stage");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let here = folder();
    let mut command = program(here.path());
    command.args(["print", &model_file("models/lm.xl"), "--stage", "kernel", "--grad"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
