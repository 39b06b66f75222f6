//! Matrix products on tiles.
//!
//! Invariant: the way a product is computed depends on its shape and strides alone, never on values, threads or
//! alignment, so equal calls give equal bits. One thread. Products with a vector, very small ones and those of up to a few
//! hundred rows have kernels here; the rest goes to the crate `gemm`, which keeps its packing buffer per thread.
//! A triangle of a product ([`Part`]) is a hint, which kernels may leave alone.
//!
//! Contract of both functions, `c = alpha c + beta a b`: `c` is valid for writes at `i c_rs + j c_cs` for all `i < m`,
//! `j < n`, no two of these coinciding; `a` (m x k) and `b` (k x n) are valid for reads in the same sense and do not
//! overlap `c`; all are aligned to one element. Strides are in elements. With `alpha` 0, `c` is not read, so it may hold
//! anything, NaN included.

// In the kernels, plain loops over indices: the closures of iterators and of array::map need not be inlined, and out of
// line they would be compiled without the instruction set.
mod batch;
mod columns;
#[expect(clippy::needless_range_loop, reason = "iterators may not be inlined under a target feature")]
mod dots;
mod packed;
mod part;
#[expect(clippy::needless_range_loop, reason = "iterators may not be inlined under a target feature")]
mod resident;
#[expect(clippy::needless_range_loop, reason = "iterators may not be inlined under a target feature")]
mod small;
mod stored;

pub(crate) use stored::{gemm_bf16, gemm_f16};

use self::batch::Batch;
use self::part::Part;
use super::isa::for_every_isa;
use super::simd::{Element, Registers, Vector};

/// A matrix in memory.
#[derive(Clone, Copy)]
struct View<P> {
    /// The first element.
    data: P,
    /// Elements from one row to the next.
    rows: isize,
    /// Elements from one column to the next.
    columns: isize,
}

impl<P> View<P> {
    #[inline(always)]
    fn transposed(self) -> View<P> {
        View { data: self.data, rows: self.columns, columns: self.rows }
    }
}

/// `c = alpha c + beta a b`, the arguments of all kernels.
#[derive(Clone, Copy)]
struct Product<A = f32> {
    m: usize,
    n: usize,
    k: usize,
    c: View<*mut f32>,
    alpha: f32,
    a: View<*const A>,
    b: View<*const f32>,
    beta: f32,
    part: Part,
}

impl Product {
    /// The same product as `c' = alpha c' + beta b' a'`.
    #[inline(always)]
    fn transposed(self) -> Product {
        Product {
            m: self.n,
            n: self.m,
            k: self.k,
            c: self.c.transposed(),
            alpha: self.alpha,
            a: self.b.transposed(),
            b: self.a.transposed(),
            beta: self.beta,
            part: self.part.transposed(),
        }
    }
}

impl<A> Product<A> {
    /// From the arguments of a call.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "the calling convention of generated code")]
    fn new(
        m: usize,
        n: usize,
        k: usize,
        c: *mut f32,
        c_rs: isize,
        c_cs: isize,
        alpha: f32,
        a: *const A,
        a_rs: isize,
        a_cs: isize,
        b: *const f32,
        b_rs: isize,
        b_cs: isize,
        beta: f32,
    ) -> Product<A> {
        let c = View { data: c, rows: c_rs, columns: c_cs };
        let a = View { data: a, rows: a_rs, columns: a_cs };
        let b = View { data: b, rows: b_rs, columns: b_cs };
        Product { m, n, k, c, alpha, a, b, beta, part: Part::Whole }
    }

    /// Stores the elements that begin at a row and column, given their sums of products.
    ///
    /// # Safety
    /// As many elements of `c` as `V` has lanes must be contiguous there.
    #[inline(always)]
    unsafe fn finish<V: Vector>(&self, row: isize, column: isize, sum: V) {
        let c = self.c.data.wrapping_offset(row * self.c.rows + column * self.c.columns);
        let sum = V::splat(self.beta).mul(sum);
        // SAFETY: the caller names elements of c.
        unsafe {
            if self.alpha == 0.0 { sum } else { V::splat(self.alpha).fma(V::load(c), sum) }.store(c);
        }
    }
}

/// A product, in the way that suits it.
#[inline(always)]
// SAFETY (for callers): the contract at the top of the module.
unsafe fn multiply<R: Registers>(p: Product) {
    // The larger matrix on the left, a vector on the right.
    let tall = if p.n <= p.m { p } else { p.transposed() };
    // Contiguous rows of b and c, if there are any.
    let flat = if p.b.columns == 1 && p.c.columns == 1 { p } else { p.transposed() };
    // Contiguous rows of c, whatever b is.
    let even = if p.c.columns == 1 { p } else { p.transposed() };
    // SAFETY: the caller's contract, which is symmetrical under transposition.
    unsafe {
        if resident::suits(&flat) {
            resident::kernel::function(R::ISA)(&flat);
        } else if dots::suits(&tall) {
            dots::kernel::function(R::ISA)(&tall);
        } else if columns::suits(&tall) {
            columns::kernel::function(R::ISA)(&tall);
        } else if small::suits(&flat) {
            small::kernel::function(R::ISA)(&flat);
        } else if packed::suits(&even) {
            packed::kernel::function(R::ISA)(&even);
        } else {
            gemm::gemm(
                p.m,
                p.n,
                p.k,
                p.c.data,
                p.c.columns,
                p.c.rows,
                p.alpha != 0.0,
                p.a.data,
                p.a.columns,
                p.a.rows,
                p.b.data,
                p.b.columns,
                p.b.rows,
                p.alpha,
                p.beta,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the calling convention of generated code")]
// SAFETY (for callers): the contract at the top of the module.
unsafe fn product<R: Registers>(
    m: usize,
    n: usize,
    k: usize,
    c: *mut f32,
    c_rs: isize,
    c_cs: isize,
    alpha: f32,
    a: *const f32,
    a_rs: isize,
    a_cs: isize,
    b: *const f32,
    b_rs: isize,
    b_cs: isize,
    beta: f32,
) {
    let p = Product::new(m, n, k, c, c_rs, c_cs, alpha, a, a_rs, a_cs, b, b_rs, b_cs, beta);
    // SAFETY: the caller's contract.
    unsafe { multiply::<R>(p) }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the calling convention of generated code")]
// SAFETY (for callers): the contract at the top of the module.
unsafe fn triangle<R: Registers>(
    part: usize,
    m: usize,
    n: usize,
    k: usize,
    c: *mut f32,
    c_rs: isize,
    c_cs: isize,
    alpha: f32,
    a: *const f32,
    a_rs: isize,
    a_cs: isize,
    b: *const f32,
    b_rs: isize,
    b_cs: isize,
    beta: f32,
) {
    let whole = Product::new(m, n, k, c, c_rs, c_cs, alpha, a, a_rs, a_cs, b, b_rs, b_cs, beta);
    // SAFETY: the caller's contract.
    unsafe { multiply::<R>(Product { part: Part::new(part), ..whole }) }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the calling convention of generated code")]
// SAFETY (for callers): the contract at the top of the module, for each of the products; no two results overlap.
unsafe fn products<R: Registers>(
    count: usize,
    c_step: isize,
    a_step: isize,
    b_step: isize,
    m: usize,
    n: usize,
    k: usize,
    c: *mut f32,
    c_rs: isize,
    c_cs: isize,
    alpha: f32,
    a: *const f32,
    a_rs: isize,
    a_cs: isize,
    b: *const f32,
    b_rs: isize,
    b_cs: isize,
    beta: f32,
) {
    let first = Product::new(m, n, k, c, c_rs, c_cs, alpha, a, a_rs, a_cs, b, b_rs, b_cs, beta);
    let batch = Batch { first, count, c: c_step, a: a_step, b: b_step };
    let flat = if c_cs == 1 { batch } else { batch.transposed() };
    // SAFETY: the caller's contract.
    unsafe {
        if batch::suits(&flat) {
            return batch::kernel::function(R::ISA)(&flat);
        }
        for number in 0..count {
            multiply::<R>(batch.item(number));
        }
    }
}

for_every_isa!(
    /// `count` products, the matrices of each `step` elements behind those of the one before.
    gemm_f32_batch(
        count: usize, c_step: isize, a_step: isize, b_step: isize,
        m: usize, n: usize, k: usize,
        c: *mut f32, c_rs: isize, c_cs: isize, alpha: f32,
        a: *const f32, a_rs: isize, a_cs: isize,
        b: *const f32, b_rs: isize, b_cs: isize, beta: f32,
    ) = products[]
);

for_every_isa!(
    /// [`gemm_f32`] of which a triangle is to be computed, by its number.
    gemm_f32_triangle(
        part: usize, m: usize, n: usize, k: usize,
        c: *mut f32, c_rs: isize, c_cs: isize, alpha: f32,
        a: *const f32, a_rs: isize, a_cs: isize,
        b: *const f32, b_rs: isize, b_cs: isize, beta: f32,
    ) = triangle[]
);

for_every_isa!(
    /// `c = alpha c + beta a b`; row and column strides (`rs`, `cs`) follow each matrix.
    gemm_f32(
        m: usize, n: usize, k: usize,
        c: *mut f32, c_rs: isize, c_cs: isize, alpha: f32,
        a: *const f32, a_rs: isize, a_cs: isize,
        b: *const f32, b_rs: isize, b_cs: isize, beta: f32,
    ) = product[]
);

/// [`gemm_f32`] on f64.
pub(crate) unsafe extern "C" fn gemm_f64(
    m: usize,
    n: usize,
    k: usize,
    c: *mut f64,
    c_rs: isize,
    c_cs: isize,
    alpha: f64,
    a: *const f64,
    a_rs: isize,
    a_cs: isize,
    b: *const f64,
    b_rs: isize,
    b_cs: isize,
    beta: f64,
) {
    let none = gemm::Parallelism::None;
    let read = alpha != 0.0;
    // SAFETY: the caller's contract.
    unsafe {
        gemm::gemm(
            m, n, k, c, c_cs, c_rs, read, a, a_cs, a_rs, b, b_cs, b_rs, alpha, beta, false, false, false,
            none,
        );
    }
}

#[cfg(test)]
mod tests;
