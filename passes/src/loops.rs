//! Plain rewrites of scans: what no result needs goes, and what every turn sees alike moves into the body.
//!
//! The meaning of the results that are left stays, and so does the normal form.

use crate::plain::live_with_inputs;
use carousel_ir::{Graph, Module, Op, Scan, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// A scan without the results that are not needed.
pub(crate) struct Pruned {
    pub(crate) scan: Scan,
    /// Which of the old operands are left, in order.
    pub(crate) operands: Vec<ValueId>,
    /// The new number of each result that is left.
    pub(crate) results: BTreeMap<u32, u32>,
}

/// A scan whose results `used` are needed.
pub(crate) fn prune(scan: &Scan, operands: &[ValueId], used: &[u32]) -> Pruned {
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
fn uses_of_inputs(graph: &Graph) -> Vec<BTreeSet<usize>> {
    let from = |output: &carousel_ir::Output| {
        let mut needed = vec![false; graph.nodes.len()];
        needed[output.value.index()] = true;
        let mut found = BTreeSet::new();
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

/// The scan with constants inside its body instead of captured, and each value captured once.
pub(crate) fn specialise(scan: &Scan, operands: &[ValueId], outer: &Graph) -> (Scan, Vec<ValueId>) {
    let (states, sequences) = (scan.states as usize, scan.sequences as usize);
    let mut scan = scan.clone();
    let inputs = scan.body.input_values();
    let section = |place: usize| usize::from(place >= states) + usize::from(place >= states + sequences);
    let mut moved: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for place in states..operands.len() {
        let Some(inner) = inputs[place] else { continue };
        let first =
            (states..place).find(|p| operands[*p] == operands[place] && section(*p) == section(place));
        if let Some(first) = first.and_then(|p| inputs[p]) {
            moved.insert(inner, first);
        } else if let op @ Op::Const { .. } = &outer[operands[place]].op {
            scan.body[inner].op = op.clone();
        }
    }
    // In normal form the inputs come first and in order, so that the first of two equal ones precedes all users.
    for node in &mut scan.body.nodes {
        node.operands.iter_mut().for_each(|o| *o = moved.get(o).copied().unwrap_or(*o));
    }
    for output in &mut scan.body.outputs {
        output.value = moved.get(&output.value).copied().unwrap_or(output.value);
    }
    carousel_ir::scan::normalize(scan, operands)
}

#[cfg(test)]
mod tests {
    use super::*;
    use carousel_ir::{Axis, AxisTable, Builder, DType, Direction, Size, verify_graph};

    /// `c' = c + w * x + v`, `unused' = unused + c`, yields `c'` and `x`; `w` and `v` captured.
    fn example() -> (Graph, ValueId) {
        let mut axes = AxisTable::default();
        let s = Axis::new("s");
        axes.declare(s, Size::symbol("s"));
        let mut body = Builder::body(axes.clone());
        let inputs = ["c", "unused", "x", "w", "v"].map(|name| body.argument(name, DType::F32, &[]));
        let [c, unused, x, w, v] = inputs;
        let product = body.mul(w, x);
        let sum = body.add(c, product);
        let next = body.add(sum, v);
        let other = body.add(unused, c);
        body.output("c", next);
        body.output("unused", other);
        body.output("y", next);
        body.output("z", x);
        let scan = Scan {
            axis: s,
            direction: Direction::Forward,
            states: 2,
            sequences: 1,
            body: body.finish_pass(),
        };
        let mut b = Builder::body(axes);
        let (x, w) = (b.argument("x", DType::F32, &[s]), b.argument("w", DType::F32, &[]));
        let two = b.constant(2.0, DType::F32);
        let results = b.scan(scan, &[w, w, x, w, two]);
        b.output("y", results[2]);
        let graph = b.finish_pass();
        assert_eq!(verify_graph(&graph), []);
        let place = graph.nodes.iter().position(|n| matches!(n.op, Op::Scan { .. })).expect("it is there");
        (graph, ValueId(place as u32))
    }

    #[test]
    fn results_that_nothing_needs_go_with_their_states() {
        let (graph, place) = example();
        let Op::Scan { scan } = &graph[place].op else { panic!("it is a scan") };
        let pruned = prune(scan, &graph[place].operands, &[2]);
        assert_eq!((pruned.scan.states, pruned.scan.body.outputs.len()), (1, 2));
        assert_eq!(pruned.results, BTreeMap::from([(0, 0), (2, 1)]));
        let other = prune(scan, &graph[place].operands, &[1]);
        assert_eq!(other.scan.states, 2, "the second state is computed from the first");
    }

    #[test]
    fn constants_move_in() {
        let (graph, place) = example();
        let Op::Scan { scan } = &graph[place].op else { panic!("it is a scan") };
        let (scan, operands) = specialise(scan, &graph[place].operands, &graph);
        assert_eq!((scan.body.inputs.len(), operands.len()), (4, 4));
        assert!(
            scan.body.nodes.iter().any(|n| matches!(n.op, Op::Const { value, .. } if value.get() == 2.0))
        );
        let mut twice = graph.clone();
        let last = twice[place].operands.len() - 1;
        twice[place].operands[last] = twice[place].operands[last - 1];
        let Op::Scan { scan } = &twice[place].op else { panic!("it is a scan") };
        let (scan, operands) = specialise(scan, &twice[place].operands, &twice);
        assert_eq!((scan.body.inputs.len(), operands.len()), (4, 4), "one value is captured once");
    }
}
