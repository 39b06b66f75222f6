//! Gates that overflow, memories and queries of zeros: what is finite in numbers of extended range is finite in every
//! form, in f32 as well, and near it.
//!
//! Pre-activations are drawn, then overwritten by a pattern. Everything else is well conditioned, so that what an
//! error shows is the gates' doing.

use super::derive::recurrence;
use super::zoo::{ROWS, Row};
use carousel_reference::Tensor;
use carousel_testkit::gates::{LARGEST, check_draws};
use carousel_testkit::recurrence::{Law, Recurrence};
use carousel_testkit::{Errors, Gates, Tolerance};
use std::collections::BTreeMap;

/// The kit's tolerance for extreme gates.
const TOLERANCE: Tolerance = Tolerance::EXTREME_GATES;

/// Inputs with such gates; elements of the others as `row` draws them.
fn inputs(row: &Row, recurrence: &Recurrence, steps: u64, gates: Gates, seed: u32) -> Vec<Tensor<f64>> {
    let inputs =
        gates.inputs(recurrence, row.gates, &row.sizes(1, steps), seed, &|input| row.positive(input));
    inputs.unwrap_or_else(|why| panic!("{}: {why}", row.name))
}

/// Checks every form on several draws of the inputs; what is wrong is added to `wrong`.
fn check(
    what: &str,
    recurrence: &Recurrence,
    draw: impl Fn(u32) -> Vec<Tensor<f64>>,
    wrong: &mut Vec<String>,
) {
    let found = check_draws(recurrence, recurrence.ways(), |seed| Ok(draw(seed)));
    let found = found.unwrap_or_else(|why| panic!("{what}: {why}"));
    wrong.extend(found.into_iter().map(|mismatch| format!("{what}: {mismatch}")));
}

#[test]
fn extreme_gates_are_finite_and_right_in_every_form() {
    let mut wrong = Vec::new();
    for row in ROWS.iter().filter(|row| !row.gates.is_empty()) {
        let recurrence = row.without_states();
        for gates in Gates::ALL {
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
    let drawn = recurrence.inputs(&row.sizes(1, steps), seed, &|input| row.positive(input)).unwrap();
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
                let law = recurrence.law::<Law>(&inputs).unwrap();
                let largest = law.iter().flatten().fold(0.0, |m: f64, x| m.max(x.abs()));
                for way in recurrence.ways() {
                    let what = format!("{}, orthogonal queries, gates of {gates}, {steps} steps", row.name);
                    let mut errors = recurrence.errors(way, &inputs, &law).unwrap();
                    // What cancels exactly in the law leaves a rounding error of the memory in a program, which is seen where
                    // the memory is large.
                    for (errors, law) in errors.iter_mut().zip(&law) {
                        let own = law.iter().fold(0.1, |m: f64, x| m.max(x.abs()));
                        let share = if largest > 100.0 { own / largest.max(own) } else { 1.0 };
                        *errors = errors.map(|e| e * share);
                    }
                    if largest <= LARGEST {
                        let judged = recurrence.judge(way, &errors, TOLERANCE);
                        wrong.extend(judged.err().map(|why| format!("{what}: {why}")));
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
    assert!(compared >= 40, "only {compared} forms were compared");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Two memories with the same gates, each with a normaliser of its own and no clamp.
const SIDE_BY_SIDE: &str = "
fn side_by_side(
  q: [s, dk], k: [s, dk], r: [s, dk], v: [s, dv], i: [s], f: [s], C0: [dk, dv], n0: [dk], D0: [dk, dv], m0: [dk]
) -> (h: [s, dv], C: [dk, dv], n: [dk], D: [dk, dv], m: [dk]) {
  scan s {
    state C: [dk, dv] = C0
    state n: [dk] = n0
    state D: [dk, dv] = D0
    state m: [dk] = m0
    C' = sigmoid(f) * C + exp(i) * k * v
    n' = sigmoid(f) * n + exp(i) * k
    D' = sigmoid(f) * D + exp(i) * r * v
    m' = sigmoid(f) * m + exp(i) * r
    yield h = sum[dk](q * C') / sum[dk](q * n') + sum[dk](q * D') / sum[dk](q * m')
  }
}";

/// A memory that is passed in is far larger than what is written into another one, which starts at zero.
#[test]
fn a_large_memory_does_not_hide_what_another_one_reads() {
    let recurrence = recurrence(SIDE_BY_SIDE, "side_by_side", &BTreeMap::new());
    let sizes = [("s", 20), ("dk", 4), ("dv", 3)].map(|(axis, size)| (axis.to_string(), size)).into();
    for full in ["C0n0", "D0m0"] {
        let drawn = recurrence.inputs(&sizes, 7, &|_| (0.5, 1.0)).unwrap();
        let changed = recurrence.source().graph.inputs.iter().zip(drawn).map(|(input, tensor)| {
            let name = input.name.as_str();
            let value = |x: f64| match name {
                "i" => -200.0 - x,
                "f" => 40.0,
                _ if name.ends_with('0') && !full.contains(name) => 0.0,
                _ => x,
            };
            Tensor::floats(&tensor.shape, tensor.to_f64().into_iter().map(value))
        });
        let inputs: Vec<_> = changed.collect();
        let law = recurrence.law::<Law>(&inputs).unwrap();
        let h = recurrence
            .source()
            .graph
            .outputs
            .iter()
            .position(|o| o.name.as_str() == "h")
            .expect("h is returned");
        for way in recurrence.ways() {
            let Errors { double, own, code } = recurrence.errors(way, &inputs, &law).unwrap()[h];
            assert!(double <= 1e-10 && own <= 1e-5 && code <= 1e-5, "{full}, {way:?}: {double} {own} {code}");
        }
    }
}

/// Inputs with zeros for those whose names are told.
fn without(
    recurrence: &Recurrence,
    inputs: Vec<Tensor<f64>>,
    is_zero: &dyn Fn(&str) -> bool,
) -> Vec<Tensor<f64>> {
    let declared = recurrence.source().graph.inputs.iter();
    let changed = declared.zip(inputs).map(|(input, tensor)| match is_zero(input.name.as_str()) {
        true => Tensor::floats(&tensor.shape, tensor.to_f64().iter().map(|_| 0.0)),
        false => tensor,
    });
    changed.collect()
}

/// The derivative by a memory that is zero is right, or zero itself where the memory has a scale: the scale of nothing
/// is as small as can be, and takes the derivative with it.
#[test]
fn memories_of_zeros_that_are_passed_in_are_right_in_every_form() {
    let mut wrong = Vec::new();
    for row in &ROWS {
        let recurrence = row.with_states();
        let extremes = [-1000.0, -120.0, 120.0].map(Gates::Near);
        let gates = extremes.into_iter().filter(|_| !row.gates.is_empty()).chain([Gates::Within(1.0)]);
        for (gates, steps) in gates.flat_map(|gates| [1, 20].map(|steps| (gates, steps))) {
            let drawn = inputs(row, &recurrence, steps, gates, 4);
            let inputs = without(&recurrence, drawn, &|name| name.ends_with('0'));
            // Nothing can be asked about what f32 does not hold.
            let names = recurrence.source().graph.outputs.iter().map(|o| o.name);
            let law = recurrence.law::<Law>(&inputs).unwrap().into_iter();
            let not_held: Vec<String> = names
                .zip(law)
                .filter(|(_, law)| law.iter().any(|x| x.abs() > LARGEST))
                .map(|(name, _)| format!("cot.{name}"))
                .collect();
            let inputs = without(&recurrence, inputs, &|name| not_held.iter().any(|n| n == name));
            let law = recurrence.law::<Law>(&inputs).unwrap();
            for way in recurrence.ways() {
                let mut errors = recurrence.errors(way, &inputs, &law).unwrap();
                let found = recurrence.form(way).run(&inputs).unwrap();
                let outputs = recurrence.source().graph.outputs.iter().zip(&law);
                for (((output, law), errors), found) in outputs.zip(&mut errors).zip(&found) {
                    let name = output.name.as_str();
                    let by_memory = name.starts_with("grad.") && name.ends_with('0');
                    let is_taken_along = by_memory && row.scales > 0 && found.iter().all(|x| *x == 0.0);
                    let is_held = law.iter().all(|x| x.abs() <= LARGEST);
                    if is_taken_along || !is_held {
                        *errors = Errors::default();
                    }
                }
                let judged = recurrence.judge(way, &errors, TOLERANCE);
                wrong
                    .extend(judged.err().map(|why| format!("{}, {gates:?}, {steps} steps: {why}", row.name)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
