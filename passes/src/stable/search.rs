//! Which states share a scale.
//!
//! Each growing state is first given a scale of its own. Two states belong together if their scales, as derived, are
//! the same expression of themselves, and if they start at zero, or else meet: a state from outside may be zero when the
//! program runs, so that the scale of another one is too large for it, which is no loss only to what both are in.
//! Maxima and sums are compared as sets of their parts.

use super::body::{Body, Group};
use super::derive::{Blocked, Search, alone};
use crate::extract::Selection;
use crate::growth::keeps_scale;
use crate::language::Head;
use carousel_ir::{Axes, Graph, Op, OpKind};
use egg::Id;
use std::collections::BTreeSet;

/// Groups of states.
pub(super) type Partition = [Group];

/// The partitions to try, in order, or a state that cannot be scaled at all.
pub(super) fn partitions(
    search: &mut Search<'_, '_>,
    growing: &[usize],
) -> Result<Vec<Vec<Group>>, (usize, Blocked)> {
    let (body, single) = search.settled(&alone(growing));
    let meetings = meetings(&search.scan.body, growing);
    let mut keyed: Vec<(String, Group)> = Vec::new();
    for (place, group) in single.iter().enumerate() {
        let costs = body.common(group).into_iter().filter_map(|(scale, _)| {
            body.extract(&[scale]).map(|(selection, cost)| (scale, selection, cost))
        });
        let best = costs.min_by(|a, b| a.2.total_cmp(&b.2));
        let Some((scale, selection, _)) = best else {
            let blocked = (group.states[0], search.no_scale(&body, group));
            search.keep(body);
            return Err(blocked);
        };
        let dtype = search.scan.body.inputs[group.states[0]].ty.dtype;
        // The scale of what starts at zero starts lower than any other.
        let is_zero = search.given.zero[group.states[0]];
        let key = format!("{dtype} {is_zero} {}", key(&body, &selection, scale, body.leaves[place]));
        let mut own = group.clone();
        keyed.retain(|(k, known)| {
            let met = || known.states.iter().any(|s| meetings.contains(&(*s, group.states[0])));
            let joined = *k == key && known.axes == group.axes && (is_zero || met());
            if joined {
                own.states.extend(&known.states);
            }
            !joined
        });
        own.states.sort_unstable();
        keyed.push((key, own));
    }
    let seeded: Vec<Group> = keyed.into_iter().map(|(_, group)| group).collect();
    let mut list = vec![seeded.clone()];
    let dtype = |s: usize| search.scan.body.inputs[s].ty.dtype;
    let shared = vec![Group { states: growing.to_vec(), axes: Axes::none() }];
    let one_dtype = growing.iter().all(|s| dtype(*s) == dtype(growing[0]));
    for other in [shared, single] {
        let same = |known: &Vec<Group>| {
            known.len() == other.len() && known.iter().zip(&other).all(|(a, b)| a.states == b.states)
        };
        if !list.iter().any(same) && (one_dtype || other.len() > 1) {
            list.push(other);
        }
    }
    // One of the groups may have outputs that grow as the author asks; the others need not suffer.
    for without in 0..if seeded.len() > 1 { seeded.len() } else { 0 } {
        let rest = seeded.iter().enumerate().filter(|(place, _)| *place != without);
        list.push(rest.map(|(_, group)| group.clone()).collect());
    }
    Ok(list)
}

/// The pairs of these states, smaller numbers first, that some operation takes together, themselves or what is linear
/// in them.
fn meetings(graph: &Graph, states: &[usize]) -> BTreeSet<(usize, usize)> {
    let mut found = BTreeSet::new();
    let mut within: Vec<BTreeSet<usize>> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let mut all: BTreeSet<usize> = BTreeSet::new();
        for operand in &node.operands {
            let other = &within[operand.index()];
            found.extend(all.iter().flat_map(|a| other.iter().map(|b| (*a.min(b), *a.max(b)))));
            all.extend(other);
        }
        if let Op::Input { index } = node.op {
            all.extend(states.iter().find(|s| **s == index as usize));
        } else if !keeps_scale(node.op.kind()) {
            all.clear();
        }
        within.push(all);
    }
    for state in states {
        let new = &within[graph.outputs[*state].value.index()];
        found.extend(new.iter().map(|other| (*state.min(other), *state.max(other))));
    }
    found
}

/// An expression for a scale in which the state's own scale has no name.
fn key(body: &Body<'_>, selection: &Selection, class: Id, own: Id) -> String {
    let class = body.terms.find(class);
    if class == body.terms.find(own) {
        return "own".to_string();
    }
    let term = &selection[&class];
    let depends = body.leaves.iter().any(|leaf| reaches(body, selection, class, *leaf));
    if !depends {
        return format!("#{class}");
    }
    let parts: Vec<Id> = match &term.head {
        Head::Op(kind @ (OpKind::Add | OpKind::Max)) => flat(body, selection, class, *kind),
        Head::Op(_) | Head::Opaque(_) | Head::Virtual(_) | Head::Leaf(_) => term.children.to_vec(),
    };
    let mut texts: Vec<String> = parts.iter().map(|p| key(body, selection, *p, own)).collect();
    if matches!(term.head, Head::Op(OpKind::Add | OpKind::Max)) {
        texts.sort();
    }
    format!("({:?} {})", term.head, texts.join(" "))
}

/// The operands of nested operations of one kind.
fn flat(body: &Body<'_>, selection: &Selection, class: Id, kind: OpKind) -> Vec<Id> {
    let class = body.terms.find(class);
    match selection.get(&class) {
        Some(term) if term.head == Head::Op(kind) => {
            term.children.iter().flat_map(|c| flat(body, selection, *c, kind)).collect()
        }
        _ => vec![class],
    }
}

fn reaches(body: &Body<'_>, selection: &Selection, from: Id, to: Id) -> bool {
    let from = body.terms.find(from);
    from == body.terms.find(to)
        || selection
            .get(&from)
            .is_some_and(|term| term.children.iter().any(|c| reaches(body, selection, *c, to)))
}
