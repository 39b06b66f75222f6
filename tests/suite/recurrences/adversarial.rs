//! Gates that overflow, memories and queries of zeros: what is finite in numbers of extended range is finite in every
//! form, in f32 as well, and near it.
//!
//! Pre-activations are drawn, then overwritten by a pattern. Everything else is well conditioned, so that what an
//! error shows is the gates' doing.

use super::program::{Law, Recurrence, Tolerance};
use super::zoo::{ROWS, Row};
use carousel_reference::Tensor;

/// What the gates of a sequence are.
#[derive(Clone, Copy, Debug)]
enum Gates {
    /// Anything between these bounds.
    Within(f64),
    /// All of them near this value.
    Near(f64),
    /// Moderate, but one in eight is as large as this, with either sign.
    Spikes(f64),
    /// The forget gate, the second one, is nearly 0 in every other step, the others moderate.
    Forgetting,
}

const GATES: [Gates; 9] = [
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

/// Errors of f32 grow with the size of its exponents: 1000 has an ulp of 6e-5.
const TOLERANCE: Tolerance = Tolerance { double: 1e-9, single: 1e-5, own: 1e-2 };

impl Gates {
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
}

/// Inputs with such gates; elements of the others as `row` draws them.
fn inputs(row: &Row, recurrence: &Recurrence, steps: u64, gates: Gates) -> Vec<Tensor<f64>> {
    let draw = |input: &str| if row.gates.contains(&input) { (-1.0, 1.0) } else { row.positive(input) };
    let drawn = recurrence.inputs(&row.sizes(1, steps), 8, &draw);
    let changed = recurrence.source().graph.inputs.iter().zip(drawn).map(|(input, tensor)| {
        let Some(gate) = row.gates.iter().position(|gate| *gate == input.name.as_str()) else {
            return tensor;
        };
        let values = tensor.to_f64().into_iter().enumerate();
        // Numbers of f32.
        let values = values.map(|(place, x)| f64::from(gates.value(x, place, gate) as f32));
        Tensor::floats(&tensor.shape, values)
    });
    changed.collect()
}

fn check(
    what: &str,
    recurrence: &Recurrence,
    inputs: &[Tensor<f64>],
    tolerance: Tolerance,
    excused: &[&str],
) {
    let law = recurrence.law::<Law>(inputs);
    let exact = law.iter().flatten().all(|x| x.is_finite());
    assert!(exact, "{what}: the equations themselves are not finite, so that there is nothing to check");
    for way in recurrence.ways() {
        let checked = recurrence.check(way, inputs, &law, tolerance, excused);
        wrong.extend(checked.err().map(|why| format!("{what}: {why}")));
    }
}

#[test]
fn extreme_gates_are_finite_and_right_in_every_form() {
    let mut wrong = Vec::new();
    for row in ROWS.iter().filter(|row| !row.gates.is_empty()) {
        let recurrence = row.from_empty();
        for gates in GATES {
            for steps in [1, 2, 40, 130] {
                let inputs = inputs(row, &recurrence, steps, gates);
                let what = format!("{}, {gates:?}, {steps} steps", row.name);
                check(&what, &recurrence, &inputs, TOLERANCE, &[], &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
