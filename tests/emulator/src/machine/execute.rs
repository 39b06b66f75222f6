//! One warp, step by step.

use super::{Block, Machine, Stop, Warp, lanes};
use crate::decode::{LANES, Lanes, Operation, Slot};
use crate::record::FindingKind;

impl Warp {
    /// Writes a register where the mask allows.
    pub(super) fn put(&mut self, slot: Slot, value: &Lanes, mask: u32) {
        let register = &mut self.registers[slot as usize];
        if mask == u32::MAX {
            *register = *value;
        } else {
            for lane in lanes(mask) {
                register[lane] = value[lane];
            }
        }
    }

    pub(super) fn register(&self, slot: Slot) -> &Lanes {
        &self.registers[slot as usize]
    }

    /// The lanes in which a predicate holds.
    pub(super) fn holds(&self, slot: Slot) -> u32 {
        self.register(slot).iter().enumerate().fold(0, |mask, (lane, bit)| mask | (*bit as u32 & 1) << lane)
    }
}

/// Which threads go on together.
struct Group {
    at: usize,
    mask: u32,
    /// Where the next of the others are.
    others: usize,
}

fn group(warp: &mut Warp) -> Option<Group> {
    let ready = warp.alive & !warp.waiting;
    // Those that wait for others of their warp go on if nobody else can.
    let mut going = ready & !warp.stalled;
    if going == 0 {
        (going, warp.stalled) = (ready, 0);
    }
    let at = lanes(going).map(|lane| warp.positions[lane]).min()?;
    let mut found = Group { at: at as usize, mask: 0, others: usize::MAX };
    for lane in lanes(ready) {
        let position = warp.positions[lane];
        if position == at {
            found.mask |= 1 << lane;
        } else if position > at {
            found.others = found.others.min(position as usize);
        }
    }
    warp.stalled &= !found.mask;
    Some(found)
}

/// Whether threads of a warp do something together.
fn is_collective(operation: &Operation) -> bool {
    match operation {
        Operation::Barrier
        | Operation::LoadMatrix { .. }
        | Operation::Multiply { .. }
        | Operation::Shuffle { .. }
        | Operation::Vote { .. }
        | Operation::WarpBarrier { .. } => true,
        Operation::Branch(_)
        | Operation::Exit
        | Operation::Compute { .. }
        | Operation::Pack { .. }
        | Operation::Unpack { .. }
        | Operation::LoadParameter { .. }
        | Operation::Load(_)
        | Operation::Store(_)
        | Operation::Atomic { .. }
        | Operation::CopyAsync { .. }
        | Operation::CommitCopies
        | Operation::WaitForCopies(_)
        | Operation::Fence
        | Operation::Sleep
        | Operation::Trap => false,
    }
}

fn settle(warp: &mut Warp, mask: u32, at: usize) {
    for lane in lanes(mask) {
        warp.positions[lane] = at as u32;
    }
}

impl Machine<'_, '_> {
    /// Runs a warp until all its threads have ended or wait, or it had `turn` instructions.
    pub(super) fn run_warp(&mut self, block: &mut Block, warp: &mut Warp, turn: u64) -> Stop {
        let program = self.program;
        let mut left = turn;
        while let Some(Group { mut at, mask, others }) = group(warp) {
            // Until the others are met, the group goes on alone.
            loop {
                if at == others {
                    settle(warp, mask, at);
                    break;
                }
                if left == 0 {
                    settle(warp, mask, at);
                    return Stop::Turn;
                }
                left -= u64::from(turn != u64::MAX);
                self.record.counters.warp_instructions += 1;
                let step = &program.steps[at];
                let active = match step.guard {
                    None => mask,
                    Some((slot, negated)) => {
                        let holds = warp.holds(slot);
                        mask & if negated { !holds } else { holds }
                    }
                };
                let elsewhere = warp.alive & !warp.waiting & !warp.stalled & !mask;
                if active != 0 && elsewhere != 0 && is_collective(&step.operation) {
                    // The others may still come here, wherever in the text they are.
                    settle(warp, mask, at);
                    warp.stalled |= mask;
                    self.record.counters.warp_instructions -= 1;
                    break;
                }
                match &step.operation {
                    Operation::Branch(target) => {
                        if active == mask {
                            at = *target;
                            if *target > others || warp.stalled != 0 {
                                settle(warp, mask, at);
                                break;
                            }
                        } else if active != 0 {
                            settle(warp, mask, at + 1);
                            settle(warp, active, *target);
                            break;
                        } else {
                            at += 1;
                        }
                    }
                    Operation::Exit => {
                        settle(warp, mask, at + 1);
                        warp.alive &= !active;
                        break;
                    }
                    Operation::Barrier => {
                        if active != 0 {
                            self.arrive(block, warp, active, at);
                        }
                        settle(warp, mask, at + 1);
                        break;
                    }
                    Operation::Sleep => {
                        at += 1;
                        if active != 0 && turn != u64::MAX {
                            settle(warp, mask, at);
                            return Stop::Turn;
                        }
                    }
                    Operation::Trap if active != 0 => {
                        self.find(FindingKind::Trap, at, "a trap");
                        return Stop::Broken;
                    }
                    operation @ (Operation::Compute { .. }
                    | Operation::Pack { .. }
                    | Operation::Unpack { .. }
                    | Operation::LoadParameter { .. }
                    | Operation::Load(_)
                    | Operation::Store(_)
                    | Operation::Atomic { .. }
                    | Operation::CopyAsync { .. }
                    | Operation::CommitCopies
                    | Operation::WaitForCopies(_)
                    | Operation::LoadMatrix { .. }
                    | Operation::Multiply { .. }
                    | Operation::Shuffle { .. }
                    | Operation::Vote { .. }
                    | Operation::WarpBarrier { .. }
                    | Operation::Fence
                    | Operation::Trap) => {
                        if active != 0 && self.execute(block, warp, operation, active, at).is_none() {
                            return Stop::Broken;
                        }
                        at += 1;
                    }
                }
            }
        }
        Stop::Paused
    }

    fn arrive(&mut self, block: &mut Block, warp: &mut Warp, active: u32, at: usize) {
        if active != warp.alive {
            let (here, all) = (active.count_ones(), warp.alive.count_ones());
            self.find(
                FindingKind::Divergence,
                at,
                &format!("a barrier that {here} of a warp's {all} threads reach"),
            );
        }
        if block.barrier.is_some_and(|other| other != at) {
            self.find(FindingKind::Divergence, at, "a barrier while other threads wait at another one");
        }
        block.barrier = Some(at);
        warp.waiting |= active;
    }

    /// One operation of the threads in `active`; nothing if the block cannot go on.
    fn execute(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        operation: &Operation,
        active: u32,
        at: usize,
    ) -> Option<()> {
        match operation {
            Operation::Compute { function, to, from, flops } => {
                let value = function(from.map(|slot| &warp.registers[slot as usize]));
                warp.put(*to, &value, active);
                self.record.counters.flops += u64::from(*flops) * u64::from(active.count_ones());
            }
            Operation::Pack { to, from, bits } => {
                let mut value = [0; LANES];
                for (at, slot) in from.iter().enumerate() {
                    for (lane, part) in value.iter_mut().zip(warp.register(*slot)) {
                        *lane |= (part & mask_of(*bits)) << (at as u32 * bits);
                    }
                }
                warp.put(*to, &value, active);
            }
            Operation::Unpack { to, from, bits } => {
                let value = *warp.register(*from);
                for (at, slot) in to.iter().enumerate() {
                    let part = value.map(|v| v >> (at as u32 * bits) & mask_of(*bits));
                    warp.put(*slot, &part, active);
                }
            }
            Operation::LoadParameter { to, offset, bytes, signed } => {
                for (at, slot) in to.iter().enumerate() {
                    let start = offset + at * bytes;
                    let bits = super::access::extended(&self.parameters[start..start + bytes], *signed);
                    warp.put(*slot, &[bits; LANES], active);
                }
            }
            Operation::Load(access) => self.load(block, warp, access, active, at)?,
            Operation::Store(access) => self.store(block, warp, access, active, at)?,
            Operation::Atomic { access, update, wants_old } => {
                self.atomic(block, warp, (access, *update, *wants_old), active, at)?;
            }
            Operation::CopyAsync { to, from, size } => {
                self.copy_async(block, warp, (to, from, *size), active, at)?;
            }
            Operation::CommitCopies => warp.copies.commit(active),
            Operation::WaitForCopies(pending) => self.wait_for_copies(block, warp, *pending, active),
            Operation::LoadMatrix { access, transposed } => {
                self.load_matrix(block, warp, access, *transposed, active, at)?;
            }
            Operation::Multiply { d, a, b, c } => self.multiply(warp, (d, a, b, c), active, at)?,
            Operation::Shuffle { mode, to, inside, value, lane, clamp, members } => {
                self.members(warp, *members, active, at)?;
                let places = (*value, *lane, *clamp);
                let (result, held) = self.shuffle(warp, *mode, places, active, at)?;
                warp.put(*to, &result, active);
                if let Some(inside) = inside {
                    warp.put(*inside, &held, active);
                }
            }
            Operation::Vote { mode, to, value, negated, members } => {
                self.members(warp, *members, active, at)?;
                let holds = warp.holds(*value);
                let holds = if *negated { !holds } else { holds } & active;
                let result = super::collective::voted(*mode, holds, active);
                warp.put(*to, &[result; LANES], active);
            }
            Operation::WarpBarrier { members } => self.members(warp, *members, active, at)?,
            Operation::Fence | Operation::Trap => {}
            Operation::Barrier | Operation::Branch(_) | Operation::Exit | Operation::Sleep => {
                unreachable!("run_warp does these")
            }
        }
        Some(())
    }
}

fn mask_of(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}
