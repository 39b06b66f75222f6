//! Inputs of recurrences: numbers of f32, drawn by name.
//!
//! Invariant: an element depends on the seed, the input's name and the element's place alone.

use crate::error::Error;
use carousel_ir::{DType, Function, Input, Name, philox};
use carousel_reference::Tensor;
use std::collections::{BTreeMap, BTreeSet};

/// Sizes of axes.
pub type Sizes = BTreeMap<String, u64>;

/// What the elements of an input are drawn from: the least, and what they are below.
pub type Draw<'a> = &'a dyn Fn(&str) -> (f64, f64);

/// The sizes, with some of them given again.
pub fn with(sizes: &Sizes, more: &[(&str, u64)]) -> Sizes {
    let mut sizes = sizes.clone();
    sizes.extend(more.iter().map(|(axis, size)| (axis.to_string(), *size)));
    sizes
}

/// The sizes that a function leaves open.
pub fn open(function: &Function) -> BTreeSet<Name> {
    let graph = &function.graph;
    let axes = graph.inputs.iter().flat_map(|input| input.ty.axes.iter());
    axes.flat_map(|axis| graph.axes.size(axis).symbols()).collect()
}

/// The shape of an input for these sizes.
///
/// # Errors
/// If one is missing.
pub fn shape(function: &Function, input: &Input, sizes: &Sizes) -> Result<Vec<usize>, Error> {
    let symbol = |name: Name| sizes.get(name.as_str()).copied();
    let size = |axis| {
        let size = function.graph.axes.size(axis);
        let missing = || {
            let input = input.name;
            Error::Setup(format!(
                "`{input}` has the axis `{axis}` of size {size}, which is not given: `.sizes` gives it"
            ))
        };
        size.evaluate(&symbol).map(|n| n as usize).ok_or_else(missing)
    };
    input.ty.axes.iter().map(size).collect()
}

/// Inputs of a function, drawn uniformly.
///
/// # Errors
/// If a size is missing.
pub fn inputs(
    function: &Function,
    sizes: &Sizes,
    seed: u32,
    draw: Draw<'_>,
) -> Result<Vec<Tensor<f64>>, Error> {
    let tensor = |input: &Input| {
        let shape = shape(function, input, sizes)?;
        let (low, high) = draw(input.name.as_str());
        // The name is the stream, so that the same input of another function has the same numbers.
        let stream = input.name.as_str().bytes().fold(7u32, |h, b| h.wrapping_mul(31) ^ u32::from(b));
        let value = |i| low + (high - low) * f64::from(philox::uniform(seed, stream, 0, i));
        let values = (0..shape.iter().product::<usize>() as u64).map(value);
        Ok(match input.ty.dtype {
            DType::Bool => Tensor::bools(&shape, values.map(|x| x > 0.0)),
            DType::I32 | DType::U32 => Tensor::integers(&shape, values.map(|x| x as i64)),
            DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => {
                Tensor::floats(&shape, values.map(|x| f64::from(x as f32)))
            }
        })
    };
    function.graph.inputs.iter().map(tensor).collect()
}
