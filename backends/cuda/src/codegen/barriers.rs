//! Where the threads of a block must wait for each other.
//!
//! Invariant: between a write to memory and any other access to it by another statement (or the same one, in another
//! round of a loop) there is a barrier. Statements that touch different memory follow each other without one. Buffers
//! in the same place are the same memory: scratch is taken over when what was in it is not needed any more.

use carousel_core::kernel::{BufferId, Kernel, Place, Statement};
use std::collections::HashSet;

/// Before which statements there is a barrier.
#[derive(Debug, Default)]
pub(super) struct Plan {
    before: HashSet<*const Statement>,
    /// Whether a barrier ends the work of a grid point.
    pub(super) after_point: bool,
}

impl Plan {
    pub(super) fn before(&self, statement: &Statement) -> bool {
        self.before.contains(&std::ptr::from_ref(statement))
    }
}

/// Places that are accessed since the last barrier.
#[derive(Clone, PartialEq, Eq, Default)]
struct Pending {
    reads: HashSet<Place>,
    writes: HashSet<Place>,
}

impl Pending {
    fn of(kernel: &Kernel, statement: &Statement) -> Pending {
        let place = |buffer: BufferId| kernel.buffers[buffer.0 as usize].place;
        let mut own = Pending::default();
        statement.visit_reads(&mut |buffer| {
            own.reads.insert(place(buffer));
        });
        statement.visit_writes(&mut |buffer| {
            own.writes.insert(place(buffer));
        });
        own
    }

    fn conflicts(&self, next: &Pending) -> bool {
        let meets = |a: &HashSet<Place>, b: &HashSet<Place>| !a.is_disjoint(b);
        meets(&self.writes, &next.reads)
            || meets(&self.writes, &next.writes)
            || meets(&self.reads, &next.writes)
    }

    fn join(&mut self, other: &Pending) {
        self.reads.extend(&other.reads);
        self.writes.extend(&other.writes);
    }
}

pub(super) fn plan(kernel: &Kernel) -> Plan {
    let mut plan = Plan::default();
    let mut pending = Pending::default();
    sequence(kernel, &kernel.body, &mut pending, &mut plan);
    // Points share only the memory of the block: what is in arguments belongs to one point.
    let is_own = |place: &Place| matches!(place, Place::Scratch(_));
    pending.reads.retain(is_own);
    pending.writes.retain(is_own);
    let mut all = Pending::default();
    kernel.body.iter().for_each(|statement| all.join(&Pending::of(kernel, statement)));
    plan.after_point = pending.conflicts(&all);
    plan
}

fn sequence(kernel: &Kernel, statements: &[Statement], pending: &mut Pending, plan: &mut Plan) {
    for statement in statements {
        if let Statement::Loop { body, .. } = statement {
            // A round follows what is before the loop, or another round: what is pending grows until it does no more.
            loop {
                let before = pending.clone();
                let mut after = pending.clone();
                sequence(kernel, body, &mut after, plan);
                pending.join(&after);
                if *pending == before {
                    *pending = after;
                    pending.join(&before);
                    break;
                }
            }
            continue;
        }
        let own = Pending::of(kernel, statement);
        if plan.before(statement) || pending.conflicts(&own) {
            plan.before.insert(std::ptr::from_ref(statement));
            *pending = own;
        } else {
            pending.join(&own);
        }
    }
}
