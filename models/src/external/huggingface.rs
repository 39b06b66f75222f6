//! The configuration of `xLSTMForCausalLM` of the Python package `transformers`.
//!
//! Every field is either used, or known not to influence results beyond rounding, or named as unknown.

use serde_json::{Map, Value};

use super::{Configuration, Fields, integers};
use crate::config::ParameterValue;

/// Fields that decide what is computed.
const USED: &[&str] = &[
    "add_out_norm",
    "embedding_dim",
    "eps",
    "ffn_proj_factor",
    "ffn_round_up_to_multiple_of",
    "gate_soft_cap",
    "hidden_size",
    "model_type",
    "norm_eps",
    "num_blocks",
    "num_heads",
    "num_hidden_layers",
    "output_logit_soft_cap",
    "qk_dim_factor",
    "tie_word_embeddings",
    "use_bias",
    "v_dim_factor",
    "vocab_size",
    "weight_mode",
];

/// Fields that choose among ways to compute the same, or say what other programs are to do.
const WITHOUT_INFLUENCE: &[&str] = &[
    "architectures",
    "auto_map",
    "autocast_kernel_dtype",
    "bos_token_id",
    "chunk_size",
    "chunkwise_kernel",
    "dtype",
    "eos_token_id",
    "force_bos_token_insert",
    "inference_state_dtype",
    "max_inference_chunksize",
    "mode",
    "norm_reduction_force_float32",
    "pad_token_id",
    "return_last_states",
    "sequence_kernel",
    "step_kernel",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "_name_or_path",
];

/// The model that a configuration tells of. `has` says whether there is a tensor of that name: `transformers` stores an
/// output head also where embeddings are to be tied, and an output norm also where there should be none, and uses them.
pub fn configuration(
    json: &Map<String, Value>,
    has: &dyn Fn(&str) -> bool,
) -> Result<Configuration, Vec<String>> {
    let mut fields = Fields::new(json, "");
    fields.only(&[USED, WITHOUT_INFLUENCE]);
    let mut same = |first: &str, second: &str, default: u64| {
        let other = fields.get(second).and_then(Value::as_u64);
        let size = fields.positive(first, Some(other.unwrap_or(default)));
        if let Some(other) = other
            && other != size
        {
            fields.problems.push(format!("`{first}` is {size}, but `{second}` is {other}"));
        }
        size
    };
    let width = same("hidden_size", "embedding_dim", 4096);
    let layers = same("num_hidden_layers", "num_blocks", 32);
    let vocab = fields.positive("vocab_size", Some(50304));
    let heads = fields.positive("num_heads", Some(8));
    let (qk_factor, v_factor) = (fields.float("qk_dim_factor", 0.5), fields.float("v_dim_factor", 1.0));
    let mut head_dim = |field: &str, factor: f64| {
        let whole = fields.size(field, Some((width as f64 * factor) as u64));
        if whole == 0 || !whole.is_multiple_of(heads) {
            let message = format!(
                "`{field}` makes {whole} of `hidden_size` {width}, which cannot be divided among {heads} heads"
            );
            fields.problems.push(message);
            return 1;
        }
        whole / heads
    };
    let (qk_dim, v_dim) = (head_dim("qk_dim_factor", qk_factor), head_dim("v_dim_factor", v_factor));
    let (ffn_factor, multiple) =
        (fields.float("ffn_proj_factor", 2.667), fields.positive("ffn_round_up_to_multiple_of", Some(64)));
    // In floating point, as there: a fractional excess below 1 does not round up.
    let round = multiple as f64;
    let ffn = ((width as f64 * ffn_factor + round - 1.0) / round).floor() as u64;
    let ffn = fields.size("ffn_proj_factor", ffn.checked_mul(multiple));
    match fields.get("weight_mode").map(Value::as_str) {
        None | Some(Some("single" | "fused")) => {}
        Some(other) => {
            let other = other.unwrap_or("no text");
            fields.problems.push(format!("`weight_mode` is {other}; expected \"single\" or \"fused\""));
        }
    }
    let mut parameters = integers(&[
        ("vocab", vocab),
        ("layers", layers),
        ("width", width),
        ("heads", heads),
        ("qk_dim", qk_dim),
        ("v_dim", v_dim),
        ("ffn", ffn),
    ]);
    let floats = [
        ("gate_cap", fields.float("gate_soft_cap", 15.0)),
        ("logit_cap", fields.float("output_logit_soft_cap", 30.0)),
        ("norm_eps", fields.float("norm_eps", 1e-6)),
        ("cell_eps", fields.float("eps", 1e-6)),
    ];
    parameters.extend(floats.map(|(name, x)| (name.to_string(), ParameterValue::Float(x))));
    let tied = fields.flag("tie_word_embeddings", false) && !has("lm_head.weight");
    let flags = [
        ("bias", fields.flag("use_bias", false)),
        ("tied", tied),
        ("out_norm", fields.flag("add_out_norm", true) || has("backbone.out_norm.weight")),
        ("out_norm_bias", has("backbone.out_norm.bias")),
    ];
    parameters.extend(flags.map(|(name, flag)| (name.to_string(), ParameterValue::Boolean(flag))));
    if fields.problems.is_empty() {
        Ok(Configuration { model: "models/large.xl", parameters })
    } else {
        Err(fields.problems)
    }
}
