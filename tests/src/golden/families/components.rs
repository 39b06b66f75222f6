//! Single layers of the block models and of xLSTM-large.

use super::{Loops, Parameters, Program, Slot, sizes};
use crate::golden::GoldenError;
use crate::golden::manifest::Case;
use carousel_ir::text::ConfigValue;
use carousel_models::external::NameTable;
use std::collections::BTreeMap;

/// The names of the gated feed-forward part.
const FEEDFORWARD: &str = "
    ffn.up | proj_up.weight | (part w) d
    ffn.down | proj_down.weight | d w
";

/// The program of a case. What it computes is the function that made it; its sizes are those of its tensors.
pub(super) fn program(case: &Case) -> Result<Program, GoldenError> {
    let shape = |key: &str| -> Result<Vec<u64>, GoldenError> {
        let tensor = case.tensors.get(key).map(|t| t.shape.iter().map(|n| *n as u64).collect());
        tensor.ok_or_else(|| GoldenError::Case(format!("`{}` has no tensor `{key}`", case.name)))
    };
    let x = shape("in.x")?;
    let function = case.reference.function.rsplit('.').next().unwrap_or_default();
    let (w, bias) = (Slot::new("param.", "w", "weight"), Slot::new("param.", "bias", "bias"));
    let axes = |names: &[&str]| sizes(&names.iter().copied().zip(x.iter().copied()).collect::<Vec<_>>());
    let (entry, sizes, slots): (&str, _, Vec<Slot>) = match function {
        "CausalConv1d" => {
            let conv = |name, key| Slot::new("param.", name, key);
            let slots = vec![conv("w", "conv.weight"), conv("bias", "conv.bias")];
            ("causal_conv1d", axes(&["b", "s", "c"]), slots)
        }
        "LayerNorm" => ("layernorm", axes(&["b", "s", "c"]), vec![w]),
        "MultiHeadLayerNorm" => ("multihead_layernorm", axes(&["b", "h", "s", "c"]), vec![w]),
        "LinearHeadwiseExpand" => {
            let blocks = shape("param.weight")?;
            let mut sizes = axes(&["b", "s"]);
            let inner = ["n", "i", "j"].map(str::to_string).into_iter().zip(blocks);
            sizes.extend(inner);
            ("linear_headwise", sizes, vec![w, bias])
        }
        "GatedFeedForward" => ("gated_ffn", axes(&["b", "s", "d"]), vec![]),
        "xLSTMRMSNorm" => ("rmsnorm_large", axes(&["b", "s", "c"]), vec![w]),
        "xLSTMMultiHeadLayerNorm" => ("multihead_layernorm_large", axes(&["b", "s", "h", "c"]), vec![w]),
        "soft_cap" => ("capped", axes(&["b", "s"]), vec![]),
        other => return Err(GoldenError::Case(format!("`{}`: no layer is made by `{other}`", case.name))),
    };
    let mut config = BTreeMap::new();
    let number = |key: &str| case.config.get(key).and_then(serde_json::Value::as_i64);
    if let Some(taps) = number("kernel_size") {
        config.insert("conv".to_string(), ConfigValue::Int(taps));
    }
    if let Some(width) = number("proj_up_dim") {
        config.insert("ffn".to_string(), ConfigValue::Int(width));
    }
    if let Some(act) = case.config.get("act_fn").and_then(serde_json::Value::as_str) {
        config.insert("act".to_string(), ConfigValue::Text(act.replace('^', "")));
    }
    let parameters = Parameters {
        names: NameTable::parse(FEEDFORWARD),
        section: None,
        ours: String::new(),
        theirs: String::new(),
    };
    Ok(Program {
        loops: Loops::None,
        recorded: "float32",
        source: include_str!("components.xl"),
        entry,
        config,
        sizes,
        dynamic: &["b", "s"],
        inputs: [vec![Slot::input("x")], slots].concat(),
        outputs: vec![Slot::output("y")],
        parameters: Some(parameters),
        left_out: &[],
    })
}
