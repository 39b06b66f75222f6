//! `carousel convert`.

use std::path::{Path, PathBuf};

use carousel_models::checkpoint::{self, Checkpoint, Manifest, Snapshot, Unlogged};
use carousel_models::config::TrainingConfig;
use carousel_models::corpus::Text;
use carousel_models::external::Format;
use carousel_models::external::export::{Export, ExportError, Precision, export};
use carousel_models::tokenizer::ByteTokenizer;
use clap::ValueEnum;

use super::common::{Failure, remark};
use super::loaded::Loaded;

/// Write a checkpoint for another program, or one of another program as our own.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  carousel convert --checkpoint runs/large/checkpoint --to transformers --out exported --dtype bf16\n  \
                  carousel convert --checkpoint runs/default/best --to xlstm --out exported\n  \
                  carousel convert --checkpoint xlstm-7b --to carousel --out mine"
)]
pub(super) struct Arguments {
    /// Folder of the checkpoint, also of one that another program wrote.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Who is to read it.
    #[arg(long, value_enum)]
    to: Target,
    /// The folder to write, which must be new or empty.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How numbers are stored. Our own checkpoints are always f32.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// `xLSTMForCausalLM` of the Python package `transformers`: models of `models/large.xl`.
    Transformers,
    /// `xLSTMLMModel` of the Python package `xlstm`: models of `models/lm.xl`.
    Xlstm,
    /// This program.
    Carousel,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dtype {
    F32,
    Bf16,
    F16,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let loaded = Loaded::open(&arguments.checkpoint)?;
    let format = match arguments.to {
        Target::Transformers => Format::HuggingFace,
        Target::Xlstm => Format::Package,
        Target::Carousel if arguments.dtype != Dtype::F32 => {
            return Err(Failure::Input(
                "--dtype: our own checkpoints are f32, as training goes on from them".to_string(),
            ));
        }
        Target::Carousel => return own(&loaded, &arguments.out),
    };
    let precision = match arguments.dtype {
        Dtype::F32 => Precision::F32,
        Dtype::Bf16 => Precision::Bf16,
        Dtype::F16 => Precision::F16,
    };
    let context = match &loaded.external {
        Some(_) => CONTEXT,
        None => Checkpoint::open(&arguments.checkpoint).map_err(Failure::input)?.manifest().training.context,
    };
    let parameters = loaded.parameters.widened(loaded.model.layout());
    let what = Export {
        source: &loaded.source,
        model: &loaded.model,
        parameters: &parameters,
        context,
        tokenizer: loaded.tokenizer.as_ref().and_then(|tokenizer| tokenizer.file()),
    };
    export(&arguments.out, format, what, precision).map_err(|error| match error {
        ExportError::Io { .. } => Failure::work(error),
        ExportError::OtherModel { .. }
        | ExportError::Name(_)
        | ExportError::OutOfRange { .. }
        | ExportError::InTheWay { .. } => Failure::input(error),
    })?;
    remark(&format!("{} written for the {}\n", arguments.out.display(), format.description()));
    Ok(())
}

/// Tokens of a window where a checkpoint does not say: the default of those programs.
const CONTEXT: usize = 2048;

/// Writes a checkpoint of our own, from which training can begin: with all moments 0.
fn own(loaded: &Loaded, out: &Path) -> Result<(), Failure> {
    let layout = loaded.model.layout();
    let parameters = loaded.parameters.widened(layout);
    let zeros = vec![0.0; layout.elements()];
    let manifest = Manifest {
        step: 0,
        data_position: 0,
        unlogged: Unlogged::default(),
        best: None,
        seed: 0,
        tokenizer: loaded.tokenizer.as_deref().unwrap_or(&ByteTokenizer).name().to_string(),
        text: Text::bundled().identity().clone(),
        sources: loaded.source.files().to_vec(),
        parameters: loaded.parameter_values.clone(),
        training: TrainingConfig { model: loaded.parameter_values.clone(), ..TrainingConfig::default() },
    };
    let snapshot = Snapshot {
        manifest: &manifest,
        parameters: &layout.tensors(&parameters),
        first_moments: &layout.tensors(&zeros),
        second_moments: &layout.tensors(&zeros),
        carried: &[],
        tokenizer: loaded.tokenizer.as_ref().and_then(|tokenizer| tokenizer.file()),
    };
    checkpoint::save(out, &snapshot).map_err(Failure::work)?;
    remark(&format!("{} written\n", out.display()));
    Ok(())
}
