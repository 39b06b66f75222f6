//! What the processor can do at most: multiply-adds without memory, and reading without arithmetic.

use super::isa::for_every_isa;
use super::simd::{Registers, Vector};

/// Sums that are under way at once: more than latency times throughput of any processor that we know.
const SUMS: usize = 12;

/// Floating point operations of a round of [`multiply_add`].
pub(crate) const OPERATIONS: usize = 2 * 16 * SUMS;

for_every_isa!(
    /// Rounds of multiply-adds in registers; the result keeps them from being left out.
    multiply_add(rounds: usize) -> f32 = multiply_adds[]
);

for_every_isa!(
    /// The sum of `count` numbers, a multiple of 128, read in order.
    read(data: *const f32, count: usize) -> f32 = sum[]
);

#[inline(always)]
// SAFETY (for callers): none needed; unsafe like all tile functions.
unsafe fn multiply_adds<R: Registers>(rounds: usize) -> f32 {
    let mut sums = [R::Sixteen::splat(1.0); SUMS];
    let (a, b) = (R::Sixteen::splat(0.999), R::Sixteen::splat(1e-3));
    for _ in 0..rounds {
        for lane in 0..SUMS {
            sums[lane] = sums[lane].fma(a, b);
        }
    }
    let mut all = sums[0];
    for lane in 1..sums.len() {
        all = all.add(sums[lane]);
    }
    all.sum()
}

#[inline(always)]
// SAFETY (for callers): `data` is valid for `count` reads.
unsafe fn sum<R: Registers>(data: *const f32, count: usize) -> f32 {
    let mut sums = [R::Sixteen::splat(0.0); 8];
    let mut at = 0usize;
    while at < count {
        for lane in 0..8 {
            // SAFETY: the caller's.
            let next = unsafe { R::Sixteen::load(data.wrapping_add(at.wrapping_add(16 * lane))) };
            sums[lane] = sums[lane].add(next);
        }
        at = at.wrapping_add(128);
    }
    let mut all = sums[0];
    for lane in 1..sums.len() {
        all = all.add(sums[lane]);
    }
    all.sum()
}
