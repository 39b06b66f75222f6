//! The xLSTM language model: logits, loss, and the gradients of all parameters.

use super::{Loops, Parameters, Precision, Program, Reading, Slot, sizes};
use carousel_ir::text::ConfigValue;
use carousel_models::external::Format;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The key of the logits token by token.
const STEPS: &str = "out.step_logits";

/// Configuration of `lm` and of `train`.
#[derive(Deserialize)]
pub(super) struct LanguageModel {
    #[serde(rename = "B")]
    b: u64,
    #[serde(rename = "S")]
    s: u64,
    vocab_size: i64,
    embedding_dim: i64,
    num_blocks: i64,
    block_map: Vec<i64>,
    tie_weights: bool,
    mlstm: Option<Heads>,
    slstm: Option<Heads>,
    feedforward: Option<Value>,
    mlstm_inner_embedding_dim: Option<i64>,
    feedforward_proj_up_dim: Option<i64>,
}

#[derive(Deserialize)]
struct Heads {
    num_heads: i64,
}

impl LanguageModel {
    /// The compile-time parameters of the model.
    pub(super) fn parameters(&self, precision: Precision) -> BTreeMap<String, ConfigValue> {
        let places = self.block_map.iter().enumerate().filter(|(_, kind)| **kind == 1);
        let heads = self.mlstm.as_ref().map_or(1, |m| m.num_heads);
        let inner = self.mlstm_inner_embedding_dim.unwrap_or(heads * 4);
        let ffn = if self.feedforward.is_some() { self.feedforward_proj_up_dim.unwrap_or(0) } else { 0 };
        let mut parameters = BTreeMap::from([
            ("slstm_at".to_string(), ConfigValue::List(places.map(|(at, _)| at as i64).collect())),
            ("tied".to_string(), ConfigValue::Bool(self.tie_weights)),
            ("cell_start".to_string(), ConfigValue::Float(precision.empty_scale())),
        ]);
        let numbers = [
            ("vocab", self.vocab_size),
            ("layers", self.num_blocks),
            ("width", self.embedding_dim),
            ("heads", heads),
            ("head_dim", inner / heads),
            ("slstm_heads", self.slstm.as_ref().map_or(1, |s| s.num_heads)),
            ("ffn", ffn),
        ];
        parameters.extend(numbers.map(|(name, n)| (name.to_string(), ConfigValue::Int(n))));
        parameters
    }
}

/// The program of a case.
pub(super) fn program(config: &LanguageModel, precision: Precision) -> Program {
    Program {
        loops: Loops::LanguageModel(Reading { tokens: "in.tokens", logits: STEPS, layer: None }),
        recorded: "float32",
        source: include_str!("lm.xl"),
        entry: "logits_and_loss",
        config: config.parameters(precision),
        sizes: sizes(&[("b", config.b), ("s", config.s)]),
        dynamic: &["b", "s"],
        inputs: vec![Slot::input("tokens"), Slot::input("labels")],
        outputs: vec![Slot::output("logits"), Slot::output("loss").or(1.0)],
        parameters: Some(Parameters {
            names: Format::Package.names(),
            section: None,
            ours: String::new(),
            theirs: String::new(),
        }),
        left_out: &[STEPS],
    }
}
