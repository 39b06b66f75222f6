//! Runs whose launches are started together: recorded as a graph when they come again.
//!
//! Invariant: a graph is used only where every program and every address is the one that it was recorded with.

use crate::device::{Device, Graph};
use crate::executable::{Core, Plan};
use crate::memory::failed;
use crate::run::Run;
use carousel_core::backend::RunError;
use cudarc::driver::CudaStream;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Where things of a run are on the device.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// The memory of the run.
    pub(crate) start: u64,
    pub(crate) inputs: Vec<Range<u64>>,
    pub(crate) outputs: Vec<Range<u64>>,
}

/// So many sequences are remembered: values that change places with their next ones make two of each, states that do so
/// beside them four, and shapes may differ.
const MOST_KEPT: usize = 16;

/// A run that was met. A program that is gone is no other one's.
struct Met {
    core: Weak<Core>,
    plan: Weak<Plan>,
    addresses: Addresses,
}

impl Met {
    fn of(run: &Run) -> Met {
        let Run { core, plan, addresses, .. } = run;
        Met { core: Arc::downgrade(core), plan: Arc::downgrade(plan), addresses: addresses.clone() }
    }

    fn is(&self, run: &Run) -> bool {
        std::ptr::eq(self.core.as_ptr(), Arc::as_ptr(&run.core))
            && std::ptr::eq(self.plan.as_ptr(), Arc::as_ptr(&run.plan))
            && self.addresses == run.addresses
    }
}

/// Sequences of runs that may come again, the last one last, with their graphs once they have.
#[derive(Default)]
pub(crate) struct Graphs(Mutex<Vec<(Vec<Met>, Option<Graph>)>>);

fn launch(runs: &mut [Run], stream: &Arc<CudaStream>) -> Result<(), RunError> {
    runs.iter_mut().try_for_each(|run| run.launch(stream))
}

impl Graphs {
    /// Starts the launches of runs: one by one the first time, then as a graph.
    pub(crate) fn start(&self, device: &Device, runs: &mut [Run]) -> Result<(), RunError> {
        let mut read = Vec::new();
        for run in &*runs {
            run.announce(&read);
            read.extend(run.addresses.inputs.iter().cloned());
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_met = |(met, _): &(Vec<Met>, Option<Graph>)| {
            met.len() == runs.len() && met.iter().zip(runs.iter()).all(|(met, run)| met.is(run))
        };
        let Some(at) = known.iter().position(is_met) else {
            launch(runs, device.stream())?;
            if known.len() == MOST_KEPT {
                known.remove(0);
            }
            known.push((runs.iter().map(Met::of).collect(), None));
            return Ok(());
        };
        let (met, graph) = known.remove(at);
        let graph = match graph {
            Some(graph) => graph,
            None => device.record(|stream| launch(runs, stream))?,
        };
        // SAFETY: the runs have memory at the same addresses, and need as much of it there.
        let started = unsafe { device.start(&graph) }.map_err(failed);
        known.push((met, Some(graph)));
        started
    }
}
