//! What stabilisation knows of a value: whether it may grow like an exponential, and whether it is a scale.
//!
//! A fact is fixed by the terms of a class: on a merge what is better for the value stays, so that conditions of
//! rules only ever become true. Nothing here says how large a value is; that is its interval.

use crate::analysis::Terms;
use crate::interval::Interval;
use crate::language::{Head, Term, Virtual};
use carousel_ir::{Class, OpKind};
use egg::Id;

/// Whether a value grows like the exponential of something unbounded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Reach {
    /// It does not.
    Plain,
    /// It is made from one that does, but a quotient or a bounded function stands between.
    Maybe,
    /// It does.
    Scaled,
}

/// Whether a value is made from the scale of a state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Scale {
    /// It is not.
    None,
    /// As the loop carries it, or with gates added: no maximum was taken.
    Raw,
    /// A maximum was taken.
    Settled,
}

/// All of that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Growth {
    pub(crate) size: Reach,
    pub(crate) scale: Scale,
    /// Whether it depends on an input.
    pub(crate) varies: bool,
    /// Whether a factor of it is an exponential or a sigmoid that varies: the rules give it a scale, however bounded it is.
    pub(crate) gated: bool,
    /// Whether a state with a scale is in it.
    pub(crate) remembers: bool,
    /// Whether no gradient flows through it, for all that it is made of is detached or constant.
    pub(crate) frozen: bool,
}

/// Arguments of an exponential up to here are taken as safe in every float type.
const SAFE: f64 = 80.0;

/// Whether `exp` of such a value may overflow.
pub(crate) fn exponential_overflows(range: Interval) -> bool {
    range.high > SAFE
}

impl Growth {
    /// Of an attribute.
    pub(crate) fn of_attribute() -> Growth {
        Growth {
            size: Reach::Plain,
            scale: Scale::None,
            varies: false,
            gated: false,
            remembers: false,
            frozen: true,
        }
    }

    /// Of a term.
    pub(crate) fn of(terms: &Terms, term: &Term) -> Growth {
        let children: Vec<Growth> = term.children.iter().map(|c| terms[*c].data.growth).collect();
        let largest = children.iter().map(|g| g.size).max().unwrap_or(Reach::Plain);
        let scale = children.iter().map(|g| g.scale).max().unwrap_or(Scale::None);
        let varies = children.iter().any(|g| g.varies);
        let frozen = children.iter().all(|g| g.frozen);
        let behind = largest.min(Reach::Maybe);
        let remembers = remembers(terms, term, &children);
        let gated = !remembers && is_gated(terms, term, varies && scale == Scale::None);
        match term.head {
            Head::Leaf(_) => Growth::of_attribute(),
            Head::Virtual(Virtual::Scaled) => {
                Growth { size: Reach::Scaled, scale: Scale::None, varies, gated, remembers, frozen }
            }
            Head::Virtual(Virtual::Gexp) => {
                Growth { size: Reach::Plain, scale: Scale::None, varies, gated, remembers, frozen }
            }
            Head::Opaque(number) => {
                let is_scale = terms.analysis.scales.contains(&number);
                let scale = if is_scale { Scale::Raw } else { Scale::None };
                Growth { size: behind, scale, varies: true, gated, remembers, frozen: is_scale }
            }
            Head::Op(OpKind::Detach) => {
                let settled = if scale == Scale::None { Scale::None } else { Scale::Settled };
                Growth { size: largest, scale: settled, varies, gated, remembers, frozen: true }
            }
            Head::Op(kind) => Growth {
                size: reach(terms, kind, &term.children, behind),
                scale,
                varies,
                gated,
                remembers,
                frozen,
            },
        }
    }

    /// Of a class that has terms with either.
    pub(crate) fn meet(self, other: Growth) -> Growth {
        Growth {
            size: self.size.min(other.size),
            scale: self.scale.min(other.scale),
            varies: self.varies && other.varies,
            gated: self.gated && other.gated,
            remembers: self.remembers && other.remembers,
            frozen: self.frozen || other.frozen,
        }
    }
}

/// Whether a state with a scale is in a term.
fn remembers(terms: &Terms, term: &Term, children: &[Growth]) -> bool {
    let is_carried = term.head == Head::Virtual(Virtual::Scaled)
        && terms[term.children[1]].data.growth.scale != Scale::None;
    is_carried || children.iter().any(|g| g.remembers)
}

/// Whether the rules find a scale for a term by its gates alone; an exponential that varies is a gate.
fn is_gated(terms: &Terms, term: &Term, varies: bool) -> bool {
    let gated = |class: &Id| terms[*class].data.growth.gated;
    let is_zero = |class: &Id| terms[*class].data.constant.is_some_and(|n| n.get() == 0.0);
    let children = &term.children;
    match term.head {
        Head::Op(OpKind::Exp | OpKind::Sigmoid) => varies,
        Head::Op(OpKind::Neg | OpKind::Abs | OpKind::Sqrt) => gated(&children[0]),
        Head::Op(OpKind::Mul | OpKind::Div) => children.iter().any(gated),
        Head::Op(OpKind::Sum | OpKind::Dot | OpKind::ReduceMax | OpKind::Broadcast) => {
            children[1..].iter().any(gated)
        }
        Head::Op(OpKind::Rename) => gated(&children[2]),
        Head::Op(OpKind::Add | OpKind::Sub | OpKind::Min | OpKind::Max) => children.iter().all(gated),
        Head::Op(OpKind::Select) => {
            let values = &children[1..];
            values.iter().all(|v| gated(v) || is_zero(v)) && values.iter().any(gated)
        }
        Head::Virtual(Virtual::Scaled) => gated(&children[0]) || terms[children[1]].data.growth.varies,
        Head::Op(_) | Head::Opaque(_) | Head::Virtual(Virtual::Gexp) | Head::Leaf(_) => false,
    }
}

fn reach(terms: &Terms, kind: OpKind, children: &[Id], behind: Reach) -> Reach {
    let size = |place: usize| terms[children[place]].data.growth.size;
    let largest = || (0..children.len()).map(size).max().unwrap_or(Reach::Plain);
    if kind == OpKind::Exp && exponential_overflows(terms[children[0]].data.range) {
        return Reach::Scaled;
    }
    if kind == OpKind::Div && size(1) == Reach::Plain {
        return size(0);
    }
    if keeps_scale(kind) { largest() } else { behind }
}

/// Whether what comes out has the size of what went in.
pub(crate) fn keeps_scale(kind: OpKind) -> bool {
    let is_linear = [
        OpKind::Neg,
        OpKind::Abs,
        OpKind::Sqrt,
        OpKind::Add,
        OpKind::Sub,
        OpKind::Mul,
        OpKind::Min,
        OpKind::Max,
        OpKind::Select,
        OpKind::Cast,
        OpKind::Detach,
    ]
    .contains(&kind);
    is_linear || matches!(kind.class(), Class::View | Class::Reduce | Class::Cumulative)
}
