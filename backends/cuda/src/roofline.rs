//! What of a GPU a kernel would keep busy longest: counts of the emulated device against peaks that the maker publishes.
//!
//! A forecast, not a measurement: each resource is taken to run at its peak, all of them at the same time. No time is told,
//! only how long each resource is busy in parts of the longest.

/// Peaks of a GPU, in a second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Gpu {
    /// Its name.
    pub name: &'static str,
    /// Bytes from and to its memory.
    pub dram_bytes: f64,
    /// Operations in f32 on registers; a fused multiply-add is two.
    pub flops: f64,
    /// Operations of matrix instructions on bf16 factors.
    pub matrix_flops: f64,
    /// Multiprocessors.
    pub multiprocessors: f64,
    /// Cycles at its highest clock.
    pub clock: f64,
}

/// Two of them (NVIDIA A100 and H100 datasheets and architecture whitepapers; matrix operations without sparsity).
pub const GPUS: [Gpu; 2] = [
    Gpu {
        name: "A100 SXM 80 GB",
        dram_bytes: 2039e9,
        flops: 19.5e12,
        matrix_flops: 312e12,
        multiprocessors: 108.0,
        clock: 1.41e9,
    },
    Gpu {
        name: "H100 SXM",
        dram_bytes: 3350e9,
        flops: 66.9e12,
        matrix_flops: 989.4e12,
        multiprocessors: 132.0,
        clock: 1.98e9,
    },
];

/// Instructions of warps that a multiprocessor issues in a cycle.
const ISSUED: f64 = 4.0;
/// Bytes of the cache of all multiprocessors that are read in a cycle (A100 whitepaper; taken for the H100 as well).
const CACHE_BYTES: f64 = 5120.0;

/// What a kernel does in all its launches.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Work {
    /// Bytes from and to the device's memory.
    pub dram_bytes: f64,
    /// Bytes from and to the cache of all multiprocessors.
    pub cache_bytes: f64,
    /// Passes through the banks of shared memory.
    pub shared_passes: f64,
    /// Instructions of warps.
    pub instructions: f64,
    /// Operations in f32 on registers.
    pub flops: f64,
    /// Operations of matrix instructions.
    pub matrix_flops: f64,
}

impl Gpu {
    /// How long the resource that is busy longest is busy in a launch of so many blocks: multiprocessors without a block do
    /// nothing. A forecast, for costs that are compared with each other.
    pub fn seconds(&self, work: &Work, blocks: u32) -> f64 {
        let used = f64::from(blocks).min(self.multiprocessors) / self.multiprocessors;
        let shared = [work.dram_bytes / self.dram_bytes, work.cache_bytes / (CACHE_BYTES * self.clock)];
        let own = self.own(work).into_iter().map(|(_, time)| time / used);
        shared.into_iter().chain(own).fold(0.0, f64::max)
    }

    /// How long each resource of multiprocessors is busy if all of them work.
    fn own(&self, work: &Work) -> [(&'static str, f64); 4] {
        let cycles = self.multiprocessors * self.clock;
        [
            ("shared memory", work.shared_passes / cycles),
            ("instructions", work.instructions / (ISSUED * cycles)),
            ("arithmetic", work.flops / self.flops),
            ("matrix instructions", work.matrix_flops / self.matrix_flops),
        ]
    }

    /// Each resource with how long it is busy in parts of the longest, which is first.
    pub fn shares(&self, work: &Work) -> Vec<(&'static str, f64)> {
        let mut busy = vec![
            ("memory", work.dram_bytes / self.dram_bytes),
            ("cache", work.cache_bytes / (CACHE_BYTES * self.clock)),
        ];
        busy.extend(self.own(work));
        busy.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let longest = busy[0].1;
        busy.into_iter()
            .map(|(name, time)| (name, if longest > 0.0 { time / longest } else { 0.0 }))
            .collect()
    }

    /// Operations for each byte of memory at which both are busy as long: on registers, and of matrix instructions.
    pub fn ridges(&self) -> [f64; 2] {
        [self.flops / self.dram_bytes, self.matrix_flops / self.dram_bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_busy_longest_comes_first() {
        let copy = Work { dram_bytes: 2039e6, cache_bytes: 2039e6, instructions: 1e6, ..Work::default() };
        let shares = GPUS[0].shares(&copy);
        assert_eq!(shares[0], ("memory", 1.0));
        // 1 ms of memory; the cache gives 5120 bytes in each of 1.41e9 cycles.
        let cache = shares.iter().find(|(name, _)| *name == "cache").expect("all are there").1;
        assert!((cache - 2039e6 / (5120.0 * 1.41e9) / 1e-3).abs() < 1e-9);
        let product = Work { dram_bytes: 1e6, matrix_flops: 1e9, ..Work::default() };
        assert_eq!(GPUS[1].shares(&product)[0].0, "matrix instructions");
        assert!(1e9 / 1e6 > GPUS[1].ridges()[1]);
        assert!(GPUS[0].shares(&Work::default()).iter().all(|(_, share)| *share == 0.0));
    }
}
