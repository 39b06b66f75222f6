//! Runs of several programs that are started together.

use crate::device::Device;
use crate::executable::Core;
use crate::memory::failed;
use crate::run::Run;
use carousel_core::backend::{RunError, Sequence};
use carousel_core::resident::{Input, Output, elsewhere};
use std::any::Any;
use std::sync::Arc;

/// Runs that wait for their start. What is passed to them is on the device already.
pub(crate) struct CudaSequence {
    device: Arc<Device>,
    runs: Vec<Run>,
}

impl CudaSequence {
    pub(crate) fn new(device: &Arc<Device>) -> CudaSequence {
        CudaSequence { device: device.clone(), runs: Vec::new() }
    }

    pub(crate) fn of(sequence: &mut dyn Sequence) -> Result<&mut CudaSequence, RunError> {
        (sequence as &mut dyn Any).downcast_mut().ok_or_else(elsewhere)
    }

    pub(crate) fn add(
        &mut self,
        core: &Arc<Core>,
        inputs: &[Input<'_>],
        outputs: &[Output<'_>],
    ) -> Result<(), RunError> {
        if !Arc::ptr_eq(&self.device, &core.backend.device) {
            return Err(elsewhere());
        }
        if outputs.iter().any(|output| matches!(output, Output::Passed(_))) {
            let message = "a run of a sequence leaves its outputs on the device".to_string();
            return Err(RunError::Device { message });
        }
        self.runs.push(core.prepared(inputs, outputs)?);
        Ok(())
    }
}

impl Sequence for CudaSequence {
    fn finish(self: Box<Self>) -> Result<(), RunError> {
        let CudaSequence { device, mut runs } = *self;
        let Some(first) = runs.first() else { return Ok(()) };
        let started = first.core.clone().graphs.start(&device, &mut runs);
        let waited = started.and_then(|()| device.wait().map_err(failed));
        let result = waited.and_then(|()| runs.iter().try_for_each(Run::check));
        runs.into_iter().for_each(Run::end);
        result
    }
}
