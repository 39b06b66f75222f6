//! The few operations from which every transcendental function is built.
//!
//! Invariant: each operation exists in scalar Rust, in SIMD registers and in Cranelift's vectors, with the same bits as
//! its result. Hence no early return, no branch on data and no table look-up: a choice is a [`Emit::select`].
//! It deliberately has no NaN classification: comparisons are false on NaN, and the definitions build on that.

/// A target on which a function of one f32 can be written down: numbers that are computed at once, or instructions
/// that are emitted.
pub(crate) trait Emit {
    /// One f32, or a vector of them.
    type Value: Copy;
    /// The truth of a comparison, lane by lane.
    type Mask: Copy;

    /// The same number in all lanes.
    fn constant(&mut self, value: f32) -> Self::Value;
    /// `a + b`.
    fn add(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// `a - b`.
    fn sub(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// `a * b`.
    fn mul(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// `a / b`.
    fn div(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// `a * b + c`, rounded once where the target has such an instruction, else twice.
    fn fma(&mut self, a: Self::Value, b: Self::Value, c: Self::Value) -> Self::Value;
    /// The square root, correctly rounded.
    fn sqrt(&mut self, a: Self::Value) -> Self::Value;
    /// `a` with its sign bit flipped.
    fn neg(&mut self, a: Self::Value) -> Self::Value;
    /// `a` with its sign bit cleared.
    fn abs(&mut self, a: Self::Value) -> Self::Value;
    /// The magnitude of the first under the sign bit of the second.
    fn copysign(&mut self, magnitude: Self::Value, sign: Self::Value) -> Self::Value;
    /// `a < b ? a : b`: a NaN in `b` is the result, one in `a` is dropped.
    fn min(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// `a > b ? a : b`: a NaN in `b` is the result, one in `a` is dropped.
    fn max(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// `a < b`, false where one is NaN.
    fn less(&mut self, a: Self::Value, b: Self::Value) -> Self::Mask;
    /// `mask ? a : b`.
    fn select(&mut self, mask: Self::Mask, a: Self::Value, b: Self::Value) -> Self::Value;
    /// `2^n` for an integral `n` in -126..=127; 0 at -127 and infinity at 128. Elsewhere any bits.
    ///
    /// As bits: `bits(n + (3 * 2^22 + 127)) << 23`.
    fn pow2(&mut self, n: Self::Value) -> Self::Value;
    /// `(m, e)` with `x = m * 2^e`, `m` in `[sqrt(1/2), sqrt(2))` and `e` integral, for a positive normal `x`. Elsewhere
    /// any bits.
    ///
    /// As bits: `k = (bits(x) - bits(sqrt(1/2))) >> 23` with the sign, `m = bits(x) - (k << 23)`, `e = float(k)`.
    fn split(&mut self, x: Self::Value) -> (Self::Value, Self::Value);

    /// The integer nearest to `x`, as a float, for `|x| < 2^22`.
    #[inline(always)]
    fn round(&mut self, x: Self::Value) -> Self::Value {
        let magic = self.constant(ROUND);
        let shifted = self.add(x, magic);
        self.sub(shifted, magic)
    }

    /// `constants[0] * x^(n-1) + .. + constants[n-1]` by Horner's rule.
    #[inline(always)]
    fn polynomial<const N: usize>(&mut self, x: Self::Value, constants: [f32; N]) -> Self::Value {
        let mut sum = self.constant(constants[0]);
        for &constant in &constants[1..] {
            let constant = self.constant(constant);
            sum = self.fma(sum, x, constant);
        }
        sum
    }
}

/// `3 * 2^22`: adding it leaves the nearest integer of the other summand in the low bits of the sum.
pub(crate) const ROUND: f32 = 12582912.0;
/// The bits of `sqrt(1/2)`, where [`Emit::split`] cuts a binade.
pub(crate) const SQRT_HALF_BITS: i32 = 0x3f35_04f3;
