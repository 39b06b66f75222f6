//! What every backend offers: compiled functions that run on the caller's memory.
//!
//! Tensors at the boundary are row-major, axes in the declared order, unless a [`Port`] has strides of its own. Inputs are
//! read where they are and outputs written where they belong: nothing is copied in or out where a backend computes in the
//! caller's memory. What a backend keeps elsewhere from one run to the next is [`crate::resident`].

use crate::cost::Machine;
use crate::program::{Port, Program};
use crate::resident::{Input, Output, Resident};
use crate::values::Values;
use carousel_ir::{DType, Name};
use std::any::Any;
use std::fmt;

/// Elements of a tensor that is read.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// 64-bit floats.
    F64(&'a [f64]),
    /// bf16, as bits.
    Bf16(&'a [u16]),
    /// f16, as bits.
    F16(&'a [u16]),
    /// Signed integers.
    I32(&'a [i32]),
    /// Unsigned integers.
    U32(&'a [u32]),
    /// Truth values: 0 or -1.
    Bool(&'a [i32]),
}

/// Elements of a tensor that is written.
#[derive(Debug)]
pub enum DataMut<'a> {
    /// 32-bit floats.
    F32(&'a mut [f32]),
    /// 64-bit floats.
    F64(&'a mut [f64]),
    /// bf16, as bits.
    Bf16(&'a mut [u16]),
    /// f16, as bits.
    F16(&'a mut [u16]),
    /// Signed integers.
    I32(&'a mut [i32]),
    /// Unsigned integers.
    U32(&'a mut [u32]),
    /// Truth values: 0 or -1.
    Bool(&'a mut [i32]),
}

/// An input of a run: its elements and the sizes of its axes in the declared order.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// Its elements, from the first to the last as they lie in memory.
    pub data: Data<'a>,
    /// Sizes of the axes.
    pub shape: &'a [u64],
}

/// A compiled function. Its results do not depend on the number of threads.
pub trait Executable: Send + Sync {
    /// What comes in, in order.
    fn inputs(&self) -> &[Port];

    /// What goes out, in order.
    fn outputs(&self) -> &[Port];

    /// The shapes of the outputs for inputs of these shapes.
    fn output_shapes(&self, input_shapes: &[&[u64]]) -> Result<Vec<Vec<u64>>, RunError>;

    /// Runs the function. Outputs must have as many elements as [`Executable::output_shapes`] says.
    fn run(&self, inputs: &[Tensor<'_>], outputs: &mut [DataMut<'_>]) -> Result<(), RunError>;

    /// Whether the function computes elsewhere than in the caller's memory, so that it pays to leave there what is used
    /// again.
    fn is_elsewhere(&self) -> bool {
        false
    }

    /// New memory where the function computes; what is in it has no meaning.
    fn resident(&self, dtype: DType, elements: u64) -> Result<Box<dyn Resident>, RunError> {
        Ok(Box::new(Values::zeros(dtype, elements as usize)))
    }

    /// Runs the function on values of which some stay where it computes.
    fn run_resident(&self, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<(), RunError> {
        let inputs = inputs.iter().map(Input::on_host).collect::<Result<Vec<_>, _>>()?;
        let mut outputs = outputs.iter_mut().map(Output::on_host).collect::<Result<Vec<_>, _>>()?;
        self.run(&inputs, &mut outputs)
    }

    /// A sequence of runs, of this function and others of its backend.
    fn sequence(&self) -> Box<dyn Sequence> {
        Box::new(AtOnce)
    }

    /// Adds a run to a sequence. It is done now or when the sequence is finished; until then the values that it reads or writes must be
    /// left alone by all but runs of the sequence. Where the function computes elsewhere, all outputs stay there.
    fn add(
        &self,
        sequence: &mut dyn Sequence,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), RunError> {
        let _ = sequence;
        self.run_resident(inputs, outputs)
    }

    /// The most memory that a run so far has needed beside its inputs and outputs, in bytes.
    fn peak_bytes(&self) -> u64;
}

/// Runs that follow each other, started together where that pays: what one leaves where it computes is there for the next.
pub trait Sequence: Any {
    /// Does what is not done yet.
    fn finish(self: Box<Self>) -> Result<(), RunError>;
}

/// Runs that are done as they are added.
struct AtOnce;

impl Sequence for AtOnce {
    fn finish(self: Box<Self>) -> Result<(), RunError> {
        Ok(())
    }
}

/// Makes executables of lowered programs.
pub trait Backend: Send + Sync {
    /// What programs for it are lowered for, and what they cost there.
    fn machine(&self) -> Machine {
        Machine::default()
    }

    /// Compiles the last routine of the program, its root.
    fn compile(&self, program: Program) -> Result<Box<dyn Executable>, CompileError>;
}

/// A program could not be compiled: a defect of the compiler or a target without what it needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompileError {
    /// What happened, with the kernel's name.
    pub message: String,
}

/// Why a run was refused or failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunError {
    /// Wrong number of inputs or outputs.
    Count {
        /// `inputs` or `outputs`.
        what: &'static str,
        /// As many as there should be.
        expected: usize,
        /// As many as were given.
        found: usize,
    },
    /// A tensor of another dtype.
    DType {
        /// Which input or output.
        name: Name,
        /// What it should be.
        expected: DType,
        /// What was given.
        found: DType,
    },
    /// A shape that does not fit the declared axes, or another input's.
    Shape {
        /// Which input or output.
        name: Name,
        /// What is wrong with it.
        message: String,
    },
    /// A slice whose length is not that of its shape.
    Length {
        /// Which input or output.
        name: Name,
        /// Elements that the shape has.
        expected: u64,
        /// Elements that were given.
        found: u64,
    },
    /// An index from data was outside the axis that it addresses.
    Index {
        /// The kernel in which it happened.
        kernel: String,
    },
    /// An integer was divided by 0.
    Division {
        /// The kernel in which it happened.
        kernel: String,
    },
    /// The arena would be larger than memory can address.
    TooLarge {
        /// Bytes that it would take, if they can be counted.
        bytes: Option<u64>,
    },
    /// A device failed or refused, beyond what kernels report themselves.
    Device {
        /// What it said, with the kernel's name.
        message: String,
    },
}

impl Data<'_> {
    /// The dtype of the elements.
    pub fn dtype(&self) -> DType {
        match self {
            Data::F32(_) => DType::F32,
            Data::F64(_) => DType::F64,
            Data::Bf16(_) => DType::Bf16,
            Data::F16(_) => DType::F16,
            Data::I32(_) => DType::I32,
            Data::U32(_) => DType::U32,
            Data::Bool(_) => DType::Bool,
        }
    }

    /// How many elements.
    pub fn elements(&self) -> u64 {
        (match self {
            Data::F32(d) => d.len(),
            Data::F64(d) => d.len(),
            Data::Bf16(d) | Data::F16(d) => d.len(),
            Data::I32(d) | Data::Bool(d) => d.len(),
            Data::U32(d) => d.len(),
        }) as u64
    }

    /// Where they are.
    pub fn as_ptr(&self) -> *const u8 {
        match self {
            Data::F32(d) => d.as_ptr().cast(),
            Data::F64(d) => d.as_ptr().cast(),
            Data::Bf16(d) | Data::F16(d) => d.as_ptr().cast(),
            Data::I32(d) | Data::Bool(d) => d.as_ptr().cast(),
            Data::U32(d) => d.as_ptr().cast(),
        }
    }
}

impl DataMut<'_> {
    /// The same, for a shorter time.
    pub fn again(&mut self) -> DataMut<'_> {
        match self {
            DataMut::F32(d) => DataMut::F32(d),
            DataMut::F64(d) => DataMut::F64(d),
            DataMut::Bf16(d) => DataMut::Bf16(d),
            DataMut::F16(d) => DataMut::F16(d),
            DataMut::I32(d) => DataMut::I32(d),
            DataMut::U32(d) => DataMut::U32(d),
            DataMut::Bool(d) => DataMut::Bool(d),
        }
    }

    /// To read from.
    pub fn as_data(&self) -> Data<'_> {
        match self {
            DataMut::F32(d) => Data::F32(d),
            DataMut::F64(d) => Data::F64(d),
            DataMut::Bf16(d) => Data::Bf16(d),
            DataMut::F16(d) => Data::F16(d),
            DataMut::I32(d) => Data::I32(d),
            DataMut::U32(d) => Data::U32(d),
            DataMut::Bool(d) => Data::Bool(d),
        }
    }

    /// Where they are.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        match self {
            DataMut::F32(d) => d.as_mut_ptr().cast(),
            DataMut::F64(d) => d.as_mut_ptr().cast(),
            DataMut::Bf16(d) | DataMut::F16(d) => d.as_mut_ptr().cast(),
            DataMut::I32(d) | DataMut::Bool(d) => d.as_mut_ptr().cast(),
            DataMut::U32(d) => d.as_mut_ptr().cast(),
        }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CompileError {}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Count { what, expected, found } => {
                write!(f, "the function has {expected} {what}, not {found}")
            }
            RunError::DType { name, expected, found } => {
                write!(f, "`{name}` must be {expected}, not {found}")
            }
            RunError::Shape { name, message } => write!(f, "`{name}`: {message}"),
            RunError::Length { name, expected, found } => {
                write!(f, "`{name}` has {found} elements where its shape has {expected}")
            }
            RunError::Index { kernel } => {
                write!(
                    f,
                    "an index in `{kernel}` is outside the axis that it addresses (a token above the vocabulary?)"
                )
            }
            RunError::Division { kernel } => write!(f, "an integer is divided by 0 in `{kernel}`"),
            RunError::TooLarge { bytes: Some(bytes) } => {
                write!(f, "the run would need {bytes} bytes of memory")
            }
            RunError::TooLarge { bytes: None } => {
                f.write_str("the run would need more memory than can be counted")
            }
            RunError::Device { message } => f.write_str(message),
        }
    }
}

impl std::error::Error for RunError {}
