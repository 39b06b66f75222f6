//! Elements that stay on the device between runs.

use crate::device::{Device, DeviceError, DeviceMemory};
use carousel_core::backend::{Data, DataMut, RunError};
use carousel_core::program::element_bytes;
use carousel_core::resident::{Resident, elsewhere, misfit};
use carousel_ir::DType;
use std::any::Any;
use std::sync::Arc;

/// Elements that stay on the device.
pub struct CudaMemory {
    device: Arc<Device>,
    memory: DeviceMemory,
    dtype: DType,
    elements: u64,
}

impl CudaMemory {
    pub(crate) fn new(device: &Arc<Device>, dtype: DType, elements: u64) -> Result<CudaMemory, RunError> {
        let bytes = elements.checked_mul(element_bytes(dtype)).ok_or(RunError::TooLarge { bytes: None })?;
        let memory = device.allocate(bytes).map_err(failed)?;
        Ok(CudaMemory { device: device.clone(), memory, dtype, elements })
    }

    /// The memory behind an input or output.
    pub(crate) fn of(memory: &dyn Resident) -> Result<&CudaMemory, RunError> {
        (memory as &dyn Any).downcast_ref().ok_or_else(elsewhere)
    }

    pub(crate) fn address(&self) -> u64 {
        self.device.address(&self.memory)
    }

    fn check(&self, found: Data<'_>) -> Result<(), RunError> {
        let (expected, found) = ((self.dtype, self.elements), (found.dtype(), found.elements()));
        if expected == found { Ok(()) } else { Err(misfit(expected, found)) }
    }
}

impl Resident for CudaMemory {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn elements(&self) -> u64 {
        self.elements
    }

    fn write(&mut self, from: Data<'_>) -> Result<(), RunError> {
        self.check(from)?;
        self.device.upload(bytes_of(&from), &mut self.memory, 0).map_err(failed)
    }

    fn read(&self, mut to: DataMut<'_>) -> Result<(), RunError> {
        self.check(to.as_data())?;
        self.device.download(&self.memory, 0, bytes_of_mut(&mut to)).map_err(failed)
    }
}

pub(crate) fn failed(error: DeviceError) -> RunError {
    RunError::Device { message: error.to_string() }
}

pub(crate) fn bytes_of<'a>(data: &'a Data<'a>) -> &'a [u8] {
    let bytes = data.elements() * element_bytes(data.dtype());
    // SAFETY: the elements are numbers without padding, and as many as the slice has.
    unsafe { std::slice::from_raw_parts(data.as_ptr(), bytes as usize) }
}

pub(crate) fn bytes_of_mut<'a>(data: &'a mut DataMut<'_>) -> &'a mut [u8] {
    let given = data.as_data();
    let bytes = given.elements() * element_bytes(given.dtype());
    // SAFETY: the elements are numbers without padding, of which all bits are valid, and as many as the slice has.
    unsafe { std::slice::from_raw_parts_mut(data.as_mut_ptr(), bytes as usize) }
}
