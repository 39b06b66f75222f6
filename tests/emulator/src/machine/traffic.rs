//! What a warp's access costs the memory: sectors of global memory, passes through the banks of shared memory.

use super::lanes;
use crate::check::Touch;
use crate::decode::Lanes;
use std::collections::HashMap;

/// Bytes of a sector of global memory.
pub(super) const SECTOR: u64 = 32;
/// Banks of shared memory, four bytes wide.
const BANKS: u64 = 32;

/// What an access touches of global memory.
pub(super) struct Sectors {
    /// The numbers of the sectors, ascending.
    pub(super) touched: Vec<u64>,
    /// As many as a contiguous access would touch.
    pub(super) ideal: u64,
    /// How many addresses there are.
    pub(super) distinct: u32,
}

/// What a warp's access touches.
pub(super) fn sectors(addresses: &Lanes, bytes: usize, active: u32) -> Sectors {
    let mut touched: Vec<u64> = Vec::with_capacity(32);
    let mut distinct: Vec<u64> = Vec::with_capacity(32);
    for lane in lanes(active) {
        let address = addresses[lane];
        touched.extend(address / SECTOR..=(address + bytes as u64 - 1) / SECTOR);
        distinct.push(address);
    }
    touched.sort_unstable();
    touched.dedup();
    distinct.sort_unstable();
    distinct.dedup();
    let ideal = (distinct.len() as u64 * bytes as u64).div_ceil(SECTOR);
    Sectors { touched, ideal, distinct: distinct.len() as u32 }
}

/// Sectors of global memory that a launch has touched so far.
#[derive(Default)]
pub(super) struct Seen {
    pages: HashMap<u64, Page>,
}

/// A bit for each of 64 sectors.
#[derive(Clone, Copy, Default)]
struct Page {
    read: u64,
    written: u64,
}

impl Seen {
    /// How many of these sectors come from memory, or go there, for the first time: a sector that is read after it was
    /// written does neither.
    pub(super) fn first(&mut self, sectors: &[u64], touch: Touch) -> u64 {
        let mut count = 0;
        for of_page in sectors.chunk_by(|a, b| a / 64 == b / 64) {
            let bits = of_page.iter().fold(0, |bits, sector| bits | 1 << (sector % 64));
            let page = self.pages.entry(of_page[0] / 64).or_default();
            let known = match touch {
                Touch::Read => page.read | page.written,
                Touch::Write => page.written,
            };
            match touch {
                Touch::Read => page.read |= bits,
                Touch::Write => page.written |= bits,
            }
            count += u64::from((bits & !known).count_ones());
        }
        count
    }
}

/// Passes through the banks, and as many as there would be without conflicts. Wide accesses go in parts of 128 bytes.
pub(super) fn passes(addresses: &Lanes, bytes: usize, active: u32) -> (u64, u64) {
    let at_a_time = (128 / bytes.max(4)).clamp(1, 32);
    let all: Vec<usize> = lanes(active).collect();
    let (mut passes, mut ideal) = (0, 0);
    for first in (0..32).step_by(at_a_time) {
        let part = all.iter().filter(|lane| (first..first + at_a_time).contains(*lane));
        let words = part.flat_map(|lane| {
            let word = addresses[*lane] / 4;
            word..word + (bytes as u64).div_ceil(4)
        });
        let mut words: Vec<u64> = words.collect();
        if words.is_empty() {
            continue;
        }
        words.sort_unstable();
        words.dedup();
        let mut of_bank = [0u64; BANKS as usize];
        words.iter().for_each(|word| of_bank[(word % BANKS) as usize] += 1);
        passes += of_bank.iter().max().copied().unwrap_or(0);
        ideal += 1;
    }
    (passes, ideal)
}
