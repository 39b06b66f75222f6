//! Single random numbers, for where they are not a contiguous tile.
//!
//! Invariant: the numbers of [`carousel_ir::philox`], by the calling convention of generated code.

use carousel_ir::philox;

/// The number at a row-major index of a stream.
pub(crate) extern "C" fn philox_uniform(seed: u32, stream: u32, step: u32, index: u64) -> f32 {
    philox::uniform(seed, stream, step, index)
}

/// A new seed from a seed and a number.
pub(crate) extern "C" fn philox_fold_in(seed: u32, number: u32) -> u32 {
    philox::fold_in(seed, number)
}
