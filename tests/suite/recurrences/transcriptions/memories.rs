//! Memories that decay as a whole.

use super::{Given, Outputs, inner, read, sigmoid, softplus, times, write};

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

pub(crate) fn forgetting_attention(g: &Given) -> Outputs {
    let [queries, dk] = g.shape("q");
    let [keys, dv] = g.shape("v");
    let (mut a, mut z, mut o) = (g.values("a0"), g.values("z0"), Vec::new());
    for s in 0..keys {
        for t in 0..queries {
            let own = &mut a[t * dv..][..dv];
            if g.values("place")[s] <= g.values("own")[t] {
                let forget = sigmoid(g.values("f")[s]);
                let weight = (inner(g.rows("q")[t], g.rows("k")[s]) / (dk as f64).sqrt()).exp();
                write(own, forget, &[weight], g.rows("v")[s]);
                z[t] = forget * z[t] + weight;
            }
            o.extend(own.iter().map(|x| x / z[t].max(1e-30)));
        }
    }
    vec![("o", o), ("a", a), ("z", z)]
}
