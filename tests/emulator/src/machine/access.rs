//! Loads, stores and atomic operations, checked.

use super::traffic::{self, SECTOR, Sectors};
use super::{Block, Machine, Warp, lanes};
use crate::check::Touch;
use crate::decode::{Access, LANES, LOCAL_WINDOW, Lanes, SHARED_WINDOW, Space, Update};
use crate::decode::{GLOBAL_WINDOW, Slot};
use crate::memory::Store;
use crate::record::FindingKind;

/// Where an access goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Global { allocation: usize, offset: usize },
    Shared(usize),
    Local(usize),
}

impl Place {
    /// So many bytes further on.
    fn after(self, bytes: usize) -> Place {
        match self {
            Place::Global { allocation, offset } => Place::Global { allocation, offset: offset + bytes },
            Place::Shared(offset) => Place::Shared(offset + bytes),
            Place::Local(offset) => Place::Local(offset + bytes),
        }
    }
}

/// Up to eight bytes as the bits of a register.
pub(super) fn extended(bytes: &[u8], signed: bool) -> u64 {
    let mut all = [0; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    let value = u64::from_le_bytes(all);
    // Registers hold the bits of the widest integer that a narrow one may be extended to.
    let shift = 64 - 8 * bytes.len() as u32;
    if signed { ((value << shift) as i64 >> shift) as u64 } else { value }
}

pub(super) fn addresses(warp: &Warp, base: Option<Slot>, offset: i64) -> Lanes {
    let base = base.map_or([0; LANES], |slot| *warp.register(slot));
    base.map(|address| address.wrapping_add(offset as u64))
}

impl Machine<'_, '_> {
    /// The place of `bytes` at an address, if they may be touched.
    pub(super) fn place(
        &mut self,
        block: &Block,
        space: Space,
        address: u64,
        bytes: usize,
        at: usize,
    ) -> Option<Place> {
        let (space, address) = match space {
            Space::Generic if address >= GLOBAL_WINDOW => (Space::Global, address),
            Space::Generic if address >= LOCAL_WINDOW => (Space::Local, address - LOCAL_WINDOW),
            Space::Generic if address >= SHARED_WINDOW => (Space::Shared, address - SHARED_WINDOW),
            Space::Shared => (Space::Shared, address & 0xffff_ffff),
            Space::Global | Space::Local | Space::Generic => (space, address),
        };
        if !address.is_multiple_of(bytes as u64) {
            self.find(FindingKind::Misaligned, at, &format!("{bytes} bytes at {address:#x}"));
            return None;
        }
        let end = address.wrapping_add(bytes as u64);
        let place = match space {
            Space::Global | Space::Generic => self.global_place(address, end),
            Space::Shared => {
                (end <= block.shared.data.len() as u64).then_some(Place::Shared(address as usize))
            }
            Space::Local => {
                (end <= self.program.local_bytes as u64).then_some(Place::Local(address as usize))
            }
        };
        if place.is_none() {
            let (number, what) = (block.number, self.describe(space, address));
            self.find(
                FindingKind::OutOfBounds,
                at,
                &format!("{bytes} bytes at {what}, out of bounds, in block {number}"),
            );
        }
        place
    }

    fn global_place(&mut self, address: u64, end: u64) -> Option<Place> {
        let holds = |base: u64, bytes: usize| base <= address && end <= base + bytes as u64;
        let recent = self.memory.get(self.recent)?;
        if !holds(recent.base, recent.store.data.len()) {
            let after = self.memory.partition_point(|allocation| allocation.base <= address);
            let found = after.checked_sub(1)?;
            let allocation = &self.memory[found];
            if !holds(allocation.base, allocation.store.data.len()) {
                return None;
            }
            self.recent = found;
        }
        if let Some(ranges) = &self.launch.ranges {
            let allowed = |range: &super::Range| range.start <= address && end <= range.start + range.bytes;
            if !ranges.iter().any(allowed) {
                return None;
            }
        }
        let allocation = self.recent;
        Some(Place::Global { allocation, offset: (address - self.memory[allocation].base) as usize })
    }

    fn describe(&self, space: Space, address: u64) -> String {
        match space {
            Space::Shared => format!("byte {address} of shared memory"),
            Space::Local => format!("byte {address} of a thread's own memory"),
            Space::Global | Space::Generic => {
                let below = self.memory.iter().rev().find(|allocation| allocation.base <= address);
                below.map_or(format!("{address:#x}"), |allocation| {
                    let bytes = allocation.store.data.len();
                    format!("byte {} of an allocation of {bytes}", address - allocation.base)
                })
            }
        }
    }

    /// Checks that bytes have a value and that nothing races with the access, and notes it.
    pub(super) fn check(
        &mut self,
        block: &mut Block,
        warp: &Warp,
        (lane, place, bytes): (usize, Place, usize),
        (touch, strong): (Touch, bool),
        at: usize,
    ) {
        let who = self.who(block, warp, lane);
        let (store, offset, space): (&mut Store, usize, &str) = match place {
            Place::Global { allocation, offset } => (&mut self.memory[allocation].store, offset, "global"),
            Place::Shared(offset) => (&mut block.shared, offset, "shared"),
            Place::Local(_) => return,
        };
        let has_value = store.written[offset..offset + bytes].iter().all(|written| *written);
        let total = store.data.len();
        let race = store.cells.touch((offset, bytes, total), touch, who, strong, &self.clocks);
        if touch == Touch::Read && !has_value {
            let what = format!("byte {offset} of {space} memory is read before anything was written there");
            self.find(FindingKind::Uninitialised, at, &what);
        }
        if let Some(race) = race {
            let verb = if touch == Touch::Read { "a read" } else { "a write" };
            let what = format!(
                "{verb} of byte {offset} of {space} memory by thread {} of block {} races with {}",
                who.thread,
                who.block,
                race.with()
            );
            self.find(FindingKind::Race, at, &what);
        }
    }

    pub(super) fn bytes<'s>(
        &'s mut self,
        block: &'s mut Block,
        warp: &'s mut Warp,
        lane: usize,
        place: Place,
        count: usize,
    ) -> &'s mut [u8] {
        match place {
            Place::Global { allocation, offset } => {
                &mut self.memory[allocation].store.data[offset..offset + count]
            }
            Place::Shared(offset) => &mut block.shared.data[offset..offset + count],
            Place::Local(offset) => {
                let start = lane * self.program.local_bytes + offset;
                &mut warp.local[start..start + count]
            }
        }
    }

    pub(super) fn mark_written(&mut self, block: &mut Block, place: Place, count: usize) {
        match place {
            Place::Global { allocation, offset } => {
                self.memory[allocation].store.written[offset..offset + count].fill(true);
            }
            Place::Shared(offset) => block.shared.written[offset..offset + count].fill(true),
            Place::Local(_) => {}
        }
    }

    pub(super) fn load(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        access: &Access,
        active: u32,
        at: usize,
    ) -> Option<()> {
        let all = access.bytes * access.registers.len();
        let addresses = addresses(warp, access.base, access.offset);
        self.count(access.space, &addresses, all, active, Touch::Read);
        for lane in lanes(active) {
            let place = self.place(block, access.space, addresses[lane], all, at)?;
            if self.is_strict() && access.unread == 0 {
                self.check(block, warp, (lane, place, all), (Touch::Read, access.strong), at);
            } else if self.is_strict() {
                for number in (0..access.registers.len()).filter(|n| access.unread >> n & 1 == 0) {
                    let part = (lane, place.after(number * access.bytes), access.bytes);
                    self.check(block, warp, part, (Touch::Read, access.strong), at);
                }
            }
            if access.strong {
                self.learn(block, addresses[lane]);
            }
            let mut values = [0; 8];
            for (value, bytes) in
                values.iter_mut().zip(self.bytes(block, warp, lane, place, all).chunks(access.bytes))
            {
                *value = extended(bytes, access.signed);
            }
            for (slot, value) in access.registers.iter().zip(values) {
                warp.registers[*slot as usize][lane] = value;
            }
        }
        Some(())
    }

    pub(super) fn store(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        access: &Access,
        active: u32,
        at: usize,
    ) -> Option<()> {
        let all = access.bytes * access.registers.len();
        let addresses = addresses(warp, access.base, access.offset);
        self.count(access.space, &addresses, all, active, Touch::Write);
        for lane in lanes(active) {
            let place = self.place(block, access.space, addresses[lane], all, at)?;
            if self.is_strict() {
                self.check(block, warp, (lane, place, all), (Touch::Write, access.strong), at);
                self.mark_written(block, place, all);
            }
            if access.strong {
                self.publish(block, addresses[lane]);
            }
            for (at, slot) in access.registers.iter().enumerate() {
                let value = warp.register(*slot)[lane].to_le_bytes();
                let bytes = self.bytes(block, warp, lane, place, all);
                bytes[at * access.bytes..(at + 1) * access.bytes].copy_from_slice(&value[..access.bytes]);
            }
        }
        Some(())
    }

    pub(super) fn atomic(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        (access, update, wants_old): (&Access, Update, bool),
        active: u32,
        at: usize,
    ) -> Option<()> {
        let addresses = addresses(warp, access.base, access.offset);
        self.count(access.space, &addresses, access.bytes, active, Touch::Write);
        for lane in lanes(active) {
            let place = self.place(block, access.space, addresses[lane], access.bytes, at)?;
            if self.is_strict() {
                self.check(block, warp, (lane, place, access.bytes), (Touch::Read, true), at);
                self.check(block, warp, (lane, place, access.bytes), (Touch::Write, true), at);
                self.mark_written(block, place, access.bytes);
            }
            self.learn(block, addresses[lane]);
            self.publish(block, addresses[lane]);
            let operand = |n: usize| access.registers.get(n).map_or(0, |slot| warp.register(*slot)[lane]);
            let (value, other) = (operand(1), operand(2));
            let bytes = self.bytes(block, warp, lane, place, access.bytes);
            let old = extended(bytes, false);
            let new = updated(update, access.bytes, old, value, other);
            bytes.copy_from_slice(&new.to_le_bytes()[..access.bytes]);
            if wants_old {
                warp.registers[access.registers[0] as usize][lane] = old;
            }
        }
        Some(())
    }

    /// What the block did before its last barrier is known to whoever reads this address atomically.
    fn publish(&mut self, block: &Block, address: u64) {
        if self.launch.cooperative {
            let mut published = self.clocks.published(block.number, block.epoch);
            if let Some(before) = self.published.get(&address) {
                published.iter_mut().zip(before).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
            }
            self.published.insert(address, published);
        }
    }

    fn learn(&mut self, block: &mut Block, address: u64) {
        if let Some(published) = self.published.get(&address)
            && block.learned.last() != Some(published)
        {
            block.learned.push(published.clone());
        }
    }

    /// Counts what an access of a warp costs the memory.
    fn count(&mut self, space: Space, addresses: &Lanes, bytes: usize, active: u32, touch: Touch) {
        if !self.is_strict() {
            return;
        }
        let counters = &mut self.record.counters;
        let is_shared = match space {
            Space::Shared => true,
            Space::Generic => lanes(active).all(|lane| addresses[lane] < LOCAL_WINDOW),
            Space::Global => false,
            Space::Local => return,
        };
        if is_shared {
            let (passes, ideal) = traffic::passes(addresses, bytes, active);
            counters.shared_passes += passes;
            counters.ideal_shared_passes += ideal;
            return;
        }
        let Sectors { touched, ideal, distinct } = traffic::sectors(addresses, bytes, active);
        match touch {
            Touch::Read => {
                counters.loads += 1;
                counters.wide_loads += u64::from(bytes == 16);
                let is_shared = bytes < 16 && 4 * distinct <= active.count_ones();
                counters.broadcast_loads += u64::from(is_shared);
                counters.read_bytes += SECTOR * touched.len() as u64;
                counters.ideal_read_bytes += SECTOR * ideal;
                counters.dram_read_bytes += SECTOR * self.seen.first(&touched, touch);
            }
            Touch::Write => {
                counters.written_bytes += SECTOR * touched.len() as u64;
                counters.dram_written_bytes += SECTOR * self.seen.first(&touched, touch);
            }
        }
    }
}

fn updated(update: Update, bytes: usize, old: u64, value: u64, other: u64) -> u64 {
    let signed = |x: u64| if bytes == 4 { i64::from(x as u32 as i32) } else { x as i64 };
    let width = if bytes == 4 { u64::from(u32::MAX) } else { u64::MAX };
    let (value, other) = (value & width, other & width);
    match update {
        Update::Add => old.wrapping_add(value),
        Update::AddFloat => u64::from((f32::from_bits(old as u32) + f32::from_bits(value as u32)).to_bits()),
        Update::Min { signed: true } => signed(old).min(signed(value)) as u64,
        Update::Max { signed: true } => signed(old).max(signed(value)) as u64,
        Update::Min { signed: false } => old.min(value),
        Update::Max { signed: false } => old.max(value),
        Update::Exchange => value,
        Update::CompareAndSwap => {
            if old == value {
                other
            } else {
                old
            }
        }
        Update::And => old & value,
        Update::Or => old | value,
        Update::Xor => old ^ value,
    }
}
