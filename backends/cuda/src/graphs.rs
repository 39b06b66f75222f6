//! Runs whose launches are started together: recorded as a graph when they come again.
//!
//! Invariant: a graph is used only where every address is the one that it was recorded with.

use crate::device::{Device, Graph};
use crate::memory::failed;
use carousel_core::backend::RunError;
use cudarc::driver::CudaStream;
use std::sync::{Arc, Mutex, PoisonError};

/// Where things of a run are on the device.
#[derive(PartialEq, Eq)]
pub(crate) struct Addresses {
    /// The memory of the run.
    pub(crate) start: u64,
    pub(crate) inputs: Vec<u64>,
    pub(crate) outputs: Vec<u64>,
}

/// So many runs are remembered: values that change places with their next ones make two, states that do so beside them four.
const MOST_KEPT: usize = 8;

/// The runs of a program with certain shapes that may come again, the last one last, with their graphs once they have.
#[derive(Default)]
pub(crate) struct Graphs(Mutex<Vec<(Addresses, Option<Graph>)>>);

impl Graphs {
    /// Starts the launches of a run: one by one the first time, then as a graph. `launches` does them in a stream.
    pub(crate) fn start(
        &self,
        device: &Device,
        addresses: Addresses,
        mut launches: impl FnMut(&Arc<CudaStream>, &Addresses) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = known.iter().position(|(known, _)| *known == addresses) else {
            launches(device.stream(), &addresses)?;
            if known.len() == MOST_KEPT {
                known.remove(0);
            }
            known.push((addresses, None));
            return Ok(());
        };
        let (addresses, graph) = known.remove(at);
        let graph = match graph {
            Some(graph) => graph,
            None => device.record(|stream| launches(stream, &addresses))?,
        };
        // SAFETY: the run has memory at the same addresses, and needs as much of it there.
        let started = unsafe { device.start(&graph) }.map_err(failed);
        known.push((addresses, Some(graph)));
        started
    }
}
