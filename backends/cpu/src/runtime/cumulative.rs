//! Running sums and maxima along contiguous tiles, from either end, the current element included.
//!
//! Invariant: strictly one element after the other, so that the bits are those of the plain loop. A NaN stays the
//! maximum from where it occurs. Deliberately absent: parallel prefixes, which would round differently.
//!
//! Contract of every function here, `f(dst, src, n)`: both pointers are valid for `n` elements and aligned to one
//! element; the two ranges are disjoint or the same. Nothing can panic or allocate.

use super::reductions::{Fold, Max, Real, Sum};

#[inline(always)]
// SAFETY (for callers): the contract at the top of the module.
unsafe fn forward<T: Real, F: Fold<T>>(dst: *mut T, src: *const T, n: usize) {
    let mut sum = F::NEUTRAL;
    for at in 0..n {
        // SAFETY: at < n, for which both pointers are valid.
        unsafe {
            sum = F::fold(sum, src.add(at).read());
            dst.add(at).write(sum);
        }
    }
}

#[inline(always)]
// SAFETY (for callers): the contract at the top of the module.
unsafe fn reverse<T: Real, F: Fold<T>>(dst: *mut T, src: *const T, n: usize) {
    let mut sum = F::NEUTRAL;
    for at in (0..n).rev() {
        // SAFETY: at < n, for which both pointers are valid.
        unsafe {
            sum = F::fold(sum, src.add(at).read());
            dst.add(at).write(sum);
        }
    }
}

macro_rules! cumulative {
    ($($(#[$doc:meta])* $name:ident = $direction:ident::<$kind:ty, $fold:ty>;)*) => {
        $(
            $(#[$doc])*
            pub(crate) unsafe extern "C" fn $name(dst: *mut $kind, src: *const $kind, n: usize) {
                // SAFETY: the caller's contract.
                unsafe { $direction::<$kind, $fold>(dst, src, n) }
            }
        )*
    };
}

cumulative! {
    /// Running sum.
    cumsum_f32 = forward::<f32, Sum>;
    /// Running sum from the end.
    cumsum_reverse_f32 = reverse::<f32, Sum>;
    /// Running maximum.
    cummax_f32 = forward::<f32, Max>;
    /// Running maximum from the end.
    cummax_reverse_f32 = reverse::<f32, Max>;
    /// Running sum.
    cumsum_f64 = forward::<f64, Sum>;
    /// Running sum from the end.
    cumsum_reverse_f64 = reverse::<f64, Sum>;
    /// Running maximum.
    cummax_f64 = forward::<f64, Max>;
    /// Running maximum from the end.
    cummax_reverse_f64 = reverse::<f64, Max>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_sums_and_maxima_from_both_ends_in_place_too() {
        let x = [1.0f32, -2.0, 4.0, 0.5];
        type Function = unsafe extern "C" fn(*mut f32, *const f32, usize);
        let cases: [(Function, [f32; 4]); 4] = [
            (cumsum_f32, [1.0, -1.0, 3.0, 3.5]),
            (cumsum_reverse_f32, [3.5, 2.5, 4.5, 0.5]),
            (cummax_f32, [1.0, 1.0, 4.0, 4.0]),
            (cummax_reverse_f32, [4.0, 4.0, 4.0, 0.5]),
        ];
        for (function, expected) in cases {
            let mut y = [0.0; 4];
            // SAFETY: 4 elements each.
            unsafe { function(y.as_mut_ptr(), x.as_ptr(), 4) };
            assert_eq!(y, expected);
            let mut z = x;
            // SAFETY: 4 elements, the same range.
            unsafe { function(z.as_mut_ptr(), z.as_ptr(), 4) };
            assert_eq!(z, expected);
        }
    }

    #[test]
    fn nan_stays_in_the_running_maximum() {
        let x = [1.0f64, f64::NAN, 3.0];
        let mut y = [0.0; 3];
        // SAFETY: 3 elements each.
        unsafe { cummax_f64(y.as_mut_ptr(), x.as_ptr(), 3) };
        assert!(y[0] == 1.0 && y[1].is_nan() && y[2].is_nan());
        // SAFETY: 3 elements each.
        unsafe { cummax_reverse_f64(y.as_mut_ptr(), x.as_ptr(), 3) };
        assert!(y[0].is_nan() && y[1].is_nan() && y[2] == 3.0);
    }
}
