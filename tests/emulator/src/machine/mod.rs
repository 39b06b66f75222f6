//! The machine: blocks of warps that execute a program.
//!
//! Invariant: a launch always ends, with findings if it went wrong, and the same launch on the same memory does the same.
//! Blocks of a plain launch run one after the other, those of a cooperative one in turns. A warp whose threads have
//! parted goes on where the least advanced of them are; where they have to do something together, those that come first
//! wait until nobody else of the warp can go on.

mod access;
mod collective;
mod execute;
mod matrix;
mod traffic;

use crate::check::{Clocks, Who};
use crate::decode::{LANES, Lanes, Program, Special};
use crate::memory::{Allocation, Store};
use crate::ptx::Source;
use crate::record::{FindingKind, Record};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

/// How much is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Everything: initialisation, races, what memory traffic there is.
    #[default]
    Strict,
    /// Bounds, alignment and divergence only: about three times as fast.
    Fast,
}

/// Memory that a launch may touch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Its first address.
    pub start: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// How a kernel is launched.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Launch {
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared_bytes: usize,
    /// Whether all blocks run at the same time, so that they may wait for each other.
    pub cooperative: bool,
    /// How much is checked.
    pub mode: Mode,
    /// The only global memory that may be touched, where that is known.
    pub ranges: Option<Vec<Range>>,
}

/// Most threads of a block.
pub(crate) const MOST_THREADS: u32 = 1024;
/// Most bytes of shared memory of a block.
pub(crate) const MOST_SHARED_BYTES: usize = 227 << 10;
/// Multiprocessors of the device.
pub(crate) const MULTIPROCESSORS: u32 = 132;
/// Instructions of a warp before another block has its turn, in a cooperative launch.
const TURN: u64 = 4096;

/// How many blocks of so many threads and bytes of shared memory run on a multiprocessor at the same time.
pub(crate) fn blocks_of_multiprocessor(threads: u32, shared_bytes: usize) -> u32 {
    let by_warps = 64 / threads.div_ceil(LANES as u32).max(1);
    let by_shared = (228 << 10) / (shared_bytes + 1024);
    by_warps.min(by_shared as u32).min(32)
}

/// Why a block or a warp does not go on.
enum Stop {
    /// Its threads have ended, or wait.
    Paused,
    /// It had its turn.
    Turn,
    /// It did something after which nothing makes sense; that was noted.
    Broken,
}

struct Warp {
    number: u32,
    registers: Vec<Lanes>,
    positions: [u32; LANES],
    alive: u32,
    waiting: u32,
    /// Threads that wait for others of the warp, to do something together.
    stalled: u32,
    local: Vec<u8>,
    copies: collective::Copies,
}

struct Block {
    number: u32,
    place: [u32; 3],
    shared: Store,
    warps: Vec<Warp>,
    epoch: u32,
    /// Where the first threads wait at the barrier.
    barrier: Option<usize>,
    /// What became known of other blocks, which the block's other threads know after the next barrier.
    learned: Vec<Vec<u32>>,
    over: bool,
}

/// A launch on its way.
struct Machine<'m, 'a> {
    program: &'m Program,
    memory: &'m mut [&'a mut Allocation],
    launch: &'m Launch,
    parameters: &'m [u8],
    record: Record,
    number: u32,
    threads: u32,
    clocks: Clocks,
    /// What atomic operations published, by address.
    published: HashMap<u64, Vec<u32>>,
    /// The allocation that was touched last.
    recent: usize,
    seen: traffic::Seen,
}

/// Runs a program on the allocations that it may address.
pub(crate) fn launch(
    program: &Program,
    memory: &mut [&mut Allocation],
    launch: &Launch,
    parameters: &[u8],
) -> Record {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let [x, y, z] = launch.grid.map(u64::from);
    let blocks = x.saturating_mul(y).saturating_mul(z);
    let threads = launch.block.iter().fold(1u32, |n, b| n.saturating_mul(*b));
    let shared_bytes = program.shared_bytes.saturating_add(launch.shared_bytes);
    let record = Record {
        kernel: program.name.clone(),
        grid: launch.grid,
        block: launch.block,
        shared_bytes,
        ..Record::default()
    };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed).max(1);
    let mut machine = Machine {
        program,
        memory,
        launch,
        parameters,
        record,
        number,
        threads,
        clocks: Clocks::default(),
        published: HashMap::new(),
        recent: 0,
        seen: traffic::Seen::default(),
    };
    if let Some((kind, why)) = refusal(program, launch, parameters, blocks, threads, shared_bytes) {
        machine.record.find(kind, Source::default(), why);
    } else if launch.cooperative {
        machine.together(blocks as u32);
    } else {
        machine.one_by_one(blocks as u32);
    }
    machine.record
}

/// Why a device would not launch this.
fn refusal(
    program: &Program,
    launch: &Launch,
    parameters: &[u8],
    blocks: u64,
    threads: u32,
    shared_bytes: usize,
) -> Option<(FindingKind, String)> {
    let most = program.max_threads.unwrap_or(MOST_THREADS).min(MOST_THREADS);
    let why = if !program.unknown.is_empty() {
        let message = format!("instructions that the emulator does not know: {}", program.unknown.join(", "));
        return Some((FindingKind::Unknown, message));
    } else if threads == 0 || threads > most {
        format!("{threads} threads a block where 1 to {most} are possible")
    } else if blocks == 0 || blocks > i32::MAX as u64 {
        format!("{blocks} blocks")
    } else if shared_bytes > MOST_SHARED_BYTES {
        format!("{shared_bytes} bytes of shared memory a block where {MOST_SHARED_BYTES} are possible")
    } else if parameters.len() < program.parameter_bytes {
        format!("{} bytes of parameters, not {}", parameters.len(), program.parameter_bytes)
    } else if launch.cooperative {
        let most = blocks_of_multiprocessor(threads, shared_bytes) * MULTIPROCESSORS;
        if blocks <= u64::from(most) {
            return None;
        }
        format!("{blocks} blocks that wait for each other where {most} can run at the same time")
    } else {
        return None;
    };
    Some((FindingKind::Launch, why))
}

impl Machine<'_, '_> {
    fn one_by_one(&mut self, blocks: u32) {
        let mut block = self.block();
        for number in 0..blocks {
            self.begin(&mut block, number);
            while !block.over {
                self.run_block(&mut block, u64::MAX);
            }
        }
    }

    fn together(&mut self, blocks: u32) {
        self.clocks = Clocks::cooperative(blocks as usize);
        let mut all: Vec<Block> = (0..blocks)
            .map(|number| {
                let mut block = self.block();
                self.begin(&mut block, number);
                block
            })
            .collect();
        let mut idle_turns = 0;
        while all.iter().any(|block| !block.over) {
            let before = (self.record.counters.barriers, all.iter().filter(|b| b.over).count());
            for block in all.iter_mut().filter(|block| !block.over) {
                self.run_block(block, TURN);
            }
            let after = (self.record.counters.barriers, all.iter().filter(|b| b.over).count());
            idle_turns = if before == after { idle_turns + 1 } else { 0 };
            if idle_turns > 10_000 {
                self.record.find(
                    FindingKind::Deadlock,
                    Source::default(),
                    "no block gets any further".to_string(),
                );
                return;
            }
        }
    }

    fn block(&self) -> Block {
        let warps = self.threads.div_ceil(LANES as u32);
        let warp = |number| Warp {
            number,
            registers: vec![[0; LANES]; self.program.slots],
            positions: [0; LANES],
            alive: 0,
            waiting: 0,
            stalled: 0,
            local: vec![0; self.program.local_bytes * LANES],
            copies: collective::Copies::default(),
        };
        Block {
            number: 0,
            place: [0; 3],
            shared: Store::new(self.record.shared_bytes),
            warps: (0..warps).map(warp).collect(),
            epoch: 0,
            barrier: None,
            learned: Vec::new(),
            over: false,
        }
    }

    /// Makes a block ready to run as the one with this number.
    fn begin(&self, block: &mut Block, number: u32) {
        let [x, y, _] = self.launch.grid;
        block.number = number;
        block.place = [number % x, number / x % y, number / x / y];
        block.shared.clear();
        (block.epoch, block.barrier, block.over) = (1, None, false);
        let place = block.place;
        for warp in &mut block.warps {
            let first = warp.number * LANES as u32;
            let count = (self.threads - first).min(LANES as u32);
            warp.alive = u32::MAX >> (LANES as u32 - count);
            (warp.waiting, warp.stalled, warp.positions) = (0, 0, [0; LANES]);
            warp.copies.clear();
            for (slot, bits) in &self.program.constants {
                warp.registers[*slot as usize] = [*bits; LANES];
            }
            for (slot, special) in &self.program.specials {
                let value = |lane: usize| self.special(*special, place, warp.number, lane as u32);
                warp.registers[*slot as usize] = std::array::from_fn(|lane| u64::from(value(lane)));
            }
        }
    }

    fn special(&self, special: Special, place: [u32; 3], warp: u32, lane: u32) -> u32 {
        let [x, y, z] = self.launch.block;
        let thread = warp * LANES as u32 + lane;
        match special {
            Special::Thread(axis) => [thread % x, thread / x % y, thread / x / y % z][axis],
            Special::BlockSize(axis) => self.launch.block[axis],
            Special::Block(axis) => place[axis],
            Special::GridSize(axis) => self.launch.grid[axis],
            Special::Lane => lane,
            Special::Warp => warp,
            Special::LanesBelow { and_own: false } => (1 << lane) - 1,
            Special::LanesBelow { and_own: true } => u32::MAX >> (31 - lane),
            Special::DynamicSharedBytes => self.launch.shared_bytes as u32,
        }
    }

    /// Runs a block until it is over, or has had its turn.
    fn run_block(&mut self, block: &mut Block, turn: u64) {
        loop {
            let mut had_turn = false;
            for at in 0..block.warps.len() {
                if block.warps[at].alive & !block.warps[at].waiting == 0 {
                    continue;
                }
                let mut warps = std::mem::take(&mut block.warps);
                let stop = self.run_warp(block, &mut warps[at], turn);
                block.warps = warps;
                match stop {
                    Stop::Paused => {}
                    Stop::Turn => had_turn = true,
                    Stop::Broken => {
                        block.over = true;
                        return;
                    }
                }
            }
            let alive: u32 = block.warps.iter().map(|w| w.alive.count_ones()).sum();
            let waiting: u32 = block.warps.iter().map(|w| w.waiting.count_ones()).sum();
            if alive == 0 {
                block.over = true;
                return;
            }
            if waiting == alive {
                self.pass_barrier(block, alive);
            } else if had_turn {
                return;
            }
        }
    }

    fn pass_barrier(&mut self, block: &mut Block, alive: u32) {
        if alive != self.threads
            && let Some(at) = block.barrier
        {
            let missing = self.threads - alive;
            self.find(FindingKind::Divergence, at, &format!("a barrier that {missing} threads never reach"));
        }
        block.warps.iter_mut().for_each(|warp| warp.waiting = 0);
        block.epoch += 1;
        block.barrier = None;
        for learned in std::mem::take(&mut block.learned) {
            self.clocks.take_over(block.number, &learned);
        }
        self.record.counters.barriers += 1;
    }

    /// Notes something wrong at a step of the program.
    fn find(&mut self, kind: FindingKind, step: usize, what: &str) {
        let (opcode, source) = &self.program.places[self.program.steps[step].instruction];
        let message = format!("{what}, at `{opcode}` of `{}`", self.program.name);
        let source = *source;
        self.record.find(kind, source, message);
    }

    fn who(&self, block: &Block, warp: &Warp, lane: usize) -> Who {
        Who {
            launch: self.number,
            block: block.number,
            thread: warp.number * LANES as u32 + lane as u32,
            epoch: block.epoch,
        }
    }

    fn is_strict(&self) -> bool {
        self.launch.mode == Mode::Strict
    }
}

/// The lanes of a mask, ascending.
fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..LANES).filter(move |lane| mask >> lane & 1 != 0)
}
