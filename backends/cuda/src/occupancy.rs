//! How many blocks a GPU runs at a time: what the assembler says that a kernel needs, and what a multiprocessor has.
//!
//! Figures of the machine code, not of a run; no time follows from them alone.

/// A generation of GPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Generation {
    /// What the assembler calls it.
    pub name: &'static str,
    /// Bytes of shared memory of a multiprocessor.
    shared_bytes: u32,
    /// Warps that it runs at a time.
    warps: u32,
}

/// The generations that kernels are assembled for (CUDA C++ Programming Guide, technical specifications).
pub const GENERATIONS: [Generation; 3] = [
    Generation { name: "sm_80", shared_bytes: 164 << 10, warps: 64 },
    Generation { name: "sm_90", shared_bytes: 228 << 10, warps: 64 },
    Generation { name: "sm_100", shared_bytes: 228 << 10, warps: 64 },
];

/// Registers of a multiprocessor.
const REGISTERS: u32 = 64 << 10;
/// A warp takes registers in such pieces.
const REGISTER_PIECE: u32 = 256;
/// A block takes shared memory in such pieces, and one for itself.
const SHARED_PIECE: u32 = 1 << 10;
/// Most blocks of a multiprocessor.
const MOST_BLOCKS: u32 = 32;

/// What a block needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needs {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of shared memory.
    pub shared_bytes: u32,
    /// Threads.
    pub threads: u32,
}

/// What a multiprocessor does at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Occupancy {
    /// Blocks.
    pub blocks: u32,
    /// Their warps, in percent of those that there may be.
    pub percent: u32,
}

impl Needs {
    /// By the remarks of the assembler (`ptxas -v`): `Used 40 registers, used 1 barriers, 20480 bytes smem`.
    pub fn of_remarks(remarks: &str, threads: u32) -> Option<Needs> {
        let words: Vec<&str> = remarks.split_whitespace().collect();
        // The number before such words.
        let number = |what: &[&str]| {
            let at = words.windows(what.len()).position(|some| {
                some.iter().zip(what).all(|(word, wanted)| word.trim_end_matches(',') == *wanted)
            });
            at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok())
        };
        let registers = number(&["registers"])?;
        Some(Needs { registers, shared_bytes: number(&["bytes", "smem"]).unwrap_or(0), threads })
    }

    /// How many of such blocks a multiprocessor runs at a time.
    pub fn occupancy(&self, generation: &Generation) -> Occupancy {
        let warps = self.threads.div_ceil(32).max(1);
        let registers = (32 * self.registers).next_multiple_of(REGISTER_PIECE).max(REGISTER_PIECE);
        let shared = self.shared_bytes.next_multiple_of(SHARED_PIECE) + SHARED_PIECE;
        let limits = [
            generation.warps / warps,
            REGISTERS / registers / warps,
            generation.shared_bytes / shared,
            MOST_BLOCKS,
        ];
        let blocks = limits.into_iter().min().unwrap_or(0);
        Occupancy { blocks, percent: 100 * blocks * warps / generation.warps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMARKS: &str = "ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'kernel_c' for 'sm_80'
ptxas info    : Function properties for kernel_c
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 96 registers, used 1 barriers, 20480 bytes smem, 460 bytes cmem[0]";

    #[test]
    fn what_the_assembler_says_is_read() {
        let needs = Needs::of_remarks(REMARKS, 256);
        assert_eq!(needs, Some(Needs { registers: 96, shared_bytes: 20480, threads: 256 }));
        let without = Needs::of_remarks("Used 32 registers, used 0 barriers, 400 bytes cmem[0]", 256);
        assert_eq!(without.map(|needs| needs.shared_bytes), Some(0));
        assert_eq!(Needs::of_remarks("nothing", 256), None);
    }

    #[test]
    fn the_scarcest_resource_decides() {
        let occupancy = |registers, shared_bytes, threads| {
            Needs { registers, shared_bytes, threads }.occupancy(&GENERATIONS[0])
        };
        // 8 warps of 96 registers: 65536 / (96 * 32) is 21 warps, two blocks.
        assert_eq!(occupancy(96, 20480, 256), Occupancy { blocks: 2, percent: 25 });
        assert_eq!(occupancy(32, 0, 256), Occupancy { blocks: 8, percent: 100 });
        // Shared memory: 164 KiB hold three times 48 and one each.
        assert_eq!(occupancy(32, 48 << 10, 256), Occupancy { blocks: 3, percent: 37 });
        assert_eq!(occupancy(16, 0, 32), Occupancy { blocks: 32, percent: 50 });
    }
}
