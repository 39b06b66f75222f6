//! Which program computes a case, and which part of which tensor each of its inputs and outputs is.
//!
//! A family is known by the manifest's `family`; its configuration decides the rest. Layouts that split or join axes
//! are told by the axes of the program alone: elements are never moved, only seen with other axes.

use super::GoldenError;
use super::manifest::Case;
use carousel_ir::text::ConfigValue;
use serde::Deserialize;
use std::collections::BTreeMap;

/// An input or output of a program in the file of a case.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Its name in the program.
    pub name: &'static str,
    /// `in.`, `param.` or `out.`.
    pub prefix: &'static str,
    /// The rest of the key.
    pub key: &'static str,
    /// Which of how many equal parts of the tensor it is.
    pub part: (usize, usize),
    /// What stands for an input that the case does not have.
    pub absent: f64,
}

impl Slot {
    fn new(prefix: &'static str, name: &'static str, key: &'static str) -> Slot {
        Slot { name, prefix, key, part: (0, 1), absent: 0.0 }
    }

    fn input(name: &'static str) -> Slot {
        Slot::new("in.", name, name)
    }

    fn output(name: &'static str) -> Slot {
        Slot::new("out.", name, name)
    }

    fn part(self, index: usize, count: usize) -> Slot {
        Slot { part: (index, count), ..self }
    }

    fn or(self, absent: f64) -> Slot {
        Slot { absent, ..self }
    }
}

/// A program with what it needs to compute a case.
#[derive(Clone, Debug)]
pub struct Program {
    /// The form of evaluation.
    pub form: &'static str,
    /// What the manifest calls the references' float32 runs of this form.
    pub recorded: &'static str,
    /// Its text.
    pub source: &'static str,
    /// The function.
    pub entry: &'static str,
    /// Compile-time parameters.
    pub config: BTreeMap<String, ConfigValue>,
    /// Sizes of all axes of its inputs and outputs.
    pub sizes: BTreeMap<String, u64>,
    /// Axes whose sizes are known only when it runs.
    pub dynamic: &'static [&'static str],
    /// The inputs.
    pub inputs: Vec<Slot>,
    /// The outputs.
    pub outputs: Vec<Slot>,
}

/// Families that are not computed yet.
const LATER: [&str; 7] = ["components", "blocks", "lm", "train", "hf", "linear_rnn", "flashrnn"];

/// How precisely a target computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// f32.
    Single,
    /// f64.
    Double,
}

/// The program of a case; none if its family is not handled yet.
pub fn program(case: &Case, precision: Precision) -> Result<Option<Program>, GoldenError> {
    match case.family.as_str() {
        "mlstm_core" => mlstm(configuration(case)?, precision).map(Some),
        "slstm_core" => slstm(configuration(case)?).map(Some),
        later if LATER.contains(&later) => Ok(None),
        other => Err(GoldenError::Case(format!("`{}` is of the unknown family `{other}`", case.name))),
    }
}

fn configuration<'a, T: Deserialize<'a>>(case: &'a Case) -> Result<T, GoldenError> {
    let what = || format!("the configuration of `{}`", case.name);
    T::deserialize(&case.config).map_err(|source| GoldenError::Json { what: what(), source })
}

fn sizes(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|(axis, size)| (axis.to_string(), *size)).collect()
}

/// Configuration of `mlstm_core`.
#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct Mlstm {
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

/// The start of m, where none is given. In f64 it is so small that it never counts, as in the parallel form. In f32
/// that would make `exp(-m)` overflow where all gates are small, for the references too; it is 0 there, as in their
/// recurrent form, whose errors the tolerances come from.
fn empty(precision: Precision) -> f64 {
    match precision {
        Precision::Single => 0.0,
        Precision::Double => -1e30,
    }
}

fn mlstm(config: Mlstm, precision: Precision) -> Result<Program, GoldenError> {
    // Without state the convention does not matter.
    let scaled = match config.state_convention {
        StateConvention::UnscaledK => "query",
        StateConvention::ScaledK | StateConvention::None => "key",
    };
    let start = match config.m_init.as_str() {
        "given" | "0" => 0.0,
        other if other.starts_with("no initial state") => empty(precision),
        other => return Err(GoldenError::Case(format!("the start `{other}` of m is not known"))),
    };
    Ok(Program {
        form: "recurrent",
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
    })
}

/// Configuration of `slstm_core`.
#[derive(Deserialize)]
struct Slstm {
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

fn slstm(config: Slstm) -> Result<Program, GoldenError> {
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
        form: "recurrent",
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
    })
}
