//! Expressions.

use super::Elaborator;
use super::scope::Value;
use super::weak::Weak;
use crate::text::ast::{Binary, Expr, ExprKind, Unary};
use crate::text::program::ConfigValue;
use crate::{Diagnostic, OpKind};

/// Greatest exponent of `x^n`, which is written out as products.
const MAX_POWER: i64 = 16;

impl<'a> Elaborator<'a> {
    /// The value of an expression in the current frame.
    pub(super) fn eval(&mut self, expr: &'a Expr) -> Value {
        if !self.step(expr.span) {
            return Value::Error;
        }
        self.nesting += 1;
        let value = self.eval_inner(expr);
        self.nesting -= 1;
        value
    }

    fn eval_inner(&mut self, expr: &'a Expr) -> Value {
        let span = expr.span;
        match &expr.kind {
            ExprKind::Integer(n) => Value::Weak(Weak::Const(ConfigValue::Int(*n))),
            ExprKind::Float(x) => Value::Weak(Weak::Const(ConfigValue::Float(*x))),
            ExprKind::Truth(b) => Value::Weak(Weak::Const(ConfigValue::Bool(*b))),
            ExprKind::Name(name) => self.name(*name, span),
            ExprKind::Next(name) => self.next(*name, span),
            ExprKind::Size(axis) => match self.axis(*axis) {
                Some(axis) => Value::Weak(Weak::Size(axis)),
                None => Value::Error,
            },
            ExprKind::Unary(op, inner) => {
                let inner = self.eval(inner);
                let kind = match op {
                    Unary::Negate => OpKind::Neg,
                    Unary::Not => OpKind::Not,
                };
                self.apply(kind, vec![inner], span)
            }
            ExprKind::Binary(op, a, b) => self.binary(*op, a, b, expr),
            ExprKind::Call(call) => self.call(call, span),
            ExprKind::View(value, brackets) => self.view(value, brackets, span),
            ExprKind::If(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                match self.truth(condition) {
                    Some(true) => self.eval(then),
                    Some(false) => self.eval(otherwise),
                    None => Value::Error,
                }
            }
            ExprKind::Match(subject, arms) => match self.choose(subject, arms) {
                Some(chosen) => self.eval(chosen),
                None => Value::Error,
            },
            ExprKind::List(_) => match self.constant(expr) {
                Some(list) => Value::Weak(Weak::Const(list)),
                None => Value::Error,
            },
            ExprKind::Error => Value::Error,
        }
    }

    fn binary(&mut self, op: Binary, a: &'a Expr, b: &'a Expr, expr: &'a Expr) -> Value {
        let span = expr.span;
        let kind = match op {
            Binary::Add => OpKind::Add,
            Binary::Subtract => OpKind::Sub,
            Binary::Multiply => OpKind::Mul,
            Binary::Divide => OpKind::Div,
            Binary::Less | Binary::Greater => OpKind::Lt,
            Binary::LessEqual | Binary::GreaterEqual => OpKind::Le,
            Binary::Equal => OpKind::Eq,
            Binary::NotEqual => OpKind::Ne,
            Binary::And => OpKind::And,
            Binary::Or => OpKind::Or,
            Binary::Power => return self.power(a, b, expr),
            Binary::In => return self.membership(a, b),
        };
        let (left, right) = match self.enum_word(a, b) {
            Some(pair) => pair,
            None => {
                let left = self.eval(a);
                (left, self.eval(b))
            }
        };
        let swapped = matches!(op, Binary::Greater | Binary::GreaterEqual);
        let operands = if swapped { vec![right, left] } else { vec![left, right] };
        self.apply(kind, operands, span)
    }

    /// `act == gelu`: a word of an `enum` that is no name of its own stands for itself.
    fn enum_word(&mut self, a: &'a Expr, b: &'a Expr) -> Option<(Value, Value)> {
        let unbound = |e: &Elaborator<'a>, expr: &Expr| {
            expr.as_name().map(|n| n.name).filter(|name| e.lookup(*name).is_none())
        };
        let text = |e: &Elaborator<'a>, expr: &Expr| match e.weak_binding(expr.as_name()?.name) {
            Some(Weak::Const(value @ ConfigValue::Text(_))) => Some(value),
            _ => None,
        };
        let weak = |value: ConfigValue| Value::Weak(Weak::Const(value));
        let word = |name: crate::Name| weak(ConfigValue::Text(name.as_str().to_string()));
        match (text(self, a), unbound(self, b), unbound(self, a), text(self, b)) {
            (Some(value), Some(name), _, _) => Some((weak(value), word(name))),
            (_, _, Some(name), Some(value)) => Some((word(name), weak(value))),
            _ => None,
        }
    }

    fn power(&mut self, base: &'a Expr, exponent: &'a Expr, expr: &'a Expr) -> Value {
        let base = self.eval(base);
        let Some(exponent) = self.constant(exponent) else { return Value::Error };
        if let Value::Weak(Weak::Const(ConfigValue::Int(_) | ConfigValue::Float(_))) = &base {
            return match self.number(expr) {
                Some(x) => Value::Weak(Weak::Const(ConfigValue::Float(x))),
                None => Value::Error,
            };
        }
        if let ConfigValue::Int(n) = exponent
            && (1..=MAX_POWER).contains(&n)
        {
            let mut result = base.clone();
            for _ in 1..n {
                result = self.apply(OpKind::Mul, vec![result, base.clone()], expr.span);
            }
            return result;
        }
        let message = format!("an exponent must be an integer from 1 to {MAX_POWER}");
        let problem = Diagnostic::error("power", expr.span, message);
        self.report(problem.with_help("for others write `exp(y * log(x))`"));
        Value::Error
    }

    fn membership(&mut self, item: &'a Expr, set: &'a Expr) -> Value {
        let (item, set_value) = (self.integer(item), self.constant(set));
        match (item, set_value) {
            (Some(item), Some(ConfigValue::List(items))) => {
                Value::Weak(Weak::Const(ConfigValue::Bool(items.contains(&item))))
            }
            (_, Some(other)) if !matches!(other, ConfigValue::List(_)) => {
                let message = format!("`in` needs a set, not {}", super::constant::describe(&other));
                self.error("compile-time", set.span, message);
                Value::Error
            }
            _ => Value::Error,
        }
    }
}
