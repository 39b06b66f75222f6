//! Memories that are corrected by what they hold: the delta rule and its relatives.

use super::{Given, Outputs, inner, read, sigmoid, times, write};

/// What a step does to a memory: it decays, each key by its own factor; what `removed` reads is written along
/// `replaced`, and the value along `written`.
struct Step {
    decay: Vec<f64>,
    removed: Vec<f64>,
    replaced: Vec<f64>,
    written: Vec<f64>,
}

/// Whether what is removed is read before or after the decay.
#[derive(Clone, Copy, PartialEq)]
enum Removal {
    BeforeDecay,
    AfterDecay,
}

fn memory(g: &Given, query: &str, removal: Removal, step: impl Fn(usize) -> Step) -> Outputs {
    let [steps, dk] = g.shape(query);
    let [_, dv] = g.shape("v");
    let (mut memory, mut o) = (g.values("S0"), Vec::new());
    for t in 0..steps {
        let Step { decay, removed, replaced, written } = step(t);
        let before = read(&memory, &removed);
        for key in 0..dk {
            memory[key * dv..][..dv].iter_mut().for_each(|x| *x *= decay[key]);
        }
        let found = if removal == Removal::AfterDecay { read(&memory, &removed) } else { before };
        write(&mut memory, 1.0, &replaced, &found);
        write(&mut memory, 1.0, &written, g.rows("v")[t]);
        o.extend(read(&memory, g.rows(query)[t]));
    }
    vec![("o", o), ("S", memory)]
}

fn unit(x: &[f64]) -> Vec<f64> {
    times(1.0 / inner(x, x).sqrt(), x)
}

/// The delta rule after a decay: what is there along the key is replaced at a rate.
fn delta(g: &Given, decay: impl Fn(usize) -> Vec<f64>) -> Outputs {
    memory(g, "q", Removal::AfterDecay, |t| {
        let (key, rate) = (unit(g.rows("k")[t]), sigmoid(g.values("b")[t]));
        let [replaced, written] = [-rate, rate].map(|r| times(r, &key));
        Step { decay: decay(t), removed: key, replaced, written }
    })
}

pub(crate) fn deltanet(g: &Given) -> Outputs {
    let [_, dk] = g.shape("k");
    delta(g, |_| vec![1.0; dk])
}

pub(crate) fn gated_deltanet(g: &Given) -> Outputs {
    let [_, dk] = g.shape("k");
    delta(g, |t| vec![sigmoid(-g.values("a")[t]); dk])
}

pub(crate) fn kda(g: &Given) -> Outputs {
    delta(g, |t| g.rows("a")[t].iter().map(|a| sigmoid(*a)).collect())
}

pub(crate) fn rwkv7(g: &Given) -> Outputs {
    memory(g, "r", Removal::BeforeDecay, |t| {
        let removed = unit(g.rows("kappa")[t]);
        Step {
            decay: g.rows("w")[t].iter().map(|w| (-(-0.5f64).exp() * sigmoid(*w)).exp()).collect(),
            replaced: removed.iter().zip(g.rows("a")[t]).map(|(x, a)| -sigmoid(*a) * x).collect(),
            removed,
            written: g.rows("k")[t].to_vec(),
        }
    })
}
