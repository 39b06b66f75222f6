//! Memories in which every key decays at a rate of its own.

use super::{Given, Outputs, inner, read, sigmoid, softplus, times, write};

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

/// A memory of one head: the decay and the written key by step and key.
fn memory(g: &Given, decay: impl Fn(usize, usize) -> f64, key: impl Fn(usize, usize) -> f64) -> Outputs {
    let [steps, dk] = g.shape("q");
    let [_, dv] = g.shape("v");
    let (mut memory, mut o) = (g.values("S0"), Vec::new());
    for t in 0..steps {
        for place in 0..dk {
            write(&mut memory[place * dv..][..dv], decay(t, place), &[key(t, place)], g.rows("v")[t]);
        }
        o.extend(read(&memory, g.rows("q")[t]));
    }
    vec![("o", o), ("S", memory)]
}

pub(crate) fn gla(g: &Given) -> Outputs {
    let [_, dk] = g.shape("q");
    let decay = |t: usize, place: usize| sigmoid(g.rows("g")[t][place]).powf(1.0 / 16.0);
    let mut outputs = memory(g, decay, |t, place| g.rows("k")[t][place]);
    outputs[0].1 = times(1.0 / (dk as f64).sqrt(), &outputs[0].1);
    outputs
}

pub(crate) fn hgrn2(g: &Given) -> Outputs {
    let forget = |t: usize, place: usize| {
        let bound = sigmoid(g.values("g")[place]);
        bound + (1.0 - bound) * sigmoid(g.rows("f")[t][place])
    };
    memory(g, forget, |t, place| 1.0 - forget(t, place))
}

pub(crate) fn rwkv6(g: &Given) -> Outputs {
    let [steps, dk] = g.shape("r");
    let [_, dv] = g.shape("v");
    let (mut memory, mut o) = (g.values("S0"), Vec::new());
    for t in 0..steps {
        let at = |x: &str, place: usize| g.rows(x)[t][place];
        for column in 0..dv {
            let bonus = |key: usize| g.values("u")[key] * at("k", key) * at("v", column);
            o.push((0..dk).map(|key| at("r", key) * (memory[key * dv + column] + bonus(key))).sum());
        }
        for key in 0..dk {
            let decay = (-at("w", key).exp()).exp();
            write(&mut memory[key * dv..][..dv], decay, &[at("k", key)], g.rows("v")[t]);
        }
    }
    vec![("o", o), ("S", memory)]
}

pub(crate) fn mamba(g: &Given) -> Outputs {
    let [steps, channels] = g.shape("x");
    let [_, n] = g.shape("B");
    let (mut memory, mut y) = (g.values("H0"), Vec::new());
    for t in 0..steps {
        for d in 0..channels {
            let (x, step) = (g.rows("x")[t][d], softplus(g.rows("dt")[t][d] + g.values("bias")[d]));
            let own = &mut memory[d * n..][..n];
            for (place, element) in own.iter_mut().enumerate() {
                let decay = (-step * g.values("a_log")[d * n + place].exp()).exp();
                *element = decay * *element + step * g.rows("B")[t][place] * x;
            }
            y.push(inner(own, g.rows("C")[t]) + g.values("D")[d] * x);
        }
    }
    vec![("y", y), ("H", memory)]
}

pub(crate) fn gsa(g: &Given) -> Outputs {
    let [steps, slots] = g.shape("g");
    let ([_, dk], [_, dv]) = (g.shape("k"), g.shape("v"));
    let (mut keys, mut values, mut o) = (g.values("K0"), g.values("V0"), Vec::new());
    for t in 0..steps {
        let mut weights = Vec::new();
        for slot in 0..slots {
            let forget = sigmoid(g.rows("g")[t][slot]).powf(0.125);
            let (own_key, own_value) = (&mut keys[slot * dk..][..dk], &mut values[slot * dv..][..dv]);
            write(own_key, forget, &[1.0 - forget], g.rows("k")[t]);
            write(own_value, forget, &[1.0 - forget], g.rows("v")[t]);
            weights.push(inner(own_key, g.rows("q")[t]).exp());
        }
        let total: f64 = weights.iter().sum();
        o.extend(read(&values, &times(1.0 / total, &weights)));
    }
    vec![("o", o), ("K", keys), ("V", values)]
}
