//! Hand-built kernels against plain loops in Rust.

mod elementwise;
mod listing;
mod others;
mod reductions;

use super::HEADER_BYTES;
use crate::jit;
use crate::memory::Block;
use carousel_core::kernel::{
    Access, Atom, Buffer, BufferId, Dim, Expr, ExprId, Extent, Guard, Kernel, Linear, Loop, Place, Region,
    Statement, Store, Var,
};
use carousel_ir::{DType, Number, OpKind, Span};

/// A kernel under construction.
pub(super) struct Draft {
    pub(super) kernel: Kernel,
}

impl Draft {
    /// A kernel whose buffers have these dtypes.
    pub(super) fn new(dtypes: &[DType]) -> Draft {
        let buffers = dtypes.iter().enumerate().map(|(at, &dtype)| Buffer {
            dtype,
            place: Place::Argument(at as u32),
            access: Access::ReadWrite,
            elements: Dim::Known(0),
        });
        Draft {
            kernel: Kernel {
                name: "test".to_string(),
                buffer_names: (0..dtypes.len()).map(|at| format!("buffer{at}")).collect(),
                buffer_spans: vec![Span::default(); dtypes.len()],
                buffers: buffers.collect(),
                dims: 0,
                grid: Vec::new(),
                scratch_bytes: Dim::Known(0),
                factors: DType::F32,
                body: Vec::new(),
            },
        }
    }

    pub(super) fn grid(mut self, grid: &[Loop]) -> Draft {
        self.kernel.grid = grid.to_vec();
        self
    }

    pub(super) fn dims(mut self, dims: u32) -> Draft {
        self.kernel.dims = dims;
        self
    }

    pub(super) fn body(mut self, body: Vec<Statement>) -> Kernel {
        self.kernel.body = body;
        self.kernel
    }
}

/// Runs a kernel over its grid, whole and then, from the same start, point by point: both must give the same bytes.
/// Returns the status word.
pub(super) fn execute(kernel: &Kernel, dims: &[i64], buffers: &mut [&mut [u8]]) -> u32 {
    let code = jit::compile(std::slice::from_ref(kernel), 1).expect("it compiles");
    let compiled = code.kernels()[0];
    let points: i64 = kernel
        .grid
        .iter()
        .map(|over| match over.extent {
            Extent::Whole(dim) => dim.value(dims),
            Extent::Tile { .. } => panic!("no tiles in the grid"),
        })
        .product();
    let mut scratch = Block::empty();
    let own = kernel.scratch_bytes.value(dims) as u64;
    assert!(scratch.reserve(HEADER_BYTES + own.next_multiple_of(64) + compiled.temporaries_bytes));
    let before: Vec<Vec<u8>> = buffers.iter().map(|buffer| buffer.to_vec()).collect();
    let mut status = 0u32;
    let mut call = |buffers: &mut [&mut [u8]], begin, end| {
        let pointers: Vec<*mut u8> = buffers.iter_mut().map(|buffer| buffer.as_mut_ptr()).collect();
        // SAFETY: the tests give buffers of the sizes that their kernels address.
        unsafe {
            (compiled.function)(pointers.as_ptr(), dims.as_ptr(), begin, end, scratch.start(), &mut status);
        }
    };
    call(buffers, 0, points);
    let whole: Vec<Vec<u8>> = buffers.iter().map(|buffer| buffer.to_vec()).collect();
    for (buffer, before) in buffers.iter_mut().zip(&before) {
        buffer.copy_from_slice(before);
    }
    for point in 0..points {
        call(buffers, point, point + 1);
    }
    for (buffer, whole) in buffers.iter().zip(&whole) {
        assert!(**buffer == **whole, "the result depends on the range of grid points");
    }
    // SAFETY: the header has 64 bytes at its start.
    assert!(unsafe { std::slice::from_raw_parts(scratch.start(), 64) }.iter().all(|&byte| byte == 0));
    status
}

/// The bytes of numbers.
pub(super) fn bytes<T: Copy>(numbers: &mut [T]) -> &mut [u8] {
    // SAFETY: plain numbers, any bytes are valid for them.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), std::mem::size_of_val(numbers)) }
}

pub(super) const F32: DType = DType::F32;

pub(super) fn axis(var: u32, extent: u64) -> Loop {
    Loop { var: Var(var), extent: Extent::Whole(Dim::Known(extent)) }
}

pub(super) fn axis_of_dim(var: u32, dim: u32) -> Loop {
    Loop { var: Var(var), extent: Extent::Whole(Dim::Argument(dim)) }
}

/// The sum of `stride * variable`.
pub(super) fn index(terms: &[(i64, u32)]) -> Linear {
    let mut linear = Linear::zero();
    for &(stride, var) in terms {
        linear.add_term(stride, Dim::Known(1), Atom::Var(Var(var)));
    }
    linear
}

pub(super) fn plus(mut linear: Linear, constant: i64) -> Linear {
    linear.add_term(constant, Dim::Known(1), Atom::One);
    linear
}

pub(super) fn load(region: &mut Region, buffer: u32, dtype: DType, index: Linear) -> ExprId {
    region.push(Expr::Load { buffer: BufferId(buffer), index, guards: Vec::new() }, dtype)
}

pub(super) fn guarded(region: &mut Region, buffer: u32, index: Linear, guards: &[(Linear, Dim)]) -> ExprId {
    let guards = guards.iter().map(|(index, bound)| Guard { index: index.clone(), bound: *bound }).collect();
    region.push(Expr::Load { buffer: BufferId(buffer), index, guards }, F32)
}

pub(super) fn apply(region: &mut Region, op: OpKind, dtype: DType, operands: &[ExprId]) -> ExprId {
    region.push(Expr::Apply { op, operands: operands.to_vec(), dtype }, dtype)
}

pub(super) fn constant(region: &mut Region, value: f64, dtype: DType) -> ExprId {
    region.push(Expr::Const { value: Number::new(value), dtype }, dtype)
}

pub(super) fn store(buffer: u32, index: Linear, value: ExprId) -> Store {
    Store { buffer: BufferId(buffer), index, value }
}

/// Numbers between -2 and 2 without a pattern.
pub(super) fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 * 4.0 - 2.0
    };
    (0..n).map(|_| next()).collect()
}

/// Asserts that numbers agree to a relative tolerance, infinities and NaN in kind.
pub(super) fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (at, (&a, &b)) in found.iter().zip(expected).enumerate() {
        let close = (a - b).abs() <= tolerance * (1.0 + b.abs()) || a == b || (a.is_nan() && b.is_nan());
        assert!(close, "{what}: element {at} is {a}, not {b}");
    }
}
