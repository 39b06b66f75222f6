//! Triangles: which values are 0, or are not needed, where the index along one axis is less than along another.
//!
//! Causal masks make them: a step reads what came before it. A product with such a matrix, or one whose result is masked
//! afterwards, has half of the work ([`Triangle`]). Found from comparisons of indices and what is selected and multiplied by
//! them; names mean nothing.

use crate::kernel::{Factor, Triangle};
use carousel_ir::{Axes, Axis, Graph, Node, Op, ValueId};

/// `(a, b)` says something about the places where the index along `a` is less than the one along `b`.
type Pair = (Axis, Axis);

/// A set of pairs; none stands for all there are.
type Pairs = Option<Vec<Pair>>;

fn none() -> Pairs {
    Some(Vec::new())
}

fn union(x: &Pairs, y: &Pairs) -> Pairs {
    let (x, y) = (x.as_ref()?, y.as_ref()?);
    let more = y.iter().filter(|pair| !x.contains(pair));
    Some(x.iter().chain(more).copied().collect())
}

fn intersection(x: &Pairs, y: &Pairs) -> Pairs {
    match (x, y) {
        (None, other) | (other, None) => other.clone(),
        (Some(x), Some(y)) => Some(x.iter().filter(|pair| y.contains(pair)).copied().collect()),
    }
}

fn without(x: &Pairs, axes: &Axes) -> Pairs {
    let kept = |pair: &&Pair| !axes.contains(pair.0) && !axes.contains(pair.1);
    x.as_ref().map(|pairs| pairs.iter().filter(kept).copied().collect())
}

fn renamed(x: &Pairs, from: Axis, to: Axis) -> Pairs {
    let new = |axis: Axis| if axis == from { to } else { axis };
    x.as_ref().map(|pairs| pairs.iter().map(|(a, b)| (new(*a), new(*b))).collect())
}

/// What is known of a value.
#[derive(Clone)]
struct Known {
    /// Where it is 0.
    zero: Pairs,
    /// Where it is not true.
    untrue: Pairs,
    /// Where it is not false.
    unfalse: Pairs,
    /// The axis whose index it is.
    index: Option<Axis>,
}

/// What is known of the values of a graph.
#[derive(Default)]
pub(crate) struct Triangles {
    known: Vec<Known>,
    /// Where a value is not needed.
    unneeded: Vec<Pairs>,
}

impl Triangles {
    pub(crate) fn new(graph: &Graph) -> Triangles {
        let mut known: Vec<Known> = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            known.push(of_node(node, &known));
        }
        let mut unneeded: Vec<Pairs> = vec![None; graph.nodes.len()];
        graph.outputs.iter().for_each(|output| unneeded[output.value.index()] = none());
        for (value, node) in graph.iter().rev() {
            let own = unneeded[value.index()].clone();
            for (place, operand) in node.operands.iter().enumerate() {
                let here = needed_by(node, place, &own, &known);
                unneeded[operand.index()] = intersection(&unneeded[operand.index()], &here);
            }
        }
        Triangles { known, unneeded }
    }

    /// The triangle of a product of two values, each of whose dimensions is one axis, m, n and k.
    pub(crate) fn of_product(
        &self,
        result: ValueId,
        [a, b]: [ValueId; 2],
        [m, n, k]: [Axis; 3],
    ) -> Option<Triangle> {
        let has = |pairs: &Pairs, pair: Pair| pairs.as_ref().is_some_and(|pairs| pairs.contains(&pair));
        let zero = |value: ValueId| &self.known[value.index()].zero;
        let matrices = [
            (Factor::A, zero(a), m, k),
            (Factor::B, zero(b), k, n),
            (Factor::C, &self.unneeded[result.index()], m, n),
        ];
        matrices.into_iter().find_map(|(factor, pairs, row, column)| {
            let lower = has(pairs, (row, column));
            (lower || has(pairs, (column, row))).then_some(Triangle { factor, is_lower: lower })
        })
    }
}

fn of_node(node: &Node, known: &[Known]) -> Known {
    let operand = |place: usize| &known[node.operands[place].index()];
    let zero = |place: usize| &operand(place).zero;
    let nothing = Known { zero: none(), untrue: none(), unfalse: none(), index: None };
    // A comparison `x < y` or `x <= y`: where it does not hold, and where it does.
    let compared = || match (operand(0).index, operand(1).index) {
        (Some(x), Some(y)) => {
            Known { untrue: Some(vec![(y, x)]), unfalse: Some(vec![(x, y)]), ..nothing.clone() }
        }
        _ => nothing.clone(),
    };
    let both = |zero: Pairs| Known { zero, ..nothing.clone() };
    let every = |change: &dyn Fn(&Pairs) -> Pairs, index: Option<Axis>| {
        let x = operand(0);
        Known { zero: change(&x.zero), untrue: change(&x.untrue), unfalse: change(&x.unfalse), index }
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing is known of what other operations give")]
    match &node.op {
        Op::Const { value, .. } if value.get() == 0.0 => both(None),
        Op::Iota { axis } => Known { index: Some(*axis), ..nothing },
        Op::Lt | Op::Le => compared(),
        Op::And => {
            let (x, y) = (operand(0), operand(1));
            let (untrue, unfalse) = (union(&x.untrue, &y.untrue), intersection(&x.unfalse, &y.unfalse));
            Known { untrue, unfalse, ..nothing }
        }
        Op::Or => {
            let (x, y) = (operand(0), operand(1));
            let (untrue, unfalse) = (intersection(&x.untrue, &y.untrue), union(&x.unfalse, &y.unfalse));
            Known { untrue, unfalse, ..nothing }
        }
        Op::Not => {
            Known { untrue: operand(0).unfalse.clone(), unfalse: operand(0).untrue.clone(), ..nothing }
        }
        Op::Select => {
            let condition = operand(0);
            let (chosen, other) = (union(&condition.untrue, zero(1)), union(&condition.unfalse, zero(2)));
            both(intersection(&chosen, &other))
        }
        Op::Mul => both(union(zero(0), zero(1))),
        Op::Dot { axes } => both(without(&union(zero(0), zero(1)), axes)),
        Op::Add | Op::Sub | Op::Min | Op::Max => both(intersection(zero(0), zero(1))),
        Op::Neg | Op::Abs | Op::Sign => both(zero(0).clone()),
        Op::Cast { .. } => {
            Known { zero: union(zero(0), &operand(0).untrue), ..every(&Pairs::clone, operand(0).index) }
        }
        Op::Detach | Op::Broadcast { .. } => every(&Pairs::clone, operand(0).index),
        Op::Rename { from, to } => {
            let index = operand(0).index.map(|axis| if axis == *from { *to } else { axis });
            every(&|pairs| renamed(pairs, *from, *to), index)
        }
        Op::Sum { axes } | Op::ReduceMax { axes } => both(without(zero(0), axes)),
        Op::CumSum { axis, .. } | Op::CumMax { axis, .. } => both(without(zero(0), &Axes::new([*axis]))),
        _ => nothing,
    }
}

/// Where a node that is not needed at `own` does not need its operand number `place`. What is not needed may be 0 in place of
/// what it is: only operations that make nothing infinite of that hand it on.
fn needed_by(node: &Node, place: usize, own: &Pairs, known: &[Known]) -> Pairs {
    let other = |place: usize| &known[node.operands[place].index()];
    #[expect(clippy::wildcard_enum_match_arm, reason = "other operations need what they read")]
    match &node.op {
        Op::Add | Op::Sub | Op::Min | Op::Max | Op::Neg | Op::Abs | Op::Sign | Op::Cast { .. } => own.clone(),
        Op::Detach | Op::Broadcast { .. } => own.clone(),
        Op::Mul => union(own, &other(1 - place).zero),
        Op::Dot { axes } => union(&without(own, axes), &other(1 - place).zero),
        Op::Select if place == 1 => union(own, &other(0).untrue),
        Op::Select if place == 2 => union(own, &other(0).unfalse),
        Op::Rename { from, to } => renamed(own, *to, *from),
        Op::Sum { axes } => without(own, axes),
        Op::CumSum { axis, .. } => without(own, &Axes::new([*axis])),
        _ => none(),
    }
}
