//! The equations of the zoo as plain loops, written independently of the language, by family: memories that decay as a
//! whole, decays for each key, the delta rule and its relatives, elementwise recurrences, cells that mix their memory.
//!
//! Invariant: nothing here uses the compiler. Sums are taken in the order of the indices; memory is one array for each
//! state.

mod cells;
mod delta;
mod elementwise;
pub(crate) mod invented;
mod keyed;
mod memories;

pub(crate) use cells::{elman, gru, linear_rnn, lstm, slstm};
pub(crate) use delta::{deltanet, gated_deltanet, kda, rwkv7};
pub(crate) use elementwise::{hgrn, mingru, rglru, rwkv4, slstm_unmixed};
pub(crate) use keyed::{gla, gsa, hgrn2, mamba, per_key, rwkv6};
pub(crate) use memories::{
    forgetting_attention, lightning, linear_attention, linear_attention_normalized, mamba2, mlstm, mlstm_exp,
    online_softmax, retnet, simple_gla, two_memories,
};

use carousel_ir::philox;
use carousel_reference::Tensor;
use std::collections::BTreeMap;

/// A recurrence as a function of its inputs: every output by name.
pub(crate) type Transcription = fn(&Given) -> Outputs;

/// Outputs by name.
pub(crate) type Outputs = Vec<(&'static str, Vec<f64>)>;

/// Inputs by name, cotangents included.
#[derive(Clone)]
pub(crate) struct Given(BTreeMap<String, (Vec<usize>, Vec<f64>)>);

impl Given {
    pub(crate) fn new(inputs: impl Iterator<Item = (String, Tensor<f64>)>) -> Given {
        Given(inputs.map(|(name, t)| (name, (t.shape.clone(), t.to_f64()))).collect())
    }

    fn shape<const N: usize>(&self, name: &str) -> [usize; N] {
        self.0[name].0.as_slice().try_into().expect("the number of axes")
    }

    fn values(&self, name: &str) -> Vec<f64> {
        self.0[name].1.clone()
    }

    /// A sequence as one row a step.
    fn rows(&self, name: &str) -> Vec<&[f64]> {
        let (shape, values) = &self.0[name];
        values.chunks(shape[1..].iter().product::<usize>()).collect()
    }

    /// The slope of `sum of cot.X * X` along a random direction of all inputs: by the gradients among `results`, and
    /// measured by finite differences of the transcription.
    pub(crate) fn slopes(
        &self,
        transcription: Transcription,
        results: &BTreeMap<String, Vec<f64>>,
        seed: u32,
    ) -> (f64, f64) {
        const STEP: f64 = 1e-3;
        let names = || self.0.keys().filter(|name| !name.starts_with("cot."));
        let direction: Vec<Vec<f64>> = names()
            .enumerate()
            .map(|(place, name)| {
                let count = self.0[name].1.len() as u64;
                (0..count).map(|i| f64::from(philox::uniform(seed, place as u32, 0, i)) - 0.5).collect()
            })
            .collect();
        let derived =
            names().zip(&direction).map(|(name, d)| inner(&results[&format!("grad.{name}")], d)).sum();
        let value = |step: f64| -> f64 {
            let mut moved = self.clone();
            for (name, d) in names().zip(&direction) {
                let values = &mut moved.0.get_mut(name).expect("it is there").1;
                values.iter_mut().zip(d).for_each(|(x, d)| *x += step * d);
            }
            transcription(&moved).iter().map(|(name, y)| inner(&self.0[&format!("cot.{name}")].1, y)).sum()
        };
        let slope = |step: f64| (value(step) - value(-step)) / (2.0 * step);
        // Extrapolated: the error falls with the fourth power of the step.
        (derived, (4.0 * slope(STEP) - slope(2.0 * STEP)) / 3.0)
    }
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    (1.0 + x.exp()).ln()
}

/// `memory[a][b] = decay * memory[a][b] + x[a] * w[b]`.
fn write(memory: &mut [f64], decay: f64, x: &[f64], w: &[f64]) {
    for (a, row) in memory.chunks_mut(w.len()).enumerate() {
        for (b, element) in row.iter_mut().enumerate() {
            *element = decay * *element + x[a] * w[b];
        }
    }
}

/// `sum over a of q[a] * memory[a][b]`.
fn read(memory: &[f64], q: &[f64]) -> Vec<f64> {
    let width = memory.len() / q.len();
    (0..width).map(|b| (0..q.len()).map(|a| q[a] * memory[a * width + b]).sum()).collect()
}

fn times(factor: f64, values: &[f64]) -> Vec<f64> {
    values.iter().map(|x| factor * x).collect()
}
