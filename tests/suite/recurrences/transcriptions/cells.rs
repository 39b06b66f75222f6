//! Cells whose units see each other's last output.

use super::{Given, Outputs, inner, sigmoid};

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

/// `sum over e of r[unit, e] * y[e]`, over the units of the unit's own head.
fn mixed(g: &Given, r: &str, unit: usize, y: &[f64]) -> f64 {
    let (shape, weights) = &g.0[r];
    let width = shape[shape.len() - 1];
    inner(&weights[unit * width..][..width], &y[unit / width * width..][..width])
}

pub(crate) fn elman(g: &Given) -> Outputs {
    let (mut y, mut ys) = (g.values("y0"), Vec::new());
    for x in g.rows("x") {
        y = (0..y.len()).map(|at| (x[at] + mixed(g, "r", at, &y)).tanh()).collect();
        ys.extend(&y);
    }
    vec![("ys", ys), ("y", y)]
}

pub(crate) fn linear_rnn(g: &Given) -> Outputs {
    let (mut y, mut ys) = (g.values("y0"), Vec::new());
    for x in g.rows("x") {
        let size = y.len() as f64;
        y = (0..y.len()).map(|at| x[at] + mixed(g, "r", at, &y) / size).collect();
        ys.extend(&y);
    }
    vec![("ys", ys), ("y", y)]
}

pub(crate) fn gru(g: &Given) -> Outputs {
    let (mut y, mut ys) = (g.values("y0"), Vec::new());
    for t in 0..g.rows("x").len() {
        let gate = |x: &str, r: &str, at: usize| sigmoid(g.rows(x)[t][at] + mixed(g, r, at, &y));
        let reset: Vec<f64> = (0..y.len()).map(|at| gate("r", "rr", at) * y[at]).collect();
        let unit = |at: usize| {
            let update = gate("z", "rz", at);
            update * y[at] + (1.0 - update) * (g.rows("x")[t][at] + mixed(g, "rx", at, &reset)).tanh()
        };
        y = (0..y.len()).map(unit).collect();
        ys.extend(&y);
    }
    vec![("ys", ys), ("y", y)]
}

pub(crate) fn lstm(g: &Given) -> Outputs {
    let (mut y, mut c, mut ys) = (g.values("y0"), g.values("c0"), Vec::new());
    for t in 0..g.rows("z").len() {
        let sum = |x: &str, r: &str, at: usize| g.rows(x)[t][at] + mixed(g, r, at, &y);
        let mut next = Vec::new();
        for (at, c) in c.iter_mut().enumerate() {
            let (forget, input) = (sigmoid(sum("f", "rf", at)), sigmoid(sum("i", "ri", at)));
            *c = forget * *c + input * sum("z", "rz", at).tanh();
            next.push(sigmoid(sum("o", "ro", at)) * c.tanh());
        }
        y = next;
        ys.extend(&y);
    }
    vec![("ys", ys), ("y", y), ("c", c)]
}
