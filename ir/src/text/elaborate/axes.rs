//! Axes and types of the source as axes and types of the graph.
//!
//! In a function that is made, an axis keeps its name; axes that no argument has are kept distinct in the whole module
//! by size, because those of parameters meet in callers. In an expansion, axes of arguments are those of the caller,
//! and all others get names that are free.

use super::frame::Val;
use super::scope::Value;
use super::{Elaborator, suggest};
use crate::text::ast::{Ident, TypeExpr};
use crate::text::program::ConfigValue;
use crate::{Axes, Axis, DType, Diagnostic, Name, Op, Size, Span, Type};

impl<'a> Elaborator<'a> {
    /// The axis of the graph that a name means here.
    pub(super) fn resolve_axis(&self, name: Name) -> Option<Axis> {
        let at = self.function.scopes.iter().rposition(|s| s.function.is_some())?;
        self.function.scopes[at].function.as_ref()?.axes.get(&name).copied()
    }

    /// The axis that must exist here.
    pub(super) fn axis(&mut self, name: Ident) -> Option<Axis> {
        let found = self.resolve_axis(name.name);
        if found.is_none() {
            let problem =
                Diagnostic::error("axis-unknown", name.span, format!("unknown axis `{}`", name.name));
            let known: Vec<Name> = self.function_scope().axes.keys().copied().collect();
            self.report(suggest(problem, name.name.as_str(), known.iter().map(|n| n.as_str())));
        }
        found
    }

    /// The axis under that name, which is declared with this size unless it exists.
    pub(super) fn target_axis(&mut self, name: Ident, size: Size) -> Option<Axis> {
        let Some(axis) = self.resolve_axis(name.name) else {
            return Some(self.declare_axis(name.name, size));
        };
        let known = self.size(axis);
        if known != size {
            let message = format!("axis `{}` has size {known}, here it would have {size}", name.name);
            let problem = Diagnostic::error("size", name.span, message);
            self.report(problem.with_help("choose another name for one of them"));
            return None;
        }
        Some(axis)
    }

    /// Declares an axis that is new in the source.
    pub(super) fn declare_axis(&mut self, name: Name, size: Size) -> Axis {
        let at = self.function_scope_index();
        let scope = self.function_scope();
        let mapped = scope.mapped.clone();
        let axis = if scope.expansion.is_none() {
            self.claim(Axis(name), &size, &mapped)
        } else {
            let exported = scope.exports.contains(&name);
            let callers = self.function.scopes[..at].iter().rev().find_map(|s| s.function.as_ref());
            let callers = callers.and_then(|f| f.axes.get(&name)).copied();
            match callers {
                Some(axis) if exported && self.size(axis) == size && !mapped.contains(axis) => axis,
                _ => {
                    let top = self.function.frames.last_mut().expect("a function has a frame");
                    let axis = top.graph.axes.fresh(Axis(name), size.clone());
                    if exported && callers.is_none() {
                        let caller =
                            self.function.scopes[..at].iter_mut().rev().find_map(|s| s.function.as_mut());
                        caller.expect("an expansion has a caller").axes.insert(name, axis);
                    }
                    axis
                }
            }
        };
        self.declare_everywhere(axis, &size);
        self.function_scope().axes.insert(name, axis);
        axis
    }

    /// A name like `axis` that no axis of another size has, in this function or elsewhere.
    fn claim(&mut self, axis: Axis, size: &Size, mapped: &Axes) -> Axis {
        let free = |axis: Axis| {
            let here = self.frame().graph.axes.get(axis).is_none_or(|s| s == size);
            here && !mapped.contains(axis) && self.claims.get(&axis).is_none_or(|s| s == size)
        };
        let chosen = (0..)
            .map(|n| if n == 0 { axis } else { Axis::new(&format!("{axis}.{n}")) })
            .find(|a| free(*a))
            .expect("there are more names than axes");
        self.claims.insert(chosen, size.clone());
        chosen
    }

    /// The size of an axis about which the source says nothing.
    pub(super) fn default_size(&self, name: Name) -> Size {
        if let Some(n) = self.options.sizes.get(name.as_str()) {
            return Size::Known(*n);
        }
        match self.weak_binding(name).and_then(|w| self.settle(&w)) {
            Some(ConfigValue::Int(n)) if n >= 0 => Size::Known(n as u64),
            _ => Size::Symbol(name),
        }
    }

    /// The dtype and axes of a type; new axes are declared.
    pub(super) fn ty_of(&mut self, ty: &'a TypeExpr) -> Option<Type> {
        let mut axes = Axes::none();
        let mut complete = true;
        for declaration in &ty.axes {
            let name = declaration.name;
            let size = match &declaration.size {
                Some(size) => match self.size_expr(size) {
                    Some(size) => Some(size),
                    None => {
                        complete = false;
                        continue;
                    }
                },
                None => None,
            };
            let axis = match (self.resolve_axis(name.name), size) {
                (Some(axis), None) => Some(axis),
                (None, None) => {
                    let size = self.default_size(name.name);
                    Some(self.declare_axis(name.name, size))
                }
                (_, Some(size)) => self.target_axis(name, size),
            };
            let Some(axis) = axis else {
                complete = false;
                continue;
            };
            if axes.contains(axis) {
                let message = format!("the axis `{}` stands twice", name.name);
                let problem = Diagnostic::error("axis-clash", name.span, message);
                self.report(
                    problem.with_help(format!("for two axes of one size write `[{0}, e = {0}]`", name.name)),
                );
                complete = false;
            }
            axes.insert(axis);
        }
        let dtype = ty.dtype.unwrap_or(self.dtype());
        complete.then_some(Type { dtype, axes })
    }

    /// The value with the type that is written for it; axes that it lacks are added, mapped axes may stand besides.
    pub(super) fn ascribe(&mut self, value: Value, ty: &'a TypeExpr, span: Span) -> Value {
        match self.ty_of(ty) {
            Some(ty) => self.fit(value, &ty, span, "the value"),
            None => Value::Error,
        }
    }

    /// The value as one of type `ty`: weak values take the dtype, missing axes are added by repetition, axes of the
    /// mapping may stand besides.
    pub(super) fn fit(&mut self, value: Value, ty: &Type, span: Span, what: &str) -> Value {
        let value = self.firm(value, ty.dtype, span);
        let Some(tensor) = self.tensor_or_report(value, span) else { return Value::Error };
        let found = self.ty_here(tensor);
        if found.dtype != ty.dtype {
            let problem =
                Diagnostic::error("dtype", span, format!("{what} is {found}, but {ty} is declared"));
            let help = format!("convert it with `cast[{}](..)`, or declare it as {}", ty.dtype, found.dtype);
            self.report(problem.with_help(help));
            return Value::Error;
        }
        let mapped = self.mapped();
        let extra = found.axes.without(&ty.axes).without(&mapped);
        if !extra.is_empty() {
            let message = format!("{what} is {found}, but {ty} is declared: [{extra}] is too much");
            self.error("axes", span, message);
            return Value::Error;
        }
        self.broadcast(tensor, &ty.axes, span)
    }

    /// The value, or a weak one as a scalar of that dtype.
    pub(super) fn firm(&mut self, value: Value, dtype: DType, span: Span) -> Value {
        if let Value::Weak(weak) = &value { self.materialise(weak, dtype, span) } else { value }
    }

    /// The value repeated along those of `axes` that it lacks.
    pub(super) fn broadcast(&mut self, value: Val, axes: &Axes, span: Span) -> Value {
        let axes = axes.without(&self.ty_here(value).axes);
        if axes.is_empty() { Value::Tensor(value) } else { self.push(Op::Broadcast { axes }, &[value], span) }
    }

    /// A value of the graph; anything else is reported.
    pub(super) fn tensor_or_report(&mut self, value: Value, span: Span) -> Option<Val> {
        match value {
            Value::Tensor(value) => Some(value),
            Value::Weak(weak) => {
                let dtype = self.weak_dtype(&weak);
                match self.materialise(&weak, dtype, span) {
                    Value::Tensor(value) => Some(value),
                    Value::Weak(_) | Value::Tuple(_) | Value::Error => None,
                }
            }
            Value::Tuple(parts) => {
                let names: Vec<&str> = parts.iter().map(|(n, _)| n.as_str()).collect();
                let problem = Diagnostic::error("tuple", span, "several outputs where one value is needed");
                self.report(problem.with_help(format!("take them apart: `let ({}) = ..`", names.join(", "))));
                None
            }
            Value::Error => None,
        }
    }

    /// The dtype that a weak value has if nothing says otherwise.
    pub(super) fn weak_dtype(&self, weak: &super::weak::Weak) -> DType {
        match weak {
            super::weak::Weak::Const(ConfigValue::Bool(_)) => DType::Bool,
            super::weak::Weak::Const(_) | super::weak::Weak::Size(_) | super::weak::Weak::Apply(..) => {
                self.dtype()
            }
        }
    }
}
