//! What names mean: values, scopes, and how they are found.
//!
//! Scopes are a stack. A scope that opens a function hides all below it. Equations of a scan are bound unevaluated and
//! are evaluated when they are first needed, in the scope where they stand, so that their order is free.

use super::frame::Val;
use super::weak::Weak;
use super::{Elaborator, suggest};
use crate::text::ast::{Definition, Expr, Ident, LocalFunction, TypeExpr};
use crate::{Axes, Axis, Diagnostic, Name, Span};
use indexmap::IndexMap;
use std::collections::HashSet;
use std::rc::Rc;

/// What an expression gives.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A value of the graph.
    Tensor(Val),
    /// A scalar whose dtype is not settled, or a compile-time value.
    Weak(Weak),
    /// Several outputs.
    Tuple(Rc<Vec<(Name, Value)>>),
    /// Something wrong, which is already reported.
    Error,
}

/// What a name is bound to.
#[derive(Clone, Debug)]
pub(super) enum Binding<'a> {
    /// A value.
    Value(Value),
    /// A result of a scan that nobody has asked for yet.
    Result(Val, u32),
    /// An equation of a scan.
    Lazy(Lazy<'a>),
    /// One of several names bound to the lazy tuple of another name.
    Part(Name, usize),
    /// `let f(x) = e`.
    Local(&'a LocalFunction),
}

/// An equation and how far it is evaluated.
#[derive(Clone, Debug)]
pub(super) struct Lazy<'a> {
    pub(super) value: &'a Expr,
    pub(super) ty: Option<&'a TypeExpr>,
    pub(super) state: Progress,
    pub(super) span: Span,
}

/// How far.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    Waiting,
    Running,
    Done(Value),
}

/// One level of names.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope<'a> {
    pub(super) bindings: IndexMap<Name, Binding<'a>>,
    /// Equations for the next values of states, in a scan.
    pub(super) next: IndexMap<Name, Binding<'a>>,
    /// The frame that equations of this scope belong to.
    pub(super) frame: usize,
    /// Set where a function begins.
    pub(super) function: Option<FunctionScope<'a>>,
}

/// What belongs to a function that is made or expanded.
#[derive(Clone, Debug)]
pub(super) struct FunctionScope<'a> {
    pub(super) definition: &'a Definition,
    /// Axes of the graph by their names in the source.
    pub(super) axes: IndexMap<Name, Axis>,
    /// Axes that arguments carry besides their own.
    pub(super) mapped: Axes,
    /// The number of this expansion within its function; `None` for the function itself.
    pub(super) expansion: Option<u32>,
    /// Axes that the outputs of an expansion have and its arguments have not: the caller will want their names.
    pub(super) exports: HashSet<Name>,
}

impl<'a> Elaborator<'a> {
    pub(super) fn scope(&mut self) -> &mut Scope<'a> {
        self.function.scopes.last_mut().expect("a function has a scope while it is elaborated")
    }

    pub(super) fn function_scope_index(&self) -> usize {
        let at = self.function.scopes.iter().rposition(|s| s.function.is_some());
        at.expect("a function's first scope is marked")
    }

    pub(super) fn function_scope(&mut self) -> &mut FunctionScope<'a> {
        let at = self.function_scope_index();
        self.function.scopes[at].function.as_mut().expect("that index is marked")
    }

    pub(super) fn mapped(&mut self) -> Axes {
        self.function_scope().mapped.clone()
    }

    /// The scope that binds `name`, seen from here.
    pub(super) fn lookup(&self, name: Name) -> Option<usize> {
        for (at, scope) in self.function.scopes.iter().enumerate().rev() {
            if scope.bindings.contains_key(&name) {
                return Some(at);
            }
            if scope.function.is_some() {
                return None;
            }
        }
        None
    }

    fn lookup_next(&self, name: Name) -> Option<usize> {
        for (at, scope) in self.function.scopes.iter().enumerate().rev() {
            if scope.next.contains_key(&name) {
                return Some(at);
            }
            if scope.function.is_some() {
                return None;
            }
        }
        None
    }

    /// Binds a name in the innermost scope. Binding it twice there is an error.
    pub(super) fn bind(&mut self, name: Ident, value: Value) {
        if self.scope().bindings.contains_key(&name.name) {
            let message = format!("`{}` is already bound", name.name);
            let problem = Diagnostic::error("duplicate", name.span, message);
            self.report(problem.with_help(format!("to give it a new value, write `{} = ..`", name.name)));
        }
        self.name_value(&value, name.name);
        self.scope().bindings.insert(name.name, Binding::Value(value));
    }

    /// The value that a name has here.
    pub(super) fn name(&mut self, name: Name, span: Span) -> Value {
        let Some(at) = self.lookup(name) else {
            self.unknown_name(name, span);
            return Value::Error;
        };
        match self.function.scopes[at].bindings.get(&name) {
            Some(Binding::Value(value)) => value.clone(),
            Some(Binding::Result(tuple, index)) => {
                let (tuple, index) = (*tuple, *index);
                let value = self.projection(tuple, index, span);
                self.name_value(&value, name);
                self.function.scopes[at].bindings.insert(name, Binding::Value(value.clone()));
                value
            }
            Some(Binding::Part(whole, index)) => {
                let (whole, index) = (*whole, *index);
                match self.name(whole, span) {
                    Value::Tuple(parts) => parts.get(index).map_or(Value::Error, |(_, v)| v.clone()),
                    Value::Tensor(_) | Value::Weak(_) | Value::Error => Value::Error,
                }
            }
            Some(Binding::Local(_)) => {
                let problem = Diagnostic::error("name", span, format!("`{name}` is a function"));
                self.report(problem.with_help(format!("call it: `{name}(..)`")));
                Value::Error
            }
            Some(Binding::Lazy(lazy)) => {
                let lazy = lazy.clone();
                let value = self.force(at, &lazy, name, span, Equations::Bindings);
                self.name_value(&value, name);
                value
            }
            None => Value::Error,
        }
    }

    /// The next value of a state, `C'`.
    pub(super) fn next(&mut self, name: Name, span: Span) -> Value {
        let found =
            self.lookup_next(name).and_then(|at| Some((at, self.function.scopes[at].next.get(&name)?)));
        match found {
            Some((at, Binding::Lazy(lazy))) => {
                let lazy = lazy.clone();
                let value = self.force(at, &lazy, name, span, Equations::Next);
                self.name_value(&value, Name::new(&format!("next.{name}")));
                value
            }
            _ => {
                let states = self.function.scopes.iter().flat_map(|s| s.next.keys()).map(|n| n.as_str());
                let problem =
                    Diagnostic::error("state-unknown", span, format!("there is no state `{name}` here"));
                let problem = suggest(problem, name.as_str(), states);
                self.report(problem);
                Value::Error
            }
        }
    }

    fn force(&mut self, at: usize, lazy: &Lazy<'a>, name: Name, span: Span, which: Equations) -> Value {
        match &lazy.state {
            Progress::Done(value) => return value.clone(),
            Progress::Running => {
                let prime = if which == Equations::Next { "'" } else { "" };
                let message = format!("`{name}{prime}` depends on itself");
                let problem =
                    Diagnostic::error("cycle", lazy.span, message).with_related(span, "needed here");
                self.report(problem.with_help("within a step, equations must not go round in a circle"));
                return Value::Error;
            }
            Progress::Waiting => {}
        }
        self.set_progress(at, name, which, Progress::Running);
        let above = self.function.scopes.split_off(at + 1);
        let frame = std::mem::replace(&mut self.function.at, self.function.scopes[at].frame);
        let value = self.eval(lazy.value);
        let value = match lazy.ty {
            Some(ty) => self.ascribe(value, ty, lazy.value.span),
            None => value,
        };
        self.function.at = frame;
        self.function.scopes.truncate(at + 1);
        self.function.scopes.extend(above);
        self.set_progress(at, name, which, Progress::Done(value.clone()));
        value
    }

    fn set_progress(&mut self, at: usize, name: Name, which: Equations, progress: Progress) {
        let scope = &mut self.function.scopes[at];
        let bindings = match which {
            Equations::Bindings => &mut scope.bindings,
            Equations::Next => &mut scope.next,
        };
        if let Some(Binding::Lazy(lazy)) = bindings.get_mut(&name) {
            lazy.state = progress;
        }
    }

    fn unknown_name(&mut self, name: Name, span: Span) {
        let problem = Diagnostic::error("name-unknown", span, format!("unknown name `{name}`"));
        let mut known = Vec::new();
        for scope in self.function.scopes.iter().rev() {
            known.extend(scope.bindings.keys().map(|n| n.as_str()));
            if scope.function.is_some() {
                break;
            }
        }
        let problem = if self.resolve_axis(name).is_some() {
            problem.with_help(format!("`{name}` is an axis; its size as a value is `|{name}|`"))
        } else if self.program.find(name.as_str()).is_some() {
            problem.with_help(format!("`{name}` is a function; call it: `{name}(..)`"))
        } else {
            suggest(problem, name.as_str(), known)
        };
        self.report(problem);
    }
}

/// Which equations of a scan.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Equations {
    Bindings,
    Next,
}
