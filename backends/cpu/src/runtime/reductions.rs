//! Sums and maxima of contiguous tiles.
//!
//! Invariant: the order of the additions depends on `n` alone, so every instruction set gives the same bits: in f32, four
//! vectors of 32 running sums, added pairwise at the end; in f64 one after the other. A NaN anywhere is the maximum.
//!
//! Contract of every function here, `f(src, n)`: the pointer is valid for `n` elements and aligned to one element.
//! Nothing can panic or allocate. The sum of nothing is 0, its maximum -infinity.

use super::isa::for_every_isa;
use super::simd::{Registers, Vector, Wide};

/// Running results in a vector.
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

/// Four vectors of running results side by side, folded onto each other at the end.
macro_rules! reduce_f32 {
    ($name:ident, $fold:ident, $neutral:expr, |$all:ident| $finish:expr) => {
        /// # Safety
        /// `src` must be valid for reads of `n` elements, and the processor must have the instruction set.
        #[inline(always)]
        unsafe fn $name<R: Registers>(src: *const f32, n: usize) -> f32 {
            let mut lanes = [Wide::<R>::splat($neutral); 4];
            let mut at = 0;
            while n - at >= 4 * LANES {
                for part in 0..4 {
                    let from = src.wrapping_add(at + part * LANES);
                    // SAFETY: at + 4 LANES <= n, for which the pointer is valid.
                    lanes[part] = lanes[part].$fold(unsafe { Wide::<R>::load(from) });
                }
                at += 4 * LANES;
            }
            while n - at >= LANES {
                // SAFETY: at + LANES <= n.
                lanes[0] = lanes[0].$fold(unsafe { Wide::<R>::load(src.add(at)) });
                at += LANES;
            }
            if at < n {
                let mut last = [$neutral; LANES];
                // SAFETY: fewer than LANES elements are left.
                unsafe {
                    std::ptr::copy_nonoverlapping(src.add(at), last.as_mut_ptr(), n - at);
                    lanes[1] = lanes[1].$fold(Wide::<R>::load(last.as_ptr()));
                }
            }
            let $all = lanes[0].$fold(lanes[1]).$fold(lanes[2].$fold(lanes[3]));
            $finish
        }
    };
}
reduce_f32!(sum_lanes, add, 0.0f32, |all| all.sum());
reduce_f32!(max_lanes, max, f32::NEG_INFINITY, |all| {
    let mut lanes = [0.0f32; LANES];
    // SAFETY: as many elements as lanes.
    unsafe { all.store(lanes.as_mut_ptr()) };
    let mut max = lanes[0];
    for lane in lanes {
        max = <Max as Fold<f32>>::fold(max, lane);
    }
    max
});

/// # Safety
/// `src` must be valid for reads of `n` elements.
#[inline(always)]
unsafe fn reduce<F: Fold<f64>>(src: *const f64, n: usize) -> f64 {
    let mut sum = F::NEUTRAL;
    for at in 0..n {
        // SAFETY: at < n, for which the pointer is valid.
        sum = F::fold(sum, unsafe { src.add(at).read() });
    }
    sum
}

/// The sum of a tile.
pub(super) unsafe extern "C" fn sum_f64(src: *const f64, n: usize) -> f64 {
    // SAFETY: the caller's contract.
    unsafe { reduce::<Sum>(src, n) }
}

/// The maximum of a tile.
pub(super) unsafe extern "C" fn max_f64(src: *const f64, n: usize) -> f64 {
    // SAFETY: the caller's contract.
    unsafe { reduce::<Max>(src, n) }
}

for_every_isa!(
    /// The sum of a tile.
    sum_f32(src: *const f32, n: usize) -> f32 = sum_lanes[]
);
for_every_isa!(
    /// The maximum of a tile.
    max_f32(src: *const f32, n: usize) -> f32 = max_lanes[]
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
            let sums: Vec<f32> = Isa::available()
                .iter()
                .map(|&isa| unsafe { sum_f32::function(isa)(x.as_ptr(), n) })
                .collect();
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
        // SAFETY: 333 elements.
        let (sum, max) = unsafe { (sum_f64(x.as_ptr(), 333), max_f64(x.as_ptr(), 333)) };
        assert!((sum - x.iter().sum::<f64>()).abs() < 1e-12);
        assert_eq!(max, x.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    }
}
