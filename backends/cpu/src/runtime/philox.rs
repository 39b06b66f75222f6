//! Random numbers by Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011).
//!
//! Invariant: a number depends on key, step and index alone, never on how a tile was cut: element `i` of a stream is
//! word `i % 4` of `philox([seed, stream], [low(i / 4), high(i / 4), step, 0])`, its upper 24 bits times `2^-24`.
//! Deliberately absent: any state.

use carousel_ir::philox::philox;

use super::isa::for_every_isa;
use super::simd::Registers;

/// A uniform number in \[0, 1) from 32 random bits: 24 of them, so that every value is exact.
#[inline(always)]
fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Blocks that are computed side by side.
const BLOCKS: usize = 16;

/// # Safety
/// `dst` must be valid for writes of `n` elements, and the processor must have the instruction set.
#[inline(always)]
unsafe fn uniform<T: From<f32>, R: Registers>(
    dst: *mut T,
    n: usize,
    seed: u32,
    stream: u32,
    step: u32,
    first: u64,
) {
    let block_of = |block: u64| philox([seed, stream], [block as u32, (block >> 32) as u32, step, 0]);
    let mut at = 0;
    while at < n {
        let index = first.wrapping_add(at as u64);
        let (block, skipped) = (index / 4, (index % 4) as usize);
        if skipped == 0 && n - at >= 4 * BLOCKS {
            let mut numbers = [[0.0f32; 4]; BLOCKS];
            for (offset, numbers) in numbers.iter_mut().enumerate() {
                let [a, b, c, d] = block_of(block.wrapping_add(offset as u64));
                *numbers = [unit(a), unit(b), unit(c), unit(d)];
            }
            for &number in numbers.as_flattened() {
                // SAFETY: at < n, for which the caller has room.
                unsafe { dst.add(at).write(T::from(number)) };
                at += 1;
            }
        } else {
            for &word in block_of(block).iter().skip(skipped).take(n - at) {
                // SAFETY: as above.
                unsafe { dst.add(at).write(T::from(unit(word))) };
                at += 1;
            }
        }
    }
}

for_every_isa!(
    /// `f(dst, n, seed, stream, step, first)`: the elements `first .. first + n` of a stream, at `dst`, which must be
    /// valid for `n` elements.
    uniform_f32(dst: *mut f32, n: usize, seed: u32, stream: u32, step: u32, first: u64) = uniform[f32]
);
for_every_isa!(
    /// The same numbers as [`uniform_f32`], in f64.
    uniform_f64(dst: *mut f64, n: usize, seed: u32, stream: u32, step: u32, first: u64) = uniform[f64]
);

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that are published with Random123 (`kat_vectors`, philox4x32 10).
    #[test]
    fn known_answers() {
        let all = u32::MAX;
        assert_eq!(philox([0; 2], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([all; 2], [all; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0xa409_3822, 0x299f_31d0], [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn a_tile_is_a_window_into_the_stream_on_every_isa() {
        let base = (1u64 << 34) - 6;
        let expected: Vec<f32> = (0..200)
            .map(|i| {
                let index = base + i;
                let block = index / 4;
                let words = philox([5, 9], [block as u32, (block >> 32) as u32, 11, 0]);
                (words[(index % 4) as usize] >> 8) as f32 / 16_777_216.0
            })
            .collect();
        assert!(expected.iter().all(|&x| (0.0..1.0).contains(&x)));
        for &isa in Isa::available() {
            for first in 0..9 {
                for n in [0, 1, 2, 3, 5, 8, 61, 64, 67, 131, 190] {
                    let mut tile = vec![-1.0f32; n + 1];
                    // SAFETY: n elements.
                    unsafe {
                        uniform_f32::function(isa)(tile.as_mut_ptr(), n, 5, 9, 11, base + first as u64)
                    };
                    assert_eq!(&tile[..n], &expected[first..first + n]);
                    assert_eq!(tile[n], -1.0);
                }
            }
            let mut tile = [0.0f64; 200];
            // SAFETY: 200 elements.
            unsafe { uniform_f64::function(isa)(tile.as_mut_ptr(), 200, 5, 9, 11, base) };
            assert!(tile.iter().zip(&expected).all(|(&x, &y)| x == f64::from(y)));
        }
    }

    use crate::runtime::isa::Isa;

    #[test]
    fn mean_and_variance_are_those_of_the_uniform_distribution() {
        let n = 1 << 16;
        let mut x = vec![0.0f32; n];
        // SAFETY: n elements.
        unsafe { uniform_f32::function(Isa::host())(x.as_mut_ptr(), n, 1, 2, 3, 0) };
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
        let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.005 && (variance - 1.0 / 12.0).abs() < 0.002, "{mean} {variance}");
    }
}
