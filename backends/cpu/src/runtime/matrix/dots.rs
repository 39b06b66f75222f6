//! Products in which the rows of `a` and the columns of `b` are both contiguous: one dot product an element.
//!
//! Meant for one vector, or few, against a matrix, where the time is that of reading the matrix, once.
//! Invariant: each element is summed in an order given by `k` alone, whatever rows and columns are done together.

use super::{Element, Product};
use crate::runtime::isa::for_every_isa;
use crate::runtime::prefetch::{self, LINE};
use crate::runtime::simd::{Bf16, F16, Registers, Vector, Wide};

/// Lanes of a running sum.
const LANES: usize = 32;
/// So many bytes before they are needed, rows are asked for: a few of them at once are no stream that a processor foresees,
/// least of all over the borders of pages. From memory, that doubles the rate.
const AHEAD: usize = 8 << 10;
/// Rows of at least so many bytes are gone through one by one where each is read once: that is a stream, at 1.6 times the
/// rate of a few rows at once. In cache it costs a tenth.
const STREAM: usize = 1 << 10;
/// So many bytes before they are needed, a stream is asked for.
const AHEAD_IN_STREAM: usize = 2 << 10;

/// Whether this is the way. An extent of one makes its stride irrelevant, but that is left to the other kernels.
#[inline(always)]
pub(super) fn suits<E>(p: &Product<E>) -> bool {
    let contiguous = p.a.columns == 1 && p.b.rows == 1;
    let narrow = p.m.min(p.n);
    contiguous && if narrow == 1 { p.k >= 8 } else { p.k >= 128 && narrow <= 16 }
}

for_every_isa!(
    /// The whole product; better with the larger matrix on the left.
    kernel(product: *const Product) = multiply[f32]
);
for_every_isa!(
    /// The whole product; better with the larger matrix on the left.
    kernel_bf16(product: *const Product<Bf16>) = multiply[Bf16]
);
for_every_isa!(
    /// The whole product; better with the larger matrix on the left.
    kernel_f16(product: *const Product<F16>) = multiply[F16]
);

/// The whole product; better with the larger matrix on the left.
#[inline(always)]
// SAFETY (for callers): `p` points to a product that keeps the contract at the top of `matrix`.
unsafe fn multiply<E: Element, R: Registers>(p: *const Product<E>) {
    // SAFETY: the caller gives a product of his own.
    let p = unsafe { &*p };
    let mut row = 0;
    // SAFETY: each call stays within m rows.
    unsafe {
        if p.n == 1 && p.k.saturating_mul(size_of::<E>()) >= STREAM {
            while row < p.m {
                rows::<1, E, R>(p, row);
                row += 1;
            }
        }
        while R::WIDE_SUMS >= 4 && p.m - row >= 4 {
            rows::<4, E, R>(p, row);
            row += 4;
        }
        while p.m - row >= 2 {
            rows::<2, E, R>(p, row);
            row += 2;
        }
        if row < p.m {
            rows::<1, E, R>(p, row);
        }
    }
}

#[inline(always)]
// SAFETY (for callers): as for the whole product; the part that is asked for must lie inside it.
unsafe fn rows<const ROWS: usize, E: Element, R: Registers>(p: &Product<E>, row: usize) {
    let mut column = 0;
    // SAFETY: each call stays within n columns.
    unsafe {
        while R::WIDE_SUMS >= 4 && p.n - column >= 2 {
            tile::<ROWS, 2, E, R>(p, row as isize, column as isize);
            column += 2;
        }
        while column < p.n {
            tile::<ROWS, 1, E, R>(p, row as isize, column as isize);
            column += 1;
        }
    }
}

#[inline(always)]
// SAFETY (for callers): as for the whole product; the part that is asked for must lie inside it.
unsafe fn tile<const ROWS: usize, const COLUMNS: usize, E: Element, R: Registers>(
    p: &Product<E>,
    row: isize,
    column: isize,
) {
    let a = p.a.data.wrapping_offset(row * p.a.rows);
    let b = p.b.data.wrapping_offset(column * p.b.columns);
    let mut sums = [[Wide::<R>::splat(0.0); COLUMNS]; ROWS];
    let mut at = 0;
    let block = ROWS.saturating_mul(p.k).saturating_mul(size_of::<E>()).max(1);
    let ahead = if ROWS == 1 {
        (AHEAD_IN_STREAM / size_of::<E>()) as isize
    } else {
        p.a.rows.wrapping_mul((ROWS * (AHEAD / block).max(1)) as isize)
    };
    while p.k - at >= LANES {
        let (a, b) = (a.wrapping_add(at), b.wrapping_add(at));
        if column == 0 {
            for r in 0..ROWS as isize {
                soon::<E>(a.wrapping_offset(ahead + r * p.a.rows));
            }
        }
        // SAFETY: at + LANES <= k elements of rows and columns of the matrices.
        sums = unsafe { step::<ROWS, COLUMNS, E, R>(sums, a, p.a.rows, b, p.b.columns) };
        at += LANES;
    }
    if at < p.k {
        // Padded copies of what is left.
        let mut last_a = [[E::default(); LANES]; ROWS];
        let mut last_b = [[0.0f32; LANES]; COLUMNS];
        let stride = LANES as isize;
        // SAFETY: at .. k, fewer than LANES elements, of rows and columns of the matrices.
        sums = unsafe {
            for r in 0..ROWS {
                let from = a.wrapping_offset(r as isize * p.a.rows).wrapping_add(at);
                std::ptr::copy_nonoverlapping(from, last_a[r].as_mut_ptr(), p.k - at);
            }
            for j in 0..COLUMNS {
                let from = b.wrapping_offset(j as isize * p.b.columns).wrapping_add(at);
                std::ptr::copy_nonoverlapping(from, last_b[j].as_mut_ptr(), p.k - at);
            }
            step::<ROWS, COLUMNS, E, R>(sums, last_a.as_ptr().cast(), stride, last_b.as_ptr().cast(), stride)
        };
    }
    for r in 0..ROWS {
        for j in 0..COLUMNS {
            let sum = R::One::splat(sums[r][j].sum());
            // SAFETY: an element of the result.
            unsafe { p.finish::<R::One>(row + r as isize, column + j as isize, sum) };
        }
    }
}

/// Asks for as many elements as a step takes.
#[inline(always)]
fn soon<E>(from: *const E) {
    for line in (0..LANES * size_of::<E>()).step_by(LINE) {
        prefetch::line(from.cast::<u8>().wrapping_add(line));
    }
}

/// Running sums, one for each row and column of a tile.
type Sums<const ROWS: usize, const COLUMNS: usize, R> = [[Wide<R>; COLUMNS]; ROWS];

#[inline(always)]
// SAFETY (for callers): as for the whole product; the part that is asked for must lie inside it.
unsafe fn step<const ROWS: usize, const COLUMNS: usize, E: Element, R: Registers>(
    mut sums: Sums<ROWS, COLUMNS, R>,
    a: *const E,
    a_rows: isize,
    b: *const f32,
    b_columns: isize,
) -> Sums<ROWS, COLUMNS, R> {
    let mut y = [Wide::<R>::splat(0.0); COLUMNS];
    for j in 0..COLUMNS {
        // SAFETY: the caller has LANES elements in each of the rows and columns.
        y[j] = unsafe { Wide::<R>::load(b.wrapping_offset(j as isize * b_columns)) };
    }
    for r in 0..ROWS {
        // SAFETY: as above.
        let x = unsafe { E::load::<Wide<R>>(a.wrapping_offset(r as isize * a_rows)) };
        for j in 0..COLUMNS {
            sums[r][j] = x.fma(y[j], sums[r][j]);
        }
    }
    sums
}
