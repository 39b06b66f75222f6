//! The equations of the zoo as plain loops, written independently of the language.
//!
//! Invariant: nothing here uses the compiler. Sums are taken in the order of the indices; memory is one array for each
//! state.

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

fn gated_memory(g: &Given, forget: fn(f64) -> f64) -> Outputs {
    let [steps, dk] = g.shape("q");
    let (mut c, mut n, mut h) = (g.values("C0"), g.values("n0"), Vec::new());
    for t in 0..steps {
        let gate = g.values("i")[t].exp();
        let decay = forget(g.values("f")[t]);
        let written = times(gate / (dk as f64).sqrt(), g.rows("k")[t]);
        write(&mut c, decay, &written, g.rows("v")[t]);
        write(&mut n, decay, &written, &[1.0]);
        let q = g.rows("q")[t];
        let divisor = read(&n, q)[0].abs().max(1.0);
        h.extend(times(1.0 / divisor, &read(&c, q)));
    }
    vec![("h", h), ("C", c), ("n", n)]
}

pub(crate) fn mlstm(g: &Given) -> Outputs {
    gated_memory(g, sigmoid)
}

pub(crate) fn mlstm_exp(g: &Given) -> Outputs {
    gated_memory(g, f64::exp)
}

pub(crate) fn slstm(g: &Given) -> Outputs {
    let [steps, heads, width] = g.shape("z");
    let (mut y, mut c, mut n, mut ys) = (g.values("y0"), g.values("c0"), g.values("n0"), Vec::new());
    for t in 0..steps {
        let mut next = y.clone();
        for head in 0..heads {
            for unit in 0..width {
                let at = head * width + unit;
                let gate = |x: &str, r: &str| {
                    let weights = &g.values(r)[at * width..][..width];
                    g.rows(x)[t][at] + inner(weights, &y[head * width..][..width])
                };
                let (forget, input) = (sigmoid(gate("f", "rf")), gate("i", "ri").exp());
                c[at] = forget * c[at] + input * gate("z", "rz").tanh();
                n[at] = forget * n[at] + input;
                next[at] = sigmoid(gate("o", "ro")) * c[at] / n[at];
            }
        }
        y = next;
        ys.extend(&y);
    }
    vec![("ys", ys), ("y", y), ("c", c), ("n", n)]
}

pub(crate) fn slstm_unmixed(g: &Given) -> Outputs {
    let [steps, width] = g.shape("z");
    let (mut c, mut n, mut y) = (g.values("c0"), g.values("n0"), Vec::new());
    for t in 0..steps {
        let at = |x: &str, unit: usize| g.rows(x)[t][unit];
        for unit in 0..width {
            let (forget, input) = (sigmoid(at("f", unit)), at("i", unit).exp());
            c[unit] = forget * c[unit] + input * at("z", unit).tanh();
            n[unit] = forget * n[unit] + input;
            y.push(sigmoid(at("o", unit)) * c[unit] / n[unit]);
        }
    }
    vec![("y", y), ("c", c), ("n", n)]
}

/// A memory for each head; `decay` by head and step.
fn memories(g: &Given, decay: impl Fn(usize, usize) -> f64, scale: f64) -> Outputs {
    let (shape, _) = &g.0["q"];
    let [steps, dk] = [shape[0], shape[shape.len() - 1]];
    let heads: usize = shape[1..shape.len() - 1].iter().product();
    let dv = g.rows("v").first().map_or(0, |row| row.len() / heads);
    let (mut memory, mut o) = (g.values("S0"), Vec::new());
    for t in 0..steps {
        let [q, k, v] = ["q", "k", "v"].map(|x| g.rows(x)[t]);
        for head in 0..heads {
            let own = &mut memory[head * dk * dv..][..dk * dv];
            write(own, decay(head, t), &k[head * dk..][..dk], &v[head * dv..][..dv]);
            o.extend(times(scale, &read(own, &q[head * dk..][..dk])));
        }
    }
    vec![("o", o), ("S", memory)]
}

pub(crate) fn linear_attention(g: &Given) -> Outputs {
    memories(g, |_, _| 1.0, 1.0)
}

pub(crate) fn linear_attention_normalized(g: &Given) -> Outputs {
    let feature = |x: &f64| if *x > 0.0 { x + 1.0 } else { x.exp() };
    let (mut s, mut z, mut o) = (g.values("S0"), g.values("z0"), Vec::new());
    for t in 0..g.rows("q").len() {
        let [q, k] = ["q", "k"].map(|x| g.rows(x)[t].iter().map(feature).collect::<Vec<f64>>());
        write(&mut s, 1.0, &k, g.rows("v")[t]);
        write(&mut z, 1.0, &k, &[1.0]);
        o.extend(times(1.0 / read(&z, &q)[0], &read(&s, &q)));
    }
    vec![("o", o), ("S", s), ("z", z)]
}

pub(crate) fn retnet(g: &Given) -> Outputs {
    memories(g, |head, _| 1.0 - 2f64.powi(-5 - head as i32), 1.0)
}

pub(crate) fn lightning(g: &Given) -> Outputs {
    let [_, heads, _] = g.shape("q");
    memories(g, |head, _| (-8.0 * head as f64 / heads as f64).exp(), 1.0)
}

pub(crate) fn simple_gla(g: &Given) -> Outputs {
    let [_, dk] = g.shape("q");
    memories(g, |_, t| sigmoid(g.values("g")[t]).powf(1.0 / 16.0), (dk as f64).sqrt().recip())
}

pub(crate) fn mamba2(g: &Given) -> Outputs {
    let [steps, heads, p] = g.shape("x");
    let [_, n] = g.shape("B");
    let (mut memory, mut y) = (g.values("H0"), Vec::new());
    for t in 0..steps {
        for head in 0..heads {
            let step = softplus(g.rows("dt")[t][head] + g.values("bias")[head]);
            let x = &g.rows("x")[t][head * p..][..p];
            let own = &mut memory[head * n * p..][..n * p];
            write(own, (-step * g.values("a_log")[head].exp()).exp(), &times(step, g.rows("B")[t]), x);
            let read = read(own, g.rows("C")[t]);
            y.extend(read.iter().zip(x).map(|(r, x)| r + g.values("d")[head] * x));
        }
    }
    vec![("y", y), ("H", memory)]
}

pub(crate) fn online_softmax(g: &Given) -> Outputs {
    let [queries, dk] = g.shape("q");
    let [keys, dv] = g.shape("v");
    let (mut a, mut z, mut o) = (g.values("a0"), g.values("z0"), Vec::new());
    for s in 0..keys {
        for t in 0..queries {
            let score = inner(g.rows("q")[t], g.rows("k")[s]) / (dk as f64).sqrt();
            let weight = (score + g.values("bias")[s]).exp();
            let own = &mut a[t * dv..][..dv];
            write(own, 1.0, &[weight], g.rows("v")[s]);
            z[t] += weight;
            o.extend(own.iter().map(|x| x / z[t]));
        }
    }
    vec![("o", o), ("a", a), ("z", z)]
}

pub(crate) fn two_memories(g: &Given) -> Outputs {
    let [mut c, mut n, mut d, mut m] = ["C0", "n0", "D0", "m0"].map(|x| g.values(x));
    let mut h = Vec::new();
    for t in 0..g.rows("q").len() {
        let [i, f, j, l] = ["i", "f", "j", "g"].map(|x| g.values(x)[t]);
        let [q, k, v] = ["q", "k", "v"].map(|x| g.rows(x)[t]);
        // The second memory is read before it is written.
        let second = times(1.0 / (read(&m, q)[0].abs() + 1.0), &read(&d, q));
        write(&mut c, sigmoid(f), &times(i.exp(), k), v);
        write(&mut n, sigmoid(f), &times(i.exp(), k), &[1.0]);
        write(&mut d, l.exp(), &times(j.exp(), k), v);
        write(&mut m, l.exp(), &times(j.exp(), k), &[1.0]);
        let first = times(1.0 / read(&n, q)[0].abs().max(1.0), &read(&c, q));
        h.extend(first.iter().zip(&second).map(|(a, b)| a + b));
    }
    vec![("h", h), ("C", c), ("n", n), ("D", d), ("m", m)]
}

pub(crate) fn per_key(g: &Given) -> Outputs {
    let [steps, dk] = g.shape("q");
    let [_, dv] = g.shape("v");
    let (mut c, mut n, mut h) = (g.values("C0"), g.values("n0"), Vec::new());
    for t in 0..steps {
        let at = |x: &str, key: usize| g.rows(x)[t][key];
        for key in 0..dk {
            let (forget, written) = (sigmoid(at("f", key)), [at("i", key).exp() * at("k", key)]);
            write(&mut c[key * dv..][..dv], forget, &written, g.rows("v")[t]);
            write(&mut n[key..=key], forget, &written, &[1.0]);
        }
        let q = g.rows("q")[t];
        h.extend(times(1.0 / read(&n, q)[0].abs().max(1.0), &read(&c, q)));
    }
    vec![("h", h), ("C", c), ("n", n)]
}
