//! What is known of each class of the e-graph: its type, its constant value, its range.
//!
//! Invariant: all terms of a class have one type (dtype and set of axes); rules that would break it are not applied.
//! Later rule sets add facts here (virtual scales, bounds of exponents); rules ask for them in their conditions.

use crate::constant;
use crate::growth::Growth;
use crate::interval::Interval;
use crate::language::{
    Children, Head, Leaf, Term, Virtual, attribute_count, is_commutative, operation_of, same_op,
};
use crate::proof::Instance;
use carousel_ir::infer::{Context, infer};
use carousel_ir::{Axes, Axis, AxisTable, DType, Node, Number, Op, OpKind, Span, Type, Types};
use egg::{DidMerge, Id};
use rustc_hash::FxHashMap;
use smallvec::smallvec;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The e-graph of this crate.
pub(crate) type Terms = egg::EGraph<Term, Facts>;

/// What is known of a class.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Fact {
    /// The attribute, if it is one.
    pub(crate) leaf: Option<Leaf>,
    /// The types of its results; none for an attribute.
    pub(crate) types: Types,
    /// The number that every element is.
    pub(crate) constant: Option<Number>,
    /// Where its elements lie.
    pub(crate) range: Interval,
    /// How it may grow, and whether it is part of a scale.
    pub(crate) growth: Growth,
}

impl Fact {
    /// The type of a single value.
    pub(crate) fn ty(&self) -> Option<&Type> {
        match self.types.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }
}

/// What the analysis looks up.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Sizes of axes.
    pub(crate) axes: AxisTable,
    /// Operations that rules do not look into, with their types.
    opaque: Vec<(Op, Types)>,
    /// Their numbers by operation.
    opaque_numbers: FxHashMap<Op, Vec<u32>>,
    /// The opaque operations that are scales carried by a loop.
    pub(crate) scales: BTreeSet<u32>,
    /// The axes along which what is small beside the rest matters too.
    pub(crate) fine: Axes,
    /// How many steps a chunk has, of the axes that are to be cut into chunks.
    pub(crate) chunks: BTreeMap<Axis, u64>,
    /// Where inputs lie, by number, as far as that is known.
    pub(crate) input_ranges: Vec<Interval>,
    /// The classes that were added, became one with another, or of which more is known; whoever asks forgets them.
    pub(crate) changed: Vec<Id>,
    /// How often two terms were made equal whose ranges or constants exclude each other: a rule is unsound.
    pub(crate) alarms: usize,
    /// The rules that were applied, where someone wants to know.
    pub(crate) instances: Option<Vec<Instance>>,
}

impl Facts {
    /// For a graph with these axes.
    pub(crate) fn new(axes: AxisTable) -> Facts {
        Facts {
            axes,
            opaque: Vec::new(),
            opaque_numbers: FxHashMap::default(),
            scales: BTreeSet::new(),
            fine: Axes::none(),
            chunks: BTreeMap::new(),
            input_ranges: Vec::new(),
            changed: Vec::new(),
            alarms: 0,
            instances: None,
        }
    }

    /// What is known beside terms, for another e-graph with the same opaque operations.
    pub(crate) fn without_terms(&self) -> Facts {
        Facts { changed: Vec::new(), alarms: 0, instances: None, ..self.clone() }
    }

    /// The opaque operations by number.
    pub(crate) fn opaque_ops(&self) -> &[(Op, Types)] {
        &self.opaque
    }

    /// Whether an axis, or that of a line, is to be cut into chunks.
    pub(crate) fn is_long(&self, leaf: &Leaf) -> bool {
        leaf.axes().is_some_and(|axes| axes.iter().all(|a| self.chunks.contains_key(a)))
    }

    /// The opaque operation of that number.
    pub(crate) fn opaque_op(&self, number: u32) -> &Op {
        &self.opaque[number as usize].0
    }

    /// The number of an opaque operation.
    pub(crate) fn opaque(&mut self, op: &Op, types: &Types) -> u32 {
        let numbers = self.opaque_numbers.entry(op.clone()).or_default();
        let is_same = |number: &u32| {
            let (known, of) = &self.opaque[*number as usize];
            same_op(known, op) && of == types
        };
        if let Some(known) = numbers.iter().copied().find(is_same) {
            return known;
        }
        let number = self.opaque.len() as u32;
        numbers.push(number);
        self.opaque.push((op.clone(), types.clone()));
        number
    }
}

/// The operation of a term, and how many of its children are attributes. `None` for an attribute or a virtual
/// operation, or if attributes do not fit.
pub(crate) fn operation<'t>(terms: &'t Terms, term: &Term) -> Option<(Cow<'t, Op>, usize)> {
    match &term.head {
        Head::Leaf(_) | Head::Virtual(_) => None,
        Head::Opaque(n) => Some((Cow::Borrowed(&terms.analysis.opaque[*n as usize].0), 0)),
        Head::Op(kind) => {
            let count = attribute_count(*kind)?;
            let leaves: Option<Vec<&Leaf>> =
                term.children[..count].iter().map(|c| terms[*c].data.leaf.as_ref()).collect();
            Some((Cow::Owned(operation_of(*kind, leaves?.into_iter())?), count))
        }
    }
}

/// The types of a term, `None` if it is ill-typed.
fn types(terms: &Terms, term: &Term) -> Option<Types> {
    if let Head::Opaque(n) = term.head {
        return Some(terms.analysis.opaque[n as usize].1.clone());
    }
    let (op, count) = match term.head {
        Head::Virtual(_) => (Cow::Owned(Op::Mul), 0),
        Head::Op(_) | Head::Opaque(_) | Head::Leaf(_) => operation(terms, term)?,
    };
    if let Op::Proj { index } = *op {
        // Of a call with many results: their types are not copied.
        let results = &terms[term.children[count]].data.types;
        return results.get(index as usize).map(|ty| smallvec![ty.clone()]);
    }
    let operands: Vec<Node> = term.children[count..]
        .iter()
        .map(|c| Node {
            op: Op::Detach,
            operands: smallvec![],
            types: terms[*c].data.types.clone(),
            span: Span::default(),
            name: None,
        })
        .collect();
    let context = Context { axes: &terms.analysis.axes, inputs: &[], functions: &[] };
    infer(context, &op, &operands.iter().collect::<Vec<_>>()).ok()
}

/// Adds an operation if it is well typed. An operation that is there with its operands exchanged is taken instead,
/// where that is the same: no rule for commutativity is needed.
pub(crate) fn add(terms: &mut Terms, term: Term) -> Option<Id> {
    if let Some(found) = terms.lookup(term.clone()) {
        return Some(found);
    }
    if let Head::Op(kind) = term.head
        && is_commutative(kind)
    {
        let mut swapped = term.clone();
        let last = swapped.children.len() - 1;
        swapped.children.swap(last - 1, last);
        if let Some(found) = terms.lookup(swapped) {
            return Some(found);
        }
    }
    types(terms, &term)?;
    Some(terms.add(term))
}

/// Adds an operation with its attributes, if it is well typed.
pub(crate) fn add_op(terms: &mut Terms, kind: OpKind, leaves: Vec<Leaf>, operands: &[Id]) -> Option<Id> {
    let mut children: Children =
        leaves.into_iter().map(|leaf| terms.add(leaf.for_kind(kind).term())).collect();
    children.extend_from_slice(operands);
    add(terms, Term { head: Head::Op(kind), children })
}

/// Adds a virtual operation, if it is well typed.
pub(crate) fn add_virtual(terms: &mut Terms, what: Virtual, operands: &[Id]) -> Option<Id> {
    add(terms, Term { head: Head::Virtual(what), children: operands.iter().copied().collect() })
}

/// Adds a scalar constant.
pub(crate) fn add_constant(terms: &mut Terms, value: Number, dtype: DType) -> Id {
    let children = [Leaf::Number(value), Leaf::DType(dtype)].map(|l| terms.add(l.term()));
    terms.add(Term { head: Head::Op(OpKind::Const), children: children.into_iter().collect() })
}

/// `value` with those of `axes` that it lacks.
pub(crate) fn add_broadcast(terms: &mut Terms, value: Id, axes: &Axes) -> Option<Id> {
    let missing = axes.without(&terms[value].data.ty()?.axes);
    if missing.is_empty() {
        return Some(value);
    }
    add_op(terms, OpKind::Broadcast, vec![Leaf::Axes(missing.iter().collect())], &[value])
}

impl egg::Analysis<Term> for Facts {
    type Data = Fact;

    fn make(terms: &mut Terms, term: &Term, _: Id) -> Fact {
        if let Head::Leaf(leaf) = &term.head {
            let (types, constant) = (smallvec![], None);
            let growth = Growth::of_attribute();
            return Fact { leaf: Some(leaf.clone()), types, constant, range: Interval::ANY, growth };
        }
        let types = types(terms, term)
            .unwrap_or_else(|| panic!("an ill-typed term got into the e-graph: {:?}", term.head));
        let constant = match types.as_slice() {
            [ty] => constant_of(terms, term, ty),
            _ => None,
        };
        let range = match constant {
            Some(number) => Interval::new(number.get(), number.get()),
            // Integers wrap around.
            None if types.iter().any(|t| !t.dtype.is_float()) => Interval::ANY,
            None => range_of(terms, term),
        };
        let growth = Growth::of(terms, term);
        Fact { leaf: None, types, constant, range, growth }
    }

    fn merge(&mut self, a: &mut Fact, b: Fact) -> DidMerge {
        debug_assert_eq!(a.types, b.types, "equal terms have one type");
        debug_assert_eq!(a.leaf, b.leaf, "attributes are never made equal");
        let before = a.clone();
        a.constant = match (a.constant, b.constant) {
            (Some(x), Some(y)) => {
                let (p, q) = (x.get(), y.get());
                // Two orders of evaluation may differ in the last digits; more is a contradiction. The one that is known stays:
                // where constants are products and quotients of each other, others would follow from each new one for ever.
                if (p - q).abs() > 1e-6 * (p.abs() + q.abs()) {
                    self.alarms += 1;
                }
                Some(x)
            }
            (x, y) => x.or(y),
        };
        a.growth = a.growth.meet(b.growth);
        let (wide, other) = (a.range, b.range);
        a.range = wide.meet(other);
        if a.range.is_empty() && !wide.is_empty() && !other.is_empty() {
            self.alarms += 1;
        }
        DidMerge(*a != before, *a != b)
    }

    fn modify(terms: &mut Terms, id: Id) {
        terms.analysis.changed.push(id);
        let fact = &terms[id].data;
        if let (Some(number), Some(ty)) = (fact.constant, fact.ty().cloned()) {
            let scalar = add_constant(terms, number, ty.dtype);
            if let Some(value) = add_broadcast(terms, scalar, &ty.axes) {
                terms.union(id, value);
            }
        }
    }
}

fn constant_of(terms: &Terms, term: &Term, ty: &Type) -> Option<Number> {
    let (op, count) = operation(terms, term)?;
    let operands = &term.children[count..];
    if let Op::Const { value, dtype: _ } = *op {
        return Some(value);
    }
    if let Op::SizeOf { axis, dtype: _ } = *op {
        return terms.analysis.axes.get(axis)?.known().map(|n| Number::new(n as f64));
    }
    if let Op::Broadcast { .. } | Op::Rename { .. } | Op::Split { .. } | Op::Merge { .. } | Op::Slice { .. } =
        *op
    {
        return terms[operands[0]].data.constant;
    }
    // Zeros beside zeros.
    if let Op::Pad { .. } | Op::Shift { .. } = *op {
        return terms[operands[0]].data.constant.filter(|c| c.get() == 0.0);
    }
    let values: Option<Vec<f64>> =
        operands.iter().map(|o| terms[*o].data.constant.map(Number::get)).collect();
    let values = values.filter(|v| !v.is_empty())?;
    let from = terms[operands[0]].data.ty()?.dtype;
    constant::fold(op.kind(), from, ty.dtype, &values).map(Number::new)
}

fn range_of(terms: &Terms, term: &Term) -> Interval {
    match term.head {
        Head::Virtual(Virtual::Scaled) => {
            let range = terms[term.children[0]].data.range;
            return range.summed().positive_if(range.positive);
        }
        Head::Virtual(Virtual::Gexp) => return Interval::new(0.0, 1.0).positive_if(true),
        Head::Opaque(number) => {
            if let Op::Input { index } = terms.analysis.opaque_op(number) {
                return terms.analysis.input_ranges.get(*index as usize).copied().unwrap_or(Interval::ANY);
            }
        }
        Head::Op(_) | Head::Leaf(_) => {}
    }
    let Some((op, count)) = operation(terms, term) else { return Interval::ANY };
    let operands = &term.children[count..];
    // Integers wrap around, so that nothing follows from what they are computed of.
    let of_integers =
        operands.first().and_then(|o| terms[*o].data.ty()).is_some_and(|t| t.dtype.is_integer());
    if of_integers && !matches!(*op, Op::Cast { .. }) {
        return Interval::ANY;
    }
    let range = |place: usize| terms[operands[place]].data.range;
    let same = |a: usize, b: usize| terms.find(operands[a]) == terms.find(operands[b]);
    let known = operation_range(&op, &range, &same);
    // Differences from a maximum are bounded, whatever the ranges are.
    let bound = if let Op::Sub = *op {
        is_below(terms, operands[0], operands[1]).then_some(0.0)
    } else if let Op::Add = *op {
        let [a, b] = [operands[0], operands[1]];
        gated_part(terms, a, b).or_else(|| gated_part(terms, b, a))
    } else {
        None
    };
    bound.map_or(known, |bound| known.meet(Interval::new(f64::NEG_INFINITY, bound)))
}

/// The range of an operation's result from the ranges of its operands; `same` says whether two of them are equal.
pub(crate) fn operation_range(
    op: &Op,
    range: &dyn Fn(usize) -> Interval,
    same: &dyn Fn(usize, usize) -> bool,
) -> Interval {
    let (nonnegative, any) = (Interval::new(0.0, f64::INFINITY), Interval::ANY);
    match *op {
        Op::SizeOf { .. } | Op::Iota { .. } => nonnegative,
        Op::Cast { dtype } if dtype.is_float() => range(0),
        Op::Neg => range(0).neg(),
        Op::Abs => range(0).abs(),
        Op::Sign => Interval::new(-1.0, 1.0),
        Op::Floor => range(0).increasing(f64::floor),
        Op::Ceil => range(0).increasing(f64::ceil).positive_if(range(0).positive),
        Op::Exp => range(0).increasing(f64::exp).positive_if(true),
        Op::Log => range(0).increasing(|x| x.max(0.0).ln()),
        Op::Log1p => range(0).increasing(|x| x.max(-1.0).ln_1p()),
        Op::Sqrt => range(0).increasing(|x| x.max(0.0).sqrt()).positive_if(range(0).positive),
        Op::Tanh => range(0).increasing(f64::tanh),
        Op::Erf => Interval::new(-1.0, 1.0),
        Op::Sigmoid => Interval::new(0.0, 1.0).positive_if(true),
        Op::Logsigmoid => Interval::new(f64::NEG_INFINITY, 0.0),
        Op::Detach
        | Op::Rename { .. }
        | Op::Split { .. }
        | Op::Merge { .. }
        | Op::Broadcast { .. }
        | Op::Slice { .. }
        | Op::CumMax { .. } => range(0),
        Op::Add => range(0).add(range(1)),
        Op::Sub if same(0, 1) => Interval::new(0.0, 0.0),
        Op::Sub => range(0).add(range(1).neg()),
        Op::Mul if same(0, 1) => range(0).mul(range(1)).meet(nonnegative).positive_if(range(0).nonzero()),
        Op::Mul => range(0).mul(range(1)),
        Op::Div => range(0).mul(range(1).reciprocal()),
        Op::Min => range(0).min(range(1)),
        Op::Max => range(0).max(range(1)),
        Op::Select => range(1).hull(range(2)),
        Op::Sum { .. } | Op::CumSum { .. } => range(0).summed(),
        Op::Dot { .. } if same(0, 1) => nonnegative,
        Op::Dot { .. } => range(0).mul(range(1)).summed(),
        // Over an axis of size 0 it is -inf.
        Op::ReduceMax { .. } => Interval { low: f64::NEG_INFINITY, positive: false, ..range(0) },
        Op::Shift { .. } | Op::Pad { .. } => range(0).hull(Interval::new(0.0, 0.0)),
        Op::Uniform { .. } => Interval::new(0.0, 1.0),
        Op::Const { .. }
        | Op::Input { .. }
        | Op::Cast { .. }
        | Op::Not
        | Op::Eq
        | Op::Ne
        | Op::Lt
        | Op::Le
        | Op::And
        | Op::Or
        | Op::Concat { .. }
        | Op::Gather { .. }
        | Op::ScatterAdd { .. }
        | Op::FoldIn { .. }
        | Op::LinRead { .. }
        | Op::LinReadDecay { .. }
        | Op::LinSolve { .. }
        | Op::Scan { .. }
        | Op::Call { .. }
        | Op::Proj { .. } => any,
    }
}

/// The pairs of operands of a class's terms of one kind.
fn pairs(terms: &Terms, class: Id, kind: OpKind) -> impl Iterator<Item = [Id; 2]> + '_ {
    let nodes = terms[class].nodes.iter().filter(move |t| t.head == Head::Op(kind));
    nodes.map(|t| [terms.find(t.children[0]), terms.find(t.children[1])])
}

/// How many maxima within maxima are looked through.
const NESTED: usize = 8;

/// The values that a maximum is at least as large as, through rounding up: itself, and the parts of nested maxima.
fn parts_of_maximum(terms: &Terms, maximum: Id, depth: usize, found: &mut Vec<Id>) {
    let maximum = terms.find(maximum);
    if depth > NESTED || found.contains(&maximum) {
        return;
    }
    found.push(maximum);
    for term in &terms[maximum].nodes {
        let parts: &[Id] = match term.head {
            Head::Op(OpKind::Max | OpKind::Detach | OpKind::Ceil) => &term.children,
            Head::Op(OpKind::ReduceMax) => &term.children[1..],
            Head::Op(_) | Head::Opaque(_) | Head::Virtual(_) | Head::Leaf(_) => &[],
        };
        parts.iter().for_each(|part| parts_of_maximum(terms, *part, depth + 1, found));
    }
}

/// What the terms of a class are the next whole numbers of.
fn rounded(terms: &Terms, class: Id) -> impl Iterator<Item = Id> + '_ {
    let nodes = terms[class].nodes.iter().filter(|t| t.head == Head::Op(OpKind::Ceil));
    nodes.map(|t| terms.find(t.children[0]))
}

/// Whether `maximum` is a maximum of `part` and something, or of its elements.
fn is_below(terms: &Terms, part: Id, maximum: Id) -> bool {
    let mut parts = Vec::new();
    parts_of_maximum(terms, maximum, 0, &mut parts);
    parts.len() > 1
        && (parts.contains(&terms.find(part)) || rounded(terms, part).any(|inner| parts.contains(&inner)))
        || is_below_half(terms, part, maximum)
}

/// Whether `half` is half of a maximum of `part + part` and something.
fn is_below_half(terms: &Terms, part: Id, half: Id) -> bool {
    let part = terms.find(part);
    let is_half = |id: Id| terms[id].data.constant.is_some_and(|n| n.get() == 0.5);
    pairs(terms, half, OpKind::Mul).any(|[a, b]| {
        let maximum = if is_half(a) {
            b
        } else if is_half(b) {
            a
        } else {
            return false;
        };
        let mut parts = Vec::new();
        parts_of_maximum(terms, maximum, 0, &mut parts);
        parts.iter().any(|twice| pairs(terms, *twice, OpKind::Add).any(|sum| sum == [part, part]))
    })
}

/// A bound of `gate + difference` where `difference` is `m - max(gate + m, ..)`, or that of their next whole numbers.
fn gated_part(terms: &Terms, gate: Id, difference: Id) -> Option<f64> {
    let gate = terms.find(gate);
    let is_gated = |m: Id, maximum: Id| {
        let mut parts = Vec::new();
        parts_of_maximum(terms, maximum, 0, &mut parts);
        let sums = parts.iter().flat_map(|part| pairs(terms, *part, OpKind::Add));
        sums.into_iter().any(|sum| sum == [gate, m] || sum == [m, gate])
    };
    let bound = |[m, maximum]: [Id; 2]| {
        if is_gated(m, maximum) {
            return Some(0.0);
        }
        rounded(terms, m).any(|inner| is_gated(inner, maximum)).then_some(1.0)
    };
    pairs(terms, difference, OpKind::Sub).filter_map(bound).reduce(f64::min)
}
