//! Matrix instructions: a warp's threads load and multiply matrices together.
//!
//! Products are added as tensor cores do it, with fewer bits than a float has: what relies on more is wrong here as well.

use super::access::addresses;
use super::{Block, Machine, Warp};
use crate::check::Touch;
use crate::decode::{Access, LANES, Slot};
use crate::record::FindingKind;

/// Bits after the leading one of the largest addend that tensor cores keep of a sum's addends: no generation keeps fewer.
const KEPT_BITS: u64 = 23;
/// How many products are added up at a time.
const STEP: usize = 8;

impl Machine<'_, '_> {
    pub(super) fn load_matrix(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        access: &Access,
        transposed: bool,
        active: u32,
        at: usize,
    ) -> Option<()> {
        self.whole_warp(active, at)?;
        let addresses = addresses(warp, access.base, access.offset);
        for (matrix, slot) in access.registers.iter().enumerate() {
            let mut rows = [[0u16; 8]; 8];
            for (row, elements) in rows.iter_mut().enumerate() {
                let lane = 8 * matrix + row;
                let place = self.place(block, access.space, addresses[lane], access.bytes, at)?;
                if self.is_strict() {
                    self.check(block, warp, (lane, place, access.bytes), (Touch::Read, false), at);
                }
                let bytes = self.bytes(block, warp, lane, place, access.bytes);
                for (element, pair) in elements.iter_mut().zip(bytes.chunks(2)) {
                    *element = u16::from_le_bytes([pair[0], pair[1]]);
                }
            }
            let element = |r: usize, c: usize| if transposed { rows[c][r] } else { rows[r][c] };
            let pair = |lane: usize| {
                let (row, column) = (lane / 4, 2 * (lane % 4));
                u64::from(element(row, column)) | u64::from(element(row, column + 1)) << 16
            };
            warp.registers[*slot as usize] = std::array::from_fn(pair);
        }
        Some(())
    }

    fn whole_warp(&mut self, active: u32, at: usize) -> Option<()> {
        if active != u32::MAX {
            self.find(
                FindingKind::Divergence,
                at,
                "a matrix instruction that not all threads of a warp reach",
            );
        }
        (active == u32::MAX).then_some(())
    }

    /// `mma.m16n8k16`: D = A B + C, with bf16 factors and f32 sums.
    pub(super) fn multiply(
        &mut self,
        warp: &mut Warp,
        (d, a, b, c): (&[Slot; 4], &[Slot; 4], &[Slot; 2], &[Slot; 4]),
        active: u32,
        at: usize,
    ) -> Option<()> {
        self.whole_warp(active, at)?;
        let brain = |bits: u64, high: bool| f32::from_bits((bits as u32 >> (16 * u32::from(high))) << 16);
        let (mut left, mut right, mut sums) = ([[0.0; 16]; 16], [[0.0; 8]; 16], [[0.0; 8]; 16]);
        for lane in 0..LANES {
            let (group, inner) = (lane / 4, lane % 4);
            for (n, slot) in a.iter().enumerate() {
                let (row, column) = (group + 8 * (n % 2), 2 * inner + 8 * (n / 2));
                let bits = warp.register(*slot)[lane];
                (left[row][column], left[row][column + 1]) = (brain(bits, false), brain(bits, true));
            }
            for (n, slot) in b.iter().enumerate() {
                let row = 2 * inner + 8 * n;
                let bits = warp.register(*slot)[lane];
                (right[row][group], right[row + 1][group]) = (brain(bits, false), brain(bits, true));
            }
            for (n, slot) in c.iter().enumerate() {
                let bits = warp.register(*slot)[lane] as u32;
                sums[group + 8 * (n / 2)][2 * inner + n % 2] = f32::from_bits(bits);
            }
        }
        for (sums, left) in sums.iter_mut().zip(&left) {
            for (column, sum) in sums.iter_mut().enumerate() {
                for first in (0..16).step_by(STEP) {
                    let factor =
                        |at: usize| f64::from(left[first + at]) * f64::from(right[first + at][column]);
                    *sum = added(*sum, std::array::from_fn(factor));
                }
            }
        }
        for (n, slot) in d.iter().enumerate() {
            let sum = |lane: usize| sums[lane / 4 + 8 * (n / 2)][2 * (lane % 4) + n % 2].to_bits();
            warp.registers[*slot as usize] = std::array::from_fn(|lane| u64::from(sum(lane)));
        }
        self.record.counters.matrix_flops += 2 * 16 * 8 * 16;
        Some(())
    }
}

/// The sum of a float and of products of bf16 numbers, which f64 holds exactly: bits below those that are kept of the
/// largest addend are cut off, and so are those that the result has no room for.
fn added(sum: f32, products: [f64; STEP]) -> f32 {
    let addends = || products.iter().copied().chain([f64::from(sum)]);
    let plain: f64 = addends().sum();
    let largest = addends().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    if largest == 0.0 || !plain.is_finite() {
        return plain as f32;
    }
    // A power of two that makes an integer of what is kept.
    let exponent = largest.to_bits() >> 52;
    let scale = f64::from_bits((1023 + 1023 + KEPT_BITS - exponent) << 52);
    let total: i64 = addends().map(|x| i64::from((x * scale) as i32)).sum();
    let exact = total as f64 / scale;
    let nearest = exact as f32;
    if f64::from(nearest.abs()) > exact.abs() && nearest.is_finite() {
        f32::from_bits(nearest.to_bits() - 1)
    } else {
        nearest
    }
}
