//! Checkpoint folders of `transformers`: logits, loss, the gradients of all parameters, results and states of layers.

use super::{Loops, Parameters, Program, Reading, Slot, sizes};
use crate::golden::GoldenError;
use crate::golden::manifest::Case;
use carousel_ir::text::ConfigValue;
use carousel_models::config::ParameterValue;
use carousel_models::external::{Format, huggingface};
use serde::Deserialize;

/// Configuration of `hf`, beside the fields of `config.json`.
#[derive(Deserialize)]
pub(super) struct Checkpoint {
    #[serde(rename = "B")]
    b: u64,
    #[serde(rename = "S")]
    s: u64,
    weight_mode: String,
}

/// Fields of a case that `config.json` does not have.
const OF_THE_CASE: [&str; 5] = ["B", "S", "qk_head_dim", "v_head_dim", "ffn_dim"];

const READING: Reading = Reading { tokens: "in.input_ids", logits: "out.logits", layer: Some("large_block") };

/// The program of a case.
pub(super) fn program(case: &Case, config: &Checkpoint) -> Result<Program, GoldenError> {
    let mut json = case.config.as_object().cloned().unwrap_or_default();
    json.retain(|field, _| !OF_THE_CASE.contains(&field.as_str()));
    // An output head is stored in all of them.
    let configuration = huggingface::configuration(&json, &|name| name == "lm_head.weight");
    let configuration = configuration.map_err(|problems| GoldenError::Case(problems.join("\n")))?;
    let value = |value| match value {
        ParameterValue::Boolean(b) => Ok(ConfigValue::Bool(b)),
        ParameterValue::Integer(n) => Ok(ConfigValue::Int(n)),
        ParameterValue::Float(x) => Ok(ConfigValue::Float(x)),
        ParameterValue::Text(_) | ParameterValue::List(_) => {
            Err(GoldenError::Case(format!("`{}`: xLSTM-large has no such parameter", case.name)))
        }
    };
    let parameters = configuration.parameters.into_iter();
    let parameters = parameters.map(|(name, v)| Ok((name, value(v)?)));
    let slot = |name, key| Slot::new("in.", name, key);
    Ok(Program {
        loops: Loops::LanguageModel(READING),
        recorded: "float32",
        source: include_str!("hf.xl"),
        entry: "logits_and_loss",
        config: parameters.collect::<Result<_, GoldenError>>()?,
        sizes: sizes(&[("b", config.b), ("s", config.s)]),
        dynamic: &["b", "s"],
        inputs: vec![slot("tokens", "input_ids"), Slot::input("labels")],
        outputs: vec![Slot::output("logits"), Slot::output("loss").or(1.0)],
        parameters: Some(Parameters {
            names: Format::HuggingFace.names(),
            section: (config.weight_mode == "fused").then_some("fused"),
            ours: String::new(),
            theirs: String::new(),
        }),
        left_out: &["out.hidden.", "out.state.", "out.generated"],
    })
}
