//! `generate`: prompts side by side, stop strings, states in files, tokenizers.

use std::path::Path;

use crate::external::golden;
use crate::support::{Run, folder, run_in};
use crate::training::{prepare, train};

fn trained(here: &Path, more: &[&str]) {
    prepare(here);
    train(here, &[&["--set", "steps=20", "--set", "sample.length=0", "--out", "out"], more].concat()).ok();
}

fn generate(here: &Path, more: &[&str]) -> Run {
    run_in(here, &[&["generate", "--checkpoint", "out/checkpoint"], more].concat())
}

#[test]
fn prompts_of_unequal_length_are_continued_side_by_side() {
    let here = folder();
    trained(here.path(), &[]);
    let greedy = ["--temperature", "0", "--max-tokens", "12", "--json"];
    let prompts = ["a", "the quick brown", "fox "];
    let arguments: Vec<&str> = prompts.iter().flat_map(|prompt| ["--prompt", prompt]).chain(greedy).collect();
    let together = generate(here.path(), &arguments).ok().json();
    for (row, prompt) in prompts.iter().enumerate() {
        let alone = generate(here.path(), &[&["--prompt", prompt][..], &greedy].concat()).ok().json();
        let (found, wanted) = (&together["results"][row], &alone["results"][0]);
        assert_eq!((&found["text"], &found["tokens"]), (&wanted["text"], &wanted["tokens"]), "{prompt}");
        assert_eq!(found["finish"], "length");
        assert_eq!(found["tokens"].as_array().map(Vec::len), Some(12));
    }
    // Without --json, a line each.
    let lines =
        generate(here.path(), &["--prompt", "a", "--prompt", "b", "--max-tokens", "3", "--seed", "4"]).ok();
    assert!(lines.out.contains("[1] a") && lines.out.contains("\n[2] b"), "{}", lines.out);
}

#[test]
fn text_ends_at_stop_strings_and_repeats_less_if_asked() {
    let here = folder();
    trained(here.path(), &[]);
    let greedy = ["--prompt", "the ", "--temperature", "0", "--max-tokens", "40", "--json"];
    let text = |more: &[&str]| {
        let json = generate(here.path(), &[&greedy[..], more].concat()).ok().json();
        let result = &json["results"][0];
        let text = result["text"].as_str().expect("a text").to_string();
        (text, result["finish"].as_str().expect("a word").to_string())
    };
    let (whole, finish) = text(&[]);
    assert_eq!(finish, "length");
    let at = whole.char_indices().nth(7).expect("it is longer").0;
    let stop: String = whole[at..].chars().take(3).collect();
    let wanted = whole.split(&stop).next().expect("a part").to_string();
    assert_eq!(text(&["--stop", &stop]), (wanted, "stop".to_string()));
    let (penalised, _) = text(&["--repetition-penalty", "1.5"]);
    let kinds = |text: &str| text.chars().collect::<std::collections::BTreeSet<_>>().len();
    assert!(penalised != whole && kinds(&penalised) >= kinds(&whole), "{whole:?} {penalised:?}");
}

#[test]
fn a_text_goes_on_from_its_state_in_the_same_bits() {
    let here = folder();
    trained(here.path(), &[]);
    let common = ["--seed", "3", "--repetition-penalty", "1.1", "--json"];
    let tokens = |arguments: &[&str]| {
        let json = generate(here.path(), &[arguments, &common].concat()).ok().json();
        (json["results"][0]["tokens"].as_array().expect("tokens").clone(), json["state_bytes"].as_u64())
    };
    let (whole, none) = tokens(&["--prompt", "once upon", "--max-tokens", "30"]);
    assert_eq!(none, None);
    let (mut parts, mut sizes) = (Vec::new(), Vec::new());
    for (part, length) in ["7", "1", "22"].into_iter().enumerate() {
        let from: &[&str] = if part == 0 { &["--prompt", "once upon"] } else { &["--load-state", "talk"] };
        let (tokens, size) = tokens(&[from, &["--max-tokens", length, "--save-state", "talk"]].concat());
        parts.extend(tokens);
        sizes.push(size.expect("its size"));
    }
    assert_eq!(parts, whole);
    assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");

    // It goes on with another prompt, and stays as it is if nothing is written.
    let (_, size) = tokens(&[
        "--load-state",
        "talk",
        "--prompt",
        " and then",
        "--max-tokens",
        "2",
        "--save-state",
        "other",
    ]);
    assert_eq!(size, Some(sizes[0]));

    // Another model, and files that are no states.
    train(here.path(), &["--set", "steps=21", "--set", "sample.length=0", "--out", "second"]).ok();
    let load = |checkpoint: &str, file: &str| {
        run_in(
            here.path(),
            &["generate", "--checkpoint", checkpoint, "--load-state", file, "--max-tokens", "1"],
        )
    };
    load("second/checkpoint", "talk").refuses(&["talk", "not one of this model"]);
    load("out/checkpoint", "out/checkpoint/model.safetensors").refuses(&["no state of a text"]);
    load("out/checkpoint", "nothing").refuses(&["cannot read the state nothing"]);
    let bytes = std::fs::read(here.path().join("talk")).expect("it is there");
    std::fs::write(here.path().join("short"), &bytes[..bytes.len() - 4]).expect("it is written");
    load("out/checkpoint", "short").refuses(&["short"]);
    generate(here.path(), &["--prompt", "a", "--prompt", "b", "--save-state", "x"]).refuses(&["one prompt"]);
    generate(here.path(), &["--prompt", "a", "--max-tokens", "1", "--save-state", "no/where"])
        .fails(&["no/where"]);
}

#[test]
fn from_text_to_text_with_the_tokenizer_of_the_folder() {
    let here = folder();
    let checkpoint = golden("e2e_bpe");
    let recorded = std::fs::read(Path::new(&checkpoint).join("tokenizer_golden.json")).expect("it is there");
    let recorded: serde_json::Value = serde_json::from_slice(&recorded).expect("it is JSON");
    let prompt = recorded["prompt"].as_str().expect("a prompt");
    let length = recorded["generated_ids"].as_array().expect("tokens").len().to_string();
    let arguments = ["--checkpoint", &checkpoint, "--prompt", prompt];
    let greedy = ["generate", "--temperature", "0", "--max-tokens", &length, "--ignore-end"];
    let run = run_in(here.path(), &[&greedy[..], &arguments].concat()).ok();
    assert_eq!(run.out, format!("{}\n", recorded["full_text"].as_str().expect("a text")));
    run_in(here.path(), &[&["logits", "--out", "l.safetensors"], &arguments[..]].concat()).ok();
    // The loss of a text.
    std::fs::write(here.path().join("code.py"), "def f(x):\n    return x\n".repeat(40))
        .expect("it is written");
    let eval = ["eval", "--checkpoint", &checkpoint, "--json", "--context", "32"];
    let loss = run_in(here.path(), &[&eval[..], &["--text", "code.py"]].concat()).ok().json();
    assert!(loss["bits_per_byte"].as_f64().is_some_and(|bits| bits > 0.1 && bits < 4.0), "{loss}");
    run_in(here.path(), &eval).refuses(&["--text"]);
}

#[test]
fn a_model_is_trained_on_the_tokens_of_a_tokenizer() {
    let here = folder();
    let tokenizer = format!("{}/tokenizer.json", golden("e2e_bpe"));
    std::fs::copy(&tokenizer, here.path().join("mine.json")).expect("it is copied");
    prepare(here.path());
    let long = "To be, or not to be: that is the question. ".repeat(400);
    std::fs::write(here.path().join("text.txt"), long).expect("it is written");
    train(here.path(), &["--tokenizer", "mine.json", "--set", "steps=4", "--out", "out"]).ok();
    // The checkpoint has all that it needs.
    std::fs::remove_file(here.path().join("mine.json")).expect("it is removed");
    run_in(here.path(), &["train", "--resume", "--out", "out", "--set", "steps=6"]).ok();
    let run = generate(here.path(), &["--prompt", "To be", "--max-tokens", "5", "--json"]).ok().json();
    assert_eq!(run["results"][0]["tokens"].as_array().map(Vec::len), Some(5));
    run_in(here.path(), &["eval", "--checkpoint", "out/checkpoint"]).ok();
    let info = run_in(here.path(), &["info", "out/checkpoint", "--json"]).ok().json();
    assert_eq!(info["vocabulary"], 384);

    train(here.path(), &["--tokenizer", &tokenizer, "--set", "model.vocab=100", "--out", "two"]).refuses(&[
        "384 tokens",
        "100",
        "model.vocab",
    ]);
    std::fs::write(here.path().join("bad.json"), "{}").expect("it is written");
    train(here.path(), &["--tokenizer", "bad.json", "--out", "two"]).refuses(&["bad.json"]);
    std::fs::write(here.path().join("out/checkpoint/tokenizer.json"), "{}").expect("it is written");
    generate(here.path(), &["--prompt", "a"]).refuses(&["tokenizer.json"]);
}
