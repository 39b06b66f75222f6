//! What `xLSTMForCausalLM` of the Python package `transformers` is told.

use serde_json::{Map, Value, json};

use super::{Reader, Settled, factor_down};

/// The configuration of an xLSTM-large.
pub(super) fn configuration(settled: &Settled) -> Result<Map<String, Value>, Vec<String>> {
    let mut of = Reader::new(settled);
    let (width, layers, heads) = (of.integer("width"), of.integer("layers"), of.integer("heads"));
    let (qk, v, ffn) = (heads * of.integer("qk_dim"), heads * of.integer("v_dim"), of.integer("ffn"));
    let caps = [of.float("gate_cap"), of.float("logit_cap")];
    of.require(caps.iter().all(|cap| *cap > 0.0), "`gate_cap` and `logit_cap` are above 0 there");
    let (out_norm, out_norm_bias) = (of.flag("out_norm"), of.flag("out_norm_bias"));
    of.require(out_norm, "there is always an output norm there (`out_norm`)");
    of.require(!out_norm_bias, "the output norm has no bias there (`out_norm_bias`)");
    let json = json!({
        "architectures": ["xLSTMForCausalLM"],
        "model_type": "xlstm",
        "vocab_size": of.integer("vocab"),
        "hidden_size": width,
        "embedding_dim": width,
        "num_hidden_layers": layers,
        "num_blocks": layers,
        "num_heads": heads,
        "qk_dim_factor": factor_down(qk, width),
        "v_dim_factor": factor_down(v, width),
        "ffn_proj_factor": factor_down(ffn, width),
        "ffn_round_up_to_multiple_of": 1,
        "gate_soft_cap": caps[0],
        "output_logit_soft_cap": caps[1],
        "eps": of.float("cell_eps"),
        "norm_eps": of.float("norm_eps"),
        "use_bias": of.flag("bias"),
        "add_out_norm": true,
        "tie_word_embeddings": false,
        "weight_mode": "single",
        // How it is computed there: plainly, which works on every machine.
        "mode": "inference",
        "chunkwise_kernel": "chunkwise--native_autograd",
        "sequence_kernel": "native_sequence__native",
        "step_kernel": "native",
        "chunk_size": 64,
        "return_last_states": true,
        "autocast_kernel_dtype": "float32",
        "inference_state_dtype": "float32",
        "norm_reduction_force_float32": true,
    });
    of.finished(json)
}
