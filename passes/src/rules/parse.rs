//! The text of rules files.

use super::condition::{Condition, Test};
use super::pattern::{AxisFunction, Expr, holes};
use super::{Rule, Tag};
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

/// All rules of a text, or all problems with it. Each problem begins with `name:line:`.
pub(super) fn parse(name: &str, text: &str) -> Result<Vec<Rule>, Vec<Diagnostic>> {
    let (mut rules, mut problems, mut names) = (Vec::new(), Vec::new(), HashSet::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        let found = expand(line).and_then(|lines| {
            lines.iter().map(|l| rule(l, &mut names)).collect::<Result<Vec<Rule>, Diagnostic>>()
        });
        match found {
            Ok(more) => rules.extend(more),
            Err(d) => {
                problems.push(Diagnostic { message: format!("{name}:{}: {}", number + 1, d.message), ..d });
            }
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
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

fn rule(line: &str, names: &mut HashSet<String>) -> Result<Rule, Diagnostic> {
    let (text, tag) = line.rsplit_once('#').expect("the caller saw the tag");
    let tags = [Tag::Bitwise, Tag::Real, Tag::Approx];
    let tag = tags
        .into_iter()
        .find(|t| t.name() == tag.trim())
        .ok_or_else(|| unknown("tag", tag.trim(), tags.map(Tag::name)))?;
    let (name, body) =
        text.split_once(':').ok_or_else(|| problem("a rule begins with its name and a colon".into()))?;
    let (body, conditions) = match body.split_once(" if ") {
        Some((body, conditions)) => (body, conditions.split(',').collect()),
        None => (body, Vec::new()),
    };
    let (left, right) =
        body.split_once("=>").ok_or_else(|| problem("a rule has `=>` between its sides".into()))?;
    let name = name.trim().to_string();
    let left = side(left, Side::Left)?;
    let right = side(right, Side::Right)?;
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
    let patterns = left.compile();
    Ok(Rule { name, tag, text: text.trim().to_string(), left, patterns, right, conditions })
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
        let (_, function, arity) = *AxisFunction::ALL
            .iter()
            .find(|(n, ..)| *n == name)
            .ok_or_else(|| unknown("function of axes", name, AxisFunction::ALL.map(|(n, ..)| n)))?;
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
