//! A program: a source file with all the files that it uses.
//!
//! Each file is read once, however often it is used; definitions of all files share one space of names.

use super::ast::Definition;
use super::parse;
use crate::{DType, Diagnostic, Name, Sources, Span};
use std::collections::{BTreeMap, BTreeSet};

/// Most files of a program.
const MAX_FILES: usize = 1000;

/// A parsed program.
#[derive(Clone, Debug)]
pub struct Program {
    /// The texts, for messages.
    pub sources: Sources,
    /// All definitions, those of used files first.
    pub definitions: Vec<Definition>,
}

impl Program {
    /// The definition called `name`.
    pub fn find(&self, name: &str) -> Option<&Definition> {
        self.definitions.iter().find(|d| d.name.name.as_str() == name)
    }
}

/// Texts that were refused, with what is wrong in them.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The texts.
    pub sources: Sources,
    /// Everything that is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sources.render(&self.diagnostics, crate::RenderStyle::Plain))
    }
}

impl std::error::Error for Failed {}

/// The value of a compile-time parameter.
#[derive(Clone, PartialEq, Debug)]
pub enum ConfigValue {
    /// For `int`, and for `float`.
    Int(i64),
    /// For `float`.
    Float(f64),
    /// For `bool`.
    Bool(bool),
    /// For `enum(..)`.
    Text(String),
    /// For `set`.
    List(Vec<i64>),
}

/// What elaboration is told besides the program.
#[derive(Clone, Debug)]
pub struct Options {
    /// The working dtype: that of floats whose type does not say.
    pub dtype: DType,
    /// Sizes of axes by name.
    pub sizes: BTreeMap<String, u64>,
    /// Compile-time parameters of the roots.
    pub config: BTreeMap<String, ConfigValue>,
    /// Leading axes that inputs of the roots carry besides their own, by input.
    pub map: BTreeMap<String, Vec<String>>,
}

impl Default for Options {
    fn default() -> Options {
        Options { dtype: DType::F32, sizes: BTreeMap::new(), config: BTreeMap::new(), map: BTreeMap::new() }
    }
}

/// Parses the file `name` with this text, and the files that it uses. `load` gives the text of a file by its path
/// relative to the root folder, or says why it cannot.
///
/// # Errors
/// Everything that is wrong with the syntax, and with the names of definitions and files.
pub fn parse_program(
    name: &str,
    text: &str,
    load: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Program, Failed> {
    let mut sources = Sources::default();
    let mut problems = Vec::new();
    let mut definitions: Vec<Definition> = Vec::new();
    let mut seen = BTreeSet::from([name.to_string()]);
    // Files wait here with their texts; each brings the files that it uses.
    let mut waiting = vec![(name.to_string(), text.to_string())];
    while let Some((name, text)) = waiting.pop() {
        let file = sources.add(name, text);
        let text = sources.get(file).map_or("", |s| s.text.as_str());
        let (parsed, wrong) = parse::parse(file, text);
        problems.extend(wrong);
        definitions.splice(0..0, parsed.definitions);
        for (path, span) in parsed.uses {
            if let Err(why) = check_path(&path) {
                let problem = Diagnostic::error("use", span, format!("cannot use \"{path}\": {why}"));
                problems.push(problem.with_help("paths are relative to the root folder, and stay inside it"));
            } else if seen.len() >= MAX_FILES {
                let message = format!("a program of more than {MAX_FILES} files");
                problems.push(Diagnostic::error("limit", span, message));
            } else if seen.insert(path.clone()) {
                match load(&path) {
                    Ok(text) => waiting.push((path, text)),
                    Err(why) => {
                        problems.push(Diagnostic::error(
                            "use",
                            span,
                            format!("cannot read \"{path}\": {why}"),
                        ));
                    }
                }
            }
        }
    }
    check_names(&definitions, &mut problems);
    if problems.is_empty() {
        Ok(Program { sources, definitions })
    } else {
        Err(Failed { sources, diagnostics: problems })
    }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        Err("the path is empty")
    } else if path.starts_with('/') || path.contains(['\\', ':', '\0']) {
        Err("the path is not relative")
    } else if path.split('/').any(|part| part == ".." || part.is_empty()) {
        Err("the path leaves the root folder")
    } else {
        Ok(())
    }
}

fn check_names(definitions: &[Definition], problems: &mut Vec<Diagnostic>) {
    let mut seen: BTreeMap<Name, Span> = BTreeMap::new();
    for definition in definitions {
        let name = definition.name;
        if super::elaborate::is_table_operation(name.name.as_str()) {
            let message = format!("`{}` is an operation of the language", name.name);
            problems
                .push(Diagnostic::error("duplicate", name.span, message).with_help("choose another name"));
        }
        if let Some(first) = seen.insert(name.name, name.span) {
            let message = format!("`{}` is defined twice", name.name);
            problems.push(
                Diagnostic::error("duplicate", name.span, message).with_related(first, "the first one"),
            );
        }
        let inputs = definition.inputs.iter().map(|t| t.name);
        let config = definition.config.iter().map(|c| c.name);
        distinct(inputs.chain(config), "input", problems);
        distinct(definition.outputs.iter().map(|t| t.name), "output", problems);
        if definition.outputs.is_empty() {
            let message = format!("`{}` has no output", name.name);
            problems.push(Diagnostic::error("output", name.span, message));
        }
    }
}

fn distinct(names: impl Iterator<Item = super::ast::Ident>, what: &str, problems: &mut Vec<Diagnostic>) {
    let mut seen: BTreeMap<Name, Span> = BTreeMap::new();
    for name in names {
        if let Some(first) = seen.insert(name.name, name.span) {
            let message = format!("two of the {what}s are called `{}`", name.name);
            problems.push(
                Diagnostic::error("duplicate", name.span, message).with_related(first, "the first one"),
            );
        }
    }
}
