//! Many small products side by side, such as the blocks of a block-diagonal matrix.
//!
//! Blocks lie side by side in the rows that are read and written, and one block is a small part of a row. So a few rows
//! are taken through all blocks before the next ones: block after block would fetch every row once for each of them.
//! Invariant: each element is summed over `k` in ascending order, in pieces that depend on shapes alone.

use super::{Product, View, small};
use crate::runtime::isa::for_every_isa;
use crate::runtime::simd::Registers;
use std::cell::RefCell;

/// Rows that go through all blocks.
const PIECE: usize = 32;
/// Elements of the largest matrix that belongs to a block alone.
const LARGEST: usize = 256;

thread_local! {
    /// Matrices with contiguous rows.
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Products of one shape: `count` of them, each so many elements behind the one before.
#[derive(Clone, Copy)]
pub(super) struct Batch {
    pub(super) first: Product,
    pub(super) count: usize,
    pub(super) c: isize,
    pub(super) a: isize,
    pub(super) b: isize,
}

impl Batch {
    /// The same products as `c' = alpha c' + beta b' a'`.
    pub(super) fn transposed(self) -> Batch {
        Batch { first: self.first.transposed(), a: self.b, b: self.a, ..self }
    }

    /// One of the products.
    #[inline(always)]
    pub(super) fn item(&self, number: usize) -> Product {
        let number = number as isize;
        let (p, along) = (self.first, |step: isize| step.wrapping_mul(number));
        Product {
            c: View { data: p.c.data.wrapping_offset(along(self.c)), ..p.c },
            a: View { data: p.a.data.wrapping_offset(along(self.a)), ..p.a },
            b: View { data: p.b.data.wrapping_offset(along(self.b)), ..p.b },
            ..p
        }
    }
}

/// Whether this is the way: contiguous rows of results, and many rows that are read once by small matrices.
#[inline(always)]
pub(super) fn suits(batch: &Batch) -> bool {
    let p = &batch.first;
    let [own, rows] =
        if is_long(p) { [p.n.saturating_mul(p.k), p.m] } else { [p.m.saturating_mul(p.n), p.k] };
    p.c.columns == 1 && own <= LARGEST && rows >= PIECE && (is_long(p) || p.b.columns == 1)
}

/// Whether the rows of `a` are many, not those of `b`.
#[inline(always)]
fn is_long(p: &Product) -> bool {
    p.m >= p.k
}

for_every_isa!(
    /// All products.
    kernel(batch: *const Batch) = multiply[]
);

#[inline(always)]
// SAFETY (for callers): `batch` points to products that keep the contract at the top of `matrix`.
unsafe fn multiply<R: Registers>(batch: *const Batch) {
    // SAFETY: the caller's.
    let mut batch = unsafe { *batch };
    let p = batch.first;
    let rows = if is_long(&p) { p.m } else { p.k };
    let mut packed = PACKED.take();
    if p.b.columns != 1 {
        // SAFETY: the caller's matrices.
        unsafe { pack(&batch, &mut packed) };
        batch.b = (p.n * p.k) as isize;
        batch.first.b = View { data: packed.as_ptr(), rows: p.n as isize, columns: 1 };
    }
    for first in (0..rows).step_by(PIECE) {
        let (piece, at) = ((rows - first).min(PIECE), first as isize);
        for number in 0..batch.count {
            let p = batch.item(number);
            let part = if is_long(&p) {
                let c = View { data: p.c.data.wrapping_offset(at * p.c.rows), ..p.c };
                Product { m: piece, c, a: View { data: p.a.data.wrapping_offset(at * p.a.rows), ..p.a }, ..p }
            } else {
                let a = View { data: p.a.data.wrapping_offset(at * p.a.columns), ..p.a };
                let b = View { data: p.b.data.wrapping_offset(at * p.b.rows), ..p.b };
                Product { k: piece, a, b, alpha: if first == 0 { p.alpha } else { 1.0 }, ..p }
            };
            // SAFETY: a part of one of the caller's products.
            unsafe { small::multiply::<R>(&part) };
        }
    }
    PACKED.set(packed);
}

/// The matrices `b` one behind the other, rows contiguous.
#[inline(always)]
// SAFETY (for callers): as for all products.
unsafe fn pack(batch: &Batch, to: &mut Vec<f32>) {
    to.clear();
    for number in 0..batch.count {
        let p = batch.item(number);
        for row in 0..p.k as isize {
            for column in 0..p.n as isize {
                // SAFETY: an element of the matrix.
                to.push(unsafe { *p.b.data.wrapping_offset(row * p.b.rows + column * p.b.columns) });
            }
        }
    }
}
