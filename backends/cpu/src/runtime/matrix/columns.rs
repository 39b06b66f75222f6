//! A matrix with contiguous columns times a vector: the result as a sum of columns.
//!
//! Invariant: each element is summed over the columns in ascending order, starting from `alpha c`.

use super::{Element, Product};
use crate::runtime::isa::for_every_isa;
use crate::runtime::simd::{Bf16, F16, Registers, Vector, Wide};

/// Whether this is the way: columns of the matrix, and the result, are contiguous.
#[inline(always)]
pub(super) fn suits<E>(p: &Product<E>) -> bool {
    p.n == 1 && p.m >= 8 && p.a.rows == 1 && p.c.rows == 1
}

for_every_isa!(
    /// The whole product.
    kernel(product: *const Product) = multiply[f32]
);
for_every_isa!(
    /// The whole product.
    kernel_bf16(product: *const Product<Bf16>) = multiply[Bf16]
);
for_every_isa!(
    /// The whole product.
    kernel_f16(product: *const Product<F16>) = multiply[F16]
);

/// Eight columns at a time, so that the result is read and written seldom.
#[inline(always)]
// SAFETY (for callers): `p` points to a product that keeps the contract at the top of `matrix`.
unsafe fn multiply<E: Element, R: Registers>(p: *const Product<E>) {
    // SAFETY: the caller gives a product of his own.
    let p = unsafe { &*p };
    // SAFETY: the result is contiguous, so all of it is c[0 .. m]; with alpha 0 nothing of it is read before the write.
    unsafe {
        if p.alpha == 0.0 {
            std::ptr::write_bytes(p.c.data, 0, p.m);
        } else if p.alpha != 1.0 {
            for at in 0..p.m {
                let c = p.c.data.wrapping_add(at);
                c.write(p.alpha * c.read());
            }
        }
        let mut column = 0;
        while p.k - column >= 8 {
            add_columns::<8, E, R>(p, column as isize);
            column += 8;
        }
        while column < p.k {
            add_columns::<1, E, R>(p, column as isize);
            column += 1;
        }
    }
}

#[inline(always)]
// SAFETY (for callers): as for the whole product; the part that is asked for must lie inside it.
unsafe fn add_columns<const COLUMNS: usize, E: Element, R: Registers>(p: &Product<E>, first: isize) {
    let mut factors = [0.0f32; COLUMNS];
    let mut columns = [p.a.data; COLUMNS];
    for j in 0..COLUMNS {
        // SAFETY: an element of the vector.
        factors[j] = p.beta * unsafe { *p.b.data.wrapping_offset((first + j as isize) * p.b.rows) };
        columns[j] = p.a.data.wrapping_offset((first + j as isize) * p.a.columns);
    }
    let mut at = 0;
    // SAFETY: each call stays within m rows.
    unsafe {
        while p.m - at >= Wide::<R>::LANES {
            add_at::<COLUMNS, E, Wide<R>>(p.c.data, at, factors, columns);
            at += Wide::<R>::LANES;
        }
        while p.m - at >= 8 {
            add_at::<COLUMNS, E, R::Eight>(p.c.data, at, factors, columns);
            at += 8;
        }
        while at < p.m {
            add_at::<COLUMNS, E, R::One>(p.c.data, at, factors, columns);
            at += 1;
        }
    }
}

#[inline(always)]
// SAFETY (for callers): as for the whole product; the part that is asked for must lie inside it.
unsafe fn add_at<const COLUMNS: usize, E: Element, V: Vector>(
    c: *mut f32,
    at: usize,
    factors: [f32; COLUMNS],
    columns: [*const E; COLUMNS],
) {
    let c = c.wrapping_add(at);
    // SAFETY: the caller has as many elements as V has lanes from there on.
    unsafe {
        let mut sum = V::load(c);
        for j in 0..COLUMNS {
            sum = E::load::<V>(columns[j].wrapping_add(at)).fma(V::splat(factors[j]), sum);
        }
        sum.store(c);
    }
}
