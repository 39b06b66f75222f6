//! Linear recurrences of many kinds, states in and out where the case has them.

use super::{Loops, Program, Slot, sizes};
use crate::golden::GoldenError;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Configuration of `linear_rnn`: sizes. Which recurrence it is, the last part of the case's name says.
#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) struct LinearRnn {
    b: u64,
    t: u64,
    h: u64,
    k: u64,
    v: u64,
    #[serde(default)]
    m: u64,
}

/// A recurrence: its function, inputs, outputs and what its loop is.
type Recurrence = (&'static str, &'static [&'static str], &'static [&'static str], Loops);

#[rustfmt::skip]
const RECURRENCES: [Recurrence; 12] = [
    ("linear_attn",            &["q", "k", "v", "S0"],                               &["o", "S"], Loops::Linear),
    ("linear_attn_normalized", &["q", "k", "v"],                                     &["o"],      Loops::Linear),
    ("retention",              &["q", "k", "v"],                                     &["o"],      Loops::Linear),
    ("simple_gla",             &["q", "k", "v", "g", "S0"],                          &["o", "S"], Loops::Linear),
    ("mamba2_ssd",             &["x", "dt", "dt_bias", "A_log", "Bm", "Cm", "D", "S0"], &["o", "S"], Loops::Linear),
    ("gla",                    &["q", "k", "v", "g", "S0"],                          &["o", "S"], Loops::Linear),
    ("delta_rule",             &["q", "k", "v", "beta", "S0"],                       &["o", "S"], Loops::Linear),
    ("gated_delta_rule",       &["q", "k", "v", "beta", "g", "S0"],                  &["o", "S"], Loops::Linear),
    ("kda_grouped",            &["q", "k", "v", "beta", "g", "S0"],                  &["o", "S"], Loops::Linear),
    ("dplr",                   &["q", "k", "v", "alpha", "beta", "g", "S0"],         &["o", "S"], Loops::Linear),
    ("hgrn",                   &["x", "g", "h0"],                                    &["o", "h"], Loops::Linear),
    ("gsa",                    &["q", "k", "v", "s", "g"],                           &["o"],      Loops::Linear),
];

/// The program of the case with that name.
pub(super) fn program(name: &str, config: LinearRnn) -> Result<Program, GoldenError> {
    let recurrence = name.rsplit('/').next().unwrap_or(name);
    let (entry, inputs, outputs, loops) = RECURRENCES
        .into_iter()
        .find(|(entry, ..)| *entry == recurrence)
        .ok_or_else(|| GoldenError::Case(format!("`{name}` is an unknown recurrence")))?;
    Ok(Program {
        loops,
        recorded: "float32",
        source: include_str!("linear_rnn.xl"),
        entry,
        config: BTreeMap::new(),
        sizes: sizes(&[
            ("b", config.b),
            ("s", config.t),
            ("h", config.h),
            ("k", config.k),
            ("v", config.v),
            ("j", 2 * config.h),
            ("m", config.m),
        ]),
        dynamic: &["b", "s"],
        inputs: inputs.iter().copied().map(Slot::input).collect(),
        outputs: outputs.iter().copied().map(Slot::output).collect(),
        parameters: None,
        left_out: &[],
    })
}
