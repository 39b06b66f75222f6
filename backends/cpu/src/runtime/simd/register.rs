//! A register of a processor as a [`Vector`](super::Vector): its intrinsics by name.

macro_rules! register {
    (
        $name:ident, $lanes:literal, $splat:ident, $add:ident, $mul:ident, $fma:ident,
        |$a:ident, $b:ident| $max:expr, |$v:ident| $sum:expr,
        |$halves:ident: $half:ty| [$bf16:expr, $f16:expr]
    ) => {
        impl Vector for $name {
            const LANES: usize = $lanes;
            #[inline(always)]
            fn splat(x: f32) -> Self {
                // SAFETY: the module's rule.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                // SAFETY: the caller's.
                unsafe { behind(from.cast::<Unaligned<$name>>()).0 }
            }
            #[inline(always)]
            unsafe fn load_bf16(from: *const Bf16) -> Self {
                // SAFETY: the caller's.
                unsafe {
                    let $halves = behind(from.cast::<Unaligned<$half>>()).0;
                    $bf16
                }
            }
            #[inline(always)]
            unsafe fn load_f16(from: *const F16) -> Self {
                // SAFETY: the caller's.
                unsafe {
                    let $halves = behind(from.cast::<Unaligned<$half>>()).0;
                    $f16
                }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                // SAFETY: the caller's.
                unsafe { *behind_mut(to.cast::<Unaligned<$name>>()) = Unaligned(self) }
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: the module's rule.
                unsafe { $add(self, other) }
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                // SAFETY: the module's rule.
                unsafe { $mul(self, other) }
            }
            #[inline(always)]
            fn fma(self, factor: Self, summand: Self) -> Self {
                // SAFETY: the module's rule.
                unsafe { $fma(self, factor, summand) }
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                let ($a, $b) = (self, other);
                // SAFETY: the module's rule.
                unsafe { $max }
            }
            #[inline(always)]
            fn sum(self) -> f32 {
                let $v = self;
                // SAFETY: the module's rule.
                unsafe { $sum }
            }
        }
    };
}
