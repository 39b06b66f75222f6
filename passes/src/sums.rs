//! Sums of linear terms, taken before what is linear.
//!
//! `a b + a c` is `a (b + c)`: one product less. The same holds of running sums, of sums over axes and of everything that
//! moves elements. The gradient of a value that was read several times is such a sum, and what its terms have in common
//! is mostly the expensive part of them. Terms are gathered as far down as they have something in common; a term that
//! something else needs as well stays as it is, since it would be computed twice.
//!
//! The values are equal over the reals, and rounded otherwise.

use carousel_ir::{Axes, Axis, Builder, Direction, Graph, Module, Number, Op, OpKind, ValueId};
use std::collections::HashMap;

/// The graph with the terms of its sums gathered; it must not compute equal values twice.
pub(crate) fn gathered(module: &Module, graph: &Graph) -> Graph {
    let mut uses = vec![0u32; graph.nodes.len()];
    graph.nodes.iter().flat_map(|n| &n.operands).for_each(|o| uses[o.index()] += 1);
    graph.outputs.iter().for_each(|o| uses[o.value.index()] += 2);
    let empty = Graph { axes: graph.axes.clone(), inputs: graph.inputs.clone(), ..Graph::default() };
    let builder = Builder::resume(module, empty);
    let mut gathering = Gathering { graph, uses, builder, made: Vec::with_capacity(graph.nodes.len()) };
    for (value, node) in graph.iter() {
        gathering.builder.span = node.span;
        let new = if gathering.is_sum(value) {
            let mut terms = Vec::new();
            gathering.terms(value, &graph.ty(value).axes, true, &mut terms);
            gathering.sum(&terms)
        } else {
            let operands: Vec<ValueId> = node.operands.iter().map(|o| gathering.made[o.index()]).collect();
            gathering.builder.push(node.op.clone(), &operands)
        };
        node.name.iter().for_each(|name| gathering.builder.name(new, *name));
        gathering.made.push(new);
    }
    for output in &graph.outputs {
        let value = gathering.made[output.value.index()];
        gathering.builder.output_as(output.name.as_str(), value, output.axes.clone());
    }
    gathering.builder.finish_pass()
}

/// What terms must have in common to be gathered.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Head {
    /// Of one operand.
    Rename(Axis, Axis),
    Split(Axis, Vec<Axis>),
    Merge(Vec<Axis>, Axis),
    Slice(Axis, Axis, String),
    Shift(Axis, i64),
    CumSum(Axis, Direction),
    Sum(Vec<Axis>),
    Neg,
    /// 0 where a condition does not hold, or where it holds.
    Masked(ValueId, bool),
    /// One factor.
    Product(OpKind, Vec<Axis>, ValueId),
}

struct Gathering<'a, 'm> {
    graph: &'a Graph,
    uses: Vec<u32>,
    builder: Builder<'m>,
    /// The new value of each old one.
    made: Vec<ValueId>,
}

impl Gathering<'_, '_> {
    fn is_sum(&self, value: ValueId) -> bool {
        matches!(self.graph[value].op, Op::Add) && self.graph.ty(value).dtype.is_float()
    }

    /// The terms of a sum; sums in it that nothing else needs are taken apart, too.
    fn terms(&self, value: ValueId, axes: &Axes, is_root: bool, found: &mut Vec<ValueId>) {
        let vanishes = is_root || (self.uses[value.index()] == 1 && self.graph.ty(value).axes == *axes);
        if self.is_sum(value) && vanishes {
            self.graph[value].operands.iter().for_each(|o| self.terms(*o, axes, false, found));
        } else {
            found.push(value);
        }
    }

    /// The sum of old values.
    fn sum(&mut self, terms: &[ValueId]) -> ValueId {
        let mut left: Vec<ValueId> = terms.to_vec();
        let mut sums: Vec<ValueId> = Vec::new();
        while let Some((head, members)) = self.in_common(&left) {
            left.retain(|t| !members.iter().any(|(m, _)| m == t));
            let (like, _) = members[0];
            let axes = self.graph.ty(members[0].1).axes.clone();
            let mut inner = Vec::new();
            members.iter().for_each(|(_, x)| self.terms(*x, &axes, false, &mut inner));
            let inner = self.sum(&inner);
            sums.push(self.applied(&head, like, inner));
        }
        let rest = left.iter().map(|t| self.made[t.index()]);
        let all: Vec<ValueId> = rest.chain(sums).collect();
        all.into_iter().reduce(|a, b| self.builder.add(a, b)).expect("a sum has terms")
    }

    /// What most of the terms have in common, and these with what they have apart.
    fn in_common(&self, terms: &[ValueId]) -> Option<(Head, Vec<(ValueId, ValueId)>)> {
        let mut groups: HashMap<Head, Vec<(ValueId, ValueId)>> = HashMap::new();
        let mut order: Vec<Head> = Vec::new();
        for term in terms.iter().filter(|t| self.uses[t.index()] == 1) {
            for (head, apart) in self.heads(*term) {
                let group = groups.entry(head.clone()).or_insert_with(|| {
                    order.push(head.clone());
                    Vec::new()
                });
                let alike = |(first, x): &(ValueId, ValueId)| {
                    let same = |a: ValueId, b: ValueId| self.graph.ty(a) == self.graph.ty(b);
                    same(*x, apart) && same(*first, *term)
                };
                if group.first().is_none_or(alike) && group.iter().all(|(t, _)| t != term) {
                    group.push((*term, apart));
                }
            }
        }
        let most = order.iter().rev().max_by_key(|head| groups[*head].len())?.clone();
        let members = groups.remove(&most)?;
        (members.len() > 1).then_some((most, members))
    }

    /// In what a value is linear, each with the operand that it is linear in.
    fn heads(&self, value: ValueId) -> Vec<(Head, ValueId)> {
        let node = &self.graph[value];
        let list = |axes: &Axes| {
            let mut list: Vec<Axis> = axes.iter().collect();
            list.sort();
            list
        };
        let is_zero =
            |v: ValueId| matches!(self.graph[v].op, Op::Const { value, .. } if value == Number::new(0.0));
        let unary = |head: Head| vec![(head, node.operands[0])];
        let factors = |axes: Vec<Axis>| {
            let [a, b] = [node.operands[0], node.operands[1]];
            let head = |of: ValueId| Head::Product(node.op.kind(), axes.clone(), of);
            vec![(head(a), b), (head(b), a)]
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all other operations are not linear, or not worth it"
        )]
        match &node.op {
            Op::Rename { from, to } => unary(Head::Rename(*from, *to)),
            Op::Split { axis, into } => unary(Head::Split(*axis, into.iter().collect())),
            Op::Merge { axes, into } => unary(Head::Merge(axes.iter().collect(), *into)),
            Op::Slice { axis, to, start } => unary(Head::Slice(*axis, *to, start.to_string())),
            Op::Shift { axis, by } => unary(Head::Shift(*axis, *by)),
            Op::CumSum { axis, direction } => unary(Head::CumSum(*axis, *direction)),
            Op::Sum { axes } => unary(Head::Sum(list(axes))),
            Op::Neg => unary(Head::Neg),
            Op::Select if is_zero(node.operands[2]) => {
                vec![(Head::Masked(node.operands[0], true), node.operands[1])]
            }
            Op::Select if is_zero(node.operands[1]) => {
                vec![(Head::Masked(node.operands[0], false), node.operands[2])]
            }
            Op::Mul => factors(Vec::new()),
            Op::Dot { axes } => factors(list(axes)),
            _ => Vec::new(),
        }
    }

    /// What `like`, an old value with that head, makes of a new one.
    fn applied(&mut self, head: &Head, like: ValueId, inner: ValueId) -> ValueId {
        let node = &self.graph[like];
        let old: Vec<ValueId> = node.operands.iter().map(|o| self.made[o.index()]).collect();
        let operands = match head {
            Head::Rename(..)
            | Head::Split(..)
            | Head::Merge(..)
            | Head::Slice(..)
            | Head::Shift(..)
            | Head::CumSum(..)
            | Head::Sum(_)
            | Head::Neg => vec![inner],
            Head::Masked(_, true) => vec![old[0], inner, old[2]],
            Head::Masked(_, false) => vec![old[0], old[1], inner],
            Head::Product(_, _, common) if node.operands[0] == *common => vec![old[0], inner],
            Head::Product(..) => vec![inner, old[1]],
        };
        self.builder.push(node.op.clone(), &operands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plain::{live, shared};
    use carousel_ir::text::{Options, elaborate, parse_program};
    use carousel_ir::{Function, FunctionKind, Residuals};
    use carousel_reference::{Tensor, evaluate};

    /// The graph of `f` with its sums gathered; its values are the same but for rounding.
    fn checked(text: &str) -> Graph {
        let program = parse_program("f.xl", text, &|path| Err(format!("no {path}"))).unwrap();
        let before = elaborate(&program, &["f"], &Options::default()).unwrap();
        let (before, _) = crate::canonicalize(&before, crate::Rules::builtin());
        let f = before.find("f").unwrap();
        let once = |graph: &Graph| live(&before, &shared(&before, graph));
        let graph = once(&gathered(&before, &once(&before[f].graph)));
        let mut after = Module::default();
        let (kind, residuals) = (FunctionKind::Fn, Residuals::Save);
        after.push(Function { name: "f".into(), kind, residuals, graph: graph.clone() });
        let numbers = |n: usize, seed: f64| (0..n).map(move |i| (i as f64 * 0.37 + seed).sin());
        let inputs: Vec<Tensor<f64>> = [vec![3, 4], vec![3, 4], vec![4, 5]]
            .into_iter()
            .enumerate()
            .map(|(i, shape)| Tensor::floats(&shape, numbers(shape.iter().product(), i as f64)))
            .collect();
        let run = |module: &Module| evaluate::<f64>(module, module.find("f").unwrap(), &inputs).unwrap();
        for (a, b) in run(&before).iter().zip(run(&after)) {
            a.to_f64().iter().zip(b.to_f64()).for_each(|(a, b)| assert!((a - b).abs() < 1e-12, "{a} {b}"));
        }
        graph
    }

    fn count(graph: &Graph, kind: OpKind) -> usize {
        graph.nodes.iter().filter(|n| n.op.kind() == kind).count()
    }

    const HEAD: &str = "fn f(x: [i, k], y: [i, k], z: [k, j])";

    #[test]
    fn products_with_one_factor_become_one() {
        let graph = checked(&format!(
            "{HEAD} -> (r: [i, j]) {{ let r = sum[k](x * z) + sigmoid(sum[k](x * z)) * 0 + sum[k](y * z) }}"
        ));
        // The first one is needed by itself.
        assert_eq!(count(&graph, OpKind::Dot), 2);
        let graph = checked(&format!("{HEAD} -> (r: [i, j]) {{ let r = sum[k](x * z) + sum[k](y * z) }}"));
        assert_eq!(count(&graph, OpKind::Dot), 1);
    }

    #[test]
    fn linear_operations_are_gathered_one_under_the_other() {
        let graph = checked(&format!(
            "{HEAD} -> (r: [i, k]) {{
               let m = x > 0
               let a = select(m, cumsum[i](x * y), 0)
               let b = select(m, cumsum[i](x * exp(y)), 0)
               let r = a + 1 + b
             }}"
        ));
        for kind in [OpKind::Select, OpKind::CumSum, OpKind::Mul] {
            assert_eq!(count(&graph, kind), 1, "{kind:?}");
        }
    }
}
