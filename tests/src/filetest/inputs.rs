//! Random inputs of a function, the same in every run.

use super::options::Settings;
use carousel_ir::{DType, Function, Input, Name};
use carousel_reference::{Data, Tensor};
use std::collections::BTreeMap;

/// Sizes for symbols that nobody chose, in the order in which the inputs mention them.
const SIZES: [u64; 4] = [3, 2, 4, 5];

/// SplitMix64.
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Numbers {
        Numbers(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [low, high).
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * ((self.bits() >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// A tensor of that shape, uniform in [-1, 1).
    pub(super) fn tensor(&mut self, shape: &[usize]) -> Tensor<f64> {
        let count = shape.iter().product();
        Tensor::floats(shape, (0..count).map(|_| self.between(-1.0, 1.0)).collect::<Vec<_>>())
    }
}

/// Numbers for all inputs of the function, from a seed.
pub(super) fn random(
    function: &Function,
    settings: &Settings,
    seed: u64,
) -> Result<Vec<Tensor<f64>>, String> {
    let sizes = sizes(function, settings)?;
    if let Some(unknown) = settings.ranges.keys().find(|name| {
        !name.is_empty() && !function.graph.inputs.iter().any(|i| i.name.as_str() == name.as_str())
    }) {
        return Err(format!("`{}` has no input `{unknown}`", function.name));
    }
    let mut numbers = Numbers::new(seed);
    function
        .graph
        .inputs
        .iter()
        .map(|input| tensor(function, input, &sizes, settings, &mut numbers))
        .collect()
}

fn sizes(function: &Function, settings: &Settings) -> Result<BTreeMap<Name, u64>, String> {
    let mut sizes: BTreeMap<Name, u64> = BTreeMap::new();
    let axes = function.graph.inputs.iter().flat_map(|i| i.ty.axes.iter());
    for symbol in axes.flat_map(|a| function.graph.axes.size(a).symbols()) {
        let next = SIZES[sizes.len() % SIZES.len()];
        sizes.entry(symbol).or_insert_with(|| settings.sizes.get(symbol.as_str()).copied().unwrap_or(next));
    }
    match settings.sizes.keys().find(|name| !sizes.keys().any(|s| s.as_str() == name.as_str())) {
        Some(unknown) => Err(format!("`{unknown}` is neither an option nor a size that the inputs tell")),
        None => Ok(sizes),
    }
}

fn tensor(
    function: &Function,
    input: &Input,
    sizes: &BTreeMap<Name, u64>,
    settings: &Settings,
    numbers: &mut Numbers,
) -> Result<Tensor<f64>, String> {
    let size = |axis| {
        let size = function.graph.axes.size(axis);
        let number = size.evaluate(&|symbol| sizes.get(&symbol).copied());
        number.map(|n| n as usize).ok_or_else(|| format!("the size {size} of {axis} is not known"))
    };
    let shape: Vec<usize> = input.ty.axes.iter().map(size).collect::<Result<_, _>>()?;
    let count: usize = shape.iter().product();
    let given = settings.ranges.get(input.name.as_str()).or_else(|| settings.ranges.get(""));
    let range = given.cloned().unwrap_or(match input.ty.dtype {
        DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => -1.0..1.0,
        DType::I32 | DType::U32 | DType::Bool => 0.0..2.0,
    });
    let values: Vec<f64> = (0..count).map(|_| numbers.between(range.start, range.end)).collect();
    let values = values.into_iter();
    let data = match input.ty.dtype {
        DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => Data::Float(values.collect()),
        DType::I32 | DType::U32 => Data::Integer(values.map(|x| x.floor() as i64).collect()),
        DType::Bool => Data::Bool(values.map(|x| x >= 1.0).collect()),
    };
    Ok(Tensor { shape, data })
}
