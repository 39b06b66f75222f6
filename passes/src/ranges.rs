//! Where the numbers of a graph lie, by its operations alone.

use crate::analysis::operation_range;
use crate::interval::Interval;
use carousel_ir::{Graph, Op, ValueId};
use std::collections::HashMap;

/// The range of a value; what was found on the way is kept in `known`.
pub(crate) fn range(graph: &Graph, value: ValueId, known: &mut HashMap<ValueId, Interval>) -> Interval {
    let mut stack = vec![value];
    while let Some(next) = stack.last().copied() {
        if known.contains_key(&next) {
            stack.pop();
            continue;
        }
        let node = &graph[next];
        let found = if let Op::Const { value, .. } = node.op {
            Interval::new(value.get(), value.get())
        } else if node.types.len() != 1 || !(node.ty().dtype.is_float() || matches!(node.op, Op::Iota { .. }))
        {
            // Tuples have none, and integers that are computed with wrap around.
            Interval::ANY
        } else {
            let waiting: Vec<ValueId> =
                node.operands.iter().copied().filter(|o| !known.contains_key(o)).collect();
            if !waiting.is_empty() {
                stack.extend(waiting);
                continue;
            }
            let same = |a: usize, b: usize| node.operands[a] == node.operands[b];
            operation_range(&node.op, &|place| known[&node.operands[place]], &same)
        };
        known.insert(next, found);
        stack.pop();
    }
    known[&value]
}
