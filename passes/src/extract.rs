//! Choosing one term a class: the cheapest *graph*, in which a shared term is paid once.
//!
//! Greedy: each class keeps the set of classes that its best term needs, and the price of that set. Deterministic:
//! classes are visited in the order of their numbers, and of equally cheap terms the first one stays. The result has
//! no cycles, for a term whose set holds its own class is never taken and every term costs more than 0.

use crate::analysis::Terms;
use crate::language::{Head, Term};
use egg::Id;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, VecDeque};

/// The chosen term of every class that the roots need.
pub(crate) type Selection = BTreeMap<Id, Term>;

/// The best term so far of a class.
#[derive(Clone)]
struct Best {
    total: f64,
    own: f64,
    term: Term,
    /// The classes that it needs, its own included; a bit each.
    needs: Vec<u64>,
}

/// The cheapest selection under `cost` and its price, `None` if a root has no finite one. A term of infinite cost is
/// never taken.
pub(crate) fn extract(
    terms: &Terms,
    roots: &[Id],
    cost: &dyn Fn(Id, &Term) -> f64,
) -> Option<(Selection, f64)> {
    let reachable = reach(terms, roots);
    let index: FxHashMap<Id, usize> = reachable.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let words = reachable.len().div_ceil(64);
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); reachable.len()];
    let mut costs: Vec<Vec<f64>> = Vec::with_capacity(reachable.len());
    for (place, class) in reachable.iter().enumerate() {
        let nodes = &terms[*class].nodes;
        costs.push(nodes.iter().map(|t| cost(*class, t)).collect());
        for child in nodes.iter().flat_map(|t| &t.children) {
            let list = &mut users[index[&terms.find(*child)]];
            if list.last() != Some(&place) {
                list.push(place);
            }
        }
    }
    if reachable.iter().all(|class| terms[*class].nodes.len() == 1) {
        let only = |(class, costs): (&Id, &Vec<f64>)| {
            let (own, term) = (costs[0], terms[*class].nodes[0].clone());
            own.is_finite().then_some(Best { total: own, own, term, needs: Vec::new() })
        };
        let best: Vec<Option<Best>> = reachable.iter().zip(&costs).map(only).collect();
        return select(terms, roots, &index, &best);
    }
    let mut best: Vec<Option<Best>> = vec![None; reachable.len()];
    let mut queue: VecDeque<usize> = (0..reachable.len()).collect();
    let mut queued = vec![true; reachable.len()];
    while let Some(place) = queue.pop_front() {
        queued[place] = false;
        if improve(terms, reachable[place], place, &index, &costs[place], words, &mut best) {
            for user in &users[place] {
                if !std::mem::replace(&mut queued[*user], true) {
                    queue.push_back(*user);
                }
            }
        }
    }
    select(terms, roots, &index, &best)
}

/// Looks for a cheaper term of one class.
fn improve(
    terms: &Terms,
    class: Id,
    place: usize,
    index: &FxHashMap<Id, usize>,
    costs: &[f64],
    words: usize,
    best: &mut [Option<Best>],
) -> bool {
    let mut improved = false;
    'terms: for (term, own) in terms[class].nodes.iter().zip(costs) {
        let bound = best[place].as_ref().map_or(f64::INFINITY, |b| b.total * (1.0 - 1e-12));
        let mut children = Vec::with_capacity(term.children.len());
        for child in &term.children {
            match &best[index[&terms.find(*child)]] {
                Some(b) if own + b.total < bound => children.push(b),
                _ => continue 'terms,
            }
        }
        if *own >= bound {
            continue;
        }
        let mut needs = match children.first() {
            Some(first) => first.needs.clone(),
            None => vec![0; words],
        };
        for child in children.iter().skip(1) {
            needs.iter_mut().zip(&child.needs).for_each(|(a, b)| *a |= b);
        }
        if needs[place / 64] >> (place % 64) & 1 == 1 {
            continue;
        }
        let total = match children.as_slice() {
            [only] => only.total,
            _ => bits(&needs).map(|i| best[i].as_ref().map_or(0.0, |b| b.own)).sum(),
        } + own;
        if total < bound {
            needs[place / 64] |= 1 << (place % 64);
            best[place] = Some(Best { total, own: *own, term: term.clone(), needs });
            improved = true;
        }
    }
    improved
}

fn bits(set: &[u64]) -> impl Iterator<Item = usize> + '_ {
    set.iter().enumerate().flat_map(|(word, bits)| {
        let mut left = *bits;
        std::iter::from_fn(move || {
            (left != 0).then(|| {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                word * 64 + bit
            })
        })
    })
}

/// The classes below the roots, in the order of their numbers: operands of the original graph come before users.
fn reach(terms: &Terms, roots: &[Id]) -> Vec<Id> {
    let mut found = std::collections::BTreeSet::new();
    let mut stack: Vec<Id> = roots.iter().map(|r| terms.find(*r)).collect();
    while let Some(class) = stack.pop() {
        if found.insert(class) {
            stack.extend(terms[class].nodes.iter().flat_map(|t| &t.children).map(|c| terms.find(*c)));
        }
    }
    found.into_iter().collect()
}

/// Follows the choices from the roots. `None` if a choice is missing, or if the choices made at different times form a
/// cycle after all.
fn select(
    terms: &Terms,
    roots: &[Id],
    index: &FxHashMap<Id, usize>,
    best: &[Option<Best>],
) -> Option<(Selection, f64)> {
    let (mut selection, mut total) = (Selection::new(), 0.0);
    let mut stack: Vec<(Id, bool)> = roots.iter().map(|r| (terms.find(*r), false)).collect();
    let mut open = std::collections::HashSet::new();
    while let Some((class, leaving)) = stack.pop() {
        if leaving {
            open.remove(&class);
            continue;
        }
        if open.contains(&class) {
            return None;
        }
        if selection.contains_key(&class) {
            continue;
        }
        let choice = best[index[&class]].as_ref()?;
        if !matches!(choice.term.head, Head::Leaf(_)) {
            total += choice.own;
        }
        selection.insert(class, choice.term.clone());
        open.insert(class);
        stack.push((class, true));
        stack.extend(choice.term.children.iter().map(|c| (terms.find(*c), false)));
    }
    Some((selection, total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Facts, add_op};
    use crate::language::Children;
    use carousel_ir::{AxisTable, DType, Op, OpKind, Type};
    use smallvec::smallvec;

    /// `(a op a) = (b + c)`, where a costs 5 and is used twice, b and c cost 3 each.
    #[test]
    fn a_shared_term_is_paid_once() {
        let mut terms = Terms::new(Facts::new(AxisTable::default()));
        let mut input = |index| {
            let types = smallvec![Type::scalar(DType::F32)];
            let number = terms.analysis.opaque(&Op::Input { index }, &types);
            terms.add(Term { head: Head::Opaque(number), children: Children::new() })
        };
        let [a, b, c] = [0, 1, 2].map(&mut input);
        let twice = add_op(&mut terms, OpKind::Mul, vec![], &[a, a]).expect("it is well typed");
        let sum = add_op(&mut terms, OpKind::Add, vec![], &[b, c]).expect("it is well typed");
        terms.union(twice, sum);
        terms.rebuild();
        let cost = |_, term: &Term| match term.head {
            Head::Opaque(0) => 5.0,
            Head::Opaque(_) => 3.0,
            Head::Op(_) | Head::Virtual(_) => 1.0,
            Head::Leaf(_) => 0.0,
        };
        let (selection, total) = extract(&terms, &[twice], &cost).expect("it has terms");
        assert_eq!(total, 6.0);
        assert_eq!(selection[&terms.find(twice)].head, Head::Op(OpKind::Mul));
    }

    /// `x = x + 0` is a cycle; the sum is never its own operand.
    #[test]
    fn cycles_are_not_taken() {
        let mut terms = Terms::new(Facts::new(AxisTable::default()));
        let number = terms.analysis.opaque(&Op::Input { index: 0 }, &smallvec![Type::scalar(DType::F32)]);
        let x = terms.add(Term { head: Head::Opaque(number), children: Children::new() });
        let sum = add_op(&mut terms, OpKind::Add, vec![], &[x, x]).expect("it is well typed");
        terms.union(x, sum);
        terms.rebuild();
        let (selection, total) = extract(&terms, &[sum], &|_, _| 1.0).expect("it has terms");
        assert_eq!((selection.len(), total), (1, 1.0));
        let forced = |_, term: &Term| if matches!(term.head, Head::Opaque(_)) { f64::INFINITY } else { 1.0 };
        assert!(extract(&terms, &[sum], &forced).is_none());
    }
}
