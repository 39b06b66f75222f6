//! `// ERROR:` lines: a program has exactly the errors that they announce.

use super::directives::FileTest;
use super::{load_library, stages::Stage};
use carousel_ir::text::{Program, check, elaborate, parse_program};
use carousel_ir::{Diagnostic, RenderStyle, Severity, Sources};

/// Everything that is wrong with the program: with its syntax, or else with its functions.
pub(super) fn problems(test: &FileTest) -> (Sources, Vec<Diagnostic>) {
    match parse_program(&test.name, &test.text, &load_library) {
        Err(failed) => (failed.sources, failed.diagnostics),
        Ok(program) => {
            let found = meaning(test, &program);
            (program.sources, found)
        }
    }
}

/// A `RUN: diagnostics fn=NAME` elaborates that function with its options; otherwise all functions are checked.
fn meaning(test: &FileTest, program: &Program) -> Vec<Diagnostic> {
    let run = test.runs.iter().find(|run| run.stage == Stage::Diagnostics);
    match run.and_then(|run| Some((run.settings.function.as_deref()?, &run.settings.elaboration))) {
        None => check(program),
        Some((function, options)) => elaborate(program, &[function], options).err().unwrap_or_default(),
    }
}

/// Compares what is wrong with what is announced. Without an announcement, and unless only messages are asked for,
/// nothing may be wrong.
pub(super) fn check_errors(test: &FileTest) -> Result<(), String> {
    let (sources, mut left) = problems(test);
    left.retain(|d| d.severity == Severity::Error);
    let mut missing = Vec::new();
    for (line, text) in &test.errors {
        let says = |d: &Diagnostic| {
            let help = d.help.as_deref().unwrap_or_default();
            [d.message.as_str(), d.code, help].iter().any(|t| t.contains(text.as_str()))
        };
        let here =
            |d: &Diagnostic| d.span.file == 0 && sources.line_column(d.span).is_some_and(|(l, _)| l == *line);
        match left.iter().position(|d| here(d) && says(d)) {
            Some(at) => drop(left.remove(at)),
            None => missing.push(format!("line {line}: no message says `{text}`")),
        }
    }
    if missing.is_empty() && left.is_empty() {
        return Ok(());
    }
    let mut report = missing.join("\n");
    if !left.is_empty() {
        report.push_str("\nnot announced:\n");
        report.push_str(&sources.render(&left, RenderStyle::Plain));
    }
    Err(report)
}

/// The messages as people read them.
pub(super) fn text(test: &FileTest) -> String {
    let (sources, problems) = problems(test);
    sources.render(&problems, RenderStyle::Plain)
}
