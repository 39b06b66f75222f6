//! Elements that stay on the device between runs.

use crate::device::{Device, DeviceError, DeviceMemory};
use carousel_core::backend::{Data, DataMut, RunError};
use carousel_core::program::element_bytes;
use carousel_core::resident::{Resident, elsewhere, misfit};
use carousel_ir::DType;
use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Elements that stay on the device: an allocation or a part of one.
pub struct CudaMemory {
    device: Arc<Device>,
    memory: Arc<Mutex<DeviceMemory>>,
    /// Where the elements begin in the allocation, in bytes.
    offset: u64,
    address: u64,
    dtype: DType,
    elements: u64,
}

impl CudaMemory {
    pub(crate) fn new(device: &Arc<Device>, dtype: DType, elements: u64) -> Result<CudaMemory, RunError> {
        let bytes = elements.checked_mul(element_bytes(dtype)).ok_or(RunError::TooLarge { bytes: None })?;
        let memory = device.allocate(bytes).map_err(failed)?;
        let (device, address) = (device.clone(), device.address(&memory));
        Ok(CudaMemory { device, memory: Arc::new(Mutex::new(memory)), offset: 0, address, dtype, elements })
    }

    /// The memory behind an input or output.
    pub(crate) fn of(memory: &dyn Resident) -> Result<&CudaMemory, RunError> {
        (memory as &dyn Any).downcast_ref().ok_or_else(elsewhere)
    }

    /// The bytes of the device that the elements take.
    pub(crate) fn addresses(&self) -> Range<u64> {
        self.address..self.address + self.elements * element_bytes(self.dtype)
    }

    /// The allocation that the elements are in.
    pub(crate) fn shared(&self) -> Arc<Mutex<DeviceMemory>> {
        self.memory.clone()
    }

    fn lock(&self) -> MutexGuard<'_, DeviceMemory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.device.upload(bytes_of(&from), &mut self.lock(), self.offset).map_err(failed)
    }

    fn read(&self, mut to: DataMut<'_>) -> Result<(), RunError> {
        self.check(to.as_data())?;
        self.device.download(&self.lock(), self.offset, bytes_of_mut(&mut to)).map_err(failed)
    }

    fn part(&self, range: Range<u64>) -> Result<Box<dyn Resident>, RunError> {
        if range.start > range.end || range.end > self.elements {
            let message = format!("there is no part {range:?} of {} elements", self.elements);
            return Err(RunError::Device { message });
        }
        let skipped = range.start * element_bytes(self.dtype);
        Ok(Box::new(CudaMemory {
            device: self.device.clone(),
            memory: self.memory.clone(),
            offset: self.offset + skipped,
            address: self.address + skipped,
            dtype: self.dtype,
            elements: range.end - range.start,
        }))
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
