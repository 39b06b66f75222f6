//! `bench decode` and `bench prefill`: a language model that reads one text, token by token or all at once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

use carousel_ir::Name;
use carousel_models::model::Model;
use carousel_models::operations::operations;
use carousel_models::piece::Memory;
use carousel_models::weights::{Half, Weights};
use carousel_passes::forms::Form;
use clap::ValueEnum;

use super::language::{Kind, Language, Usual};
use super::measure::{Report, repeat};
use super::{Common, Failure, form};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    language: Language,
    /// Tokens of a run: 16 are decoded, 2048 prefilled if not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    tokens: Option<u32>,
    /// How parameters are stored; arithmetic is in f32.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Stored,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stored {
    F32,
    Bf16,
    F16,
}

/// What is read where nothing is said: a model as xLSTM-7B, small.
const USUAL: Usual = Usual { model: Kind::Large, blocks: 6, dim: 512, slstm_every: 0 };

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
    let settings = arguments.language.settings(&USUAL)?;
    let model = settings.model()?;
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
    let text: Vec<i32> =
        (0..tokens).map(|at| (i64::from(at) * 7 % arguments.language.vocabulary()) as i32).collect();
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
        flops: flops(&model, settings.head_flops, reading, tokens),
        bytes: 0.0,
        bytes_peak: reader.peak_bytes() + memory.bytes(),
        compile_seconds,
        times,
    })
}

/// Operations of a run: logits are computed of every token that is decoded, and of the last one that is prefilled.
fn flops(model: &Model, head_flops: f64, reading: Reading, tokens: u64) -> f64 {
    let (module, function) = model.inference();
    let symbols = |length| BTreeMap::from([(Name::new("b"), 1), (Name::new("s"), length)]);
    let of = |length| operations(module, function, &symbols(length)).unwrap_or_default() as f64;
    match reading {
        Reading::Decode => of(1) * tokens as f64,
        Reading::Prefill => of(tokens) - (tokens - 1) as f64 * head_flops,
    }
}
