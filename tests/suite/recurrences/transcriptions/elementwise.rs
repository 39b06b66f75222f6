//! Recurrences of every element for itself.

use super::{Given, Outputs, sigmoid};

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

/// One state: its decay and what is added, by step and unit.
fn units(g: &Given, decay: impl Fn(usize, usize) -> f64, added: impl Fn(usize, usize) -> f64) -> Outputs {
    let [steps, _] = g.shape("x");
    let (mut h, mut hs) = (g.values("h0"), Vec::new());
    for t in 0..steps {
        for (unit, element) in h.iter_mut().enumerate() {
            *element = decay(t, unit) * *element + added(t, unit);
            hs.push(*element);
        }
    }
    vec![("hs", hs), ("h", h)]
}

pub(crate) fn hgrn(g: &Given) -> Outputs {
    let forget = |t: usize, unit: usize| {
        let bound = sigmoid(g.values("g")[unit]);
        bound + (1.0 - bound) * sigmoid(g.rows("f")[t][unit])
    };
    units(g, forget, |t, unit| (1.0 - forget(t, unit)) * g.rows("x")[t][unit])
}

pub(crate) fn mingru(g: &Given) -> Outputs {
    let gate = |t: usize, unit: usize| sigmoid(g.rows("z")[t][unit]);
    units(g, |t, unit| 1.0 - gate(t, unit), |t, unit| gate(t, unit) * g.rows("x")[t][unit])
}

pub(crate) fn rglru(g: &Given) -> Outputs {
    let base = |unit: usize| sigmoid(g.values("lambda")[unit]);
    let decay = |t: usize, unit: usize| base(unit).powf(8.0 * sigmoid(g.rows("r")[t][unit]));
    units(g, decay, |t, unit| {
        (1.0 - decay(t, unit).powi(2)).sqrt() * sigmoid(g.rows("i")[t][unit]) * g.rows("x")[t][unit]
    })
}

pub(crate) fn rwkv4(g: &Given) -> Outputs {
    let [steps, width] = g.shape("k");
    let (mut a, mut b, mut wkv) = (g.values("a0"), g.values("b0"), Vec::new());
    for t in 0..steps {
        for unit in 0..width {
            let (k, v) = (g.rows("k")[t][unit], g.rows("v")[t][unit]);
            let current = (g.values("u")[unit] + k).exp();
            wkv.push((a[unit] + current * v) / (b[unit] + current));
            let decay = (-g.values("w")[unit].exp()).exp();
            a[unit] = decay * a[unit] + k.exp() * v;
            b[unit] = decay * b[unit] + k.exp();
        }
    }
    vec![("wkv", wkv), ("a", a), ("b", b)]
}
