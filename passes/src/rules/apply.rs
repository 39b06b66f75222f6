//! Applying a rule to a match: conditions, the right-hand side, its type, the union.

use super::Rule;
use super::condition::axes_of;
use super::pattern::{AxisFunction, Expr};
use crate::analysis::{Terms, add_broadcast, add_constant, add_op, add_virtual};
use crate::forms::functions;
use crate::language::{Leaf, Term, attribute_count, leaves};
use carousel_ir::{Axes, Axis, DType, Line, Number, Op, OpKind, Type};
use egg::{Id, Subst};

/// Applies `rule` where it matched. If two classes became one: the terms of the right-hand side, where instances are
/// recorded.
pub(crate) fn apply(terms: &mut Terms, rule: &Rule, class: Id, subst: &Subst) -> Option<Vec<Term>> {
    if !rule.conditions.iter().all(|c| c.holds(terms, subst)) {
        return None;
    }
    let ty = terms[class].data.ty()?.clone();
    let right = value(terms, &rule.right, subst, &ty)?;
    let right = add_broadcast(terms, right, &ty.axes)?;
    if terms[right].data.ty() != Some(&ty) {
        return None;
    }
    let made = if terms.analysis.instances.is_some() { terms[right].nodes.clone() } else { Vec::new() };
    terms.union(class, right).then_some(made)
}

/// The class of a side that is a value; `None` if it is ill-typed.
pub(crate) fn value(terms: &mut Terms, expr: &Expr, subst: &Subst, root: &Type) -> Option<Id> {
    match expr {
        Expr::Variable(var) => Some(subst[*var]),
        Expr::Number(number) => Some(add_constant(terms, *number, root.dtype)),
        Expr::Truth(truth) => {
            Some(add_constant(terms, Number::new(f64::from(u8::from(*truth))), DType::Bool))
        }
        Expr::Count(axes) => {
            let axes = axes_attribute(terms, axes, subst)?;
            count(terms, &axes, root.dtype)
        }
        Expr::Op(kind, children) => {
            let (attributes, operands) = children.split_at(attribute_count(*kind)?);
            let leaves: Option<Vec<Leaf>> = attributes
                .iter()
                .enumerate()
                .map(|(place, a)| leaf(terms, a, subst).map(|l| l.fitting(*kind, place)))
                .collect();
            let operands: Option<Vec<Id>> = operands.iter().map(|o| value(terms, o, subst, root)).collect();
            operation(terms, *kind, leaves?, &operands?)
        }
        Expr::Virtual(what, operands) => {
            let operands: Option<Vec<Id>> = operands.iter().map(|o| value(terms, o, subst, root)).collect();
            add_virtual(terms, *what, &operands?)
        }
        Expr::Function(function, line, operands) => {
            let line = match line {
                Some(line) => Some(leaf(terms, line, subst)?),
                None => None,
            };
            let operands: Option<Vec<Id>> = operands.iter().map(|o| value(terms, o, subst, root)).collect();
            functions::value(terms, *function, line.as_ref(), &operands?)
        }
        Expr::Axes(..) | Expr::Line(..) | Expr::Leaf(_) => None,
    }
}

/// An operation; over no axes it is what is left of it.
fn operation(terms: &mut Terms, kind: OpKind, leaves: Vec<Leaf>, operands: &[Id]) -> Option<Id> {
    match (kind, leaves.as_slice()) {
        (OpKind::Sum | OpKind::ReduceMax | OpKind::Broadcast, [Leaf::Axes(axes)]) if axes.is_empty() => {
            Some(operands[0])
        }
        (OpKind::Dot, [Leaf::Axes(axes)]) if axes.is_empty() => {
            add_op(terms, OpKind::Mul, Vec::new(), operands)
        }
        (OpKind::Rename, [from, to]) if from == to => Some(operands[0]),
        _ => add_op(terms, kind, leaves, operands),
    }
}

/// The attribute that an expression stands for.
fn leaf(terms: &mut Terms, expr: &Expr, subst: &Subst) -> Option<Leaf> {
    match expr {
        Expr::Leaf(leaf) => Some(leaf.clone()),
        Expr::Number(number) => Some(Leaf::Number(*number)),
        Expr::Variable(var) => terms[subst[*var]].data.leaf.clone(),
        Expr::Axes(..) => axes_attribute(terms, expr, subst).map(Leaf::Axes),
        Expr::Line(function, line) => {
            let line = line_attribute(terms, line, subst)?;
            functions::attribute(terms, *function, &line)
        }
        Expr::Truth(_) | Expr::Op(..) | Expr::Virtual(..) | Expr::Function(..) | Expr::Count(_) => None,
    }
}

fn axes_attribute(terms: &mut Terms, expr: &Expr, subst: &Subst) -> Option<Vec<Axis>> {
    match expr {
        Expr::Variable(var) => axes_of(&terms[subst[*var]].data),
        Expr::Axes(function, arguments) => {
            let arguments: Option<Vec<Vec<Axis>>> =
                arguments.iter().map(|a| axes_attribute(terms, a, subst)).collect();
            compute(*function, &arguments?, &terms.analysis.fine)
        }
        Expr::Leaf(leaf) => leaf.axes(),
        Expr::Line(..) => leaf(terms, expr, subst)?.axes(),
        Expr::Number(_)
        | Expr::Truth(_)
        | Expr::Op(..)
        | Expr::Virtual(..)
        | Expr::Function(..)
        | Expr::Count(_) => None,
    }
}

fn line_attribute(terms: &mut Terms, expr: &Expr, subst: &Subst) -> Option<Line> {
    if let Leaf::Line(line) = leaf(terms, expr, subst)? { Some(line) } else { None }
}

fn compute(function: AxisFunction, arguments: &[Vec<Axis>], fine: &Axes) -> Option<Vec<Axis>> {
    let first = &arguments[0];
    let is_new = |a: &&Axis| !arguments[1].contains(a);
    Some(match function {
        AxisFunction::Union => {
            let fresh = arguments[1].iter().filter(|a| !first.contains(a));
            first.iter().chain(fresh).copied().collect()
        }
        AxisFunction::Minus => first.iter().filter(is_new).copied().collect(),
        AxisFunction::Coarse => {
            first.iter().filter(is_new).filter(|a| !fine.contains(**a)).copied().collect()
        }
        AxisFunction::Meet => first.iter().filter(|a| arguments[1].contains(a)).copied().collect(),
        AxisFunction::Replace => {
            let ([old], [new]) = (arguments[1].as_slice(), arguments[2].as_slice()) else { return None };
            let replaced: Vec<Axis> = first.iter().map(|a| if a == old { *new } else { *a }).collect();
            // Two axes that become one would be lost.
            (Axes::new(replaced.iter().copied()).len() == first.len()).then_some(replaced)?
        }
    })
}

/// The number of elements of `axes` as a scalar.
fn count(terms: &mut Terms, axes: &[Axis], dtype: DType) -> Option<Id> {
    if dtype == DType::Bool {
        return None;
    }
    let mut product = add_constant(terms, Number::new(1.0), dtype);
    for axis in axes {
        let size = Op::SizeOf { axis: *axis, dtype };
        let size = add_op(terms, OpKind::SizeOf, leaves(&size)?, &[])?;
        product = match terms[product].data.constant.map(Number::get) {
            Some(1.0) => size,
            _ => add_op(terms, OpKind::Mul, Vec::new(), &[product, size])?,
        };
    }
    Some(product)
}
