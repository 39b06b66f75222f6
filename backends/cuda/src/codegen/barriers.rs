//! Where the threads of a block must wait for each other.
//!
//! Invariant: between a write to memory and any other access to it by another statement (or the same one, in another
//! round of a loop) there is a barrier, unless each thread touches only elements of its own in both. Buffers in the same
//! place are the same memory: scratch is taken over when what was in it is not needed any more. No barrier could be left
//! out, or be before a loop in place of in it: each was tried. What the functions that statements call wait for among themselves is not counted on.

use super::shares::{Shares, Stride, stride_of};
use super::statement::some_runs;
use super::steps;
use carousel_core::kernel::{
    Atom, BufferId, Dim, Expr, Extent, Kernel, Linear, Loop, Place, Statement, Term,
};
use carousel_core::program::element_bytes;
use std::collections::HashSet;

/// Before which statements there is a barrier.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    before: HashSet<*const Statement>,
    /// Before which of them all blocks of a point wait, where each has a share.
    between_shares: HashSet<*const Statement>,
    /// Whether a barrier ends the work of a grid point.
    pub(super) after_point: bool,
    /// Whether it is one of all blocks that have shares.
    pub(super) after_point_of_shares: bool,
}

impl Plan {
    pub(super) fn before(&self, statement: &Statement) -> bool {
        self.before.contains(&std::ptr::from_ref(statement))
    }

    pub(super) fn between_shares(&self, statement: &Statement) -> bool {
        self.between_shares.contains(&std::ptr::from_ref(statement))
    }
}

/// Which elements of a place a thread touches.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Elements {
    /// Those of its own runs: of so many bytes each, so many at a time, in turns with the other threads.
    Own { bytes: u64, width: u64 },
    /// Those of its runs of so many in a nest of loops, each of which goes so far by so much, from a place on.
    OfNest { width: u64, loops: Vec<(Extent, Option<Stride>)>, rest: Vec<Term> },
    /// Those of the one point of a nest without loops, which is the first thread's.
    First,
    /// Those of the block's share.
    Share,
    /// Any.
    Any,
}

/// Memory, and what of it. What is carried in shares lies in one place twice: that it is the next one is told apart.
type Accesses = HashSet<((Place, Option<BufferId>), Elements)>;

/// What is accessed since the last barrier.
#[derive(Clone, PartialEq, Eq, Default)]
struct Pending {
    reads: Accesses,
    writes: Accesses,
}

/// The memory of a buffer.
fn memory(kernel: &Kernel, shares: Option<&Shares>, id: BufferId) -> (Place, Option<BufferId>) {
    let is_next = shares.is_some_and(|shares| shares.carried.iter().any(|(_, next)| *next == id));
    (kernel.buffers[id.0 as usize].place, is_next.then_some(id))
}

/// The number of the element that a point of a nest has if threads take its runs as elements are numbered.
fn number(loops: &[Loop], width: u64) -> Option<Linear> {
    let (mut number, mut stride) = (Linear::default(), 1);
    for (at, over) in loops.iter().enumerate().rev() {
        number.add_term(stride as i64, Dim::Known(1), Atom::Var(over.var));
        if at > 0 {
            let Extent::Whole(Dim::Known(n)) = over.extent else { return None };
            // A row is whole runs.
            if stride == 1 && !n.is_multiple_of(width) {
                return None;
            }
            stride *= n;
        }
    }
    Some(number)
}

/// Points of a nest that touch an element each. Another nest with the same loops touches the same ones in the same threads.
fn of_nest(shares: Option<&Shares>, loops: &[Loop], index: &Linear, width: u64) -> Elements {
    let of_loop = |over: &Loop| (over.extent, stride_of(index, over.var));
    let is_rest = |term: &&Term| loops.iter().all(|over| term.atom != Atom::Var(over.var));
    let rest: Vec<Term> = index.terms.iter().filter(is_rest).cloned().collect();
    // What does not change while a point is done.
    let is_fixed = |term: &Term| match term.atom {
        Atom::One => true,
        Atom::Var(var) => shares.is_some_and(|shares| shares.number == var),
        Atom::Quotient(..) | Atom::Remainder(..) | Atom::Data { .. } => false,
    };
    match rest.iter().all(is_fixed) {
        true => Elements::OfNest { width, loops: loops.iter().map(of_loop).collect(), rest },
        false => Elements::Any,
    }
}

/// Whether sums have the same terms.
fn are_equal(a: &Linear, b: &Linear) -> bool {
    a.terms.len() == b.terms.len() && a.terms.iter().all(|term| b.terms.contains(term))
}

impl Pending {
    /// What threads of a block touch.
    fn of_threads(kernel: &Kernel, shares: Option<&Shares>, statement: &Statement) -> Pending {
        let mut own = Pending::default();
        let buffer = |buffer: BufferId| &kernel.buffers[buffer.0 as usize];
        let memory = |id: BufferId| memory(kernel, shares, id);
        if let Statement::Map { loops, region, stores } = statement {
            let width = some_runs(kernel, loops, region, stores).map_or(1, |run| run.width);
            let touched = |id: BufferId, index: &Linear| {
                let is_own = number(loops, width).is_some_and(|number| are_equal(&number, index));
                let bytes = element_bytes(buffer(id).dtype);
                let elements = match loops.is_empty() {
                    true => Elements::First,
                    false if is_own => Elements::Own { bytes, width },
                    false => of_nest(shares, loops, index, width),
                };
                (memory(id), elements)
            };
            for expr in &region.exprs {
                if let Expr::Load { buffer, index, .. } = expr {
                    own.reads.insert(touched(*buffer, index));
                }
            }
            own.writes.extend(stores.iter().map(|store| touched(store.buffer, &store.index)));
            return own;
        }
        statement.visit_reads(&mut |id| {
            own.reads.insert((memory(id), Elements::Any));
        });
        statement.visit_writes(&mut |id| {
            own.writes.insert((memory(id), Elements::Any));
        });
        own
    }

    /// What blocks touch of that which they exchange.
    fn of_shares(shares: &Shares, statement: &Statement) -> Pending {
        let mut own = Pending::default();
        shares.exchanges(statement, &mut |id, is_own, is_written| {
            let elements = if is_own { Elements::Share } else { Elements::Any };
            let accesses = if is_written { &mut own.writes } else { &mut own.reads };
            accesses.insert((memory(&shares.kernel, Some(shares), id), elements));
        });
        own
    }

    /// The same when what is carried in shares has changed places.
    fn turned(self, shares: &Shares) -> Pending {
        let turn = |((place, next), elements): ((Place, Option<BufferId>), Elements)| {
            let here =
                |(old, _): &&(BufferId, BufferId)| shares.kernel.buffers[old.0 as usize].place == place;
            let other = shares.carried.iter().find(here).map(|(_, next)| *next);
            ((place, if next.is_some() { None } else { other }), elements)
        };
        let all = |accesses: Accesses| accesses.into_iter().map(turn).collect();
        Pending { reads: all(self.reads), writes: all(self.writes) }
    }

    /// The same without what each step has of its own: the next one does not meet it.
    fn of_other_steps(mut self, shares: &Shares) -> Pending {
        let is_met = |((place, _), _): &((Place, Option<BufferId>), Elements)| {
            let here = shares.kernel.buffers.iter().zip(0..).filter(|(buffer, _)| buffer.place == *place);
            !here.map(|(_, number)| BufferId(number)).all(|id| shares.is_of_its_step(id))
        };
        self.reads.retain(is_met);
        self.writes.retain(is_met);
        self
    }

    fn conflicts(&self, next: &Pending) -> bool {
        let meets = |a: &Accesses, b: &Accesses| {
            let apart = |x: &Elements, y: &Elements| x == y && *x != Elements::Any;
            a.iter().any(|(place, x)| b.iter().any(|(other, y)| place == other && !apart(x, y)))
        };
        meets(&self.writes, &next.reads)
            || meets(&self.writes, &next.writes)
            || meets(&self.reads, &next.writes)
    }

    fn join(&mut self, other: &Pending) {
        self.reads.extend(other.reads.iter().cloned());
        self.writes.extend(other.writes.iter().cloned());
    }

    /// What it is for another grid point: points share only the memory of the block.
    fn of_block(mut self) -> Pending {
        let is_shared =
            |((place, _), _): &((Place, Option<BufferId>), Elements)| matches!(place, Place::Scratch(_));
        self.reads.retain(is_shared);
        self.writes.retain(is_shared);
        self
    }
}

/// What is done where there is no barrier, and should be one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// It is put there.
    Insert,
    /// It is noted.
    Note,
}

/// Who waits for each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// The threads of all who do a point together.
    Threads,
    /// Blocks that have shares.
    Blocks,
}

/// A walk through a kernel.
struct Walk<'k> {
    kernel: &'k Kernel,
    shares: Option<&'k Shares>,
    waiting: Waiting,
    plan: Plan,
    missing: Missing,
    /// Barriers that were put somewhere, in order, or are missing.
    found: Vec<*const Statement>,
}

pub(super) fn plan(kernel: &Kernel, shares: Option<&Shares>) -> Plan {
    // Without a loop of the grid there is one point.
    let mut plan = Plan { after_point: !kernel.grid.is_empty(), ..Plan::default() };
    if shares.is_some() {
        let Plan { before, after_point, .. } = needed(kernel, shares, Waiting::Blocks, plan.clone());
        plan.after_point_of_shares = after_point;
        plan.between_shares = before.clone();
        plan.before = before;
    }
    needed(kernel, shares, Waiting::Threads, plan)
}

/// A plan with the barriers that it needs besides those that it has.
fn needed(kernel: &Kernel, shares: Option<&Shares>, waiting: Waiting, fixed: Plan) -> Plan {
    let walk = |plan: Plan, missing: Missing| {
        let mut walk = Walk { kernel, shares, waiting, plan, missing, found: Vec::new() };
        walk.kernel();
        walk
    };
    let Walk { mut plan, found, .. } = walk(fixed, Missing::Insert);
    let is_enough = |plan: &Plan| walk(plan.clone(), Missing::Note).found.is_empty();
    if plan.after_point && !plan.after_point_of_shares {
        plan.after_point = false;
        plan.after_point = !is_enough(&plan);
    }
    // One that was put early may have become needless by a later one.
    for statement in found {
        plan.before.remove(&statement);
        if is_enough(&plan) {
            continue;
        }
        plan.before.insert(statement);
        // The loop itself, if that is enough, needs one for all its rounds.
        let mut inside = statement;
        while let Some(around) = enclosing(&kernel.body, inside) {
            plan.before.remove(&inside);
            let is_new = plan.before.insert(around);
            if !is_enough(&plan) {
                if is_new {
                    plan.before.remove(&around);
                }
                plan.before.insert(inside);
                break;
            }
            inside = around;
        }
    }
    plan
}

/// The loop whose body a statement is part of.
fn enclosing(statements: &[Statement], wanted: *const Statement) -> Option<*const Statement> {
    statements.iter().find_map(|statement| {
        let Statement::Loop { body, .. } = statement else { return None };
        let is_here = body.iter().any(|inner| std::ptr::from_ref(inner) == wanted);
        if is_here { Some(std::ptr::from_ref(statement)) } else { enclosing(body, wanted) }
    })
}

impl Walk<'_> {
    /// Points of the grid follow each other.
    fn kernel(&mut self) {
        let kernel = self.kernel;
        let mut pending = Pending::default();
        self.sequence(&kernel.body, &mut pending);
        if !self.plan.after_point && !kernel.grid.is_empty() {
            self.rounds(&kernel.body, &mut pending.of_block(), &Pending::of_block);
        }
    }

    /// A round follows what is before, or another round: what is pending grows until it does no more.
    fn rounds(&mut self, body: &[Statement], pending: &mut Pending, between: &dyn Fn(Pending) -> Pending) {
        loop {
            let before = pending.clone();
            let mut after = pending.clone();
            self.sequence(body, &mut after);
            pending.join(&between(after));
            if *pending == before {
                return;
            }
        }
    }

    fn sequence(&mut self, statements: &[Statement], pending: &mut Pending) {
        for statement in statements {
            if let Statement::Loop { over, direction, body } = statement
                && steps::of(self.kernel, over, *direction, body).is_none()
            {
                if self.plan.before(statement) {
                    *pending = Pending::default();
                }
                match self.shares {
                    Some(shares) if shares.steps == over.var => {
                        self.rounds(body, pending, &|after| after.turned(shares).of_other_steps(shares));
                        // What follows the last step meets all of it.
                        let mut after = pending.clone();
                        self.sequence(body, &mut after);
                        pending.join(&after.turned(shares));
                    }
                    Some(_) | None => self.rounds(body, pending, &|after| after),
                }
                continue;
            }
            let own = match (self.waiting, self.shares) {
                (Waiting::Blocks, Some(shares)) => Pending::of_shares(shares, statement),
                (Waiting::Blocks | Waiting::Threads, shares) => {
                    Pending::of_threads(self.kernel, shares, statement)
                }
            };
            let conflicts = pending.conflicts(&own);
            let there = std::ptr::from_ref(statement);
            if conflicts && !self.plan.before(statement) {
                self.found.push(there);
                if self.missing == Missing::Insert {
                    self.plan.before.insert(there);
                }
            }
            if self.plan.before(statement) {
                *pending = own;
            } else {
                pending.join(&own);
            }
        }
    }
}
