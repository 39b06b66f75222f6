//! What lowering makes of a module: kernels, and for each function the steps that launch them or call other functions.
//!
//! Binding sizes turns a [`Program`] into a [`Bound`] program: one flat list of kernel entries over one arena, with
//! nothing left to decide when it runs.

use crate::kernel::Kernel;
use carousel_ir::{DType, Name, Size, Type};

/// A buffer of a function: an index into [`Routine::buffers`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct SlotId(pub u32);

/// A kernel of the program: an index into [`Program::kernels`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct KernelId(pub u32);

/// A function of the program: an index into [`Program::routines`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct RoutineId(pub u32);

/// Where a function's buffer lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Home {
    /// The caller's memory: input number n.
    Input(u32),
    /// The caller's memory: output number n.
    Output(u32),
    /// The function's frame in the arena.
    Frame,
}

/// A buffer of a function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Element type.
    pub dtype: DType,
    /// Number of elements, in the function's size symbols.
    pub elements: Size,
    /// Where.
    pub home: Home,
    /// For frame buffers: offset in bytes in the frame, a multiple of 64, in the function's size symbols.
    pub offset: Size,
    /// For people.
    pub name: String,
}

/// One thing that a function does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Runs a kernel.
    Launch {
        /// Which.
        kernel: KernelId,
        /// Its arguments, in order.
        buffers: Vec<SlotId>,
        /// Its dims, in the function's size symbols.
        dims: Vec<Size>,
    },
    /// Runs a function.
    Call {
        /// Which.
        routine: RoutineId,
        /// Its inputs.
        inputs: Vec<SlotId>,
        /// Its outputs.
        outputs: Vec<SlotId>,
        /// Its size symbols, in the caller's.
        symbols: Vec<(Name, Size)>,
    },
}

/// How the elements of an input lie in memory.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Stored {
    /// What they are there; kernels convert them as they load them.
    pub dtype: DType,
    /// Elements from one place to the next along each axis in the declared order; none where it is row-major.
    pub strides: Option<Vec<u64>>,
}

/// An input or output at the boundary, axes in the declared order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// Its name.
    pub name: Name,
    /// Its type, axes in the declared order.
    pub ty: Type,
    /// The sizes of those axes.
    pub sizes: Vec<Size>,
    /// Elements from one place to the next along each of those axes; none where it is row-major.
    pub strides: Option<Vec<u64>>,
}

impl Port {
    /// Elements from the first to the last of a tensor of this shape, both included; none if they cannot be counted.
    pub fn elements(&self, shape: &[u64]) -> Option<u64> {
        elements(shape, self.strides.as_deref())
    }
}

/// Elements from the first to the last of a tensor, both included; none if they cannot be counted.
pub fn elements(shape: &[u64], strides: Option<&[u64]>) -> Option<u64> {
    let Some(strides) = strides else {
        return shape.iter().try_fold(1u64, |count, size| count.checked_mul(*size));
    };
    if shape.contains(&0) {
        return Some(0);
    }
    let last = shape.iter().zip(strides).map(|(size, stride)| (size - 1).checked_mul(*stride));
    last.chain([Some(1)]).try_fold(0u64, |sum, more| sum.checked_add(more?))
}

/// A lowered function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Routine {
    /// Its name.
    pub name: Name,
    /// What comes in.
    pub inputs: Vec<Port>,
    /// What goes out.
    pub outputs: Vec<Port>,
    /// Its buffers.
    pub slots: Vec<Slot>,
    /// Bytes of its frame.
    pub frame_bytes: Size,
    /// What it does.
    pub steps: Vec<Step>,
}

/// A lowered module; callees precede callers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Program {
    /// Distinct kernels.
    pub kernels: Vec<Kernel>,
    /// Functions.
    pub routines: Vec<Routine>,
}

/// Where an argument of a bound kernel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Location {
    /// The root function's input number n.
    Input(u32),
    /// The root function's output number n.
    Output(u32),
    /// Bytes from the start of the arena.
    Arena(u64),
}

/// One kernel launch with everything settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Which kernel.
    pub kernel: KernelId,
    /// Its arguments.
    pub buffers: Vec<Location>,
    /// Its dims.
    pub dims: Vec<i64>,
    /// Number of grid points.
    pub points: u64,
    /// Bytes of scratch of a point.
    pub scratch_bytes: u64,
    /// A rough count of elementary operations, to decide whether threads pay.
    pub work: u64,
}

/// A program for given sizes: a flat list of entries over one arena. Executing it decides nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bound {
    /// The kernel launches, in order.
    pub entries: Vec<Entry>,
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// Elements of each input of the root.
    pub input_elements: Vec<u64>,
    /// Elements of each output of the root.
    pub output_elements: Vec<u64>,
    /// Sizes of the axes of each output of the root.
    pub output_sizes: Vec<Vec<u64>>,
}

/// Where the elements of a tensor lie, in row-major order, given the size and the stride of each axis.
pub fn places(axes: &[(usize, usize)]) -> impl Iterator<Item = usize> + '_ {
    let count = axes.iter().map(|(size, _)| size).product();
    (0..count).map(|element: usize| {
        let mut rest = element;
        let inner = axes.iter().rev().map(|(size, stride)| {
            let place = rest % size * stride;
            rest /= size;
            place
        });
        inner.sum()
    })
}

/// Bytes of an element in memory.
pub fn element_bytes(dtype: DType) -> u64 {
    match dtype {
        DType::F32 | DType::I32 | DType::U32 | DType::Bool => 4,
        DType::F64 => 8,
        DType::Bf16 | DType::F16 => 2,
    }
}

/// Bytes of a storage, rounded up to whole lines of 64.
pub fn aligned_bytes(dtype: DType, elements: &Size) -> Size {
    let lines =
        Size::product([Size::Known(element_bytes(dtype)), elements.clone()]).ceil_div(Size::Known(64));
    Size::product([Size::Known(64), lines])
}

/// The sum of sizes, equal ones taken together.
pub fn total(sizes: &[Size]) -> Size {
    let mut counts: Vec<(&Size, u64)> = Vec::new();
    for size in sizes {
        match counts.iter_mut().find(|(s, _)| *s == size) {
            Some((_, count)) => *count += 1,
            None => counts.push((size, 1)),
        }
    }
    Size::sum(counts.into_iter().map(|(size, count)| Size::product([Size::Known(count), size.clone()])))
}
