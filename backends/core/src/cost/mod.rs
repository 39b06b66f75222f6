//! What a program costs: estimated seconds and planned bytes of a lowered program for given sizes, on a machine that a
//! [`Profile`] describes.
//!
//! Each statement of a kernel takes the longer one of computing and moving its bytes, and what there is besides; so
//! fusion shows, which per-operation costs cannot see. Invariant: the estimate depends on the program, the sizes and the
//! profile alone. It serves to compare programs that compute the same, not to predict a clock.
//!
//! Map: `profile` is the machine, `statement` and `rows` are what is computed, `traffic` what is moved, `memory` what callers
//! hold.

mod memory;
mod profile;
mod rows;
mod statement;
mod traffic;

pub use memory::held;
pub use profile::{ElementRate, Level, Overhead, ProductRate, Profile};

use crate::bind::{BindError, bind};
use crate::kernel::{Extent, Kernel, Loop};
use crate::program::{Entry, KernelId, Program};
use crate::target::Target;
use carousel_ir::Name;
use std::collections::BTreeMap;

/// What candidates are lowered for, and what they cost there.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Machine {
    /// Schedule parameters.
    pub target: Target,
    /// Rates.
    pub profile: Profile,
}

/// What a program is estimated to take.
#[derive(Clone, PartialEq, Debug)]
pub struct ProgramPrice {
    /// Seconds on one core, or on all of a device.
    pub seconds: f64,
    /// Bytes of the arena and of a grid point's scratch.
    pub bytes: u64,
    /// The seconds of each kernel, over all its launches, by number.
    pub kernels: BTreeMap<u32, f64>,
}

/// The price of the program's root for these values of its symbols.
pub fn price(
    program: &Program,
    symbol: &dyn Fn(Name) -> u64,
    profile: &Profile,
) -> Result<ProgramPrice, BindError> {
    let root = program.routines.last().ok_or(BindError::Empty)?;
    let mut shapes = Vec::new();
    for port in &root.inputs {
        let shape: Option<Vec<u64>> = port.sizes.iter().map(|s| s.evaluate(&|n| Some(symbol(n)))).collect();
        shapes.push(shape.ok_or(BindError::Overflow)?);
    }
    let shapes: Vec<&[u64]> = shapes.iter().map(Vec::as_slice).collect();
    let bound = bind(program, &shapes)?;
    let mut known: BTreeMap<(KernelId, &[i64]), f64> = BTreeMap::new();
    let mut kernels: BTreeMap<u32, f64> = BTreeMap::new();
    for entry in &bound.entries {
        let seconds = *known
            .entry((entry.kernel, &entry.dims))
            .or_insert_with(|| launch(&program.kernels[entry.kernel.0 as usize], entry, profile));
        *kernels.entry(entry.kernel.0).or_default() += seconds;
    }
    let scratch = bound.entries.iter().map(|e| e.scratch_bytes).max().unwrap_or(0);
    let seconds = kernels.values().sum();
    Ok(ProgramPrice { seconds, bytes: bound.arena_bytes.saturating_add(scratch), kernels })
}

/// The seconds of one launch.
fn launch(kernel: &Kernel, entry: &Entry, profile: &Profile) -> f64 {
    let mut walk = statement::Walk::new(kernel, &entry.dims, profile);
    let points = entry.points as f64;
    let work = points * profile.overhead.point + walk.grid(kernel);
    // Points that are worked on at the same time take as long as one of them.
    let turns = (points / profile.points).ceil();
    profile.overhead.kernel + if points > 0.0 { work * (turns / points) } else { work }
}

/// How often a loop runs; for a tile, on average over all tiles.
fn count(over: &Loop, dims: &[i64]) -> f64 {
    extent(&over.extent, dims)
}

fn extent(extent: &Extent, dims: &[i64]) -> f64 {
    match extent {
        Extent::Whole(dim) => dim.value(dims).max(0) as f64,
        Extent::Tile { whole, tile, index: _ } => {
            let whole = whole.value(dims).max(0) as f64;
            whole / (whole / *tile as f64).ceil().max(1.0)
        }
    }
}
