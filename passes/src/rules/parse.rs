//! The text of rules files.

use super::condition::{Condition, Test};
use super::define::{Definitions, Line, lines};
use super::pattern::{AxisFunction, Expr, holes};
use super::sets::RuleSet;
use super::{Rule, Tag};
use crate::forms::functions::{Function, LineFunction};
use crate::language::{Leaf, Virtual, attribute_count};
use carousel_ir::{Arity, DType, Diagnostic, Direction, Number, OpKind, Span, nearest};
use egg::Var;
use std::collections::HashSet;

/// How deep patterns may nest.
const DEPTH: usize = 32;

/// A problem without a place.
pub(super) fn problem(message: String) -> Diagnostic {
    Diagnostic::error("rule", Span::default(), message)
}

/// All rules of a text, which is file number `file` of its sources, or all problems with it.
pub(super) fn parse(text: &str, file: u32) -> Result<Vec<Rule>, Vec<Diagnostic>> {
    let (mut rules, mut problems, mut names) = (Vec::new(), Vec::new(), HashSet::new());
    let mut definitions = Definitions::default();
    let mut section: Option<Vec<RuleSet>> = None;
    for Line { start, end, words } in lines(text) {
        let written = &text[start..end];
        let span = Span { file, start: start as u32, end: end as u32 };
        let mut refuse = |d: Diagnostic| problems.push(Diagnostic { span: narrowed(written, span, &d), ..d });
        if let Some(list) = words.strip_prefix('[') {
            match header(list) {
                Ok(sets) => section = Some(sets),
                Err(d) => refuse(d),
            }
            continue;
        }
        let found = definitions.add(&words).and_then(|was_definition| {
            let lines = if was_definition { Vec::new() } else { expand(&words)? };
            lines.iter().map(|l| rule(l, &definitions, &mut names)).collect::<Result<Vec<Rule>, Diagnostic>>()
        });
        match found {
            Ok(more) => rules.extend(more.into_iter().map(|rule| {
                let sets = section.clone().unwrap_or_else(|| RuleSet::by_content(&rule));
                Rule { span, sets, ..rule }
            })),
            Err(d) => refuse(d),
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

/// The sets that a header names; its `[` is gone.
fn header(list: &str) -> Result<Vec<RuleSet>, Diagnostic> {
    let list = list
        .strip_suffix(']')
        .ok_or_else(|| problem("a header names the sets of the rules below it, as in `[stable]`".into()))?;
    let set = |name: &str| {
        let found = RuleSet::ALL.into_iter().find(|s| s.name() == name);
        found.ok_or_else(|| unknown("set of rules", name, RuleSet::ALL.map(RuleSet::name)))
    };
    list.split(',').map(|name| set(name.trim())).collect()
}

/// The word of the line that the message quotes, if it stands there; else the line.
fn narrowed(line: &str, span: Span, d: &Diagnostic) -> Span {
    let word = d.message.split('`').nth(1).filter(|w| !w.is_empty());
    match word.and_then(|w| line.find(w).map(|at| (at as u32, w.len() as u32))) {
        Some((at, length)) => Span { start: span.start + at, end: span.start + at + length, ..span },
        None => span,
    }
}

/// A line with `for $op in a b c` as several lines.
fn expand(line: &str) -> Result<Vec<String>, Diagnostic> {
    let (rule, tag) =
        line.split_once('#').ok_or_else(|| problem("a rule ends with its tag, as in `# real`".into()))?;
    let Some((rule, list)) = rule.split_once(" for $op in ") else { return Ok(vec![line.to_string()]) };
    if !rule.contains("$op") {
        return Err(problem("`for $op` stands on a rule without `$op`".into()));
    }
    Ok(list.split_whitespace().map(|op| format!("{} #{tag}", rule.trim_end().replace("$op", op))).collect())
}

fn rule(line: &str, definitions: &Definitions, names: &mut HashSet<String>) -> Result<Rule, Diagnostic> {
    let (text, tag) = line.rsplit_once('#').expect("the caller saw the tag");
    let tag = Tag::ALL
        .into_iter()
        .find(|t| t.name() == tag.trim())
        .ok_or_else(|| unknown("tag", tag.trim(), Tag::ALL.map(Tag::name)))?;
    let (name, body) =
        text.split_once(':').ok_or_else(|| problem("a rule begins with its name and a colon".into()))?;
    let (body, conditions) = match body.split_once(" if ") {
        Some((body, conditions)) => (body, conditions.split(',').collect()),
        None => (body, Vec::new()),
    };
    let (left, right) =
        body.split_once("=>").ok_or_else(|| problem("a rule has `=>` between its sides".into()))?;
    let name = name.trim().to_string();
    let left = side(&definitions.written_out(left)?, Side::Left)?;
    let right = side(&definitions.written_out(right)?, Side::Right)?;
    if !matches!(left, Expr::Op(..) | Expr::Virtual(..)) {
        return Err(problem(format!("the left-hand side of `{name}` must be an operation")));
    }
    holes(&left).map_err(|v| problem(format!("{v} is both an attribute and a value")))?;
    let mut bound = Vec::new();
    left.variables(&mut bound);
    let mut wanted = Vec::new();
    right.variables(&mut wanted);
    let conditions =
        conditions.iter().map(|c| condition(c.trim())).collect::<Result<Vec<_>, Diagnostic>>()?;
    wanted.extend(conditions.iter().flat_map(|c| c.variables.iter().copied()));
    if let Some(free) = wanted.iter().find(|v| !bound.contains(v)) {
        return Err(problem(format!("{free} does not occur on the left-hand side")));
    }
    if name.is_empty() || !names.insert(name.clone()) {
        return Err(problem(format!("there is another rule called `{name}`")));
    }
    let (patterns, height) = (left.compile(), left.height());
    let (text, span, sets) = (text.trim().to_string(), Span::default(), Vec::new());
    Ok(Rule { name, tag, text, span, sets, left, patterns, height, right, conditions })
}

fn condition(text: &str) -> Result<Condition, Diagnostic> {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_default();
    let (_, test, arity) = *Test::ALL
        .iter()
        .find(|(n, ..)| *n == name)
        .ok_or_else(|| unknown("condition", name, Test::ALL.iter().map(|(n, ..)| *n)))?;
    let variables = words.map(variable).collect::<Result<Vec<_>, Diagnostic>>()?;
    if variables.len() != arity {
        return Err(problem(format!("`{name}` takes {arity} variable(s), not {}", variables.len())));
    }
    Ok(Condition { test, variables })
}

fn variable(word: &str) -> Result<Var, Diagnostic> {
    let plain = word.strip_prefix('?').is_some_and(|w| !w.is_empty() && !w.contains('.'));
    plain
        .then(|| word.parse().ok())
        .flatten()
        .ok_or_else(|| problem(format!("`{word}` is no variable; variables are written `?name`")))
}

fn unknown<'a>(what: &str, word: &str, known: impl IntoIterator<Item = &'a str>) -> Diagnostic {
    let diagnostic = problem(format!("unknown {what} `{word}`"));
    match nearest(word, known) {
        Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
        None => diagnostic,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
}

/// One side of a rule.
fn side(text: &str, which: Side) -> Result<Expr, Diagnostic> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let expr = value(&mut words, which, 0)?;
    match words.next() {
        Some(more) => Err(problem(format!("`{more}` stands after the end of a pattern"))),
        None => Ok(expr),
    }
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn value(words: &mut Words<'_>, which: Side, depth: usize) -> Result<Expr, Diagnostic> {
    let word = words.next().ok_or_else(|| problem("a pattern ends too early".into()))?;
    match word {
        "(" if depth >= DEPTH => Err(problem(format!("patterns may nest {DEPTH} deep"))),
        "(" => operation(words, which, depth + 1),
        ")" => Err(problem("`)` stands where a value should".into())),
        "true" => Ok(Expr::Truth(true)),
        "false" => Ok(Expr::Truth(false)),
        word if word.starts_with('?') => variable(word).map(Expr::Variable),
        word => word
            .parse::<f64>()
            .map(|v| Expr::Number(Number::new(v)))
            .map_err(|_| problem(format!("`{word}` is no variable, number or truth value"))),
    }
}

fn operation(words: &mut Words<'_>, which: Side, depth: usize) -> Result<Expr, Diagnostic> {
    let name = words.next().ok_or_else(|| problem("`(` stands at the end".into()))?;
    if name == "count" && which == Side::Right {
        let axes = attribute(words, which, depth)?;
        close(words, name)?;
        return Ok(Expr::Count(Box::new(axes)));
    }
    if let Some((_, function, arity)) = Function::ALL.iter().find(|(n, ..)| *n == name)
        && which == Side::Right
    {
        let line =
            if function.has_attribute() { Some(Box::new(attribute(words, which, depth)?)) } else { None };
        let operands = (0..*arity).map(|_| value(words, which, depth)).collect::<Result<Vec<_>, _>>()?;
        close(words, name)?;
        return Ok(Expr::Function(*function, line, operands));
    }
    if let Some((_, what)) = Virtual::ALL.iter().find(|(n, _)| *n == name) {
        let operands = vec![value(words, which, depth)?, value(words, which, depth)?];
        close(words, name)?;
        return Ok(Expr::Virtual(*what, operands));
    }
    let mnemonics = OpKind::ALL.iter().map(|k| k.mnemonic());
    let kind = OpKind::parse(name).ok_or_else(|| unknown("operation", name, mnemonics))?;
    let (Some(attributes), Arity::Exactly(operands)) = (attribute_count(kind), kind.arity()) else {
        return Err(problem(format!("rules cannot look into `{name}`")));
    };
    let mut children = Vec::new();
    for place in 0..attributes + operands {
        if words.peek() == Some(&")") {
            let message = format!(
                "`{name}` takes {attributes} attribute(s) and {operands} operand(s), not {place} in all"
            );
            return Err(problem(message));
        }
        children.push(if place < attributes {
            attribute(words, which, depth)?
        } else {
            value(words, which, depth)?
        });
    }
    close(words, name)?;
    Ok(Expr::Op(kind, children))
}

fn attribute(words: &mut Words<'_>, which: Side, depth: usize) -> Result<Expr, Diagnostic> {
    let word = words.next().ok_or_else(|| problem("a pattern ends too early".into()))?;
    if word == "(" && depth < DEPTH && which == Side::Right {
        let name = words.next().unwrap_or_default();
        if let Some((_, function)) = LineFunction::ALL.iter().find(|(n, _)| *n == name) {
            let line = attribute(words, which, depth + 1)?;
            close(words, name)?;
            return Ok(Expr::Line(*function, Box::new(line)));
        }
        let known = AxisFunction::ALL.iter().map(|(n, ..)| *n);
        let known = known.chain(LineFunction::ALL.iter().map(|(n, _)| *n));
        let (_, function, arity) = *AxisFunction::ALL
            .iter()
            .find(|(n, ..)| *n == name)
            .ok_or_else(|| unknown("function of axes", name, known))?;
        let arguments =
            (0..arity).map(|_| attribute(words, which, depth + 1)).collect::<Result<Vec<_>, _>>()?;
        close(words, name)?;
        return Ok(Expr::Axes(function, arguments));
    }
    if word.starts_with('?') {
        return variable(word).map(Expr::Variable);
    }
    let leaf = match word {
        "forward" => Some(Leaf::Direction(Direction::Forward)),
        "reverse" => Some(Leaf::Direction(Direction::Reverse)),
        "none" => Some(Leaf::Axes(Vec::new())),
        word => DType::parse(word).map(Leaf::DType).or_else(|| word.parse().ok().map(Leaf::Integer)),
    };
    leaf.map(Expr::Leaf).ok_or_else(|| problem(format!("`{word}` is no attribute")))
}

fn close(words: &mut Words<'_>, name: &str) -> Result<(), Diagnostic> {
    match words.next() {
        Some(")") => Ok(()),
        Some(more) => Err(problem(format!("`{more}` where the `)` of `{name}` should be"))),
        None => Err(problem(format!("the `)` of `{name}` is missing"))),
    }
}
