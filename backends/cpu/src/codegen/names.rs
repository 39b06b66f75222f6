//! Readable names in the text of generated functions.
//!
//! Invariant: a name depends on what it stands for and, for a value without one, on its place in its block; so an edit
//! of one block leaves the text of all others as it was. Names have no influence on the code.

use cranelift_codegen::ir::{Block, FuncRef, Function, Value};
use std::collections::HashMap;

/// The names that were given while a function was built.
#[derive(Default)]
pub(crate) struct Names {
    values: HashMap<Value, String>,
    blocks: HashMap<Block, String>,
    functions: HashMap<FuncRef, String>,
    used: HashMap<String, u32>,
}

impl Names {
    /// Names a value; the second one of a name gets a number.
    pub(super) fn value(&mut self, value: Value, name: &str) {
        let name = self.distinct(name);
        self.values.insert(value, name);
    }

    /// Names a block.
    pub(super) fn block(&mut self, block: Block, name: &str) {
        let name = self.distinct(name);
        self.blocks.insert(block, name);
    }

    /// Names a function that is called.
    pub(super) fn function(&mut self, function: FuncRef, name: &str) {
        self.functions.insert(function, name.to_string());
    }

    fn distinct(&mut self, name: &str) -> String {
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '_' })
            .collect();
        let count = self.used.entry(name.clone()).or_insert(0);
        *count += 1;
        if *count == 1 { name } else { format!("{name}#{count}") }
    }

    /// The text of the function under these names.
    pub(crate) fn text(mut self, function: &Function) -> String {
        for block in function.layout.blocks() {
            let mut number = 0;
            let parameters = function.dfg.block_params(block).to_vec();
            let results =
                function.layout.block_insts(block).flat_map(|inst| function.dfg.inst_results(inst).to_vec());
            for value in parameters.into_iter().chain(results) {
                self.values.entry(value).or_insert_with(|| {
                    number += 1;
                    format!("t{number}")
                });
            }
        }
        let mut text = String::new();
        let plain = function.display().to_string();
        let mut rest = plain.as_str();
        let mut last = ' ';
        while let Some(c) = rest.chars().next() {
            let is_word = c.is_ascii_alphanumeric() || c == '_';
            if !is_word || last.is_ascii_alphanumeric() || last == '_' {
                text.push(c);
                rest = &rest[c.len_utf8()..];
                last = c;
                continue;
            }
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            text.push_str(&self.rename(&rest[..end]));
            last = rest[..end].chars().last().unwrap_or(' ');
            rest = &rest[end..];
        }
        text
    }

    fn rename(&self, word: &str) -> String {
        let number = |prefix: &str| word.strip_prefix(prefix).and_then(|n| n.parse::<u32>().ok());
        let found = if let Some(n) = number("v") {
            self.values.get(&Value::from_u32(n)).map(|name| format!("%{name}"))
        } else if let Some(n) = number("block") {
            self.blocks.get(&Block::from_u32(n)).cloned()
        } else if let Some(n) = number("fn") {
            self.functions.get(&FuncRef::from_u32(n)).cloned()
        } else {
            None
        };
        found.unwrap_or_else(|| word.to_string())
    }
}
