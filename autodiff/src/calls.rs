//! Called functions: each is derived once, as a function that also returns what the backward pass needs, and a
//! backward function.
//!
//! Invariants: derivation is memoised by the callee, the outputs that have cotangents, and the inputs that need
//! gradients, so that the calls of one block share the result. The callee's inputs are passed again rather than
//! saved; what is cheap to make from inputs and saved values is made again. A function marked
//! [`Residuals::Recompute`] saves nothing, and its forward function is itself.

use crate::expr::{Expr, Tape};
use crate::joint::{Joint, Seeds, joint};
use crate::sweep::{self, DerivedCalls};
use crate::{Options, checkpoint};
use carousel_ir::transform::{rename_axes, without_dead_code};
use carousel_ir::{
    Axes, Axis, Builder, Class, Function, FunctionId, FunctionKind, Graph, Module, Name, Node, Op, Residuals,
    Role, Size, Type, Types, ValueId,
};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// What was derived of a function.
pub(crate) struct Derived {
    /// Takes the inputs; returns the outputs, then the saved values.
    pub(crate) forward: FunctionId,
    /// Takes the saved values, the inputs `passed` and the cotangents of the outputs `cotangents`; returns the
    /// gradients of the inputs `gradients`.
    backward: FunctionId,
    /// Which results of the forward function are the saved values: outputs, or results after them.
    saved: Vec<usize>,
    passed: Vec<usize>,
    cotangents: Vec<usize>,
    gradients: Vec<usize>,
}

/// A function, which of its outputs have cotangents, which of its inputs need gradients.
type Request = (FunctionId, Vec<bool>, Vec<bool>);

/// The module that grows, and what has been derived so far.
pub(crate) struct Context<'o> {
    pub(crate) module: Module,
    pub(crate) options: &'o Options,
    derived: HashMap<Request, Rc<Derived>>,
}

impl<'o> Context<'o> {
    pub(crate) fn new(module: Module, options: &'o Options) -> Context<'o> {
        Context { module, options, derived: HashMap::new() }
    }
}

/// The contributions to the operands of a call.
pub(crate) fn vjp(
    tape: &Tape<'_>,
    derived: &Derived,
    types: &Types,
    operands: &[ValueId],
    results: &[ValueId],
    cotangents: &[Option<ValueId>],
) -> Vec<(usize, ValueId)> {
    let saved = derived.saved.iter().map(|place| results[*place]);
    let passed = derived.passed.iter().map(|i| operands[*i]);
    let given = derived.cotangents.iter().map(|i| match cotangents[*i] {
        Some(given) => Expr::new(tape, given).full(&types[*i].axes).value,
        None => sweep::zeros(tape, &types[*i]),
    });
    let arguments: Vec<ValueId> = saved.chain(passed).chain(given).collect();
    let gradients = tape.borrow_mut().call(derived.backward, &arguments);
    derived.gradients.iter().copied().zip(gradients).collect()
}

/// Derives the callees of those calls of `graph` through which a gradient goes.
pub(crate) fn derive_calls(
    context: &mut Context<'_>,
    graph: &Graph,
    varied: &[bool],
    useful: &[bool],
) -> DerivedCalls {
    let mut cotangents: HashMap<ValueId, Vec<bool>> = HashMap::new();
    for (value, node) in graph.iter() {
        if let Op::Proj { index } = node.op
            && useful[value.index()]
        {
            let tuple = node.operands[0];
            let flags = cotangents.entry(tuple).or_insert_with(|| vec![false; graph[tuple].types.len()]);
            flags[index as usize] = true;
        }
    }
    let mut calls = DerivedCalls::new();
    for (value, node) in graph.iter() {
        if let Op::Call { function } = node.op
            && varied[value.index()]
            && let Some(cotangents) = cotangents.remove(&value)
        {
            let needs = node.operands.iter().map(|o| varied[o.index()]).collect();
            calls.insert(value, derive(context, (function, cotangents, needs)));
        }
    }
    calls
}

fn derive(context: &mut Context<'_>, request: Request) -> Rc<Derived> {
    if let Some(known) = context.derived.get(&request) {
        return known.clone();
    }
    let (function, cotangents, needs) = &request;
    let Function { name, residuals, graph: original, .. } = context.module[*function].clone();
    let graph = checkpoint::apply(context, &original, cotangents, needs);
    let mut joint = joint(context, &graph, Seeds::Inputs, cotangents, needs);
    let (forward, saved) = match residuals {
        Residuals::Recompute => (*function, Vec::new()),
        Residuals::Save => {
            joint.graph = with_own_axes(&context.module, &joint.graph, &original, name);
            let saved = saved_values(&joint);
            let graph = forward_graph(&context.module, &joint, &original, &saved, name);
            (push(context, name, "fwd", graph), saved)
        }
    };
    let (graph, passed) = backward_graph(&context.module, &joint, &original, &saved, name);
    let backward = push(context, name, "bwd", graph);
    let chosen = |flags: &[bool]| (0..flags.len()).filter(|i| flags[*i]).collect::<Vec<_>>();
    let has_gradient: Vec<bool> = joint.gradients.iter().map(Option::is_some).collect();
    let derived = Rc::new(Derived {
        forward,
        backward,
        saved: places(&joint.outputs, &saved).collect(),
        passed,
        cotangents: chosen(&joint.cotangents),
        gradients: chosen(&has_gradient),
    });
    context.derived.insert(request, derived.clone());
    derived
}

/// The place of each saved value among the results of the forward function.
fn places<'a>(outputs: &'a [ValueId], saved: &'a [ValueId]) -> impl Iterator<Item = usize> + 'a {
    let mut new = outputs.len()..;
    saved.iter().map(move |value| {
        let own = outputs.iter().position(|o| o == value);
        own.unwrap_or_else(|| new.next().expect("the range has no end"))
    })
}

fn push(context: &mut Context<'_>, base: Name, what: &str, graph: Graph) -> FunctionId {
    let name = context.module.fresh_name(&format!("{base}.{what}"));
    context.module.push(Function { name, kind: FunctionKind::Block, residuals: Residuals::Save, graph })
}

fn signature(graph: &Graph) -> Axes {
    let inputs = graph.inputs.iter().flat_map(|i| i.ty.axes.iter());
    inputs.chain(graph.outputs.iter().flat_map(|o| o.axes.iter())).collect()
}

/// The name that an axis inside a function has outside, where a name of an axis means the same on both sides of a
/// call: axes that are not part of the function's signature get names that no caller has.
fn outside(function: Name, signature: &Axes, axis: Axis) -> Axis {
    if signature.contains(axis) { axis } else { Axis::new(&format!("{function}.{axis}")) }
}

/// The axes that a graph shares with functions that it calls, and that therefore keep their names in it.
fn axes_of_calls(module: &Module, graph: &Graph) -> Axes {
    let (mut axes, mut seen) = (Axes::none(), HashSet::new());
    for node in &graph.nodes {
        if let Op::Call { function } = node.op
            && seen.insert(function)
        {
            axes = axes.union(&signature(&module[function].graph));
        }
    }
    axes
}

/// The graph with the outside names of all axes but those of its calls.
fn with_own_axes(module: &Module, graph: &Graph, original: &Graph, function: Name) -> Graph {
    let (own, fixed) = (signature(original), axes_of_calls(module, graph));
    rename_axes(graph, &|a| if fixed.contains(a) { a } else { outside(function, &own, a) })
}

/// The axes of a saved value that do not have their outside name inside, each with that name; `calls` are those of calls,
/// `own` those of the function's signature.
fn renames(calls: &Axes, own: &Axes, axes: &Axes, function: Name) -> Vec<(Axis, Axis)> {
    let inside = axes.intersection(calls);
    inside.iter().map(|a| (a, outside(function, own, a))).filter(|(a, b)| a != b).collect()
}

/// The forward values that the backward part uses and that are not cheap to make again.
fn saved_values(joint: &Joint) -> Vec<ValueId> {
    let used = used_values(joint);
    let again = made_of(joint, &used);
    used.into_iter().filter(|v| !again[v.index()]).collect()
}

/// What may be computed again in place of being saved, in the units of [`work`].
const CHEAP: u32 = 5;

/// Which of the values that the backward part uses follow from the others by little elementwise work: reading and writing a
/// value of that size takes longer, and its memory is held until then.
fn made_of(joint: &Joint, used: &[ValueId]) -> Vec<bool> {
    let graph = &joint.graph;
    // The work to make a value from used ones and inputs; none if it is too much, or does not follow from them.
    let mut cost: Vec<Option<u32>> = vec![None; joint.forward_nodes];
    let mut again = vec![false; joint.forward_nodes];
    for (value, node) in graph.iter().take(joint.forward_nodes) {
        let from = node.operands.iter().try_fold(0u32, |sum, o| Some(sum.saturating_add(cost[o.index()]?)));
        let made = match node.op.kind().class() {
            Class::Elementwise => from.map(|cost| cost.saturating_add(work(&node.op))),
            Class::View | Class::Leaf => from,
            Class::Reduce | Class::Cumulative | Class::Indexed | Class::Control => None,
        };
        let made = made.filter(|cost| *cost <= CHEAP);
        let is_used = used.contains(&value);
        again[value.index()] = is_used && made.is_some() && node.op.kind().class() == Class::Elementwise;
        cost[value.index()] = if is_used && !again[value.index()] { Some(0) } else { made };
    }
    again
}

/// The work of an elementwise operation an element, that of an addition being 1.
fn work(op: &Op) -> u32 {
    let is_transcendental =
        matches!(op, Op::Exp | Op::Log | Op::Log1p | Op::Tanh | Op::Sigmoid | Op::Logsigmoid | Op::Erf);
    match (is_transcendental, matches!(op, Op::Sqrt | Op::Div)) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 1,
    }
}

/// The forward values that the backward part uses, but for those that are inputs with their elements moved.
fn used_values(joint: &Joint) -> Vec<ValueId> {
    let graph = &joint.graph;
    let is_forward = |v: ValueId| v.index() < joint.forward_nodes;
    // What depends on no input, and what follows from the inputs by moving elements alone.
    let mut constant = vec![false; joint.forward_nodes];
    let mut cheap = vec![false; joint.forward_nodes];
    for (value, node) in graph.iter().take(joint.forward_nodes) {
        let all = |flags: &[bool]| node.operands.iter().all(|o| flags[o.index()]);
        let class = node.op.kind().class();
        let is_input = matches!(node.op, Op::Input { .. });
        let computes = matches!(class, Class::Elementwise | Class::View | Class::Leaf);
        constant[value.index()] = !is_input && computes && all(&constant);
        cheap[value.index()] = is_input || constant[value.index()] || (moves(node) && all(&cheap));
    }
    let made_again = |v: ValueId| {
        let node = &graph[v];
        cheap[v.index()] || (moves(node) && !matches!(node.op, Op::Slice { .. }))
    };
    let mut needed = vec![false; graph.nodes.len()];
    joint.gradients.iter().flatten().for_each(|v| needed[v.index()] = true);
    let mut saved = Vec::new();
    for (value, node) in graph.iter().rev() {
        if !needed[value.index()] {
            continue;
        }
        if is_forward(value) && !made_again(value) {
            saved.push(value);
        } else {
            node.operands.iter().for_each(|o| needed[o.index()] = true);
        }
    }
    saved.reverse();
    saved
}

/// Whether the node makes its result from its operands without computing much.
fn moves(node: &Node) -> bool {
    let random = matches!(node.op, Op::Uniform { .. } | Op::FoldIn { .. });
    random || node.op.kind().class() == Class::View || matches!(node.op, Op::Cast { .. } | Op::Detach)
}

fn forward_graph(
    module: &Module,
    joint: &Joint,
    original: &Graph,
    saved: &[ValueId],
    function: Name,
) -> Graph {
    let mut graph = joint.graph.clone();
    graph.nodes.truncate(joint.forward_nodes);
    graph.inputs.truncate(original.inputs.len());
    let mut b = Builder::resume(module, graph);
    for (output, &value) in original.outputs.iter().zip(&joint.outputs) {
        b.output_as(output.name.as_str(), value, output.axes.clone());
    }
    let (own, calls) = (signature(original), axes_of_calls(module, &joint.graph));
    for (n, &value) in saved.iter().enumerate().filter(|(_, v)| !joint.outputs.contains(v)) {
        let taken = |name| b.graph().outputs.iter().any(|o| o.name == name);
        let name = crate::free_name(&format!("saved.{n}"), taken);
        let mut value = value;
        for (from, to) in renames(&calls, &own, &joint.graph.ty(value).axes, function) {
            let size = b.axes().size(from).clone();
            b.axis(to.as_str(), size);
            value = b.rename(value, from, to);
        }
        b.output(name.as_str(), value);
    }
    without_dead_code(&b.finish_pass())
}

/// The backward function, and which of the inputs it takes.
fn backward_graph(
    module: &Module,
    joint: &Joint,
    original: &Graph,
    saved: &[ValueId],
    function: Name,
) -> (Graph, Vec<usize>) {
    let old = &joint.graph;
    let mut b = Builder::with_axes(module, old.axes.clone());
    let mut made: Vec<Option<ValueId>> = vec![None; old.nodes.len()];
    let (own, calls) = (signature(original), axes_of_calls(module, old));
    // Saved values first, then all inputs of the joint graph: the function's own, then the cotangents.
    for (n, value) in saved.iter().enumerate() {
        let taken = |name| old.inputs.iter().any(|i| i.name == name);
        let name = crate::free_name(&format!("saved.{n}"), taken);
        let ty = old.ty(*value);
        let renames = renames(&calls, &own, &ty.axes, function);
        for (from, to) in &renames {
            b.axis(to.as_str(), old.axes.size(*from).clone());
        }
        let to = |a: Axis| renames.iter().find(|(from, _)| *from == a).map_or(a, |(_, to)| *to);
        let outer = Type::new(ty.dtype, ty.axes.iter().map(to));
        let input = b.input(name.as_str(), outer, Role::Argument);
        made[value.index()] = Some(renames.iter().fold(input, |v, (from, to)| b.rename(v, *to, *from)));
    }
    let inputs: Vec<ValueId> =
        old.inputs.iter().map(|i| b.input(i.name.as_str(), i.ty.clone(), i.role)).collect();
    for (value, node) in old.iter() {
        if made[value.index()].is_some() {
            continue;
        }
        if let Op::Input { index } = node.op {
            made[value.index()] = Some(inputs[index as usize]);
            continue;
        }
        // What a saved value was made of may be missing; such nodes are not needed.
        let operands: Option<Vec<ValueId>> = node.operands.iter().map(|o| made[o.index()]).collect();
        let Some(operands) = operands else { continue };
        b.span = node.span;
        let copy = b.push(node.op.clone(), &operands);
        node.name.iter().for_each(|name| b.name(copy, *name));
        made[value.index()] = Some(copy);
    }
    for (input, gradient) in original.inputs.iter().zip(&joint.gradients) {
        let Some(gradient) = gradient else { continue };
        let value = made[gradient.index()].expect("every operand was made");
        b.output_as(&format!("grad.{}", input.name), value, input.ty.axes.clone());
    }
    let all_inputs = saved.len() + old.inputs.len();
    let graph = without_dead_code(&b.finish_pass());
    let passed = passed_inputs(&graph, original, saved.len());
    let own = saved.len()..saved.len() + original.inputs.len();
    let saved_inputs = 0..own.start;
    let cotangents = own.end..all_inputs;
    let order: Vec<usize> =
        saved_inputs.chain(passed.iter().map(|i| own.start + i)).chain(cotangents).collect();
    (carousel_ir::transform::with_inputs(&graph, &order), passed)
}

/// The function's inputs that the backward graph uses, and those without which a size would not be known in it.
fn passed_inputs(graph: &Graph, original: &Graph, saved: usize) -> Vec<usize> {
    let used = graph.input_values();
    let mut passed: Vec<usize> = (0..original.inputs.len()).filter(|i| used[saved + i].is_some()).collect();
    let symbol = |axis: Axis| {
        let size = original.axes.get(axis)?;
        if let Size::Symbol(name) = size { Some(*name) } else { None }
    };
    let symbols = |i: &usize| original.inputs[*i].ty.axes.iter().filter_map(symbol).collect::<Vec<_>>();
    let mut known: Vec<Name> = passed.iter().flat_map(symbols).collect();
    for i in 0..original.inputs.len() {
        let new = symbols(&i).into_iter().filter(|s| !known.contains(s)).collect::<Vec<_>>();
        if !new.is_empty() && !passed.contains(&i) {
            known.extend(new);
            passed.push(i);
        }
    }
    passed.sort_unstable();
    passed
}
