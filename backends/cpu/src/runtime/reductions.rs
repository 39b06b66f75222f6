//! Sums and maxima of contiguous tiles.
//!
//! Invariant: the order of the additions depends on `n` alone, so every instruction set gives the same bits: 32 running
//! sums, added pairwise at the end. A NaN anywhere is the maximum.
//!
//! Contract of every function here, `f(src, n)`: the pointer is valid for `n` elements and aligned to one element.
//! Nothing can panic or allocate. The sum of nothing is 0, its maximum -infinity.

use super::isa::for_every_isa;
use super::math::Scalars;

/// Running results, enough to hide the latency of an addition in the widest registers.
const LANES: usize = 32;

/// What the reductions and cumulative operations need of f32 and f64.
pub(super) trait Real: Copy + PartialOrd + std::ops::Add<Output = Self> {
    const ZERO: Self;
    const LOWEST: Self;
}
impl Real for f32 {
    const ZERO: f32 = 0.0;
    const LOWEST: f32 = f32::NEG_INFINITY;
}
impl Real for f64 {
    const ZERO: f64 = 0.0;
    const LOWEST: f64 = f64::NEG_INFINITY;
}

/// An associative operation with its neutral element.
pub(super) trait Fold<T> {
    const NEUTRAL: T;
    fn fold(sum: T, x: T) -> T;
}
/// Addition.
pub(super) struct Sum;
impl<T: Real> Fold<T> for Sum {
    const NEUTRAL: T = T::ZERO;
    #[inline(always)]
    fn fold(sum: T, x: T) -> T {
        sum + x
    }
}
/// The larger one, NaN being larger than anything.
pub(super) struct Max;
impl<T: Real> Fold<T> for Max {
    const NEUTRAL: T = T::LOWEST;
    #[inline(always)]
    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
    fn fold(sum: T, x: T) -> T {
        if sum < x || x != x { x } else { sum }
    }
}

#[inline(always)]
unsafe fn reduce<T: Real, F: Fold<T>, S: Scalars>(src: *const T, n: usize) -> T {
    // SAFETY: the caller's contract.
    let all = unsafe { std::slice::from_raw_parts(src, n) };
    let (blocks, rest) = all.as_chunks::<LANES>();
    let mut lanes = [F::NEUTRAL; LANES];
    for block in blocks {
        for (lane, &x) in lanes.iter_mut().zip(block) {
            *lane = F::fold(*lane, x);
        }
    }
    // A padded copy, for an index known only at run time would keep the lanes in memory.
    let mut last = [F::NEUTRAL; LANES];
    for (lane, &x) in last.iter_mut().zip(rest) {
        *lane = x;
    }
    for (lane, &x) in lanes.iter_mut().zip(&last) {
        *lane = F::fold(*lane, x);
    }
    fold_lanes::<T, F, LANES>(lanes)
}

/// The two halves folded onto each other until one element is left.
#[inline(always)]
pub(super) fn fold_lanes<T: Real, F: Fold<T>, const N: usize>(mut lanes: [T; N]) -> T {
    let mut width = N / 2;
    while width > 0 {
        for at in 0..width {
            lanes[at] = F::fold(lanes[at], lanes[at + width]);
        }
        width /= 2;
    }
    lanes[0]
}

for_every_isa!(
    /// The sum of a tile.
    sum_f32(src: *const f32, n: usize) -> f32 = reduce[f32, Sum]
);
for_every_isa!(
    /// The sum of a tile.
    sum_f64(src: *const f64, n: usize) -> f64 = reduce[f64, Sum]
);
for_every_isa!(
    /// The maximum of a tile.
    max_f32(src: *const f32, n: usize) -> f32 = reduce[f32, Max]
);
for_every_isa!(
    /// The maximum of a tile.
    max_f64(src: *const f64, n: usize) -> f64 = reduce[f64, Max]
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::isa::Isa;
    use crate::runtime::test_numbers::numbers;

    #[test]
    fn sums_have_the_same_bits_on_every_isa_and_agree_with_f64() {
        for n in (0..100).chain([512, 1000, 4097]) {
            let x = numbers(n, 7 + n as u32, -1.0, 1.0);
            // SAFETY: n elements.
            let sums: Vec<f32> =
                Isa::available().iter().map(|&isa| unsafe { sum_f32::function(isa)(x.as_ptr(), n) }).collect();
            let exact: f64 = x.iter().map(|&x| f64::from(x)).sum();
            for &sum in &sums {
                assert_eq!(sum.to_bits(), sums[0].to_bits(), "n = {n}");
                assert!((f64::from(sum) - exact).abs() <= 1e-6 * (1.0 + n as f64), "n = {n}: {sum} {exact}");
            }
        }
    }

    #[test]
    fn maxima_are_exact_and_propagate_nan_from_everywhere() {
        for n in [0, 1, 5, 31, 32, 33, 64, 77] {
            for &isa in Isa::available() {
                let max = |x: &[f32]| {
                    // SAFETY: the slice.
                    unsafe { max_f32::function(isa)(x.as_ptr(), x.len()) }
                };
                let mut x = numbers(n, 3, -5.0, -1.0);
                assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max), "n = {n}");
                for at in 0..n {
                    let kept = std::mem::replace(&mut x[at], f32::NAN);
                    assert!(max(&x).is_nan(), "n = {n}, NaN at {at}");
                    x[at] = kept;
                }
            }
        }
    }

    #[test]
    fn reductions_work_on_f64() {
        let x: Vec<f64> = numbers(333, 5, -1.0, 1.0).into_iter().map(f64::from).collect();
        for &isa in Isa::available() {
            // SAFETY: 333 elements.
            let (sum, max) = unsafe { (sum_f64::function(isa)(x.as_ptr(), 333), max_f64::function(isa)(x.as_ptr(), 333)) };
            assert!((sum - x.iter().sum::<f64>()).abs() < 1e-12);
            assert_eq!(max, x.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        }
    }
}
