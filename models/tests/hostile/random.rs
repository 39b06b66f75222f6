//! Files of every kind, damaged at random: whatever they have become, they are read or refused, nothing panics, and memory
//! stays bounded.
//!
//! Each test tries some hundred cases, all of them in seconds. `CAROUSEL_FUZZ_SECONDS` lets each go on for that long, and `--nocapture` shows how many
//! cases it was:
//! `CAROUSEL_FUZZ_SECONDS=600 cargo test --release --workspace --test hostile never_panic -- --nocapture`.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use carousel_ir::text::{Options, check, elaborate, parse_module, parse_program, print};
use carousel_ir::{Module, Sources, verify};
use carousel_models::checkpoint::{Checkpoint, TensorFile, TensorRef, write_tensors};
use carousel_models::compile::Engine;
use carousel_models::config::TrainingConfig;
use carousel_models::generate::{Conversation, Settings, generate};
use carousel_models::library::{ModelSource, bundled, bundled_paths};
use carousel_models::model::Model;
use carousel_models::progress::Display;
use carousel_models::sample::{Choice, Sampler};
use carousel_models::state;
use carousel_models::tokenizer::{FileTokenizer, Tokenizer, decoded};
use carousel_models::train::{CHECKPOINT_FOLDER, Start, Trainer};
use carousel_models::trials::add_rules;
use carousel_models::weights::Weights;
use carousel_passes::RuleSets;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::damage::{damaged, to_bytes, to_words};
use crate::{copy, golden, read};

/// What all tests of this program together may take at any time, in bytes.
const MOST_MEMORY: u64 = 2 << 30;

/// Runs a test on so many random cases, or for as long as `CAROUSEL_FUZZ_SECONDS` says.
fn survives<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let seconds = std::env::var("CAROUSEL_FUZZ_SECONDS").ok();
    let seconds: f64 =
        seconds.map_or(0.0, |text| text.parse().expect("CAROUSEL_FUZZ_SECONDS is a number of seconds"));
    let (started, mut tried) = (Instant::now(), 0u64);
    while tried == 0 || started.elapsed().as_secs_f64() < seconds {
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let result = TestRunner::new(config).run(strategy, |case| {
            test(case);
            Ok(())
        });
        result.unwrap_or_else(|problem| panic!("{problem}"));
        tried += u64::from(cases);
    }
    let most = most_memory();
    println!("{tried} cases in {:.0} s, at most {} MiB", started.elapsed().as_secs_f64(), most >> 20);
    assert!(most < MOST_MEMORY, "{most} bytes of memory were in use");
}

/// The most memory that this process has had, in bytes.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() << 10
}

/// Damages one file of a folder at a time and looks at the folder.
fn survive_damaged(folder: &Path, files: &[&str], look: impl Fn()) {
    let whole: Vec<Vec<u8>> = files.iter().map(|name| std::fs::read(folder.join(name)).unwrap()).collect();
    survives(1000, &(0..files.len(), to_bytes()), |(which, damages)| {
        let path = folder.join(files[which]);
        std::fs::write(&path, damaged(whole[which].clone(), &damages)).unwrap();
        look();
        std::fs::write(&path, &whole[which]).unwrap();
    });
}

#[test]
fn checkpoints_of_others_never_panic() {
    let here = tempfile::tempdir().unwrap();
    copy("tied_sharded", here.path());
    let files = ["config.json", "model.safetensors.index.json", "model-00001-of-00007.safetensors"];
    survive_damaged(here.path(), &files, || drop(read(here.path())));
    read(here.path()).unwrap();
}

/// A small model that was trained for a step.
fn trained(folder: &Path) -> TrainingConfig {
    let set = [
        "steps=1",
        "batch=2",
        "context=8",
        "eval_windows=1",
        "model.layers=2",
        "model.width=8",
        "model.head_dim=4",
        "model.heads=2",
        "model.ffn=8",
    ];
    let set: Vec<String> = set.map(String::from).into();
    let config = TrainingConfig::parse("", "defaults", &set).unwrap();
    let text = folder.join("text.txt");
    std::fs::write(&text, "to be, or not to be: that is the question\n".repeat(20)).unwrap();
    let config = TrainingConfig { out: folder.join("run"), text: Some(text), ..config };
    let mut trainer = Trainer::new(&Engine::cpu(Some(1)), config.clone(), Start::Afresh).unwrap();
    trainer.run(Display::Silent, &AtomicBool::new(false)).unwrap();
    config
}

#[test]
fn checkpoints_of_our_own_never_panic() {
    let here = tempfile::tempdir().unwrap();
    let config = trained(here.path());
    let folder = config.out.join(CHECKPOINT_FOLDER);
    let look = || -> Option<()> {
        let checkpoint = Checkpoint::open(&folder).ok()?;
        let manifest = checkpoint.manifest();
        let model =
            Model::new(&ModelSource::from_files(manifest.sources.clone()), &manifest.parameters).ok()?;
        let specs = model.layout().specs();
        checkpoint.parameters(&specs).ok()?;
        checkpoint.moments(&specs, &[]).ok()?;
        checkpoint.tokenizer().ok().map(drop)
    };
    let files = ["config.json", "model.safetensors", "optimizer.safetensors"];
    look().expect("it is whole");
    survive_damaged(&folder, &files, || {
        look();
    });
    look().expect("it is whole again");
}

#[test]
fn states_never_panic() {
    let here = tempfile::tempdir().unwrap();
    let config = trained(here.path());
    let model = Model::new(&ModelSource::load(None, None).unwrap(), &config.model).unwrap();
    let weights = Weights::of(model.layout(), model.layout().initial(0).unwrap());
    let predictor = model.predictor(&Engine::cpu(Some(1)), &weights).unwrap_or_else(|e| panic!("{e}"));
    let path = here.path().join("a.state");
    let mut conversation = Conversation::new(&predictor, 256);
    conversation.extend(&[1, 2, 3]);
    let mut conversations = [conversation];
    let settings = Settings {
        length: 2,
        sampler: Sampler::new(Choice::Greedy, 0).unwrap(),
        repetition_penalty: 1.0,
        stop: &[],
        end: None,
        tokenizer: None,
    };
    generate(&predictor, &weights, &mut conversations, &settings, &mut |_| {}).unwrap();
    state::save(&path, &predictor, &weights, &conversations[0]).unwrap();
    state::load(&path, &predictor, &weights, 256).map(drop).unwrap();
    survive_damaged(here.path(), &["a.state"], || {
        drop(state::load(&path, &predictor, &weights, 256));
    });
}

#[test]
fn tokenizers_never_panic() {
    let whole = std::fs::read(golden("e2e_bpe").join("tokenizer.json")).unwrap();
    survives(1000, &to_bytes(), |damages| {
        if let Ok(tokenizer) = FileTokenizer::new(damaged(whole.clone(), &damages)) {
            let tokens = tokenizer.encode("def f(é):\n  return '€'\n".as_bytes()).unwrap_or_default();
            let _ = decoded(&tokenizer, &tokens);
        }
    });
}

#[test]
fn tensor_files_never_panic() {
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("t.safetensors");
    let values = [1.0f32; 6];
    let tensors = [
        TensorRef { name: "a", shape: &[2, 2], values: &values[..4] },
        TensorRef { name: "b", shape: &[2], values: &values[..2] },
    ];
    write_tensors(&path, &[("", &tensors)]).unwrap();
    survive_damaged(here.path(), &["t.safetensors"], || {
        if let Ok(file) = TensorFile::open(&path) {
            let specs = file.specs().unwrap_or_default();
            let _ = file.values(&specs);
        }
    });
}

#[test]
fn configurations_never_panic() {
    let whole = "steps = 100\nbatch = 2\nout = \"a\"\n[learning_rate]\nmax = 0.01\n[sample]\nprompt = \"x\"\n\
                 [task.mqar]\nkeys = 9\npairs = 4\n[model]\nlayers = 2\n\
                 slstm_at = [1]\nact = \"gelu\"\nheads = 2\nwidth = 8\n";
    let source = ModelSource::load(None, None).unwrap();
    survives(1000, &prop_oneof![to_bytes(), to_words()], |damages| {
        let text = damaged(whole.as_bytes().to_vec(), &damages);
        if let Ok(config) = TrainingConfig::parse(&String::from_utf8_lossy(&text), "damaged", &[]) {
            let _ = Model::new(&source, &config.model);
        }
    });
}

/// A module that came out of damaged text is sound, and its own text is read back as the same.
fn is_sound(module: &Module) {
    let problems = verify(module);
    let text = print(module);
    assert!(problems.is_empty(), "{problems:?} for\n{text}");
    let again = parse_module(&text).unwrap_or_else(|failed| panic!("{failed}\n{text}"));
    assert!(again == *module, "{text}\nwas read as\n{}", print(&again));
}

fn load(path: &str) -> Result<String, String> {
    bundled(path).map(str::to_string).ok_or_else(|| format!("no file `{path}`"))
}

#[test]
fn programs_never_panic() {
    let paths: Vec<&str> = bundled_paths().collect();
    let strategy = (0..paths.len(), prop_oneof![1 => to_bytes(), 3 => to_words()]);
    survives(1000, &strategy, |(which, damages)| {
        let text = damaged(load(paths[which]).unwrap().into_bytes(), &damages);
        let Ok(program) = parse_program("damaged.xl", &String::from_utf8_lossy(&text), &load) else {
            return;
        };
        check(&program);
        for definition in &program.definitions {
            if let Ok(module) = elaborate(&program, &[definition.name.name.as_str()], &Options::default()) {
                is_sound(&module);
            }
        }
    });
}

#[test]
fn printed_modules_never_panic() {
    let printed = ["cells/mlstm.xl", "reference/slstm.xl", "layers/loss.xl"].map(|path| {
        let program = parse_program(path, &load(path).unwrap(), &load).unwrap_or_else(|e| panic!("{e}"));
        let names: Vec<&str> = program.definitions.iter().map(|d| d.name.name.as_str()).collect();
        let module = elaborate(&program, &names, &Options::default()).unwrap_or_else(|d| panic!("{d:?}"));
        print(&module)
    });
    let strategy = (0..printed.len(), prop_oneof![1 => to_bytes(), 3 => to_words()]);
    survives(1000, &strategy, |(which, damages)| {
        let text = damaged(printed[which].clone().into_bytes(), &damages);
        if let Ok(module) = parse_module(&String::from_utf8_lossy(&text)) {
            is_sound(&module);
        }
    });
}

#[test]
fn compiling_never_panics() {
    let paths = ["cells/mlstm.xl", "cells/slstm.xl", "layers/loss.xl", "layers/norm.xl"];
    survives(100, &(0..paths.len(), to_words()), |(which, damages)| {
        let text = damaged(load(paths[which]).unwrap().into_bytes(), &damages);
        let Ok(program) = parse_program("damaged.xl", &String::from_utf8_lossy(&text), &load) else {
            return;
        };
        let engine = Engine::cpu(Some(1));
        for definition in &program.definitions {
            let name = definition.name.name.as_str();
            let Ok(module) = elaborate(&program, &[name], &Options::default()) else { continue };
            let module = engine.prepared(&module);
            let root = module.find(name).expect("it was elaborated");
            let _ = engine.compile(&module, root);
        }
    });
}

#[test]
fn rules_never_panic() {
    let whole = "// The odds of a probability.\nodds: (div (sigmoid ?x) (sub 1 (sigmoid ?x))) => (exp ?x)  # real\n\n\
                 [stable]\nopen: (log1p (scaled ?a ?m)) => (log (add 1 (scaled ?a ?m))) if const ?a, nonzero ?m # real\n";
    survives(300, &prop_oneof![to_bytes(), to_words()], |damages| {
        let text = damaged(whole.as_bytes().to_vec(), &damages);
        let _ = add_rules(
            &mut RuleSets::default(),
            &mut Sources::default(),
            "damaged.rules",
            &String::from_utf8_lossy(&text),
        );
    });
}
