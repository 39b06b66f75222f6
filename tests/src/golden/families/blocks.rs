//! Layers and blocks of the xLSTM language model.

use super::{Loops, Parameters, Precision, Program, Slot, sizes};
use crate::golden::GoldenError;
use crate::golden::manifest::Case;
use carousel_ir::text::ConfigValue;
use carousel_models::external::Format;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Configuration of `blocks`.
#[derive(Deserialize)]
pub(super) struct Block {
    #[serde(rename = "B")]
    b: u64,
    #[serde(rename = "S")]
    s: u64,
    embedding_dim: i64,
    num_heads: i64,
    conv1d_kernel_size: i64,
    inner_embedding_dim: Option<i64>,
    qkv_proj_blocksize: Option<i64>,
    #[serde(default)]
    bias: bool,
    feedforward: Option<Feedforward>,
}

#[derive(Deserialize)]
struct Feedforward {
    act_fn: String,
    proj_up_dim: i64,
}

/// The program of a case.
pub(super) fn program(case: &Case, config: Block, precision: Precision) -> Result<Program, GoldenError> {
    let function = case.reference.function.rsplit('.').next().unwrap_or_default();
    let block = "xlstm_block_stack.blocks.0.";
    let layer = "xlstm_block_stack.blocks.0.xlstm.";
    let (entry, ours, theirs) = match function {
        "mLSTMLayer" => ("only_mlstm_layer", "layer.0.mlstm.", layer),
        "mLSTMBlock" => ("only_mlstm_block", "layer.0.", block),
        "sLSTMLayer" => ("only_slstm_layer", "layer.0.slstm.", layer),
        "sLSTMBlock" => ("only_slstm_block", "layer.0.", block),
        other => return Err(GoldenError::Case(format!("`{}`: no block is made by `{other}`", case.name))),
    };
    let inner = config.inner_embedding_dim.unwrap_or(config.embedding_dim);
    let mut parameters = BTreeMap::from([
        ("heads".to_string(), ConfigValue::Int(config.num_heads)),
        ("head_dim".to_string(), ConfigValue::Int(inner / config.num_heads)),
        ("conv".to_string(), ConfigValue::Int(config.conv1d_kernel_size)),
    ]);
    if let Some(width) = config.qkv_proj_blocksize {
        parameters.insert("qkv_block".to_string(), ConfigValue::Int(width));
        parameters.insert("bias".to_string(), ConfigValue::Bool(config.bias));
        parameters.insert("cell_start".to_string(), ConfigValue::Float(precision.empty_scale()));
    }
    if entry == "only_slstm_block" {
        let (width, act) = match &config.feedforward {
            Some(ffn) => (ffn.proj_up_dim, ffn.act_fn.replace('^', "")),
            None => (0, "gelu".to_string()),
        };
        parameters.insert("ffn".to_string(), ConfigValue::Int(width));
        parameters.insert("act".to_string(), ConfigValue::Text(act));
    }
    Ok(Program {
        loops: Loops::Model,
        recorded: "float32",
        source: include_str!("blocks.xl"),
        entry,
        config: parameters,
        sizes: sizes(&[("b", config.b), ("s", config.s), ("d", config.embedding_dim as u64)]),
        dynamic: &["b", "s"],
        inputs: vec![Slot::input("x")],
        outputs: vec![Slot::output("y")],
        parameters: Some(Parameters {
            names: Format::Package.names(),
            section: None,
            ours: ours.to_string(),
            theirs: theirs.to_string(),
        }),
        left_out: &[],
    })
}
