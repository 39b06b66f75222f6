//! Known places in a tensor, taken before it is computed.
//!
//! `(x w)[part = 0]` reads one part of a product: the product with one part of `w` is half of the work and needs no room
//! for the other. So an index that is a constant goes through products, sums over other axes and elementwise operations
//! towards what they are made of, wherever nothing else looks at the result. Values are the same to the last bit.
//!
//! Deliberately absent: bodies of loops, and results that something else reads as a whole, which would be computed twice.

use carousel_ir::{Axis, Builder, Class, Function, Graph, Module, Number, Op, ValueId};
use std::collections::HashMap;

/// Takes constant indices as early as can be, in all functions. Functions without any stay as they are.
pub fn early_indices(module: &Module) -> Module {
    let mut done = Module::default();
    for function in &module.functions {
        let graph = early(&done, &function.graph).unwrap_or_else(|| function.graph.clone());
        done.push(Function { graph, ..function.clone() });
    }
    done
}

/// The table, axis and place of a gather at a constant.
fn constant_gather(graph: &Graph, value: ValueId) -> Option<(ValueId, Axis, Number)> {
    let node = &graph[value];
    let Op::Gather { axis } = node.op else { return None };
    let Op::Const { value: place, .. } = graph[node.operands[1]].op else { return None };
    Some((node.operands[0], axis, place))
}

/// Whether a part of the result along an axis is made of the same parts of the operands.
fn goes_through(graph: &Graph, value: ValueId, axis: Axis) -> bool {
    let op = &graph[value].op;
    if let Op::Dot { axes } | Op::Sum { axes } | Op::ReduceMax { axes } = op {
        !axes.contains(axis)
    } else {
        op.kind().class() == Class::Elementwise
    }
}

/// The axis along which a value is read at constant places only, for those values that a place goes through.
fn read_in_parts(graph: &Graph) -> Vec<Option<Axis>> {
    /// How a value is read.
    #[derive(Clone, Copy, PartialEq)]
    enum Read {
        Not,
        Along(Axis),
        Whole,
    }
    let mut read = vec![Read::Not; graph.nodes.len()];
    let mut parts = vec![None; graph.nodes.len()];
    let see = |read: &mut Vec<Read>, value: ValueId, how: Read| {
        let known = &mut read[value.index()];
        *known = if *known == Read::Not || *known == how { how } else { Read::Whole };
    };
    graph.outputs.iter().for_each(|o| see(&mut read, o.value, Read::Whole));
    for (value, node) in graph.iter().rev() {
        if let Read::Along(axis) = read[value.index()]
            && goes_through(graph, value, axis)
        {
            parts[value.index()] = Some(axis);
        }
        let table = constant_gather(graph, value);
        for operand in &node.operands {
            let how = match (parts[value.index()], table) {
                (Some(axis), _) if graph.ty(*operand).axes.contains(axis) => Read::Along(axis),
                (None, Some((table, axis, _))) if table == *operand => Read::Along(axis),
                _ => Read::Whole,
            };
            see(&mut read, *operand, how);
        }
    }
    parts
}

fn early(module: &Module, graph: &Graph) -> Option<Graph> {
    let parts = read_in_parts(graph);
    if parts.iter().all(Option::is_none) {
        return None;
    }
    let empty = Graph { axes: graph.axes.clone(), inputs: graph.inputs.clone(), ..Graph::default() };
    let mut rebuild = Rebuild {
        graph,
        parts: &parts,
        builder: Builder::resume(module, empty),
        whole: vec![None; graph.nodes.len()],
        taken: HashMap::new(),
    };
    for (value, node) in graph.iter().filter(|(v, _)| parts[v.index()].is_none()) {
        let new = match constant_gather(graph, value) {
            Some((table, axis, place)) if parts[table.index()].is_some() => {
                rebuild.part(table, axis, (place, node.operands[1]))
            }
            _ => {
                rebuild.builder.span = node.span;
                let operands: Vec<ValueId> = node.operands.iter().map(|o| rebuild.whole(*o)).collect();
                rebuild.builder.push(node.op.clone(), &operands)
            }
        };
        node.name.iter().for_each(|name| rebuild.builder.name(new, *name));
        rebuild.whole[value.index()] = Some(new);
    }
    for output in &graph.outputs {
        let value = rebuild.whole(output.value);
        rebuild.builder.output_as(output.name.as_str(), value, output.axes.clone());
    }
    Some(rebuild.builder.finish_pass())
}

struct Rebuild<'a, 'm> {
    graph: &'a Graph,
    parts: &'a [Option<Axis>],
    builder: Builder<'m>,
    /// New values, but for those that are read in parts.
    whole: Vec<Option<ValueId>>,
    /// New values of parts.
    taken: HashMap<(ValueId, Number), ValueId>,
}

impl Rebuild<'_, '_> {
    fn whole(&self, value: ValueId) -> ValueId {
        self.whole[value.index()].expect("operands come before what uses them")
    }

    /// A value at a place, which is known as a number and as a value.
    fn part(&mut self, value: ValueId, axis: Axis, place: (Number, ValueId)) -> ValueId {
        if let Some(known) = self.taken.get(&(value, place.0)) {
            return *known;
        }
        let node = &self.graph[value];
        let new = if self.parts[value.index()].is_some() {
            let operand = |this: &mut Self, o: &ValueId| {
                if this.graph.ty(*o).axes.contains(axis) {
                    this.part(*o, axis, place)
                } else {
                    this.whole(*o)
                }
            };
            let operands: Vec<ValueId> = node.operands.iter().map(|o| operand(self, o)).collect();
            self.builder.span = node.span;
            self.builder.push(node.op.clone(), &operands)
        } else {
            let operands = [self.whole(value), self.whole(place.1)];
            self.builder.span = node.span;
            self.builder.push(Op::Gather { axis }, &operands)
        };
        self.taken.insert((value, place.0), new);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carousel_ir::text::{Options, elaborate, parse_program};
    use carousel_reference::{Tensor, evaluate};

    fn module(text: &str) -> Module {
        let program = parse_program("f.xl", text, &|path| Err(format!("no {path}"))).unwrap();
        elaborate(&program, &["f"], &Options::default()).unwrap()
    }

    /// The graph of `f` afterwards, whose values are the same to the last bit.
    fn checked(text: &str) -> Graph {
        let before = module(text);
        let after = early_indices(&before);
        assert_eq!(carousel_ir::verify(&after), Vec::new());
        let f = before.find("f").unwrap();
        let numbers = |n: usize, seed: f64| (0..n).map(move |i| (i as f64 * 0.37 + seed).sin());
        let inputs: Vec<Tensor<f64>> = [(vec![3, 4], 0.1), (vec![2, 5, 4], 0.2), (vec![2, 5], 0.3)]
            .into_iter()
            .map(|(shape, seed)| Tensor::floats(&shape, numbers(shape.iter().product(), seed)))
            .collect();
        let run = |module: &Module| -> Vec<Vec<f64>> {
            evaluate::<f64>(module, f, &inputs).unwrap().iter().map(Tensor::to_f64).collect()
        };
        assert_eq!(run(&before), run(&after));
        crate::plain::live(&Module::default(), &after[f].graph)
    }

    const HEAD: &str = "fn f(x: [s, d], w: [part = 2, e, d], c: [part, e])";

    #[test]
    fn parts_of_a_product_are_products_with_parts_of_a_weight() {
        let graph = checked(&format!(
            "{HEAD} -> (y: [s, e]) {{
               let u = sigmoid(sum[d](x * w) + c)
               let y = u[part = 0] * u[part = 1]
             }}"
        ));
        for (value, node) in graph.iter().filter(|(_, n)| matches!(n.op, Op::Gather { .. })) {
            let table = &graph[node.operands[0]];
            assert!(matches!(table.op, Op::Input { .. }), "value {} gathers from {:?}", value.0, table.op);
        }
        assert_eq!(graph.nodes.iter().filter(|n| matches!(n.op, Op::Sum { .. })).count(), 2);
    }

    #[test]
    fn what_is_read_as_a_whole_too_is_computed_once() {
        let graph = checked(&format!(
            "{HEAD} -> (y: [s, e], u: [s, part, e]) {{
               let u = sum[d](x * w) + c
               let y = u[part = 1]
             }}"
        ));
        assert_eq!(graph.nodes.iter().filter(|n| matches!(n.op, Op::Sum { .. })).count(), 1);
    }

    #[test]
    fn a_contracted_axis_is_no_place_to_begin_with() {
        let graph = checked(&format!(
            "{HEAD} -> (y: [s, e]) {{
               let u = sum[d](x * w)
               let y = sum[part](u * c) + u[part = 0]
             }}"
        ));
        assert_eq!(graph.nodes.iter().filter(|n| matches!(n.op, Op::Gather { .. })).count(), 1);
    }
}
