//! Up to a few hundred rows times a matrix that stays in cache, such as the recurrent weights of a loop.
//!
//! Neither operand is packed: rows of `b` and `c` are contiguous, elements of `a` are broadcast from where they are.
//! Invariant: each element is summed over `k` in ascending order; where there is one row, even and odd `k` apart, so that
//! enough sums are under way.

use super::Product;
use crate::runtime::isa::for_every_isa;
use crate::runtime::prefetch::Soon;
use crate::runtime::simd::{Registers, Vector, behind};
use std::sync::atomic::{Ordering, compiler_fence};

/// With more rows than this, packing pays.
const MOST_ROWS: usize = 256;
/// Rows of a tile, whose sums stay in registers.
pub(super) const ROWS: usize = 6;
/// Elements of the largest matrix for which this is the way: half of a second-level cache.
const LARGEST: usize = 128 << 10;

/// Whether this is the way.
#[inline(always)]
pub(super) fn suits(p: &Product) -> bool {
    p.b.columns == 1
        && p.c.columns == 1
        && p.n >= 8
        && p.m <= MOST_ROWS
        && p.n.saturating_mul(p.k) <= LARGEST
        && p.m.saturating_mul(p.n) >= 16
}

for_every_isa!(
    /// The whole product.
    kernel(product: *const Product) = whole[]
);

#[inline(always)]
// SAFETY (for callers): `p` points to a product that keeps the contract at the top of `matrix`.
unsafe fn whole<R: Registers>(p: *const Product) {
    // SAFETY: the caller's.
    unsafe { multiply::<R>(p, Soon::nothing()) }
}

/// Blocks of up to 64 columns; in each, tiles of up to [`ROWS`] rows, a turn of `soon` after each.
#[inline(always)]
// SAFETY (for callers): `p` points to a product that keeps the contract at the top of `matrix`.
pub(super) unsafe fn multiply<R: Registers>(p: *const Product, mut soon: Soon) {
    // SAFETY: the caller gives a product of his own.
    let p = unsafe { &*p };
    let mut column = 0;
    // SAFETY: each call stays within n columns.
    unsafe {
        // Narrower blocks follow the edge of a triangle more closely.
        while R::WIDE_SUMS >= 4 && p.n - column >= 64 && !p.part.is_of_c() {
            rows::<R::Sixteen, 4>(p, column as isize, &mut soon);
            column += 64;
        }
        while R::WIDE_SUMS >= 4 && p.n - column >= 32 {
            rows::<R::Sixteen, 2>(p, column as isize, &mut soon);
            column += 32;
        }
        while p.n - column >= 16 {
            rows::<R::Eight, 2>(p, column as isize, &mut soon);
            column += 16;
        }
        if p.n - column >= 8 {
            rows::<R::Eight, 1>(p, column as isize, &mut soon);
            column += 8;
        }
        if p.n - column >= 4 {
            rows::<R::Four, 1>(p, column as isize, &mut soon);
            column += 4;
        }
        while column < p.n {
            rows::<R::One, 1>(p, column as isize, &mut soon);
            column += 1;
        }
    }
}

#[inline(always)]
// SAFETY (for callers): as for the whole product; the part that is asked for must lie inside it.
unsafe fn rows<V: Vector, const VECTORS: usize>(p: &Product, column: isize, soon: &mut Soon) {
    let mut row = 0;
    // SAFETY: each call stays within m rows.
    unsafe {
        if p.m == 1 {
            return tile::<V, 1, VECTORS, 2>(p, 0, column);
        }
        while p.m - row >= ROWS {
            tile::<V, ROWS, VECTORS, 1>(p, row as isize, column);
            row += ROWS;
            soon.turn();
        }
        if p.m - row >= 4 {
            tile::<V, 4, VECTORS, 1>(p, row as isize, column);
            row += 4;
        }
        if p.m - row >= 2 {
            tile::<V, 2, VECTORS, 1>(p, row as isize, column);
            row += 2;
        }
        if row < p.m {
            tile::<V, 1, VECTORS, 1>(p, row as isize, column);
        }
    }
}

#[inline(always)]
// SAFETY (for callers): as for the whole product; the part that is asked for must lie inside it.
unsafe fn tile<V: Vector, const ROWS: usize, const VECTORS: usize, const APART: usize>(
    p: &Product,
    row: isize,
    column: isize,
) {
    let mut sums = [[[V::splat(0.0); VECTORS]; ROWS]; APART];
    let (first, width) = ([row as usize, column as usize], VECTORS * V::LANES);
    let depth = p.part.depth(first[0]..first[0] + ROWS, first[1]..first[1] + width, p.k);
    let start = depth.start as isize;
    let a = p.a.data.wrapping_offset(row.wrapping_mul(p.a.rows));
    let mut a = a.wrapping_offset(start.wrapping_mul(p.a.columns));
    let mut b = p.b.data.wrapping_offset(start.wrapping_mul(p.b.rows)).wrapping_offset(column);
    let whole = depth.len() / APART;
    for _ in 0..whole {
        for s in 0..APART {
            // SAFETY: a row of b and a column of a.
            sums[s] = unsafe { step::<V, ROWS, VECTORS>(sums[s], a, p.a.rows, b) };
            a = a.wrapping_offset(p.a.columns);
            b = b.wrapping_offset(p.b.rows);
        }
    }
    if !depth.len().is_multiple_of(APART) {
        // SAFETY: the last row of b and column of a.
        sums[0] = unsafe { step::<V, ROWS, VECTORS>(sums[0], a, p.a.rows, b) };
    }
    for r in 0..ROWS {
        for v in 0..VECTORS {
            let sum = if APART == 1 { sums[0][r][v] } else { sums[0][r][v].add(sums[APART - 1][r][v]) };
            let column = column.wrapping_add((v * V::LANES) as isize);
            // SAFETY: elements of the result, contiguous along a row.
            unsafe { p.finish::<V>(row.wrapping_add(r as isize), column, sum) };
        }
    }
}

#[inline(always)]
// SAFETY (for callers): `a` has ROWS elements, `a_rows` apart; `b` has VECTORS vectors.
unsafe fn step<V: Vector, const ROWS: usize, const VECTORS: usize>(
    mut sums: [[V; VECTORS]; ROWS],
    a: *const f32,
    a_rows: isize,
    b: *const f32,
) -> [[V; VECTORS]; ROWS] {
    let mut y = [V::splat(0.0); VECTORS];
    for v in 0..VECTORS {
        // SAFETY: the caller's.
        y[v] = unsafe { V::load(b.wrapping_add(v * V::LANES)) };
    }
    for r in 0..ROWS {
        // One element at a time: taken all at once, as the compiler would have it, they push sums out of the registers.
        compiler_fence(Ordering::SeqCst);
        // SAFETY: the caller's.
        let x = V::splat(unsafe { *behind(a.wrapping_offset((r as isize).wrapping_mul(a_rows))) });
        for v in 0..VECTORS {
            sums[r][v] = x.fma(y[v], sums[r][v]);
        }
    }
    sums
}
