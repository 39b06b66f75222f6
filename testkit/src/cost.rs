//! What a program costs, in whole numbers, and bounds on it.
//!
//! Costs do not depend on the computer that measures them: they are planned, counted by the emulated device, or told by the
//! assembler. None of them is a time that a clock showed.

use crate::error::Error;
use std::collections::BTreeMap;
use std::fmt;

/// Something that a program costs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cost {
    /// Different kernels.
    Kernels,
    /// Kernels that are started in a run.
    Launches,
    /// Bytes beside inputs and outputs, on the CPU: the arena and a grid point's scratch.
    ArenaBytes,
    /// The estimate that forms are chosen by: nanoseconds of a run on one core of the machine that the built-in profile
    /// describes.
    PriceNanoseconds,
    /// Registers of a thread on the GPU, of the kernel that has most.
    Registers,
    /// Bytes that threads keep in memory because registers do not suffice, stored and loaded, of all kernels.
    SpilledBytes,
    /// Instructions on the GPU, each counted once for a warp.
    WarpInstructions,
    /// Floating-point operations on registers; a fused multiply-add is two.
    Flops,
    /// Floating-point operations of matrix instructions.
    MatrixFlops,
    /// Barriers that blocks passed.
    Barriers,
    /// Instructions of warps that load from global memory.
    Loads,
    /// Those of them that load 16 bytes for each thread.
    WideLoads,
    /// Those of the others whose numbers go to four threads of the warp or more each, such as the one of a row.
    BroadcastLoads,
    /// Bytes of the 32-byte sectors that loads from global memory touch.
    ReadBytes,
    /// As many as there would be if the accesses of each warp were contiguous.
    IdealReadBytes,
    /// Bytes of the sectors that stores touch.
    WrittenBytes,
    /// Bytes of the sectors that launches read before they write them, each once a launch.
    DramReadBytes,
    /// Bytes of the sectors that launches write, each once a launch.
    DramWrittenBytes,
    /// Passes through shared memory's banks.
    SharedPasses,
    /// As many as there would be without bank conflicts.
    IdealSharedPasses,
    /// Bytes of shared memory of a block, of the launch that takes most.
    SharedBytes,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cost::Kernels => "kernels",
            Cost::Launches => "launches",
            Cost::ArenaBytes => "arena bytes",
            Cost::PriceNanoseconds => "price in nanoseconds",
            Cost::Registers => "registers",
            Cost::SpilledBytes => "spilled bytes",
            Cost::WarpInstructions => "warp instructions",
            Cost::Flops => "floating-point operations",
            Cost::MatrixFlops => "floating-point operations of matrix instructions",
            Cost::Barriers => "barriers",
            Cost::Loads => "loads",
            Cost::WideLoads => "loads of 16 bytes a thread",
            Cost::BroadcastLoads => "loads of numbers that several threads share",
            Cost::ReadBytes => "bytes read",
            Cost::IdealReadBytes => "bytes read, ideally",
            Cost::WrittenBytes => "bytes written",
            Cost::DramReadBytes => "bytes read from the device's memory",
            Cost::DramWrittenBytes => "bytes written to the device's memory",
            Cost::SharedPasses => "passes through shared memory",
            Cost::IdealSharedPasses => "passes through shared memory, ideally",
            Cost::SharedBytes => "bytes of shared memory",
        })
    }
}

/// A cost above its bound, or one that nobody measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exceeded {
    /// Which.
    pub cost: Cost,
    /// How much it is; nothing if it is not known.
    pub found: Option<u64>,
    /// How much it may be.
    pub bound: u64,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exceeded { cost, found, bound } = self;
        match found {
            Some(found) => write!(f, "{cost}: {found}, at most {bound} allowed"),
            None => write!(f, "{cost}: not measured, at most {bound} allowed; {}", advice(*cost)),
        }
    }
}

/// How a cost comes to be measured.
fn advice(cost: Cost) -> &'static str {
    match cost {
        Cost::Registers | Cost::SpilledBytes => {
            "reports of the device have it where `ptxas` is installed: `assembler::install` fetches it"
        }
        Cost::ArenaBytes | Cost::PriceNanoseconds => "reports of the CPU have it",
        Cost::Kernels
        | Cost::Launches
        | Cost::WarpInstructions
        | Cost::Flops
        | Cost::MatrixFlops
        | Cost::Barriers
        | Cost::Loads
        | Cost::WideLoads
        | Cost::BroadcastLoads
        | Cost::ReadBytes
        | Cost::IdealReadBytes
        | Cost::WrittenBytes
        | Cost::DramReadBytes
        | Cost::DramWrittenBytes
        | Cost::SharedPasses
        | Cost::IdealSharedPasses
        | Cost::SharedBytes => "reports of the emulated device have it",
    }
}

/// What a program costs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Costs(BTreeMap<Cost, u64>);

/// A line each.
impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(cost, amount)| writeln!(f, "{cost}: {amount}"))
    }
}

impl Costs {
    pub(crate) fn set(&mut self, cost: Cost, amount: u64) {
        self.0.insert(cost, amount);
    }

    /// How much of it, if it was measured.
    pub fn get(&self, cost: Cost) -> Option<u64> {
        self.0.get(&cost).copied()
    }

    /// The first of some bounds, which [`Bounds::check`] checks.
    pub fn at_most(&self, cost: Cost, bound: u64) -> Bounds<'_> {
        Bounds { costs: self, exceeded: Vec::new() }.at_most(cost, bound)
    }
}

/// Bounds on costs.
#[must_use = "`check` says whether they are kept"]
pub struct Bounds<'a> {
    costs: &'a Costs,
    exceeded: Vec<Exceeded>,
}

impl Bounds<'_> {
    /// One more bound. A cost that was not measured does not keep it.
    pub fn at_most(mut self, cost: Cost, bound: u64) -> Self {
        let found = self.costs.get(cost);
        if found.is_none_or(|found| found > bound) {
            self.exceeded.push(Exceeded { cost, found, bound });
        }
        self
    }

    /// Whether all are kept.
    ///
    /// # Errors
    /// Every cost that is above its bound, with how much it is.
    pub fn check(self) -> Result<(), Error> {
        if self.exceeded.is_empty() { Ok(()) } else { Err(Error::Costs(self.exceeded)) }
    }
}
