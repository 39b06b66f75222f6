//! Gates that overflow, memories and queries of zeros: what is finite in numbers of extended range is finite in every
//! form, in f32 as well, and near it.
//!
//! Pre-activations are drawn, then overwritten by a pattern. Everything else is well conditioned, so that what an
//! error shows is the gates' doing.

use super::program::{Errors, Law, Recurrence, Tolerance};
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
const TOLERANCE: Tolerance = Tolerance { double: 1e-9, single: 1e-4, own: 0.1 };

/// What f32 holds, with room for sums.
const LARGEST: f64 = 1e35;

/// So many draws of a case: on a single one the reference in f32, which tells what is allowed, may be right by chance.
const DRAWS: u32 = 3;

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
fn inputs(row: &Row, recurrence: &Recurrence, steps: u64, gates: Gates, seed: u32) -> Vec<Tensor<f64>> {
    let draw = |input: &str| if row.gates.contains(&input) { (-1.0, 1.0) } else { row.positive(input) };
    let drawn = recurrence.inputs(&row.sizes(1, steps), seed, &draw);
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

/// Checks every form on several draws of the inputs; what is wrong is added to `wrong`.
fn check(
    what: &str,
    recurrence: &Recurrence,
    draw: impl Fn(u32) -> Vec<Tensor<f64>>,
    wrong: &mut Vec<String>,
) {
    let draws: Vec<_> = (0..DRAWS)
        .map(|seed| {
            let inputs = draw(seed);
            let law = recurrence.law::<Law>(&inputs);
            (inputs, law)
        })
        .collect();
    // Only gradients may be so large that f32 does not hold them.
    let outputs = &recurrence.source().graph.outputs;
    let is_held = |at: usize| draws.iter().flat_map(|(_, law)| &law[at]).all(|x| x.abs() <= LARGEST);
    let held: Vec<bool> = (0..outputs.len()).map(is_held).collect();
    let forward = outputs.iter().zip(&held).all(|(o, held)| *held || o.name.as_str().starts_with("grad."));
    assert!(forward, "{what}: the equations themselves overflow");
    for way in recurrence.ways() {
        let errors = draws.iter().map(|(inputs, law)| recurrence.errors(way, inputs, law));
        let worst = errors.reduce(|a, b| a.into_iter().zip(b).map(|(a, b)| a.max(b)).collect());
        let worst: Vec<Errors> = worst.expect("there are draws");
        let worst: Vec<Errors> =
            worst.into_iter().zip(&held).map(|(e, held)| if *held { e } else { Errors::default() }).collect();
        let judged = recurrence.judge(way, &worst, TOLERANCE);
        wrong.extend(judged.err().map(|why| format!("{what}: {why}")));
    }
}

#[test]
fn extreme_gates_are_finite_and_right_in_every_form() {
    let mut wrong = Vec::new();
    for row in ROWS.iter().filter(|row| !row.gates.is_empty()) {
        let recurrence = row.without_states();
        for gates in GATES {
            for steps in [1, 20, 70] {
                let what = format!("{}, {gates:?}, {steps} steps", row.name);
                check(&what, &recurrence, |seed| inputs(row, &recurrence, steps, gates, seed), &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Inputs in which some are replaced by numbers that depend on the input's name.
fn replaced(
    row: &Row,
    recurrence: &Recurrence,
    steps: u64,
    seed: u32,
    value: &dyn Fn(&str, usize) -> Option<f64>,
) -> Vec<Tensor<f64>> {
    let drawn = recurrence.inputs(&row.sizes(1, steps), seed, &|input| row.positive(input));
    let changed = recurrence.source().graph.inputs.iter().zip(drawn).map(|(input, tensor)| {
        let values = tensor.to_f64().into_iter().enumerate();
        let values = values.map(|(place, x)| value(input.name.as_str(), place).unwrap_or(x));
        Tensor::floats(&tensor.shape, values.collect::<Vec<f64>>())
    });
    changed.collect()
}

#[test]
fn queries_that_see_nothing_are_finite_and_right_in_every_form() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    // Without a clamp a query of zero divides zero by zero.
    let clamped = ["mlstm", "mlstm_exp", "two_memories", "per_key"];
    for row in ROWS.iter().filter(|row| clamped.contains(&row.name)) {
        let recurrence = row.without_states();
        for gates in [1.0, 120.0] {
            for steps in [1, 20, 70] {
                let gate = |name: &str, place: usize| {
                    let sign = if (place * 7 + name.len()).is_multiple_of(3) { -1.0 } else { 1.0 };
                    row.gates.contains(&name).then_some(gates * sign * (1.0 + 0.01 * (place % 5) as f64))
                };
                let zero = |name: &str, place: usize| if name == "q" { Some(0.0) } else { gate(name, place) };
                let what = format!("{}, queries of zero, gates of {gates}, {steps} steps", row.name);
                check(&what, &recurrence, |seed| replaced(row, &recurrence, steps, seed, &zero), &mut wrong);
                // Keys along (1, 1, 1, 1), queries along (1, -1, 1, -1): orthogonal in every type of numbers.
                let orthogonal = |name: &str, place: usize| match name {
                    "q" => Some(if place.is_multiple_of(2) { 1.0 } else { -1.0 }),
                    "k" => Some(0.75),
                    // Gates of keys have to be equal too, for the normaliser to stay along the keys.
                    _ => gate(name, if row.name == "per_key" { place / 4 } else { place }),
                };
                let inputs = replaced(row, &recurrence, steps, 5, &orthogonal);
                let law = recurrence.law::<Law>(&inputs);
                let largest = law.iter().flatten().fold(0.0, |m: f64, x| m.max(x.abs()));
                for way in recurrence.ways() {
                    let what = format!("{}, orthogonal queries, gates of {gates}, {steps} steps", row.name);
                    // What cancels exactly in the law leaves a rounding error of the memory in a program: only where
                    // the memory is not large can it be compared.
                    let errors = recurrence.errors(way, &inputs, &law);
                    if largest <= 100.0 {
                        wrong.extend(
                            recurrence
                                .judge(way, &errors, TOLERANCE)
                                .err()
                                .map(|why| format!("{what}: {why}")),
                        );
                        compared += 1;
                    }
                    let outputs = recurrence.source().graph.outputs.iter().zip(&errors).zip(&law);
                    for ((output, errors), law) in outputs {
                        if !errors.code.is_finite() && law.iter().all(|x| x.abs() <= LARGEST) {
                            wrong.push(format!("{what}, {way:?}: `{}` is not finite", output.name));
                        }
                    }
                }
            }
        }
    }
    assert!(compared >= 20, "only {compared} forms were compared");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The derivative by a memory that is zero is right, or zero itself where the memory has a scale: the scale of nothing
/// is as small as can be, and takes the derivative with it.
#[test]
fn memories_of_zeros_that_are_passed_in_are_right_in_every_form() {
    let mut wrong = Vec::new();
    for row in &ROWS {
        let recurrence = row.with_states();
        let zero = |name: &str, _: usize| name.ends_with('0').then_some(0.0);
        for steps in [1, 20] {
            let inputs = replaced(row, &recurrence, steps, 4, &zero);
            let law = recurrence.law::<Law>(&inputs);
            for way in recurrence.ways() {
                let mut errors = recurrence.errors(way, &inputs, &law);
                let found = recurrence.form(way).run(&inputs);
                for ((output, errors), found) in
                    recurrence.source().graph.outputs.iter().zip(&mut errors).zip(&found)
                {
                    let name = output.name.as_str();
                    let by_memory = name.starts_with("grad.") && name.ends_with('0');
                    if by_memory && row.scales > 0 && found.iter().all(|x| *x == 0.0) {
                        *errors = Errors::default();
                    }
                }
                let judged = recurrence.judge(way, &errors, TOLERANCE);
                wrong.extend(judged.err().map(|why| format!("{}, {steps} steps: {why}", row.name)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
