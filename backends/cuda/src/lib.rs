//! CUDA target: kernels become CUDA C++, which NVRTC compiles and the driver runs.
//!
//! Map: the private `codegen` writes the text of a kernel, [`toolchain`] finds or installs the compiler, [`ptx`] runs it,
//! `device` talks to the driver, and [`CudaBackend`] makes executables of programs. Building needs no CUDA, and running
//! needs no GPU: any library with the driver's interface will do ([`Driver`]).
//!
//! ```no_run
//! use carousel_core::backend::{Backend, Executable};
//! use carousel_core::program::Program;
//! use carousel_cuda::{CudaBackend, Driver};
//!
//! # fn run(program: Program) -> Result<(), Box<dyn std::error::Error>> {
//! let backend = CudaBackend::open(&Driver::System)?;
//! let executable = backend.compile(program)?;
//! # Ok(()) }
//! ```

pub mod assembler;
mod codegen;
mod compiler;
mod device;
#[cfg(feature = "emulated")]
pub mod emulated;
mod executable;
mod graphs;
mod memory;
pub mod occupancy;
pub mod roofline;
mod run;
mod sequence;
mod target;
pub mod toolchain;

pub use compiler::{Compiled, all_compiled, compiled, cuda, ptx, ptx_for, ptx_of_text};
pub use device::{DeviceError, Driver, Started, Transferred};
pub use executable::{CudaBackend, CudaExecutable, Expected, Observer};
pub use memory::CudaMemory;
pub use target::{machine, target, target_with_bf16_factors};
