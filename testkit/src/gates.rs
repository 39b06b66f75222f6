//! Gates that overflow: what is finite in numbers of extended range is finite in every form, in f32 as well, and near it.
//!
//! Pre-activations are drawn, then overwritten by a pattern. Everything else is well conditioned, so that what an
//! error shows is the gates' doing.

use crate::data::{Draw, Sizes};
use crate::error::Error;
use crate::nearness::{Errors, Mismatch, Tolerance};
use crate::recurrence::{Law, Recurrence};
use crate::way::Way;
use carousel_reference::Tensor;
use std::cell::OnceCell;
use std::fmt;

/// What the gates of a sequence are.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Gates {
    /// Anything between these bounds.
    Within(f64),
    /// All of them near this value.
    Near(f64),
    /// Moderate, but one in eight is as large as this, with either sign.
    Spikes(f64),
    /// The forget gate, the second one, is nearly 0 in every other step, the others moderate.
    Forgetting,
}

impl fmt::Display for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gates::Within(bound) => write!(f, "gates within {bound}"),
            Gates::Near(centre) => write!(f, "gates near {centre}"),
            Gates::Spikes(size) => write!(f, "spikes of {size}"),
            Gates::Forgetting => f.write_str("the second gate forgets every other step"),
        }
    }
}

/// What f32 holds, with room for sums.
pub const LARGEST: f64 = 1e35;

/// So many draws of a case: on few of them the reference in f32, which tells what is allowed, may be right by chance, as
/// where a gradient is the difference of two numbers of a few bits. The second number is for what the first finds wrong.
const DRAWS: [u32; 2] = [3, 16];

impl Gates {
    /// The patterns that are tried.
    pub const ALL: [Gates; 9] = [
        Gates::Within(60.0),
        Gates::Within(120.0),
        Gates::Within(1000.0),
        Gates::Near(120.0),
        Gates::Near(-120.0),
        Gates::Near(-1000.0),
        Gates::Spikes(1000.0),
        Gates::Spikes(90.0),
        Gates::Forgetting,
    ];

    /// The value in place of `x`, which is uniform in \[-1, 1): the `place`th element of the `gate`th input.
    fn value(self, x: f64, place: usize, gate: usize) -> f64 {
        match self {
            Gates::Within(bound) => bound * x,
            Gates::Near(centre) => centre + x,
            Gates::Spikes(size) if place % 8 == 3 + gate => size.copysign(x),
            Gates::Spikes(_) => 2.0 * x,
            Gates::Forgetting if gate == 1 && place.is_multiple_of(2) => -1000.0,
            Gates::Forgetting => 2.0 * x,
        }
    }

    /// Inputs of a recurrence with these values of the inputs called `gates`; the others are drawn as `draw` says.
    ///
    /// # Errors
    /// If a size is missing.
    pub fn inputs<G: AsRef<str>>(
        self,
        recurrence: &Recurrence,
        gates: &[G],
        sizes: &Sizes,
        seed: u32,
        draw: Draw<'_>,
    ) -> Result<Vec<Tensor<f64>>, Error> {
        let place_of = |input: &str| gates.iter().position(|gate| gate.as_ref() == input);
        let drawn = recurrence.inputs(sizes, seed, &|input| match place_of(input) {
            Some(_) => (-1.0, 1.0),
            None => draw(input),
        })?;
        let changed = recurrence.source().graph.inputs.iter().zip(drawn).map(|(input, tensor)| {
            let Some(gate) = place_of(input.name.as_str()) else { return tensor };
            let values = tensor.to_f64().into_iter().enumerate();
            // Numbers of f32.
            let values = values.map(|(place, x)| f64::from(self.value(x, place, gate) as f32));
            Tensor::floats(&tensor.shape, values)
        });
        Ok(changed.collect())
    }
}

/// What the equations say of inputs, and these.
pub(crate) type Drawn = (Vec<Vec<f64>>, Vec<Tensor<f64>>);

/// Checks these forms on several draws of the inputs: what is wrong. Of gradients that f32 cannot hold nothing is asked.
///
/// # Errors
/// If something cannot be computed, or an output of the equations themselves is more than f32 holds.
pub fn check_draws(
    recurrence: &Recurrence,
    ways: impl IntoIterator<Item = Way>,
    draw: impl Fn(u32) -> Result<Vec<Tensor<f64>>, Error>,
) -> Result<Vec<Mismatch>, Error> {
    let with_law = |inputs: Vec<Tensor<f64>>| recurrence.law::<Law>(&inputs).map(|law| (law, inputs));
    let drawn = |count: u32| -> Result<Vec<Drawn>, Error> {
        (0..count).map(|seed| draw(seed).and_then(with_law)).collect()
    };
    let (few, many) = (drawn(DRAWS[0])?, OnceCell::new());
    let mut wrong = Vec::new();
    for way in ways {
        if judged(recurrence, way, &few)?.is_err() {
            let many = crate::formed::made(&many, || drawn(DRAWS[1]))?;
            wrong.extend(judged(recurrence, way, many)?.err());
        }
    }
    Ok(wrong)
}

/// Whether a form is right on all of these inputs; of results that f32 cannot hold on one of them nothing is asked.
fn judged(recurrence: &Recurrence, way: Way, draws: &[Drawn]) -> Result<Result<Errors, Mismatch>, Error> {
    let mut worst: Vec<Option<Errors>> = recurrence.outputs().map(|_| Some(Errors::default())).collect();
    for (law, inputs) in draws {
        let errors = recurrence.errors(way, inputs, law)?;
        for (((worst, error), law), output) in worst.iter_mut().zip(errors).zip(law).zip(recurrence.outputs())
        {
            let held = law.iter().all(|x| x.abs() <= LARGEST);
            // Only gradients may be so large that f32 does not hold them.
            if !held && !output.starts_with("grad.") {
                return Err(overflow(output));
            }
            *worst = worst.filter(|_| held).map(|worst| worst.max(error));
        }
    }
    let worst: Vec<Errors> = worst.into_iter().map(Option::unwrap_or_default).collect();
    Ok(recurrence.judge(way, &worst, Tolerance::EXTREME_GATES))
}

/// Nothing can be asked of such an output.
pub(crate) fn overflow(output: &str) -> Error {
    Error::Setup(format!(
        "the equations themselves overflow: `{output}` is more than f32 holds; return it of other inputs, or not at all"
    ))
}
