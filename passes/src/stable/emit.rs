//! A graph from chosen terms with virtual operations.
//!
//! As a program, `gexp` becomes the exponential of a difference in which scales are subtracted from each other first
//! (they are large and close together, the gates are not); what stands for a scale is kept finite and whole; a positive
//! value that a float might round to zero stays above it where a maximum protects a divisor.
//!
//! Whole scales: any number will do as a scale, and differences of whole numbers are exact. The loop carries the scale
//! as derived, unrounded, and the factors are by its next whole number (to carry that one would let it grow without
//! bound where gates decay slowly). Exponents are then at most 1 instead of 0, sums of them over several steps too.

use crate::analysis::{Terms, operation};
use crate::extract::Selection;
use crate::growth::Scale;
use crate::language::{Head, Virtual};
use carousel_ir::{Axes, Builder, DType, Name, Op, OpKind, Span, ValueId};
use egg::Id;
use std::collections::{BTreeMap, HashMap};

/// The scale of zero: so low that every other scale wins, and still a number in every float type.
pub(crate) const LOWEST: f64 = -1e30;

/// 2^-100: what a positive number is at least in a divisor. Smaller ones come from cancellation, and their reciprocals
/// leave no room for a factor in f32 and bf16.
const TINY: f64 = 7.888_609_052_210_118e-31;

/// 2^-960, the same for f64.
const TINY_DOUBLE: f64 = 1.026_149_544_596_013e-289;

/// What is made of virtual operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    /// A program that does not overflow.
    Program,
    /// Their definitions, word for word.
    Definition,
    /// Their definitions, with an arbitrary number in place of each detached value.
    Gauge,
}

/// Whether a scale with these terms is chosen among detached scales: those are rounded up, and so is the choice.
/// The author's values are never rounded.
pub(super) fn is_whole(
    terms: &Terms,
    is_authored: &dyn Fn(Id) -> bool,
    selection: &Selection,
    class: Id,
) -> bool {
    let class = terms.find(class);
    let term = &selection[&class];
    let from = |count: usize| {
        let values = &term.children[count..];
        values.iter().all(|value| is_whole(terms, is_authored, selection, *value))
    };
    match term.head {
        Head::Opaque(number) => terms.analysis.scales.contains(&number),
        Head::Op(OpKind::Detach) => !is_authored(class),
        Head::Op(OpKind::Const) => terms[class].data.constant.is_some_and(|n| n.get().fract() == 0.0),
        Head::Op(OpKind::Max | OpKind::Min) => from(0),
        Head::Op(OpKind::Select | OpKind::Broadcast | OpKind::ReduceMax) => from(1),
        Head::Op(OpKind::Rename | OpKind::Split | OpKind::Merge) => from(2),
        Head::Op(_) | Head::Virtual(_) | Head::Leaf(_) => false,
    }
}

/// Makes values of classes, each once.
pub(crate) struct Emitter<'t, 'b> {
    pub(crate) builder: Builder<'b>,
    terms: &'t Terms,
    selection: &'t Selection,
    style: Style,
    made: HashMap<Id, ValueId>,
    /// Scales, and what they are made of, before they are rounded.
    unrounded: HashMap<Id, ValueId>,
    /// Values of opaque inputs by their numbers.
    pub(crate) inputs: Vec<ValueId>,
    /// Where classes came from in the source; no others are the author's.
    pub(crate) origins: BTreeMap<Id, (Span, Option<Name>)>,
    /// The differences of which `gexp` is the exponential, where definitions are written out.
    pub(crate) differences: Vec<ValueId>,
}

impl<'t, 'b> Emitter<'t, 'b> {
    /// Over an empty graph.
    pub(crate) fn new(
        builder: Builder<'b>,
        terms: &'t Terms,
        selection: &'t Selection,
        style: Style,
    ) -> Emitter<'t, 'b> {
        let (made, unrounded) = (HashMap::new(), HashMap::new());
        let (inputs, origins, differences) = (Vec::new(), BTreeMap::new(), Vec::new());
        Emitter { builder, terms, selection, style, made, unrounded, inputs, origins, differences }
    }

    /// The value of a class.
    pub(crate) fn value(&mut self, class: Id) -> ValueId {
        let class = self.terms.find(class);
        if let Some(value) = self.made.get(&class) {
            return *value;
        }
        let outer = self.builder.span;
        let origin = self.origins.get(&class).copied();
        if let Some((span, _)) = origin
            && span.is_known()
        {
            self.builder.span = span;
        }
        let value = self.make(class);
        if let Some((_, Some(name))) = origin {
            self.builder.name(value, name);
        }
        self.builder.span = outer;
        self.made.insert(class, value);
        value
    }

    /// The value of a class with exactly these axes.
    pub(crate) fn value_with(&mut self, class: Id, axes: &Axes) -> ValueId {
        let value = self.value(class);
        self.builder.broadcast(value, axes)
    }

    fn make(&mut self, class: Id) -> ValueId {
        let (terms, selection) = (self.terms, self.selection);
        let term = &selection[&class];
        let dtype = terms[class].data.ty().map_or(DType::F32, |t| t.dtype);
        if self.style == Style::Program && self.is_scale(class) {
            let scale = self.unrounded(class);
            return self.builder.ceil(scale);
        }
        match term.head {
            Head::Virtual(Virtual::Scaled) => {
                let (a, m) = (self.value(term.children[0]), self.value(term.children[1]));
                let power = self.builder.exp(m);
                self.builder.mul(a, power)
            }
            Head::Virtual(Virtual::Gexp) => {
                let difference = if self.style == Style::Program {
                    self.difference(term.children[0], term.children[1])
                } else {
                    let (a, m) = (self.value(term.children[0]), self.value(term.children[1]));
                    let difference = self.builder.sub(a, m);
                    self.differences.push(difference);
                    difference
                };
                self.builder.exp(difference)
            }
            Head::Op(OpKind::Detach) if self.style == Style::Gauge => {
                let number = (usize::from(class) as f64 * 0.618_033_988_7).fract() * 6.0 - 3.0;
                let number = self.builder.constant(number, dtype);
                let axes = terms[class].data.ty().map(|t| t.axes.clone()).unwrap_or_default();
                self.builder.broadcast(number, &axes)
            }
            Head::Op(OpKind::Max) if self.style == Style::Program && !self.origins.contains_key(&class) => {
                let operands = [term.children[0], term.children[1]].map(|c| self.at_least_tiny(c));
                self.builder.max(operands[0], operands[1])
            }
            Head::Op(OpKind::Sqrt) if self.style == Style::Program && !self.origins.contains_key(&class) => {
                let operand = self.at_least_tiny(term.children[0]);
                self.builder.sqrt(operand)
            }
            // The logarithm of a gate for which no rule knows one.
            Head::Op(OpKind::Log) if self.style == Style::Program && !self.origins.contains_key(&class) => {
                let operand = self.at_least_tiny(term.children[0]);
                self.builder.log(operand)
            }
            // A sum of what is nowhere negative may be a divisor too.
            Head::Op(OpKind::Add)
                if self.style == Style::Program
                    && !self.origins.contains_key(&class)
                    && term.children.iter().all(|c| terms[*c].data.range.low >= 0.0) =>
            {
                let operands = [term.children[0], term.children[1]].map(|c| self.at_least_tiny(c));
                self.builder.add(operands[0], operands[1])
            }
            Head::Opaque(number) => {
                let op = terms.analysis.opaque_op(number).clone();
                let Op::Input { index } = op else { return self.operation(op, &term.children) };
                self.inputs[index as usize]
            }
            Head::Op(_) | Head::Leaf(_) => {
                let (op, count) = operation(terms, term).expect("a value is an operation");
                self.operation(op.into_owned(), &term.children[count..])
            }
        }
    }

    fn operation(&mut self, op: Op, operands: &[Id]) -> ValueId {
        let operands: Vec<ValueId> = operands.iter().map(|c| self.value(*c)).collect();
        self.builder.push(op, &operands)
    }

    /// Whether a class is a scale, or chosen among scales.
    fn is_scale(&self, class: Id) -> bool {
        let is_authored = |class| self.origins.contains_key(&class);
        self.terms[class].data.constant.is_none()
            && !is_authored(class)
            && is_whole(self.terms, &is_authored, self.selection, class)
    }

    /// The value of a scale, or of what it is made of, where no scale is rounded. What is detached and not the author's
    /// is a scale.
    pub(crate) fn unrounded(&mut self, class: Id) -> ValueId {
        let class = self.terms.find(class);
        if let Some(value) = self.unrounded.get(&class) {
            return *value;
        }
        let term = &self.selection[&class];
        let data = &self.terms[class].data;
        let dtype = data.ty().map_or(DType::F32, |t| t.dtype);
        let value = match term.head {
            Head::Opaque(number) if self.terms.analysis.scales.contains(&number) => {
                let Op::Input { index } = *self.terms.analysis.opaque_op(number) else {
                    panic!("a carried scale is an input")
                };
                self.builder.detach(self.inputs[index as usize])
            }
            Head::Op(OpKind::Detach) if !self.origins.contains_key(&class) => {
                let mut scale = self.unrounded(term.children[0]);
                if data.range.low < LOWEST {
                    let lowest = self.builder.constant(LOWEST, dtype);
                    scale = self.builder.max(scale, lowest);
                }
                self.builder.detach(scale)
            }
            Head::Op(_) if !self.origins.contains_key(&class) => {
                let (op, count) = operation(self.terms, term).expect("a value is an operation");
                let operands: Vec<ValueId> =
                    term.children[count..].iter().map(|c| self.unrounded(*c)).collect();
                self.builder.push(op.into_owned(), &operands)
            }
            Head::Op(_) | Head::Opaque(_) | Head::Virtual(_) | Head::Leaf(_) => self.value(class),
        };
        self.unrounded.insert(class, value);
        value
    }

    /// `class - scale`: in a sum of gates and the scale that the loop carries, the two scales meet first.
    fn difference(&mut self, class: Id, scale: Id) -> ValueId {
        let term = &self.selection[&self.terms.find(class)];
        let raw = |c: Id| self.terms[c].data.growth.scale == Scale::Raw;
        if let (Head::Op(kind @ (OpKind::Add | OpKind::Sub)), [.., x, y]) =
            (&term.head, term.children.as_slice())
        {
            match (*kind, raw(*x), raw(*y)) {
                (OpKind::Add, false, true) => {
                    let (gate, rest) = (self.value(*x), self.difference(*y, scale));
                    return self.builder.add(gate, rest);
                }
                (OpKind::Add, true, false) => {
                    let (gate, rest) = (self.value(*y), self.difference(*x, scale));
                    return self.builder.add(gate, rest);
                }
                (OpKind::Sub, true, false) => {
                    let (gate, rest) = (self.value(*y), self.difference(*x, scale));
                    return self.builder.sub(rest, gate);
                }
                _ => {}
            }
        }
        let (a, m) = (self.value(class), self.value(scale));
        self.builder.sub(a, m)
    }

    /// A value that is positive as a real number, never so small that a cotangent divided by it overflows.
    fn at_least_tiny(&mut self, class: Id) -> ValueId {
        let value = self.value(class);
        let fact = &self.terms[class].data;
        if !fact.range.positive || fact.constant.is_some() {
            return value;
        }
        let dtype = self.builder.ty(value).dtype;
        let tiny = if dtype == DType::F64 { TINY_DOUBLE } else { TINY };
        let tiny = self.builder.constant(tiny, dtype);
        self.builder.max(value, tiny)
    }
}
