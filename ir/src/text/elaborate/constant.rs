//! Compile-time evaluation: conditions, sizes of axes, initialisers.

use super::scope::{Binding, Progress, Value};
use super::weak::Weak;
use super::{Elaborator, Purpose, suggest};
use crate::text::ast::{Arm, Binary, Call, ConfigKind, Expr, ExprKind, Unary};
use crate::text::program::ConfigValue;
use crate::{Axes, Diagnostic, Init, Name, Number, Size};

/// A size that stands for an unknown one when a program is only checked.
const CHECK_SIZE: f64 = 64.0;

/// A compile-time value in words.
pub(super) fn describe(value: &ConfigValue) -> String {
    match value {
        ConfigValue::Int(n) => n.to_string(),
        ConfigValue::Float(x) => Number::new(*x).to_string(),
        ConfigValue::Bool(b) => b.to_string(),
        ConfigValue::Text(text) => format!("`{text}`"),
        ConfigValue::List(items) => {
            let items: Vec<String> = items.iter().map(i64::to_string).collect();
            format!("{{{}}}", items.join(", "))
        }
    }
}

/// Initialisers, with how many numbers they take.
const INITIALISERS: [(&str, usize); 7] = [
    ("zeros", 0),
    ("ones", 0),
    ("constant", 1),
    ("normal", 2),
    ("uniform", 2),
    ("linspace", 2),
    ("powerlaw", 3),
];

impl<'a> Elaborator<'a> {
    /// A value that is known while elaborating.
    pub(super) fn constant(&mut self, expr: &'a Expr) -> Option<ConfigValue> {
        if let ExprKind::List(items) = &expr.kind {
            let items: Vec<i64> = items.iter().map(|i| self.integer(i)).collect::<Option<_>>()?;
            return Some(ConfigValue::List(items));
        }
        let settled = match self.eval(expr) {
            Value::Weak(weak) => self.settle(&weak),
            Value::Error => return None,
            Value::Tensor(_) | Value::Tuple(_) => None,
        };
        if settled.is_none() {
            let problem = Diagnostic::error("compile-time", expr.span, "this must be known while compiling");
            self.report(problem.with_help("for a choice by data, use `select(condition, a, b)`"));
        }
        settled
    }

    pub(super) fn integer(&mut self, expr: &'a Expr) -> Option<i64> {
        let value = self.constant(expr)?;
        if let ConfigValue::Int(n) = value {
            return Some(n);
        }
        let message = format!("expected an integer, found {}", describe(&value));
        self.error("compile-time", expr.span, message);
        None
    }

    pub(super) fn truth(&mut self, expr: &'a Expr) -> Option<bool> {
        let value = self.constant(expr)?;
        if let ConfigValue::Bool(b) = value {
            return Some(b);
        }
        let message = format!("expected true or false, found {}", describe(&value));
        self.error("compile-time", expr.span, message);
        None
    }

    /// The case of a `match` that holds.
    pub(super) fn choose<T>(&mut self, subject: &'a Expr, arms: &'a [Arm<T>]) -> Option<&'a T> {
        let value = self.constant(subject)?;
        let words = self.words_of(subject);
        for pattern in arms.iter().flat_map(|a| &a.patterns) {
            let unknown = words.as_ref().is_some_and(|w| !w.contains(&pattern.name));
            if unknown && pattern.name.as_str() != "else" {
                let message = format!("`{}` is none of the words of this `enum`", pattern.name);
                let problem = Diagnostic::error("match", pattern.span, message);
                let known = words.iter().flatten().map(|w| w.as_str());
                self.report(suggest(problem, pattern.name.as_str(), known));
            }
        }
        let text = match &value {
            ConfigValue::Text(text) => text.clone(),
            ConfigValue::Int(_) | ConfigValue::Float(_) | ConfigValue::Bool(_) | ConfigValue::List(_) => {
                let message = format!("`match` needs an `enum`, not {}", describe(&value));
                self.error("match", subject.span, message);
                return None;
            }
        };
        let fits = |p: Name| p.as_str() == text || p.as_str() == "else";
        let chosen = arms.iter().find(|a| a.patterns.iter().any(|p| fits(p.name)));
        if chosen.is_none() {
            self.error("match", subject.span, format!("no case for `{text}`"));
        }
        chosen.map(|a| &a.body)
    }

    /// The words of the enum that a name stands for.
    fn words_of(&mut self, subject: &Expr) -> Option<Vec<Name>> {
        let ExprKind::Name(name) = subject.kind else { return None };
        let config = &self.function_scope().definition.config;
        config.iter().find(|c| c.name.name == name).and_then(|c| match &c.kind {
            ConfigKind::Enum(words) => Some(words.iter().map(|w| w.name).collect()),
            ConfigKind::Int | ConfigKind::Float | ConfigKind::Bool | ConfigKind::Set => None,
        })
    }

    /// A weak value that a name is bound to, if it is.
    pub(super) fn weak_binding(&self, name: Name) -> Option<Weak> {
        let at = self.lookup(name)?;
        match self.function.scopes[at].bindings.get(&name)? {
            Binding::Value(Value::Weak(weak)) => Some(weak.clone()),
            Binding::Lazy(lazy) => match &lazy.state {
                Progress::Done(Value::Weak(weak)) => Some(weak.clone()),
                Progress::Done(_) | Progress::Waiting | Progress::Running => None,
            },
            Binding::Value(_) | Binding::Result(..) | Binding::Part(..) | Binding::Local(_) => None,
        }
    }

    /// A number that is known while elaborating, as initialisers need it.
    pub(super) fn number(&mut self, expr: &'a Expr) -> Option<f64> {
        let problem = match &expr.kind {
            ExprKind::Integer(n) => return Some(*n as f64),
            ExprKind::Float(x) => return Some(*x),
            ExprKind::Size(axis) => {
                let axis = self.axis(*axis)?;
                match (self.size(axis).known(), self.purpose) {
                    (Some(n), _) => return Some(n as f64),
                    (None, Purpose::Check) => return Some(CHECK_SIZE),
                    (None, Purpose::Build) => {
                        let message = format!("the size of `{axis}` is not known while compiling");
                        Diagnostic::error("compile-time", expr.span, message)
                            .with_help(format!("bind it, for example with `{axis} = 64`"))
                    }
                }
            }
            ExprKind::Name(name) => match self.weak_binding(*name).and_then(|w| self.settle(&w)) {
                Some(ConfigValue::Int(n)) => return Some(n as f64),
                Some(ConfigValue::Float(x)) => return Some(x),
                Some(ConfigValue::Bool(_) | ConfigValue::Text(_) | ConfigValue::List(_)) => {
                    Diagnostic::error("compile-time", expr.span, format!("`{name}` is no number"))
                }
                None if self.lookup(*name).is_none() && self.resolve_axis(*name).is_some() => {
                    Diagnostic::error("compile-time", expr.span, format!("`{name}` is an axis"))
                        .with_help(format!("its size is `|{name}|`"))
                }
                None if self.lookup(*name).is_none() => {
                    self.name(*name, expr.span);
                    return None;
                }
                None => {
                    let message = format!("`{name}` is not known while compiling");
                    Diagnostic::error("compile-time", expr.span, message)
                }
            },
            ExprKind::Unary(Unary::Negate, inner) => return self.number(inner).map(|x| -x),
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.number(a), self.number(b));
                let (a, b) = (a?, b?);
                match op {
                    Binary::Add => return Some(a + b),
                    Binary::Subtract => return Some(a - b),
                    Binary::Multiply => return Some(a * b),
                    Binary::Divide => return Some(a / b),
                    Binary::Power => return Some(a.powf(b)),
                    Binary::Less
                    | Binary::LessEqual
                    | Binary::Greater
                    | Binary::GreaterEqual
                    | Binary::Equal
                    | Binary::NotEqual
                    | Binary::And
                    | Binary::Or
                    | Binary::In => Diagnostic::error("compile-time", expr.span, "expected a number"),
                }
            }
            ExprKind::Call(call) => return self.number_call(call),
            ExprKind::If(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                return if self.truth(condition)? { self.number(then) } else { self.number(otherwise) };
            }
            ExprKind::Match(subject, arms) => {
                let chosen = self.choose(subject, arms)?;
                return self.number(chosen);
            }
            ExprKind::Error => return None,
            ExprKind::Truth(_)
            | ExprKind::Next(_)
            | ExprKind::Unary(Unary::Not, _)
            | ExprKind::View(..)
            | ExprKind::List(_) => Diagnostic::error(
                "compile-time",
                expr.span,
                "expected a number that is known while compiling",
            ),
        };
        self.report(problem);
        None
    }

    fn number_call(&mut self, call: &'a Call) -> Option<f64> {
        let arguments: Vec<f64> = call.arguments.iter().map(|a| self.number(a)).collect::<Option<_>>()?;
        let result = match (call.name.name.as_str(), arguments.as_slice()) {
            ("sqrt", [a]) => a.sqrt(),
            ("exp", [a]) => a.exp(),
            ("log", [a]) => a.ln(),
            ("abs", [a]) => a.abs(),
            ("floor", [a]) => a.floor(),
            ("ceil", [a]) => a.ceil(),
            ("ceil", [a, m]) => (a / m).ceil() * m,
            ("floor", [a, m]) => (a / m).floor() * m,
            ("min", [a, b]) => a.min(*b),
            ("max", [a, b]) => a.max(*b),
            (name, _) => {
                let message =
                    format!("`{name}` of {} operand(s) is not computed while compiling", arguments.len());
                let problem = Diagnostic::error("compile-time", call.name.span, message);
                self.report(problem.with_help("sqrt, exp, log, abs, min, max, ceil and floor are"));
                return None;
            }
        };
        Some(result)
    }

    /// The size that an expression means: numbers, sizes of axes, compile-time parameters.
    pub(super) fn size_expr(&mut self, expr: &'a Expr) -> Option<Size> {
        if let Some((size, 1)) = self.quotient(expr) {
            return Some(size);
        }
        // Everything that has no expression, such as a product with a float, must be known.
        let number = self.number_with_axes(expr)?;
        if number >= 0.0 && number.fract() == 0.0 && number <= u32::MAX as f64 {
            return Some(Size::Known(number as u64));
        }
        let message = format!("a size must be a whole number, not {}", Number::new(number));
        let problem = Diagnostic::error("size", expr.span, message);
        self.report(problem.with_help("`ceil(x)` and `ceil(x, multiple)` round up"));
        None
    }

    /// `number`, where an axis too stands for its size.
    fn number_with_axes(&mut self, expr: &'a Expr) -> Option<f64> {
        match &expr.kind {
            ExprKind::Name(_) | ExprKind::Integer(_) => match self.quotient(expr) {
                Some((size, 1)) if size.known().is_some() => size.known().map(|n| n as f64),
                Some(_) if self.purpose == Purpose::Check => Some(CHECK_SIZE),
                _ => self.number(expr),
            },
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.number_with_axes(a), self.number_with_axes(b));
                let (a, b) = (a?, b?);
                match op {
                    Binary::Add => Some(a + b),
                    Binary::Subtract => Some(a - b),
                    Binary::Multiply => Some(a * b),
                    Binary::Divide => Some(a / b),
                    Binary::Power
                    | Binary::Less
                    | Binary::LessEqual
                    | Binary::Greater
                    | Binary::GreaterEqual
                    | Binary::Equal
                    | Binary::NotEqual
                    | Binary::And
                    | Binary::Or
                    | Binary::In => self.number(expr),
                }
            }
            ExprKind::Call(call) => {
                let parts: Vec<f64> =
                    call.arguments.iter().map(|a| self.number_with_axes(a)).collect::<Option<_>>()?;
                match (call.name.name.as_str(), parts.as_slice()) {
                    ("ceil", [a]) => Some(a.ceil()),
                    ("floor", [a]) => Some(a.floor()),
                    ("ceil", [a, m]) => Some((a / m).ceil() * m),
                    ("floor", [a, m]) => Some((a / m).floor() * m),
                    ("min", [a, b]) => Some(a.min(*b)),
                    ("max", [a, b]) => Some(a.max(*b)),
                    _ => self.number(expr),
                }
            }
            ExprKind::Float(_)
            | ExprKind::Truth(_)
            | ExprKind::Next(_)
            | ExprKind::Size(_)
            | ExprKind::Unary(..)
            | ExprKind::View(..)
            | ExprKind::If(_)
            | ExprKind::Match(..)
            | ExprKind::List(_)
            | ExprKind::Error => self.number(expr),
        }
    }

    /// A size over a whole divisor, where the expression is one; reports nothing.
    fn quotient(&mut self, expr: &'a Expr) -> Option<(Size, u64)> {
        let whole = |value: ConfigValue| match value {
            ConfigValue::Int(n) => u64::try_from(n).ok().map(Size::Known),
            ConfigValue::Float(_) | ConfigValue::Bool(_) | ConfigValue::Text(_) | ConfigValue::List(_) => {
                None
            }
        };
        match &expr.kind {
            ExprKind::Integer(n) => Some((Size::Known(u64::try_from(*n).ok()?), 1)),
            ExprKind::Size(axis) => Some((self.size(self.resolve_axis(axis.name)?), 1)),
            ExprKind::Name(name) => match self.weak_binding(*name) {
                Some(weak) => Some((whole(self.settle(&weak)?)?, 1)),
                None => Some((self.size(self.resolve_axis(*name)?), 1)),
            },
            ExprKind::Binary(op, a, b) => {
                let ((a, p), (b, q)) = (self.quotient(a)?, self.quotient(b)?);
                match op {
                    Binary::Multiply => reduced(Size::product([a, b]), p.checked_mul(q)?),
                    Binary::Divide => match b.known() {
                        Some(0) => None,
                        Some(n) => reduced(Size::product([a, Size::Known(q)]), p.checked_mul(n)?),
                        None => Some((a.exact_div(&b)?, p)).filter(|_| q == 1),
                    },
                    Binary::Add | Binary::Subtract if p != 1 || q != 1 => None,
                    Binary::Add => Some((Size::sum([a, b]), 1)),
                    Binary::Subtract => match (a.known(), b.known()) {
                        (Some(a), Some(b)) if a < b => None,
                        _ => Some((a.minus(b), 1)),
                    },
                    Binary::Power
                    | Binary::Less
                    | Binary::LessEqual
                    | Binary::Greater
                    | Binary::GreaterEqual
                    | Binary::Equal
                    | Binary::NotEqual
                    | Binary::And
                    | Binary::Or
                    | Binary::In => None,
                }
            }
            ExprKind::Call(call) if call.name.name.as_str() == "ceil" => match call.arguments.as_slice() {
                [a] => {
                    let (a, p) = self.quotient(a)?;
                    Some((a.ceil_div(Size::Known(p)), 1))
                }
                [a, m] => {
                    let ((a, p), (m, 1)) = (self.quotient(a)?, self.quotient(m)?) else { return None };
                    let m = m.known().filter(|m| *m > 0)?;
                    let blocks = a.ceil_div(Size::Known(p.checked_mul(m)?));
                    Some((Size::product([blocks, Size::Known(m)]), 1))
                }
                _ => None,
            },
            ExprKind::If(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                let chosen = if self.truth(condition)? { then } else { otherwise };
                self.quotient(chosen)
            }
            ExprKind::Match(subject, arms) => {
                let chosen = self.choose(subject, arms)?;
                self.quotient(chosen)
            }
            ExprKind::Float(_)
            | ExprKind::Truth(_)
            | ExprKind::Next(_)
            | ExprKind::Unary(..)
            | ExprKind::Call(_)
            | ExprKind::View(..)
            | ExprKind::List(_)
            | ExprKind::Error => None,
        }
    }

    /// How a parameter with these axes starts.
    pub(super) fn initialiser(&mut self, expr: &'a Expr, axes: &Axes) -> Option<Init> {
        let (name, arguments): (Name, &'a [Expr]) = match &expr.kind {
            ExprKind::Call(call) => (call.name.name, &call.arguments),
            ExprKind::Name(name) if self.lookup(*name).is_none() => (*name, &[]),
            ExprKind::Name(_) | ExprKind::Integer(_) | ExprKind::Float(_) | ExprKind::Unary(..) => {
                return self.number(expr).map(|c| Init::Constant(Number::new(c)));
            }
            ExprKind::If(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                let chosen = if self.truth(condition)? { then } else { otherwise };
                return self.initialiser(chosen, axes);
            }
            ExprKind::Match(subject, arms) => {
                let chosen = self.choose(subject, arms)?;
                return self.initialiser(chosen, axes);
            }
            ExprKind::Truth(_)
            | ExprKind::Next(_)
            | ExprKind::Size(_)
            | ExprKind::Binary(..)
            | ExprKind::View(..)
            | ExprKind::List(_)
            | ExprKind::Error => {
                let problem = Diagnostic::error("initialiser", expr.span, "this is no initialiser");
                self.report(problem.with_help("for example `normal(0, 0.02)` or `zeros`"));
                return None;
            }
        };
        let names = INITIALISERS.map(|(name, _)| name);
        let Some((_, takes)) = INITIALISERS.iter().find(|(n, _)| *n == name.as_str()) else {
            let message = format!("there is no initialiser `{name}`");
            let problem = Diagnostic::error("initialiser", expr.span, message);
            let problem = match crate::nearest(name.as_str(), names) {
                Some(near) => problem.with_help(format!("did you mean `{near}`?")),
                None => problem.with_help(format!("there are {}", names.join(", "))),
            };
            self.report(problem);
            return None;
        };
        // An axis may follow.
        let runs_along = ["linspace", "powerlaw"].contains(&name.as_str());
        let fits = arguments.len() == *takes || (runs_along && arguments.len() == takes + 1);
        if !fits {
            let message = format!("`{name}` takes {takes} numbers, not {}", arguments.len());
            self.error("initialiser", expr.span, message);
            return None;
        }
        let numbers: Vec<Number> =
            arguments.iter().take(*takes).map(|a| self.number(a).map(Number::new)).collect::<Option<_>>()?;
        match (name.as_str(), numbers.as_slice()) {
            ("zeros", _) => Some(Init::Constant(Number::new(0.0))),
            ("ones", _) => Some(Init::Constant(Number::new(1.0))),
            ("constant", [c]) => Some(Init::Constant(*c)),
            ("normal", [mean, std]) => Some(Init::Normal { mean: *mean, std: *std }),
            ("uniform", [low, high]) => Some(Init::Uniform { low: *low, high: *high }),
            (_, [low, high, ..]) => {
                let axis = match arguments.get(*takes) {
                    Some(Expr { kind: ExprKind::Name(axis), span, .. }) => {
                        self.axis(crate::text::ast::Ident { name: *axis, span: *span })?
                    }
                    Some(other) => {
                        self.error("initialiser", other.span, "expected an axis");
                        return None;
                    }
                    None => match axes.as_slice().last() {
                        Some(axis) => *axis,
                        None => {
                            self.error(
                                "initialiser",
                                expr.span,
                                format!("`{name}` needs an axis; this is a scalar"),
                            );
                            return None;
                        }
                    },
                };
                if !axes.contains(axis) {
                    let message = format!("the parameter [{axes}] has no axis `{axis}`");
                    self.error("axis-missing", expr.span, message);
                    return None;
                }
                Some(match numbers.get(2) {
                    Some(power) => Init::Powerlaw { low: *low, high: *high, power: *power, axis },
                    None => Init::Linspace { low: *low, high: *high, axis },
                })
            }
            _ => None,
        }
    }
}

fn reduced(size: Size, divisor: u64) -> Option<(Size, u64)> {
    match size.exact_div(&Size::Known(divisor)) {
        Some(exact) => Some((exact, 1)),
        None => Some((size, divisor)),
    }
}
