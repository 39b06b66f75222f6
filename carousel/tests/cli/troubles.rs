//! What goes wrong while a model is trained: signals, full disks, folders that cannot be written, texts that vanish, numbers that
//! are none. Nothing is lost, and what is said tells what to do.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Run, finished, folder, program, run_in};
use crate::training::{metrics, prepare, train};

const QUIET: [&str; 2] = ["--set", "sample.length=0"];

/// The step of the checkpoint in a folder.
fn step(checkpoint: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(checkpoint.join("config.json")).ok()?;
    serde_json::from_str::<serde_json::Value>(&text).ok()?["step"].as_u64()
}

fn parameters(out: &Path) -> Vec<u8> {
    std::fs::read(out.join("checkpoint/model.safetensors")).expect("there is a checkpoint")
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let here = folder();
    prepare(here.path());
    let options = ["--set", "steps=400", "--set", "save_every=0"];
    train(here.path(), &[&QUIET[..], &options, &["--out", "whole"]].concat()).ok();
    let mut command = program(here.path());
    command.args(["train", "small.toml", "--text", "text.txt", "--out", "out"]).args(QUIET).args(options);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let out = here.path().join("out");
    let begun = Instant::now();
    while std::fs::read_to_string(out.join("metrics.jsonl")).map_or(0, |text| text.lines().count()) < 20 {
        assert!(begun.elapsed() < Duration::from_secs(300), "it does not train");
        std::thread::sleep(Duration::from_millis(1));
    }
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
    let run = finished(child.wait_with_output().expect("it ends"));
    assert_eq!(run.status, Some(130), "{}", run.err);
    assert!(run.err.contains("carousel train --resume --out out"), "{}", run.err);
    let at = step(&out.join("checkpoint")).expect("it has saved");
    assert!(at > 0 && at < 400, "{at}");
    run_in(here.path(), &["train", "--resume", "--out", "out"]).ok();
    assert!(parameters(&out) == parameters(&here.path().join("whole")), "the parameters differ");
}

#[test]
fn a_full_disk_loses_nothing() {
    let here = folder();
    prepare(here.path());
    train(here.path(), &[&QUIET[..], &["--set", "steps=4", "--out", "out"]].concat()).ok();
    let before = parameters(&here.path().join("out"));
    // No file may grow beyond two blocks of 512 bytes, and the signal that says so is ignored: a write fails.
    let mut command = Command::new("sh");
    command.current_dir(here.path()).env("RUST_BACKTRACE", "0").args([
        "-c",
        "trap '' XFSZ; ulimit -f 2; exec \"$@\"",
        "sh",
    ]);
    command.arg(env!("CARGO_BIN_EXE_carousel"));
    command.args(["train", "--resume", "--out", "out", "--set", "steps=8"]);
    finished(command.output().expect("it runs")).fails(&["cannot write", "out/"]);
    assert!(parameters(&here.path().join("out")) == before, "the old checkpoint is still there");
    assert!(!here.path().join("out/checkpoint.new").exists(), "half a checkpoint fills the disk");
    run_in(here.path(), &["train", "--resume", "--out", "out", "--set", "steps=8"]).ok();
    assert_eq!(step(&here.path().join("out/checkpoint")), Some(8));
}

#[test]
fn folders_that_cannot_be_written_and_texts_that_vanish_are_named() {
    let here = folder();
    prepare(here.path());
    // A folder in which nobody can make anything, the administrator included.
    train(here.path(), &["--set", "steps=2", "--out", "/proc/carousel"]).fails(&["/proc/carousel"]);
    std::fs::write(here.path().join("file"), "").expect("it is written");
    train(here.path(), &["--set", "steps=2", "--out", "file/out"]).fails(&["file/out"]);
    train(here.path(), &[&QUIET[..], &["--set", "steps=2", "--out", "out"]].concat()).ok();
    std::fs::remove_file(here.path().join("text.txt")).expect("it is removed");
    let resume = ["train", "--resume", "--out", "out", "--set", "steps=4"];
    run_in(here.path(), &resume).refuses(&["text.txt"]);
    assert_eq!(step(&here.path().join("out/checkpoint")), Some(2));
    prepare(here.path());
    run_in(here.path(), &resume).ok();
}

#[test]
fn a_text_of_many_files_is_trained_on() {
    let here = folder();
    prepare(here.path());
    std::fs::create_dir(here.path().join("data")).expect("it is made");
    let text = std::fs::read_to_string(here.path().join("text.txt")).expect("it is there");
    let (first, second) = text.split_at(text.len() / 2);
    std::fs::write(here.path().join("data/1.txt"), first).expect("it is written");
    std::fs::write(here.path().join("data/2.txt"), second).expect("it is written");
    let run = |text: &str, out: &str| -> Run {
        let options = ["train", "small.toml", "--text", text, "--out", out, "--set", "steps=3"];
        run_in(here.path(), &[&options[..], &QUIET].concat())
    };
    run("text.txt", "one").ok();
    run("data", "folder").ok();
    run("data/*.txt", "pattern").ok();
    let one = parameters(&here.path().join("one"));
    for out in ["folder", "pattern"] {
        assert!(parameters(&here.path().join(out)) == one, "{out}");
    }
    run("data/*.md", "none").refuses(&["data/*.md", "no file"]);
}

#[test]
fn several_batches_of_a_step_and_blocks_computed_again_change_nothing() {
    let here = folder();
    prepare(here.path());
    let losses = |options: &[&str], out: &str| -> Vec<f64> {
        train(here.path(), &[&QUIET[..], &["--set", "steps=6", "--out", out], options].concat()).ok();
        let lines = metrics(&here.path().join(out)).into_iter().filter(|line| line["kind"] == "training");
        lines.map(|line| line["loss"].as_f64().expect("a loss")).collect()
    };
    let whole = losses(&["--set", "batch=6"], "whole");
    let parts = losses(&["--set", "batch=2", "--set", "accumulate=3"], "parts");
    let again = losses(&["--set", "batch=6", "--set", "remat=true"], "again");
    assert_eq!(whole.len(), 3);
    for other in [parts, again] {
        assert!(whole.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-5), "{whole:?} {other:?}");
    }
}

#[test]
fn the_best_checkpoint_is_kept_beside_the_last_and_events_beside_the_lines() {
    let here = folder();
    prepare(here.path());
    // A rate at which it gets worse in the end.
    let options = [
        "--set",
        "steps=12",
        "--set",
        "learning_rate.max=0.5",
        "--set",
        "adamw.weight_decay=0",
        "--out",
        "out",
    ];
    train(here.path(), &[&QUIET[..], &options].concat()).ok();
    let out = here.path().join("out");
    let lines = metrics(&out);
    let best = lines.iter().filter(|line| line["kind"] == "validation" && line["step"] != 12);
    let best = best.min_by(|a, b| a["loss"].as_f64().partial_cmp(&b["loss"].as_f64()).expect("numbers"));
    let best = best.expect("there are validations")["step"].as_u64();
    let kept = step(&out.join("best"));
    assert!(kept == best || kept == Some(12), "{kept:?} {best:?}");
    assert_eq!(step(&out.join("checkpoint")), Some(12));
    run_in(here.path(), &["eval", "--checkpoint", "out/best"]).ok();
    let names =
        std::fs::read_dir(&out).expect("it is there").map(|entry| entry.expect("an entry").file_name());
    let events = names.filter(|name| name.to_string_lossy().starts_with("events.out.tfevents."));
    assert_eq!(events.count(), 1);
}
