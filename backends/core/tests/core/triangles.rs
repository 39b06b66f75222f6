//! Products with half of a matrix: found from masks, and right when only that half is computed.

use crate::support::{agree_at, functions, module};
use carousel_core::kernel::{Factor, Statement, Triangle};
use carousel_ir::{Axes, Builder, DType, FunctionId, Module, Size, ValueId};

const F: DType = DType::F32;

/// `y[i] = sum over j of mask(i, j) (q[i] k[j]) v[j]`, and what `more` makes of the masked matrix; `mask` gives the places
/// that count.
fn attention(
    mask: impl Fn(&mut Builder<'_>, ValueId, ValueId) -> ValueId,
    more: impl Fn(&mut Builder<'_>, ValueId) -> Option<ValueId>,
) -> (Module, FunctionId) {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let [i, j] = ["i", "j"].map(|name| b.axis(name, Size::Known(7)));
    let [d, e] = [("d", 5), ("e", 6)].map(|(name, size)| b.axis(name, Size::Known(size)));
    let (q, k, v) = (b.argument("q", F, &[i, d]), b.argument("k", F, &[j, d]), b.argument("v", F, &[j, e]));
    let scores = b.dot(q, k, Axes::new([d]));
    let (row, column) = (b.iota(i), b.iota(j));
    let counts = mask(&mut b, row, column);
    let zero = b.constant(0.0, F);
    let masked = b.select(counts, scores, zero);
    let y = b.dot(masked, v, Axes::new([j]));
    b.output("y", y);
    if let Some(value) = more(&mut b, scores) {
        b.output("more", value);
    }
    module(b)
}

/// The triangles of the program's products.
fn triangles((module, root): &(Module, FunctionId)) -> Vec<Option<Triangle>> {
    fn visit(body: &[Statement], found: &mut Vec<Option<Triangle>>) {
        for statement in body {
            match statement {
                Statement::Loop { body, .. } => visit(body, found),
                Statement::Product { triangle, .. } => found.push(*triangle),
                Statement::Map { .. }
                | Statement::Reduce { .. }
                | Statement::Cumulative { .. }
                | Statement::ScatterAdd { .. } => {}
            }
        }
    }
    agree_at(module, *root, &[], &[[]]);
    let mut found = Vec::new();
    functions(module, *root).kernels.iter().for_each(|kernel| visit(&kernel.body, &mut found));
    found
}

#[test]
fn what_came_before_makes_lower_triangles() {
    let masks: [fn(&mut Builder<'_>, ValueId, ValueId) -> ValueId; 3] = [
        |b, row, column| b.le(column, row),
        |b, row, column| {
            let later = b.lt(row, column);
            b.not(later)
        },
        |b, row, column| {
            let (before, five) = (b.lt(column, row), b.constant(5.0, DType::I32));
            let few = b.lt(column, five);
            b.and(before, few)
        },
    ];
    for mask in masks {
        let found = triangles(&attention(mask, |_, _| None));
        let expected = [(Factor::C, true), (Factor::A, true)]
            .map(|(factor, is_lower)| Some(Triangle { factor, is_lower }));
        assert_eq!(found, expected);
    }
}

#[test]
fn what_comes_later_makes_upper_triangles() {
    let found = triangles(&attention(|b, row, column| b.le(row, column), |_, _| None));
    assert!(found.iter().all(|t| t.is_some_and(|t| !t.is_lower)), "{found:?}");
}

#[test]
fn what_is_needed_elsewhere_is_computed_whole() {
    let found = triangles(&attention(|b, row, column| b.le(column, row), |b, scores| Some(b.exp(scores))));
    assert_eq!(found[0], None);
    assert!(found[1].is_some());
}

#[test]
fn either_one_or_the_other_is_no_triangle() {
    let found = triangles(&attention(
        |b, row, column| {
            let (before, after) = (b.lt(column, row), b.lt(row, column));
            b.or(before, after)
        },
        |_, _| None,
    ));
    assert_eq!(found, [None, None]);
}
