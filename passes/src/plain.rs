//! Passes that need no rules: dead code and common subexpressions, in functions and in the bodies of their scans.
//!
//! Interfaces stay as they are: a function keeps its inputs and outputs, and the nodes of its inputs. A scan loses
//! yields and states that nobody needs.

use crate::language::{is_commutative, same_op};
use crate::loops::{Pruned, prune};
use crate::{sums, twins};
use carousel_ir::{Builder, Graph, Module, Op, OpKind, Scan, ValueId};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Removes operations, yields and states that no output needs.
pub fn dead_code(module: &mut Module) {
    each_function(module, live);
}

/// Computes equal values once. Operands of commutative operations may stand in either order.
pub fn common_subexpressions(module: &mut Module) {
    each_function(module, |module, graph| live(module, &shared(module, graph)));
}

/// Computes less of what gradients of several linear scans have in common: gathers the terms of sums before what is linear
/// in them, and computes matrices once that are others seen from the other side. Rules have no part in this and are not to be applied
/// afterwards: sums of many terms, and views of views, make too many terms of an e-graph.
pub fn common_parts(module: &mut Module) {
    let once = |module: &Module, graph: &Graph| live(module, &shared(module, graph));
    each_function(module, |module, graph| {
        let graph = once(module, &sums::gathered(module, &once(module, graph)));
        once(module, &twins::exchanged(module, &graph))
    });
}

fn each_function(module: &mut Module, pass: impl Fn(&Module, &Graph) -> Graph) {
    let mut done = Module::default();
    for mut function in std::mem::take(&mut module.functions) {
        function.graph = pass(&done, &function.graph);
        done.push(function);
    }
    *module = done;
}

/// Whether two graphs are the same to the last name and span of what they compute. (`==` says whether they compute the same.)
pub(crate) fn is_copy(a: &Graph, b: &Graph) -> bool {
    let nodes = || {
        a.nodes.iter().zip(&b.nodes).all(|(x, y)| {
            let bodies = match (&x.op, &y.op) {
                (Op::Scan { scan: x }, Op::Scan { scan: y }) => is_copy(&x.body, &y.body),
                (x, y) => same_op(x, y),
            };
            // What comes in has the place of the use, which says nothing of what is done with it.
            let hints = matches!(x.op, Op::Input { .. }) || (x.span == y.span && x.name == y.name);
            bodies && hints
        })
    };
    a == b && a.axes == b.axes && nodes()
}

/// The graph without what its outputs do not need; input nodes stay.
pub(crate) fn live(module: &Module, graph: &Graph) -> Graph {
    sweep(module, graph, |node| matches!(node, Op::Input { .. }))
}

/// The graph without what its outputs do not need, input nodes included (the inputs themselves stay declared).
pub(crate) fn live_with_inputs(module: &Module, graph: &Graph) -> Graph {
    sweep(module, graph, |_| false)
}

fn sweep(module: &Module, graph: &Graph, keep: impl Fn(&Op) -> bool) -> Graph {
    let mut needed = vec![false; graph.nodes.len()];
    let mut results: Vec<Vec<u32>> = vec![Vec::new(); graph.nodes.len()];
    let mut pruned: FxHashMap<usize, Pruned> = FxHashMap::default();
    graph.outputs.iter().for_each(|o| needed[o.value.index()] = true);
    for (value, node) in graph.iter().rev() {
        if !needed[value.index()] {
            continue;
        }
        if let Op::Proj { index } = node.op {
            results[node.operands[0].index()].push(index);
        }
        let mut operands = node.operands.to_vec();
        if let Op::Scan { scan } = &node.op {
            let less = prune(scan, &operands, &results[value.index()]);
            operands = less.operands.clone();
            pruned.insert(value.index(), less);
        }
        operands.iter().for_each(|o| needed[o.index()] = true);
    }
    let mut builder = like(module, graph);
    let mut made: Vec<Option<ValueId>> = vec![None; graph.nodes.len()];
    for (value, node) in graph.iter() {
        if !needed[value.index()] && !keep(&node.op) {
            continue;
        }
        builder.span = node.span;
        let moved = |v: &ValueId| made[v.index()].expect("an operand of what is needed is needed");
        let new = match (&node.op, pruned.remove(&value.index())) {
            (Op::Scan { .. }, Some(p)) => {
                let operands: Vec<ValueId> = p.operands.iter().map(moved).collect();
                let new = builder.push(Op::Scan { scan: Box::new(p.scan) }, &operands);
                renumber(&mut results[value.index()], p.results);
                new
            }
            (Op::Proj { index }, _) => {
                let tuple = node.operands[0].index();
                let is_scan = matches!(graph.nodes[tuple].op, Op::Scan { .. });
                let index = if is_scan { results[tuple][*index as usize] } else { *index };
                builder.push_copy(graph, node, Op::Proj { index }, &[moved(&node.operands[0])])
            }
            (op, _) => builder.push_copy(
                graph,
                node,
                op.clone(),
                &node.operands.iter().map(moved).collect::<Vec<_>>(),
            ),
        };
        if let Some(name) = node.name {
            builder.name(new, name);
        }
        made[value.index()] = Some(new);
    }
    finish(builder, graph, |v| made[v.index()].expect("outputs are needed"))
}

/// From the list of results that are used to the new number of each old one.
fn renumber(results: &mut Vec<u32>, new: BTreeMap<u32, u32>) {
    let last = new.keys().next_back().map_or(0, |n| n + 1);
    *results = (0..last).map(|old| new.get(&old).copied().unwrap_or(u32::MAX)).collect();
}

/// The graph with equal values computed once. What was replaced is left to [`live`].
pub(crate) fn shared(module: &Module, graph: &Graph) -> Graph {
    let mut builder = like(module, graph);
    let mut made: Vec<ValueId> = Vec::with_capacity(graph.nodes.len());
    let mut known: FxHashMap<(OpKind, u32, Vec<ValueId>), Vec<ValueId>> = FxHashMap::default();
    for (_, node) in graph.iter() {
        let mut operands: Vec<ValueId> = node.operands.iter().map(|v| made[v.index()]).collect();
        let mut op = node.op.clone();
        if let Op::Scan { scan } = &mut op {
            let body = shared(&Module::default(), &scan.body);
            let body = live_with_inputs(&Module::default(), &body);
            let normal = carousel_ir::scan::normalize(Scan { body, ..(**scan).clone() }, &operands);
            (**scan, operands) = normal;
        }
        let mut key = (op.kind(), number(&op), operands.clone());
        if is_commutative(op.kind()) {
            key.2.sort();
        }
        let same = known.entry(key).or_default();
        if let Some(found) = same.iter().find(|v| same_op(&builder.graph()[**v].op, &op)) {
            let found = *found;
            if let Some(name) = node.name {
                builder.name(found, name);
            }
            made.push(found);
            continue;
        }
        builder.span = node.span;
        let new = builder.push_copy(graph, node, op, &operands);
        if let Some(name) = node.name {
            builder.name(new, name);
        }
        same.push(new);
        made.push(new);
    }
    finish(builder, graph, |v| made[v.index()])
}

/// A model has as many inputs, and its gradient as many results, as there are parameters: these are told apart by number.
fn number(op: &Op) -> u32 {
    if let Op::Input { index } | Op::Proj { index } = op { *index } else { 0 }
}

/// A builder that has the axes and inputs of `graph`, and no nodes.
fn like<'m>(module: &'m Module, graph: &Graph) -> Builder<'m> {
    let empty = Graph { axes: graph.axes.clone(), inputs: graph.inputs.clone(), ..Graph::default() };
    Builder::resume(module, empty)
}

fn finish(mut builder: Builder<'_>, graph: &Graph, moved: impl Fn(ValueId) -> ValueId) -> Graph {
    for output in &graph.outputs {
        builder.output_as(output.name.as_str(), moved(output.value), output.axes.clone());
    }
    builder.finish_pass()
}
