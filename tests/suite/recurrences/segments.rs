//! Sequences cut in two: the memory that the first part leaves is what the second one starts from, and the gradients by
//! it go back the same way.

use super::zoo::{ROWS, Row};
use carousel_ir::Axis;
use carousel_reference::Tensor;
use carousel_testkit::recurrence::{Recurrence, Results};
use carousel_testkit::{Way, distance};
use std::collections::BTreeMap;

/// What f64 may lose by the other order of sums.
const TOLERANCE: f64 = 1e-10;

/// Inputs by name.
type Inputs = BTreeMap<String, Tensor<f64>>;

/// An input or output of the gradient.
struct Port {
    name: String,
    /// The place of the sequence axis among its axes, if it has one.
    sequence: Option<usize>,
}

impl Port {
    fn new(name: &str, axes: &[Axis]) -> Port {
        Port { name: name.to_string(), sequence: axes.iter().position(|a| a.as_str() == "s") }
    }
}

/// A part of a sequence of steps.
fn part(tensor: &Tensor<f64>, place: usize, from: usize, to: usize) -> Tensor<f64> {
    let (steps, inner) = (tensor.shape[place], tensor.shape[place + 1..].iter().product::<usize>());
    let rows = tensor.to_f64();
    let chosen = rows.chunks(steps * inner).flat_map(|block| block[from * inner..to * inner].to_vec());
    let shape: Vec<usize> =
        tensor.shape.iter().enumerate().map(|(i, n)| if i == place { to - from } else { *n }).collect();
    Tensor::floats(&shape, chosen)
}

struct Cut<'a> {
    recurrence: &'a Recurrence,
    inputs: Vec<Port>,
    way: Way,
}

impl Cut<'_> {
    fn new(recurrence: &Recurrence, way: Way) -> Cut<'_> {
        let inputs = &recurrence.source().graph.inputs;
        let inputs = inputs.iter().map(|i| Port::new(i.name.as_str(), i.ty.axes.as_slice()));
        Cut { recurrence, inputs: inputs.collect(), way }
    }

    fn run(&self, inputs: &Inputs) -> Results {
        let inputs: Vec<Tensor<f64>> = self.inputs.iter().map(|port| inputs[&port.name].clone()).collect();
        self.recurrence.named(self.recurrence.form(self.way).evaluate::<f64>(&inputs).unwrap())
    }

    /// Steps `from..to` of all sequences.
    fn steps(&self, whole: &Inputs, from: usize, to: usize) -> Inputs {
        let ports = self.inputs.iter().map(|port| {
            let tensor = &whole[&port.name];
            let tensor = port.sequence.map_or_else(|| tensor.clone(), |place| part(tensor, place, from, to));
            (port.name.clone(), tensor)
        });
        ports.collect()
    }
}

/// The states of a recurrence: state `X` is started from the input `X0`.
fn states(inputs: &Inputs) -> Vec<String> {
    let starts = inputs.keys().filter_map(|name| name.strip_suffix('0'));
    starts.filter(|name| inputs.contains_key(&format!("cot.{name}"))).map(str::to_string).collect()
}

fn check(row: &Row, recurrence: &Recurrence, way: Way, steps: usize, cut: usize) {
    let given = recurrence.inputs(&row.sizes(1, steps as u64), 21, &|input| row.positive(input)).unwrap();
    let running = Cut::new(recurrence, way);
    let whole: Inputs = running.inputs.iter().map(|port| port.name.clone()).zip(given).collect();
    let states = states(&whole);
    assert!(!states.is_empty(), "{} has states", row.name);
    let wanted = running.run(&whole);

    // Forward to the end, then backward: the cotangents of the first part's final states are gradients of the second.
    let (mut first, mut second) = (running.steps(&whole, 0, cut), running.steps(&whole, cut, steps));
    let shape = |name: &str| whole[name].shape.clone();
    let forward = running.run(&first);
    for state in &states {
        let start = format!("{state}0");
        second.insert(start.clone(), Tensor::floats(&shape(&start), forward[state].iter().copied()));
    }
    let later = running.run(&second);
    for state in &states {
        let cotangent = later[&format!("grad.{state}0")].iter().copied();
        first.insert(format!("cot.{state}"), Tensor::floats(&shape(&format!("{state}0")), cotangent));
    }
    let earlier = running.run(&first);

    for (output, wanted) in &wanted {
        let input = output.strip_prefix("grad.");
        let is_sequence = match input {
            Some(input) => running.inputs.iter().any(|p| p.name == input && p.sequence.is_some()),
            None => !states.contains(output),
        };
        let found: Vec<f64> = if is_sequence {
            // One sequence: the parts follow each other.
            earlier[output].iter().chain(&later[output]).copied().collect()
        } else if let Some(input) = input {
            let is_start = states.iter().any(|state| input == format!("{state}0"));
            if is_start {
                earlier[output].clone()
            } else {
                // What both parts were given.
                earlier[output].iter().zip(&later[output]).map(|(a, b)| a + b).collect()
            }
        } else {
            later[output].clone()
        };
        let error = distance(&found, wanted);
        let what = format!("{}, {way:?}, {steps} steps cut at {cut}: `{output}`", row.name);
        assert!(error <= TOLERANCE, "{what} is off by {error:.1e}");
    }
}

#[test]
fn two_segments_are_the_whole() {
    for row in &ROWS {
        let recurrence = row.with_states();
        for way in recurrence.ways() {
            for (steps, cut) in [(2, 1), (37, 20), (64, 16), (130, 100)] {
                check(row, &recurrence, way, steps, cut);
            }
        }
    }
}
