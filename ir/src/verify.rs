//! The verifier. A module that passes never makes a later stage panic.
//!
//! What holds afterwards, for every function and, inside it, every scan body:
//! 1. operands precede users, callees precede callers;
//! 2. every axis that occurs in a type or an operation has a size in the graph's table;
//! 3. the types of every node are those that inference gives for its operands, in the same order of axes;
//! 4. each input is one node at most, of the input's type, and names of inputs and of outputs are distinct;
//! 5. a scan's body is in normal form ([`crate::scan::normalize`]), its axes have the sizes that they have outside,
//!    it does not mention the scan's axis, and it calls no function;
//! 6. a function's name is unique, and its outputs are values, not tuples.

use crate::infer::{Context, infer};
use crate::{Axis, Diagnostic, Function, Graph, Module, Node, Op, Scan, Span};
use std::collections::HashSet;

/// Everything that is wrong with the module; empty if nothing is.
pub fn verify(module: &Module) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut names = HashSet::new();
    for (place, function) in module.functions.iter().enumerate() {
        if !names.insert(function.name) {
            let message = format!("two functions are called `{}`", function.name);
            problems.push(Diagnostic::error("duplicate", Span::default(), message));
        }
        graph(&function.graph, &module.functions[..place], &mut problems);
    }
    problems
}

/// Everything that is wrong with one graph that calls nothing.
pub fn verify_graph(checked: &Graph) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    graph(checked, &[], &mut problems);
    problems
}

fn graph(graph: &Graph, callees: &[Function], problems: &mut Vec<Diagnostic>) {
    let mut names = HashSet::new();
    for input in &graph.inputs {
        if !names.insert(input.name) {
            let message = format!("two inputs are called `{}`", input.name);
            problems.push(Diagnostic::error("duplicate", Span::default(), message));
        }
        for axis in input.ty.axes.iter().filter(|a| graph.axes.get(*a).is_none()) {
            let message = format!("input `{}` has the axis `{axis}`, which has no size", input.name);
            problems.push(Diagnostic::error("axis-unknown", Span::default(), message));
        }
    }
    let mut inputs_seen = HashSet::new();
    for (place, node) in graph.nodes.iter().enumerate() {
        if let Some(late) = node.operands.iter().find(|v| v.index() >= place) {
            let message = format!("`{}` uses the value {} before it is made", node.op.kind(), late.0);
            problems.push(Diagnostic::error("order", node.span, message));
            return;
        }
        if let Op::Input { index } = node.op
            && !inputs_seen.insert(index)
        {
            problems.push(Diagnostic::error("input", node.span, format!("input {index} stands twice")));
        }
        types(graph, callees, node, problems);
        if let Op::Scan { scan } = &node.op {
            body(graph, scan, node, problems);
        }
    }
    let mut names = HashSet::new();
    for output in &graph.outputs {
        if !names.insert(output.name) {
            let message = format!("two outputs are called `{}`", output.name);
            problems.push(Diagnostic::error("duplicate", Span::default(), message));
        }
        match graph.nodes.get(output.value.index()).map(|n| n.types.as_slice()) {
            Some([ty]) if ty.axes == output.axes => {}
            Some([ty]) => {
                let message =
                    format!("output `{}` is declared [{}], but its value is {ty}", output.name, output.axes);
                problems.push(Diagnostic::error("output", Span::default(), message));
            }
            Some(_) | None => {
                let message = format!("output `{}` is no single value", output.name);
                problems.push(Diagnostic::error("output", Span::default(), message));
            }
        }
    }
}

fn types(graph: &Graph, callees: &[Function], node: &Node, problems: &mut Vec<Diagnostic>) {
    let operands: Vec<&Node> = node.operands.iter().map(|v| &graph[*v]).collect();
    let context = Context { axes: &graph.axes, inputs: &graph.inputs, functions: callees };
    match infer(context, &node.op, &operands) {
        Err(error) => {
            let diagnostic = Diagnostic::error(error.code, node.span, error.message);
            problems.push(Diagnostic { help: error.help, ..diagnostic });
        }
        Ok(types) => {
            let same = types.len() == node.types.len()
                && types.iter().zip(&node.types).all(|(a, b)| a == b && a.axes.same_order(&b.axes));
            if !same {
                let message =
                    format!("`{}` is {:?}, but was given as {:?}", node.op.kind(), types, node.types);
                problems.push(Diagnostic::error("type", node.span, message));
            }
        }
    }
}

fn body(outer: &Graph, scan: &Scan, node: &Node, problems: &mut Vec<Diagnostic>) {
    let mut problem = |code, message| problems.push(Diagnostic::error(code, node.span, message));
    for (axis, size) in scan.body.axes.iter() {
        match outer.axes.get(axis) {
            Some(known) if known == size => {}
            Some(known) => {
                problem("size", format!("axis `{axis}` has size {known} outside the scan, {size} inside"))
            }
            None => problem("axis-unknown", format!("axis `{axis}` of the scan's body has no size outside")),
        }
    }
    if scan.body.nodes.iter().any(|n| mentions(n, scan.axis)) {
        problem("scan", format!("the body of a scan over `{}` mentions that axis", scan.axis));
    }
    if scan.body.nodes.iter().any(|n| matches!(n.op, Op::Call { .. })) {
        problem("scan", "a scan's body calls a block".to_string());
    }
    let (normal, operands) = crate::scan::normalize(scan.clone(), &node.operands);
    if normal != *scan || operands.as_slice() != node.operands.as_slice() {
        problem("scan", "the scan is not in normal form".to_string());
    }
    graph(&scan.body, &[], problems);
}

/// Whether `axis` occurs in a node's types (a nested body is checked by itself).
fn mentions(node: &Node, axis: Axis) -> bool {
    node.types.iter().any(|t| t.axes.contains(axis))
}
