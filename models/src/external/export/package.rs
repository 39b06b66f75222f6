//! What `xLSTMLMModel` of the Python package `xlstm` is told: the fields of its dataclasses.

use carousel_ir::text::ConfigValue;
use serde_json::{Map, Value, json};

use super::{Reader, Settled};

/// The configuration of a language model of the NeurIPS paper's blocks.
pub(super) fn configuration(settled: &Settled, context: usize) -> Result<Map<String, Value>, Vec<String>> {
    let mut of = Reader::new(settled);
    let (width, layers, heads) = (of.integer("width"), of.integer("layers"), of.integer("heads"));
    let inner = heads * of.integer("head_dim");
    let (conv, ffn, slstm_heads) = (of.integer("conv"), of.integer("ffn"), of.integer("slstm_heads"));
    let (dropout, bias) = (of.float("dropout"), of.flag("bias"));
    let at = match settled.get("slstm_at") {
        Some(ConfigValue::List(at)) => at.clone(),
        Some(ConfigValue::Int(_) | ConfigValue::Float(_) | ConfigValue::Bool(_) | ConfigValue::Text(_))
        | None => {
            of.missing("slstm_at");
            Vec::new()
        }
    };
    let act = match settled.get("act") {
        Some(ConfigValue::Text(word)) if word == "relu2" => "relu^2",
        Some(ConfigValue::Text(word)) => word,
        Some(ConfigValue::Int(_) | ConfigValue::Float(_) | ConfigValue::Bool(_) | ConfigValue::List(_))
        | None => {
            of.missing("act");
            ""
        }
    };
    let (mixing, qkv_block) = (of.flag("mixing"), of.integer("qkv_block"));
    of.require(conv > 0, "an mLSTM has a convolution there (`conv`)");
    of.require(mixing || at.is_empty(), "an sLSTM mixes its memory there (`mixing`)");
    let feedforward = json!({
        "proj_factor": factor_up(ffn, width),
        "round_proj_up_to_multiple_of": 1,
        "act_fn": act,
        "bias": of.flag("ffn_bias"),
        "dropout": dropout,
    });
    let slstm = json!({
        "slstm": {
            "backend": "vanilla",
            "num_heads": if slstm_heads > 0 { slstm_heads } else { heads },
            "conv1d_kernel_size": of.integer("slstm_conv"),
            "group_norm_weight": of.flag("slstm_norm"),
            "dropout": dropout,
        },
        "feedforward": if ffn > 0 { feedforward } else { Value::Null },
    });
    let json = json!({
        "vocab_size": of.integer("vocab"),
        "embedding_dim": width,
        "num_blocks": layers,
        "context_length": context,
        "slstm_at": at,
        "bias": bias,
        "dropout": dropout,
        "tie_weights": of.flag("tied"),
        "add_post_blocks_norm": of.flag("post_norm"),
        "weight_decay_on_embedding": of.flag("decay_embedding"),
        "add_embedding_dropout": of.flag("embedding_dropout"),
        "mlstm_block": {
            "mlstm": {
                "num_heads": heads,
                "conv1d_kernel_size": conv,
                "qkv_proj_blocksize": qkv_block,
                "proj_factor": factor_up(inner, width),
                "round_proj_up_to_multiple_of": 1,
                "bias": bias,
                "dropout": dropout,
            },
        },
        "slstm_block": if at.is_empty() { Value::Null } else { slstm },
    });
    of.finished(json)
}

/// A factor by which a width becomes a whole number of units where the product is rounded up.
fn factor_up(units: u64, width: u64) -> f64 {
    let exact = units as f64 / width as f64;
    if (width as f64 * exact).ceil() as u64 == units { exact } else { (units as f64 - 0.5) / width as f64 }
}
