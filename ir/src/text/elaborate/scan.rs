//! Scans: equations to a loop body.
//!
//! The body is made with the states' declared axes; where an equation brings axes of a mapping, the states gain them
//! and the body is made again, until nothing changes.

use super::frame::{Frame, Val};
use super::operation::truth_along;
use super::scope::{Binding, Lazy, Progress, Scope, Value};
use super::{Elaborator, suggest};
use crate::text::ast::{Expr, Ident, ScanStatement, Statement, StatementKind, TypeExpr};
use crate::text::program::ConfigValue;
use crate::{Axes, Axis, Diagnostic, Name, Number, Op, Output, Role, Scan, Span, Type, ValueId};
use indexmap::IndexMap;

/// What stands in a scan.
#[derive(Default)]
struct Equations<'a> {
    states: Vec<(Ident, &'a TypeExpr, Option<&'a Expr>)>,
    lets: Vec<(&'a [Ident], Option<&'a TypeExpr>, &'a Expr)>,
    locals: Vec<&'a crate::text::ast::LocalFunction>,
    next: Vec<(Ident, &'a Expr)>,
    yields: Vec<(Ident, &'a Expr)>,
}

/// A state with its start.
struct State<'a> {
    name: Ident,
    ty: Type,
    start: Start,
    next: &'a Expr,
}

/// How a state starts, and starts afresh at a reset.
#[derive(Clone, Copy)]
enum Start {
    Constant(f64),
    Value(Val),
}

/// What one attempt at the body gave.
struct Body {
    next: Vec<Val>,
    yields: Vec<(Name, Val)>,
}

impl<'a> Elaborator<'a> {
    pub(super) fn scan(&mut self, scan: &'a ScanStatement, span: Span) {
        let mut equations = Equations::default();
        self.collect(&scan.body, &mut equations);
        let names: Vec<Ident> =
            equations.states.iter().map(|s| s.0).chain(equations.yields.iter().map(|y| y.0)).collect();
        if self.scan_inner(scan, &equations, span).is_none() {
            // What the scan would have bound is known to be missing.
            for name in names {
                self.scope().bindings.insert(name.name, Binding::Value(Value::Error));
            }
        }
    }

    fn collect(&mut self, statements: &'a [Statement], equations: &mut Equations<'a>) {
        for statement in statements {
            match &statement.kind {
                StatementKind::Let { names, ty, value } => equations.lets.push((names, ty.as_ref(), value)),
                StatementKind::LocalFunction(function) => equations.locals.push(function),
                StatementKind::Next { name, value } => equations.next.push((*name, value)),
                StatementKind::Yield { name, value } => equations.yields.push((*name, value)),
                StatementKind::State { name, ty, init } => {
                    equations.states.push((*name, ty, init.as_ref()));
                }
                StatementKind::If { condition, then, otherwise } => match self.truth(condition) {
                    Some(true) => self.collect(then, equations),
                    Some(false) => self.collect(otherwise, equations),
                    None => {}
                },
                StatementKind::Match { subject, arms } => {
                    if let Some(body) = self.choose(subject, arms) {
                        self.collect(body, equations);
                    }
                }
                StatementKind::Assign { name, .. } => {
                    let message = format!("in a scan, `{}` has one value a step", name.name);
                    let problem = Diagnostic::error("scan", statement.span, message);
                    self.report(problem.with_help(format!(
                        "`{0}' = ..` gives the next value of a state, `let {0} = ..` a new name",
                        name.name
                    )));
                }
                StatementKind::Parameter { .. } => self.misplaced("a `param`", statement.span),
                StatementKind::Repeat { .. } => self.misplaced("a `repeat`", statement.span),
                StatementKind::Scan(_) => self.misplaced("another `scan`", statement.span),
            }
        }
    }

    fn misplaced(&mut self, what: &str, span: Span) {
        let problem = Diagnostic::error("scan", span, format!("{what} stands in a scan"));
        self.report(problem.with_help("put it in front of the scan, or into an `fn` that is used here"));
    }

    fn scan_inner(&mut self, scan: &'a ScanStatement, equations: &Equations<'a>, span: Span) -> Option<()> {
        let axis = self.axis(scan.axis)?;
        if self.function.frames[..=self.function.at].iter().any(|f| f.axis == Some(axis)) {
            self.error(
                "scan",
                scan.axis.span,
                format!("there is already a scan over `{}` around", scan.axis.name),
            );
            return None;
        }
        let mut states = self.states(equations, axis)?;
        let reset = match &scan.reset {
            Some(reset) => Some(self.reset(reset, axis)?),
            None => None,
        };
        let (start, noted) = (self.function.clone(), self.problems.len());
        loop {
            let (body, grown) = self.body(axis, &states, equations, reset, span)?;
            if grown.iter().zip(&states).all(|(g, s)| *g == s.ty.axes) {
                return self.finish_scan(scan, axis, &states, equations, body, span);
            }
            if self.exhausted {
                return None;
            }
            for (state, axes) in states.iter_mut().zip(grown) {
                state.ty.axes = axes;
            }
            self.function = start.clone();
            self.problems.truncate(noted);
        }
    }

    /// The states with the types that their starts give them.
    fn states(&mut self, equations: &Equations<'a>, axis: Axis) -> Option<Vec<State<'a>>> {
        let mut states: Vec<State<'a>> = Vec::new();
        let mut complete = true;
        for (name, ..) in &equations.next {
            if !equations.states.iter().any(|s| s.0.name == name.name) {
                let message = format!("there is no state `{}`", name.name);
                let problem = Diagnostic::error("state-unknown", name.span, message);
                let known = equations.states.iter().map(|s| s.0.name.as_str());
                self.report(suggest(problem, name.name.as_str(), known));
                complete = false;
            }
        }
        for (name, ty, init) in &equations.states {
            let mut found = equations.next.iter().filter(|(n, _)| n.name == name.name);
            let (first, second) = (found.next(), found.next());
            if states.iter().any(|s| s.name.name == name.name) {
                self.error("duplicate", name.span, format!("two states are called `{}`", name.name));
                complete = false;
            }
            if let Some((again, _)) = second {
                let message = format!("a second equation for `{}'`", name.name);
                self.error("duplicate", again.span, message);
                complete = false;
            }
            let Some((_, next)) = first else {
                let message = format!("the state `{0}` has no equation `{0}' = ..`", name.name);
                self.error("state-equation", name.span, message);
                complete = false;
                continue;
            };
            let Some(mut ty) = self.ty_of(ty) else {
                complete = false;
                continue;
            };
            if ty.axes.contains(axis) {
                self.error(
                    "scan",
                    name.span,
                    format!("a state of a scan over `{axis}` has one value a step"),
                );
                complete = false;
                continue;
            }
            let Some(start) = self.start(*name, *init, &mut ty, axis) else {
                complete = false;
                continue;
            };
            states.push(State { name: *name, ty, start, next });
        }
        complete.then_some(states)
    }

    fn start(&mut self, name: Ident, init: Option<&'a Expr>, ty: &mut Type, axis: Axis) -> Option<Start> {
        let Some(init) = init else { return Some(Start::Constant(0.0)) };
        let value = self.eval(init);
        if let Value::Weak(weak) = &value
            && ty.dtype.is_float()
            && let Some(number) = self.settle(weak).and_then(|v| match v {
                ConfigValue::Int(n) => Some(n as f64),
                ConfigValue::Float(x) => Some(x),
                ConfigValue::Bool(_) | ConfigValue::Text(_) | ConfigValue::List(_) => None,
            })
        {
            return Some(Start::Constant(number));
        }
        let value = self.firm(value, ty.dtype, init.span);
        let value = self.tensor_or_report(value, init.span)?;
        let found = self.ty_here(value);
        if found.axes.contains(axis) {
            let message = format!("the start of `{}` is {found}, which has the scan's axis", name.name);
            self.error("scan", init.span, message);
            return None;
        }
        let mapped = self.mapped();
        let widened = found.axes.intersection(&mapped).union(&ty.axes);
        let wanted = Type { dtype: ty.dtype, axes: widened.clone() };
        let what = format!("the start of `{}`", name.name);
        let Value::Tensor(value) = self.fit(Value::Tensor(value), &wanted, init.span, &what) else {
            return None;
        };
        ty.axes = widened;
        // A written constant such as an integer keeps its value at a reset.
        let node = &self.function.frames[value.frame].graph[value.id];
        if let Op::Const { value: number, .. } = node.op
            && ty.axes.is_empty()
        {
            return Some(Start::Constant(number.get()));
        }
        Some(Start::Value(value))
    }

    fn reset(&mut self, reset: &'a Expr, axis: Axis) -> Option<Val> {
        let value = self.eval(reset);
        let value = self.tensor_or_report(value, reset.span)?;
        let ty = self.ty_here(value);
        if ty.dtype != crate::DType::Bool || !ty.axes.contains(axis) {
            let message = format!("a reset must be {}, not {ty}", truth_along(axis));
            self.error("scan", reset.span, message);
            return None;
        }
        Some(value)
    }

    /// Makes the body once; also gives the axes that the states turn out to need.
    fn body(
        &mut self,
        axis: Axis,
        states: &[State<'a>],
        equations: &Equations<'a>,
        reset: Option<Val>,
        span: Span,
    ) -> Option<(Body, Vec<Axes>)> {
        let frame = Frame::body(self.frame(), axis);
        self.function.frames.push(frame);
        self.function.at += 1;
        let at = self.function.at;
        self.function.scopes.push(Scope { frame: at, ..Scope::default() });
        let result = self.body_inner(states, equations, reset, span);
        self.function.scopes.pop();
        if result.is_none() {
            self.function.frames.pop();
            self.function.at -= 1;
        }
        result.map(|(body, grown)| {
            debug_assert_eq!(self.function.frames.len(), at + 1);
            self.function.at -= 1;
            (body, grown)
        })
    }

    fn body_inner(
        &mut self,
        states: &[State<'a>],
        equations: &Equations<'a>,
        reset: Option<Val>,
        span: Span,
    ) -> Option<(Body, Vec<Axes>)> {
        let at = self.function.at;
        let olds: Vec<Val> = states
            .iter()
            .map(|s| {
                let frame = &mut self.function.frames[at];
                let id = frame.add_input(s.name.name, s.ty.clone(), Role::Argument, s.name.span);
                Val { frame: at, id }
            })
            .collect();
        for (state, old) in states.iter().zip(olds) {
            let old = match reset {
                Some(reset) => self.restarted(state, reset, old)?,
                None => Value::Tensor(old),
            };
            self.scope().bindings.insert(state.name.name, Binding::Value(old));
            let lazy = Lazy { value: state.next, ty: None, state: Progress::Waiting, span: state.name.span };
            self.scope().next.insert(state.name.name, Binding::Lazy(lazy));
        }
        self.bind_equations(equations);
        // Lets are evaluated even if nothing needs them, so that their mistakes are found.
        for (names, _, value) in &equations.lets {
            for name in *names {
                self.name(name.name, value.span);
            }
        }
        let mapped = self.mapped();
        let (mut next, mut grown, mut complete) = (Vec::new(), Vec::new(), true);
        for state in states {
            let value = self.next(state.name.name, state.name.span);
            let value = self.firm(value, state.ty.dtype, state.next.span);
            let Some(value) = self.tensor_or_report(value, state.next.span) else {
                complete = false;
                continue;
            };
            let extra = self.ty_here(value).axes.intersection(&mapped);
            // Mapped axes come first: the state's own stay together in memory.
            let axes = extra.union(&state.ty.axes);
            let wanted = Type { dtype: state.ty.dtype, axes: axes.clone() };
            let what = format!("`{}'`", state.name.name);
            match self.fit(Value::Tensor(value), &wanted, state.next.span, &what) {
                Value::Tensor(value) => {
                    let id = self.import(value, at);
                    next.push(Val { frame: at, id });
                }
                Value::Weak(_) | Value::Tuple(_) | Value::Error => complete = false,
            }
            grown.push(axes);
        }
        let mut yields: Vec<(Name, Val)> = Vec::new();
        for (name, value) in &equations.yields {
            if yields.iter().any(|(n, _)| *n == name.name) {
                self.error("duplicate", name.span, format!("two yields are called `{}`", name.name));
            }
            let result = self.eval(value);
            match self.tensor_or_report(result, value.span) {
                Some(value) => {
                    let id = self.import(value, at);
                    yields.push((name.name, Val { frame: at, id }));
                }
                None => complete = false,
            }
        }
        if states.is_empty() && equations.yields.is_empty() {
            self.error("scan", span, "a scan without states and yields does nothing");
            complete = false;
        }
        complete.then_some((Body { next, yields }, grown))
    }

    fn bind_equations(&mut self, equations: &Equations<'a>) {
        let mut bound: IndexMap<Name, Binding<'a>> = IndexMap::new();
        let mut twice = Vec::new();
        let mut insert = |name: Ident, binding: Binding<'a>| {
            if bound.insert(name.name, binding).is_some() {
                twice.push(name);
            }
        };
        for (names, ty, value) in &equations.lets {
            let lazy = Lazy { value, ty: *ty, state: Progress::Waiting, span: value.span };
            match names {
                [name] => insert(*name, Binding::Lazy(Lazy { span: name.span, ..lazy })),
                several => {
                    // The tuple stands under a name that nobody can write.
                    let parts: Vec<&str> = several.iter().map(|n| n.name.as_str()).collect();
                    let whole =
                        Ident { name: Name::new(&format!("({})", parts.join(", "))), span: value.span };
                    insert(whole, Binding::Lazy(lazy));
                    for (place, name) in several.iter().enumerate() {
                        insert(*name, Binding::Part(whole.name, place));
                    }
                }
            }
        }
        for local in &equations.locals {
            insert(local.name, Binding::Local(local));
        }
        twice.extend(
            bound
                .keys()
                .filter(|n| self.function.scopes.last().is_some_and(|s| s.bindings.contains_key(*n)))
                .map(|n| Ident {
                    name: *n,
                    span: equations
                        .lets
                        .iter()
                        .flat_map(|l| l.0)
                        .find(|i| i.name == *n)
                        .map_or(Span::default(), |i| i.span),
                }),
        );
        self.scope().bindings.extend(bound);
        for name in twice {
            self.error("duplicate", name.span, format!("`{}` has two equations in this scan", name.name));
        }
    }

    /// The old value of a state, or its start where a reset holds.
    fn restarted(&mut self, state: &State<'a>, reset: Val, old: Val) -> Option<Value> {
        let number = match state.start {
            Start::Constant(number) => number,
            Start::Value(_) => 0.0,
        };
        let op = Op::Const { value: Number::new(number), dtype: state.ty.dtype };
        let Value::Tensor(fresh) = self.push(op, &[], state.name.span) else { return None };
        let value = self.push(Op::Select, &[reset, fresh, old], state.name.span);
        match value {
            // The reset may carry mapped axes that the state has not gained yet: the equation will bring them.
            Value::Tensor(_) => Some(value),
            Value::Weak(_) | Value::Tuple(_) | Value::Error => None,
        }
    }

    /// Takes the body's frame off and puts the loop into the frame around it.
    fn finish_scan(
        &mut self,
        scan: &'a ScanStatement,
        axis: Axis,
        states: &[State<'a>],
        equations: &Equations<'a>,
        body: Body,
        span: Span,
    ) -> Option<()> {
        let frame = self.function.frames.pop().expect("the body's frame is on top");
        let at = self.function.at;
        let mut operands: Vec<ValueId> = Vec::new();
        for state in states {
            let value = match state.start {
                Start::Constant(number) => {
                    let op = Op::Const { value: Number::new(number), dtype: state.ty.dtype };
                    self.push(op, &[], state.name.span)
                }
                Start::Value(value) => Value::Tensor(value),
            };
            let Value::Tensor(value) = value else { return None };
            let Value::Tensor(value) = self.broadcast(value, &state.ty.axes, state.name.span) else {
                return None;
            };
            operands.push(self.import(value, at));
        }
        let mut graph = frame.graph;
        // Inputs stand in the order of discovery; a loop wants states, sequences, shared values.
        let captures = &frame.captures;
        let place = |wanted: bool| {
            captures.iter().enumerate().filter(move |(_, c)| c.is_sequence == wanted).map(|(i, _)| i)
        };
        let order: Vec<usize> = place(true).chain(place(false)).collect();
        let mut new_index: Vec<u32> = (0..graph.inputs.len() as u32).collect();
        let mut inputs = graph.inputs[..states.len()].to_vec();
        for (new, old) in order.iter().enumerate() {
            new_index[states.len() + old] = (states.len() + new) as u32;
            inputs.push(graph.inputs[states.len() + old].clone());
            operands.push(captures[*old].outer);
        }
        graph.inputs = inputs;
        for node in &mut graph.nodes {
            if let Op::Input { index } = &mut node.op {
                *index = new_index[*index as usize];
            }
        }
        for (state, value) in states.iter().zip(&body.next) {
            let clash = body.yields.iter().any(|(name, _)| *name == state.name.name);
            let name = if clash { Name::new(&format!("next.{}", state.name.name)) } else { state.name.name };
            let axes = graph.ty(value.id).axes.clone();
            graph.outputs.push(Output { name, value: value.id, axes });
        }
        for (name, value) in &body.yields {
            let axes = graph.ty(value.id).axes.clone();
            graph.outputs.push(Output { name: *name, value: value.id, axes });
        }
        let made = Scan {
            axis,
            direction: scan.direction,
            states: states.len() as u32,
            sequences: place(true).count() as u32,
            body: graph,
        };
        let (made, operands) = crate::scan::normalize(made, &operands);
        let operands: Vec<Val> = operands.into_iter().map(|id| Val { frame: at, id }).collect();
        let Value::Tensor(tuple) = self.push(Op::Scan { scan: Box::new(made) }, &operands, span) else {
            return None;
        };
        let results = states.iter().map(|s| s.name.name).chain(equations.yields.iter().map(|y| y.0.name));
        for (index, name) in results.enumerate() {
            self.scope().bindings.insert(name, Binding::Result(tuple, index as u32));
        }
        Some(())
    }
}
