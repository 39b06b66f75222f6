//! Where the memory of a grid point lies: in shared memory of its block as far as there is room, the smallest pieces first,
//! the rest in the run's memory.
//!
//! Invariant: buffers that take memory over from each other stay in the same place.

use super::shares::Shares;
use super::team::{is_for_teams, multiplies_in_a_loop};
use carousel_core::kernel::{Buffer, BufferId, Dim, Kernel, Place};
use carousel_core::program::element_bytes;
use std::collections::BTreeMap;

/// Bytes of shared memory for a point. Several blocks of a multiprocessor have room then.
const MOST_SHARED: u64 = 24 << 10;
/// The same where a point multiplies matrices in a loop, and finds the same memory at each turn: with the tiles of products,
/// what every GPU from sm_80 on gives to a block (99 KiB).
pub(super) const MOST_SHARED_BY_LOOPS: u64 = 76 << 10;
/// Pieces begin at multiples of that many bytes.
pub(super) const ALIGNMENT: u64 = 64;

/// Where the memory of a point lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Scratch {
    /// Of buffers that are in shared memory, where.
    shared: BTreeMap<BufferId, u64>,
    /// Bytes of shared memory.
    pub(crate) shared_bytes: u64,
    /// Whether nothing is anywhere else.
    pub(crate) is_all_shared: bool,
}

impl Scratch {
    /// Where a buffer is in shared memory, if it is.
    pub(super) fn shared(&self, id: BufferId) -> Option<u64> {
        self.shared.get(&id).copied()
    }

    /// The memory of a block that has a share.
    pub(super) fn of_shares(shares: &Shares) -> Scratch {
        let (shared, shared_bytes) = (shares.on_chip.clone(), shares.shared_bytes);
        let mut all =
            shares.kernel.buffers.iter().zip(0..).filter(|(b, _)| matches!(b.place, Place::Scratch(_)));
        let is_all_shared = all.all(|(_, number)| shared.contains_key(&BufferId(number)));
        Scratch { shared, shared_bytes, is_all_shared }
    }
}

/// Where the memory of a kernel's point lies.
pub(crate) fn scratch(kernel: &Kernel) -> Scratch {
    let mut pieces: BTreeMap<u64, Option<u64>> = BTreeMap::new();
    let mut is_all_shared = true;
    for buffer in &kernel.buffers {
        let Place::Scratch(offset) = buffer.place else { continue };
        let bytes = match buffer.elements {
            Dim::Known(elements) => elements.checked_mul(element_bytes(buffer.dtype)),
            Dim::Argument(_) => None,
        };
        match offset {
            Dim::Known(offset) => {
                let piece = pieces.entry(offset).or_insert(Some(0));
                *piece = piece.zip(bytes).map(|(piece, bytes)| piece.max(bytes));
            }
            Dim::Argument(_) => is_all_shared = false,
        }
    }
    let most = match (is_for_teams(kernel), multiplies_in_a_loop(kernel)) {
        (true, _) => 0,
        (false, true) => MOST_SHARED_BY_LOOPS,
        (false, false) => MOST_SHARED,
    };
    let mut by_size: Vec<(Option<u64>, u64)> =
        pieces.into_iter().map(|(offset, bytes)| (bytes, offset)).collect();
    by_size.sort_by_key(|(bytes, offset)| (bytes.unwrap_or(u64::MAX), *offset));
    let (mut shared, mut end) = (BTreeMap::new(), 0u64);
    for (bytes, offset) in by_size {
        let after = bytes.and_then(|bytes| end.checked_add(bytes)?.checked_next_multiple_of(ALIGNMENT));
        match after.filter(|after| *after <= most) {
            Some(after) => {
                shared.insert(offset, end);
                end = after;
            }
            None => is_all_shared = false,
        }
    }
    let place = |(buffer, number): (&Buffer, u32)| match buffer.place {
        Place::Scratch(Dim::Known(offset)) => Some((BufferId(number), *shared.get(&offset)?)),
        Place::Scratch(Dim::Argument(_)) | Place::Argument(_) => None,
    };
    let shared = kernel.buffers.iter().zip(0..).filter_map(place).collect();
    Scratch { shared, shared_bytes: end, is_all_shared }
}
