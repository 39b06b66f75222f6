//! Offsets, guards and sizes as C++ expressions of 64-bit integers.

use carousel_core::kernel::{Atom, Dim, ExprId, Guard, Linear, Term, Var};

/// A size.
pub(super) fn dim(dim: Dim) -> String {
    match dim {
        Dim::Known(n) => n.to_string(),
        Dim::Argument(number) => format!("d{number}"),
    }
}

/// The value of an expression of the region.
pub(super) fn value(id: ExprId) -> String {
    format!("v{}", id.0)
}

/// An offset.
pub(super) fn linear(linear: &Linear) -> String {
    sum(linear, None)
}

/// An offset where a variable, which is in terms of its own, has another name.
pub(super) fn linear_at(linear: &Linear, var: Var, name: &str) -> String {
    sum(linear, Some((var, name)))
}

fn sum(linear: &Linear, renamed: Option<(Var, &str)>) -> String {
    let mut text = String::new();
    for term in &linear.terms {
        let own = self::term(term, renamed);
        match (text.is_empty(), term.coefficient < 0) {
            (true, false) => {}
            (true, true) => text += "-",
            (false, false) => text += " + ",
            (false, true) => text += " - ",
        }
        text += &own;
    }
    if text.is_empty() { "0".to_string() } else { text }
}

/// A term without its sign.
fn term(term: &Term, renamed: Option<(Var, &str)>) -> String {
    let mut factors = Vec::new();
    let is_one = |factor: &str| factor == "1";
    factors.push(term.coefficient.unsigned_abs().to_string());
    factors.push(dim(term.dim));
    match &term.atom {
        Atom::One => {}
        Atom::Var(var) => factors.push(match renamed {
            Some((old, name)) if old == *var => name.to_string(),
            Some(_) | None => format!("x{}", var.0),
        }),
        Atom::Quotient(inside, by) => factors.push(format!("quotient({}, {})", linear(inside), dim(*by))),
        Atom::Remainder(inside, by) => factors.push(format!("remainder({}, {})", linear(inside), dim(*by))),
        Atom::Data { value: id, bound } => {
            factors.push(format!("checked_index({}, {}, status)", value(*id), dim(*bound)));
        }
    }
    factors.retain(|factor| !is_one(factor));
    // All arithmetic is in 64 bits: a constant alone says so.
    if factors.is_empty() { "1".to_string() } else { factors.join(" * ") }
}

/// Whether a guard holds.
pub(super) fn guard(guard: &Guard) -> String {
    format!("inside({}, {})", linear(&guard.index), dim(guard.bound))
}
