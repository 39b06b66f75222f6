//! One run of a program: from what is passed to what comes back.

use crate::codegen::{Point, STATUS_DIVISION, STATUS_INDEX};
use crate::device::DeviceMemory;
use crate::executable::{Core, MOST_BLOCKS, Plan, lock};
use crate::graphs::Addresses;
use crate::memory::{bytes_of_mut, failed};
use carousel_core::backend::RunError;
use carousel_core::resident::Output;
use cudarc::driver::CudaStream;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// A run that is ready to be started.
pub(crate) struct Run {
    pub(crate) core: Arc<Core>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) memory: DeviceMemory,
    pub(crate) addresses: Addresses,
    /// What it reads and writes of what stays on the device: it is not given back before.
    pub(crate) residents: Vec<Arc<Mutex<DeviceMemory>>>,
}

impl Run {
    /// Tells who wants to know that it begins, after runs that read such memory.
    pub(crate) fn announce(&self, read_before: &[Range<u64>]) {
        self.core.announce(&self.plan, &self.addresses, read_before);
    }

    /// Its launches, in a stream.
    pub(crate) fn launch(&mut self, stream: &Arc<CudaStream>) -> Result<(), RunError> {
        let Run { core, plan, memory, addresses, .. } = self;
        let device = &core.backend.device;
        device.zero(stream, memory, plan.status, core.status_bytes()).map_err(failed)?;
        for entry in plan.bound.entries.iter().filter(|entry| entry.points > 0) {
            if core.kernels[entry.kernel.0 as usize].crew.point != Point::Block {
                device.zero(stream, memory, plan.arrived, 4 * MOST_BLOCKS).map_err(failed)?;
            }
            core.launch(stream, plan, addresses, entry)?;
        }
        Ok(())
    }

    /// What its kernels say of it, when they are done.
    pub(crate) fn check(&self) -> Result<(), RunError> {
        let Run { core, plan, memory, .. } = self;
        let mut status = vec![0u8; core.status_bytes() as usize];
        core.backend.device.download(memory, plan.status, &mut status).map_err(failed)?;
        for entry in &plan.bound.entries {
            let at = 4 * entry.kernel.0 as usize;
            let word = u32::from_le_bytes([status[at], status[at + 1], status[at + 2], status[at + 3]]);
            let kernel = core.kernel(entry).name.clone();
            if word & STATUS_DIVISION != 0 {
                return Err(RunError::Division { kernel });
            }
            if word & STATUS_INDEX != 0 {
                return Err(RunError::Index { kernel });
            }
        }
        Ok(())
    }

    /// Its outputs, as far as they are passed.
    pub(crate) fn fetch(&self, outputs: &mut [Output<'_>]) -> Result<(), RunError> {
        for (output, (offset, _)) in outputs.iter_mut().zip(&self.plan.outputs) {
            if let Output::Passed(output) = output {
                let device = &self.core.backend.device;
                device.download(&self.memory, *offset, bytes_of_mut(output)).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Its memory is for the next one.
    pub(crate) fn end(self) {
        drop(self.residents);
        lock(&self.core.memories).push(self.memory);
    }
}
