//! The numbers that a model runs on, parameter by parameter, where they lie: in an arena, or in files that are mapped into
//! memory and read in the dtype that they are stored in, and in the order that they have there.
//!
//! Invariant: part number n is parameter number n of the layout, with as many elements, row-major unless it has strides.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use carousel_core::backend::Data;
use carousel_core::program::{Stored, element_bytes, places};
use carousel_cpu::in_large_pages;
use carousel_ir::{DType, Name};
use half::{bf16, f16};

use crate::checkpoint::TensorFile;
use crate::parameters::Layout;

/// The values of all parameters of a layout.
#[derive(Clone, Debug)]
pub struct Weights<'a> {
    arena: Cow<'a, [f32]>,
    halves: Vec<u16>,
    parts: Vec<Part>,
    identity: Identity,
}

/// Tells weights from others: those with the same identity are the same numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity(u64);

impl Identity {
    fn new() -> Identity {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Identity(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Clone, Debug)]
enum Part {
    /// Elements of the arena.
    Arena(Range<usize>),
    /// Numbers of 16 bits in memory.
    Halves(Half, Range<usize>),
    /// Bytes of a file.
    File(Mapped),
}

/// A dtype of 16 bits that parameters may be rounded to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// bf16.
    Bf16,
    /// f16.
    F16,
}

/// Bytes of a file: whole elements, aligned as the dtype needs it.
#[derive(Clone, Debug)]
struct Mapped {
    file: Arc<TensorFile>,
    bytes: Range<usize>,
    dtype: DType,
    /// The size of each axis, and elements from one place on it to the next; none if they are row-major.
    axes: Option<Vec<(usize, usize)>>,
}

impl<'a> Weights<'a> {
    /// An arena that lies as the layout says.
    ///
    /// # Panics
    /// If it is not as long as the layout says.
    pub fn of(layout: &Layout, arena: impl Into<Cow<'a, [f32]>>) -> Weights<'a> {
        let arena = arena.into();
        assert_eq!(arena.len(), layout.elements(), "an arena of the layout's length");
        let parts = layout.parameters().iter().map(|p| Part::Arena(p.range.clone())).collect();
        Weights { arena, parts, ..Weights::none() }
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// How many parameters there are.
    pub(crate) fn count(&self) -> usize {
        self.parts.len()
    }

    /// None yet.
    pub(crate) fn none() -> Weights<'static> {
        let (halves, parts) = (Vec::new(), Vec::new());
        Weights { arena: Cow::Borrowed(&[]), halves, parts, identity: Identity::new() }
    }

    /// The next parameter: bytes of a file, if they are such that they can be used where they lie. Whether they were.
    pub(crate) fn map(
        &mut self,
        file: &Arc<TensorFile>,
        bytes: Range<usize>,
        dtype: DType,
        axes: Option<Vec<(usize, usize)>>,
    ) -> bool {
        let part = Part::File(Mapped { file: file.clone(), bytes, dtype, axes });
        let fits = self.elements_of(&part).is_some();
        if fits {
            self.identity = Identity::new();
            self.parts.push(part);
        }
        fits
    }

    /// The next parameter, whose elements are to be written here.
    pub(crate) fn room(&mut self, elements: usize) -> &mut [f32] {
        self.identity = Identity::new();
        let arena = self.arena.to_mut();
        let start = arena.len();
        arena.resize(start + elements, 0.0);
        self.parts.push(Part::Arena(start..start + elements));
        &mut arena[start..]
    }

    /// The elements of a parameter, from the first to the last as they lie in memory.
    pub fn data(&self, parameter: usize) -> Data<'_> {
        self.elements_of(&self.parts[parameter]).expect("checked when it was mapped")
    }

    fn elements_of<'s>(&'s self, part: &'s Part) -> Option<Data<'s>> {
        let Mapped { file, bytes, dtype, .. } = match part {
            Part::Arena(range) => return Some(Data::F32(&self.arena[range.clone()])),
            Part::Halves(Half::Bf16, range) => return Some(Data::Bf16(&self.halves[range.clone()])),
            Part::Halves(Half::F16, range) => return Some(Data::F16(&self.halves[range.clone()])),
            Part::File(mapped) => mapped,
        };
        let bytes = file.bytes().get(bytes.clone())?;
        match dtype {
            DType::F32 => bytemuck::try_cast_slice(bytes).ok().map(Data::F32),
            DType::Bf16 => bytemuck::try_cast_slice(bytes).ok().map(Data::Bf16),
            DType::F16 => bytemuck::try_cast_slice(bytes).ok().map(Data::F16),
            DType::F64 | DType::I32 | DType::U32 | DType::Bool => None,
        }
    }

    /// The axes of a parameter that is not row-major.
    fn axes(&self, parameter: usize) -> Option<&[(usize, usize)]> {
        match &self.parts[parameter] {
            Part::File(mapped) => mapped.axes.as_deref(),
            Part::Arena(_) | Part::Halves(..) => None,
        }
    }

    /// The parameters that are stored in another dtype than f32, or are not row-major, with how they lie.
    pub fn stored(&self, layout: &Layout) -> Vec<(Name, Stored)> {
        let parameters = layout.parameters().iter().enumerate();
        let stored = parameters.map(|(at, parameter)| {
            let strides = self.axes(at).map(|axes| axes.iter().map(|(_, stride)| *stride as u64).collect());
            (parameter.name, Stored { dtype: self.data(at).dtype(), strides })
        });
        stored.filter(|(_, s)| s.dtype != DType::F32 || s.strides.is_some()).collect()
    }

    /// Bytes of all of them, in files or not.
    pub fn bytes(&self) -> u64 {
        let bytes = |at| {
            let data = self.data(at);
            let elements = match self.axes(at) {
                Some(axes) => axes.iter().map(|(size, _)| *size as u64).product(),
                None => data.elements(),
            };
            elements * element_bytes(data.dtype())
        };
        (0..self.parts.len()).map(bytes).sum()
    }

    /// Bytes that were copied, as they could not be used where they lie.
    pub fn copied_bytes(&self) -> u64 {
        size_of_val(&*self.arena) as u64
    }

    /// All of them rounded to 16 bits.
    pub fn rounded(&self, layout: &Layout, to: Half) -> Weights<'static> {
        let arena = self.widened(layout);
        let round = |x: &f32| match to {
            Half::Bf16 => bf16::from_f32(*x).to_bits(),
            Half::F16 => f16::from_f32(*x).to_bits(),
        };
        let mut halves = in_large_pages(Vec::with_capacity(arena.len()));
        halves.extend(arena.iter().map(round));
        let parts = layout.parameters().iter().map(|p| Part::Halves(to, p.range.clone())).collect();
        Weights { halves, parts, ..Weights::none() }
    }

    /// The bits of each number, as it is stored.
    pub fn words(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.parts.len()).flat_map(|at| {
            let (whole, halves) = match self.data(at) {
                Data::F32(values) => (values, &[][..]),
                Data::Bf16(bits) | Data::F16(bits) => (&[][..], bits),
                Data::F64(_) | Data::I32(_) | Data::U32(_) | Data::Bool(_) => (&[][..], &[][..]),
            };
            let axes = self.axes(at);
            let whole = in_order(whole, axes).map(f32::to_bits);
            whole.chain(in_order(halves, axes).map(u32::from))
        })
    }

    /// The first parameter with a number that is not finite, and the place of that number in it.
    pub fn first_not_finite(&self) -> Option<(usize, usize)> {
        (0..self.parts.len()).find_map(|at| {
            let axes = self.axes(at);
            let place = match self.data(at) {
                Data::F32(values) => in_order(values, axes).position(|x| !x.is_finite()),
                Data::Bf16(bits) => in_order(bits, axes).position(|x| !bf16::from_bits(x).is_finite()),
                Data::F16(bits) => in_order(bits, axes).position(|x| !f16::from_bits(x).is_finite()),
                Data::F64(_) | Data::I32(_) | Data::U32(_) | Data::Bool(_) => None,
            };
            place.map(|place| (at, place))
        })
    }

    /// All of them as f32, in an arena as the layout says.
    pub fn widened(&self, layout: &Layout) -> Vec<f32> {
        let mut arena = in_large_pages(vec![0.0; layout.elements()]);
        for (at, parameter) in layout.parameters().iter().enumerate() {
            let into = arena[parameter.range.clone()].iter_mut();
            let axes = self.axes(at);
            match self.data(at) {
                Data::F32(values) => into.zip(in_order(values, axes)).for_each(|(value, x)| *value = x),
                Data::Bf16(bits) => {
                    into.zip(in_order(bits, axes))
                        .for_each(|(value, x)| *value = bf16::from_bits(x).to_f32());
                }
                Data::F16(bits) => {
                    into.zip(in_order(bits, axes)).for_each(|(value, x)| *value = f16::from_bits(x).to_f32());
                }
                Data::F64(_) | Data::I32(_) | Data::U32(_) | Data::Bool(_) => {}
            }
        }
        arena
    }
}

/// The elements of a parameter in its own order: as they lie in memory, or by their axes.
fn in_order<'v, T: Copy>(
    values: &'v [T],
    axes: Option<&'v [(usize, usize)]>,
) -> impl Iterator<Item = T> + 'v {
    let straight = if axes.is_none() { values } else { &[] };
    let strided = axes.filter(|_| !values.is_empty()).into_iter().flat_map(places);
    straight.iter().copied().chain(strided.map(|place| values[place]))
}
