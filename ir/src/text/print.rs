//! A module as text, one value a line.
//!
//! ```text
//! fn f(x: f32[s, d = 64], param w: f32[d] ~ normal(0, 0.1)) {
//!   let wx: f32[s, d] = mul(x, w)
//!   let sum.1: f32[s] = sum[d](wx)
//!   return (y: [s] = sum.1)
//! }
//! ```
//! Everything that equality of modules looks at is written. Input nodes are not, if they come first and in order, as
//! they do in all functions that the compiler makes; else `axes` is followed by the word `explicit`, and they are. Sizes of
//! axes stand where the axis first occurs among the inputs, the others in the line `axes`. A value keeps the author's
//! name where that is free, and is called by its operation and a number if it has none, so that an edit renumbers few.

use super::lexer::written;
use crate::{
    Attribute, Axes, Axis, AxisTable, Decay, Direction, Function, FunctionKind, Graph, Init, Input, Module,
    Node, Op, OpKind, Residuals, Role, Scan, Size, Type, ValueId,
};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

/// The module as text that [`parse_module`](super::parse_module) reads back.
pub fn print(module: &Module) -> String {
    let mut out = String::new();
    for (place, function) in module.functions.iter().enumerate() {
        if place > 0 {
            out.push('\n');
        }
        print_function(module, function, &mut out);
    }
    out
}

/// Whether the input nodes come first, all of them, in order.
pub(super) fn has_implicit_inputs(graph: &Graph) -> bool {
    let first = graph.nodes.iter().take(graph.inputs.len()).enumerate();
    graph.nodes.len() >= graph.inputs.len()
        && first.clone().count() == graph.inputs.len()
        && first.clone().all(|(i, n)| n.op == Op::Input { index: i as u32 })
        && !graph.nodes[graph.inputs.len()..].iter().any(|n| matches!(n.op, Op::Input { .. }))
}

fn print_function(module: &Module, function: &Function, out: &mut String) {
    if function.residuals == Residuals::Recompute {
        out.push_str("remat ");
    }
    let kind = match function.kind {
        FunctionKind::Fn => "fn",
        FunctionKind::Block => "block",
        FunctionKind::Model => "model",
    };
    let _ = write!(out, "{kind} {}", written(function.name.as_str()));
    let graph = &function.graph;
    let mut sized = HashSet::new();
    let inputs: Vec<String> =
        graph.inputs.iter().map(|i| input(i, Some((&graph.axes, &mut sized)))).collect();
    let short = inputs.iter().map(|i| i.len() + 2).sum::<usize>() <= 90;
    if short {
        let _ = writeln!(out, "({}) {{", inputs.join(", "));
    } else {
        let _ = writeln!(out, "(\n  {},\n) {{", inputs.join(",\n  "));
    }
    let rest: Vec<String> = graph
        .axes
        .iter()
        .filter(|(axis, _)| !sized.contains(axis))
        .map(|(axis, size)| sized_axis(axis, size))
        .collect();
    if !rest.is_empty() {
        let _ = writeln!(out, "  axes {}", rest.join(", "));
    }
    body(module, graph, 1, out);
    out.push_str("}\n");
}

fn indent(depth: usize, out: &mut String) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn sized_axis(axis: Axis, size: &Size) -> String {
    let name = written(axis.as_str());
    if *size == Size::Symbol(axis.0) { name } else { format!("{name} = {}", size_text(size)) }
}

/// `x: f32[s, d = 64]`, `param w: f32[d] ~ normal(0, 0.1) nodecay`; sizes where they are wanted and new.
fn input(input: &Input, sizes: Option<(&AxisTable, &mut HashSet<Axis>)>) -> String {
    let mut text = String::new();
    if let Role::Parameter { .. } = input.role {
        text.push_str("param ");
    }
    let _ = write!(text, "{}: {}[", written(input.name.as_str()), input.ty.dtype);
    let mut sizes = sizes;
    for (place, axis) in input.ty.axes.iter().enumerate() {
        if place > 0 {
            text.push_str(", ");
        }
        match &mut sizes {
            Some((table, sized)) => {
                let is_new = sized.insert(axis);
                match table.get(axis).filter(|_| is_new) {
                    Some(size) => text.push_str(&sized_axis(axis, size)),
                    None => text.push_str(&written(axis.as_str())),
                }
            }
            None => text.push_str(&written(axis.as_str())),
        }
    }
    text.push(']');
    if let Role::Parameter { init, decay } = input.role {
        let _ = match init {
            Init::Constant(c) => write!(text, " ~ constant({c})"),
            Init::Normal { mean, std } => write!(text, " ~ normal({mean}, {std})"),
            Init::Uniform { low, high } => write!(text, " ~ uniform({low}, {high})"),
            Init::Linspace { low, high, axis } => {
                write!(text, " ~ linspace({low}, {high}, {})", written(axis.as_str()))
            }
            Init::Powerlaw { low, high, power, axis } => {
                write!(text, " ~ powerlaw({low}, {high}, {power}, {})", written(axis.as_str()))
            }
        };
        if decay == Decay::No {
            text.push_str(" nodecay");
        }
    }
    text
}

/// Statements of a graph, without the braces around them.
fn body(module: &Module, graph: &Graph, depth: usize, out: &mut String) {
    let names = value_names(graph);
    let implicit = has_implicit_inputs(graph);
    if !implicit {
        indent(depth, out);
        out.push_str("explicit\n");
    }
    for (value, node) in graph.iter() {
        if implicit && matches!(node.op, Op::Input { .. }) {
            continue;
        }
        indent(depth, out);
        let _ = write!(out, "let {}: {} = ", names[value.index()], types(node));
        operation(module, node, &names, depth, out);
        out.push('\n');
    }
    indent(depth, out);
    let outputs: Vec<String> = graph
        .outputs
        .iter()
        .map(|o| {
            let axes = axis_list(o.axes.as_slice());
            format!("{}: [{axes}] = {}", written(o.name.as_str()), names[o.value.index()])
        })
        .collect();
    let _ = writeln!(out, "return ({})", outputs.join(", "));
}

fn types(node: &Node) -> String {
    let one = |ty: &Type| format!("{}[{}]", ty.dtype, axis_list(ty.axes.as_slice()));
    match (&node.op, node.types.as_slice()) {
        (Op::Scan { .. } | Op::Call { .. } | Op::LinRead { .. }, types) => {
            format!("({})", types.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        (_, types) => types.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

fn operation(module: &Module, node: &Node, names: &[String], depth: usize, out: &mut String) {
    let operands: Vec<&str> = node.operands.iter().map(|v| names[v.index()].as_str()).collect();
    if let Op::Scan { scan } = &node.op {
        return loop_(module, scan, &operands, depth, out);
    }
    out.push_str(node.op.kind().mnemonic());
    let attributes = node.op.attributes();
    let written: Vec<String> = match attributes.as_slice() {
        // Where axes are all there is to say they stand in the brackets themselves.
        [Attribute::Axes(axes)] => vec![axis_list(axes)],
        several => several.iter().map(|a| attribute(module, a)).collect(),
    };
    if !attributes.is_empty() {
        let _ = write!(out, "[{}]", written.join(", "));
    }
    let _ = write!(out, "({})", operands.join(", "));
}

fn attribute(module: &Module, attribute: &Attribute) -> String {
    match attribute {
        Attribute::Axis(axis) => written(axis.as_str()),
        Attribute::Axes(axes) => format!("[{}]", axis_list(axes)),
        Attribute::Size(size) => size_text(size),
        Attribute::Integer(n) => n.to_string(),
        Attribute::Number(x) => x.to_string(),
        Attribute::DType(dtype) => dtype.to_string(),
        Attribute::Name(name) => written(name.as_str()),
        Attribute::Direction(direction) => direction_text(*direction).to_string(),
        Attribute::Function(function) => match module.functions.get(function.index()) {
            Some(function) => written(function.name.as_str()),
            // Only in modules that the verifier refuses.
            None => format!("`function {}`", function.0),
        },
        Attribute::Scan(_) => "`a loop`".to_string(),
    }
}

fn direction_text(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "forward",
        Direction::Reverse => "reverse",
    }
}

/// `scan[s, forward](states; sequences; shared) (inputs) { .. }`.
fn loop_(module: &Module, scan: &Scan, operands: &[&str], depth: usize, out: &mut String) {
    let states = (scan.states as usize).min(operands.len());
    let sequences = (states + scan.sequences as usize).min(operands.len());
    let parts = [&operands[..states], &operands[states..sequences], &operands[sequences..]];
    let parts: Vec<String> = parts.iter().map(|p| p.join(", ")).collect();
    let _ = write!(
        out,
        "scan[{}, {}]({})",
        written(scan.axis.as_str()),
        direction_text(scan.direction),
        parts.join("; ")
    );
    let inputs: Vec<String> = scan.body.inputs.iter().map(|i| input(i, None)).collect();
    let _ = writeln!(out, " ({}) {{", inputs.join(", "));
    body(module, &scan.body, depth + 1, out);
    indent(depth, out);
    out.push('}');
}

fn axis_list(axes: &[Axis]) -> String {
    axes.iter().map(|a| written(a.as_str())).collect::<Vec<_>>().join(", ")
}

/// A size, with quoted names where they need it.
pub(super) fn size_text(size: &Size) -> String {
    let part = |part: &Size| match part {
        Size::Sum(_) | Size::Minus(_) => format!("({})", size_text(part)),
        Size::Known(_) | Size::Symbol(_) | Size::Product(_) | Size::CeilDiv(_) | Size::CeilSqrt(_) => {
            size_text(part)
        }
    };
    let list = |parts: &[Size], sign: &str| parts.iter().map(part).collect::<Vec<_>>().join(sign);
    match size {
        Size::Known(n) => n.to_string(),
        Size::Symbol(name) => written(name.as_str()),
        Size::Product(parts) => list(parts, "*"),
        Size::Sum(parts) => list(parts, " + "),
        Size::Minus(pair) => format!("{} - {}", part(&pair.0), part(&pair.1)),
        Size::CeilDiv(pair) => format!("ceil_div({}, {})", size_text(&pair.0), size_text(&pair.1)),
        Size::CeilSqrt(inner) => format!("ceil_sqrt({})", size_text(inner)),
    }
}

/// Whether a name is of the kind that is given to values without one.
fn is_generated(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, number)| {
        OpKind::parse(stem).is_some() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// A distinct name for each value, as it is written.
fn value_names(graph: &Graph) -> Vec<String> {
    let mut taken: HashSet<&str> = HashSet::new();
    let mut kept: Vec<Option<&str>> = Vec::with_capacity(graph.nodes.len());
    // Inputs come first: their names are part of the meaning.
    let input_name = |node: &Node| {
        if let Op::Input { index } = node.op {
            graph.inputs.get(index as usize).map(|i| i.name.as_str())
        } else {
            None
        }
    };
    let mut input_values: HashMap<&str, ValueId> = HashMap::new();
    for (value, node) in graph.iter() {
        if let Some(name) = input_name(node)
            && taken.insert(name)
        {
            input_values.insert(name, value);
        }
    }
    for (value, node) in graph.iter() {
        let name = match input_name(node) {
            Some(name) => Some(name).filter(|n| input_values.get(n) == Some(&value)),
            None => {
                let hint = node.name.map(crate::Name::as_str);
                hint.filter(|n| !is_generated(n) && taken.insert(n))
            }
        };
        kept.push(name);
    }
    let mut counters: HashMap<OpKind, u32> = HashMap::new();
    let kinds = graph.nodes.iter().map(|n| n.op.kind());
    let mut names = Vec::with_capacity(kept.len());
    for (name, kind) in kept.into_iter().zip(kinds) {
        names.push(match name {
            Some(name) => written(name),
            None => loop {
                let counter = counters.entry(kind).or_insert(0);
                *counter += 1;
                let name = format!("{kind}.{counter}");
                // An input may bear such a name.
                if !taken.contains(name.as_str()) {
                    break written(&name);
                }
            },
        });
    }
    names
}

/// Axes in brackets, for messages.
pub(super) fn bracketed(axes: &Axes) -> String {
    format!("[{}]", axis_list(axes.as_slice()))
}
