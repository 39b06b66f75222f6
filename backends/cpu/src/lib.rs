//! CPU target: kernels become machine code by Cranelift, which calls a runtime of tile operations.
//!
//! Map: [`CpuBackend`] compiles a lowered program to a [`CpuExecutable`]; the private `codegen` builds one function a
//! kernel, `jit` turns them into memory, `runtime` has what they call. [`clif`] and [`assembly`] print a kernel;
//! [`limits`] measures what the machine can do at most.

mod codegen;
mod executable;
mod jit;
pub mod limits;
mod memory;
mod runtime;

pub use executable::{CpuBackend, CpuExecutable, KernelProfile};
pub use jit::{assembly, clif};
pub use memory::in_large_pages;
