//! What the schedule must know of a GPU.

use carousel_core::Target;
use carousel_ir::DType;

/// A GPU: many small blocks. A grid point's elements are two accesses of 16 bytes for each thread of a block, a row for
/// each warp; its matrix is one tile in shared memory; tensor cores multiply what has 16 bits as well.
pub fn target() -> Target {
    Target {
        tile_elements: 2048,
        product_rows: 64,
        product_columns: 64,
        product_dtypes: &[DType::F32, DType::F64, DType::Bf16, DType::F16],
        // Chunks are points, too: there are never enough of them.
        sweep_points: u64::MAX,
        ..Target::default()
    }
}
