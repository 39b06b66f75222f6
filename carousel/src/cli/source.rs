//! What commands are given to compile: a source file with those that it uses, or a module as `print` writes it.
//!
//! Invariant: every diagnostic names the file that was asked for. A printed module is taken as it is: it has been
//! specialised already.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use carousel_ir::text::{
    ConfigValue, Failed, Options, Program, check, elaborate, parse_module, parse_program,
};
use carousel_ir::{Diagnostic, FunctionId, FunctionKind, Module, Op, Sources, Span, nearest};
use carousel_models::library::bundled;

use super::common::{Failure, ProgramOptions};

/// Why a printed module takes no options.
const SPECIALISED: &str = "a printed module is specialised already: give --bind, and inputs with extra axes, to the \
                           source that it was printed from";

/// What a file holds.
pub(super) enum Source {
    /// Equations.
    Program(Program),
    /// A printed module.
    Printed {
        /// It.
        module: Module,
        /// Its text, for messages.
        sources: Sources,
    },
}

impl Source {
    /// Reads a file; the files that it uses are looked for in its folder, then among the built-in ones.
    pub(super) fn read(path: &Path) -> Result<Source, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failure::Input(format!("cannot read {}: {e}", path.display())))?;
        let name = path.display().to_string();
        if is_printed(&text) {
            let mut sources = Sources::default();
            sources.add(name, text.as_str());
            return match parse_module(&text) {
                Ok(module) => Ok(Source::Printed { module, sources }),
                Err(failed) => Err(Failure::Program(Failed { sources, diagnostics: failed.diagnostics })),
            };
        }
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_else(|| PathBuf::from("."));
        let load = |used: &str| {
            std::fs::read_to_string(folder.join(used)).or_else(|error| match bundled(used) {
                Some(text) => Ok(text.to_string()),
                None => Err(format!("cannot read `{used}`: {error}")),
            })
        };
        Ok(Source::Program(parse_program(&name, &text, &load)?))
    }

    /// The texts, for messages.
    pub(super) fn sources(&self) -> &Sources {
        match self {
            Source::Program(program) => &program.sources,
            Source::Printed { sources, .. } => sources,
        }
    }

    /// Diagnostics with the texts that they are about.
    pub(super) fn failed(&self, diagnostics: Vec<Diagnostic>) -> Failure {
        Failure::Program(Failed { sources: self.sources().clone(), diagnostics })
    }

    /// Everything that is wrong, or worth a warning, in any function. A printed module has been checked by reading it.
    pub(super) fn problems(&self) -> Vec<Diagnostic> {
        match self {
            Source::Program(program) => check(program),
            Source::Printed { .. } => Vec::new(),
        }
    }

    /// The functions that can be asked for without naming them: those that the file itself defines, not those of files
    /// that it uses; of a printed module those that no other one calls.
    pub(super) fn own_functions(&self) -> Vec<String> {
        match self {
            Source::Program(program) => {
                let mut by_file: BTreeMap<u32, Vec<String>> = BTreeMap::new();
                for definition in &program.definitions {
                    let functions = by_file.entry(definition.name.span.file).or_default();
                    functions.push(definition.name.name.to_string());
                }
                by_file.into_values().next().unwrap_or_default()
            }
            Source::Printed { module, .. } => {
                let called: BTreeSet<FunctionId> = module
                    .functions
                    .iter()
                    .flat_map(|f| &f.graph.nodes)
                    .filter_map(|n| if let Op::Call { function } = &n.op { Some(*function) } else { None })
                    .collect();
                let ids = module.iter().filter(|(id, _)| !called.contains(id));
                ids.map(|(_, f)| f.name.to_string()).collect()
            }
        }
    }

    /// What these functions are specialised for: a name that is bound is a compile-time parameter, or an axis, of which
    /// `map` names some that the program does not.
    pub(super) fn options(
        &self,
        functions: &[&str],
        given: &ProgramOptions,
        map: &[String],
    ) -> Result<Options, Failure> {
        let mut options = Options { dtype: given.dtype, ..Options::default() };
        let bindings = given.bindings()?;
        let program = match self {
            Source::Program(program) => program,
            Source::Printed { .. } if bindings.is_empty() => return Ok(options),
            Source::Printed { .. } => return Err(Failure::Input(SPECIALISED.to_string())),
        };
        let is_configured = |kind, name: &str| kind == FunctionKind::Model || functions.contains(&name);
        let configured = program.definitions.iter().filter(|d| is_configured(d.kind, d.name.name.as_str()));
        let parameters: Vec<&str> =
            configured.flat_map(|d| &d.config).map(|c| c.name.name.as_str()).collect();
        let inputs = program.definitions.iter().flat_map(|d| &d.inputs);
        let axes = inputs.flat_map(|i| &i.ty.axes).map(|axis| axis.name.name.as_str());
        let axes: Vec<&str> = axes.chain(map.iter().map(String::as_str)).collect();
        for (name, value) in bindings {
            if parameters.contains(&name) {
                options.config.insert(name.to_string(), value);
            } else if axes.contains(&name) {
                let size = if let ConfigValue::Int(n) = value { u64::try_from(n).ok() } else { None };
                let size = size.ok_or_else(|| {
                    Failure::Input(format!(
                        "--bind `{name}`: the size of an axis is a whole number, not negative"
                    ))
                })?;
                options.sizes.insert(name.to_string(), size);
            } else {
                let near = nearest(name, parameters.iter().chain(&axes).copied());
                let help = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                let message =
                    format!("--bind `{name}`: no axis and no compile-time parameter has this name{help}");
                return Err(Failure::Input(message));
            }
        }
        Ok(options)
    }

    /// These functions with what they call.
    pub(super) fn module(&self, functions: &[&str], options: &Options) -> Result<Module, Failure> {
        match self {
            Source::Program(program) => {
                elaborate(program, functions, options).map_err(|diagnostics| self.failed(diagnostics))
            }
            Source::Printed { module, .. } => {
                if !options.map.is_empty() {
                    return Err(Failure::Input(SPECIALISED.to_string()));
                }
                let unknown = functions.iter().filter(|name| module.find(name).is_none());
                let problem = |name: &&str| {
                    let message = format!("there is no function `{name}`");
                    let error = Diagnostic::error("unknown-function", Span::default(), message);
                    let known = module.functions.iter().map(|f| f.name.as_str());
                    match nearest(name, known) {
                        Some(near) => error.with_help(format!("did you mean `{near}`?")),
                        None => error,
                    }
                };
                let problems: Vec<Diagnostic> = unknown.map(problem).collect();
                if problems.is_empty() { Ok(module.clone()) } else { Err(self.failed(problems)) }
            }
        }
    }

    /// One function with what it calls.
    pub(super) fn elaborated(&self, name: &str, options: &Options) -> Result<(Module, FunctionId), Failure> {
        let module = self.module(&[name], options)?;
        let root = module.find(name).expect("a function that was found is in its module");
        Ok((module, root))
    }
}

/// Whether a text is a printed module: only there does a body end with `return`, which no source may use as a name.
fn is_printed(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with("return ("))
}
