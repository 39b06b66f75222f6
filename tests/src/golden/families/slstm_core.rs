//! The sLSTM and LSTM cells with memory mixing inside each head, states in and out.

use super::{Loops, Program, Slot, sizes};
use crate::golden::GoldenError;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Configuration of `slstm_core`.
#[derive(Deserialize)]
pub(super) struct Slstm {
    function: CellFunction,
    #[serde(rename = "B")]
    b: u64,
    #[serde(rename = "S")]
    s: u64,
    num_heads: u64,
    head_dim: u64,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum CellFunction {
    Slstm,
    Lstm,
}

/// The program of a case.
pub(super) fn program(config: Slstm) -> Result<Program, GoldenError> {
    let (entry, states): (_, &[(&str, &str)]) = match config.function {
        CellFunction::Slstm => ("slstm_core", &[("y0", "last"), ("c0", "c"), ("n0", "n"), ("m0", "m")]),
        CellFunction::Lstm => ("lstm_core", &[("y0", "last"), ("c0", "c")]),
    };
    let mut inputs = vec![
        Slot::new("in.", "wx", "Wx"),
        Slot::new("param.", "r", "_recurrent_kernel_"),
        Slot::new("param.", "bias", "_bias_"),
    ];
    let mut outputs = vec![Slot::output("y")];
    for (place, (start, end)) in states.iter().enumerate() {
        inputs.push(Slot::new("in.", start, "state0").part(place, states.len()));
        outputs.push(Slot::new("out.", end, "last_state").part(place, states.len()));
    }
    Ok(Program {
        loops: Loops::Sequential,
        recorded: "vanilla",
        source: include_str!("slstm_core.xl"),
        entry,
        config: BTreeMap::new(),
        sizes: sizes(&[
            ("b", config.b),
            ("s", config.s),
            ("gate", 4),
            ("h", config.num_heads),
            ("d", config.head_dim),
            ("e", config.head_dim),
        ]),
        dynamic: &["b", "s"],
        inputs,
        outputs,
        parameters: None,
        left_out: &[],
    })
}
