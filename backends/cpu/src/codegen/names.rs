//! Readable names in the text of generated functions.
//!
//! Invariant: a name depends on what it stands for. A constant is called by its value; any other value without a name
//! by the instruction that makes it, numbered within its block, with the block in front if another block uses it. So an
//! edit changes few lines of the text, two values of a function never share a name unless they are equal constants, and
//! names have no influence on the code.

use cranelift_codegen::ir::{Block, FuncRef, Function, Inst, InstructionData, Opcode, Value};
use std::collections::{HashMap, HashSet};

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
        let shared = shared_values(function);
        for block in function.layout.blocks() {
            let name = self.blocks.get(&block).cloned().unwrap_or_else(|| block.to_string());
            let mut counts: HashMap<String, u32> = HashMap::new();
            let mut settle = |value: Value, base: Base| {
                if self.values.contains_key(&value) {
                    return;
                }
                let base = match base {
                    Base::Constant(constant) => {
                        self.values.insert(value, constant);
                        return;
                    }
                    Base::Instruction(opcode) => opcode.to_string(),
                    Base::Parameter => "parameter".to_string(),
                };
                let count = counts.entry(base.clone()).or_insert(0);
                *count += 1;
                let numbered = if *count == 1 { base } else { format!("{base}.{count}") };
                let full = if shared.contains(&value) { format!("{name}.{numbered}") } else { numbered };
                self.values.insert(value, full);
            };
            for value in function.dfg.block_params(block) {
                settle(*value, Base::Parameter);
            }
            for inst in function.layout.block_insts(block) {
                let base = constant(function, inst);
                for value in function.dfg.inst_results(inst) {
                    let opcode = function.dfg.insts[inst].opcode();
                    settle(*value, base.clone().map_or(Base::Instruction(opcode), Base::Constant));
                }
            }
        }
        for alias in function.dfg.values().filter(|value| function.dfg.value_is_alias(*value)) {
            if let Some(name) = self.values.get(&function.dfg.resolve_aliases(alias)).cloned() {
                self.values.insert(alias, name);
            }
        }
        let mut text = String::new();
        let plain: String = function
            .display()
            .to_string()
            .lines()
            .filter(|line| !is_alias(line))
            .map(without_comment)
            .collect();
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

/// What a value without a name is called after.
enum Base {
    /// Its number.
    Constant(String),
    /// What makes it.
    Instruction(Opcode),
    /// A block that it is given to.
    Parameter,
}

/// Values that are used in another block than the one that makes them.
fn shared_values(function: &Function) -> HashSet<Value> {
    let mut home: HashMap<Value, Block> = HashMap::new();
    for block in function.layout.blocks() {
        let results =
            function.layout.block_insts(block).flat_map(|inst| function.dfg.inst_results(inst).to_vec());
        home.extend(function.dfg.block_params(block).iter().copied().chain(results).map(|v| (v, block)));
    }
    let mut shared = HashSet::new();
    for block in function.layout.blocks() {
        for inst in function.layout.block_insts(block) {
            let used = function.dfg.inst_values(inst).map(|value| function.dfg.resolve_aliases(value));
            shared.extend(used.filter(|value| home.get(value) != Some(&block)));
        }
    }
    shared
}

/// The name of an integer constant.
fn constant(function: &Function, inst: Inst) -> Option<String> {
    if let InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } = &function.dfg.insts[inst] {
        Some(imm.bits().to_string())
    } else {
        None
    }
}

/// Whether a line says that a value is another one: the text uses one name for both.
fn is_alias(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next().is_some_and(|word| word.starts_with('v')) && words.next() == Some("->")
}

/// A line without the constants that the library repeats behind it: their names say as much.
fn without_comment(line: &str) -> String {
    let code = line.split_once("  ; ").map_or(line, |(code, _)| code);
    format!("{code}\n")
}
