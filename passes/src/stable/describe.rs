//! Values of a graph as people read them: infix, with the author's names.
//!
//! For messages only: nothing is decided by such a text, and it is cut where it gets long.

use carousel_ir::{Attribute, Graph, Op, OpKind, ValueId};

/// How deep a text goes before it says `..`.
const DEPTH: usize = 9;

/// A value of a graph as people read it: infix, with the author's names for what it is made of, cut where it gets long.
pub fn value(graph: &Graph, value: ValueId) -> String {
    text(graph, value, 0)
}

fn text(graph: &Graph, value: ValueId, depth: usize) -> String {
    let node = &graph[value];
    if let Op::Input { index } = node.op {
        return graph.inputs[index as usize].name.to_string();
    }
    if depth > 0
        && let Some(name) = node.name
        && node.op.kind() != OpKind::Const
    {
        return name.to_string();
    }
    if depth > DEPTH {
        return "..".to_string();
    }
    // What only serves the machine is left out.
    if let Some(seen) = shown_operand(graph, value) {
        return text(graph, seen, depth);
    }
    let operands: Vec<String> = node.operands.iter().map(|o| text(graph, *o, depth + 1)).collect();
    let signs = [(OpKind::Add, "+"), (OpKind::Sub, "-"), (OpKind::Mul, "*"), (OpKind::Div, "/")];
    let infix = signs.iter().find(|(kind, _)| *kind == node.op.kind()).map(|(_, sign)| *sign);
    if let Op::Const { value, dtype: _ } = node.op {
        let number = value.get();
        return if number.abs() < 1e6 { format!("{number}") } else { format!("{number:e}") };
    }
    if let (Some(sign), [a, b]) = (infix, operands.as_slice()) {
        let sum = format!("{a} {sign} {b}");
        return if depth > 0 { format!("({sum})") } else { sum };
    }
    let axes: Vec<String> = node
        .op
        .attributes()
        .iter()
        .filter_map(|a| match a {
            Attribute::Axis(axis) => Some(axis.to_string()),
            Attribute::Axes(axes) => Some(axes.iter().map(|a| a.to_string()).collect::<Vec<_>>().join(", ")),
            Attribute::Size(_)
            | Attribute::Integer(_)
            | Attribute::Number(_)
            | Attribute::DType(_)
            | Attribute::Name(_)
            | Attribute::Direction(_)
            | Attribute::Function(_)
            | Attribute::Scan(_) => None,
        })
        .collect();
    let axes = if axes.is_empty() { String::new() } else { format!("[{}]", axes.join(", ")) };
    format!("{}{axes}({})", node.op.kind(), operands.join(", "))
}

/// The operand that stands for an operation that changes nothing for a reader.
fn shown_operand(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let node = &graph[value];
    let is_lowest = |v: &ValueId| matches!(graph[*v].op, Op::Const { value, dtype: _ } if value.get() == super::emit::LOWEST);
    if let Op::Detach | Op::Broadcast { .. } = node.op {
        return Some(node.operands[0]);
    }
    if let Op::Max = node.op
        && let Some(place) = node.operands.iter().position(is_lowest)
    {
        return Some(node.operands[1 - place]);
    }
    None
}
