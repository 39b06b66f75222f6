//! Changes of whole graphs that several passes need: dead code, other inputs, other names of axes.
//!
//! Invariant: each takes a verified graph and gives a verified graph that computes the same outputs. None of them
//! looks for equal or simpler expressions; that is the business of rewriting passes.

use crate::{Attribute, Axes, AxisTable, Graph, Node, Op, Scan, Type, ValueId};
use crate::{Axis, scan};
use std::collections::HashMap;

/// The graph without the nodes that reach no output. Loops lose the yields that nobody takes, and the states that
/// only serve themselves; inputs of the graph stay, used or not.
pub fn without_dead_code(graph: &Graph) -> Graph {
    let mut live = vec![false; graph.nodes.len()];
    let mut taken: HashMap<ValueId, Vec<bool>> = HashMap::new();
    let mut loops: HashMap<ValueId, PrunedLoop> = HashMap::new();
    graph.outputs.iter().for_each(|o| live[o.value.index()] = true);
    for (value, node) in graph.iter().rev() {
        if !live[value.index()] {
            continue;
        }
        if let Op::Proj { index } = node.op {
            let results = graph[node.operands[0]].types.len();
            taken.entry(node.operands[0]).or_insert_with(|| vec![false; results])[index as usize] = true;
        }
        if let Op::Scan { scan } = &node.op {
            let none = vec![false; node.types.len()];
            let pruned = prune(scan, &node.operands, taken.get(&value).unwrap_or(&none));
            pruned.operands.iter().for_each(|o| live[o.index()] = true);
            loops.insert(value, pruned);
        } else {
            node.operands.iter().for_each(|o| live[o.index()] = true);
        }
    }
    let mut new = Graph { axes: graph.axes.clone(), inputs: graph.inputs.clone(), ..Graph::default() };
    let mut renamed = vec![None; graph.nodes.len()];
    let at =
        |renamed: &[Option<ValueId>], v: ValueId| renamed[v.index()].expect("operands of live nodes live");
    for (value, node) in graph.iter().filter(|(v, _)| live[v.index()]) {
        let mut node = node.clone();
        if let Op::Proj { index } = &mut node.op
            && let Some(pruned) = loops.get(&node.operands[0])
        {
            *index = pruned.places[*index as usize].expect("a result that is taken is kept");
        }
        if let Some(pruned) = loops.get(&value) {
            let kept = pruned.places.iter().zip(&node.types).filter(|(place, _)| place.is_some());
            node.types = kept.map(|(_, ty)| ty.clone()).collect();
            node.operands = pruned.operands.iter().copied().collect();
            node.op = Op::Scan { scan: Box::new(pruned.scan.clone()) };
        }
        node.operands.iter_mut().for_each(|o| *o = at(&renamed, *o));
        new.nodes.push(node);
        renamed[value.index()] = Some(ValueId(new.nodes.len() as u32 - 1));
    }
    let outputs = graph.outputs.iter();
    new.outputs = outputs.map(|o| crate::Output { value: at(&renamed, o.value), ..o.clone() }).collect();
    new
}

/// A loop without what nobody takes.
struct PrunedLoop {
    scan: Scan,
    operands: Vec<ValueId>,
    /// The new number of each old result.
    places: Vec<Option<u32>>,
}

fn prune(scan: &Scan, operands: &[ValueId], taken: &[bool]) -> PrunedLoop {
    let states = scan.states as usize;
    let mut kept = taken.to_vec();
    loop {
        let outputs = scan.body.outputs.iter().zip(&kept).filter(|(_, kept)| **kept);
        let read = inputs_read(&scan.body, outputs.map(|(o, _)| o.value));
        let before = kept.iter().filter(|k| **k).count();
        (0..states).filter(|i| read[*i]).for_each(|i| kept[i] = true);
        if kept.iter().filter(|k| **k).count() == before {
            break;
        }
    }
    let place = |i: usize| kept[..i].iter().filter(|k| **k).count() as u32;
    let places = (0..kept.len()).map(|i| kept[i].then(|| place(i))).collect();
    let mut body = scan.body.clone();
    let mut of_output = kept.iter();
    body.outputs.retain(|_| *of_output.next().expect("one flag an output"));
    let order: Vec<usize> = (0..operands.len()).filter(|i| *i >= states || kept[*i]).collect();
    let body = with_inputs(&without_dead_code(&body), &order);
    let states = kept[..states].iter().filter(|k| **k).count() as u32;
    let operands: Vec<ValueId> = order.iter().map(|i| operands[*i]).collect();
    let (scan, operands) = scan::normalize(Scan { states, body, ..scan.clone() }, &operands);
    PrunedLoop { scan, operands, places }
}

/// Which inputs the values depend on.
fn inputs_read(graph: &Graph, values: impl Iterator<Item = ValueId>) -> Vec<bool> {
    let mut reached = vec![false; graph.nodes.len()];
    values.for_each(|v| reached[v.index()] = true);
    let mut read = vec![false; graph.inputs.len()];
    for (value, node) in graph.iter().rev() {
        if !reached[value.index()] {
            continue;
        }
        if let Op::Input { index } = node.op {
            read[index as usize] = true;
        }
        node.operands.iter().for_each(|o| reached[o.index()] = true);
    }
    read
}

/// The graph with only the inputs `order`, in that order, as its first nodes. Inputs that are left out must not be
/// used.
pub fn with_inputs(graph: &Graph, order: &[usize]) -> Graph {
    scan::with_inputs(graph, order)
}

/// The graph with other names for its axes; `rename` must keep distinct names distinct.
pub fn rename_axes(graph: &Graph, rename: &dyn Fn(Axis) -> Axis) -> Graph {
    let axes = |axes: &Axes| axes.iter().map(rename).collect::<Axes>();
    let ty = |t: &Type| Type { dtype: t.dtype, axes: axes(&t.axes) };
    let mut table = AxisTable::default();
    for (axis, size) in graph.axes.iter() {
        let clash = table.declare(rename(axis), size.clone());
        assert!(clash.is_none(), "two axes of different sizes are renamed to `{}`", rename(axis));
    }
    let node = |n: &Node| Node {
        op: rename_in_op(&n.op, rename),
        types: n.types.iter().map(ty).collect(),
        ..n.clone()
    };
    Graph {
        axes: table,
        inputs: graph.inputs.iter().map(|i| crate::Input { ty: ty(&i.ty), ..i.clone() }).collect(),
        nodes: graph.nodes.iter().map(node).collect(),
        outputs: graph.outputs.iter().map(|o| crate::Output { axes: axes(&o.axes), ..o.clone() }).collect(),
    }
}

/// The operation with other names for its axes.
pub fn rename_in_op(op: &Op, rename: &dyn Fn(Axis) -> Axis) -> Op {
    let mut attributes = op.attributes();
    for attribute in &mut attributes {
        match attribute {
            Attribute::Axis(axis) => *axis = rename(*axis),
            Attribute::Axes(axes) => axes.iter_mut().for_each(|a| *a = rename(*a)),
            Attribute::Scan(scan) => {
                scan.axis = rename(scan.axis);
                scan.body = rename_axes(&scan.body, rename);
            }
            Attribute::Size(_)
            | Attribute::Integer(_)
            | Attribute::Number(_)
            | Attribute::DType(_)
            | Attribute::Name(_)
            | Attribute::Direction(_)
            | Attribute::Function(_) => {}
        }
    }
    op.kind().with_attributes(&attributes).expect("the attributes are of the same kinds as before")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, DType, Direction, Role, Size, verify_graph};

    /// A loop with three states (the second feeds the first, the third only itself) and two yields.
    fn graph() -> Graph {
        let module = crate::Module::default();
        let mut b = Builder::new(&module);
        let s = b.axis("s", Size::symbol("s"));
        let x = b.argument("x", DType::F32, &[s]);
        let start = b.argument("start", DType::F32, &[]);
        let mut body = Builder::body(b.axes().clone());
        let scalar = Type::scalar(DType::F32);
        let [p, q, r, e] = ["p", "q", "r", "e"].map(|n| body.input(n, scalar.clone(), Role::Argument));
        let next_p = body.add(p, q);
        let next_q = body.mul(q, e);
        let next_r = body.add(r, e);
        for (name, value) in [("p", next_p), ("q", next_q), ("r", next_r), ("y", next_r), ("z", next_q)] {
            body.output(name, value);
        }
        let body = body.finish_pass();
        let scan = Scan { axis: s, direction: Direction::Forward, states: 3, sequences: 1, body };
        let results = b.scan(scan, &[start, start, start, x]);
        b.output("p", results[0]);
        b.output("z", results[4]);
        b.finish_pass()
    }

    fn scan_of(graph: &Graph) -> &Scan {
        let scan = |n: &'_ Node| matches!(n.op, Op::Scan { .. });
        let node = graph.nodes.iter().find(|n| scan(n)).expect("there is a loop");
        if let Op::Scan { scan } = &node.op { scan } else { unreachable!("it was found as one") }
    }

    #[test]
    fn loops_lose_states_and_yields_that_nobody_takes() {
        let pruned = without_dead_code(&graph());
        assert_eq!(verify_graph(&pruned), Vec::new());
        let names: Vec<_> = scan_of(&pruned).body.outputs.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, ["p", "q", "z"]);
        assert_eq!(scan_of(&pruned).states, 2);
        assert_eq!(pruned.inputs, graph().inputs);
        assert_eq!(without_dead_code(&pruned), pruned);
    }

    #[test]
    fn axes_are_renamed_everywhere() {
        let renamed = rename_axes(&graph(), &|a| if a == "s".into() { "t".into() } else { a });
        assert_eq!(verify_graph(&renamed), Vec::new());
        assert_eq!(scan_of(&renamed).axis, "t".into());
        assert_eq!(renamed.outputs[1].axes, Axes::new(["t".into()]));
        let back = rename_axes(&renamed, &|a| if a == "t".into() { "s".into() } else { a });
        assert_eq!(back, graph());
    }
}
