//! The device's memory: allocations with red zones around them, and what is known of each byte.
//!
//! Invariant: an address belongs to at most one allocation; between two of them lies a gap at least as large as either,
//! so that an access that misses one does not hit another. What was never written has no value.

use crate::check::Cells;
use crate::decode::GLOBAL_WINDOW;
use std::collections::BTreeMap;

/// Bytes with what is known of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) data: Vec<u8>,
    /// Whether each byte has been written.
    pub(crate) written: Vec<bool>,
    pub(crate) cells: Cells,
}

/// What memory holds that nobody wrote: as a float NaN, as an index far out of range.
const UNWRITTEN: u8 = 0xff;

impl Store {
    pub(crate) fn new(bytes: usize) -> Store {
        Store { data: vec![UNWRITTEN; bytes], written: vec![false; bytes], cells: Cells::default() }
    }

    /// Forgets everything, as for another block.
    pub(crate) fn clear(&mut self) {
        self.data.fill(UNWRITTEN);
        self.written.fill(false);
        self.cells.clear();
    }
}

/// Memory that was allocated at once.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) base: u64,
    pub(crate) store: Store,
}

/// The global memory of a device.
#[derive(Debug, Default)]
pub struct Memory {
    allocations: BTreeMap<u64, Allocation>,
    next: u64,
    live: u64,
    peak: u64,
}

/// An address or a size that does not belong to an allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{bytes} bytes at {address:#x} are not in one allocation")]
pub struct NotAllocated {
    /// The address.
    pub address: u64,
    /// How many bytes.
    pub bytes: usize,
}

impl Memory {
    /// Memory whose addresses lie in the part with this number, so that several do not meet.
    pub(crate) fn in_part(part: u64) -> Memory {
        Memory { next: part << PART_BITS, ..Memory::default() }
    }

    /// New memory without a value, aligned to 256 bytes.
    pub fn allocate(&mut self, bytes: usize) -> u64 {
        let room = (bytes as u64).max(1).next_multiple_of(256);
        let base = GLOBAL_WINDOW + self.next + room;
        // One gap before and one after.
        self.next += 3 * room;
        self.allocations.insert(base, Allocation { base, store: Store::new(bytes) });
        self.live += bytes as u64;
        self.peak = self.peak.max(self.live);
        base
    }

    /// Gives memory back.
    ///
    /// # Errors
    /// If it is not the start of an allocation.
    pub fn free(&mut self, address: u64) -> Result<(), NotAllocated> {
        let gone = self.allocations.remove(&address).ok_or(NotAllocated { address, bytes: 0 })?;
        self.live -= gone.store.data.len() as u64;
        Ok(())
    }

    fn find(&self, address: u64, bytes: usize) -> Result<(u64, usize), NotAllocated> {
        let missing = NotAllocated { address, bytes };
        let (base, found) = self.allocations.range(..=address).next_back().ok_or(missing)?;
        let offset = usize::try_from(address - base).map_err(|_| missing)?;
        let end = offset.checked_add(bytes).ok_or(missing)?;
        if end <= found.store.data.len() { Ok((*base, offset)) } else { Err(missing) }
    }

    fn store_at(&mut self, address: u64, bytes: usize) -> Result<(&mut Store, usize), NotAllocated> {
        let (base, offset) = self.find(address, bytes)?;
        let allocation = self.allocations.get_mut(&base).ok_or(NotAllocated { address, bytes })?;
        Ok((&mut allocation.store, offset))
    }

    /// From the host.
    ///
    /// # Errors
    /// If the bytes are not in one allocation.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), NotAllocated> {
        let (store, at) = self.store_at(address, bytes.len())?;
        store.data[at..at + bytes.len()].copy_from_slice(bytes);
        store.written[at..at + bytes.len()].fill(true);
        Ok(())
    }

    /// To the host.
    ///
    /// # Errors
    /// If the bytes are not in one allocation.
    pub fn read(&self, address: u64, bytes: usize) -> Result<&[u8], NotAllocated> {
        let (base, at) = self.find(address, bytes)?;
        let allocation = self.allocations.get(&base).ok_or(NotAllocated { address, bytes })?;
        Ok(&allocation.store.data[at..at + bytes])
    }

    /// Takes the value from memory, as if it had just been allocated: what a kernel is going to write.
    ///
    /// # Errors
    /// If the bytes are not in one allocation.
    pub fn forget(&mut self, address: u64, bytes: usize) -> Result<(), NotAllocated> {
        let (store, at) = self.store_at(address, bytes)?;
        store.data[at..at + bytes].fill(UNWRITTEN);
        store.written[at..at + bytes].fill(false);
        Ok(())
    }

    /// The most bytes that were allocated at a time.
    pub fn peak_bytes(&self) -> u64 {
        self.peak
    }

    /// All allocations, ascending.
    pub(crate) fn all(&mut self) -> Vec<&mut Allocation> {
        self.allocations.values_mut().collect()
    }
}

/// Address bits within a part.
const PART_BITS: u32 = 38;

/// The part of the memory in which an address lies, if it is one of global memory.
pub(crate) fn part_of(address: u64) -> Option<u64> {
    let parts = GLOBAL_WINDOW..GLOBAL_WINDOW + (1 << 46);
    parts.contains(&address).then(|| (address - GLOBAL_WINDOW) >> PART_BITS)
}
