//! Statements of a function's body.
//!
//! `if` and `match` are settled here and open no scope, so that what they bind is seen behind them; `repeat` opens one
//! a turn.

use super::frame::Val;
use super::scope::{Binding, Scope, Value};
use super::weak::Weak;
use super::{Elaborator, kind_name};
use crate::text::ast::{Expr, Ident, Statement, StatementKind, TypeExpr};
use crate::text::program::ConfigValue;
use crate::{Decay, Diagnostic, FunctionKind, Role, Span};

/// Most turns of one `repeat`.
const MAX_TURNS: i64 = 10_000;

impl<'a> Elaborator<'a> {
    pub(super) fn statements(&mut self, statements: &'a [Statement]) {
        for statement in statements {
            if !self.step(statement.span) {
                return;
            }
            self.nesting += 1;
            self.statement(statement);
            self.nesting -= 1;
        }
    }

    fn statement(&mut self, statement: &'a Statement) {
        match &statement.kind {
            StatementKind::Let { names, ty, value } => {
                let result = self.eval(value);
                let result = match ty {
                    Some(ty) => self.ascribe(result, ty, value.span),
                    None => result,
                };
                self.bind_all(names, result, value.span);
            }
            StatementKind::LocalFunction(function) => {
                self.scope().bindings.insert(function.name.name, Binding::Local(function));
            }
            StatementKind::Assign { name, value } => {
                let result = self.eval(value);
                self.assign(*name, result);
            }
            StatementKind::Parameter { name, ty, init, decay } => {
                self.parameter(*name, ty, init, *decay);
            }
            StatementKind::Repeat { variable, from, to, body } => {
                let (from, to) = (self.integer(from), self.integer(to));
                if let (Some(from), Some(to)) = (from, to) {
                    self.repeat(*variable, from, to, body, statement.span);
                }
            }
            StatementKind::If { condition, then, otherwise } => match self.truth(condition) {
                Some(true) => self.statements(then),
                Some(false) => self.statements(otherwise),
                None => {}
            },
            StatementKind::Match { subject, arms } => {
                if let Some(body) = self.choose(subject, arms) {
                    self.statements(body);
                }
            }
            StatementKind::Scan(scan) => self.scan(scan, statement.span),
            StatementKind::Next { name, .. } => {
                let message = format!("`{}'` is the next value of a state, which only a scan has", name.name);
                self.error("scan", statement.span, message);
            }
            StatementKind::State { .. } => {
                self.error("scan", statement.span, "a `state` belongs into a `scan`");
            }
            StatementKind::Yield { .. } => {
                self.error("scan", statement.span, "a `yield` belongs into a `scan`");
            }
        }
    }

    fn bind_all(&mut self, names: &[Ident], value: Value, span: Span) {
        if let [name] = names {
            self.bind(*name, value);
            return;
        }
        let parts = match value {
            Value::Tuple(parts) if parts.len() == names.len() => {
                parts.iter().map(|(_, v)| v.clone()).collect()
            }
            Value::Error => vec![Value::Error; names.len()],
            Value::Tuple(parts) => {
                let outputs: Vec<&str> = parts.iter().map(|(n, _)| n.as_str()).collect();
                let message = format!("{} names for {} outputs", names.len(), outputs.len());
                let problem = Diagnostic::error("arity", span, message);
                self.report(problem.with_help(format!("the outputs are {}", outputs.join(", "))));
                vec![Value::Error; names.len()]
            }
            Value::Tensor(_) | Value::Weak(_) => {
                self.error("arity", span, format!("{} names for one value", names.len()));
                vec![Value::Error; names.len()]
            }
        };
        for (name, part) in names.iter().zip(parts) {
            self.bind(*name, part);
        }
    }

    fn assign(&mut self, name: Ident, value: Value) {
        let Some(at) = self.lookup(name.name) else {
            let problem =
                Diagnostic::error("name-unknown", name.span, format!("unknown name `{}`", name.name));
            self.report(problem.with_help(format!("a new name is bound by `let {} = ..`", name.name)));
            return;
        };
        if self.function.scopes[at].frame != self.function.at {
            let message = format!("`{}` belongs to what is around this scan", name.name);
            self.error("assign", name.span, message);
            return;
        }
        self.function.scopes[at].bindings.insert(name.name, Binding::Value(value));
    }

    fn repeat(&mut self, variable: Ident, from: i64, to: i64, body: &'a [Statement], span: Span) {
        if to.saturating_sub(from) > MAX_TURNS {
            let message = format!("{} turns; the limit is {MAX_TURNS}", to.saturating_sub(from));
            self.error("limit", span, message);
            return;
        }
        for turn in from..to {
            if self.exhausted {
                return;
            }
            let frame = self.function.at;
            self.function.scopes.push(Scope { frame, ..Scope::default() });
            self.bind(variable, Value::Weak(Weak::Const(ConfigValue::Int(turn))));
            self.function.path.push(format!("{}.{turn}", variable.name));
            self.statements(body);
            self.function.path.pop();
            self.function.scopes.pop();
        }
    }

    fn parameter(&mut self, name: Ident, ty: &'a TypeExpr, init: &'a Expr, decay: Decay) {
        let scope = self.function_scope();
        let (kind, is_expansion) = (scope.definition.kind, scope.expansion.is_some());
        if kind == FunctionKind::Fn || is_expansion {
            let message = format!("an `{}` has no parameters of its own", kind_name(kind));
            let problem = Diagnostic::error("param", name.span, message);
            self.report(problem.with_help("make it a `block`, or take the parameter as an argument"));
            self.bind(name, Value::Error);
            return;
        }
        let Some(ty) = self.ty_of(ty) else {
            self.bind(name, Value::Error);
            return;
        };
        let Some(init) = self.initialiser(init, &ty.axes) else {
            self.bind(name, Value::Error);
            return;
        };
        let value = self.add_parameter(name.name.as_str(), ty, Role::Parameter { init, decay }, name.span);
        self.bind(name, value);
    }

    /// Adds a parameter under its full path.
    pub(super) fn add_parameter(&mut self, name: &str, ty: crate::Type, role: Role, span: Span) -> Value {
        let parts = self.function.path.iter().map(String::as_str).chain([name]);
        let full = crate::Name::new(&parts.collect::<Vec<_>>().join("."));
        let root = &mut self.function.frames[0];
        if root.has_input(full) {
            let problem = Diagnostic::error("duplicate", span, format!("there is already an input `{full}`"));
            self.report(problem.with_help("call one of the blocks under another name: `block(x) as name`"));
            return Value::Error;
        }
        let id = root.add_input(full, ty, role, span);
        Value::Tensor(Val { frame: 0, id })
    }
}
