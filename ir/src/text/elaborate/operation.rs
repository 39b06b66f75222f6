//! Operations of the language: those of the op table under their mnemonics, and a few that are made of them.

use super::scope::Value;
use super::weak::Weak;
use super::{Elaborator, suggest};
use crate::text::ast::{Brackets, Call, Expr};
use crate::{Axes, Axis, Class, DType, Diagnostic, Direction, Op, OpKind, Span, Type};

/// Operations of the language that are not in the op table.
const SUGAR: [&str; 5] = ["mean", "where", "square", "dropout", "min"];

/// Whether `name` is an operation of the op table, which no definition may replace.
pub(in crate::text) fn is_table_operation(name: &str) -> bool {
    OpKind::parse(name).is_some()
}

/// Whether `name` is an operation of the language.
pub(super) fn is_builtin(name: &str) -> bool {
    SUGAR.contains(&name) || OpKind::parse(name).is_some()
}

/// The names of all operations, for suggestions.
pub(super) fn builtins() -> impl Iterator<Item = &'static str> {
    OpKind::ALL.iter().map(|k| k.mnemonic()).chain(SUGAR)
}

impl<'a> Elaborator<'a> {
    /// An operation without attributes on values; weak ones take the dtype of the others.
    pub(super) fn apply(&mut self, kind: OpKind, operands: Vec<Value>, span: Span) -> Value {
        if operands.iter().any(|v| matches!(v, Value::Error)) {
            return Value::Error;
        }
        let weak: Option<Vec<Weak>> = operands
            .iter()
            .map(|v| match v {
                Value::Weak(weak) => Some(weak.clone()),
                Value::Tensor(_) | Value::Tuple(_) | Value::Error => None,
            })
            .collect();
        if let Some(weak) = weak
            && let Some(value) = self.apply_weak(kind, &weak, span)
        {
            return value;
        }
        let typed = operands.iter().enumerate().find_map(|(place, v)| match v {
            Value::Tensor(value) if kind != OpKind::Select || place > 0 => Some(self.ty(*value).dtype),
            Value::Tensor(_) | Value::Weak(_) | Value::Tuple(_) | Value::Error => None,
        });
        let logical = matches!(kind, OpKind::And | OpKind::Or | OpKind::Not);
        let fallback = if logical { DType::Bool } else { self.dtype() };
        let mut values = Vec::new();
        for (place, operand) in operands.into_iter().enumerate() {
            let dtype =
                if kind == OpKind::Select && place == 0 { DType::Bool } else { typed.unwrap_or(fallback) };
            let operand = self.firm(operand, dtype, span);
            match self.tensor_or_report(operand, span) {
                Some(value) => values.push(value),
                None => return Value::Error,
            }
        }
        match kind.with_attributes(&[]) {
            Some(op) => self.push(op, &values, span),
            None => Value::Error,
        }
    }

    /// A call of an operation.
    pub(super) fn operation(&mut self, call: &'a Call, span: Span) -> Value {
        if let Some((key, _)) = call.config.first() {
            let message = format!("`{}` has no compile-time parameters", call.name.name);
            self.error("config-unknown", key.span, message);
        }
        if let Some(alias) = call.alias {
            self.error("alias", alias.span, "`as` names the call of a block");
        }
        let name = call.name.name.as_str();
        match name {
            "iota" => {
                return match self.axis_argument(call) {
                    Some(axis) => self.outside(axis, |e| e.push(Op::Iota { axis }, &[], span)),
                    None => Value::Error,
                };
            }
            "uniform" => return self.uniform(call, span),
            "dropout" => return self.dropout(call, span),
            _ => {}
        }
        let arguments: Vec<Value> = call.arguments.iter().map(|a| self.eval(a)).collect();
        let brackets = call.attributes.as_ref();
        match (name, brackets) {
            ("where", None) => self.elementwise(OpKind::Select, call, arguments, span),
            ("square", None) => match <[Value; 1]>::try_from(arguments) {
                Ok([x]) => self.apply(OpKind::Mul, vec![x.clone(), x], span),
                Err(arguments) => self.wrong_count(call, 1, arguments.len(), span),
            },
            ("max" | "min" | "mean", Some(brackets)) => {
                let Some(axes) = self.attribute_axes(brackets) else { return Value::Error };
                let Some([x]) = self.tensors(call, arguments, span) else { return Value::Error };
                match name {
                    "max" => self.push(Op::ReduceMax { axes }, &[x], span),
                    "min" => {
                        let negated = self.apply(OpKind::Neg, vec![Value::Tensor(x)], span);
                        let Value::Tensor(negated) = negated else { return Value::Error };
                        let largest = self.push(Op::ReduceMax { axes }, &[negated], span);
                        self.apply(OpKind::Neg, vec![largest], span)
                    }
                    _ => {
                        let mut result = self.push(Op::Sum { axes: axes.clone() }, &[x], span);
                        for axis in axes.iter() {
                            let size = Value::Weak(Weak::Size(axis));
                            result = self.apply(OpKind::Div, vec![result, size], span);
                        }
                        result
                    }
                }
            }
            ("mean", None) => {
                let problem = Diagnostic::error("axis-missing", span, "`mean` needs an axis");
                self.report(problem.with_help("write it in brackets: `mean[d](x)`"));
                Value::Error
            }
            _ => match OpKind::parse(name) {
                Some(kind) => self.table_operation(kind, call, arguments, span),
                None => Value::Error,
            },
        }
    }

    fn table_operation(&mut self, kind: OpKind, call: &'a Call, arguments: Vec<Value>, span: Span) -> Value {
        let brackets = call.attributes.as_ref();
        let Some(op) = (match (kind, brackets) {
            (OpKind::Cast, Some(b)) => self.dtype_attribute(b).map(|dtype| Op::Cast { dtype }),
            (OpKind::Sum, Some(b)) => self.attribute_axes(b).map(|axes| Op::Sum { axes }),
            (OpKind::ReduceMax, Some(b)) => self.attribute_axes(b).map(|axes| Op::ReduceMax { axes }),
            (OpKind::Dot, Some(b)) => self.attribute_axes(b).map(|axes| Op::Dot { axes }),
            (OpKind::Broadcast, Some(b)) => self.attribute_axes(b).map(|axes| Op::Broadcast { axes }),
            (OpKind::CumSum, Some(b)) => {
                self.along(b).map(|(axis, direction)| Op::CumSum { axis, direction })
            }
            (OpKind::CumMax, Some(b)) => {
                self.along(b).map(|(axis, direction)| Op::CumMax { axis, direction })
            }
            (OpKind::Gather, Some(b)) => self.attribute_list(b, "an axis").and_then(|a| match a.as_slice() {
                [axis] => Some(Op::Gather { axis: *axis }),
                _ => self.bad_attributes(b, "one axis"),
            }),
            (OpKind::ScatterAdd, Some(b)) => {
                self.attribute_list(b, "axes").and_then(|a| match a.split_first() {
                    Some((axis, over)) => {
                        Some(Op::ScatterAdd { axis: *axis, over: Axes::new(over.iter().copied()) })
                    }
                    None => self.bad_attributes(b, "an axis, and axes that vanish"),
                })
            }
            (OpKind::Shift, Some(b)) => self.shift_attributes(b),
            (OpKind::Concat, Some(b)) => self.concat_attributes(b),
            (OpKind::Pad, Some(b)) => self.pad_attributes(b),
            (_, None) if kind.class() == Class::Elementwise && kind != OpKind::Cast => {
                return self.elementwise(kind, call, arguments, span);
            }
            _ => {
                let message = format!("`{kind}` is not written like this");
                let problem = Diagnostic::error("operation", span, message);
                self.report(problem.with_help(spelling(kind)));
                None
            }
        }) else {
            return Value::Error;
        };
        // An index is an integer even if it is a literal.
        let arguments: Vec<Value> = if matches!(kind, OpKind::Gather | OpKind::ScatterAdd) {
            arguments.into_iter().map(|v| self.firm(v, DType::I32, span)).collect()
        } else {
            arguments
        };
        let count = arguments.len();
        if let crate::Arity::Exactly(n) = kind.arity()
            && n != count
        {
            return self.wrong_count(call, n, count, span);
        }
        let mut operands = Vec::new();
        for argument in arguments {
            match self.tensor_or_report(argument, span) {
                Some(value) => operands.push(value),
                None => return Value::Error,
            }
        }
        self.push(op, &operands, span)
    }

    fn elementwise(&mut self, kind: OpKind, call: &'a Call, arguments: Vec<Value>, span: Span) -> Value {
        if let crate::Arity::Exactly(n) = kind.arity()
            && n != arguments.len()
        {
            return self.wrong_count(call, n, arguments.len(), span);
        }
        self.apply(kind, arguments, span)
    }

    pub(super) fn wrong_count(&mut self, call: &Call, wanted: usize, found: usize, span: Span) -> Value {
        let name = call.name.name;
        let message = format!("`{name}` takes {wanted} argument(s), not {found}");
        self.error("arity", span, message);
        Value::Error
    }

    fn tensors<const N: usize>(
        &mut self,
        call: &Call,
        arguments: Vec<Value>,
        span: Span,
    ) -> Option<[super::frame::Val; N]> {
        if arguments.len() != N {
            self.wrong_count(call, N, arguments.len(), span);
            return None;
        }
        let mut values = Vec::new();
        for argument in arguments {
            values.push(self.tensor_or_report(argument, span)?);
        }
        values.try_into().ok()
    }

    fn axis_argument(&mut self, call: &'a Call) -> Option<Axis> {
        let items = call.attributes.iter().flat_map(|b| &b.before).map(|i| &i.subject);
        let all: Vec<&Expr> = items.chain(&call.arguments).collect();
        match all.as_slice() {
            [one] => self.axis_of(one),
            _ => {
                let message = format!("`{}` takes one axis", call.name.name);
                self.error("arity", call.name.span, message);
                None
            }
        }
    }

    /// The axis that an expression names.
    pub(super) fn axis_of(&mut self, expr: &Expr) -> Option<Axis> {
        let name = expr.as_name();
        if name.is_none() {
            self.error("axis", expr.span, "expected the name of an axis");
        }
        self.axis(name?)
    }

    fn bad_attributes<T>(&mut self, brackets: &Brackets, wanted: &str) -> Option<T> {
        self.error("attributes", brackets.span, format!("expected {wanted} in the brackets"));
        None
    }

    fn attribute_list(&mut self, brackets: &Brackets, wanted: &str) -> Option<Vec<Axis>> {
        let plain =
            brackets.after.is_none() && brackets.before.iter().all(|i| i.to.is_none() && i.value.is_none());
        if !plain {
            return self.bad_attributes(brackets, wanted);
        }
        let axes: Vec<Option<Axis>> = brackets.before.iter().map(|i| self.axis_of(&i.subject)).collect();
        axes.into_iter().collect()
    }

    fn attribute_axes(&mut self, brackets: &Brackets) -> Option<Axes> {
        self.attribute_list(brackets, "axes").map(Axes::new)
    }

    fn dtype_attribute(&mut self, brackets: &Brackets) -> Option<DType> {
        let word = match brackets.before.as_slice() {
            [item] => item.subject.as_name().map(|n| n.name),
            _ => None,
        };
        let Some(word) = word else { return self.bad_attributes(brackets, "a dtype") };
        let dtype = DType::parse(word.as_str());
        if dtype.is_none() {
            let problem = Diagnostic::error("dtype", brackets.span, format!("there is no dtype `{word}`"));
            self.report(suggest(problem, word.as_str(), DType::ALL.map(DType::name)));
        }
        dtype
    }

    /// `s` or `s, reverse`.
    fn along(&mut self, brackets: &Brackets) -> Option<(Axis, Direction)> {
        let word = |e: &Expr| e.as_name().is_some_and(|n| n.name.as_str() == "reverse");
        match brackets.before.as_slice() {
            [axis] => Some((self.axis_of(&axis.subject)?, Direction::Forward)),
            [axis, direction] if word(&direction.subject) => {
                Some((self.axis_of(&axis.subject)?, Direction::Reverse))
            }
            _ => self.bad_attributes(brackets, "an axis, and `reverse` if it runs backwards"),
        }
    }

    fn shift_attributes(&mut self, brackets: &'a Brackets) -> Option<Op> {
        match brackets.before.as_slice() {
            [axis, by] => {
                let (axis, by) = (self.axis_of(&axis.subject), self.integer(&by.subject));
                Some(Op::Shift { axis: axis?, by: by? })
            }
            _ => self.bad_attributes(brackets, "an axis and a distance"),
        }
    }

    /// `concat[a, b => c](x, y)`.
    fn concat_attributes(&mut self, brackets: &'a Brackets) -> Option<Op> {
        let Some([target]) = brackets.after.as_deref() else {
            return self.bad_attributes(brackets, "one axis per operand, and the new one: `a, b => c`");
        };
        let axes: Vec<Option<Axis>> = brackets.before.iter().map(|i| self.axis_of(&i.subject)).collect();
        let axes: Vec<Axis> = axes.into_iter().collect::<Option<_>>()?;
        let total = crate::Size::sum(axes.iter().map(|a| self.size(*a)));
        let to = self.target_of(target, Some(total))?;
        Some(Op::Concat { axes, to })
    }

    /// `pad[s -> t = |s| + 3, 3](x)`.
    fn pad_attributes(&mut self, brackets: &'a Brackets) -> Option<Op> {
        let (item, before) = match brackets.before.as_slice() {
            [item] => (item, None),
            [item, before] => (item, Some(&before.subject)),
            _ => {
                return self
                    .bad_attributes(brackets, "an axis, its new name and size, and the zeros in front");
            }
        };
        let Some(to) = item.to else {
            return self.bad_attributes(brackets, "an axis, its new name and size: `s -> t = |s| + 3, 3`");
        };
        let axis = self.axis_of(&item.subject)?;
        let to = match &item.value {
            Some(size) => {
                let size = self.size_expr(size)?;
                self.target_axis(to, size)?
            }
            None => self.axis(to)?,
        };
        let before = match before {
            Some(before) => self.size_expr(before)?,
            None => crate::Size::Known(0),
        };
        Some(Op::Pad { axis, to, before })
    }
}

/// How an operation is written.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "advice where there is some, not a meaning for each operation"
)]
fn spelling(kind: OpKind) -> String {
    match kind {
        OpKind::Cast => "write the dtype in brackets: `cast[f32](x)`".to_string(),
        OpKind::Sum | OpKind::ReduceMax | OpKind::Dot | OpKind::Broadcast => {
            format!("write the axes in brackets: `{kind}[d](x)`")
        }
        OpKind::CumSum | OpKind::CumMax => format!("write the axis in brackets: `{kind}[s](x)`"),
        OpKind::Rename => "write `x[s -> t]`".to_string(),
        OpKind::Split => "write `x[e => h = 4, d]`".to_string(),
        OpKind::Merge => "write `x[h, d => e]`".to_string(),
        OpKind::Slice => "write `x[s -> t = 2..5]`".to_string(),
        OpKind::Gather => "write `table[axis = index]`".to_string(),
        OpKind::ScatterAdd => "write `scatter_add[axis, over](updates, index)`".to_string(),
        OpKind::Concat => "write `concat[a, b => c](x, y)`".to_string(),
        OpKind::Pad => "write `pad[s -> t = |s| + 3, 3](x)`".to_string(),
        OpKind::Shift => "write `shift[s, 1](x)`".to_string(),
        OpKind::SizeOf => "write `|s|`".to_string(),
        OpKind::Scan => "a scan is a statement: `scan s { .. }`".to_string(),
        _ if kind.class() == Class::Elementwise => format!("`{kind}` has no brackets"),
        _ => "it is made by the compiler, not written in sources".to_string(),
    }
}

/// The type of a truth value along one axis.
pub(super) fn truth_along(axis: Axis) -> Type {
    Type::new(DType::Bool, [axis])
}
