//! `carousel train`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use carousel_models::checkpoint::{Checkpoint, CheckpointError};
use carousel_models::config::TrainingConfig;
use carousel_models::metrics::MetricsError;
use carousel_models::progress::Display;
use carousel_models::train::{CHECKPOINT_FOLDER, Start, TrainError, Trainer};
use carousel_models::weights::Weights;

use super::common::{Failure, INTERRUPTED, TargetOptions, remark};
use super::{forms, generate};

/// Train a language model.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  carousel train\n  carousel train --text mine.txt --set steps=2000 --out runs/mine\n  \
                        carousel train --text 'data/*.txt' --tokenizer tokenizer.json\n  \
                        carousel train --cell my_mlstm.xl\n  carousel train --resume --out runs/mine"
)]
pub(super) struct Arguments {
    /// A configuration file, or a preset: xlstm-125m, xlstm[7:1], xlstm-7b. The built-in one if not given.
    config: Option<PathBuf>,
    /// Change one key of the configuration, `learning_rate.max=0.001`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The text to train on: a file, a folder with all that is in it, or a pattern such as 'data/*.txt'.
    #[arg(long, value_name = "PATH")]
    text: Option<PathBuf>,
    /// The tokenizer, a `tokenizer.json`; bytes are tokens if not given.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    tokenizer: Option<PathBuf>,
    /// The model, with functions `lm` and `lm_loss`.
    #[arg(long, value_name = "FILE.xl", conflicts_with = "resume")]
    model: Option<PathBuf>,
    /// A cell to put in the place of the built-in one of the same name.
    #[arg(long, value_name = "FILE.xl", conflicts_with = "resume")]
    cell: Option<PathBuf>,
    /// Folder for checkpoint and metrics.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on from the checkpoint in the output folder, with its configuration.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    target: TargetOptions,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = configuration(&arguments)?;
    let start = if arguments.resume { Start::Resume } else { Start::Afresh };
    let likely = [("b", config.batch as u64), ("s", config.context as u64)];
    let engine = arguments.target.engine(&likely)?;
    let out = config.out.clone();
    let sample = config.sample.clone();
    let compiling = std::time::Instant::now();
    let stop = stop_at_ctrl_c()?;
    let mut trainer = Trainer::new(&engine, config, start).map_err(failure)?;
    forms::warn(trainer.forms());
    remark(&format!(
        "{} parameters, compiled in {:.1} s\n",
        trainer.model().layout().elements(),
        compiling.elapsed().as_secs_f64()
    ));
    let summary = trainer.run(Display::detect(), &stop).map_err(failure)?;
    let checkpoint = out.join(CHECKPOINT_FOLDER);
    let Some(held_back) = summary.held_back else {
        return Err(Failure::Stopped(format!(
            "stopped after {} steps; the checkpoint is in {}; go on with: carousel train --resume --out {}",
            summary.steps,
            checkpoint.display(),
            out.display()
        )));
    };
    remark(&format!(
        "{} steps in {:.0} s; {held_back}; checkpoint in {}\n",
        summary.steps,
        summary.seconds,
        checkpoint.display()
    ));
    if let Some(tokenizer) = trainer.tokenizer()
        && sample.length > 0
    {
        let parameters =
            Weights::of(trainer.model().layout(), trainer.parameters().map_err(|e| failure(e.into()))?);
        let predictor = trainer.model().predictor(&engine, &parameters);
        let predictor = predictor.map_err(|e| failure(TrainError::Model(e)))?;
        generate::write(&predictor, &parameters, tokenizer, &sample)?;
    }
    Ok(())
}

/// What is set when Ctrl-C is pressed first; pressed again, it ends the program at once.
fn stop_at_ctrl_c() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second signal finds what the first one has set.
        signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| Failure::work(format!("cannot listen to Ctrl-C: {error}")))?;
    }
    Ok(stop)
}

fn configuration(arguments: &Arguments) -> Result<TrainingConfig, Failure> {
    let mut config = match (&arguments.config, arguments.resume) {
        (None, true) => {
            let out = arguments.out.clone().unwrap_or_else(|| TrainingConfig::default().out);
            let checkpoint = Checkpoint::open(&out.join(CHECKPOINT_FOLDER)).map_err(Failure::input)?;
            let saved = &checkpoint.manifest().training;
            let text = toml::to_string(saved).map_err(Failure::input)?;
            let parsed = TrainingConfig::parse(&text, "the checkpoint's configuration", &arguments.set);
            // Where the run is now, which may not be where it began.
            parsed.map(|config| TrainingConfig { out, ..config })
        }
        (file, _) => TrainingConfig::load(file.as_deref(), &arguments.set),
    }
    .map_err(Failure::input)?;
    for (slot, given) in [
        (&mut config.text, &arguments.text),
        (&mut config.model_file, &arguments.model),
        (&mut config.cell_file, &arguments.cell),
        (&mut config.tokenizer, &arguments.tokenizer),
    ] {
        if given.is_some() {
            slot.clone_from(given);
        }
    }
    if let Some(out) = &arguments.out {
        config.out.clone_from(out);
    }
    // What was given beside the file has to go with what is in it.
    config.validated().map_err(Failure::input)
}

/// Divergence and full disks are failures of the work; everything else is bad input.
pub(super) fn failure(error: TrainError) -> Failure {
    let is_work = match &error {
        TrainError::Model(_)
        | TrainError::Source(_)
        | TrainError::Text(_)
        | TrainError::Tokenizer(_)
        | TrainError::Vocabulary { .. }
        | TrainError::Init(_)
        | TrainError::OtherText { .. }
        | TrainError::ShortStreams { .. }
        | TrainError::Metrics(MetricsError::Malformed { .. }) => false,
        TrainError::Diverged { .. } | TrainError::Run(_) | TrainError::Metrics(MetricsError::Io { .. }) => {
            true
        }
        TrainError::Checkpoint(problem) => match problem {
            CheckpointError::Io { action, .. } => *action != "read",
            CheckpointError::Unwritable { .. } => true,
            CheckpointError::NoFolder { .. }
            | CheckpointError::NotACheckpoint { .. }
            | CheckpointError::InTheWay { .. }
            | CheckpointError::NoName { .. }
            | CheckpointError::Manifest { .. }
            | CheckpointError::Version { .. }
            | CheckpointError::TensorFile { .. }
            | CheckpointError::Tokenizer(_)
            | CheckpointError::OtherTokenizer { .. }
            | CheckpointError::Mismatch { .. } => false,
        },
    };
    if let TrainError::Model(failed) = error {
        return Failure::Program(failed);
    }
    if is_work { Failure::work(error) } else { Failure::input(error) }
}
