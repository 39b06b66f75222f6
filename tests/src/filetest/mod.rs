//! File tests: a program with comments that say what must come of it.
//!
//! | line | meaning |
//! |---|---|
//! | `// WITH: bind=d=4 config=layers=2` | options for everything below in this file |
//! | `// RUN: parsed fn=f` | the text of `f` after that stage is what the following `//\|` lines say |
//! | `.. // ERROR: text` | a message about this line says this in its sentence, code or advice; a file has all its errors |
//! | `// EVAL: f([1, 2], 3) ~= [3, 6] tol=1e-6` | the function's outputs, on every backend that there is |
//! | `// VJP: f([1, 2], [1, 1]) ~= [3, 6], [3, 3]` | the same of its gradient: inputs and cotangents in, outputs and gradients out |
//! | `// GRADCHECK: f wrt=x s=3` | the gradient agrees with central differences at random inputs |
//!
//! Stages: `parsed`, `canonical`, `grad`, `kernel`, `diagnostics`. Options: `fn=`, `bind=AXIS=N,..`,
//! `config=NAME=VALUE,..` (a set is written `{1;3}`), `map=INPUT:AXIS.AXIS,..`, `dtype=`, `wrt=`, `tol=`, `in=LOW..HIGH`
//! or `in=INPUT:LOW..HIGH,..` for random inputs, and `SYMBOL=N` for sizes that come with the arguments.
//! `INSTA_UPDATE=always` writes the `//|` lines anew.
//!
//! Invariants: what a stage printed is never all that is checked. Every module must verify and come back from its
//! printed form, and every rewritten module is evaluated before and after, so that blessing cannot hide a wrong rewrite.

mod backends;
mod compare;
mod diagnostics;
mod directives;
mod evaluate;
mod expected;
mod gradients;
mod inputs;
mod literal;
mod options;
mod rewrites;
mod stages;

use crate::workspace;
use carousel_ir::text::{Failed, Program, elaborate, parse_module, parse_program, print};
use carousel_ir::{Diagnostic, FunctionId, Graph, Module, Op, OpKind, RenderStyle, verify};
use directives::FileTest;
use options::Settings;
use std::collections::BTreeSet;
use std::path::Path;

/// The text of a file of the library of models, for `use`.
///
/// # Errors
/// If there is no such file.
pub fn load_library(path: &str) -> Result<String, String> {
    std::fs::read_to_string(workspace::root().join("models/xl").join(path)).map_err(|e| e.to_string())
}

/// Runs one file test.
///
/// # Errors
/// What went wrong, for people.
pub fn run(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let test = FileTest::parse(&name, &text)?;
    if test.is_empty() {
        return Err("the file says nothing that must hold".to_string());
    }
    diagnostics::check_errors(&test)?;
    for evaluation in &test.evaluations {
        evaluate::check(&test, evaluation).map_err(|why| format!("{name}:{}: {why}", evaluation.line))?;
    }
    for gradient in &test.gradients {
        gradients::check(&test, gradient).map_err(|why| format!("{name}:{}: {why}", gradient.line))?;
    }
    expected::check(path, &test)
}

/// The operations that the evaluations of a file test reach.
///
/// # Errors
/// If the file does not elaborate.
pub fn operations(path: &Path) -> Result<BTreeSet<OpKind>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let test = FileTest::parse("", &text)?;
    let mut found = BTreeSet::new();
    for evaluation in &test.evaluations {
        let (module, _) = module_of(&test, &evaluation.call.function, &evaluation.settings)?;
        module.functions.iter().for_each(|f| add_operations(&f.graph, &mut found));
    }
    Ok(found)
}

fn add_operations(graph: &Graph, found: &mut BTreeSet<OpKind>) {
    for node in &graph.nodes {
        found.insert(node.op.kind());
        if let Op::Scan { scan } = &node.op {
            add_operations(&scan.body, found);
        }
    }
}

fn program_of(test: &FileTest) -> Result<Program, String> {
    parse_program(&test.name, &test.text, &load_library).map_err(|failed| failed.to_string())
}

/// One function of the file with what it calls, checked.
fn module_of(test: &FileTest, function: &str, settings: &Settings) -> Result<(Module, FunctionId), String> {
    let program = program_of(test)?;
    let fail = |diagnostics| rendered(&program, diagnostics);
    let module = elaborate(&program, &[function], &settings.elaboration).map_err(fail)?;
    check_module(&module, "the elaborated module")?;
    let root = module.find(function).ok_or_else(|| format!("there is no function `{function}`"))?;
    Ok((module, root))
}

fn rendered(program: &Program, diagnostics: Vec<Diagnostic>) -> String {
    program.sources.render(&diagnostics, RenderStyle::Plain)
}

/// Verifies the module and sends it through its printed form.
fn check_module(module: &Module, what: &str) -> Result<(), String> {
    if let Some(problem) = verify(module).first() {
        return Err(format!("{what} does not verify: {problem}\n{}", print(module)));
    }
    let text = print(module);
    let again = parse_module(&text)
        .map_err(|failed: Failed| format!("{what} cannot be read back: {failed}\n{text}"))?;
    if again != *module {
        return Err(format!(
            "{what} is another one after printing and reading:\n{text}\nthen\n{}",
            print(&again)
        ));
    }
    Ok(())
}
