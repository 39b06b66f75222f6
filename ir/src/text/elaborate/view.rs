//! Brackets behind a value: renaming, slicing, splitting, merging, gathering.

use super::Elaborator;
use super::scope::Value;
use crate::text::ast::{BracketItem, Brackets, Expr};
use crate::{Axes, Axis, DType, Diagnostic, Op, Size, Span};

impl<'a> Elaborator<'a> {
    /// `x[..]`.
    pub(super) fn view(&mut self, value: &'a Expr, brackets: &'a Brackets, span: Span) -> Value {
        let value = self.eval(value);
        let Some(x) = self.tensor_or_report(value, span) else { return Value::Error };
        if let Some(after) = &brackets.after {
            return match (brackets.before.as_slice(), after.as_slice()) {
                ([axis], into) if !into.is_empty() => self.split(x, axis, into, span),
                (axes, [into]) if !axes.is_empty() => self.merge(x, axes, into, span),
                _ => {
                    let problem =
                        Diagnostic::error("view", brackets.span, "expected axes on both sides of `=>`");
                    self.report(problem.with_help("`x[h, d => e]` merges, `x[e => h = 4, d]` splits"));
                    Value::Error
                }
            };
        }
        if brackets.before.is_empty() {
            self.error("view", brackets.span, "these brackets are empty");
            return Value::Error;
        }
        let mut result = Value::Tensor(x);
        for item in &brackets.before {
            let Value::Tensor(x) = result else { return result };
            result = self.view_item(x, item, span);
        }
        result
    }

    fn view_item(&mut self, x: super::frame::Val, item: &'a BracketItem, span: Span) -> Value {
        let Some(axis) = self.axis_of(&item.subject) else { return Value::Error };
        match (item.to, &item.value, &item.end) {
            (Some(to), None, _) => {
                let size = self.size(axis);
                match self.target_axis(to, size) {
                    Some(to) if to == axis => Value::Tensor(x),
                    Some(to) => self.push(Op::Rename { from: axis, to }, &[x], span),
                    None => Value::Error,
                }
            }
            (Some(to), Some(start), Some(end)) => {
                let (start, end) = (self.size_expr(start), self.size_expr(end));
                let (Some(start), Some(end)) = (start, end) else { return Value::Error };
                if let (Some(a), Some(b)) = (start.known(), end.known())
                    && a > b
                {
                    self.error("size", span, format!("the range {a}..{b} runs backwards"));
                    return Value::Error;
                }
                match self.target_axis(to, end.minus(start.clone())) {
                    Some(to) => self.push(Op::Slice { axis, to, start }, &[x], span),
                    None => Value::Error,
                }
            }
            (None, Some(index), None) => {
                let index = self.eval(index);
                let index = self.firm(index, DType::I32, span);
                match self.tensor_or_report(index, span) {
                    Some(index) => self.push(Op::Gather { axis }, &[x, index], span),
                    None => Value::Error,
                }
            }
            _ => {
                let problem = Diagnostic::error("view", item.subject.span, "these brackets say nothing");
                self.report(problem.with_help(
                    "`x[s -> t]` renames, `x[s -> t = 2..5]` slices, `x[s = index]` takes elements",
                ));
                Value::Error
            }
        }
    }

    /// The new axis that an item behind `=>` names; its size is the one written, or `size`.
    pub(super) fn target_of(&mut self, item: &'a BracketItem, size: Option<Size>) -> Option<Axis> {
        let Some(ident) = item.subject.as_name() else {
            self.error("axis", item.subject.span, "expected the name of an axis");
            return None;
        };
        match &item.value {
            Some(written) => {
                let written = self.size_expr(written)?;
                self.target_axis(ident, written)
            }
            None => match size {
                Some(size) => self.target_axis(ident, size),
                None => self.axis(ident),
            },
        }
    }

    fn merge(
        &mut self,
        x: super::frame::Val,
        axes: &'a [BracketItem],
        into: &'a BracketItem,
        span: Span,
    ) -> Value {
        let axes: Vec<Option<Axis>> = axes.iter().map(|i| self.axis_of(&i.subject)).collect();
        let Some(axes) = axes.into_iter().collect::<Option<Vec<Axis>>>() else { return Value::Error };
        let whole = Size::product(axes.iter().map(|a| self.size(*a)));
        match self.target_of(into, Some(whole)) {
            Some(into) => self.push(Op::Merge { axes: Axes::new(axes), into }, &[x], span),
            None => Value::Error,
        }
    }

    fn split(
        &mut self,
        x: super::frame::Val,
        axis: &'a BracketItem,
        into: &'a [BracketItem],
        span: Span,
    ) -> Value {
        let Some(axis) = self.axis_of(&axis.subject) else { return Value::Error };
        let whole = self.size(axis);
        let mut parts: Vec<Option<Axis>> = Vec::new();
        let mut unknown = None;
        for (place, item) in into.iter().enumerate() {
            let name = item.subject.as_name().map(|n| n.name);
            let known = name.is_some_and(|n| self.resolve_axis(n).is_some() || self.has_default_size(n));
            if item.value.is_none() && !known && unknown.is_none() {
                unknown = Some(place);
                parts.push(None);
                continue;
            }
            let default = name.map(|n| match self.resolve_axis(n) {
                Some(axis) => self.size(axis),
                None => self.default_size(n),
            });
            match self.target_of(item, default) {
                Some(part) => parts.push(Some(part)),
                None => return Value::Error,
            }
        }
        if let Some(place) = unknown {
            let known = Size::product(parts.iter().flatten().map(|a| self.size(*a)));
            let Some(rest) = whole.exact_div(&known) else {
                let message = format!("axis `{axis}` of size {whole} cannot be divided by {known}");
                let problem = Diagnostic::error("size", span, message);
                self.report(problem.with_help("give the sizes of the parts: `x[e => h = 4, d]`"));
                return Value::Error;
            };
            parts[place] = self.target_of(&into[place], Some(rest));
        }
        match parts.into_iter().collect::<Option<Vec<Axis>>>() {
            Some(parts) => self.push(Op::Split { axis, into: Axes::new(parts) }, &[x], span),
            None => Value::Error,
        }
    }

    /// Whether options or configuration give an axis of that name a size.
    fn has_default_size(&self, name: crate::Name) -> bool {
        self.default_size(name).known().is_some()
    }
}
