//! Random numbers are those of the IR's definition.

pub use carousel_ir::philox::{fold_in, stream_hash};

/// [`carousel_ir::philox::uniform`] in f64.
pub fn uniform(seed: u32, stream: u32, step: u32, index: u64) -> f64 {
    f64::from(carousel_ir::philox::uniform(seed, stream, step, index))
}
