//! What is trained, and what came of it.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use carousel_models::compile::Engine;
use carousel_models::config::TrainingConfig;
use carousel_models::progress::Display;
use carousel_models::train::{METRICS_FILE, Start, Trainer};
use serde::{Deserialize, Serialize};

/// All studies.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Studies {
    pub(crate) seeds: Vec<u64>,
    pub(crate) study: Vec<Study>,
}

/// A recipe and its variants, which are compared.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Study {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) measure: Measure,
    pub(crate) plot: Plot,
    /// Where the paper's figures stand.
    pub(crate) paper: String,
    pub(crate) variant: Vec<Variant>,
}

/// A recipe with some changes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Variant {
    pub(crate) name: String,
    pub(crate) what: String,
    #[serde(default)]
    pub(crate) set: Vec<String>,
    #[serde(default)]
    pub(crate) paper: String,
}

/// What variants are compared by.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    Accuracy,
    ScaledAccuracy,
    BitsPerByte,
}

/// What results are drawn over.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Plot {
    Sizes,
    Steps,
}

/// What came of a study.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) runs: Vec<Run>,
}

/// What came of one run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) variant: String,
    pub(crate) seed: u64,
    pub(crate) parameters: usize,
    /// Seconds of compilation, training and tests, on two cores that other programs share.
    pub(crate) seconds: f64,
    pub(crate) loss: f64,
    pub(crate) bits_per_byte: Option<f64>,
    pub(crate) accuracy: Option<f64>,
    pub(crate) scaled_accuracy: Option<f64>,
    /// Size of examples, right answers, questions.
    pub(crate) by_size: Vec<[u64; 3]>,
    /// Updates, and the measure on a part of the test.
    pub(crate) curve: Vec<(u64, f64)>,
}

impl Studies {
    pub(crate) fn read(root: &Path) -> Result<Studies, Box<dyn Error>> {
        Ok(toml::from_str(&fs::read_to_string(root.join("recipes/studies.toml"))?)?)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Study> {
        self.study.iter().find(|study| study.name == name)
    }
}

impl Study {
    /// The configuration of a variant. Paths in it are relative to the root.
    pub(crate) fn configuration(
        &self,
        root: &Path,
        variant: &Variant,
        seed: u64,
    ) -> Result<TrainingConfig, Box<dyn Error>> {
        let mut set = variant.set.clone();
        set.push(format!("seed={seed}"));
        let file = root.join(format!("recipes/{}.toml", self.name));
        let mut config = TrainingConfig::load(Some(&file), &set)?;
        config.cell_file = config.cell_file.map(|path| root.join(path));
        config.out = PathBuf::from(format!("runs/recipes/{}/{}, seed {seed}", self.name, variant.name));
        Ok(config)
    }

    pub(crate) fn run(&self, root: &Path, variant: &Variant, seed: u64) -> Result<Run, Box<dyn Error>> {
        let config = self.configuration(root, variant, seed)?;
        let (out, task) = (config.out.clone(), config.task.clone());
        let start = std::time::Instant::now();
        let mut trainer = Trainer::new(&Engine::cpu(None), config, Start::Afresh)?;
        let summary = trainer.run(Display::Silent, &AtomicBool::new(false))?;
        let seconds = start.elapsed().as_secs_f64();
        let found = summary.held_back.ok_or("the run goes to its end")?;
        let scaled = |accuracy| task.as_ref().map(|task| task.scaled(accuracy));
        let mut curve = Vec::new();
        for line in fs::read_to_string(out.join(METRICS_FILE))?.lines() {
            let line: serde_json::Value = serde_json::from_str(line)?;
            let key = match self.measure {
                Measure::Accuracy | Measure::ScaledAccuracy => "accuracy",
                Measure::BitsPerByte => "bits_per_byte",
            };
            // The last one is on all of the test.
            if let ("validation", Some(step), Some(value)) =
                (line["kind"].as_str().unwrap_or_default(), line["step"].as_u64(), line[key].as_f64())
                && step < summary.steps
            {
                curve.push((step, value));
            }
        }
        Ok(Run {
            variant: variant.name.clone(),
            seed,
            parameters: trainer.model().layout().elements(),
            seconds,
            loss: found.loss,
            bits_per_byte: found.bits_per_byte,
            accuracy: found.accuracy,
            scaled_accuracy: found.accuracy.and_then(scaled),
            by_size: found.by_size.iter().map(|(size, a)| [*size as u64, a.right, a.asked]).collect(),
            curve,
        })
    }
}

impl Measure {
    /// What it is of a run.
    pub(crate) fn of(self, run: &Run) -> f64 {
        let value = match self {
            Measure::Accuracy => run.accuracy,
            Measure::ScaledAccuracy => run.scaled_accuracy,
            Measure::BitsPerByte => run.bits_per_byte,
        };
        value.unwrap_or(f64::NAN)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Measure::Accuracy => "accuracy",
            Measure::ScaledAccuracy => "scaled accuracy",
            Measure::BitsPerByte => "bits a byte",
        }
    }
}

impl Results {
    fn path(root: &Path, study: &Study) -> PathBuf {
        root.join(format!("recipes/results/{}.json", study.name))
    }

    pub(crate) fn read(root: &Path, study: &Study) -> Result<Results, Box<dyn Error>> {
        Ok(serde_json::from_str(&fs::read_to_string(Results::path(root, study))?)?)
    }

    pub(crate) fn write(&self, root: &Path, study: &Study) -> Result<(), Box<dyn Error>> {
        // One run a line, so that changes can be read.
        let runs: Vec<String> = self.runs.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        fs::write(Results::path(root, study), format!("{{\"runs\": [\n{}\n]}}\n", runs.join(",\n")))?;
        Ok(())
    }

    pub(crate) fn find(&self, variant: &str, seed: u64) -> Option<&Run> {
        self.runs.iter().find(|run| run.variant == variant && run.seed == seed)
    }

    /// The runs of a variant, by seed.
    pub(crate) fn of<'a>(&'a self, variant: &'a Variant) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| run.variant == variant.name)
    }
}
