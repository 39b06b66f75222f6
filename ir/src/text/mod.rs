//! The text form: sources to modules, modules to text and back.
//!
//! [`parse_program`] reads a source with the files that it uses, [`elaborate`] makes a [`Module`](crate::Module) of it, [`print()`]
//! writes any module with one value a line, and [`parse_module`] reads that back: for a verified module the result is
//! equal. Sources are for people (nested expressions, mapping over axes, scans written as equations); the printed form
//! is for compilers and their tests, and says everything explicitly.
//!
//! Every problem of a program is reported, each with a code and a place; no text makes any of these functions panic.

pub mod ast;
mod elaborate;
mod lexer;
mod parse;
mod plain;
mod print;
mod program;

pub use elaborate::{check, elaborate};
pub use parse::MAX_DEPTH;
pub use plain::parse_module;
pub use print::print;
pub use program::{ConfigValue, Failed, Options, Program, parse_program};

#[cfg(test)]
mod tests;
