//! Races: two accesses to the same memory, at least one of them a write, that nothing orders.
//!
//! Accesses of a block are ordered by its barriers, those of different blocks of a launch by nothing, unless a block
//! publishes with an atomic operation what it did before a barrier and another reads it with one (a grid barrier is made
//! of that). Launches are ordered. Accesses that are both atomic (or volatile, relaxed, acquire, release) do not race.
//! Deliberately absent: order by `__syncwarp`, which generated kernels do not rely on.

use std::collections::HashMap;

/// Bytes that are watched together: the smallest element.
const GRAIN: usize = 2;

/// A thread of a launch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Who {
    pub(crate) launch: u32,
    pub(crate) block: u32,
    pub(crate) thread: u32,
    /// Barriers that its block has passed.
    pub(crate) epoch: u32,
}

/// Several threads, or several blocks: then what each of them read last is kept beside.
const MANY: u32 = u32::MAX;

/// An access that is remembered; launch 0 is none.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    who: Who,
    strong: bool,
}

const NEVER: Stamp = Stamp { who: Who { launch: 0, block: 0, thread: 0, epoch: 0 }, strong: false };

#[derive(Clone, Copy, Debug)]
struct Cell {
    write: Stamp,
    read: Stamp,
}

/// The last accesses to each piece of a memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cells {
    cells: Vec<Cell>,
    /// Of pieces that several blocks read with nothing between: the reads of each block.
    readers: HashMap<usize, Vec<Stamp>>,
}

/// How memory is touched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Touch {
    Read,
    Write,
}

/// What raced with an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Race {
    /// A write of another thread of the block.
    WrittenInside,
    /// A read of another thread of the block.
    ReadInside,
    /// A write of another block.
    WrittenOutside,
    /// A read of another block.
    ReadOutside,
}

impl Race {
    pub(crate) fn with(self) -> &'static str {
        match self {
            Race::WrittenInside => "a write by another thread of the block, without a barrier between",
            Race::ReadInside => "a read by another thread of the block, without a barrier between",
            Race::WrittenOutside => "a write by another block of the launch",
            Race::ReadOutside => "a read by another block of the launch",
        }
    }
}

/// For each pair of blocks, up to which of its epochs the second is known to the first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clocks {
    /// By block: by other block, the epochs before which everything is ordered.
    known: Vec<Vec<u32>>,
}

impl Clocks {
    /// For a launch whose blocks run at the same time.
    pub(crate) fn cooperative(blocks: usize) -> Clocks {
        Clocks { known: vec![vec![0; blocks]; blocks] }
    }

    fn orders(&self, earlier: &Who, now: &Who) -> bool {
        if earlier.block == now.block {
            return earlier.epoch < now.epoch;
        }
        let known = self.known.get(now.block as usize).and_then(|k| k.get(earlier.block as usize));
        known.is_some_and(|known| earlier.epoch < *known)
    }

    /// What a block knows, itself included, for others to take over.
    pub(crate) fn published(&self, block: u32, epoch: u32) -> Vec<u32> {
        let mut known = self.known.get(block as usize).cloned().unwrap_or_default();
        if let Some(own) = known.get_mut(block as usize) {
            *own = epoch;
        }
        known
    }

    /// A block takes over what was published.
    pub(crate) fn take_over(&mut self, block: u32, published: &[u32]) {
        let Some(known) = self.known.get_mut(block as usize) else { return };
        for (mine, theirs) in known.iter_mut().zip(published) {
            *mine = (*mine).max(*theirs);
        }
    }
}

impl Cells {
    /// Forgets all accesses.
    pub(crate) fn clear(&mut self) {
        self.cells.clear();
        self.readers.clear();
    }

    /// Notes an access to `bytes` at `offset` of a memory with `total` bytes, and says what it races with.
    pub(crate) fn touch(
        &mut self,
        (offset, bytes, total): (usize, usize, usize),
        touch: Touch,
        who: Who,
        strong: bool,
        clocks: &Clocks,
    ) -> Option<Race> {
        if self.cells.is_empty() {
            self.cells.resize(total.div_ceil(GRAIN), Cell { write: NEVER, read: NEVER });
        }
        let is_unordered = |earlier: &Stamp| {
            let (same_launch, same_block) =
                (earlier.who.launch == who.launch, earlier.who.block == who.block);
            let is_own = same_block && earlier.who.thread == who.thread;
            let both_strong = strong && earlier.strong;
            same_launch && !is_own && !both_strong && !clocks.orders(&earlier.who, &who)
        };
        let mut race = None;
        for at in offset / GRAIN..(offset + bytes).div_ceil(GRAIN) {
            let cell = &mut self.cells[at];
            if is_unordered(&cell.write) {
                let inside = cell.write.who.block == who.block;
                race = Some(if inside { Race::WrittenInside } else { Race::WrittenOutside });
            }
            let own = Stamp { who, strong };
            let is_shared = cell.read.who.launch == who.launch && cell.read.who.block == MANY;
            match touch {
                Touch::Write => {
                    let single = std::slice::from_ref(&cell.read);
                    let reads = if is_shared { self.readers[&at].as_slice() } else { single };
                    if let Some(read) = reads.iter().find(|read| is_unordered(read)) {
                        let inside = read.who.block == who.block;
                        race = Some(if inside { Race::ReadInside } else { Race::ReadOutside });
                    }
                    cell.write = own;
                }
                // Another block reads as well.
                Touch::Read if is_shared || cell.read.is_beside(&own, clocks) => {
                    let readers = self.readers.entry(at).or_default();
                    if !is_shared {
                        readers.clear();
                        readers.push(cell.read);
                        cell.read.who.block = MANY;
                    }
                    match readers.iter_mut().find(|read| read.who.block == who.block) {
                        Some(read) => *read = own.after(read, clocks),
                        None => readers.push(own),
                    }
                }
                Touch::Read => cell.read = own.after(&cell.read, clocks),
            }
        }
        race
    }
}

impl Stamp {
    /// Whether another block reads without anything between.
    fn is_beside(&self, later: &Stamp, clocks: &Clocks) -> bool {
        let is_other = self.who.launch == later.who.launch && self.who.block != later.who.block;
        is_other && !clocks.orders(&self.who, &later.who)
    }

    /// What is kept of a read and of one before it, of the same block or with something between.
    fn after(mut self, earlier: &Stamp, clocks: &Clocks) -> Stamp {
        if earlier.who.launch == self.who.launch && !clocks.orders(&earlier.who, &self.who) {
            self.strong &= earlier.strong;
            if earlier.who.thread != self.who.thread {
                self.who.thread = MANY;
            }
        }
        self
    }
}
