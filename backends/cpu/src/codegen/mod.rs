//! Kernel IR to Cranelift functions, one function a kernel.
//!
//! The function's convention is `extern "C" fn(buffers, dims, begin, end, scratch, status)`: pointers to the arguments,
//! the dims, the range of flat grid points to do, scratch memory (a [`HEADER_BYTES`] header that is zero in its first
//! 64 bytes, the kernel's scratch, tile temporaries; aligned to 64 bytes) and a word that becomes non-zero when an index
//! is out of range or an integer is divided by zero.
//!
//! Invariant: what a grid point computes depends neither on the range it is done in nor on the thread. The code relies
//! on our own hoisting (Cranelift runs with `opt_level = none`); nothing here decides tile sizes of the grid.

mod emitter;
mod halves;
mod names;
mod nest;
mod prefetch;
mod product;
pub(crate) mod random;
mod reduce;
mod row;
mod stages;
mod statements;
#[cfg(test)]
mod tests;
mod values;

use carousel_core::kernel::Kernel;
use cranelift_codegen::ir::{Function, InstBuilder};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use emitter::Emitter;

pub(crate) use emitter::{HEADER_BYTES, Linker, kernel_signature};
pub(crate) use names::Names;
pub(crate) use values::STATUS_DIVISION;

/// What is known of a function beside its code.
pub(crate) struct Built {
    /// Bytes of tile temporaries after the kernel's scratch.
    pub(crate) temporaries_bytes: u64,
    /// For printing.
    pub(crate) names: Names,
}

/// Builds the function of a kernel.
pub(crate) fn build(
    kernel: &Kernel,
    isa: &dyn TargetIsa,
    fma: bool,
    linker: &mut dyn Linker,
    function: &mut Function,
    context: &mut FunctionBuilderContext,
) -> Built {
    let call_conv = isa.default_call_conv();
    function.signature = kernel_signature(call_conv);
    let builder = FunctionBuilder::new(function, context);
    let (mut e, [begin, end]) = Emitter::new(builder, kernel, linker, call_conv, fma);
    let extents: Vec<_> = kernel.grid.iter().map(|over| e.count(over.extent)).collect();
    let (points, flat) = e.begin_loop("grid", begin, end, 1);
    let mut rest = flat;
    for (at, over) in kernel.grid.iter().enumerate().rev() {
        let index = match (at, extents[at].known) {
            (0, _) => rest,
            (_, Some(1)) => e.int(0),
            (_, _) => {
                let extent = extents[at].value;
                let index = e.b.ins().urem(rest, extent);
                rest = e.b.ins().udiv(rest, extent);
                index
            }
        };
        e.names.value(index, &format!("i{}", over.var.0));
        e.variables.insert(over.var, index);
    }
    statements::emit(&mut e, &kernel.body);
    e.end_loop(points);
    e.b.ins().return_(&[]);
    e.b.seal_all_blocks();
    let temporaries_bytes = e.temporaries_bytes();
    let names = std::mem::take(&mut e.names);
    e.b.finalize(isa.frontend_config());
    Built { temporaries_bytes, names }
}
