//! Tasks in the place of texts: trained, resumed, tested, and what is refused.

use std::path::Path;

use crate::support::{Run, folder, run_in};
use crate::training::{SMALL, metrics};

const TASKS: [(&str, &str); 2] = [
    ("parity", "[task.parity]\ntested_from = 16\ntested_to = 40\ntests = 50\n"),
    ("mqar", "[task.mqar]\nkeys = 6\nvalues = 5\npairs = 4\ntests = 20\n"),
];

fn prepare(here: &Path) {
    for (name, task) in TASKS {
        std::fs::write(here.join(format!("{name}.toml")), format!("{SMALL}{task}")).expect("it is written");
    }
}

fn train(here: &Path, name: &str, arguments: &[&str]) -> Run {
    let file = format!("{name}.toml");
    run_in(here, &[&["train", &file], arguments].concat())
}

#[test]
fn tasks_are_trained_resumed_and_tested() {
    let here = folder();
    prepare(here.path());
    for (name, questions, chance) in [("parity", 50, 0.5), ("mqar", 80, 0.2)] {
        let (whole, half) = (format!("{name}-whole"), format!("{name}-half"));
        let run = train(here.path(), name, &["--set", "steps=6", "--out", &whole]).ok();
        assert!(run.err.contains("accuracy") && run.out.is_empty(), "{}{}", run.out, run.err);
        let first = [
            "--set",
            "learning_rate.decay_until=6",
            "--set",
            "learning_rate.warmup=0",
            "--set",
            "steps=3",
            "--out",
            &half,
        ];
        train(here.path(), name, &first).ok();
        run_in(here.path(), &["train", "--resume", "--out", &half, "--set", "steps=6"]).ok();
        for file in ["model.safetensors", "optimizer.safetensors"] {
            let [a, b] = [&whole, &half].map(|out| here.path().join(out).join("checkpoint").join(file));
            assert!(std::fs::read(a).unwrap() == std::fs::read(b).unwrap(), "{name}: {file} differs");
        }

        let lines = metrics(&here.path().join(&whole));
        let recorded = &lines[lines.len() - 1];
        let checkpoint = format!("{whole}/checkpoint");
        let evaluate =
            |more: &[&str]| run_in(here.path(), &[&["eval", "--checkpoint", &checkpoint], more].concat());
        let found = evaluate(&["--json"]).ok().json();
        for key in ["loss", "accuracy", "tokens"] {
            assert_eq!(found[key], recorded[key], "{key}");
        }
        assert_eq!(found["tokens"], questions);
        let number = |key: &str| found[key].as_f64().expect("a number");
        let scaled = (number("accuracy") - chance) / (1.0 - chance);
        assert!((number("scaled_accuracy") - scaled).abs() < 1e-12, "{found}");
        let sizes = found["by_size"].as_array().expect("a list");
        let total = |at: usize| sizes.iter().filter_map(|row| row[at].as_u64()).sum::<u64>();
        assert_eq!(total(2), questions);
        assert_eq!(total(1) as f64 / total(2) as f64, number("accuracy"));
        assert!(evaluate(&[]).ok().out.contains("questions"));
        evaluate(&["--carry"]).refuses(&["has no text", "--carry"]);
        evaluate(&["--text", "parity.toml"]).refuses(&["no tokenizer"]);

        // What it was trained on is part of the checkpoint.
        let other = format!("task.{name}.tests=7");
        run_in(here.path(), &["train", "--resume", "--out", &half, "--set", &other])
            .refuses(&["was trained on", "\"tests\":7"]);
        run_in(here.path(), &["generate", "--checkpoint", &checkpoint, "--prompt", "1"])
            .refuses(&["no tokenizer", "--tokens"]);
        run_in(here.path(), &["generate", "--checkpoint", &checkpoint, "--tokens", "1,0"]).ok();
    }
}

#[test]
fn mistakes_in_tasks_are_named() {
    let here = folder();
    prepare(here.path());
    let with = |name: &str, set: &str| train(here.path(), name, &["--set", set, "--out", "out"]);
    with("parity", "task.parity.shortest=17")
        .refuses(&["`task.parity.shortest` is 17", "`context`, which is 16"]);
    with("parity", "task.parity.tested_to=3").refuses(&["`task.parity.tested_from` is 16", "which is 3"]);
    with("parity", "task.parity.tests=0").refuses(&["`task.parity.tests` is 0"]);
    with("parity", "task.parity.shortst=1").refuses(&["shortst", "`shortest`"]);
    with("mqar", "task.mqar.pairs=7").refuses(&["`task.mqar.pairs` is 7", "from 1 to 5"]);
    with("mqar", "task.mqar.values=1").refuses(&["`task.mqar.values` is 1"]);
    with("mqar", "model.vocab=11").refuses(&["the task mqar has 12 tokens", "model.vocab to 12"]);
    with("mqar", "text=parity.toml").refuses(&["`text` is set", "absent where a task is learned"]);
    with("mqar", "carry=true").refuses(&["`carry`"]);
    train(here.path(), "mqar", &["--text", "parity.toml"]).refuses(&["`text` is set"]);
    std::fs::write(here.path().join("parity.toml"), format!("{SMALL}[task.pariti]\n"))
        .expect("it is written");
    train(here.path(), "parity", &[]).refuses(&["parity.toml:", "pariti", "`parity` or `mqar`"]);
    assert!(!here.path().join("out").exists());
}
