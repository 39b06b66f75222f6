//! A few hundred rows times a matrix whose columns are contiguous, such as weights that are stored `[out][in]`.
//!
//! The matrix is transposed panel by panel into memory that the thread keeps, and each panel is multiplied as one that
//! stays in cache. `gemm` packs such a matrix element by element, which takes longer than multiplying it by so few rows.
//! Invariant: each element is summed over `k` in ascending order.

use super::{Product, View, resident};
use crate::runtime::isa::for_every_isa;
use crate::runtime::prefetch::Soon;
use crate::runtime::simd::Registers;
use std::cell::RefCell;

/// Columns and depth of a panel: 128 KiB, which stay in the second-level cache.
const PANEL: [usize; 2] = [64, 512];
/// Elements along each side of what is transposed at once.
const SQUARE: usize = 16;

thread_local! {
    /// A transposed panel.
    static TRANSPOSED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Whether this is the way: with more rows, packing by `gemm` is a small part of the work; with fewer or shorter columns
/// it is the same.
#[inline(always)]
pub(super) fn suits(p: &Product) -> bool {
    p.c.columns == 1 && p.b.rows == 1 && p.k >= 64 && p.n >= PANEL[0] && (17..=256).contains(&p.m)
}

for_every_isa!(
    /// The whole product.
    kernel(product: *const Product) = multiply[]
);

#[inline(always)]
// SAFETY (for callers): `p` points to a product that keeps the contract at the top of `matrix`.
unsafe fn multiply<R: Registers>(p: *const Product) {
    // SAFETY: the caller gives a product of his own.
    let p = unsafe { &*p };
    let panel = panel();
    for column in (0..p.n).step_by(PANEL[0]) {
        let n = (p.n - column).min(PANEL[0]);
        for inner in (0..p.k).step_by(PANEL[1]) {
            let k = (p.k - inner).min(PANEL[1]);
            let b = p.b.data.wrapping_offset(inner as isize + column as isize * p.b.columns);
            let part = Product {
                n,
                k,
                c: View { data: p.c.data.wrapping_add(column), ..p.c },
                alpha: if inner == 0 { p.alpha } else { 1.0 },
                a: View { data: p.a.data.wrapping_offset(inner as isize * p.a.columns), ..p.a },
                b: View { data: panel.cast_const(), rows: PANEL[0] as isize, columns: 1 },
                part: p.part.from(column, inner),
                ..*p
            };
            // What the next panel is made of, as it lies where panels, and whole products, go on along the columns.
            let next = b.wrapping_offset(PANEL[0] as isize * p.b.columns);
            let apart = p.b.columns.wrapping_mul(size_of::<f32>() as isize);
            let soon = Soon::new(next.cast(), n, apart, k * size_of::<f32>(), p.m / resident::ROWS);
            // SAFETY: parts of the caller's matrices, and a panel that has room for n columns of k elements.
            unsafe {
                transpose::<R>(b, p.b.columns, panel, n, k);
                resident::multiply::<R>(&part, soon);
            }
        }
    }
}

/// The memory of the thread for a panel, which nothing else uses meanwhile: it lasts as long as the thread.
fn panel() -> *mut f32 {
    TRANSPOSED.with_borrow_mut(|panel| {
        panel.resize(PANEL[0] * PANEL[1] + SQUARE, 0.0);
        let start = panel.as_mut_ptr();
        start.wrapping_add(start.align_offset(SQUARE * size_of::<f32>()))
    })
}

/// `to[d][j] = from[j][d]`, square by square.
#[inline(always)]
// SAFETY (for callers): `from` has n columns of k contiguous elements, `to` room for k rows of a panel.
unsafe fn transpose<R: Registers>(from: *const f32, column: isize, to: *mut f32, n: usize, k: usize) {
    for d in (0..k).step_by(SQUARE) {
        for j in (0..n).step_by(SQUARE) {
            let from = from.wrapping_offset(j as isize * column).wrapping_add(d);
            let to = to.wrapping_add(d * PANEL[0] + j);
            // SAFETY: a part of both.
            unsafe {
                if k - d >= SQUARE && n - j >= SQUARE {
                    R::transpose(from, column, to, PANEL[0] as isize);
                } else {
                    square(from, column, to, (n - j).min(SQUARE), (k - d).min(SQUARE));
                }
            }
        }
    }
}

#[inline(always)]
// SAFETY (for callers): as for `transpose`; at most a square.
unsafe fn square(from: *const f32, column: isize, to: *mut f32, n: usize, k: usize) {
    for j in 0..n {
        let (from, to) = (from.wrapping_offset(j as isize * column), to.wrapping_add(j));
        for d in 0..k {
            // SAFETY: an element of the matrix, and of the panel.
            unsafe { *to.wrapping_add(d * PANEL[0]) = *from.wrapping_add(d) };
        }
    }
}
