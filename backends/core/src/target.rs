//! What the schedule must know of the machine. The default is a processor with caches; backends for other machines have
//! their own ([`Backend::machine`](crate::backend::Backend::machine)). None of it depends on the number of threads, so results do not either.

use carousel_ir::DType;

/// Schedule parameters of a target.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// About how many elements an elementwise or reducing grid point handles.
    pub tile_elements: u64,
    /// Rows of a matrix product's grid point.
    pub product_rows: u64,
    /// Columns of a matrix product's grid point.
    pub product_columns: u64,
    /// dtypes of contractions that may be matrix products.
    pub product_dtypes: &'static [DType],
    /// Contractions that are known to have fewer multiplications than this for each result row are fused as plain
    /// reductions.
    pub small_contraction: u64,
    /// Whether neighbouring threads read neighbouring elements: what is repeated along new axes keeps its innermost axis innermost,
    /// and a contraction in which each element of a factor is used once is a reduction unless that factor is in memory anyway.
    pub is_coalescing: bool,
    /// Values share a kernel if their common axes have at least about that many points.
    pub group_points: u64,
    /// Points go through the pieces of a sequence one after the other if there are at least about that many of them without
    /// the pieces.
    pub sweep_points: u64,
    /// The dtype to which products round f32 factors, and that f32 values have in memory where nothing but products reads
    /// them. Anything but f32 makes results less accurate; backends that do not round ignore it.
    pub factors: DType,
    /// If the scans over pieces of a sequence have a kernel without what reads their states: the side of the tile of a state
    /// that a point has.
    pub state_tile: Option<u64>,
    /// Whether a matrix of known sizes by which a loop multiplies at each step is copied to the memory of the point even if it lies
    /// there as products read it: where that memory is closer than all other.
    pub keeps_factors: bool,
    /// An inlined expression with more operations than this is stored instead.
    pub inline_operations: u32,
}

impl Default for Target {
    fn default() -> Target {
        Target {
            tile_elements: 4096,
            product_rows: 256,
            product_columns: 128,
            product_dtypes: &[DType::F32, DType::F64],
            small_contraction: 16,
            is_coalescing: false,
            group_points: 64,
            sweep_points: 4,
            factors: DType::F32,
            state_tile: None,
            keeps_factors: false,
            inline_operations: 48,
        }
    }
}
