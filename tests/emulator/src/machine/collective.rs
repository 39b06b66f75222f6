//! What the threads of a warp do together: shuffles, votes, asynchronous copies.

use super::access::{Place, addresses};
use super::{Block, Machine, Warp, lanes};
use crate::check::Touch;
use crate::decode::{Access, LANES, Lanes, Shuffle, Slot, Space, Vote};
use crate::record::FindingKind;

/// A copy that has begun.
#[derive(Clone, Debug)]
struct Copy {
    offset: usize,
    bytes: Vec<u8>,
}

/// Asynchronous copies of the threads of a warp.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies {
    /// By thread: what was not committed, and the groups that were.
    of_thread: Vec<(Vec<Copy>, Vec<Vec<Copy>>)>,
}

impl Copies {
    pub(super) fn clear(&mut self) {
        self.of_thread.clear();
    }

    fn thread(&mut self, lane: usize) -> &mut (Vec<Copy>, Vec<Vec<Copy>>) {
        self.of_thread.resize(LANES, (Vec::new(), Vec::new()));
        &mut self.of_thread[lane]
    }

    pub(super) fn commit(&mut self, active: u32) {
        for lane in lanes(active) {
            let (open, groups) = self.thread(lane);
            groups.push(std::mem::take(open));
        }
    }
}

/// What a vote gives to every thread.
pub(super) fn voted(mode: Vote, holds: u32, active: u32) -> u64 {
    match mode {
        Vote::Ballot => u64::from(holds),
        Vote::Any => u64::from(holds != 0),
        Vote::All => u64::from(holds == active),
    }
}

impl Machine<'_, '_> {
    /// Checks that exactly the members of a collective operation take part in it.
    pub(super) fn members(&mut self, warp: &Warp, members: Slot, active: u32, at: usize) -> Option<()> {
        let all = *warp.register(members);
        let is_complete = lanes(active).all(|lane| all[lane] as u32 & warp.alive == active);
        if !is_complete {
            let what = format!("the threads {active:#010x} of a warp do it, not those that are named");
            self.find(FindingKind::Divergence, at, &what);
        }
        is_complete.then_some(())
    }

    pub(super) fn shuffle(
        &mut self,
        warp: &Warp,
        mode: Shuffle,
        (value, lane, clamp): (Slot, Slot, Slot),
        active: u32,
        at: usize,
    ) -> Option<(Lanes, Lanes)> {
        let (values, by, clamps) = (warp.register(value), warp.register(lane), warp.register(clamp));
        let (mut result, mut inside) = ([0; LANES], [0; LANES]);
        for lane in lanes(active) {
            let own = lane as i64;
            let (by, clamp) = ((by[lane] & 31) as i64, clamps[lane]);
            let (bound, segment) = ((clamp & 31) as i64, (clamp >> 8 & 31) as i64);
            let last = (own & segment) | (bound & !segment & 31);
            let first = own & segment;
            let (source, holds) = match mode {
                Shuffle::Butterfly => (own ^ by, own ^ by <= last),
                Shuffle::Down => (own + by, own + by <= last),
                Shuffle::Up => (own - by, own - by >= last),
                Shuffle::Index => {
                    let source = first | (by & !segment & 31);
                    (source, source <= last)
                }
            };
            let source = if holds { source as usize } else { lane };
            if active >> source & 1 == 0 {
                self.find(
                    FindingKind::Divergence,
                    at,
                    &format!("lane {lane} reads lane {source}, which is not there"),
                );
                return None;
            }
            (result[lane], inside[lane]) = (values[source], u64::from(holds));
        }
        Some((result, inside))
    }

    pub(super) fn copy_async(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        (to, from, size): (&Access, &Access, Option<Slot>),
        active: u32,
        at: usize,
    ) -> Option<()> {
        let targets = addresses(warp, to.base, to.offset);
        let sources = addresses(warp, from.base, from.offset);
        for lane in lanes(active) {
            let read = size.map_or(to.bytes, |slot| (warp.register(slot)[lane] as usize).min(to.bytes));
            let mut bytes = vec![0; to.bytes];
            if read > 0 {
                let place = self.place(block, Space::Global, sources[lane], from.bytes, at)?;
                if self.is_strict() {
                    self.check(block, warp, (lane, place, read), (Touch::Read, false), at);
                }
                bytes[..read].copy_from_slice(self.bytes(block, warp, lane, place, read));
            }
            let place = self.place(block, Space::Shared, targets[lane], to.bytes, at)?;
            let Place::Shared(offset) = place else { return None };
            if self.is_strict() {
                self.check(block, warp, (lane, place, to.bytes), (Touch::Write, false), at);
                // Until it is waited for, there is nothing to read.
                block.shared.written[offset..offset + to.bytes].fill(false);
            }
            warp.copies.thread(lane).0.push(Copy { offset, bytes });
        }
        Some(())
    }

    /// Completes all but the last `pending` groups of copies.
    pub(super) fn wait_for_copies(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        pending: usize,
        active: u32,
    ) {
        for lane in lanes(active) {
            let groups = &mut warp.copies.thread(lane).1;
            let complete = groups.len().saturating_sub(pending);
            let done: Vec<Copy> = groups.drain(..complete).flatten().collect();
            let who = self.who(block, warp, lane);
            for Copy { offset, bytes } in done {
                let total = block.shared.data.len();
                block.shared.data[offset..offset + bytes.len()].copy_from_slice(&bytes);
                if self.is_strict() {
                    block.shared.written[offset..offset + bytes.len()].fill(true);
                    let place = (offset, bytes.len(), total);
                    block.shared.cells.touch(place, Touch::Write, who, false, &self.clocks);
                }
            }
        }
    }
}
