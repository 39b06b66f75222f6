//! A graph from chosen terms.
//!
//! Values come in the order in which the original needed them, so that unchanged parts look unchanged. A value that
//! is equal to one of the original has its name and span; a new one has the span of what it is for.

use super::Inputs;
use super::insert::Inserted;
use crate::analysis::{Terms, operation};
use crate::extract::Selection;
use crate::plain;
use carousel_ir::{Axes, Axis, AxisTable, Builder, Graph, Module, Name, Op, Span, ValueId};
use egg::Id;
use rustc_hash::FxHashMap;

/// Where a class came from in the source.
#[derive(Clone, Copy, Default)]
struct Origin {
    span: Span,
    name: Option<Name>,
}

/// The graph that computes the outputs of `graph` by the chosen terms.
pub(super) fn rebuild(
    module: &Module,
    graph: &Graph,
    terms: &Terms,
    inserted: &[Option<Inserted>],
    selection: &Selection,
    inputs: Inputs,
) -> Graph {
    let mut origins: FxHashMap<Id, Origin> = FxHashMap::default();
    for ((_, node), value) in graph.iter().zip(inserted) {
        let Some(value) = value else { continue };
        let origin = origins.entry(terms.find(value.class)).or_insert(Origin { span: node.span, name: None });
        origin.name = origin.name.or(node.name);
        if !origin.span.is_known() {
            origin.span = node.span;
        }
    }
    let empty = Graph { axes: graph.axes.clone(), inputs: graph.inputs.clone(), ..Graph::default() };
    let mut builder = Builder::resume(module, empty);
    let mut made: FxHashMap<Id, ValueId> = FxHashMap::default();
    for (value, node) in graph.iter() {
        let Some(inserted) = &inserted[value.index()] else { continue };
        let class = terms.find(inserted.class);
        let interface = inputs == Inputs::Keep && matches!(node.op, Op::Input { .. });
        if interface && !selection.contains_key(&class) {
            builder.span = node.span;
            let value = builder.push(node.op.clone(), &[]);
            if let Some(name) = node.name {
                builder.name(value, name);
            }
        }
        if selection.contains_key(&class) {
            emit(&mut builder, terms, selection, &origins, &mut made, class, node.span);
        }
    }
    for output in &graph.outputs {
        let inserted = inserted[output.value.index()].as_ref().expect("every value was inserted");
        let value = made[&terms.find(inserted.class)];
        builder.output_as(output.name.as_str(), value, output.axes.clone());
    }
    let result = plain::shared(module, &builder.finish_pass());
    match inputs {
        Inputs::Keep => plain::live(module, &result),
        Inputs::Drop => plain::live_with_inputs(module, &result),
    }
}

/// Repeated axes in the program's order, for it is the layout: in the e-graph they are a set, sorted by name.
fn in_order(op: Op, table: &AxisTable) -> Op {
    let Op::Broadcast { axes } = op else { return op };
    let mut axes: Vec<Axis> = axes.iter().collect();
    axes.sort_by_key(|axis| table.position(*axis));
    Op::Broadcast { axes: Axes::new(axes) }
}

/// Makes the value of a class, after those that it needs.
fn emit(
    builder: &mut Builder<'_>,
    terms: &Terms,
    selection: &Selection,
    origins: &FxHashMap<Id, Origin>,
    made: &mut FxHashMap<Id, ValueId>,
    class: Id,
    span: Span,
) {
    let mut stack = vec![(class, span)];
    while let Some((class, span)) = stack.last().copied() {
        if made.contains_key(&class) {
            stack.pop();
            continue;
        }
        let origin = origins.get(&class).copied().unwrap_or_default();
        let span = if origin.span.is_known() { origin.span } else { span };
        let term = &selection[&class];
        let (op, count) = operation(terms, term).expect("a value is an operation");
        let operands: Vec<Id> = term.children[count..].iter().map(|c| terms.find(*c)).collect();
        let missing: Vec<Id> = operands.iter().copied().filter(|o| !made.contains_key(o)).collect();
        if !missing.is_empty() {
            stack.extend(missing.into_iter().rev().map(|m| (m, span)));
            continue;
        }
        stack.pop();
        let operands: Vec<ValueId> = operands.iter().map(|o| made[o]).collect();
        builder.span = span;
        let op = in_order(op.into_owned(), builder.axes());
        let value = builder.push(op, &operands);
        if let Some(name) = origin.name {
            builder.name(value, name);
        }
        made.insert(class, value);
    }
}
