//! A scan's body as an e-graph in which groups of states are scaled.
//!
//! A state of a group is inserted as `(scaled s m)`, where `s` and `m` are leaves: what the loop will carry instead.
//! All states of a group share one `m`. Nothing here decides which groups to try.

use super::emit::is_whole;
use crate::analysis::{Facts, Terms, add_op, add_virtual};
use crate::canonical::{Inserted, insert_replacing};
use crate::cost::{Cost, SizeWeighted};
use crate::extract::{Selection, extract};
use crate::growth::exponential_overflows;
use crate::interval::Interval;
use crate::language::{Children, Head, Term, Virtual};
use crate::saturate::{Limits, Outcome, saturate};
use crate::{Rules, analysis};
use carousel_ir::{Axes, Graph, Op, OpKind, Type};
use egg::Id;
use smallvec::smallvec;
use std::collections::{BTreeMap, BTreeSet};

/// States that share a scale.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Group {
    /// Which states of the scan.
    pub(super) states: Vec<usize>,
    /// The axes of the scale.
    pub(super) axes: Axes,
}

/// An exponential without bound costs this: it is taken only where nothing else is equal.
const RISK: f64 = 1e15;

/// The e-graph of a body.
pub(super) struct Body<'g> {
    pub(super) graph: &'g Graph,
    pub(super) terms: Terms,
    values: Vec<Option<Inserted>>,
    /// The class of each group's scale as it is carried.
    pub(super) leaves: Vec<Id>,
}

/// A state's new value: the factor, and the scale.
pub(super) type Pair = (Id, Id);

impl<'g> Body<'g> {
    /// The body with these groups, before any rule; what comes in lies in these ranges.
    pub(super) fn new(graph: &'g Graph, groups: &[Group], ranges: &[Interval]) -> Body<'g> {
        let mut terms = Terms::new(Facts::new(graph.axes.clone()));
        terms.analysis.input_ranges = ranges.to_vec();
        let mut leaves = Vec::new();
        for (place, group) in groups.iter().enumerate() {
            let dtype = graph.inputs[group.states[0]].ty.dtype;
            let types = smallvec![Type { dtype, axes: group.axes.clone() }];
            let index = (graph.inputs.len() + place) as u32;
            let number = terms.analysis.opaque(&Op::Input { index }, &types);
            terms.analysis.scales.insert(number);
            leaves.push(terms.add(Term { head: Head::Opaque(number), children: Children::new() }));
        }
        let values = insert_replacing(&mut terms, graph, &mut |terms, index| {
            let place = groups.iter().position(|g| g.states.contains(&(index as usize)))?;
            let types = smallvec![graph.inputs[index as usize].ty.clone()];
            let number = terms.analysis.opaque(&Op::Input { index }, &types);
            let state = terms.add(Term { head: Head::Opaque(number), children: Children::new() });
            add_virtual(terms, Virtual::Scaled, &[state, leaves[place]])
        });
        terms.rebuild();
        Body { graph, terms, values, leaves }
    }

    /// Every value of the body as it was before any rule.
    pub(super) fn inserted(&self) -> &[Option<Inserted>] {
        &self.values
    }

    /// Applies the rules.
    pub(super) fn saturate(&mut self, rules: &Rules, limits: Limits) -> Outcome {
        saturate(&mut self.terms, rules, limits)
    }

    /// The class of a value of the body.
    pub(super) fn class(&self, value: carousel_ir::ValueId) -> Id {
        let inserted = self.values[value.index()].as_ref().expect("a verified body is well typed");
        self.terms.find(inserted.class)
    }

    /// The class of a result of the body.
    pub(super) fn output(&self, place: usize) -> Id {
        self.class(self.graph.outputs[place].value)
    }

    /// The ways in which a class is something scaled.
    pub(super) fn scaled(&self, class: Id) -> Vec<Pair> {
        let is_scaled = |term: &&Term| term.head == Head::Virtual(Virtual::Scaled);
        let nodes = self.terms[class].nodes.iter().filter(is_scaled);
        nodes.map(|t| (self.terms.find(t.children[0]), self.terms.find(t.children[1]))).collect()
    }

    /// Scales in which every state of the group can be expressed, with the factors, in order.
    pub(super) fn common(&self, group: &Group) -> Vec<(Id, Vec<Vec<Id>>)> {
        let mut found: BTreeMap<Id, Vec<Vec<Id>>> = BTreeMap::new();
        for (place, state) in group.states.iter().enumerate() {
            for (factor, scale) in self.scaled(self.output(*state)) {
                let entry = found.entry(scale).or_default();
                entry.resize(group.states.len(), Vec::new());
                entry[place].push(factor);
            }
        }
        found.into_iter().filter(|(_, factors)| factors.iter().all(|f| !f.is_empty())).collect()
    }

    /// The scale detached, and the factors that fit it. A scale through which a gradient would flow, or that is not
    /// chosen among detached ones, is not a choice of the compiler's: the factors take what it is on themselves.
    pub(super) fn detached(&mut self, scale: Id, factors: &[Id]) -> Option<(Id, Vec<Id>)> {
        let (selection, _) = self.extract(&[scale])?;
        if self.terms[scale].data.growth.frozen && self.is_whole(&selection, scale) {
            return Some((scale, factors.to_vec()));
        }
        let detached = add_op(&mut self.terms, OpKind::Detach, Vec::new(), &[scale])?;
        let one = add_virtual(&mut self.terms, Virtual::Gexp, &[scale, detached])?;
        let factors: Option<Vec<Id>> =
            factors.iter().map(|f| add_op(&mut self.terms, OpKind::Mul, Vec::new(), &[*f, one])).collect();
        self.terms.rebuild();
        factors.map(|f| (detached, f))
    }

    /// Whether a scale is rounded up as a whole where each detached scale in it is.
    pub(super) fn is_whole(&self, selection: &Selection, scale: Id) -> bool {
        let authored: BTreeSet<Id> = self.values.iter().flatten().map(|v| self.terms.find(v.class)).collect();
        is_whole(&self.terms, &|class| authored.contains(&class), selection, scale)
    }

    /// The cheapest terms of the classes, all together; `None` if one has only virtual ones.
    pub(super) fn extract(&self, roots: &[Id]) -> Option<(Selection, f64)> {
        extract(&self.terms, roots, &|class, term| self.price(class, term))
    }

    /// The classes that have a term without virtual operations.
    pub(super) fn executable(&self) -> BTreeSet<Id> {
        let mut found = BTreeSet::new();
        loop {
            let before = found.len();
            for class in self.terms.classes() {
                let fits = |t: &Term| {
                    self.price(class.id, t).is_finite()
                        && t.children.iter().all(|c| found.contains(&self.terms.find(*c)))
                };
                if !found.contains(&class.id) && class.nodes.iter().any(fits) {
                    found.insert(class.id);
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }

    /// Whether the term is an exponential that may overflow.
    pub(super) fn is_risky(&self, term: &Term) -> bool {
        term.head == Head::Op(OpKind::Exp) && exponential_overflows(self.terms[term.children[0]].data.range)
    }

    fn price(&self, class: Id, term: &Term) -> f64 {
        let cost = SizeWeighted::default();
        let types = &self.terms[class].data.types;
        let operation = |op: &Op, count: usize| {
            let operands: Vec<&Type> =
                term.children[count..].iter().filter_map(|c| self.terms[*c].data.types.first()).collect();
            cost.operation(op, &operands, types, &self.terms.analysis.axes)
        };
        match term.head {
            Head::Leaf(_) => 0.0,
            Head::Virtual(Virtual::Scaled) => f64::INFINITY,
            Head::Virtual(Virtual::Gexp) => operation(&Op::Sub, 0) + operation(&Op::Exp, 0),
            Head::Op(_) | Head::Opaque(_) => {
                let risk = if self.is_risky(term) { RISK } else { 0.0 };
                let known = analysis::operation(&self.terms, term);
                known.map_or(f64::INFINITY, |(op, count)| operation(&op, count) + risk)
            }
        }
    }
}
