//! PTX as a syntax tree: kernels, their parameters, registers, memory and instructions.
//!
//! Invariant: any text gives a [`Module`] or a [`SyntaxError`]; registers are numbered, labels are positions. What an
//! instruction means, and whether it is known at all, is decided later.

mod parse;
mod token;

pub use parse::parse;
pub use token::Source;

use std::collections::HashMap;

/// A text that is no PTX, or PTX with what generated kernels do not have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line} of the PTX: {message}")]
pub struct SyntaxError {
    /// Line of the text.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

/// A register of a kernel. Its 64 bits hold any type; a predicate is 0 or 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Register(pub u32);

/// An operand as written.
#[derive(Clone, PartialEq, Debug)]
pub enum Operand {
    /// A register.
    Register(Register),
    /// Bits: an integer or a float.
    Bits(u64),
    /// A special register, such as `%tid.x`.
    Special(String),
    /// A variable's address, or a label.
    Symbol(String),
    /// Memory: `[base + offset]`.
    Address(Box<Operand>, i64),
    /// Several registers: `{a, b}`.
    Vector(Vec<Operand>),
    /// Two results: `a|b`.
    Pair(Box<Operand>, Box<Operand>),
    /// A negated predicate: `!p`.
    Not(Box<Operand>),
    /// A result that is not wanted: `_`.
    Sink,
}

/// One instruction.
#[derive(Clone, PartialEq, Debug)]
pub struct Instruction {
    /// The opcode with its modifiers, split at the dots.
    pub opcode: Vec<String>,
    /// Operands, results first.
    pub operands: Vec<Operand>,
    /// The predicate under which it runs, and whether that is negated.
    pub guard: Option<(Register, bool)>,
    /// Where it comes from in the CUDA source.
    pub source: Source,
    /// Line of the PTX text.
    pub line: u32,
}

/// Memory that is declared by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its alignment in bytes.
    pub align: usize,
    /// Its size in bytes; 0 for dynamic shared memory.
    pub bytes: usize,
    /// Bytes of an element.
    pub element: usize,
}

/// A parameter of a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its place in the parameter block, in bytes.
    pub offset: usize,
    /// Its size in bytes.
    pub bytes: usize,
}

/// A kernel.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What is passed to it.
    pub parameters: Vec<Parameter>,
    /// Bytes of all parameters.
    pub parameter_bytes: usize,
    /// How many registers it has.
    pub registers: u32,
    /// Shared memory, the module's and its own.
    pub shared: Vec<Variable>,
    /// Memory of each thread.
    pub local: Vec<Variable>,
    /// What it does.
    pub instructions: Vec<Instruction>,
    /// Where labels stand: the number of the instruction that follows.
    pub labels: HashMap<String, usize>,
    /// Most threads of a block, if it is declared.
    pub max_threads: Option<u32>,
}

/// A module.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Module {
    /// Its kernels.
    pub functions: Vec<Function>,
    /// Constant and global variables with their first bytes.
    pub globals: Vec<(Variable, Vec<u8>)>,
}

/// Bytes of a type, by its name without the dot.
pub fn type_bytes(name: &str) -> Option<usize> {
    Some(match name {
        "pred" | "b8" | "u8" | "s8" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" | "tf32" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        _ => return None,
    })
}
