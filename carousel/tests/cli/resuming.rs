//! Runs that are cut short and resumed end in the same bits as runs that are not, and damaged checkpoints are refused.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{finished, folder, program, run_in};
use crate::training::{metrics, prepare, train};

/// What must be the same: everything but speed.
fn state(out: &Path) -> (Vec<u8>, Vec<u8>, Vec<serde_json::Value>, Vec<u8>) {
    let read =
        |name: &str| std::fs::read(out.join("checkpoint").join(name)).expect("the checkpoint is whole");
    let mut lines = metrics(out);
    for line in &mut lines {
        line.as_object_mut().expect("a line is an object").remove("tokens_per_second");
    }
    let best = std::fs::read(out.join("best/model.safetensors")).expect("there is a best checkpoint");
    (read("model.safetensors"), read("optimizer.safetensors"), lines, best)
}

/// Steps that the checkpoint has seen, if there is one.
fn steps(out: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(out.join("checkpoint/config.json")).ok()?;
    let config: serde_json::Value = serde_json::from_str(&text).ok()?;
    config["step"].as_u64()
}

#[track_caller]
fn assert_same(found: &Path, wanted: &Path) {
    let (found, wanted) = (state(found), state(wanted));
    assert_eq!(found.2, wanted.2);
    assert!(found.0 == wanted.0, "the parameters differ");
    assert!(found.1 == wanted.1, "the moments differ");
    assert!(found.3 == wanted.3, "the best parameters differ");
}

#[test]
fn two_halves_are_one_run() {
    halves(&[]);
}

/// What is remembered at the half is part of the checkpoint.
#[test]
fn two_halves_of_windows_one_behind_the_other_are_one_run() {
    halves(&["--set", "carry=true", "--set", "accumulate=2", "--set", r#"document_end="\n""#]);
}

fn halves(settings: &[&str]) {
    let here = folder();
    prepare(here.path());
    train(here.path(), &[settings, &["--set", "steps=6", "--out", "whole"]].concat()).ok();
    // The schedule of six steps, of which three are made: the last one does not fall on a line of metrics.
    let half =
        ["--set", "learning_rate.decay_until=6", "--set", "learning_rate.warmup=0", "--set", "steps=3"];
    train(here.path(), &[settings, &half[..], &["--out", "half"]].concat()).ok();
    assert_eq!(steps(&here.path().join("half")), Some(3));
    run_in(here.path(), &["train", "--resume", "--out", "half", "--set", "steps=6"]).ok();
    let (found, wanted) = (state(&here.path().join("half")), state(&here.path().join("whole")));
    assert!(found.0 == wanted.0 && found.1 == wanted.1, "parameters or moments differ");

    // A run that is over has nothing left to do.
    let before = state(&here.path().join("half"));
    run_in(here.path(), &["train", "--resume", "--out", "half"]).ok();
    assert!(state(&here.path().join("half")) == before);
}

#[test]
fn runs_that_are_killed_lose_nothing() {
    let here = folder();
    prepare(here.path());
    let options =
        ["--set", "steps=300", "--set", "save_every=7", "--set", "log_every=5", "--set", "eval_every=9"];
    let started = Instant::now();
    train(here.path(), &[&options[..], &["--out", "whole"]].concat()).ok();
    let whole = started.elapsed();

    let out = here.path().join("killed");
    let start = || {
        let mut command = program(here.path());
        if steps(&out).is_none() {
            command.args(["train", "small.toml", "--text", "text.txt", "--out", "killed"]).args(options);
        } else {
            command.args(["train", "--resume", "--out", "killed"]);
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    // Early, while it is being compiled; then when it has got some steps further, some of them at a save.
    let mut child = start();
    std::thread::sleep(whole / 20);
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let mut in_the_middle = 0;
    for delay in [0, 1, 3, 0, 2, 7] {
        let from = steps(&out).unwrap_or_default();
        let mut child = start();
        while child.try_wait().expect("it can be asked").is_none()
            && steps(&out).unwrap_or_default() < from + 14
        {
            std::thread::sleep(Duration::from_micros(300));
        }
        std::thread::sleep(Duration::from_millis(delay));
        // It may have come to its end meanwhile, and an end is no failure.
        let _ = child.kill();
        let is_killed = child.wait().expect("it ends").code().is_none();
        in_the_middle += u32::from(is_killed && steps(&out).is_some_and(|step| (1..300).contains(&step)));
    }
    assert!(in_the_middle >= 2, "only {in_the_middle} runs were killed on their way");
    finished(start().wait_with_output().expect("it ends")).ok();
    assert_eq!(steps(&out), Some(300));
    assert_same(&out, &here.path().join("whole"));
}

#[test]
fn only_what_belongs_to_a_run_resumes_it() {
    let here = folder();
    prepare(here.path());
    run_in(here.path(), &["train", "--resume", "--out", "out"]).refuses(&["no checkpoint in out"]);
    train(here.path(), &["--set", "steps=2", "--out", "out"]).ok();
    std::fs::write(here.path().join("other.txt"), "another text altogether. ".repeat(200))
        .expect("it is written");
    let resume = |arguments: &[&str]| {
        run_in(here.path(), &[&["train", "--resume", "--out", "out"], arguments].concat())
    };
    resume(&["--text", "other.txt"]).refuses(&["was trained on `text.txt`", "`other.txt`"]);
    resume(&["--set", "steps=3", "--set", "model.width=32"])
        .refuses(&["not those of the model", "has shape"]);
    // The run can have moved.
    std::fs::rename(here.path().join("out"), here.path().join("moved")).expect("it moves");
    run_in(here.path(), &["train", "--resume", "--out", "moved", "--set", "steps=3"]).ok();
    assert_eq!(steps(&here.path().join("moved")), Some(3));
    assert!(!here.path().join("out").exists());
}

#[test]
fn damaged_checkpoints_are_refused() {
    let here = folder();
    prepare(here.path());
    train(here.path(), &["--set", "steps=1", "--out", "out", "--set", "sample.length=0"]).ok();
    let checkpoint = here.path().join("out/checkpoint");
    let commands: [&[&str]; 3] = [
        &["eval", "--checkpoint", "out/checkpoint"],
        &["generate", "--checkpoint", "out/checkpoint", "--prompt", "a", "--max-tokens", "1"],
        &["train", "--resume", "--out", "out", "--set", "steps=2"],
    ];
    let damage = |file: &str, change: &dyn Fn(&mut Vec<u8>), commands: &[&[&str]], part: &str| {
        let path = checkpoint.join(file);
        let whole = std::fs::read(&path).expect("it is there");
        let mut bytes = whole.clone();
        change(&mut bytes);
        std::fs::write(&path, bytes).expect("it is written");
        for arguments in commands {
            run_in(here.path(), arguments).refuses(&[file, part]);
        }
        std::fs::write(&path, whole).expect("it is written");
    };
    damage("model.safetensors", &|b| b.truncate(b.len() - 5), &commands, "damaged");
    damage("model.safetensors", &|b| b.truncate(4), &commands, "4 bytes");
    damage("model.safetensors", &|b| b.clear(), &commands, "model.safetensors");
    damage("model.safetensors", &|b| b[..8].fill(0xff), &commands, "header");
    damage("model.safetensors", &|b| b[8..40].fill(b'?'), &commands, "header");
    damage("config.json", &|b| b.truncate(b.len() / 2), &commands, "EOF");
    damage("config.json", &|b| b.clear(), &commands, "EOF");
    damage("config.json", &|b| b.fill(0xff), &commands, "damaged");
    damage("config.json", &|b| *b = b"{\"architectures\": []}".to_vec(), &commands, "carousel-checkpoint");
    damage("optimizer.safetensors", &|b| b.truncate(b.len() - 1), &commands[2..], "damaged");
    let text = |find: &'static str, replace: &'static str| {
        move |bytes: &mut Vec<u8>| {
            let text = String::from_utf8(std::mem::take(bytes)).expect("it is text");
            assert!(text.contains(find), "{find}");
            *bytes = text.replace(find, replace).into_bytes();
        }
    };
    damage("config.json", &text("\"version\": 1", "\"version\": 99"), &commands, "version 99");
    damage("config.json", &text("\"context\": 16", "\"context\": 0"), &commands, "`context` is 0");
    // It is whole again.
    for arguments in commands {
        run_in(here.path(), arguments).ok();
    }
    // Notes among the metrics are not thrown away.
    std::fs::write(here.path().join("out/metrics.jsonl"), "{\"step\":1}\nnotes\n").expect("it is written");
    run_in(here.path(), &["train", "--resume", "--out", "out", "--set", "steps=3"])
        .refuses(&["metrics.jsonl:2"]);
}
