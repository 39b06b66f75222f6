//! Patterns of rules: as read, and compiled for e-matching.

use crate::forms::functions::{Function, LineFunction};
use crate::language::{Children, Head, Leaf, Term, Virtual, is_commutative};
use carousel_ir::{Class, DType, Number, OpKind};
use egg::{ENodeOrVar, Id, Pattern, RecExpr, Var};
use std::collections::BTreeMap;

/// One side of a rule.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Expr {
    /// `?x`.
    Variable(Var),
    /// A scalar constant; on the left of any dtype, on the right of the dtype of the value that is rewritten.
    Number(Number),
    /// A truth value.
    Truth(bool),
    /// An operation: attributes, then operands.
    Op(OpKind, Vec<Expr>),
    /// A virtual operation.
    Virtual(Virtual, Vec<Expr>),
    /// An attribute that is computed from axes.
    Axes(AxisFunction, Vec<Expr>),
    /// An attribute that is computed from a line.
    Line(LineFunction, Box<Expr>),
    /// A value that a function of the forms makes, of a line or of axes, and of values.
    Function(Function, Option<Box<Expr>>, Vec<Expr>),
    /// The number of elements that axes have.
    Count(Box<Expr>),
    /// An attribute as written.
    Leaf(Leaf),
}

/// How axes are computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AxisFunction {
    /// Those of either.
    Union,
    /// Those of the first that the second lacks.
    Minus,
    /// Those of both.
    Meet,
    /// The first, with the second replaced by the third.
    Replace,
    /// Those of the first that the second lacks, but for those along which everything matters.
    Coarse,
}

impl AxisFunction {
    /// All, with their names and arities.
    pub(crate) const ALL: [(&'static str, AxisFunction, usize); 5] = [
        ("union", AxisFunction::Union, 2),
        ("minus", AxisFunction::Minus, 2),
        ("meet", AxisFunction::Meet, 2),
        ("replace", AxisFunction::Replace, 3),
        ("coarse", AxisFunction::Coarse, 2),
    ];
}

/// What a variable stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hole {
    /// The attribute of that place of that kind of operation.
    Attribute(OpKind, usize),
    /// A value.
    Value,
    /// A value that is a truth value.
    Condition,
}

/// The variables of a left-hand side, and what they stand for; `Err` with one that stands for two things.
pub(crate) fn holes(left: &Expr) -> Result<BTreeMap<String, Hole>, String> {
    fn walk(expr: &Expr, hole: Hole, found: &mut BTreeMap<String, Hole>) -> Result<(), String> {
        match expr {
            Expr::Variable(var) => {
                let name = var.to_string();
                let attribute = |h: Hole| matches!(h, Hole::Attribute(..));
                let known = *found.entry(name.clone()).or_insert(hole);
                if attribute(known) != attribute(hole) { Err(name) } else { Ok(()) }
            }
            Expr::Op(kind, children) => {
                let attributes = crate::language::attribute_count(*kind).unwrap_or(0);
                children.iter().enumerate().try_for_each(|(place, child)| {
                    let truth = matches!(kind, OpKind::Not | OpKind::And | OpKind::Or)
                        || (*kind == OpKind::Select && place == 0);
                    let hole = match (place < attributes, truth) {
                        (true, _) => Hole::Attribute(*kind, place),
                        (false, true) => Hole::Condition,
                        // Views have the dtype of their operand.
                        (false, false) if kind.class() == Class::View => hole,
                        (false, false) => Hole::Value,
                    };
                    walk(child, hole, found)
                })
            }
            Expr::Virtual(_, children) => children.iter().try_for_each(|c| walk(c, Hole::Value, found)),
            Expr::Number(_)
            | Expr::Truth(_)
            | Expr::Leaf(_)
            | Expr::Axes(..)
            | Expr::Line(..)
            | Expr::Function(..)
            | Expr::Count(_) => Ok(()),
        }
    }
    let mut found = BTreeMap::new();
    walk(left, Hole::Value, &mut found).map(|()| found)
}

impl Expr {
    /// All variables.
    pub(crate) fn variables(&self, found: &mut Vec<Var>) {
        match self {
            Expr::Variable(var) => {
                if !found.contains(var) {
                    found.push(*var);
                }
            }
            Expr::Op(_, children) | Expr::Virtual(_, children) | Expr::Axes(_, children) => {
                children.iter().for_each(|c| c.variables(found));
            }
            Expr::Count(one) | Expr::Line(_, one) => one.variables(found),
            Expr::Function(_, line, operands) => {
                line.iter().for_each(|l| l.variables(found));
                operands.iter().for_each(|o| o.variables(found));
            }
            Expr::Number(_) | Expr::Truth(_) | Expr::Leaf(_) => {}
        }
    }

    /// Whether `test` holds for it or for a part of it.
    pub(crate) fn any(&self, test: &dyn Fn(&Expr) -> bool) -> bool {
        test(self)
            || match self {
                Expr::Op(_, children) | Expr::Virtual(_, children) | Expr::Axes(_, children) => {
                    children.iter().any(|c| c.any(test))
                }
                Expr::Count(one) | Expr::Line(_, one) => one.any(test),
                Expr::Function(_, line, operands) => {
                    line.iter().any(|l| l.any(test)) || operands.iter().any(|o| o.any(test))
                }
                Expr::Variable(_) | Expr::Number(_) | Expr::Truth(_) | Expr::Leaf(_) => false,
            }
    }

    /// How many edges it goes down.
    pub(crate) fn height(&self) -> usize {
        match self {
            Expr::Op(_, children) | Expr::Virtual(_, children) => {
                children.iter().map(|c| c.height() + 1).max().unwrap_or(0)
            }
            // Its number and its dtype.
            Expr::Number(_) | Expr::Truth(_) => 1,
            Expr::Variable(_)
            | Expr::Axes(..)
            | Expr::Line(..)
            | Expr::Function(..)
            | Expr::Count(_)
            | Expr::Leaf(_) => 0,
        }
    }

    /// This pattern with the operands of commutative operations in every order.
    fn orders(&self) -> Vec<Expr> {
        let (head, children) = match self {
            Expr::Op(kind, children) => (Ok(*kind), children),
            Expr::Virtual(what, children) => (Err(*what), children),
            Expr::Variable(_)
            | Expr::Number(_)
            | Expr::Truth(_)
            | Expr::Axes(..)
            | Expr::Line(..)
            | Expr::Function(..)
            | Expr::Count(_)
            | Expr::Leaf(_) => return vec![self.clone()],
        };
        let again = |list: Vec<Expr>| match head {
            Ok(kind) => Expr::Op(kind, list),
            Err(what) => Expr::Virtual(what, list),
        };
        let mut lists: Vec<Vec<Expr>> = vec![Vec::new()];
        for child in children {
            let orders = child.orders();
            let extended = lists.iter().flat_map(|list| {
                orders.iter().map(|o| list.iter().cloned().chain([o.clone()]).collect::<Vec<_>>())
            });
            lists = extended.collect();
        }
        let mut all = Vec::new();
        for list in lists {
            let mut swapped = list.clone();
            if head.is_ok_and(is_commutative) {
                let last = swapped.len() - 1;
                swapped.swap(last - 1, last);
            }
            for candidate in [again(list), again(swapped)] {
                if !all.contains(&candidate) {
                    all.push(candidate);
                }
            }
        }
        all
    }

    /// The patterns to search for: one for each order of commutative operands.
    pub(crate) fn compile(&self) -> Vec<Pattern<Term>> {
        self.orders()
            .iter()
            .map(|expr| {
                let mut flat = RecExpr::default();
                expr.flatten(&mut flat);
                Pattern::new(flat)
            })
            .collect()
    }

    fn flatten(&self, flat: &mut RecExpr<ENodeOrVar<Term>>) -> Id {
        let leaf = |flat: &mut RecExpr<_>, leaf: Leaf| flat.add(ENodeOrVar::ENode(leaf.term()));
        match self {
            Expr::Variable(var) => flat.add(ENodeOrVar::Var(*var)),
            Expr::Leaf(l) => leaf(flat, l.clone()),
            Expr::Number(value) => {
                // A variable of its own: the constants of one pattern need not have one dtype.
                let dtype: Var = format!("?dtype.{}", flat.len()).parse().expect("it starts with ?");
                let children: Children = [leaf(flat, Leaf::Number(*value)), flat.add(ENodeOrVar::Var(dtype))]
                    .into_iter()
                    .collect();
                flat.add(ENodeOrVar::ENode(Term { head: Head::Op(OpKind::Const), children }))
            }
            Expr::Truth(value) => {
                let number = Leaf::Number(Number::new(f64::from(u8::from(*value))));
                let children: Children =
                    [leaf(flat, number), leaf(flat, Leaf::DType(DType::Bool))].into_iter().collect();
                flat.add(ENodeOrVar::ENode(Term { head: Head::Op(OpKind::Const), children }))
            }
            Expr::Op(kind, children) => {
                let children: Children = children.iter().map(|c| c.flatten(flat)).collect();
                flat.add(ENodeOrVar::ENode(Term { head: Head::Op(*kind), children }))
            }
            Expr::Virtual(what, children) => {
                let children: Children = children.iter().map(|c| c.flatten(flat)).collect();
                flat.add(ENodeOrVar::ENode(Term { head: Head::Virtual(*what), children }))
            }
            Expr::Axes(..) | Expr::Line(..) | Expr::Function(..) | Expr::Count(_) => {
                unreachable!("what is computed stands on the right only")
            }
        }
    }
}
