//! Passes that need no rules: dead code and common subexpressions, in functions and in the bodies of their scans.
//!
//! Interfaces stay as they are: a function keeps its inputs and outputs, and the nodes of its inputs. A scan loses
//! yields and states that nobody needs.

use crate::language::{is_commutative, same_op};
use carousel_ir::{Builder, Graph, Module, Op, OpKind, Scan, ValueId};
use std::collections::{BTreeMap, HashMap};

/// Removes operations, yields and states that no output needs.
pub fn dead_code(module: &mut Module) {
    each_function(module, live);
}

/// Computes equal values once. Operands of commutative operations may stand in either order.
pub fn common_subexpressions(module: &mut Module) {
    each_function(module, |module, graph| live(module, &shared(module, graph)));
}

fn each_function(module: &mut Module, pass: impl Fn(&Module, &Graph) -> Graph) {
    let mut done = Module::default();
    for mut function in std::mem::take(&mut module.functions) {
        function.graph = pass(&done, &function.graph);
        done.push(function);
    }
    *module = done;
}

/// The graph without what its outputs do not need; input nodes stay.
pub(crate) fn live(module: &Module, graph: &Graph) -> Graph {
    sweep(module, graph, |node| matches!(node, Op::Input { .. }))
}

/// The graph without what its outputs do not need, input nodes included (the inputs themselves stay declared).
pub(crate) fn live_with_inputs(module: &Module, graph: &Graph) -> Graph {
    sweep(module, graph, |_| false)
}

/// A scan without the results that are not needed.
struct Pruned {
    scan: Scan,
    /// Which of the old operands are left, in order.
    operands: Vec<ValueId>,
    /// The new number of each result that is left.
    results: BTreeMap<u32, u32>,
}

fn sweep(module: &Module, graph: &Graph, keep: impl Fn(&Op) -> bool) -> Graph {
    let mut needed = vec![false; graph.nodes.len()];
    let mut results: Vec<Vec<u32>> = vec![Vec::new(); graph.nodes.len()];
    let mut pruned: HashMap<usize, Pruned> = HashMap::new();
    graph.outputs.iter().for_each(|o| needed[o.value.index()] = true);
    for (value, node) in graph.iter().rev() {
        if !needed[value.index()] {
            continue;
        }
        if let Op::Proj { index } = node.op {
            results[node.operands[0].index()].push(index);
        }
        let operands = match &node.op {
            Op::Scan { scan } => {
                let pruned = pruned.entry(value.index()).or_insert_with(|| {
                    prune(scan, &node.operands, &results[value.index()])
                });
                pruned.operands.clone()
            }
            _ => node.operands.to_vec(),
        };
        operands.iter().for_each(|o| needed[o.index()] = true);
    }
    let mut builder = Builder::with_axes(module, graph.axes.clone());
    let mut made: Vec<Option<ValueId>> = vec![None; graph.nodes.len()];
    declare_inputs(&mut builder, graph);
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
                let index = match &graph.nodes[tuple].op {
                    Op::Scan { .. } => results[tuple][*index as usize],
                    _ => *index,
                };
                builder.push(Op::Proj { index }, &[moved(&node.operands[0])])
            }
            (op, _) => builder.push(op.clone(), &node.operands.iter().map(moved).collect::<Vec<_>>()),
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

/// A scan whose results `used` are needed.
fn prune(scan: &Scan, operands: &[ValueId], used: &[u32]) -> Pruned {
    let states = scan.states as usize;
    let body = &scan.body;
    let uses = uses_of_inputs(body);
    let mut keep: Vec<bool> = (0..body.outputs.len()).map(|i| used.contains(&(i as u32))).collect();
    // A state is needed if its final value is, or if something needed is computed from it.
    loop {
        let more: Vec<usize> = (0..states)
            .filter(|s| !keep[*s] && (0..keep.len()).any(|o| keep[o] && uses[o].contains(s)))
            .collect();
        if more.is_empty() {
            break;
        }
        more.into_iter().for_each(|s| keep[s] = true);
    }
    let mut scan = scan.clone();
    let dropped: Vec<usize> = (0..states).filter(|s| !keep[*s]).collect();
    let mut place = 0;
    scan.body.outputs.retain(|_| {
        place += 1;
        keep[place - 1]
    });
    scan.states -= dropped.len() as u32;
    scan.body = without_inputs(&scan.body, &dropped);
    let kept: Vec<ValueId> =
        (0..operands.len()).filter(|i| !dropped.contains(i)).map(|i| operands[i]).collect();
    let (scan, operands) = carousel_ir::scan::normalize(scan, &kept);
    let results = keep.iter().enumerate().filter(|(_, k)| **k).map(|(old, _)| old as u32);
    let results = results.enumerate().map(|(new, old)| (old, new as u32)).collect();
    Pruned { scan, operands, results }
}

/// The inputs that each output of a graph is computed from.
fn uses_of_inputs(graph: &Graph) -> Vec<std::collections::BTreeSet<usize>> {
    let from = |output: &carousel_ir::Output| {
        let mut needed = vec![false; graph.nodes.len()];
        needed[output.value.index()] = true;
        let mut found = std::collections::BTreeSet::new();
        for (value, node) in graph.iter().rev().filter(|(v, _)| v.index() <= output.value.index()) {
            if needed[value.index()] {
                node.operands.iter().for_each(|o| needed[o.index()] = true);
                if let Op::Input { index } = node.op {
                    found.insert(index as usize);
                }
            }
        }
        found
    };
    graph.outputs.iter().map(from).collect()
}

/// The live part of a scan's body without the inputs of these states, which nothing live uses.
fn without_inputs(body: &Graph, dropped: &[usize]) -> Graph {
    let mut body = live_with_inputs(&Module::default(), body);
    let moved: Vec<Option<u32>> = (0..body.inputs.len())
        .scan(0, |next, old| {
            let kept = !dropped.contains(&old);
            *next += u32::from(kept);
            Some(kept.then(|| *next - 1))
        })
        .collect();
    for node in &mut body.nodes {
        if let Op::Input { index } = &mut node.op {
            *index = moved[*index as usize].expect("a dropped state is not used");
        }
    }
    let mut place = 0;
    body.inputs.retain(|_| {
        place += 1;
        moved[place - 1].is_some()
    });
    body
}

/// The graph with equal values computed once. What was replaced is left to [`live`].
pub(crate) fn shared(module: &Module, graph: &Graph) -> Graph {
    let mut builder = Builder::with_axes(module, graph.axes.clone());
    let mut made: Vec<ValueId> = Vec::with_capacity(graph.nodes.len());
    let mut known: HashMap<(OpKind, Vec<ValueId>), Vec<ValueId>> = HashMap::new();
    declare_inputs(&mut builder, graph);
    for (_, node) in graph.iter() {
        let operands: Vec<ValueId> = node.operands.iter().map(|v| made[v.index()]).collect();
        let op = match &node.op {
            Op::Scan { scan } => {
                let body = shared(&Module::default(), &scan.body);
                let body = live_with_inputs(&Module::default(), &body);
                Op::Scan { scan: Box::new(Scan { body, ..(**scan).clone() }) }
            }
            op => op.clone(),
        };
        let (op, operands) = match op {
            Op::Scan { scan } => {
                let (scan, operands) = carousel_ir::scan::normalize(*scan, &operands);
                (Op::Scan { scan: Box::new(scan) }, operands)
            }
            op => (op, operands),
        };
        let mut key = (op.kind(), operands.clone());
        if is_commutative(op.kind()) {
            key.1.sort();
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
        let new = builder.push(op, &operands);
        if let Some(name) = node.name {
            builder.name(new, name);
        }
        same.push(new);
        made.push(new);
    }
    finish(builder, graph, |v| made[v.index()])
}

/// Declares the inputs of `graph`; their nodes are copied like others.
fn declare_inputs(builder: &mut Builder<'_>, graph: &Graph) {
    for input in &graph.inputs {
        builder.declare_input(input.clone());
    }
}

fn finish(mut builder: Builder<'_>, graph: &Graph, moved: impl Fn(ValueId) -> ValueId) -> Graph {
    for output in &graph.outputs {
        builder.output_as(output.name.as_str(), moved(output.value), output.axes.clone());
    }
    builder.finish_pass()
}
