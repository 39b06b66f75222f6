//! The recipes train, and the documents show what was recorded of them.

#[path = "../examples/recipes/main.rs"]
#[expect(dead_code, reason = "the example is a program of its own")]
mod example;

use std::path::Path;

use carousel_models::compile::Engine;
use carousel_models::config::TrainingConfig;
use carousel_models::train::{Start, Trainer};
use example::draw::documents;
use example::study::{Results, Run, Studies};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn studies() -> Studies {
    Studies::read(root()).unwrap_or_else(|error| panic!("{error}"))
}

/// Tables and plots are those of the recorded results.
#[test]
fn documents_show_the_recorded_results() {
    for (path, text) in documents(root(), &studies()).unwrap_or_else(|error| panic!("{error}")) {
        let now = std::fs::read_to_string(root().join(&path)).unwrap_or_default();
        assert!(now == text, "{path} is not as recorded: `cargo run --release --example recipes -- --draw`");
    }
}

/// The runs of a variant, from all seeds.
fn recorded(study: &str, variant: &str) -> Vec<Run> {
    let studies = studies();
    let results = Results::read(root(), studies.find(study).expect("it is there")).expect("it was run");
    let runs: Vec<Run> = results.runs.into_iter().filter(|run| run.variant == variant).collect();
    assert_eq!(runs.len(), studies.seeds.len(), "{study}, {variant}");
    runs
}

/// What the documents say in words, of the recorded results.
#[test]
fn claims_hold_of_the_recorded_results() {
    let accuracies = |study, variant| -> Vec<f64> {
        recorded(study, variant).iter().map(|run| run.scaled_accuracy.expect("a task has one")).collect()
    };
    assert!(accuracies("parity", "xLSTM[0:1]").iter().filter(|a| **a == 1.0).count() >= 3);
    assert!(accuracies("parity", "xLSTM[1:0]").iter().all(|a| a.abs() < 0.1));
    assert!(accuracies("mqar", "xLSTM[1:0]").iter().all(|a| *a > 0.98));
    assert!(accuracies("mqar", "xLSTM[0:1]").iter().all(|a| *a < 0.5));
}

/// Every variant compiles, and its loss goes down in its first steps, with the learning rate of the recipe.
#[test]
fn every_variant_learns() {
    let studies = studies();
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    for study in &studies.study {
        for variant in &study.variant {
            let config = study.configuration(root(), variant, 0).unwrap_or_else(|error| panic!("{error}"));
            let config = TrainingConfig { out: folder.path().join(&variant.name), ..config };
            let mut trainer = Trainer::new(&Engine::cpu(Some(1)), config, Start::Afresh)
                .unwrap_or_else(|error| panic!("{}, {}: {error}", study.name, variant.name));
            let losses: Vec<f32> =
                (0..30).map(|_| trainer.step().unwrap_or_else(|error| panic!("{error}")).0).collect();
            let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
            let (first, last) = (mean(&losses[..5]), mean(&losses[25..]));
            assert!(last < first, "{}, {}: {losses:?}", study.name, variant.name);
        }
    }
}
