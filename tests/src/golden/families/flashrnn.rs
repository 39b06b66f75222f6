//! LSTM, GRU, Elman network and sLSTM with memory mixing inside each head; the results are the states of all steps.

use super::{Loops, Program, Slot, sizes};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Configuration of `flashrnn`.
#[derive(Deserialize)]
pub(super) struct Flashrnn {
    function: CellFunction,
    #[serde(rename = "T")]
    steps: u64,
    #[serde(rename = "B")]
    b: u64,
    num_heads: u64,
    head_dim: u64,
    gates_w: u64,
    gates_r: u64,
    gates_b: u64,
    states: u64,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum CellFunction {
    Elman,
    Gru,
    Lstm,
    Slstm,
}

impl CellFunction {
    fn entry(self) -> &'static str {
        match self {
            CellFunction::Elman => "elman",
            CellFunction::Gru => "gru",
            CellFunction::Lstm => "lstm",
            CellFunction::Slstm => "slstm",
        }
    }
}

/// The program of a case.
pub(super) fn program(config: Flashrnn) -> Program {
    Program {
        loops: Loops::Sequential,
        recorded: "float32",
        source: include_str!("flashrnn.xl"),
        entry: config.function.entry(),
        config: BTreeMap::new(),
        sizes: sizes(&[
            ("s", config.steps),
            ("b", config.b),
            ("h", config.num_heads),
            ("d", config.head_dim),
            ("e", config.head_dim),
            ("gw", config.gates_w),
            ("gr", config.gates_r),
            ("gt", config.gates_b),
            ("n", config.states),
        ]),
        dynamic: &["b", "s"],
        inputs: vec![
            Slot::new("in.", "wx", "Wx"),
            Slot::new("param.", "r", "R"),
            Slot::new("param.", "bias", "b"),
            // Zero where the case has none.
            Slot::input("state0"),
        ],
        outputs: vec![Slot::output("states")],
        parameters: None,
        left_out: &[],
    }
}
