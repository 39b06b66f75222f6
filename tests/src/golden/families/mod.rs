//! Which program computes a case, and which part of which tensor each of its inputs and outputs is.
//!
//! A family is known by the manifest's `family`; its configuration decides the rest. Layouts that split or join axes
//! are told by the axes of the program alone: elements are never moved, only seen with other axes. One file a family.

mod blocks;
mod components;
mod flashrnn;
mod hf;
mod linear_rnn;
mod lm;
mod mlstm_core;
mod slstm_core;
pub mod train;

use super::GoldenError;
use super::manifest::Case;
use carousel_ir::text::ConfigValue;
use carousel_models::external::NameTable;
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
    /// What its loops are.
    pub loops: Loops,
    /// What the manifest calls the references' float32 runs that its own f32 is compared with.
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
    /// Which tensors its parameters are, if it has some.
    pub parameters: Option<Parameters>,
    /// Beginnings of keys of results that it does not compute of a whole sequence.
    pub left_out: &'static [&'static str],
}

/// Which tensors of a case the parameters of a program are.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// The names.
    pub names: NameTable,
    /// The layout.
    pub section: Option<&'static str>,
    /// What has to stand before the paths of the program to make them those of the names.
    pub ours: String,
    /// What the names have before the keys of the case.
    pub theirs: String,
}

/// What is recorded of a language model that can be seen when it reads token by token.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The key of the tokens.
    pub tokens: &'static str,
    /// The key of the logits.
    pub logits: &'static str,
    /// The function of a layer, if the results and the last states of layers are recorded.
    pub layer: Option<&'static str>,
}

/// What the loops of a program are.
#[derive(Clone, Debug)]
pub enum Loops {
    /// All of them have to become linear scans, which are then computed in every form.
    Linear,
    /// They are computed step by step.
    Sequential,
    /// They are those of a model's cells: the published ones as they are written, and the paper's equations by the way of
    /// every compilation.
    Model,
    /// The same of a language model, which also reads token by token.
    LanguageModel(Reading),
    /// Those of a language model that is trained.
    Training(Box<train::Training>),
    /// There are none.
    None,
}

/// How precisely a target computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// f32.
    Single,
    /// f64.
    Double,
}

impl Precision {
    /// The logarithm of the scale of nothing, where a case does not tell it. In f64 it is so small that it never counts, as
    /// in the parallel form. In f32 that would make `exp(-m)` overflow where all gates are small, for the references too;
    /// it is 0 there, as in their recurrent form, whose errors the tolerances come from.
    fn empty_scale(self) -> f64 {
        match self {
            Precision::Single => 0.0,
            Precision::Double => -1e30,
        }
    }
}

/// The program of a case.
pub fn program(case: &Case, precision: Precision) -> Result<Program, GoldenError> {
    match case.family.as_str() {
        "mlstm_core" => mlstm_core::program(configuration(case)?, precision),
        "components" => components::program(case),
        "blocks" => blocks::program(case, configuration(case)?, precision),
        "lm" => Ok(lm::program(&configuration(case)?, precision)),
        "hf" => hf::program(case, &configuration(case)?),
        "flashrnn" => Ok(flashrnn::program(configuration(case)?)),
        "linear_rnn" => linear_rnn::program(&case.name, configuration(case)?),
        "slstm_core" => slstm_core::program(configuration(case)?),
        "train" => Ok(train::program(&configuration(case)?, configuration(case)?, precision)),
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
