//! The language models that are trained, compiled and read in benchmarks: sizes as options, parameters from a seed.

use std::collections::BTreeMap;

use carousel_models::config::ParameterValue;
use carousel_models::library::{Cells, ModelSource};
use carousel_models::model::Model;
use clap::ValueEnum;

use super::Failure;

/// A built-in model and its sizes; what is not given is the case's.
#[derive(clap::Args)]
pub(super) struct Language {
    /// Blocks of the xLSTM paper, or of xLSTM-7B; the paper's where a model is trained or compiled, else those of xLSTM-7B.
    #[arg(long, value_enum)]
    model: Option<Kind>,
    /// Blocks: 4 in a training step, 48 where compilation is measured, else 6.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    blocks: Option<i64>,
    /// Width: 128 in a training step and where compilation is measured, else 512.
    #[arg(long, value_parser = clap::value_parser!(i64).range(2..=1 << 20))]
    dim: Option<i64>,
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i64).range(1..=1 << 20))]
    heads: i64,
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(i64).range(1..=1 << 30))]
    vocab: i64,
    /// Every n-th block of the paper's is an sLSTM block; 0 for none. Every fourth one in a training step and where
    /// compilation is measured.
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..=100_000))]
    slstm_every: Option<i64>,
}

/// Which model.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// The paper's blocks.
    Xlstm,
    /// mLSTM and gated feed-forward parts.
    Large,
}

/// What a case takes where nothing is given.
pub(super) struct Usual {
    pub(super) model: Kind,
    pub(super) blocks: i64,
    pub(super) dim: i64,
    pub(super) slstm_every: i64,
}

/// A model's file among the built-in ones, and its compile-time parameters.
pub(super) struct Settings {
    pub(super) file: &'static str,
    pub(super) parameters: BTreeMap<String, ParameterValue>,
    /// Operations of the logits of one token.
    pub(super) head_flops: f64,
}

impl Language {
    pub(super) fn vocabulary(&self) -> i64 {
        self.vocab
    }

    pub(super) fn settings(&self, usual: &Usual) -> Result<Settings, Failure> {
        let Language { heads, vocab, .. } = *self;
        let [blocks, dim] = [self.blocks.unwrap_or(usual.blocks), self.dim.unwrap_or(usual.dim)];
        if dim % (2 * heads) != 0 {
            return Err(Failure::Input(format!(
                "--dim {dim} cannot be shared by the queries of {heads} heads"
            )));
        }
        // A width of feed-forward parts: a multiple of 64 that is at least this many times the model's.
        let ffn = |factor: f64| ((dim as f64 * factor + 63.0) / 64.0).floor() as i64 * 64;
        let common = [("layers", blocks), ("width", dim), ("heads", heads), ("vocab", vocab)];
        let (file, own) = match self.model.unwrap_or(usual.model) {
            // Factors as in the published package.
            Kind::Xlstm => ("models/lm.xl", vec![("head_dim", 2 * dim / heads), ("ffn", ffn(1.3))]),
            // Factors as in xLSTM-7B.
            Kind::Large => {
                let of_heads = [("qk_dim", dim / 2 / heads), ("v_dim", dim / heads)];
                ("models/large.xl", [of_heads[0], of_heads[1], ("ffn", ffn(2.667))].into())
            }
        };
        let numbers = common.into_iter().chain(own);
        let mut parameters: BTreeMap<String, ParameterValue> =
            numbers.map(|(name, n)| (name.to_string(), ParameterValue::Integer(n))).collect();
        if self.model.unwrap_or(usual.model) == Kind::Xlstm {
            let every = self.slstm_every.unwrap_or(usual.slstm_every);
            let places = (0..blocks).filter(|b| every > 0 && b % every == every - 1);
            let places = ParameterValue::List(places.map(ParameterValue::Integer).collect());
            parameters.insert("slstm_at".into(), places);
        }
        Ok(Settings { file, parameters, head_flops: 2.0 * (vocab * dim) as f64 })
    }
}

impl Settings {
    /// The model, with the paper's cells.
    pub(super) fn model(&self) -> Result<Model, Failure> {
        Ok(Model::new(&ModelSource::builtin(self.file, Cells::Paper), &self.parameters)?)
    }
}
