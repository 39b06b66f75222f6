//! Making one function of the module.

use super::call::specialisation;
use super::frame::{Frame, Val};
use super::scope::{Binding, FunctionScope, Scope, Value};
use super::{Elaborator, kind_name};
use crate::text::ast::Definition;
use crate::text::program::ConfigValue;
use crate::{
    Axes, Axis, Function, FunctionId, Graph, Input, Name, Node, Op, Output, Role, Size, Span, Type, ValueId,
};
use smallvec::smallvec;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

/// What elaboration knows of the function that it makes.
#[derive(Clone, Default)]
pub(super) struct FunctionState<'a> {
    /// The graph, and bodies of scans that are open.
    pub(super) frames: Vec<Frame>,
    /// The frame that nodes are added to.
    pub(super) at: usize,
    pub(super) scopes: Vec<Scope<'a>>,
    /// Turns of `repeat` and the call that is made.
    pub(super) path: Vec<String>,
    /// Paths of calls.
    pub(super) components: HashSet<String>,
    /// How many expansions there were.
    pub(super) expansions: u32,
    /// Seeds by what was folded in.
    pub(super) seeds: HashMap<Vec<u32>, Val>,
}

/// What callers need to know of a function.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct FunctionInfo {
    /// What it was made of.
    pub(super) definition: Name,
    /// Inputs that the source declares, in order.
    pub(super) arguments: Vec<Name>,
    /// Axes of the outputs, by their names in the source.
    pub(super) exports: Vec<(Name, Axis)>,
}

/// A function for one configuration.
#[derive(Clone, Debug)]
pub(super) struct Specialised {
    pub(super) function: FunctionId,
    /// How its parameters start in this configuration; functions that differ in nothing else are one.
    pub(super) roles: Rc<[Role]>,
}

/// Axes of arguments.
#[derive(Clone, Default, Debug)]
pub(super) struct ArgumentAxes {
    /// Axes of the declared types, by name.
    pub(super) names: BTreeMap<Name, Axis>,
    /// What each argument carries besides.
    pub(super) extra: Vec<Axes>,
}

impl<'a> Elaborator<'a> {
    /// Makes a root under its own name.
    pub(super) fn root(&mut self, definition: &'a Definition, config: Vec<(Name, ConfigValue)>) {
        if config.len() < definition.config.len() {
            // What is missing is reported already.
            return;
        }
        let key = self.root_key(definition, &config);
        if self.specialised.contains_key(&key) {
            return;
        }
        self.active.push((definition.name.name, Span::default()));
        let made = self.make(definition, definition.name.name, config, None);
        self.active.pop();
        if let Some(function) = made {
            let roles = self.module[function].graph.inputs.iter().map(|i| i.role).collect();
            self.specialised.insert(key, Specialised { function, roles });
        }
    }

    /// The function that was made last, or an equal one before it: how parameters start is the caller's to say, and what
    /// is computed of them does not depend on it.
    pub(super) fn shared(&mut self, made: FunctionId) -> Specialised {
        let graph = &self.module[made].graph;
        let roles: Rc<[Role]> = graph.inputs.iter().map(|i| i.role).collect();
        let is_same = |known: &FunctionId| {
            let other = &self.module[*known].graph;
            self.infos[known.index()] == self.infos[made.index()]
                && other.inputs.len() == graph.inputs.len()
                && *other == with_roles(graph, &other.inputs)
        };
        let known = (0..made.0).map(FunctionId).find(is_same);
        if known.is_some() {
            self.module.functions.truncate(made.index());
            self.infos.truncate(made.index());
        }
        Specialised { function: known.unwrap_or(made), roles }
    }

    /// What a call would have to look like to mean this root.
    pub(super) fn root_key(&self, definition: &Definition, config: &[(Name, ConfigValue)]) -> String {
        let mut axes = ArgumentAxes::default();
        let mut sizes = HashMap::new();
        let given = |name: Name| self.options.sizes.get(name.as_str()).copied();
        let configured = |name: Name| {
            config.iter().find(|(n, _)| *n == name).and_then(|(_, v)| match v {
                ConfigValue::Int(n) => u64::try_from(*n).ok(),
                ConfigValue::Float(_)
                | ConfigValue::Bool(_)
                | ConfigValue::Text(_)
                | ConfigValue::List(_) => None,
            })
        };
        for input in &definition.inputs {
            for declaration in &input.ty.axes {
                let name = declaration.name.name;
                axes.names.insert(name, Axis(name));
                sizes.entry(Axis(name)).or_insert_with(|| given(name).or_else(|| configured(name)));
            }
            let extra = self.options.map.get(input.name.name.as_str()).into_iter().flatten();
            axes.extra.push(extra.map(|a| Axis::new(a)).collect());
        }
        for axis in axes.extra.iter().flat_map(Axes::iter) {
            sizes.entry(axis).or_insert_with(|| given(axis.0));
        }
        specialisation(definition, config, &axes, &sizes)
    }

    /// Makes a function: a root, or for a call with arguments of these axes and sizes.
    pub(super) fn make(
        &mut self,
        definition: &'a Definition,
        name: Name,
        config: Vec<(Name, ConfigValue)>,
        call: Option<(ArgumentAxes, HashMap<Axis, Option<u64>>)>,
    ) -> Option<FunctionId> {
        let caller = std::mem::take(&mut self.function);
        let noted = self.problems.len();
        self.function.frames.push(Frame::default());
        let scope = FunctionScope {
            definition,
            axes: Default::default(),
            mapped: Axes::none(),
            expansion: None,
            exports: HashSet::new(),
        };
        self.function.scopes.push(Scope { function: Some(scope), ..Scope::default() });
        self.bind_config(definition, config);
        match call {
            Some((axes, sizes)) => self.inputs_of_call(definition, axes, &sizes),
            None => self.inputs_of_root(definition),
        }
        self.statements(&definition.body);
        self.outputs(definition);
        let mut state = std::mem::replace(&mut self.function, caller);
        if self.problems.len() > noted {
            return None;
        }
        let scope = state.scopes.pop().and_then(|s| s.function).expect("the function's scope is the last");
        let graph = inputs_first(state.frames.swap_remove(0).graph);
        let outputs = definition.outputs.iter().flat_map(|o| &o.ty.axes).map(|d| d.name.name);
        let info = FunctionInfo {
            definition: definition.name.name,
            arguments: definition.inputs.iter().map(|t| t.name.name).collect(),
            exports: outputs.filter_map(|n| scope.axes.get(&n).map(|a| (n, *a))).collect(),
        };
        self.infos.push(info);
        let residuals = definition.residuals;
        Some(self.module.push(Function { name, kind: definition.kind, residuals, graph }))
    }

    fn inputs_of_root(&mut self, definition: &'a Definition) {
        let mut extra: HashMap<Name, Vec<Axis>> = HashMap::new();
        for input in &definition.inputs {
            for axis in self.options.map.get(input.name.name.as_str()).into_iter().flatten() {
                let size = match self.options.sizes.get(axis) {
                    Some(n) => Size::Known(*n),
                    None => Size::symbol(axis),
                };
                let axis = Axis::new(axis);
                self.declare_everywhere(axis, &size);
                self.function_scope().mapped.insert(axis);
                extra.entry(input.name.name).or_default().push(axis);
            }
        }
        let mapped = self.mapped();
        for input in &definition.inputs {
            let clash = input.ty.axes.iter().find(|d| mapped.contains(Axis(d.name.name)));
            if let Some(clash) = clash {
                let message =
                    format!("cannot map over `{}`: the function uses that axis itself", clash.name.name);
                self.error("axis-clash", clash.name.span, message);
                self.scope().bindings.insert(input.name.name, Binding::Value(Value::Error));
                continue;
            }
            let value = match self.ty_of(&input.ty) {
                Some(ty) => {
                    let leading = extra.remove(&input.name.name).unwrap_or_default();
                    let axes = leading.into_iter().chain(ty.axes.iter());
                    self.argument(input.name.name, Type::new(ty.dtype, axes), input.name.span)
                }
                None => Value::Error,
            };
            self.scope().bindings.insert(input.name.name, Binding::Value(value));
        }
    }

    fn inputs_of_call(
        &mut self,
        definition: &'a Definition,
        axes: ArgumentAxes,
        sizes: &HashMap<Axis, Option<u64>>,
    ) {
        let size_of = |axis: Axis| match sizes.get(&axis) {
            Some(Some(n)) => Size::Known(*n),
            Some(None) | None => Size::Symbol(axis.0),
        };
        for axis in axes.extra.iter().flat_map(Axes::iter) {
            self.declare_everywhere(axis, &size_of(axis));
            self.function_scope().mapped.insert(axis);
        }
        for (input, extra) in definition.inputs.iter().zip(&axes.extra) {
            for declaration in &input.ty.axes {
                let name = declaration.name.name;
                let Some(axis) = axes.names.get(&name).copied() else { continue };
                if self.function_scope().axes.contains_key(&name) {
                    continue;
                }
                // A size that the source gives in terms of other axes stays such an expression.
                let written = match &declaration.size {
                    Some(size) if size_of(axis).known().is_none() => self.size_expr(size),
                    Some(_) | None => None,
                };
                let size = written.unwrap_or_else(|| size_of(axis));
                self.declare_everywhere(axis, &size);
                self.claims.entry(axis).or_insert(size);
                self.function_scope().axes.insert(name, axis);
            }
            let value = match self.ty_of(&input.ty) {
                Some(ty) => {
                    let axes = extra.iter().chain(ty.axes.iter());
                    self.argument(input.name.name, Type::new(ty.dtype, axes), input.name.span)
                }
                None => Value::Error,
            };
            self.scope().bindings.insert(input.name.name, Binding::Value(value));
        }
    }

    fn argument(&mut self, name: Name, ty: Type, span: Span) -> Value {
        let id = self.function.frames[0].add_input(name, ty, Role::Argument, span);
        Value::Tensor(Val { frame: 0, id })
    }

    fn outputs(&mut self, definition: &'a Definition) {
        for output in &definition.outputs {
            let Value::Tensor(value) = self.output_value(output) else { continue };
            let Some(declared) = self.ty_of(&output.ty) else { continue };
            let found = self.ty(value).axes;
            let axes = found.without(&declared.axes).union(&declared.axes);
            let name = output.name.name;
            self.function.frames[0].graph.outputs.push(Output { name, value: value.id, axes });
        }
        if definition.outputs.is_empty() {
            let message =
                format!("the {} `{}` has no output", kind_name(definition.kind), definition.name.name);
            self.error("output", definition.name.span, message);
        }
    }
}

/// The graph with parameters that start as those of `inputs` do.
fn with_roles(graph: &Graph, inputs: &[Input]) -> Graph {
    let mut graph = graph.clone();
    for (own, other) in graph.inputs.iter_mut().zip(inputs) {
        if let (Role::Parameter { .. }, Role::Parameter { .. }) = (own.role, other.role) {
            own.role = other.role;
        }
    }
    graph
}

/// The graph with all inputs as its first nodes, in order.
fn inputs_first(graph: Graph) -> Graph {
    let mut moved: Vec<Option<ValueId>> = vec![None; graph.nodes.len()];
    let mut nodes: Vec<Node> = Vec::with_capacity(graph.nodes.len());
    for (index, value) in graph.input_values().into_iter().enumerate() {
        let input = &graph.inputs[index];
        let node = Node {
            op: Op::Input { index: index as u32 },
            operands: smallvec![],
            types: smallvec![input.ty.clone()],
            span: value.map_or(Span::default(), |v| graph[v].span),
            name: Some(input.name),
        };
        if let Some(value) = value {
            moved[value.index()] = Some(ValueId(nodes.len() as u32));
        }
        nodes.push(node);
    }
    for (place, mut node) in graph.nodes.into_iter().enumerate() {
        if moved[place].is_some() {
            continue;
        }
        for operand in &mut node.operands {
            *operand = moved[operand.index()].expect("operands precede users");
        }
        moved[place] = Some(ValueId(nodes.len() as u32));
        nodes.push(node);
    }
    let outputs = graph.outputs.into_iter();
    let outputs = outputs.map(|o| Output { value: moved[o.value.index()].expect("outputs are values"), ..o });
    Graph { axes: graph.axes, inputs: graph.inputs, nodes, outputs: outputs.collect() }
}
