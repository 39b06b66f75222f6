//! What a launch did, and what was wrong with it.

use crate::ptx::Source;
use serde::{Deserialize, Serialize};

/// Something wrong that a launch did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of mistake.
    pub kind: FindingKind,
    /// The line of the CUDA source; 0 if unknown.
    pub line: u32,
    /// The line of the kernel itself: another one if the mistake is in a function that it calls.
    pub kernel_line: u32,
    /// What happened, where.
    pub message: String,
}

/// Kinds of mistakes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FindingKind {
    /// An instruction that the emulator does not know: nothing was run.
    Unknown,
    /// A launch that a device would refuse.
    Launch,
    /// An access outside of every allocation, or of every buffer of the launch.
    OutOfBounds,
    /// An address that is no multiple of the access's size.
    Misaligned,
    /// A read of what nobody wrote.
    Uninitialised,
    /// Accesses that nothing orders.
    Race,
    /// A barrier, a shuffle or the like that not all threads reach.
    Divergence,
    /// Threads that wait for ever.
    Deadlock,
    /// `trap`.
    Trap,
}

/// Counts of a launch. They are exact for the emulated device and say nothing of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Instructions, each counted once for a warp.
    pub warp_instructions: u64,
    /// Floating-point operations on registers; a fused multiply-add is two.
    pub flops: u64,
    /// Floating-point operations of matrix instructions.
    pub matrix_flops: u64,
    /// Barriers that blocks passed.
    pub barriers: u64,
    /// Instructions of warps that load from global memory.
    pub loads: u64,
    /// Those of them that load 16 bytes for each thread.
    pub wide_loads: u64,
    /// Those of the others whose numbers go to four threads of the warp or more each.
    pub broadcast_loads: u64,
    /// Bytes of the 32-byte sectors that loads from global memory touch, for each warp instruction.
    pub read_bytes: u64,
    /// Bytes of the sectors that stores touch.
    pub written_bytes: u64,
    /// Bytes of the sectors that loads would touch if a warp's accesses were contiguous.
    pub ideal_read_bytes: u64,
    /// Bytes of the sectors that a launch reads before it writes them, each once: what must come from the device's memory,
    /// however large the cache.
    pub dram_read_bytes: u64,
    /// Bytes of the sectors that a launch writes, each once.
    pub dram_written_bytes: u64,
    /// Passes through shared memory's banks.
    pub shared_passes: u64,
    /// As many as there would be without bank conflicts.
    pub ideal_shared_passes: u64,
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, more: Counters) {
        let Counters {
            warp_instructions,
            flops,
            matrix_flops,
            barriers,
            loads,
            wide_loads,
            broadcast_loads,
            read_bytes,
            written_bytes,
            ideal_read_bytes,
            dram_read_bytes,
            dram_written_bytes,
            shared_passes,
            ideal_shared_passes,
        } = more;
        self.warp_instructions += warp_instructions;
        self.flops += flops;
        self.matrix_flops += matrix_flops;
        self.barriers += barriers;
        self.loads += loads;
        self.wide_loads += wide_loads;
        self.broadcast_loads += broadcast_loads;
        self.read_bytes += read_bytes;
        self.written_bytes += written_bytes;
        self.ideal_read_bytes += ideal_read_bytes;
        self.dram_read_bytes += dram_read_bytes;
        self.dram_written_bytes += dram_written_bytes;
        self.shared_passes += shared_passes;
        self.ideal_shared_passes += ideal_shared_passes;
    }
}

/// A launch.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// The kernel's name.
    pub kernel: String,
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// Bytes of shared memory of a block.
    pub shared_bytes: usize,
    /// What was counted.
    pub counters: Counters,
    /// What was wrong, each once.
    pub findings: Vec<Finding>,
}

/// How many findings of a launch are told.
const MOST_FINDINGS: usize = 20;

impl Record {
    pub(crate) fn find(&mut self, kind: FindingKind, source: Source, message: String) {
        let Source { line, of_kernel } = source;
        let finding = Finding { kind, line, kernel_line: of_kernel, message };
        let is_known = self.findings.iter().any(|f| f.kind == kind && f.line == line && line != 0);
        if self.findings.len() < MOST_FINDINGS && !is_known {
            self.findings.push(finding);
        }
    }
}
