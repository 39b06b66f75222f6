//! Values that stay where a backend computes, from one run to the next: weights, states, moments.
//!
//! Invariant: an executable runs on memory that it or another executable of its backend gave out. A backend that computes
//! in the caller's memory needs none of it: there, slices stay where they are anyway, and [`Values`] stands in, so that
//! who uses residents need not know where they are.

use crate::backend::{Data, DataMut, RunError, Tensor};
use crate::values::Values;
use carousel_ir::DType;
use std::any::Any;
use std::fmt;
use std::ops::Range;

/// Elements of one dtype that stay where a backend computes.
pub trait Resident: Any + Send + Sync {
    /// Their dtype.
    fn dtype(&self) -> DType;

    /// How many there are.
    fn elements(&self) -> u64;

    /// Takes over elements of the caller, as many as there are.
    fn write(&mut self, from: Data<'_>) -> Result<(), RunError>;

    /// Gives the elements to the caller, who has room for as many.
    fn read(&self, to: DataMut<'_>) -> Result<(), RunError>;

    /// Some of the elements under a handle of their own: what is written to one is read from the other. A run refuses outputs
    /// that share elements with something else.
    fn part(&self, range: Range<u64>) -> Result<Box<dyn Resident>, RunError>;
}

/// An input of a run.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// The caller's memory.
    Passed(Tensor<'a>),
    /// What stays where the function runs.
    Resident {
        /// The elements.
        memory: &'a dyn Resident,
        /// Sizes of the axes.
        shape: &'a [u64],
    },
}

/// Where an output of a run goes.
pub enum Output<'a> {
    /// To the caller's memory.
    Passed(DataMut<'a>),
    /// To what stays where the function runs.
    Resident(&'a mut dyn Resident),
}

impl<'a> Input<'a> {
    /// Sizes of the axes.
    pub fn shape(&self) -> &'a [u64] {
        match self {
            Input::Passed(tensor) => tensor.shape,
            Input::Resident { shape, .. } => shape,
        }
    }

    /// dtype and number of the elements.
    pub fn extent(&self) -> (DType, u64) {
        match self {
            Input::Passed(tensor) => (tensor.data.dtype(), tensor.data.elements()),
            Input::Resident { memory, .. } => (memory.dtype(), memory.elements()),
        }
    }

    /// The elements, if the caller's memory has them.
    pub fn on_host(&self) -> Result<Tensor<'a>, RunError> {
        match self {
            Input::Passed(tensor) => Ok(*tensor),
            Input::Resident { memory, shape } => {
                let memory: &dyn Any = *memory;
                let memory = memory.downcast_ref::<Values>().ok_or_else(elsewhere)?;
                Ok(Tensor { data: memory.as_data(), shape })
            }
        }
    }
}

impl Output<'_> {
    /// dtype and number of the elements.
    pub fn extent(&self) -> (DType, u64) {
        match self {
            Output::Passed(data) => (data.as_data().dtype(), data.as_data().elements()),
            Output::Resident(memory) => (memory.dtype(), memory.elements()),
        }
    }

    /// Where to write, if that is the caller's memory.
    pub fn on_host(&mut self) -> Result<DataMut<'_>, RunError> {
        match self {
            Output::Passed(data) => Ok(data.again()),
            Output::Resident(memory) => {
                let memory: &mut dyn Any = &mut **memory;
                Ok(memory.downcast_mut::<Values>().ok_or_else(elsewhere)?.as_mut())
            }
        }
    }
}

/// Memory of another backend was given.
pub fn elsewhere() -> RunError {
    RunError::Device { message: "memory of another backend was given to a function".to_string() }
}

/// Elements were given for memory of others.
pub fn misfit(expected: (DType, u64), found: (DType, u64)) -> RunError {
    let message = format!(
        "memory of {} elements of {} is not that of {} of {}",
        expected.1, expected.0, found.1, found.0
    );
    RunError::Device { message }
}

impl Resident for Values {
    fn dtype(&self) -> DType {
        Values::dtype(self)
    }

    fn elements(&self) -> u64 {
        self.as_data().elements()
    }

    fn write(&mut self, from: Data<'_>) -> Result<(), RunError> {
        copy(self.as_mut(), from)
    }

    fn read(&self, to: DataMut<'_>) -> Result<(), RunError> {
        copy(to, self.as_data())
    }

    fn part(&self, _: Range<u64>) -> Result<Box<dyn Resident>, RunError> {
        Err(RunError::Device { message: "parts of the caller's memory are passed, not kept".to_string() })
    }
}

impl fmt::Debug for dyn Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.dtype(), self.elements())
    }
}

fn copy(to: DataMut<'_>, from: Data<'_>) -> Result<(), RunError> {
    let expected = (to.as_data().dtype(), to.as_data().elements());
    let found = (from.dtype(), from.elements());
    if expected != found {
        return Err(misfit(expected, found));
    }
    match (to, from) {
        (DataMut::F32(to), Data::F32(from)) => to.copy_from_slice(from),
        (DataMut::F64(to), Data::F64(from)) => to.copy_from_slice(from),
        (DataMut::Bf16(to), Data::Bf16(from)) | (DataMut::F16(to), Data::F16(from)) => {
            to.copy_from_slice(from)
        }
        (DataMut::I32(to), Data::I32(from)) | (DataMut::Bool(to), Data::Bool(from)) => {
            to.copy_from_slice(from)
        }
        (DataMut::U32(to), Data::U32(from)) => to.copy_from_slice(from),
        (
            DataMut::F32(_)
            | DataMut::F64(_)
            | DataMut::Bf16(_)
            | DataMut::F16(_)
            | DataMut::I32(_)
            | DataMut::Bool(_)
            | DataMut::U32(_),
            _,
        ) => return Err(misfit(expected, found)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_as_they_were_given() {
        let mut memory = Values::zeros(DType::F32, 3);
        memory.write(Data::F32(&[1.0, -2.0, 0.5])).expect("it fits");
        let mut found = [0.0; 3];
        memory.read(DataMut::F32(&mut found)).expect("it fits");
        assert_eq!(found, [1.0, -2.0, 0.5]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut memory = Values::zeros(DType::F32, 3);
        let refused = memory.write(Data::F32(&[1.0])).expect_err("one of three");
        assert_eq!(refused.to_string(), "memory of 3 elements of f32 is not that of 1 of f32");
        memory.write(Data::I32(&[1, 2, 3])).expect_err("another dtype");
    }
}
