//! The configuration of `xLSTMLMModel` of the Python package `xlstm`, as `dataclasses.asdict` gives it.
//!
//! Every field is either used, or known not to influence results, or named as unknown. Fields that begin with `_` are what
//! the package itself derives from the others.

use serde_json::{Map, Value};

use super::{Configuration, Fields, integers};
use crate::config::ParameterValue;

const MODEL: &[&str] = &[
    "add_embedding_dropout",
    "add_post_blocks_norm",
    "bias",
    "context_length",
    "dropout",
    "embedding_dim",
    "mlstm_block",
    "num_blocks",
    "slstm_at",
    "slstm_block",
    "tie_weights",
    "vocab_size",
    "weight_decay_on_embedding",
];
const MLSTM: &[&str] = &[
    "bias",
    "context_length",
    "conv1d_kernel_size",
    "dropout",
    "embedding_dim",
    "num_heads",
    "proj_factor",
    "qkv_proj_blocksize",
    "round_proj_up_dim_up",
    "round_proj_up_to_multiple_of",
];
const SLSTM: &[&str] =
    &["context_length", "conv1d_kernel_size", "dropout", "embedding_dim", "group_norm_weight", "num_heads"];
/// Fields of the sLSTM's kernels, which compute the same; their initialisers do not matter once there are weights.
const SLSTM_KERNEL: &[&str] = &[
    "backend",
    "batch_size",
    "bias_init",
    "constants",
    "dtype",
    "dtype_a",
    "dtype_b",
    "dtype_g",
    "dtype_r",
    "dtype_s",
    "dtype_w",
    "enable_automatic_mixed_precision",
    "forward_clipval",
    "function",
    "gradient_recurrent_clipval",
    "gradient_recurrent_cut",
    "hidden_size",
    "initial_val",
    "input_shape",
    "internal_input_shape",
    "num_gates",
    "num_states",
    "output_shape",
    "recurrent_weight_init",
];
const FEEDFORWARD: &[&str] = &[
    "act_fn",
    "bias",
    "dropout",
    "embedding_dim",
    "ff_type",
    "proj_factor",
    "round_proj_up_dim_up",
    "round_proj_up_to_multiple_of",
];

/// The model that a configuration tells of.
pub fn configuration(json: &Map<String, Value>) -> Result<Configuration, Vec<String>> {
    let mut fields = Fields::new(json, "");
    fields.only(&[MODEL]);
    let (width, layers) = (fields.positive("embedding_dim", None), fields.positive("num_blocks", None));
    let mut parameters =
        integers(&[("vocab", fields.positive("vocab_size", None)), ("layers", layers), ("width", width)]);
    let (mut problems, empty) = (Vec::new(), Map::new());
    let part = |path: &'static str| {
        let mut value = Some(json);
        for key in path.split('.') {
            value = value.and_then(|v| v.get(key)).and_then(Value::as_object);
        }
        value
    };
    let at = places(&mut fields, layers);
    let has_slstm = !at.is_empty();
    parameters.insert("slstm_at".to_string(), ParameterValue::List(at));

    let mlstm = part("mlstm_block.mlstm");
    let mut m = Fields::new(mlstm.unwrap_or(&empty), "mlstm_block.mlstm");
    m.only(&[MLSTM]);
    let inner = projected(&mut m, width, 2.0);
    let heads = m.positive("num_heads", Some(4));
    if !inner.is_multiple_of(heads) {
        m.problems
            .push(format!("its {heads} heads cannot share {inner} units (`mlstm_block.mlstm.num_heads`)"));
    }
    parameters.extend(integers(&[
        ("heads", heads),
        ("head_dim", inner / heads),
        ("conv", m.positive("conv1d_kernel_size", Some(4))),
        ("qkv_block", m.positive("qkv_proj_blocksize", Some(4))),
    ]));
    problems.append(&mut m.problems);
    let mlstm_bias = m.flag("bias", false);

    let mut s = Fields::new(part("slstm_block.slstm").unwrap_or(&empty), "slstm_block.slstm");
    s.only(&[SLSTM, SLSTM_KERNEL]);
    if let Some(function) = s.get("function")
        && function != "slstm"
    {
        s.problems.push(format!("`slstm_block.slstm.function` is {function}; only \"slstm\" is supported"));
    }
    let slstm_norm = s.flag("group_norm_weight", true);
    let slstm_heads = s.positive("num_heads", Some(4));
    if has_slstm && !width.is_multiple_of(slstm_heads) {
        s.problems
            .push(format!("{slstm_heads} heads cannot share {width} units (`slstm_block.slstm.num_heads`)"));
    }
    parameters
        .extend(integers(&[("slstm_heads", slstm_heads), ("slstm_conv", s.whole("conv1d_kernel_size", 4))]));
    problems.append(&mut s.problems);

    let feedforward = part("slstm_block.feedforward");
    let mut f = Fields::new(feedforward.unwrap_or(&empty), "slstm_block.feedforward");
    f.only(&[FEEDFORWARD]);
    let ffn = if feedforward.is_some() { projected(&mut f, width, 1.3) } else { 0 };
    parameters.extend(integers(&[("ffn", ffn)]));
    let act = match f.get("act_fn").map(|name| name.as_str().unwrap_or_default()) {
        None => "gelu",
        Some("relu^2") => "relu2",
        Some(name @ ("gelu" | "relu" | "sigmoid" | "swish" | "selu")) => name,
        Some(other) => {
            f.problems.push(format!("`slstm_block.feedforward.act_fn` is {other:?}, which is not known"));
            "gelu"
        }
    };
    parameters.insert("act".to_string(), ParameterValue::Text(act.to_string()));
    let ffn_bias = f.flag("bias", false);
    problems.append(&mut f.problems);

    let flags = [
        ("bias", mlstm_bias),
        ("ffn_bias", ffn_bias),
        ("slstm_norm", slstm_norm),
        ("tied", fields.flag("tie_weights", false)),
        ("post_norm", fields.flag("add_post_blocks_norm", true)),
        ("decay_embedding", fields.flag("weight_decay_on_embedding", false)),
        ("embedding_dropout", fields.flag("add_embedding_dropout", false)),
    ];
    parameters.extend(flags.map(|(name, flag)| (name.to_string(), ParameterValue::Boolean(flag))));
    let dropout = fields.float("dropout", 0.0);
    parameters.insert("dropout".to_string(), ParameterValue::Float(dropout));
    problems.append(&mut fields.problems);
    if problems.is_empty() { Ok(Configuration { model: "models/lm.xl", parameters }) } else { Err(problems) }
}

/// `ceil(proj_factor * width / multiple) * multiple`.
fn projected(fields: &mut Fields<'_>, width: u64, default: f64) -> u64 {
    let factor = fields.float("proj_factor", default);
    let multiple = fields.positive("round_proj_up_to_multiple_of", Some(64));
    let exact = factor * width as f64 / multiple as f64;
    let rounded = if fields.flag("round_proj_up_dim_up", true) { exact.ceil() } else { exact.floor() };
    fields.size("proj_factor", (rounded as u64).checked_mul(multiple))
}

/// The places of sLSTM blocks: a list, or all.
fn places(fields: &mut Fields<'_>, layers: u64) -> Vec<ParameterValue> {
    let all = || (0..layers as i64).map(ParameterValue::Integer).collect();
    match fields.get("slstm_at") {
        None => Vec::new(),
        Some(Value::String(word)) if word == "all" => all(),
        Some(Value::Array(list)) if list.iter().all(|v| v.as_u64().is_some_and(|n| n < layers)) => {
            list.iter().filter_map(Value::as_i64).map(ParameterValue::Integer).collect()
        }
        Some(other) => {
            let message =
                format!("`slstm_at` is {other}; expected \"all\" or numbers of blocks below {layers}");
            fields.problems.push(message);
            Vec::new()
        }
    }
}
