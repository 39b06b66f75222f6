//! `bench decode` and `bench prefill`: a language model that reads one text, token by token or all at once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

use carousel_ir::Name;
use carousel_models::config::ParameterValue;
use carousel_models::library::{Cells, ModelSource};
use carousel_models::model::Model;
use carousel_models::operations::operations;
use carousel_models::piece::Memory;
use carousel_models::weights::{Half, Weights};
use carousel_passes::forms::Form;
use clap::ValueEnum;

use super::measure::{Report, repeat};
use super::{Common, Failure, form, parameters};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Blocks of the xLSTM paper, or of xLSTM-7B.
    #[arg(long, value_enum, default_value = "large")]
    model: Kind,
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    blocks: i64,
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(i64).range(2..=1 << 20))]
    dim: i64,
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i64).range(1..=1 << 20))]
    heads: i64,
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(i64).range(1..=1 << 30))]
    vocab: i64,
    /// Every n-th block of the paper's is an sLSTM block; 0 for none.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..=100_000))]
    slstm_every: i64,
    /// Tokens of a run: 16 are decoded, 2048 prefilled if not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    tokens: Option<u32>,
    /// How parameters are stored; arithmetic is in f32.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Stored,
    #[command(flatten)]
    common: Common,
}

/// Which model.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The paper's blocks.
    Xlstm,
    /// mLSTM and gated feed-forward parts.
    Large,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stored {
    F32,
    Bf16,
    F16,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Token by token.
    Decode,
    /// All tokens at once, with the logits of the last one.
    Prefill,
}

impl Arguments {
    /// What all cases have in common.
    pub(super) fn common(&self) -> &Common {
        &self.common
    }
}

pub(super) fn run(arguments: &Arguments, reading: Reading) -> Result<Report, Failure> {
    let common = &arguments.common;
    let model = model(arguments)?;
    let started = Instant::now();
    let tokens = arguments.tokens.unwrap_or(if reading == Reading::Decode { 16 } else { 2048 });
    let engine = common.target.engine(&[("b", 1), ("s", u64::from(tokens))])?;
    let arena = model.layout().initial(0).map_err(Failure::input)?;
    let weights = Weights::of(model.layout(), Cow::Owned(arena));
    let weights = match arguments.dtype {
        Stored::F32 => weights,
        Stored::Bf16 => weights.rounded(model.layout(), Half::Bf16),
        Stored::F16 => weights.rounded(model.layout(), Half::F16),
    };
    let reader = model.reader(&engine, &weights)?;
    let compile_seconds = started.elapsed().as_secs_f64();
    let text: Vec<i32> = (0..tokens).map(|at| (i64::from(at) * 7 % arguments.vocab) as i32).collect();
    let mut memory = Memory::empty(1);
    let mut logits = Vec::new();
    let times = repeat(common, || {
        let pieces = match reading {
            Reading::Decode => text.chunks(1),
            Reading::Prefill => {
                memory = Memory::empty(1);
                text.chunks(text.len())
            }
        };
        for piece in pieces {
            reader.read_last(&weights, &mut memory, piece, &mut logits).map_err(Failure::work)?;
        }
        Ok(())
    })?;
    let form = if reading == Reading::Decode { Form::Recurrent.to_string() } else { form(reader.forms()) };
    let (case, tokens) = (if reading == Reading::Decode { "decode" } else { "prefill" }, u64::from(tokens));
    Ok(Report {
        case,
        form,
        tokens,
        flops: flops(&model, arguments, reading, tokens),
        bytes: 0.0,
        bytes_peak: reader.peak_bytes() + memory.bytes(),
        compile_seconds,
        times,
    })
}

/// Operations of a run: logits are computed of every token that is decoded, and of the last one that is prefilled.
fn flops(model: &Model, arguments: &Arguments, reading: Reading, tokens: u64) -> f64 {
    let (module, function) = model.inference();
    let symbols = |length| BTreeMap::from([(Name::new("b"), 1), (Name::new("s"), length)]);
    let of = |length| operations(module, function, &symbols(length)).unwrap_or_default() as f64;
    match reading {
        Reading::Decode => of(1) * tokens as f64,
        Reading::Prefill => of(tokens) - (tokens - 1) as f64 * 2.0 * (arguments.vocab * arguments.dim) as f64,
    }
}

fn model(arguments: &Arguments) -> Result<Model, Failure> {
    let Arguments { blocks, dim, heads, vocab, slstm_every, .. } = *arguments;
    if dim % (2 * heads) != 0 {
        return Err(Failure::Input(format!("--dim {dim} cannot be shared by the queries of {heads} heads")));
    }
    let (path, mut settings, sizes) = match arguments.model {
        Kind::Xlstm => {
            let settings: BTreeMap<_, _> = parameters(blocks, dim, slstm_every).into_iter().collect();
            ("models/lm.xl", settings, vec![("head_dim", 2 * dim / heads)])
        }
        Kind::Large => {
            // Factors and rounding of xLSTM-7B.
            let ffn = ((dim as f64 * 2.667 + 63.0) / 64.0).floor() as i64 * 64;
            let of_heads = [("qk_dim", dim / 2 / heads), ("v_dim", dim / heads)];
            let sizes = [("layers", blocks), ("width", dim), ("ffn", ffn)].into_iter().chain(of_heads);
            ("models/large.xl", BTreeMap::new(), sizes.collect())
        }
    };
    for (name, size) in sizes.into_iter().chain([("heads", heads), ("vocab", vocab)]) {
        settings.insert(name.to_string(), ParameterValue::Integer(size));
    }
    Ok(Model::new(&ModelSource::builtin(path, Cells::Paper), &settings)?)
}
