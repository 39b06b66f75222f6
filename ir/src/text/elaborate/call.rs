//! Calls: local functions and `fn`s are expanded, `block`s and `model`s are called.

use super::frame::Val;
use super::function::{ArgumentAxes, FunctionInfo, Specialised};
use super::operation::{builtins, is_builtin};
use super::random::path_number;
use super::scope::{Binding, FunctionScope, Scope, Value};
use super::weak::Weak;
use super::{Elaborator, Purpose, kind_name, placeholder, suggest};
use crate::infer::callee_sizes;
use crate::mirror::{Refusal, mirrored};
use crate::text::ast::{Call, Definition, LocalFunction};
use crate::text::program::ConfigValue;
use crate::{Axes, Axis, Diagnostic, Function, FunctionId, FunctionKind, Name, Op, Role, Size, Span, Type};
use std::collections::HashMap;
use std::rc::Rc;

impl<'a> Elaborator<'a> {
    pub(super) fn call(&mut self, call: &'a Call, span: Span) -> Value {
        let name = call.name.name;
        if let Some(at) = self.lookup(name)
            && let Some(Binding::Local(function)) = self.function.scopes[at].bindings.get(&name)
        {
            let function = *function;
            return self.call_local(function, at, call, span);
        }
        if let Some(definition) = self.program.find(name.as_str()) {
            return self.call_definition(definition, call, span);
        }
        if is_builtin(name.as_str()) {
            return self.operation(call, span);
        }
        let problem =
            Diagnostic::error("function-unknown", call.name.span, format!("unknown function `{name}`"));
        let locals = self.function.scopes.iter().flat_map(|s| &s.bindings);
        let locals: Vec<&'static str> =
            locals.filter(|(_, b)| matches!(b, Binding::Local(_))).map(|(n, _)| n.as_str()).collect();
        let known = self.program.definitions.iter().map(|d| d.name.name.as_str());
        let problem = suggest(problem, name.as_str(), known.chain(builtins()).chain(locals));
        self.report(problem);
        // Mistakes in the arguments are found too.
        for argument in &call.arguments {
            self.eval(argument);
        }
        Value::Error
    }

    fn call_local(&mut self, function: &'a LocalFunction, at: usize, call: &'a Call, span: Span) -> Value {
        if call.arguments.len() != function.parameters.len() {
            return self.wrong_count(call, function.parameters.len(), call.arguments.len(), span);
        }
        if let Some(brackets) = &call.attributes {
            self.error("attributes", brackets.span, format!("`{}` has no brackets", call.name.name));
        }
        if self.active.iter().any(|(n, s)| *n == function.name.name && *s == function.name.span) {
            self.error("recursion", span, format!("`{}` calls itself", function.name.name));
            return Value::Error;
        }
        let arguments: Vec<Value> = call.arguments.iter().map(|a| self.eval(a)).collect();
        let frame = self.function.at;
        let above = self.function.scopes.split_off(at + 1);
        self.function.scopes.push(Scope { frame, ..Scope::default() });
        for (name, value) in function.parameters.iter().zip(arguments) {
            self.scope().bindings.insert(name.name, Binding::Value(value));
        }
        self.active.push((function.name.name, function.name.span));
        let value = self.eval(&function.body);
        self.active.pop();
        self.function.scopes.truncate(at + 1);
        self.function.scopes.extend(above);
        value
    }

    fn call_definition(&mut self, definition: &'a Definition, call: &'a Call, span: Span) -> Value {
        let name = definition.name.name;
        let arguments: Vec<Value> = call.arguments.iter().map(|a| self.eval(a)).collect();
        if arguments.len() != definition.inputs.len() {
            let wanted: Vec<&str> = definition.inputs.iter().map(|t| t.name.name.as_str()).collect();
            let message = format!("`{name}` takes {} argument(s), not {}", wanted.len(), arguments.len());
            let problem =
                Diagnostic::error("arity", span, message).with_related(definition.name.span, "defined here");
            self.report(problem.with_help(format!("they are ({})", wanted.join(", "))));
            return Value::Error;
        }
        if let Some(brackets) = &call.attributes {
            self.error("attributes", brackets.span, format!("`{name}` has no brackets"));
        }
        if self.active.iter().any(|(n, _)| *n == name) {
            self.error("recursion", span, format!("`{name}` calls itself"));
            return Value::Error;
        }
        let (Some(config), Some(given)) =
            (self.call_config(definition, call), self.call_axes(definition, call))
        else {
            return Value::Error;
        };
        // A mistake in an argument is reported; what would follow from it is not.
        if arguments.iter().any(|a| matches!(a, Value::Error)) {
            return Value::Error;
        }
        match definition.kind {
            FunctionKind::Fn => {
                if let Some(reversed) = call.reversed {
                    let problem =
                        Diagnostic::error("reversed", reversed.span, format!("`{name}` is an `fn`"));
                    self.report(problem.with_help(
                        "only calls of blocks can be reversed; write `scan .. reverse` in an `fn`",
                    ));
                }
                if let Some(alias) = call.alias {
                    let message = format!("`{name}` is an `{}`", kind_name(definition.kind));
                    let problem = Diagnostic::error("alias", alias.span, message);
                    self.report(
                        problem.with_help("`as` names the call of a block, whose parameters need a path"),
                    );
                }
                self.expand(definition, config, &given, arguments, call, span)
            }
            FunctionKind::Block | FunctionKind::Model => {
                self.call_function(definition, config, &given, arguments, call, span)
            }
        }
    }

    /// Compile-time arguments: as written, else the caller's of the same name, else the default.
    fn call_config(
        &mut self,
        definition: &'a Definition,
        call: &'a Call,
    ) -> Option<Vec<(Name, ConfigValue)>> {
        let mut complete = true;
        for (key, _) in &call.config {
            let mut known = definition.config.iter().map(|c| c.name.name);
            if !known.any(|k| k == key.name) && !is_own_axis(definition, key.name) {
                let message =
                    format!("`{}` has no compile-time parameter `{}`", definition.name.name, key.name);
                let problem = Diagnostic::error("config-unknown", key.span, message);
                let known = definition.config.iter().map(|c| c.name.name.as_str());
                let axes = definition.inputs.iter().flat_map(|i| &i.ty.axes).map(|d| d.name.name.as_str());
                self.report(suggest(problem, key.name.as_str(), known.chain(axes)));
                complete = false;
            }
        }
        let mut values = Vec::new();
        for declaration in &definition.config {
            let name = declaration.name.name;
            let written = call.config.iter().find(|(key, _)| key.name == name);
            let inherits = self.function_scope().definition.config.iter().any(|c| c.name.name == name);
            let value = match written {
                Some((_, value)) => {
                    let found = self.config_literal(declaration, value);
                    found.and_then(|v| self.fit_config(declaration, v, value.span))
                }
                None => match self.weak_binding(name).filter(|_| inherits).and_then(|w| self.settle(&w)) {
                    Some(value) => self.fit_config(declaration, value, call.name.span),
                    // The configuration file speaks to every model.
                    None if definition.kind == FunctionKind::Model
                        && self.options.config.contains_key(name.as_str()) =>
                    {
                        let value = self.options.config[name.as_str()].clone();
                        self.fit_config(declaration, value, call.name.span)
                    }
                    None if declaration.default.is_some() => self.default_config(declaration),
                    None if self.purpose == Purpose::Check && definition.kind == FunctionKind::Model => {
                        Some(placeholder(&declaration.kind))
                    }
                    None => {
                        let message =
                            format!("`{}` needs the compile-time parameter `{name}`", definition.name.name);
                        let problem = Diagnostic::error("config-missing", call.name.span, message);
                        let help = format!("write `{}<{name} = ..>(..)`", definition.name.name);
                        self.report(problem.with_help(help));
                        None
                    }
                },
            };
            match value {
                Some(value) => values.push((name, value)),
                None => complete = false,
            }
        }
        complete.then_some(values)
    }

    /// `f<c = d>(x)`: which axes of the caller stand for axes of the definition's arguments.
    fn call_axes(&mut self, definition: &'a Definition, call: &'a Call) -> Option<HashMap<Name, Axis>> {
        let mut given = HashMap::new();
        let mut complete = true;
        for (key, value) in &call.config {
            let is_config = definition.config.iter().any(|c| c.name.name == key.name);
            if is_config || !is_own_axis(definition, key.name) {
                continue;
            }
            match self.axis_of(value) {
                Some(axis) => {
                    given.insert(key.name, axis);
                }
                None => complete = false,
            }
        }
        complete.then_some(given)
    }

    /// The arguments as the definition's types want them, with the axes that they carry besides; also which axis of
    /// the graph each axis of those types is.
    fn fit_arguments(
        &mut self,
        definition: &'a Definition,
        given: &HashMap<Name, Axis>,
        arguments: Vec<Value>,
        call: &'a Call,
    ) -> Option<(Vec<Val>, ArgumentAxes)> {
        let meant = |e: &Self, name: Name| given.get(&name).copied().or_else(|| e.resolve_axis(name));
        let mut axes = ArgumentAxes::default();
        let mut values = Vec::new();
        let mut complete = true;
        for (input, (argument, expr)) in
            definition.inputs.iter().zip(arguments.into_iter().zip(&call.arguments))
        {
            let wanted = input.ty.dtype.unwrap_or(self.dtype());
            let argument = self.firm(argument, wanted, expr.span);
            let Some(value) = self.tensor_or_report(argument, expr.span) else {
                complete = false;
                continue;
            };
            let found = self.ty_here(value);
            let name = input.name.name;
            if found.dtype != wanted {
                let message = format!("the argument `{name}` is {found}, but {wanted} is wanted");
                let problem = Diagnostic::error("dtype", expr.span, message)
                    .with_related(input.ty.span, "declared here");
                self.report(problem.with_help(format!("convert it with `cast[{wanted}](..)`")));
                complete = false;
            }
            let mut own = Axes::none();
            for declaration in &input.ty.axes {
                let axis = meant(self, declaration.name.name).filter(|a| found.axes.contains(*a));
                match axis {
                    Some(axis) => {
                        own.insert(axis);
                        axes.names.insert(declaration.name.name, axis);
                    }
                    None => {
                        let missing = declaration.name.name;
                        let message =
                            format!("the argument `{name}` is {found}, which has no axis `{missing}`");
                        let problem = Diagnostic::error("axis-missing", expr.span, message)
                            .with_related(input.ty.span, "declared here");
                        let extra = found
                            .axes
                            .iter()
                            .find(|a| !input.ty.axes.iter().any(|d| meant(self, d.name.name) == Some(*a)));
                        let problem = match extra {
                            Some(extra) => problem.with_help(format!(
                                "say which axis is meant, `{}<{missing} = {extra}>(..)`, or rename it, `[{extra} -> {missing}]`",
                                definition.name.name
                            )),
                            None => problem,
                        };
                        self.report(problem);
                        complete = false;
                    }
                }
            }
            axes.extra.push(found.axes.without(&own));
            values.push(value);
        }
        if !complete {
            return None;
        }
        for (place, extra) in axes.extra.iter().enumerate() {
            if let Some((name, axis)) = axes.names.iter().find(|(_, a)| extra.contains(**a)) {
                let message = format!(
                    "the argument `{}` also carries the axis `{axis}`, which `{}` uses itself as `{name}`",
                    definition.inputs[place].name.name, definition.name.name
                );
                let problem = Diagnostic::error("axis-clash", call.arguments[place].span, message)
                    .with_related(definition.inputs[place].ty.span, "declared without it here");
                self.report(problem.with_help(format!("rename it: `[{axis} -> other]`")));
                return None;
            }
        }
        Some((values, axes))
    }

    /// An `fn` where it is used.
    fn expand(
        &mut self,
        definition: &'a Definition,
        config: Vec<(Name, ConfigValue)>,
        given: &HashMap<Name, Axis>,
        arguments: Vec<Value>,
        call: &'a Call,
        span: Span,
    ) -> Value {
        let Some((values, axes)) = self.fit_arguments(definition, given, arguments, call) else {
            return Value::Error;
        };
        let mapped = axes.extra.iter().fold(Axes::none(), |all, extra| all.union(extra));
        let outputs = definition.outputs.iter().flat_map(|o| &o.ty.axes).map(|d| d.name.name);
        let exports = outputs.filter(|name| !axes.names.contains_key(name)).collect();
        self.function.expansions += 1;
        let scope = FunctionScope {
            definition,
            axes: axes.names.into_iter().collect(),
            mapped,
            expansion: Some(self.function.expansions),
            exports,
        };
        let frame = self.function.at;
        self.active.push((definition.name.name, span));
        self.function.scopes.push(Scope { frame, function: Some(scope), ..Scope::default() });
        self.bind_config(definition, config);
        // Sizes that the types demand are checked; all their axes exist.
        for (input, value) in definition.inputs.iter().zip(&values) {
            self.ty_of(&input.ty);
            self.scope().bindings.insert(input.name.name, Binding::Value(Value::Tensor(*value)));
        }
        self.statements(&definition.body);
        let mut results = Vec::new();
        for output in &definition.outputs {
            results.push((output.name.name, self.output_value(output)));
        }
        self.function.scopes.pop();
        self.active.pop();
        match results.len() {
            1 => results.remove(0).1,
            _ => Value::Tuple(Rc::new(results)),
        }
    }

    pub(super) fn bind_config(&mut self, definition: &Definition, config: Vec<(Name, ConfigValue)>) {
        debug_assert!(config.len() <= definition.config.len());
        for (name, value) in config {
            self.scope().bindings.insert(name, Binding::Value(Value::Weak(Weak::Const(value))));
        }
    }

    /// A `block` or `model`, called.
    fn call_function(
        &mut self,
        definition: &'a Definition,
        config: Vec<(Name, ConfigValue)>,
        given: &HashMap<Name, Axis>,
        arguments: Vec<Value>,
        call: &'a Call,
        span: Span,
    ) -> Value {
        let name = definition.name.name;
        if self.function.at != 0 {
            let problem = Diagnostic::error(
                "scan",
                span,
                format!("the {} `{name}` is called in a scan", kind_name(definition.kind)),
            );
            self.report(problem.with_help("call it in front of the scan, or use an `fn`, which is expanded"));
            return Value::Error;
        }
        if self.function_scope().expansion.is_some() {
            let message = format!("an `fn` calls the {} `{name}`", kind_name(definition.kind));
            let problem = Diagnostic::error("call", span, message);
            self.report(problem.with_help("make the caller a `block`: the parameters need a path"));
            return Value::Error;
        }
        let Some((values, axes)) = self.fit_arguments(definition, given, arguments, call) else {
            return Value::Error;
        };
        let Some(component) = self.component(definition, call, span) else { return Value::Error };
        let Some(mut callee) = self.specialise(definition, config, axes, span) else { return Value::Error };
        if let Some(reversed) = call.reversed {
            let Some(axis) = self.axis(reversed) else { return Value::Error };
            match self.mirrored(callee.function, axis) {
                Ok(function) => callee.function = function,
                Err((place, what)) => {
                    let message = format!("`{name}` cannot be reversed along `{axis}`: it {what}");
                    self.report(
                        Diagnostic::error("reversed", reversed.span, message).with_related(place, "here"),
                    );
                    return Value::Error;
                }
            }
        }
        self.function.path.extend(component.clone());
        let result = self.place_call(&callee, &values, span);
        if component.is_some() {
            self.function.path.pop();
        }
        result
    }

    /// The function from the other end of an axis.
    fn mirrored(&mut self, function: FunctionId, axis: Axis) -> Result<FunctionId, Refusal> {
        if let Some(known) = self.mirrored.get(&(function, axis)) {
            return Ok(*known);
        }
        let called = self.module[function].graph.nodes.iter();
        let called: Vec<FunctionId> = called
            .filter_map(|node| if let Op::Call { function } = node.op { Some(function) } else { None })
            .collect();
        for callee in called {
            self.mirrored(callee, axis)?;
        }
        let callee = |id| self.mirrored[&(id, axis)];
        let graph = mirrored(&self.module[function].graph, axis, &callee)?;
        let info = self.infos[function.index()].clone();
        let name = self.module.fresh_name(&format!("{}.reversed", self.module[function].name));
        let made = self.module.push(Function { name, graph, ..self.module[function].clone() });
        self.infos.push(info);
        let made = self.shared(made).function;
        self.mirrored.insert((function, axis), made);
        Ok(made)
    }

    /// The part of the path that a call adds.
    fn component(
        &mut self,
        definition: &'a Definition,
        call: &'a Call,
        span: Span,
    ) -> Option<Option<String>> {
        let caller = self.function_scope().definition.kind;
        let component = match call.alias {
            Some(alias) => alias.name.as_str().to_string(),
            None if definition.kind == FunctionKind::Model && caller == FunctionKind::Model => {
                return Some(None);
            }
            None => definition.name.name.as_str().to_string(),
        };
        let parts = self.function.path.iter().map(String::as_str).chain([component.as_str()]);
        let full = parts.collect::<Vec<_>>().join(".");
        if !self.function.components.insert(full.clone()) {
            let problem =
                Diagnostic::error("duplicate", span, format!("a second call under the path `{full}`"));
            let help = format!("give it a name of its own: `{}(..) as name`", definition.name.name);
            self.report(problem.with_help(help));
            return None;
        }
        Some(Some(component))
    }

    fn place_call(&mut self, callee: &Specialised, values: &[Val], span: Span) -> Value {
        let function = callee.function;
        let roles = callee.roles.clone();
        let info: FunctionInfo = self.infos[function.index()].clone();
        let callee = &self.module[function].graph;
        let inputs = callee.inputs.clone();
        let arguments = |name: Name| info.arguments.iter().position(|a| *a == name);
        // Axes of arguments are declared here; what symbols of the callee are follows from them.
        let mut shallow = crate::Graph { axes: callee.axes.clone(), ..crate::Graph::default() };
        shallow.inputs = inputs.iter().filter(|i| arguments(i.name).is_some()).cloned().collect();
        let sizes = match callee_sizes(&self.frame().graph.axes, &shallow) {
            Ok(sizes) => sizes,
            Err(error) => {
                let problem = Diagnostic::error(error.code, span, error.message);
                self.report(Diagnostic { help: error.help, ..problem });
                return Value::Error;
            }
        };
        let all = inputs
            .iter()
            .flat_map(|i| i.ty.axes.iter())
            .chain(callee.outputs.iter().flat_map(|o| o.axes.iter()));
        let wanted: Vec<(Axis, Size)> =
            all.map(|a| (a, callee.axes.size(a).substitute(&|name| sizes.get(&name).cloned()))).collect();
        for (axis, size) in wanted {
            self.declare_everywhere(axis, &size);
        }
        let mut operands = Vec::new();
        for (input, role) in inputs.into_iter().zip(roles.iter().copied()) {
            let value = match (arguments(input.name), role) {
                (Some(place), Role::Argument) => Value::Tensor(values[place]),
                (_, Role::Parameter { .. }) => {
                    self.add_parameter(input.name.as_str(), input.ty.clone(), role, span)
                }
                // Added for random numbers: the step is the caller's, the seed differs from call to call.
                (None, Role::Argument) if input.name.as_str() == "step" => {
                    Value::Tensor(self.random_input("step", span))
                }
                (None, Role::Argument) => self.callee_seed(span),
            };
            match value {
                Value::Tensor(value) => operands.push(value),
                Value::Weak(_) | Value::Tuple(_) | Value::Error => return Value::Error,
            }
        }
        let Value::Tensor(tuple) = self.push(Op::Call { function }, &operands, span) else {
            return Value::Error;
        };
        for (name, axis) in &info.exports {
            self.function_scope().axes.entry(*name).or_insert(*axis);
        }
        let outputs: Vec<Name> = self.module[function].graph.outputs.iter().map(|o| o.name).collect();
        let mut results: Vec<(Name, Value)> = Vec::new();
        for (index, name) in outputs.into_iter().enumerate() {
            results.push((name, self.projection(tuple, index as u32, span)));
        }
        match results.len() {
            1 => results.remove(0).1,
            _ => Value::Tuple(Rc::new(results)),
        }
    }

    /// The seed for the callee at the current path.
    fn callee_seed(&mut self, span: Span) -> Value {
        let number = path_number(&self.function.path.join("."));
        let seed = self.random_input("seed", span);
        self.push(Op::FoldIn { number }, &[seed], span)
    }

    /// The function for this configuration, these sizes and axes.
    fn specialise(
        &mut self,
        definition: &'a Definition,
        config: Vec<(Name, ConfigValue)>,
        axes: ArgumentAxes,
        span: Span,
    ) -> Option<Specialised> {
        let mut sizes: HashMap<Axis, Option<u64>> = HashMap::new();
        let all = axes.names.values().copied().chain(axes.extra.iter().flat_map(Axes::iter));
        for axis in all {
            sizes.insert(axis, self.size(axis).known());
        }
        let key = specialisation(definition, &config, &axes, &sizes);
        if let Some(known) = self.specialised.get(&key) {
            return Some(known.clone());
        }
        self.active.push((definition.name.name, span));
        let name = match self.roots.get(&definition.name.name) {
            // This is what the root itself is.
            Some(root) if *root == key => definition.name.name,
            Some(_) => self.module.fresh_name(&format!("{}.call", definition.name.name)),
            None => self.module.fresh_name(definition.name.name.as_str()),
        };
        let made = self.make(definition, name, config, Some((axes, sizes)));
        self.active.pop();
        let made = self.shared(made?);
        self.specialised.insert(key, made.clone());
        Some(made)
    }

    /// The value of an output at the end of a body.
    pub(super) fn output_value(&mut self, output: &'a crate::text::ast::Typed) -> Value {
        let name = output.name;
        if self.lookup(name.name).is_none() {
            let problem =
                Diagnostic::error("output", name.span, format!("the output `{}` has no value", name.name));
            let help = format!("bind it: `let {0} = ..`, or `yield {0} = ..` in a scan", name.name);
            self.report(problem.with_help(help));
            return Value::Error;
        }
        let value = self.name(name.name, name.span);
        let what = format!("the output `{}`", name.name);
        match self.ty_of(&output.ty) {
            Some(Type { dtype, axes }) => self.fit(value, &Type { dtype, axes }, name.span, &what),
            None => Value::Error,
        }
    }
}

/// Whether one of the definition's arguments has an axis of that name.
fn is_own_axis(definition: &Definition, name: Name) -> bool {
    definition.inputs.iter().flat_map(|i| &i.ty.axes).any(|d| d.name.name == name)
}

/// What distinguishes the functions that are made of one definition.
pub(super) fn specialisation(
    definition: &Definition,
    config: &[(Name, ConfigValue)],
    axes: &ArgumentAxes,
    sizes: &HashMap<Axis, Option<u64>>,
) -> String {
    let mut key: Vec<String> = axes.names.iter().map(|(n, a)| format!("{n} is {a}")).collect();
    key.extend(sizes.iter().map(|(a, s)| format!("{a} = {s:?}")));
    key.sort();
    let extra: Vec<&[Axis]> = axes.extra.iter().map(Axes::as_slice).collect();
    format!("{} {config:?} {extra:?} {key:?}", definition.name.name)
}
