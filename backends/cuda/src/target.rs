//! What the schedule must know of a GPU.

use carousel_core::Target;
use carousel_core::cost::{Machine, Profile};
use carousel_ir::DType;

/// The same whose products in f32 are of factors that are rounded to bf16, with sums in f32. What nothing but products reads, such
/// as states between chunks, lies in memory so. A sixth of the matrix instructions, and half of the memory of such values.
pub fn target_with_bf16_factors() -> Target {
    Target { factors: DType::Bf16, ..target() }
}

/// What programs for a GPU are lowered for, and what they are taken to cost.
pub fn machine() -> Machine {
    Machine { target: target(), profile: Profile::named("sm-90").expect("a built-in profile") }
}

/// A GPU: many small blocks. A grid point's elements are two accesses of 16 bytes for each thread of a block, a row for
/// each warp; its matrix is one tile in shared memory; tensor cores multiply what has 16 bits as well.
pub fn target() -> Target {
    Target {
        tile_elements: 2048,
        product_rows: 64,
        product_columns: 64,
        product_dtypes: &[DType::F32, DType::F64, DType::Bf16, DType::F16],
        // Chunks are points, too: there are never enough of them. Only states go through them in turn.
        sweep_points: u64::MAX,
        state_tile: Some(64),
        keeps_factors: true,
        is_coalescing: true,
        ..Target::default()
    }
}
