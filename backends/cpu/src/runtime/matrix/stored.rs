//! Products whose left matrix is stored in 16 bits: it is read where it lies, and arithmetic is in f32.
//!
//! Against few vectors, elements are widened in registers, so that the time is that of reading the matrix once. Otherwise
//! the matrix is widened block by block into memory that the thread keeps, and the blocks are multiplied as f32.
//! Invariant: as for all products, the way depends on shape and strides alone.

use super::{Element, Product, columns, dots, gemm_f32};
use crate::runtime::isa::{Isa, for_every_isa};
use crate::runtime::simd::{Bf16, F16, Registers, Vector};
use std::cell::RefCell;

/// Rows and columns of a block: 256 KiB of f32, which stay in the second-level cache while they are multiplied.
const BLOCK: [usize; 2] = [128, 512];

thread_local! {
    /// A widened block.
    static WIDENED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// What a matrix is stored as.
trait Half: Element {
    /// The kernel of [`dots`].
    fn dots(isa: Isa) -> unsafe extern "C" fn(*const Product<Self>);
    /// The kernel of [`columns`].
    fn columns(isa: Isa) -> unsafe extern "C" fn(*const Product<Self>);
}

macro_rules! stored_as {
    ($($element:ident: $gemm:ident, $kernel:ident;)*) => {$(
        for_every_isa!(
            /// [`gemm_f32`](super::gemm_f32) with `a` in 16 bits.
            $gemm(
                m: usize, n: usize, k: usize,
                c: *mut f32, c_rs: isize, c_cs: isize, alpha: f32,
                a: *const $element, a_rs: isize, a_cs: isize,
                b: *const f32, b_rs: isize, b_cs: isize, beta: f32,
            ) = product[$element]
        );

        impl Half for $element {
            fn dots(isa: Isa) -> unsafe extern "C" fn(*const Product<Self>) {
                dots::$kernel::function(isa)
            }
            fn columns(isa: Isa) -> unsafe extern "C" fn(*const Product<Self>) {
                columns::$kernel::function(isa)
            }
        }
    )*};
}

stored_as! {
    Bf16: gemm_bf16, kernel_bf16;
    F16: gemm_f16, kernel_f16;
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the calling convention of generated code")]
// SAFETY (for callers): the contract at the top of `matrix`.
unsafe fn product<E: Half, R: Registers>(
    m: usize,
    n: usize,
    k: usize,
    c: *mut f32,
    c_rs: isize,
    c_cs: isize,
    alpha: f32,
    a: *const E,
    a_rs: isize,
    a_cs: isize,
    b: *const f32,
    b_rs: isize,
    b_cs: isize,
    beta: f32,
) {
    let p = Product::new(m, n, k, c, c_rs, c_cs, alpha, a, a_rs, a_cs, b, b_rs, b_cs, beta);
    if n <= m && dots::suits(&p) {
        // SAFETY: the caller's contract.
        return unsafe { E::dots(R::ISA)(&p) };
    }
    if columns::suits(&p) {
        // SAFETY: the caller's contract.
        return unsafe { E::columns(R::ISA)(&p) };
    }
    WIDENED.with_borrow_mut(|block| {
        block.resize(BLOCK[0] * BLOCK[1], 0.0);
        // Without anything to sum, the result is still to be written.
        for inner in (0..k.max(1)).step_by(BLOCK[1]) {
            let depth = (k - inner).min(BLOCK[1]);
            let alpha = if inner == 0 { alpha } else { 1.0 };
            for row in (0..m).step_by(BLOCK[0]) {
                let rows = (m - row).min(BLOCK[0]);
                let at = |x: usize, stride: isize| x as isize * stride;
                let from = a.wrapping_offset(at(row, a_rs) + at(inner, a_cs));
                // SAFETY: a part of the matrix, which fits the block; parts of the caller's matrices.
                unsafe {
                    let (to, strides) =
                        (block.as_mut_ptr(), widen::<E, R>(block, [rows, depth], from, [a_rs, a_cs]));
                    gemm_f32::function(R::ISA)(
                        rows,
                        n,
                        depth,
                        c.wrapping_offset(at(row, c_rs)),
                        c_rs,
                        c_cs,
                        alpha,
                        to,
                        strides[0],
                        strides[1],
                        b.wrapping_offset(at(inner, b_rs)),
                        b_rs,
                        b_cs,
                        beta,
                    );
                }
            }
        }
    });
}

/// Widens a matrix into a block, with that of its dimensions contiguous that is so in the matrix; gives the strides.
#[inline(always)]
// SAFETY (for callers): the matrix must be valid for reads, and fit the block.
unsafe fn widen<E: Half, R: Registers>(
    block: &mut [f32],
    [rows, columns]: [usize; 2],
    from: *const E,
    [row, column]: [isize; 2],
) -> [isize; 2] {
    let by_columns = row == 1 && column != 1;
    let (lines, length, line, step) =
        if by_columns { (columns, rows, column, row) } else { (rows, columns, row, column) };
    for number in 0..lines {
        let from = from.wrapping_offset(number as isize * line);
        let to = block[number * length..(number + 1) * length].as_mut_ptr();
        let mut at = 0;
        // SAFETY: elements of a line of the matrix, and of the block.
        unsafe {
            while step == 1 && length - at >= 16 {
                E::load::<R::Sixteen>(from.wrapping_add(at)).store(to.wrapping_add(at));
                at += 16;
            }
            while at < length {
                E::load::<R::One>(from.wrapping_offset(at as isize * step)).store(to.wrapping_add(at));
                at += 1;
            }
        }
    }
    if by_columns { [1, length as isize] } else { [length as isize, 1] }
}
