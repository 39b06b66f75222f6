//! Loading numbers of 16 bits.

use super::*;
use crate::runtime::isa::for_every_isa;

/// Sixteen numbers at once, eight, four, and one by one, each into its own part of the result.
#[inline(always)]
// SAFETY (for callers): sixteen elements to read, and four times as many to write.
unsafe fn widen<R: Registers>(from: *const F16, to: *mut f32) {
    #[inline(always)]
    // SAFETY (for callers): sixteen elements to read, and as many to write.
    unsafe fn by<V: Vector>(from: *const F16, to: *mut f32) {
        let mut at = 0;
        while at < 16 {
            // SAFETY: `LANES` divides 16.
            unsafe { V::load_f16(from.wrapping_add(at)).store(to.wrapping_add(at)) };
            at += V::LANES;
        }
    }
    // SAFETY: the caller's.
    unsafe {
        by::<R::Sixteen>(from, to);
        by::<R::Eight>(from, to.wrapping_add(16));
        by::<R::Four>(from, to.wrapping_add(32));
        by::<R::One>(from, to.wrapping_add(48));
    }
}

for_every_isa!(
    /// All ways of loading.
    widened(from: *const F16, to: *mut f32) = widen[]
);

#[test]
fn every_f16_is_widened_exactly_in_registers_of_every_width() {
    let all: Vec<F16> = (0..=u16::MAX).map(F16).collect();
    for &isa in Isa::available() {
        for numbers in all.chunks_exact(16) {
            let mut found = [0.0f32; 64];
            // SAFETY: sixteen elements, and room for 64.
            unsafe { widened::function(isa)(numbers.as_ptr(), found.as_mut_ptr()) };
            for (at, found) in found.iter().enumerate() {
                let bits = numbers[at % 16].0;
                let expected = half::f16::from_bits(bits).to_f32();
                assert_eq!(found.to_bits(), expected.to_bits(), "{isa:?}, {bits:#06x}: {found}");
            }
        }
    }
}
