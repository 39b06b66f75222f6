//! The normal form of loops: sequences and shared values that the body does not use are dropped, the others stand
//! in the order of their first use, and the body's input nodes come first, in order.

use crate::{Graph, Op, Scan, ValueId};

/// The scan in normal form with its operands. States keep their order: they are part of the meaning.
pub fn normalize(mut scan: Scan, operands: &[ValueId]) -> (Scan, Vec<ValueId>) {
    let (states, sequences) = (scan.states as usize, scan.sequences as usize);
    let used = first_uses(&scan.body);
    let keep = |range: std::ops::Range<usize>| {
        let mut kept: Vec<usize> = range.filter(|i| used.get(*i).is_some_and(Option::is_some)).collect();
        kept.sort_by_key(|i| used[*i]);
        kept
    };
    let end = scan.body.inputs.len().min(operands.len());
    let kept_sequences = keep(states..(states + sequences).min(end));
    let kept_shared = keep((states + sequences).min(end)..end);
    let order: Vec<usize> =
        (0..states.min(end)).chain(kept_sequences.iter().copied()).chain(kept_shared).collect();
    scan.sequences = kept_sequences.len() as u32;
    scan.body = with_inputs(&scan.body, &order);
    (scan, order.iter().map(|i| operands[*i]).collect())
}

/// The node that first uses each input, `None` where none does.
fn first_uses(body: &Graph) -> Vec<Option<(usize, usize)>> {
    let mut first = vec![None; body.inputs.len()];
    let input = |v: ValueId| if let Op::Input { index } = body[v].op { Some(index as usize) } else { None };
    let by_nodes = body
        .nodes
        .iter()
        .enumerate()
        .flat_map(|(at, n)| n.operands.iter().enumerate().map(move |(i, v)| (at, i, *v)));
    let by_outputs = body.outputs.iter().enumerate().map(|(i, o)| (body.nodes.len(), i, o.value));
    for (at, place, value) in by_nodes.chain(by_outputs) {
        if let Some(slot) = input(value).and_then(|i| first.get_mut(i)) {
            slot.get_or_insert((at, place));
        }
    }
    first
}

/// The body with only the inputs `order`, in that order, as its first nodes.
pub(crate) fn with_inputs(body: &Graph, order: &[usize]) -> Graph {
    let mut graph = Graph { axes: body.axes.clone(), ..Graph::default() };
    let mut new_index = vec![None; body.inputs.len()];
    let old_nodes: Vec<Option<&crate::Node>> = {
        let mut nodes = vec![None; body.inputs.len()];
        for node in &body.nodes {
            if let Op::Input { index } = node.op {
                nodes[index as usize].get_or_insert(node);
            }
        }
        nodes
    };
    for (new, old) in order.iter().enumerate() {
        let input = body.inputs[*old].clone();
        let node = crate::Node {
            op: Op::Input { index: new as u32 },
            operands: Default::default(),
            types: [input.ty.clone()].into_iter().collect(),
            span: old_nodes[*old].map(|n| n.span).unwrap_or_default(),
            name: Some(input.name),
        };
        new_index[*old] = Some(ValueId(new as u32));
        graph.inputs.push(input);
        graph.nodes.push(node);
    }
    let mut renamed = vec![None; body.nodes.len()];
    for (value, node) in body.iter() {
        if let Op::Input { index } = node.op {
            renamed[value.index()] = new_index[index as usize];
            continue;
        }
        let mut node = node.clone();
        for operand in &mut node.operands {
            *operand = renamed[operand.index()].expect("operands precede users, and used inputs are kept");
        }
        graph.nodes.push(node);
        renamed[value.index()] = Some(ValueId(graph.nodes.len() as u32 - 1));
    }
    for output in &body.outputs {
        let value = renamed[output.value.index()].expect("outputs are values of the body");
        graph.outputs.push(crate::Output { value, ..output.clone() });
    }
    graph
}
