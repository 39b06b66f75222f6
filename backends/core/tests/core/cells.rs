//! Recurrent cells, norms and blocks as users write them, at several lengths of one program.

use crate::support::{agree_at, functions};
use carousel_ir::{
    Axes, Axis, Builder, DType, Direction, Function, FunctionId, FunctionKind, Graph, Module, Residuals,
    Scan, Size, Type, ValueId,
};

const F: DType = DType::F32;

fn module(graph: Graph) -> (Module, FunctionId) {
    let mut module = Module::default();
    let root = module.push(function("root", graph));
    (module, root)
}

fn function(name: &str, graph: Graph) -> Function {
    Function { name: name.into(), kind: FunctionKind::Block, residuals: Residuals::Save, graph }
}

/// An input of a scan's body.
fn element(b: &mut Builder<'_>, name: &str, axes: &[Axis]) -> ValueId {
    b.argument(name, F, axes)
}

/// A stabilised mLSTM over `[b, s, h]` with its final states.
fn mlstm(direction: Direction) -> Graph {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let [batch, s] = ["b", "s"].map(|n| b.axis(n, Size::symbol(n)));
    let h = b.axis("h", Size::Known(2));
    let dk = b.axis("dk", Size::Known(3));
    let dv = b.axis("dv", Size::Known(5));
    let q = b.argument("q", F, &[batch, s, h, dk]);
    let k = b.argument("k", F, &[batch, s, h, dk]);
    let v = b.argument("v", F, &[batch, s, h, dv]);
    let i = b.argument("i", F, &[batch, s, h]);
    let f = b.argument("f", F, &[batch, s, h]);
    let zero = b.constant(0.0, F);
    let c0 = b.broadcast(zero, &Axes::new([batch, h, dk, dv]));
    let n0 = b.broadcast(zero, &Axes::new([batch, h, dk]));
    let m0 = b.broadcast(zero, &Axes::new([batch, h]));

    let mut inner = Builder::body(b.axes().clone());
    let [c, n, m] = [("C", &[batch, h, dk, dv][..]), ("n", &[batch, h, dk]), ("m", &[batch, h])]
        .map(|(name, axes)| element(&mut inner, name, axes));
    let qt = element(&mut inner, "q", &[batch, h, dk]);
    let kt = element(&mut inner, "k", &[batch, h, dk]);
    let vt = element(&mut inner, "v", &[batch, h, dv]);
    let it = element(&mut inner, "i", &[batch, h]);
    let ft = element(&mut inner, "f", &[batch, h]);
    let lf = inner.logsigmoid(ft);
    let decayed = inner.add(lf, m);
    let m1 = inner.max(decayed, it);
    let f1 = inner.sub(decayed, m1);
    let f1 = inner.exp(f1);
    let i1 = inner.sub(it, m1);
    let i1 = inner.exp(i1);
    let ik = inner.mul(i1, kt);
    let kv = inner.mul(ik, vt);
    let old = inner.mul(f1, c);
    let c1 = inner.add(old, kv);
    let old = inner.mul(f1, n);
    let n1 = inner.add(old, ik);
    let num = inner.dot(qt, c1, dk.into());
    let qn = inner.dot(qt, n1, dk.into());
    let qn = inner.abs(qn);
    let least = inner.neg(m1);
    let least = inner.exp(least);
    let den = inner.max(qn, least);
    let y = inner.div(num, den);
    for (name, value) in [("C", c1), ("n", n1), ("m", m1), ("h", y)] {
        inner.output(name, value);
    }
    let scan = Scan { axis: s, direction, states: 3, sequences: 5, body: inner.finish().unwrap() };
    let results = b.scan(scan, &[c0, n0, m0, q, k, v, i, f]);
    b.output("C", results[0]);
    b.output("m", results[2]);
    b.output_as("y", results[3], Axes::new([batch, s, h, dv]));
    b.finish().unwrap()
}

/// An sLSTM with recurrent weights: memory mixing by products inside the loop.
fn slstm(direction: Direction) -> Graph {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let [batch, s] = ["b", "s"].map(|n| b.axis(n, Size::symbol(n)));
    let h = b.axis("h", Size::Known(2));
    let d = b.axis("d", Size::Known(19));
    let e = b.axis("e", Size::Known(19));
    let gate = [batch, s, h, d];
    let [z, i, f, o] = ["z", "i", "f", "o"].map(|n| b.argument(n, F, &gate));
    let [rz, ri, rf, ro] = ["rz", "ri", "rf", "ro"].map(|n| b.argument(n, F, &[h, d, e]));
    let c0 = b.argument("c0", F, &[batch, h, d]);
    let n0 = b.argument("n0", F, &[batch, h, d]);
    let y0 = b.argument("y0", F, &[batch, h, d]);

    let mut inner = Builder::body(b.axes().clone());
    let state = [batch, h, d];
    let [c, n, y] = ["c", "n", "y"].map(|name| element(&mut inner, name, &state));
    let [zt, it, ft, ot] = ["z", "i", "f", "o"].map(|name| element(&mut inner, name, &state));
    let weights = ["rz", "ri", "rf", "ro"].map(|name| element(&mut inner, name, &[h, d, e]));
    let before = inner.rename(y, d, e);
    let mut mixed = Vec::new();
    for (x, r) in [zt, it, ft, ot].into_iter().zip(weights) {
        let mix = inner.dot(r, before, e.into());
        mixed.push(inner.add(x, mix));
    }
    let z1 = inner.tanh(mixed[0]);
    let i1 = inner.sigmoid(mixed[1]);
    let f1 = inner.sigmoid(mixed[2]);
    let o1 = inner.sigmoid(mixed[3]);
    let fc = inner.mul(f1, c);
    let iz = inner.mul(i1, z1);
    let c1 = inner.add(fc, iz);
    let fn_ = inner.mul(f1, n);
    let n1 = inner.add(fn_, i1);
    let ratio = inner.div(c1, n1);
    let y1 = inner.mul(o1, ratio);
    for (name, value) in [("c", c1), ("n", n1), ("y", y1), ("out", y1), ("previous", y)] {
        inner.output(name, value);
    }
    let scan = Scan { axis: s, direction, states: 3, sequences: 4, body: inner.finish().unwrap() };
    let results = b.scan(scan, &[c0, n0, y0, z, i, f, o, rz, ri, rf, ro]);
    for (name, at) in [("c", 0), ("n", 1), ("y", 2)] {
        b.output(name, results[at]);
    }
    b.output_as("out", results[3], Axes::new([batch, s, h, d]));
    b.output("previous", results[4]);
    b.finish().unwrap()
}

/// Two states that exchange their values, one that keeps its, one that becomes a rename of itself.
fn exchange() -> Graph {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let s = b.axis("s", Size::symbol("s"));
    let d = b.axis("d", Size::Known(3));
    let e = b.axis("e", Size::Known(3));
    let x = b.argument("x", F, &[s, d]);
    let a0 = b.argument("a", F, &[d]);
    let b0 = b.argument("b", F, &[d]);
    let c0 = b.argument("c", F, &[d, e]);
    let mut inner = Builder::body(b.axes().clone());
    let p = element(&mut inner, "a", &[d]);
    let q = element(&mut inner, "b", &[d]);
    let t = element(&mut inner, "c", &[d, e]);
    let xt = element(&mut inner, "x", &[d]);
    let q1 = inner.add(p, xt);
    // The transpose of the old matrix plus itself.
    let u = b.axes_mut().fresh("u".into(), Size::Known(3));
    inner.axes_mut().declare(u, Size::Known(3));
    let swapped = inner.rename(t, d, u);
    let swapped = inner.rename(swapped, e, d);
    let swapped = inner.rename(swapped, u, e);
    let t1 = inner.add(t, swapped);
    let half = inner.constant(0.5, F);
    let t1 = inner.mul(t1, half);
    inner.output("a", q);
    inner.output("b", q1);
    inner.output("c", t1);
    inner.output("old", p);
    let scan = Scan {
        axis: s,
        direction: Direction::Forward,
        states: 3,
        sequences: 1,
        body: inner.finish().unwrap(),
    };
    let results = b.scan(scan, &[a0, b0, c0, x]);
    for (at, name) in ["a", "b", "c", "old"].into_iter().enumerate() {
        b.output(name, results[at]);
    }
    b.finish().unwrap()
}

/// Layer norm and a gated feed-forward layer as a block that is called twice.
fn blocks() -> (Module, FunctionId) {
    let mut module = Module::default();
    let mut b = Builder::new(&module);
    let [batch, s] = ["b", "s"].map(|n| b.axis(n, Size::symbol(n)));
    let d = b.axis("d", Size::Known(17));
    let g = b.axis("g", Size::Known(2));
    let e = b.axis("e", Size::Known(9));
    let ge = b.axis("ge", Size::Known(18));
    let up = b.argument("up", F, &[d, g, e]);
    let x = b.argument("x", F, &[batch, s, d]);
    let down = b.argument("down", F, &[e, d]);
    let scale = b.argument("scale", F, &[d]);
    let n = b.size_of(d, F);
    let sum = b.sum(x, d.into());
    let mean = b.div(sum, n);
    let centred = b.sub(x, mean);
    let square = b.mul(centred, centred);
    let sum = b.sum(square, d.into());
    let variance = b.div(sum, n);
    let eps = b.constant(1e-5, F);
    let variance = b.add(variance, eps);
    let deviation = b.sqrt(variance);
    let normal = b.div(centred, deviation);
    let normal = b.mul(scale, normal);
    let both = b.dot(normal, up, d.into());
    let both = b.merge(both, Axes::new([g, e]), ge);
    let first = b.slice(both, ge, e, Size::Known(0));
    let second = b.slice(both, ge, e, Size::Known(9));
    let gate = b.sigmoid(first);
    let gated = b.mul(gate, second);
    let out = b.dot(gated, down, e.into());
    let y = b.add(x, out);
    b.output_as("y", y, Axes::new([batch, s, d]));
    let graph = b.finish().unwrap();
    let block = module.push(function("block", graph));

    let mut b = Builder::new(&module);
    let batch = b.axis("b", Size::symbol("n"));
    let s = b.axis("s", Size::symbol("length"));
    for (name, size) in [("d", 17), ("g", 2), ("e", 9), ("ge", 18), ("v", 4)] {
        b.axis(name, Size::Known(size));
    }
    let [d, g, e, v] = ["d", "g", "e", "v"].map(Axis::new);
    let table = b.argument("table", F, &[v, d]);
    let tokens = b.input("tokens", Type::new(DType::I32, [batch, s]), carousel_ir::Role::Argument);
    let mut x = b.gather(table, v, tokens);
    for layer in 0..2 {
        let up = b.argument(&format!("{layer}.up"), F, &[d, g, e]);
        let down = b.argument(&format!("{layer}.down"), F, &[e, d]);
        let scale = b.argument(&format!("{layer}.scale"), F, &[d]);
        x = b.call(block, &[up, x, down, scale])[0];
    }
    let rows = b.scatter_add(x, tokens, v, Axes::new([batch, s]));
    let bias = b.sum(x, Axes::new([batch, s]));
    b.output("x", x);
    b.output("rows", rows);
    b.output("bias", bias);
    let graph = b.finish().unwrap();
    let root = module.push(function("root", graph));
    (module, root)
}

#[test]
fn mlstm_agrees_in_both_directions() {
    for direction in [Direction::Forward, Direction::Reverse] {
        let (module, root) = module(mlstm(direction));
        agree_at(&module, root, &["b", "s"], &[[1, 1], [2, 7], [3, 0], [1, 40]]);
    }
}

#[test]
fn slstm_agrees_in_both_directions() {
    for direction in [Direction::Forward, Direction::Reverse] {
        let (module, root) = module(slstm(direction));
        agree_at(&module, root, &["b", "s"], &[[1, 1], [3, 7], [2, 0], [1, 20]]);
    }
}

#[test]
fn states_that_exchange_values_are_not_overwritten_too_early() {
    let (module, root) = module(exchange());
    agree_at(&module, root, &["s"], &[[1], [4], [7]]);
}

#[test]
fn blocks_agree_and_are_lowered_once() {
    let (module, root) = blocks();
    agree_at(&module, root, &["n", "length"], &[[1, 1], [2, 7], [3, 30]]);
    let program = functions(&module, root);
    assert_eq!(program.routines.len(), 2);
    // Norm, product, gate, product, residual.
    assert!(program.routines[0].steps.len() <= 5, "{program}");
    show(&program);
}

#[test]
fn a_scan_is_one_kernel() {
    for graph in [mlstm(Direction::Forward), slstm(Direction::Forward)] {
        let (module, root) = module(graph);
        let program = functions(&module, root);
        assert_eq!(program.kernels.len(), 1, "{program}");
        show(&program);
    }
}

/// With `CAROUSEL_SHOW_KERNELS` set, prints the kernels.
fn show(program: &carousel_core::program::Program) {
    if std::env::var_os("CAROUSEL_SHOW_KERNELS").is_some() {
        println!("{program}");
    }
}
