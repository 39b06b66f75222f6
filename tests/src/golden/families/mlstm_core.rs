//! The mLSTM cell with states in and out, as published: its author carries the scale.

use super::{Loops, Precision, Program, Slot, sizes};
use crate::golden::GoldenError;
use carousel_ir::text::ConfigValue;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Configuration of `mlstm_core`.
#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) struct Mlstm {
    b: u64,
    nh: u64,
    s: u64,
    dhqk: u64,
    dhhv: u64,
    #[serde(rename = "eps")]
    eps: f64,
    #[serde(rename = "state_convention")]
    state_convention: StateConvention,
    #[serde(rename = "m_init")]
    m_init: String,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum StateConvention {
    UnscaledK,
    ScaledK,
    None,
}

/// The program of a case.
pub(super) fn program(config: Mlstm, precision: Precision) -> Result<Program, GoldenError> {
    // Without state the convention does not matter.
    let scaled = match config.state_convention {
        StateConvention::UnscaledK => "query",
        StateConvention::ScaledK | StateConvention::None => "key",
    };
    let start = match config.m_init.as_str() {
        "given" | "0" => 0.0,
        other if other.starts_with("no initial state") => precision.empty_scale(),
        other => return Err(GoldenError::Case(format!("the start `{other}` of m is not known"))),
    };
    Ok(Program {
        loops: Loops::Linear,
        recorded: "recurrent",
        source: include_str!("mlstm_core.xl"),
        entry: "mlstm_core",
        config: BTreeMap::from([
            ("eps".to_string(), ConfigValue::Float(config.eps)),
            ("scaled".to_string(), ConfigValue::Text(scaled.to_string())),
        ]),
        sizes: sizes(&[
            ("b", config.b),
            ("nh", config.nh),
            ("s", config.s),
            ("dk", config.dhqk),
            ("dv", config.dhhv),
        ]),
        dynamic: &["b", "s"],
        inputs: vec![
            Slot::input("q"),
            Slot::input("k"),
            Slot::input("v"),
            Slot::input("i"),
            Slot::input("f"),
            Slot::input("C0"),
            Slot::input("n0"),
            Slot::input("m0").or(start),
        ],
        outputs: ["h", "C", "n", "m"].map(Slot::output).to_vec(),
        parameters: None,
        left_out: &[],
    })
}
