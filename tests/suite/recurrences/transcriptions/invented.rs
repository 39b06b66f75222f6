//! Recurrences that no paper has; see `invented.xl`.

use super::{Given, Outputs, inner, read, sigmoid, times, write};

/// `a + factor * b`.
fn plus(a: &[f64], factor: f64, b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + factor * b).collect()
}

fn unit(x: &[f64]) -> Vec<f64> {
    times(1.0 / inner(x, x).sqrt(), x)
}

/// The number of an input at a step.
fn at(g: &Given, name: &str, t: usize) -> f64 {
    g.rows(name)[t][0]
}

/// One memory, written k and v times `written`, and what a step reads of it.
fn memory(g: &Given, decay: impl Fn(usize) -> f64, written: impl Fn(usize) -> f64) -> Outputs {
    let (mut c, mut h) = (g.values("C0"), Vec::new());
    for (t, q) in g.rows("q").into_iter().enumerate() {
        write(&mut c, decay(t), &times(written(t), g.rows("k")[t]), g.rows("v")[t]);
        h.extend(read(&c, q));
    }
    vec![("h", h), ("C", c)]
}

/// A memory and its normaliser, in the order of `steps`: a decay and an input gate a step, and what is read of both.
fn normalised(
    g: &Given,
    steps: impl Iterator<Item = usize>,
    gates: impl Fn(usize) -> [f64; 2],
    output: impl Fn(usize, &[f64], &[f64]) -> Vec<f64>,
) -> Outputs {
    let (mut c, mut n, mut h) = (g.values("C0"), g.values("n0"), vec![Vec::new(); g.rows("q").len()]);
    for t in steps {
        let [decay, input] = gates(t);
        let key = times(input, g.rows("k")[t]);
        write(&mut c, decay, &key, g.rows("v")[t]);
        write(&mut n, decay, &key, &[1.0]);
        h[t] = output(t, &c, &n);
    }
    vec![("h", h.concat()), ("C", c), ("n", n)]
}

pub(crate) fn crossed_gates(g: &Given) -> Outputs {
    let (mut c, mut d, mut h) = (g.values("C0"), g.values("D0"), Vec::new());
    for (t, q) in g.rows("q").into_iter().enumerate() {
        let [keep, change] = [1.0, -1.0].map(|sign| sigmoid(sign * at(g, "f", t)));
        let (k, v) = (g.rows("k")[t], g.rows("v")[t]);
        write(&mut c, keep, &times(change, k), v);
        h.extend(plus(&read(&c, q), -1.0, &read(&d, q)));
        write(&mut d, change, &times(keep, k), v);
    }
    vec![("h", h), ("C", c), ("D", d)]
}

pub(crate) fn shared_normaliser(g: &Given) -> Outputs {
    let gates = |t| ["f", "i"].map(|gate| at(g, gate, t).exp());
    normalised(g, 0..g.rows("q").len(), gates, |t, c, n| {
        let [q, p] = ["q", "p"].map(|query| g.rows(query)[t]);
        let weight: f64 = n.iter().zip(q).zip(p).map(|((n, q), p)| (q.abs() + p.abs()) * n).sum();
        times(1.0 / weight.max(1.0), &plus(&read(c, q), 1.0, &read(c, p)))
    })
}

pub(crate) fn growing(g: &Given) -> Outputs {
    let gates = |t| [at(g, "f", t).abs().exp(), 1.0];
    normalised(g, 0..g.rows("q").len(), gates, |t, c, n| {
        let q = g.rows("q")[t];
        times(1.0 / (1.0 + inner(q, n).abs()), &read(c, q))
    })
}

pub(crate) fn growing_bare(g: &Given) -> Outputs {
    memory(g, |t| at(g, "f", t).abs().exp(), |_| 1.0)
}

pub(crate) fn signed_decay(g: &Given) -> Outputs {
    memory(g, |t| at(g, "f", t).tanh(), |_| 1.0)
}

pub(crate) fn root_normaliser(g: &Given) -> Outputs {
    let (mut c, mut n, mut h) = (g.values("C0"), g.values("n0"), Vec::new());
    for (t, q) in g.rows("q").into_iter().enumerate() {
        let [decay, input] = ["f", "i"].map(|gate| at(g, gate, t).exp());
        let k = g.rows("k")[t];
        write(&mut c, decay, &times(input, k), g.rows("v")[t]);
        n = n.iter().zip(k).map(|(n, k)| decay * decay * n + (input * k) * (input * k)).collect();
        let weight: f64 = n.iter().zip(q).map(|(n, q)| q * q * n).sum();
        h.extend(times(1.0 / weight.sqrt(), &read(&c, q)));
    }
    vec![("h", h), ("C", c), ("n", n)]
}

pub(crate) fn clamped(g: &Given) -> Outputs {
    let (mut c, mut h) = (g.values("c0"), Vec::new());
    for (t, x) in g.rows("x").into_iter().enumerate() {
        for (d, c) in c.iter_mut().enumerate() {
            let bound = g.rows("bound")[t][d];
            *c = (sigmoid(g.rows("f")[t][d]) * *c + x[d]).min(bound).max(-bound);
        }
        h.extend(&c);
    }
    vec![("h", h), ("c", c)]
}

pub(crate) fn clamped_read(g: &Given) -> Outputs {
    let mut outputs = memory(g, |t| sigmoid(at(g, "f", t)), |_| 1.0);
    let width = outputs[0].1.len() / g.rows("q").len();
    for (place, h) in outputs[0].1.iter_mut().enumerate() {
        let bound = at(g, "bound", place / width);
        *h = h.min(bound).max(-bound);
    }
    outputs
}

pub(crate) fn masked(g: &Given) -> Outputs {
    let decay = |t| if t % 5 == 3 { 0.0 } else { sigmoid(at(g, "f", t)) };
    memory(g, decay, |t| if at(g, "w", t) > 0.0 { 1.0 } else { 0.0 })
}

pub(crate) fn rows_and_columns(g: &Given) -> Outputs {
    let (mut c, mut h) = (g.values("C0"), Vec::new());
    for (t, q) in g.rows("q").into_iter().enumerate() {
        let (k, v) = (g.rows("k")[t], g.rows("v")[t]);
        for (row, k) in k.iter().enumerate() {
            for (column, v) in v.iter().enumerate() {
                let place = row * g.rows("v")[t].len() + column;
                c[place] = sigmoid(g.rows("f")[t][row]) * sigmoid(g.rows("g")[t][column]) * c[place] + k * v;
            }
        }
        h.extend(read(&c, q));
    }
    vec![("h", h), ("C", c)]
}

pub(crate) fn relay(g: &Given) -> Outputs {
    let (mut c, mut d, mut h) = (g.values("C0"), g.values("D0"), Vec::new());
    for (t, q) in g.rows("q").into_iter().enumerate() {
        let k = g.rows("k")[t];
        write(&mut c, sigmoid(at(g, "f", t)), k, g.rows("v")[t]);
        write(&mut d, sigmoid(at(g, "g", t)), q, &read(&c, k));
        h.extend(read(&d, q));
    }
    vec![("h", h), ("C", c), ("D", d)]
}

pub(crate) fn momentum(g: &Given) -> Outputs {
    let (mut c, mut m, mut h) = (g.values("C0"), g.values("M0"), Vec::new());
    for (t, q) in g.rows("q").into_iter().enumerate() {
        write(&mut m, sigmoid(at(g, "g", t)), g.rows("k")[t], g.rows("v")[t]);
        c = plus(&m, sigmoid(at(g, "f", t)), &c);
        h.extend(read(&c, q));
    }
    vec![("h", h), ("C", c), ("M", m)]
}

pub(crate) fn diary(g: &Given) -> Outputs {
    let (mut s, mut d, mut h) = (g.values("S0"), g.values("D0"), Vec::new());
    for (t, q) in g.rows("q").into_iter().enumerate() {
        let u = unit(g.rows("k")[t]);
        let wrong = plus(g.rows("v")[t], -1.0, &read(&s, &u));
        write(&mut s, 1.0, &times(sigmoid(at(g, "b", t)), &u), &wrong);
        write(&mut d, sigmoid(at(g, "f", t)), q, &wrong);
        h.extend(plus(&read(&s, q), 1.0, &read(&d, &u)));
    }
    vec![("h", h), ("S", s), ("D", d)]
}

pub(crate) fn corrected_and_normalised(g: &Given) -> Outputs {
    let (mut s, mut n, mut h) = (g.values("S0"), g.values("n0"), Vec::new());
    for (t, q) in g.rows("q").into_iter().enumerate() {
        let (u, keep, input) = (unit(g.rows("k")[t]), sigmoid(at(g, "f", t)), at(g, "i", t).exp());
        let wrong = plus(&times(input, g.rows("v")[t]), -keep, &read(&s, &u));
        write(&mut s, keep, &times(sigmoid(at(g, "b", t)), &u), &wrong);
        write(&mut n, keep, &times(input, &u), &[1.0]);
        h.extend(times(1.0 / inner(q, &n).abs().max(1.0), &read(&s, q)));
    }
    vec![("h", h), ("S", s), ("n", n)]
}

pub(crate) fn corrected_twice(g: &Given) -> Outputs {
    let (mut s, mut h) = (g.values("S0"), Vec::new());
    for (t, q) in g.rows("q").into_iter().enumerate() {
        let (u, w, rate) = (unit(g.rows("k")[t]), unit(g.rows("p")[t]), sigmoid(at(g, "b", t)));
        let wrong = plus(g.rows("v")[t], -1.0, &read(&s, &u));
        write(&mut s, 1.0, &times(rate, &u), &wrong);
        let there = read(&s, &w);
        write(&mut s, 1.0, &times(-rate, &w), &there);
        h.extend(read(&s, q));
    }
    vec![("h", h), ("S", s)]
}

pub(crate) fn rotation(g: &Given) -> Outputs {
    let (mut c, mut e, mut h) = (g.values("c0"), g.values("e0"), Vec::new());
    for (t, x) in g.rows("x").into_iter().enumerate() {
        for d in 0..x.len() {
            let sine = g.rows("a")[t][d].tanh();
            let cosine = (1.0 - sine * sine).sqrt();
            let [x0, x1] = [c[d], e[d]];
            c[d] = 0.9 * (cosine * x0 - sine * x1) + x[d];
            e[d] = 0.9 * (sine * x0 + cosine * x1);
            h.push(c[d] + e[d]);
        }
    }
    vec![("h", h), ("c", c), ("e", e)]
}

pub(crate) fn running_mean(g: &Given) -> Outputs {
    let (mut m, mut n, mut h) = (g.values("m0"), g.values("n0"), Vec::new());
    for (t, x) in g.rows("x").into_iter().enumerate() {
        let weight = sigmoid(at(g, "w", t));
        m = plus(&m, weight, x);
        n[0] += weight;
        h.extend(times(1.0 / (n[0] + 1.0), &m));
    }
    vec![("h", h), ("m", m), ("n", n)]
}

pub(crate) fn backwards(g: &Given) -> Outputs {
    let gates = |t| [(-at(g, "f", t).exp()).exp(), at(g, "i", t).exp() + at(g, "j", t).exp()];
    normalised(g, (0..g.rows("q").len()).rev(), gates, |t, c, n| {
        let q = g.rows("q")[t];
        times(1.0 / inner(q, n).abs().max(1.0), &read(c, q))
    })
}

pub(crate) fn both_ways(g: &Given) -> Outputs {
    let steps = g.rows("q").len();
    let size = g.rows("k")[0].len() * g.rows("v")[0].len();
    let step = |memory: &mut [f64], t: usize| {
        let forget = sigmoid(at(g, "f", t));
        write(memory, forget, &times(1.0 - forget, g.rows("k")[t]), g.rows("v")[t]);
    };
    let (mut c, mut d, mut h) = (vec![0.0; size], vec![0.0; size], vec![Vec::new(); steps]);
    for (t, h) in h.iter_mut().enumerate() {
        *h = read(&c, g.rows("q")[t]);
        step(&mut c, t);
    }
    for t in (0..steps).rev() {
        step(&mut d, t);
        h[t] = plus(&h[t], 1.0, &read(&d, g.rows("q")[t]));
    }
    vec![("h", h.concat())]
}

pub(crate) fn two_axes(g: &Given) -> Outputs {
    let [_, width] = g.shape("x");
    let (mut d, mut h) = (vec![0.0; width], Vec::new());
    for (t, x) in g.rows("x").into_iter().enumerate() {
        let mut c = 0.0;
        for place in 0..width {
            c = sigmoid(g.rows("f")[t][place]) * c + x[place];
            d[place] = sigmoid(g.rows("g")[t][place]) * d[place] + c;
        }
        h.extend(&d);
    }
    vec![("h", h)]
}

pub(crate) fn grid(g: &Given) -> Outputs {
    let (mut row, mut h) = (g.values("row0"), Vec::new());
    for (t, x) in g.rows("x").into_iter().enumerate() {
        let mut c = 0.0;
        for (place, above) in row.iter_mut().enumerate() {
            let [f, down] = ["f", "g"].map(|gate| sigmoid(g.rows(gate)[t][place]));
            c = f * c + 0.25 * down * *above + x[place];
            *above = c;
        }
        h.extend(&row);
    }
    vec![("h", h), ("row", row)]
}

pub(crate) fn over_depth(g: &Given) -> Outputs {
    let (mut c, mut h) = (g.values("x"), Vec::new());
    for (layer, w) in g.rows("w").into_iter().enumerate() {
        for (place, c) in c.iter_mut().enumerate() {
            let gate = sigmoid(g.rows("g")[layer][place]);
            *c = gate * *c + (1.0 - gate) * w[place % w.len()];
        }
        h.extend(&c);
    }
    vec![("h", h)]
}
