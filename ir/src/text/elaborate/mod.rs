//! From the syntax tree to a module.
//!
//! `fn`s are expanded where they are used, `block`s and `model`s become functions, one per distinct configuration,
//! static sizes and axes of arguments; those that differ in how their parameters start are one. What is wrong is noted and stands for [`Value::Error`], which nothing complains
//! about again, so that one mistake makes one message. Work is limited, so that every text is settled in bounded time.

mod axes;
mod call;
mod constant;
mod expression;
mod frame;
mod function;
mod operation;
mod random;
mod scan;
mod scope;
mod statement;
mod view;
mod weak;

use super::ast::{ConfigKind, Definition, Expr};
use super::program::{ConfigValue, Options, Program};
use crate::{Axis, DType, Diagnostic, FunctionId, FunctionKind, Module, Name, Size, Span};
use function::{FunctionInfo, FunctionState, Specialised};
pub(super) use operation::is_table_operation;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Most nodes of a module, all functions and scans together.
const MAX_NODES: usize = 1_000_000;

/// Most expressions evaluated.
const MAX_STEPS: usize = 5_000_000;

/// Deepest nesting of expressions, statements and expansions at one moment.
const MAX_NESTING: usize = 500;

/// Most messages about one program.
const MAX_PROBLEMS: usize = 200;

/// Makes a module with the functions `entries` as roots, under their own names. `fn`s too can be roots.
///
/// # Errors
/// Everything that is wrong with the program as far as the entries reach.
pub fn elaborate(program: &Program, entries: &[&str], options: &Options) -> Result<Module, Vec<Diagnostic>> {
    let mut elaborator = Elaborator::new(program, options, Purpose::Build);
    let mut roots = Vec::new();
    for entry in entries {
        match program.find(entry) {
            Some(definition) if roots.iter().any(|r: &&Definition| r.name == definition.name) => {}
            Some(definition) => roots.push(definition),
            None => {
                let known = program.definitions.iter().map(|d| d.name.name.as_str());
                let problem = Diagnostic::error(
                    "name-unknown",
                    Span::default(),
                    format!("there is no function `{entry}`"),
                );
                elaborator.problems.push(suggest(problem, entry, known));
            }
        }
    }
    for key in options.config.keys() {
        let models = program.definitions.iter().filter(|d| d.kind == FunctionKind::Model);
        let all = models.chain(roots.iter().copied()).flat_map(|r| &r.config).map(|c| c.name.name.as_str());
        let known: Vec<&str> = all.collect();
        if !known.contains(&key.as_str()) && !roots.is_empty() {
            let message = format!("no model has a compile-time parameter `{key}`");
            let problem = Diagnostic::error("config-unknown", roots[0].name.span, message);
            elaborator.problems.push(suggest(problem, key, known));
        }
    }
    let configured: Vec<_> = roots.iter().map(|r| (*r, elaborator.root_config(r, &options.config))).collect();
    elaborator.roots = configured.iter().map(|(r, c)| (r.name.name, elaborator.root_key(r, c))).collect();
    for (root, config) in configured {
        elaborator.root(root, config);
    }
    let module = std::mem::take(&mut elaborator.module);
    let problems = elaborator.finish();
    if problems.is_empty() { Ok(module) } else { Err(problems) }
}

/// Everything that is wrong with a program: each definition is elaborated by itself, with symbolic sizes and the
/// defaults of its compile-time parameters, and once more for each other word of an `enum` and each truth value.
pub fn check(program: &Program) -> Vec<Diagnostic> {
    let options = Options::default();
    let mut problems: Vec<Diagnostic> = Vec::new();
    for definition in &program.definitions {
        for config in variants(definition) {
            let mut elaborator = Elaborator::new(program, &options, Purpose::Check);
            let config = elaborator.root_config(definition, &config);
            elaborator.root(definition, config);
            problems.extend(elaborator.finish());
        }
    }
    let mut seen = HashSet::new();
    problems.retain(|p| seen.insert((p.code, p.span)));
    problems.sort_by_key(|p| p.span);
    problems
}

/// Configurations that together reach every case of each single parameter.
fn variants(definition: &Definition) -> Vec<BTreeMap<String, ConfigValue>> {
    let mut variants = vec![BTreeMap::new()];
    for declaration in &definition.config {
        let values: Vec<ConfigValue> = match &declaration.kind {
            ConfigKind::Bool => vec![ConfigValue::Bool(true), ConfigValue::Bool(false)],
            ConfigKind::Enum(words) => {
                words.iter().map(|w| ConfigValue::Text(w.name.as_str().to_string())).collect()
            }
            ConfigKind::Set => vec![ConfigValue::List(vec![0]), ConfigValue::List(Vec::new())],
            ConfigKind::Int | ConfigKind::Float => Vec::new(),
        };
        let key = declaration.name.name.as_str();
        variants.extend(values.into_iter().map(|v| BTreeMap::from([(key.to_string(), v)])));
    }
    variants
}

/// Whether the module is wanted, or only the messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Build,
    Check,
}

/// What elaboration knows; `'a` is the life of the program.
struct Elaborator<'a> {
    program: &'a Program,
    options: &'a Options,
    purpose: Purpose,
    module: Module,
    infos: Vec<FunctionInfo>,
    /// Functions by what they were made for.
    specialised: HashMap<String, Specialised>,
    /// Functions from the other end of an axis.
    mirrored: HashMap<(FunctionId, Axis), FunctionId>,
    /// Names that roots will have, and what they will be made for.
    roots: HashMap<Name, String>,
    /// Sizes that axes of functions have anywhere: axes that parameters carry meet in callers, and must not clash.
    claims: HashMap<Axis, Size>,
    /// The function that is being made.
    function: FunctionState<'a>,
    /// Definitions that are being expanded or made, outermost first, with the place of the call.
    active: Vec<(Name, Span)>,
    problems: Vec<Diagnostic>,
    steps: usize,
    nodes: usize,
    nesting: usize,
    exhausted: bool,
}

impl<'a> Elaborator<'a> {
    fn new(program: &'a Program, options: &'a Options, purpose: Purpose) -> Elaborator<'a> {
        Elaborator {
            program,
            options,
            purpose,
            module: Module::default(),
            infos: Vec::new(),
            specialised: HashMap::new(),
            mirrored: HashMap::new(),
            roots: HashMap::new(),
            claims: HashMap::new(),
            function: FunctionState::default(),
            active: Vec::new(),
            problems: Vec::new(),
            steps: 0,
            nodes: 0,
            nesting: 0,
            exhausted: false,
        }
    }

    fn finish(self) -> Vec<Diagnostic> {
        let mut seen = HashSet::new();
        let mut problems = self.problems;
        // An `fn` that is expanded twice would report its mistakes twice.
        problems.retain(|p| seen.insert((p.code, p.span, p.message.clone())));
        problems
    }

    fn dtype(&self) -> DType {
        self.options.dtype
    }

    /// Notes a problem, with the call that led to it.
    fn report(&mut self, problem: Diagnostic) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let problem = match self.active.last() {
            Some((name, call)) if call.is_known() && problem.span.is_known() => {
                problem.with_related(*call, format!("`{name}` is used here"))
            }
            _ => problem,
        };
        self.problems.push(problem);
    }

    fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.report(Diagnostic::error(code, span, message));
    }

    /// Counts a step of work; false once the limit is reached.
    fn step(&mut self, span: Span) -> bool {
        self.steps += 1;
        if self.exhausted {
            return false;
        }
        let limit = if self.steps > MAX_STEPS {
            format!("more than {MAX_STEPS} expressions to evaluate")
        } else if self.nodes > MAX_NODES {
            format!("more than {MAX_NODES} operations in the module")
        } else if self.nesting > MAX_NESTING {
            format!("expressions and expansions nested more than {MAX_NESTING} deep")
        } else {
            return true;
        };
        self.exhausted = true;
        self.error("limit", span, limit);
        false
    }

    /// The compile-time parameters of a root.
    fn root_config(
        &mut self,
        root: &'a Definition,
        given: &BTreeMap<String, ConfigValue>,
    ) -> Vec<(Name, ConfigValue)> {
        let mut values = Vec::new();
        for declaration in &root.config {
            let name = declaration.name;
            let value = match given.get(name.name.as_str()) {
                Some(value) => self.fit_config(declaration, value.clone(), name.span),
                None => self.default_config(declaration),
            };
            let value = value.or_else(|| match self.purpose {
                Purpose::Check => Some(placeholder(&declaration.kind)),
                Purpose::Build => {
                    let message = format!("the compile-time parameter `{}` has no value", name.name);
                    let problem = Diagnostic::error("config-missing", name.span, message);
                    self.report(problem.with_help("give it in the configuration, or give it a default"));
                    None
                }
            });
            values.extend(value.map(|v| (name.name, v)));
        }
        values
    }

    /// The value as the declaration wants it.
    fn fit_config(
        &mut self,
        declaration: &super::ast::ConfigDeclaration,
        value: ConfigValue,
        span: Span,
    ) -> Option<ConfigValue> {
        let fitted = match (&declaration.kind, &value) {
            (ConfigKind::Int, ConfigValue::Int(_))
            | (ConfigKind::Float, ConfigValue::Float(_))
            | (ConfigKind::Bool, ConfigValue::Bool(_))
            | (ConfigKind::Set, ConfigValue::List(_)) => Some(value.clone()),
            (ConfigKind::Float, ConfigValue::Int(n)) => Some(ConfigValue::Float(*n as f64)),
            (ConfigKind::Enum(words), ConfigValue::Text(text))
                if words.iter().any(|w| w.name.as_str() == text) =>
            {
                Some(value.clone())
            }
            _ => None,
        };
        if fitted.is_none() {
            let name = declaration.name.name;
            let wanted = describe_kind(&declaration.kind);
            let message = format!("`{name}` must be {wanted}, not {}", constant::describe(&value));
            let mut problem = Diagnostic::error("config", span, message);
            if let (ConfigKind::Enum(words), ConfigValue::Text(text)) = (&declaration.kind, &value) {
                problem = suggest(problem, text, words.iter().map(|w| w.name.as_str()));
            }
            self.report(problem);
        }
        fitted
    }

    fn default_config(&mut self, declaration: &'a super::ast::ConfigDeclaration) -> Option<ConfigValue> {
        let default = declaration.default.as_ref()?;
        let value = self.config_literal(declaration, default)?;
        self.fit_config(declaration, value, default.span)
    }

    /// A compile-time value; the words of an `enum` stand for themselves.
    fn config_literal(
        &mut self,
        declaration: &super::ast::ConfigDeclaration,
        value: &'a Expr,
    ) -> Option<ConfigValue> {
        if let (ConfigKind::Enum(words), super::ast::ExprKind::Name(name)) = (&declaration.kind, &value.kind)
            && (words.iter().any(|w| w.name == *name) || self.lookup(*name).is_none())
        {
            return Some(ConfigValue::Text(name.as_str().to_string()));
        }
        self.constant(value)
    }
}

/// Some value of that kind, to check a definition that nobody has configured.
fn placeholder(kind: &ConfigKind) -> ConfigValue {
    match kind {
        ConfigKind::Int => ConfigValue::Int(2),
        ConfigKind::Float => ConfigValue::Float(0.5),
        ConfigKind::Bool => ConfigValue::Bool(true),
        ConfigKind::Set => ConfigValue::List(vec![0]),
        ConfigKind::Enum(words) => {
            ConfigValue::Text(words.first().map_or("", |w| w.name.as_str()).to_string())
        }
    }
}

fn describe_kind(kind: &ConfigKind) -> String {
    match kind {
        ConfigKind::Int => "an integer".to_string(),
        ConfigKind::Float => "a number".to_string(),
        ConfigKind::Bool => "true or false".to_string(),
        ConfigKind::Set => "a set of integers".to_string(),
        ConfigKind::Enum(words) => {
            let words: Vec<&str> = words.iter().map(|w| w.name.as_str()).collect();
            format!("one of {}", words.join(", "))
        }
    }
}

/// The problem with the nearest name as advice, if one is near.
fn suggest<'n>(problem: Diagnostic, word: &str, known: impl IntoIterator<Item = &'n str>) -> Diagnostic {
    match crate::nearest(word, known) {
        Some(near) => problem.with_help(format!("did you mean `{near}`?")),
        None => problem,
    }
}

/// What a definition of that kind is called.
fn kind_name(kind: FunctionKind) -> &'static str {
    match kind {
        FunctionKind::Fn => "fn",
        FunctionKind::Block => "block",
        FunctionKind::Model => "model",
    }
}
