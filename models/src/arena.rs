//! A number for each element of the parameters: their values, their gradients, a moment. In the caller's memory, or where
//! functions compute.
//!
//! Invariant: elements lie as the layout says. Elsewhere each group is one piece of memory, in which parameters begin at
//! multiples of [`ALIGNMENT`] elements; what lies between them is 0 from the start, and remains what the optimiser makes of 0.

use std::borrow::Cow;

use carousel_core::backend::{Data, DataMut, Executable, RunError, Tensor};
use carousel_core::program::Port;
use carousel_core::resident::{Input, Output, Resident};
use carousel_cpu::in_large_pages;
use carousel_ir::DType;

use crate::parameters::{Layout, Parameter};
use crate::weights::Weights;

/// Parameters begin at multiples of so many elements elsewhere, as kernels like rows to.
const ALIGNMENT: usize = 64;

/// A number for each element of the parameters.
pub struct Arena(Place);

enum Place {
    Here(Vec<f32>),
    There(There),
}

struct There {
    groups: [Box<dyn Resident>; 2],
    shapes: [[u64; 1]; 2],
    /// The parameters in them, in the order of the layout.
    parameters: Vec<Box<dyn Resident>>,
}

impl Arena {
    /// Numbers in the caller's memory.
    pub fn here(values: Vec<f32>) -> Arena {
        Arena(Place::Here(values))
    }

    /// Numbers where a function computes.
    ///
    /// # Errors
    /// If there is no room.
    pub fn of(function: &dyn Executable, layout: &Layout, values: Vec<f32>) -> Result<Arena, RunError> {
        if !function.is_elsewhere() {
            return Ok(Arena::here(values));
        }
        let mut arena = Arena(Place::There(There::new(function, layout)?));
        arena.set(layout, values)?;
        Ok(arena)
    }

    /// Zeros where a function computes.
    ///
    /// # Errors
    /// If there is no room.
    pub fn zeros(function: &dyn Executable, layout: &Layout) -> Result<Arena, RunError> {
        Arena::of(function, layout, in_large_pages(vec![0.0; layout.elements()]))
    }

    /// Replaces the numbers.
    ///
    /// # Errors
    /// If they cannot be sent.
    pub fn set(&mut self, layout: &Layout, values: Vec<f32>) -> Result<(), RunError> {
        match &mut self.0 {
            Place::Here(here) => *here = values,
            Place::There(there) => {
                for (memory, parameter) in there.parameters.iter_mut().zip(layout.parameters()) {
                    memory.write(Data::F32(&values[parameter.range.clone()]))?;
                }
            }
        }
        Ok(())
    }

    /// The numbers, fetched if they are elsewhere.
    ///
    /// # Errors
    /// If they cannot be fetched.
    pub fn values(&self, layout: &Layout) -> Result<Cow<'_, [f32]>, RunError> {
        let there = match &self.0 {
            Place::Here(here) => return Ok(Cow::Borrowed(here)),
            Place::There(there) => there,
        };
        let mut values = vec![0.0; layout.elements()];
        for (memory, parameter) in there.parameters.iter().zip(layout.parameters()) {
            memory.read(DataMut::F32(&mut values[parameter.range.clone()]))?;
        }
        Ok(Cow::Owned(values))
    }

    /// One parameter, to be read by a function.
    pub(crate) fn parameter<'a>(&'a self, layout: &Layout, at: usize, shape: &'a [u64]) -> Input<'a> {
        match &self.0 {
            Place::Here(here) => {
                let range = layout.parameters()[at].range.clone();
                Input::Passed(Tensor { data: Data::F32(&here[range]), shape })
            }
            Place::There(there) => Input::Resident { memory: &*there.parameters[at], shape },
        }
    }

    /// The shape of a group.
    pub(crate) fn shape(&self, layout: &Layout, group: usize) -> [u64; 1] {
        match &self.0 {
            Place::Here(_) => [layout.groups()[group].len() as u64],
            Place::There(there) => there.shapes[group],
        }
    }

    /// A group, to be read by a function.
    pub(crate) fn input<'a>(&'a self, layout: &Layout, group: usize, shape: &'a [u64]) -> Input<'a> {
        match &self.0 {
            Place::Here(here) => {
                Input::Passed(Tensor { data: Data::F32(&here[layout.groups()[group].clone()]), shape })
            }
            Place::There(there) => Input::Resident { memory: &*there.groups[group], shape },
        }
    }

    /// A group, to be written by a function.
    pub(crate) fn output(&mut self, layout: &Layout, group: usize) -> Output<'_> {
        match &mut self.0 {
            Place::Here(here) => Output::Passed(DataMut::F32(&mut here[layout.groups()[group].clone()])),
            Place::There(there) => Output::Resident(&mut *there.groups[group]),
        }
    }

    /// Where the outputs `grad.NAME` of a function go, in the order of its outputs; `None` for other outputs.
    pub(crate) fn gradients(&mut self, layout: &Layout, outputs: &[Port]) -> Vec<Option<Output<'_>>> {
        match &mut self.0 {
            Place::Here(here) => {
                let parts = layout.gradients(outputs, here).into_iter();
                parts.map(|part| part.map(|part| Output::Passed(DataMut::F32(part)))).collect()
            }
            Place::There(there) => {
                let parts = there.parameters.iter_mut().map(|memory| Output::Resident(&mut **memory));
                layout.of_gradients(outputs, parts)
            }
        }
    }
}

impl There {
    fn new(function: &dyn Executable, layout: &Layout) -> Result<There, RunError> {
        let mut parameters = Vec::with_capacity(layout.parameters().len());
        let mut group = |group: usize| {
            let range = layout.groups()[group].clone();
            let own = layout.parameters().iter().filter(|p| range.contains(&p.range.start));
            let mut end = 0;
            let place = |p: &Parameter| {
                let start = end;
                end += p.range.len().next_multiple_of(ALIGNMENT) as u64;
                start..start + p.range.len() as u64
            };
            let places: Vec<_> = own.map(place).collect();
            let mut memory = function.resident(DType::F32, end)?;
            memory.write(Data::F32(&vec![0.0; end as usize]))?;
            for place in places {
                parameters.push(memory.part(place)?);
            }
            Ok::<_, RunError>((memory, [end]))
        };
        let (decayed, decayed_shape) = group(0)?;
        let (free, free_shape) = group(1)?;
        Ok(There { groups: [decayed, free], shapes: [decayed_shape, free_shape], parameters })
    }
}

/// The parameters that a function of a model runs on.
#[derive(Clone, Copy)]
pub enum Parameters<'a> {
    /// As they are stored.
    Weights(&'a Weights<'a>),
    /// As they are trained.
    Arena(&'a Arena),
}

impl<'a> From<&'a Weights<'_>> for Parameters<'a> {
    fn from(weights: &'a Weights<'_>) -> Parameters<'a> {
        Parameters::Weights(weights)
    }
}

impl<'a> From<&'a Arena> for Parameters<'a> {
    fn from(arena: &'a Arena) -> Parameters<'a> {
        Parameters::Arena(arena)
    }
}
