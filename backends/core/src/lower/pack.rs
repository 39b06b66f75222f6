//! Weights of a recurrent loop in the order in which products read them.
//!
//! A product in a loop may multiply by a matrix that the loop does not change and that lies transposed in memory, or is
//! stored in fewer bits; or the memory of the point is closer than all other. Such a matrix is copied once, before the loop, into scratch memory of the grid point, rows
//! contiguous, in the product's dtype: there it stays in cache for all steps, and the product needs no rearranging and no
//! conversion at each of them. Results do not change.

use super::Context;
use super::builder::KernelBuilder;
use super::region::loaded;
use super::statement::Site;
use super::view::{Label, Storage, Whereabouts};
use crate::Target;
use crate::kernel::{Atom, BufferId, Dim, Expr, Extent, Linear, Loop, Matrix, Region, Statement, Store, Var};
use carousel_ir::{DType, Size};
use std::collections::HashSet;

/// Copies what the products of a loop's body read transposed at every step; the copies go to `before`.
pub(crate) fn pack(
    cx: &mut Context<'_>,
    kernel: &mut KernelBuilder,
    site: &Site,
    before: &mut Vec<Statement>,
    body: &mut [Statement],
) {
    let mut written = HashSet::new();
    body.iter().for_each(|s| {
        s.visit_writes(&mut |b| {
            written.insert(b);
        })
    });
    let fixed: HashSet<Var> = site.grid.iter().flat_map(|(_, index)| vars(index)).collect();
    let mut packing = Packing { written, fixed, done: Vec::new() };
    packing.statements(cx, kernel, before, body);
}

/// How many columns the products of loops have, if all have as many and it is known.
pub(crate) fn columns(statements: &[Statement]) -> Option<Dim> {
    let mut all = Vec::new();
    for statement in statements {
        let Statement::Loop { body, .. } = statement else { continue };
        all.extend(body.iter().filter_map(|statement| match statement {
            Statement::Product { n, .. } => Some(*n),
            Statement::Loop { .. }
            | Statement::Map { .. }
            | Statement::Reduce { .. }
            | Statement::Cumulative { .. }
            | Statement::ScatterAdd { .. } => None,
        }));
    }
    let (first, rest) = all.split_first()?;
    let Extent::Whole(columns @ Dim::Known(_)) = first else { return None };
    rest.iter().all(|other| other == first).then_some(*columns)
}

fn vars(linear: &Linear) -> Vec<Var> {
    let of = |atom: &Atom| match atom {
        Atom::Var(var) => Some(*var),
        Atom::One | Atom::Quotient(..) | Atom::Remainder(..) | Atom::Data { .. } => None,
    };
    linear.terms.iter().filter_map(|t| of(&t.atom)).collect()
}

struct Packing {
    /// What the loop changes.
    written: HashSet<BufferId>,
    /// Variables of the grid.
    fixed: HashSet<Var>,
    /// Matrices with their rows and columns, and the copies.
    done: Vec<(Matrix, Dim, Dim, Matrix)>,
}

impl Packing {
    fn statements(
        &mut self,
        cx: &mut Context<'_>,
        kernel: &mut KernelBuilder,
        before: &mut Vec<Statement>,
        body: &mut [Statement],
    ) {
        for statement in body {
            match statement {
                Statement::Loop { body, .. } => self.statements(cx, kernel, before, body),
                Statement::Product { n: Extent::Whole(n), k: Extent::Whole(k), b, dtype, .. }
                    if self.is_worth_it(cx.target, [*n, *k], b, stored_as(cx, kernel, b) != *dtype) =>
                {
                    let found =
                        self.done.iter().find(|(m, rows, columns, _)| (m, rows, columns) == (&*b, k, n));
                    let copy = match found {
                        Some((.., copy)) => copy.clone(),
                        None => {
                            let copy = copy(cx, kernel, before, b, [*k, *n], *dtype);
                            self.done.push((b.clone(), *k, *n, copy.clone()));
                            copy
                        }
                    };
                    *b = copy;
                }
                Statement::Product { .. }
                | Statement::Map { .. }
                | Statement::Reduce { .. }
                | Statement::Cumulative { .. }
                | Statement::ScatterAdd { .. } => {}
            }
        }
    }

    fn is_worth_it(&self, target: &Target, [n, k]: [Dim; 2], b: &Matrix, is_narrower: bool) -> bool {
        let is_fixed = |atom: &Atom| match atom {
            Atom::One => true,
            Atom::Var(var) => self.fixed.contains(var),
            Atom::Quotient(..) | Atom::Remainder(..) | Atom::Data { .. } => false,
        };
        let is_kept = target.keeps_factors && matches!([n, k], [Dim::Known(_), Dim::Known(_)]);
        ((b.column != Dim::Known(1) && b.row == Dim::Known(1)) || is_narrower || is_kept)
            && n != Dim::Known(1)
            && !self.written.contains(&b.buffer)
            && b.base.terms.iter().all(|t| is_fixed(&t.atom))
    }
}

/// What a matrix is stored as.
fn stored_as(cx: &Context<'_>, kernel: &KernelBuilder, matrix: &Matrix) -> DType {
    cx.storages[kernel.storage_of(matrix.buffer).0 as usize].dtype
}

/// A copy of a matrix in scratch memory, and the statement that makes it.
fn copy(
    cx: &mut Context<'_>,
    kernel: &mut KernelBuilder,
    before: &mut Vec<Statement>,
    from: &Matrix,
    [rows, columns]: [Dim; 2],
    dtype: DType,
) -> Matrix {
    let (height, width) = (kernel.size(rows), kernel.size(columns));
    let storage = kernel.storage_of(from.buffer);
    let (stored, label) = {
        let Storage { dtype, label, .. } = &cx.storages[storage.0 as usize];
        (*dtype, Label { name: format!("{}.packed", label.name), span: label.span })
    };
    let elements = Size::product([height, width]);
    let packed = cx.storage(dtype, elements, Whereabouts::Scratch, label);
    let to =
        Matrix { buffer: kernel.buffer(packed), base: Linear::zero(), row: columns, column: Dim::Known(1) };
    let (row, column) = (kernel.var(), kernel.var());
    let element = |matrix: &Matrix| {
        let mut index = matrix.base.clone();
        index.add_term(1, matrix.row, Atom::Var(row));
        index.add_term(1, matrix.column, Atom::Var(column));
        super::builder::canonical(&mut index);
        index
    };
    let mut region = Region::default();
    let load = Expr::Load { buffer: from.buffer, index: element(from), guards: Vec::new() };
    let value = loaded(&mut region, load, stored, dtype);
    let stores = vec![Store { buffer: to.buffer, index: element(&to), value }];
    let loops = vec![
        Loop { var: row, extent: Extent::Whole(rows) },
        Loop { var: column, extent: Extent::Whole(columns) },
    ];
    before.push(Statement::Map { loops, region, stores });
    to
}
