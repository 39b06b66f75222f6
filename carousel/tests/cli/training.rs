//! `train`, `eval` and `generate` on a very small model, and what `train` refuses.

use std::fmt::Write as _;
use std::path::Path;

use crate::support::{Run, folder, run_in};

/// A model and a run of a second or less.
pub(crate) const SMALL: &str = "batch = 2\ncontext = 16\nlog_every = 2\neval_every = 3\neval_windows = 4\nheld_back = 0.2\n\
                                [sample]\nlength = 12\n\
                                [model]\nwidth = 16\nheads = 2\nhead_dim = 8\nlayers = 2\nffn = 16\n";

/// Some text, and the configuration for it.
pub(crate) fn prepare(here: &Path) {
    let mut text = String::new();
    for line in 0..120 {
        let _ = writeln!(text, "line {line}: to be, or not to be, that is question {}", line * line % 97);
    }
    std::fs::write(here.join("text.txt"), text).expect("it is written");
    std::fs::write(here.join("small.toml"), SMALL).expect("it is written");
}

/// Trains in this folder with further arguments.
pub(crate) fn train(here: &Path, arguments: &[&str]) -> Run {
    let mut all = vec!["train", "small.toml", "--text", "text.txt"];
    all.extend(arguments);
    run_in(here, &all)
}

/// The lines of metrics.
pub(crate) fn metrics(out: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).expect("there are metrics");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[test]
fn a_run_writes_checkpoint_metrics_and_a_sample() {
    let here = folder();
    prepare(here.path());
    let run = train(here.path(), &["--set", "steps=7", "--out", "out"]).ok();
    assert!(run.out.starts_with("HAMLET:\n"), "the sample begins with its prompt: {}", run.out);
    for part in ["step 7/7", "nats", "bits/byte", "tokens/s", "left", "held-back loss", "out/checkpoint"] {
        assert!(run.err.contains(part), "{part} is not in\n{}", run.err);
    }
    let out = here.path().join("out");
    for file in ["model.safetensors", "optimizer.safetensors", "config.json"] {
        assert!(out.join("checkpoint").join(file).is_file(), "{file}");
    }
    let lines = metrics(&out);
    let of = |kind: &str| -> Vec<u64> {
        let lines = lines.iter().filter(|line| line["kind"] == kind);
        lines.map(|line| line["step"].as_u64().expect("a step")).collect()
    };
    assert_eq!((of("training"), of("validation")), (vec![2, 4, 6, 7], vec![3, 6, 7]));
    for line in &lines {
        assert!(line["loss"].as_f64().is_some_and(|loss| loss > 0.0 && loss < 8.0), "{line}");
    }

    // The loss that the checkpoint has on the held-back text is the one in the metrics.
    let recorded = &lines[lines.len() - 1];
    let evaluate = |arguments: &[&str]| {
        run_in(here.path(), &[&["eval", "--checkpoint", "out/checkpoint"], arguments].concat())
    };
    let found = evaluate(&["--json"]).ok().json();
    for key in ["loss", "bits_per_byte", "tokens"] {
        assert_eq!(found[key], recorded[key], "{key}");
    }
    let threaded = evaluate(&["--json", "--threads", "1"]).ok().json();
    assert_eq!(threaded, found, "results do not depend on the number of threads");
    let reference = evaluate(&["--json", "--target", "reference"]).ok().json();
    let difference =
        reference["loss"].as_f64().unwrap_or(f64::NAN) - found["loss"].as_f64().unwrap_or(f64::NAN);
    assert!(difference.abs() < 1e-5, "{reference} {found}");
    assert!(evaluate(&["--text", "text.txt"]).ok().out.contains("bits a byte"));
    evaluate(&["--text", "none.txt"]).refuses(&["none.txt"]);
}

#[test]
fn documents_do_not_see_each_other() {
    let here = folder();
    prepare(here.path());
    let shared = ["--set", "steps=3", "--set", "accumulate=2", "--set", "sample.length=0", "--out"];
    train(here.path(), &[&shared[..], &["apart", "--set", r#"document_end="\n""#]].concat()).ok();
    train(here.path(), &[&shared[..], &["joined"]].concat()).ok();
    let evaluate = |of: &str, arguments: &[&str]| {
        let folder = format!("{of}/checkpoint");
        run_in(here.path(), &[&["eval", "--json", "--checkpoint", &folder], arguments].concat()).ok().json()
    };
    let found = evaluate("apart", &[]);
    let recorded = metrics(&here.path().join("apart"));
    let recorded = &recorded[recorded.len() - 1];
    for key in ["loss", "bits_per_byte", "tokens"] {
        assert_eq!(found[key], recorded[key], "{key}");
    }
    let reference = evaluate("apart", &["--target", "reference"]);
    let near = |a: &serde_json::Value, b: &serde_json::Value| {
        let [a, b] = [a, b].map(|result| result["loss"].as_f64().unwrap_or(f64::NAN));
        (a - b).abs() < 1e-5
    };
    assert!(near(&reference, &found), "{reference} {found}");
    // No line predicts how the next one begins, so that fewer tokens are predicted; and parameters are others.
    let joined = evaluate("joined", &[]);
    assert!(found["tokens"].as_u64() < joined["tokens"].as_u64(), "{found} {joined}");
    assert_ne!(found["loss"], joined["loss"]);
    // The flag says the same of a checkpoint that was trained on one document.
    assert_eq!(evaluate("joined", &["--document-end", "\n"])["tokens"], found["tokens"]);
    // One window with all of them, and pieces with the state carried on.
    let all = joined["tokens"].to_string();
    let whole = evaluate("apart", &["--context", &all]);
    assert_eq!(whole["tokens"], found["tokens"]);
    for context in ["5", &all] {
        let carried = evaluate("apart", &["--context", context, "--carry"]);
        assert!(near(&carried, &whole) && carried["tokens"] == whole["tokens"], "{carried} {whole}");
    }
    run_in(here.path(), &["eval", "--checkpoint", "apart/checkpoint", "--document-end", ""])
        .refuses(&["--document-end is empty"]);
    train(here.path(), &["--set", "document_end=\"\""]).refuses(&["document_end"]);
}

#[test]
fn windows_one_behind_the_other_need_a_text_that_is_long_enough() {
    let here = folder();
    prepare(here.path());
    let few = ["--set", "carry=true", "--set", "steps=1", "--set", "sample.length=0"];
    train(here.path(), &[&few[..], &["--set", "batch=4000"]].concat()).refuses(&["too short for `carry`"]);
    train(here.path(), &few).ok();
}

#[test]
fn text_is_continued_the_same_way_each_time() {
    let here = folder();
    prepare(here.path());
    train(here.path(), &["--set", "steps=2", "--out", "out", "--set", "sample.length=0"]).ok();
    let generate = |arguments: &[&str]| {
        let fixed = ["generate", "--checkpoint", "out/checkpoint", "--max-tokens", "20", "--prompt"];
        run_in(here.path(), &[&fixed[..], arguments].concat())
    };
    let first = generate(&["to be"]).ok().out;
    assert!(first.starts_with("to be") && first.len() > "to be".len() + 15, "{first}");
    assert_eq!(generate(&["to be"]).ok().out, first);
    assert_eq!(generate(&["to be", "--threads", "1"]).ok().out, first);
    assert_ne!(generate(&["to be", "--seed", "1"]).ok().out, first);
    let greedy = generate(&["to be", "--temperature", "0"]).ok().out;
    assert_eq!(generate(&["to be", "--temperature", "0", "--seed", "5"]).ok().out, greedy);
    assert_eq!(generate(&["to be", "--top-k", "1", "--seed", "5"]).ok().out, greedy);
    assert_eq!(generate(&["to be", "--top-p", "1e-9", "--seed", "5"]).ok().out, greedy);
    // A prompt of characters of several bytes.
    assert!(generate(&["Zürich €"]).ok().out.starts_with("Zürich €"));
    generate(&[""]).refuses(&["prompt is empty"]);
    run_in(here.path(), &["generate", "--checkpoint", "none", "--prompt", "a"])
        .refuses(&["no checkpoint in none"]);
    run_in(here.path(), &["generate", "--checkpoint", ".", "--prompt", "a"]).refuses(&["config.json"]);
}

#[test]
fn configurations_that_do_not_fit_are_refused_with_their_place() {
    let here = folder();
    prepare(here.path());
    let config = |text: &str, parts: &[&str]| {
        std::fs::write(here.path().join("bad.toml"), text).expect("it is written");
        run_in(here.path(), &["train", "bad.toml", "--out", "out"]).refuses(parts);
    };
    config("steps = = 3\n", &["bad.toml:1:9"]);
    config("batch = 2\nstesp = 3\n", &["bad.toml:2:1", "stesp", "steps"]);
    config("steps = \"many\"\n", &["bad.toml:1:9"]);
    config("batch = 0\nheld_back = 0.9\n", &["`batch` is 0", "`held_back` is 0.9"]);
    config("[model]\nwidth = 0\n", &["layer.0.mlstm", "no elements", "`d` has the size 0"]);
    config("[model]\nwidth = 1000000000\n", &["more than 68719476736 parameters"]);
    config("[model]\nwidth = 4611686018427387904\n", &["more than 68719476736 parameters"]);
    config("[model]\nlayers = 2.5\n", &["layers"]);
    config("[model]\nlayer = 2\n", &["layer", "did you mean `layers`?"]);
    config("[model]\nwidth = \"wide\"\n", &["width"]);
    let unsized_axis = "model lm(tokens: i32[b, s]) -> (logits: [b, s, vocab]) {\n  param w: [vocab] ~ zeros\n  \
                        let logits = w + cast[f32](tokens)\n}\n\
                        model lm_loss(tokens: i32[b, s], labels: i32[b, s]) -> (loss: []) {\n  \
                        let loss = mean[b, s](sum[vocab](lm(tokens)) + cast[f32](labels))\n}\n";
    std::fs::write(here.path().join("unsized.xl"), unsized_axis).expect("it is written");
    config("model_file = \"unsized.xl\"\n", &["`w` has the axis `vocab`", "<vocab: int = 64>"]);
    run_in(here.path(), &["train", "none.toml"]).refuses(&["none.toml"]);
    run_in(here.path(), &["train", "."]).refuses(&["configuration ."]);
    for (set, part) in [("steps", "key=value"), ("steps=-1", "--set steps=-1"), ("modle.x=1", "modle")] {
        train(here.path(), &["--out", "out", "--set", set]).refuses(&[part]);
    }
    assert!(!here.path().join("out").exists(), "a run that does not start leaves nothing");
}

#[test]
fn texts_that_cannot_be_trained_on_are_refused() {
    let here = folder();
    prepare(here.path());
    let text = |name: &str, bytes: &[u8], part: &str| {
        std::fs::write(here.path().join(name), bytes).expect("it is written");
        run_in(here.path(), &["train", "small.toml", "--text", name, "--out", "out"]).refuses(&[name, part]);
    };
    text("short.txt", b"too short", "too short");
    text("empty.txt", b"", "empty");
    run_in(here.path(), &["train", "small.toml", "--text", "none.txt"])
        .refuses(&["none.txt", "No such file"]);
    run_in(here.path(), &["train", "small.toml", "--text", "/dev/zero"]).refuses(&["is a device"]);
}

#[test]
fn cells_and_models_of_ones_own() {
    let here = folder();
    prepare(here.path());
    let cell = |text: &str| {
        std::fs::write(here.path().join("cell.xl"), text).expect("it is written");
        train(here.path(), &["--set", "steps=1", "--cell", "cell.xl", "--out", "out"])
    };
    let header =
        "fn mlstm<eps: float = 1e-6>(q: [s, dk], k: [s, dk], v: [s, dv], i: [s], f: [s]) -> (h: [s, dv])";
    cell(&format!("{header} {{\n  let h = v + sigmod(i)\n}}\n"))
        .refuses(&["`sigmod`", "did you mean `sigmoid`?"]);
    cell(&format!("{header} {{\n  let h = v +\n}}\n")).refuses(&["expected an expression"]);
    cell("fn gru(x: [s]) -> (h: [s]) {\n  let h = x\n}\n").refuses(&["none of the cells", "`mlstm`"]);
    cell("fn lstm(x: [s]) -> (h: [s]) {\n  let h = x\n}\n").refuses(&["cell.xl", "it uses `"]);
    train(here.path(), &["--cell", "none.xl"]).refuses(&["none.xl", "No such file"]);
    assert!(!here.path().join("out/metrics.jsonl").exists());

    // Linear attention, which has no gates, in the place of the mLSTM.
    let linear = "{\n  scan s {\n    state C: [dk, dv] = 0\n    C' = C + sigmoid(i + f) * k * v\n    \
                  yield h = sum[dk](q * C')\n  }\n}\n";
    cell(&format!("{header} {linear}")).ok();
    let config =
        std::fs::read_to_string(here.path().join("out/checkpoint/config.json")).expect("it is there");
    assert!(config.contains("sigmoid(i + f) * k * v"), "the checkpoint keeps the user's cell");
    run_in(here.path(), &["eval", "--checkpoint", "out/checkpoint"]).ok();

    let model = |text: &str| {
        std::fs::write(here.path().join("model.xl"), text).expect("it is written");
        run_in(
            here.path(),
            &["train", "--model", "model.xl", "--text", "text.txt", "--out", "own", "--set", "steps=1"],
        )
    };
    model("fn f(x: [s]) -> (y: [s]) {\n  let y = x\n}\n").refuses(&["lm"]);
    model("model lm(tokens: i32[b, s] -> (y: [b]) {\n").refuses(&["model.xl:1:"]);
}

#[test]
fn folders_that_cannot_be_written_to() {
    let here = folder();
    prepare(here.path());
    let file = here.path().join("file");
    std::fs::write(&file, "precious").expect("it is written");
    train(here.path(), &["--set", "steps=1", "--out", "file"]).fails(&["file"]);
    train(here.path(), &["--set", "steps=1", "--out", "file/out"]).fails(&["file/out"]);
    // A folder in the checkpoint's place that is none of ours.
    std::fs::create_dir_all(here.path().join("other/checkpoint")).expect("it is made");
    std::fs::write(here.path().join("other/checkpoint/notes.txt"), "precious").expect("it is written");
    train(here.path(), &["--set", "steps=1", "--out", "other"])
        .refuses(&["is not a checkpoint", "move it away"]);
    assert_eq!(std::fs::read_to_string(file).expect("it is there"), "precious");
    assert!(here.path().join("other/checkpoint/notes.txt").is_file());
}

#[test]
fn training_that_diverges_is_a_failure() {
    let here = folder();
    prepare(here.path());
    let cell = "fn mlstm<eps: float = 1e-6>(q: [s, dk], k: [s, dk], v: [s, dv], i: [s], f: [s]) -> (h: [s, dv]) {\n  \
                let h = v / (0 * i)\n}\n";
    std::fs::write(here.path().join("cell.xl"), cell).expect("it is written");
    let run = train(here.path(), &["--set", "steps=3", "--cell", "cell.xl", "--out", "out"]);
    run.fails(&["step 0", "diverged", "forward pass, `", "cells/mlstm.xl:2:", "learning_rate.max"]);
    // The checkpoint from before is there to go on from.
    let config =
        std::fs::read_to_string(here.path().join("out/checkpoint/config.json")).expect("it is there");
    assert!(config.contains("\"step\": 0"), "{config}");
}
