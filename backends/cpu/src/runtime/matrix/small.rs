//! Products so small that setting up a blocked one would cost more than the product.
//!
//! Invariant: every element is the sum over `k` in ascending order, whatever tile it falls into.

use super::Product;
use crate::runtime::isa::for_every_isa;
use crate::runtime::simd::{Registers, Vector, Wide};

/// Up to this many multiplications this way is the faster one.
const LARGEST: usize = 16384;
/// The same where rows of `b` or `c` are not contiguous, so that vectors cannot be used.
const LARGEST_STRIDED: usize = 512;

/// Whether a product is computed here. Where rows of `a` and columns of `b` are contiguous, the crate `gemm` has kernels
/// for small products that are better.
#[inline(always)]
pub(super) fn suits(p: &Product) -> bool {
    let work = p.m.saturating_mul(p.n).saturating_mul(p.k);
    let dots = p.a.columns == 1 && p.b.rows == 1;
    if contiguous(p) { work <= LARGEST } else { !dots && work <= LARGEST_STRIDED }
}

#[inline(always)]
fn contiguous(p: &Product) -> bool {
    p.b.columns == 1 && p.c.columns == 1
}

for_every_isa!(
    /// The whole product.
    kernel(product: *const Product) = multiply[]
);

/// Tiles of up to 4 rows by 32 columns.
#[inline(always)]
// SAFETY (for callers): `p` points to a product that keeps the contract at the top of `matrix`.
pub(super) unsafe fn multiply<R: Registers>(p: *const Product) {
    // SAFETY: the caller gives a product of his own.
    let p = unsafe { &*p };
    let mut column = 0;
    // SAFETY: each call stays within n columns.
    unsafe {
        if contiguous(p) {
            while R::WIDE_SUMS >= 4 && p.n - column >= 32 {
                columns::<Wide<R>>(p, column as isize);
                column += 32;
            }
            while p.n - column >= 16 {
                columns::<R::Sixteen>(p, column as isize);
                column += 16;
            }
            if p.n - column >= 8 {
                columns::<R::Eight>(p, column as isize);
                column += 8;
            }
            if p.n - column >= 4 {
                columns::<R::Four>(p, column as isize);
                column += 4;
            }
        }
        while column < p.n {
            columns::<R::One>(p, column as isize);
            column += 1;
        }
    }
}

#[inline(always)]
// SAFETY (for callers): as for the whole product; the part that is asked for must lie inside it.
unsafe fn columns<V: Vector>(p: &Product, column: isize) {
    let mut row = 0;
    // SAFETY: each call stays within m rows.
    unsafe {
        while p.m - row >= 4 {
            tile::<4, V>(p, row as isize, column);
            row += 4;
        }
        while row < p.m {
            tile::<1, V>(p, row as isize, column);
            row += 1;
        }
    }
}

#[inline(always)]
// SAFETY (for callers): as for the whole product; the part that is asked for must lie inside it.
unsafe fn tile<const ROWS: usize, V: Vector>(p: &Product, row: isize, column: isize) {
    let mut sums = [V::splat(0.0); ROWS];
    let mut a = p.a.data.wrapping_offset(row * p.a.rows);
    let mut b = p.b.data.wrapping_offset(column * p.b.columns);
    for _ in 0..p.k {
        // SAFETY: elements of the matrices; those of b are contiguous unless V is one lane.
        unsafe {
            let b = V::load(b);
            for r in 0..ROWS {
                sums[r] = V::splat(*a.wrapping_offset(r as isize * p.a.rows)).fma(b, sums[r]);
            }
        }
        a = a.wrapping_offset(p.a.columns);
        b = b.wrapping_offset(p.b.rows);
    }
    for r in 0..ROWS {
        // SAFETY: elements of the result, contiguous unless V is one lane.
        unsafe { p.finish::<V>(row + r as isize, column, sums[r]) };
    }
}
