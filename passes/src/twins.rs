//! Values that are others with two of their axes exchanged.
//!
//! `sum[d](x[i, d] y[j, d])` and `sum[d](y[i, d] x[j, d])` are one matrix, seen from both sides: what steps read of one
//! another, and what they wrote to one another. The second one becomes a view of the first. Common subexpressions,
//! but for the names of two axes.
//!
//! The image of a value is the value of the graph that equals it with the axes exchanged. A value that has neither
//! axis is its own image, a renaming's is what it renames; else operation and images of the operands are looked up.

use crate::language::{is_commutative, same_op};
use carousel_ir::transform::rename_in_op;
use carousel_ir::{Axis, Builder, Class, Graph, Module, Op, OpKind, ValueId};
use rustc_hash::FxHashMap;

/// The graph with such values computed once; it must not compute equal values twice.
pub(crate) fn exchanged(module: &Module, graph: &Graph) -> Graph {
    pairs(graph).into_iter().fold(graph.clone(), |graph, pair| pass(module, &graph, pair).unwrap_or(graph))
}

/// Axes of one size, one of which is renamed to the other somewhere.
fn pairs(graph: &Graph) -> Vec<[Axis; 2]> {
    let mut found: Vec<[Axis; 2]> = Vec::new();
    for node in &graph.nodes {
        let Op::Rename { from, to } = node.op else { continue };
        let same_size = graph.axes.size(from) == graph.axes.size(to);
        if same_size && !found.iter().any(|[a, b]| [*a, *b] == [from, to] || [*a, *b] == [to, from]) {
            found.push([from, to]);
        }
    }
    found
}

/// The values of a graph by what they compute.
struct Known<'a> {
    graph: &'a Graph,
    by_operands: FxHashMap<(OpKind, Vec<ValueId>), Vec<ValueId>>,
}

impl Known<'_> {
    fn new(graph: &Graph) -> Known<'_> {
        let mut by_operands: FxHashMap<_, Vec<ValueId>> = FxHashMap::default();
        for (value, node) in graph.iter() {
            by_operands.entry(key(&node.op, node.operands.to_vec())).or_default().push(value);
        }
        Known { graph, by_operands }
    }

    fn find(&self, op: &Op, operands: Vec<ValueId>) -> Option<ValueId> {
        let candidates = self.by_operands.get(&key(op, operands))?;
        candidates.iter().copied().find(|v| same_op(&self.graph[*v].op, op))
    }
}

fn key(op: &Op, mut operands: Vec<ValueId>) -> (OpKind, Vec<ValueId>) {
    if is_commutative(op.kind()) {
        operands.sort();
    }
    (op.kind(), operands)
}

/// The image of each value under the exchange of two axes.
fn images(graph: &Graph, [p, q]: [Axis; 2]) -> Vec<Option<ValueId>> {
    let known = Known::new(graph);
    let mut images: Vec<Option<ValueId>> = Vec::with_capacity(graph.nodes.len());
    let swap = |a: Axis| match a {
        a if a == p => q,
        a if a == q => p,
        a => a,
    };
    for (value, node) in graph.iter() {
        let has = |axis: Axis| node.types.iter().any(|t| t.axes.contains(axis));
        let renamed = |from: Axis, to: Axis| known.find(&Op::Rename { from, to }, vec![value]);
        let by_operands = || {
            let can = match node.op.kind().class() {
                Class::Elementwise | Class::Reduce | Class::Cumulative | Class::View => true,
                Class::Leaf => matches!(node.op, Op::Iota { .. }),
                Class::Indexed | Class::Control => false,
            };
            let operands: Option<Vec<ValueId>> = node.operands.iter().map(|o| images[o.index()]).collect();
            known.find(&rename_in_op(&node.op, &swap), operands.filter(|_| can)?)
        };
        let image = match (has(p), has(q), &node.op) {
            (false, false, _) => Some(value),
            (_, _, Op::Rename { from, to }) if [*from, *to] == [p, q] || [*from, *to] == [q, p] => {
                Some(node.operands[0])
            }
            (true, false, _) => renamed(p, q).or_else(by_operands),
            (false, true, _) => renamed(q, p).or_else(by_operands),
            (true, true, _) => by_operands(),
        };
        images.push(image);
    }
    images
}

/// Whether a value is worth a view with strides that are not contiguous.
fn is_costly(op: &Op) -> bool {
    matches!(op.kind().class(), Class::Reduce | Class::Cumulative) || matches!(op, Op::Exp)
}

fn pass(module: &Module, graph: &Graph, pair: [Axis; 2]) -> Option<Graph> {
    let images = images(graph, pair);
    // What is costly, and what is made of such.
    let mut paired = vec![false; graph.nodes.len()];
    let mut twin: Vec<Option<ValueId>> = vec![None; graph.nodes.len()];
    for (value, node) in graph.iter() {
        let both = node.types.len() == 1 && pair.iter().all(|a| node.ty().axes.contains(*a));
        let image = images[value.index()].filter(|m| both && *m != value);
        let is_worth_it = is_costly(&node.op) || node.operands.iter().any(|o| paired[o.index()]);
        paired[value.index()] = image.is_some() && is_worth_it;
        twin[value.index()] = image.filter(|m| is_worth_it && m.index() < value.index());
    }
    if twin.iter().all(Option::is_none) {
        return None;
    }
    let empty = Graph { axes: graph.axes.clone(), inputs: graph.inputs.clone(), ..Graph::default() };
    let mut b = Builder::resume(module, empty);
    let [p, q] = pair;
    let size = graph.axes.size(p).clone();
    let between = b.axes_mut().fresh(p, size);
    let mut made: Vec<ValueId> = Vec::with_capacity(graph.nodes.len());
    for (value, node) in graph.iter() {
        b.span = node.span;
        let new = match twin[value.index()] {
            Some(twin) => {
                let aside = b.rename(made[twin.index()], p, between);
                let first = b.rename(aside, q, p);
                b.rename(first, between, q)
            }
            None => {
                let operands: Vec<ValueId> = node.operands.iter().map(|o| made[o.index()]).collect();
                b.push(node.op.clone(), &operands)
            }
        };
        node.name.iter().for_each(|name| b.name(new, *name));
        made.push(new);
    }
    for output in &graph.outputs {
        b.output_as(output.name.as_str(), made[output.value.index()], output.axes.clone());
    }
    Some(b.finish_pass())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plain::{live, shared};
    use carousel_ir::{DType, Function, FunctionKind, Residuals, Size};
    use carousel_reference::{Tensor, evaluate};

    #[test]
    fn a_matrix_is_seen_from_both_sides() {
        let module = Module::default();
        let mut b = Builder::new(&module);
        let [i, j, d] = [("i", 3), ("j", 3), ("d", 4)].map(|(name, n)| b.axis(name, Size::Known(n)));
        let (x, y) = (b.argument("x", DType::F32, &[i, d]), b.argument("y", DType::F32, &[i, d]));
        let (x_j, y_j) = (b.rename(x, i, j), b.rename(y, i, j));
        let (of_x, of_y) = (b.dot(x, y_j, d.into()), b.dot(y, x_j, d.into()));
        let (weight, other) = (b.exp(of_x), b.exp(of_y));
        // Not the same from both sides.
        let third = b.dot(x, x_j, d.into());
        let third = b.mul(third, x);
        let (weight, other) = (b.mul(weight, third), b.sub(other, of_x));
        b.output("weight", weight);
        b.output("other", other);
        let graph = b.finish().unwrap();
        let once = live(&module, &shared(&module, &exchanged(&module, &shared(&module, &graph))));
        let count = |kind: OpKind| once.nodes.iter().filter(|n| n.op.kind() == kind).count();
        assert_eq!((count(OpKind::Dot), count(OpKind::Exp)), (2, 1));

        let [before, after] = [graph, once].map(|graph| {
            let mut module = Module::default();
            let (kind, residuals) = (FunctionKind::Fn, Residuals::Save);
            module.push(Function { name: "f".into(), kind, residuals, graph });
            module
        });
        let numbers = |seed: f64| (0..12).map(move |i| (f64::from(i) * 0.37 + seed).sin());
        let inputs = [0.1, 0.7].map(|seed| Tensor::<f64>::floats(&[3, 4], numbers(seed)));
        let run = |module: &Module| -> Vec<Vec<f64>> {
            let f = module.find("f").unwrap();
            evaluate::<f64>(module, f, &inputs).unwrap().iter().map(Tensor::to_f64).collect()
        };
        for (a, b) in run(&before).concat().iter().zip(run(&after).concat()) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    }
}
