//! Along which axes a scale has to follow every element.
//!
//! A write may have gates along an axis that the decays lack: a gate for each key beside one forget gate. Where every read
//! sums over that axis, what is small beside the largest element is small in the sum: the scale follows the largest
//! one, and the decay stays a number for each step. It must follow every element where one of them is a divisor by
//! itself, or is multiplied by an exponential of its own.

use super::body::Body;
use crate::growth::Reach;
use carousel_ir::{Axes, Op, OpKind, ValueId};

/// These axes, of a body without groups in which these states grow.
pub(super) fn axes(body: &Body<'_>, growing: &[usize]) -> Axes {
    let graph = body.graph;
    let mut fine = Axes::none();
    let mut depends: Vec<bool> = Vec::with_capacity(graph.nodes.len());
    for (_, node) in graph.iter() {
        let depends_on = |place: usize| depends[node.operands[place].index()];
        let grows = |v: ValueId| body.terms[body.class(v)].data.growth.size == Reach::Scaled;
        let is = |kinds: &[OpKind]| kinds.contains(&node.op.kind());
        let own =
            |place: &usize| !depends_on(*place) && depends_on(1 - *place) && grows(node.operands[*place]);
        let followed = if is(&[OpKind::Log, OpKind::Log1p]) {
            depends_on(0).then_some(0)
        } else if is(&[OpKind::Div]) {
            depends_on(1).then_some(1)
        } else if is(&[OpKind::Mul, OpKind::Dot]) {
            (0..2).find(own)
        } else {
            None
        };
        if let Some(place) = followed {
            fine = fine.union(&graph.ty(node.operands[place]).axes);
        }
        let is_growing = matches!(node.op, Op::Input { index } if growing.contains(&(index as usize)));
        depends.push(is_growing || node.operands.iter().any(|o| depends[o.index()]));
    }
    fine
}
