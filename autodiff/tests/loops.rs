//! Gradients through loops: both directions, several states, initial and final states, shared weights, resets,
//! nested loops, lengths from 0, saved and checkpointed.

mod common;

use carousel_autodiff::{Options, ScanResiduals, gradient, value_and_gradient};
use carousel_ir::{
    Axes, AxisTable, Builder, DType, Direction, FunctionId, Graph, Module, Op, Role, Scan, Size, Type,
    ValueId,
};
use carousel_reference::Tensor;
use common::{Numbers, check, check_loss, cotangents, float, gradients, module_of, options};

const LENGTHS: [usize; 5] = [0, 1, 2, 7, 16];

fn axes(names: &[&str]) -> Axes {
    names.iter().map(|n| (*n).into()).collect()
}

/// A loop over `s`: `step` gets the body's inputs and returns next states and yields.
fn scan(
    b: &mut Builder<'_>,
    direction: Direction,
    counts: (usize, usize),
    operands: &[ValueId],
    step: impl FnOnce(&mut Builder<'_>, &[ValueId]) -> Vec<ValueId>,
) -> Vec<ValueId> {
    let inner: AxisTable = b.axes().clone();
    let mut body = Builder::body(inner);
    let inputs: Vec<ValueId> = operands
        .iter()
        .enumerate()
        .map(|(i, operand)| {
            let ty = b.ty(*operand);
            let element = Type { dtype: ty.dtype, axes: ty.axes.without(&axes(&["s"])) };
            body.input(&format!("in{i}"), element, Role::Argument)
        })
        .collect();
    for (i, output) in step(&mut body, &inputs).into_iter().enumerate() {
        body.output(&format!("out{i}"), output);
    }
    let body = body.finish_pass();
    let scan =
        Scan { axis: "s".into(), direction, states: counts.0 as u32, sequences: counts.1 as u32, body };
    b.scan(scan, operands)
}

fn length() -> Size {
    Size::symbol("s")
}

/// mLSTM as the paper prints it, with initial states, resets and final states; b is a mapped axis.
fn mlstm(direction: Direction) -> (Module, FunctionId) {
    module_of(|b| {
        let (batch, dk, dv) = (Size::symbol("b"), Size::Known(2), Size::Known(3));
        let q = float(b, "q", &[("b", batch.clone()), ("s", length()), ("dk", dk.clone())]);
        let k = float(b, "k", &[("b", batch.clone()), ("s", length()), ("dk", dk.clone())]);
        let v = float(b, "v", &[("b", batch.clone()), ("s", length()), ("dv", dv.clone())]);
        let i = float(b, "i", &[("b", batch.clone()), ("s", length())]);
        let f = float(b, "f", &[("b", batch.clone()), ("s", length())]);
        let c = float(b, "c", &[("b", batch.clone()), ("dk", dk.clone()), ("dv", dv)]);
        let n = float(b, "n", &[("b", batch.clone()), ("dk", dk)]);
        let reset = b.argument("reset", DType::Bool, &["b".into(), "s".into()]);
        let results = scan(b, direction, (2, 6), &[c, n, q, k, v, i, f, reset], |b, x| {
            let [c, n, q, k, v, i, f, reset] = x.try_into().unwrap();
            let zero = b.constant(0.0, DType::F32);
            let (c, n) = (b.select(reset, zero, c), b.select(reset, zero, n));
            let (f, i) = (b.sigmoid(f), b.exp(i));
            let (kept_c, kept_n) = (b.mul(f, c), b.mul(f, n));
            let u = b.mul(i, k);
            let write = b.mul(u, v);
            let (c, n) = (b.add(kept_c, write), b.add(kept_n, u));
            let product = b.mul(q, c);
            let read = b.sum(product, axes(&["dk"]));
            let norm = b.dot(q, n, axes(&["dk"]));
            let (norm, one) = (b.abs(norm), b.constant(1.0, DType::F32));
            let norm = b.max(norm, one);
            let h = b.div(read, norm);
            vec![c, n, h]
        });
        b.output_as("h", results[2], axes(&["b", "s", "dv"]));
        b.output("c_end", results[0]);
        b.output("n_end", results[1]);
        let loss = b.sum(results[2], axes(&["b", "s", "dv"]));
        b.output("loss", loss);
    })
}

fn mlstm_inputs(length: usize) -> Vec<Tensor<f64>> {
    let mut r = Numbers::new(length as u64);
    let mut inputs = vec![
        r.tensor(&[2, length, 2], -1.0, 1.0),
        r.tensor(&[2, length, 2], -1.0, 1.0),
        r.tensor(&[2, length, 3], -1.0, 1.0),
        r.tensor(&[2, length], -1.0, 1.0),
        r.tensor(&[2, length], -1.0, 2.0),
        r.tensor(&[2, 2, 3], -1.0, 1.0),
        r.tensor(&[2, 2], -1.0, 1.0),
    ];
    inputs.push(Tensor::bools(&[2, length], (0..2 * length).map(|n| n % 5 == 3).collect::<Vec<_>>()));
    inputs
}

/// sLSTM-like: memory mixing by a shared matrix, a shared bias, a shared scalar, and a counter without gradient.
fn slstm(direction: Direction) -> (Module, FunctionId) {
    module_of(|b| {
        let (batch, d) = (Size::symbol("b"), Size::Known(3));
        let z = float(b, "z", &[("b", batch.clone()), ("s", length()), ("d", d.clone())]);
        let y = float(b, "y", &[("b", batch.clone()), ("d", d.clone())]);
        let weight = float(b, "r", &[("d", d.clone()), ("e", d.clone())]);
        let bias = float(b, "bias", &[("d", d.clone())]);
        let scale = float(b, "scale", &[]);
        let zero = b.constant(0.0, DType::F32);
        let c = b.broadcast(zero, &axes(&["b", "d"]));
        let count = b.constant(0.0, DType::I32);
        let results = scan(b, direction, (3, 1), &[c, y, count, z, weight, bias, scale], |b, x| {
            let [c, y, count, z, weight, bias, scale] = x.try_into().unwrap();
            let read = b.rename(y, "d".into(), "e".into());
            let product = b.mul(weight, read);
            let mix = b.sum(product, axes(&["e"]));
            let pre = b.add(z, mix);
            let pre = b.add(pre, bias);
            let (gate, value) = (b.sigmoid(pre), b.tanh(pre));
            let kept = b.mul(gate, c);
            let number = b.cast(count, DType::F32);
            let tenth = b.constant(0.1, DType::F32);
            let number = b.mul(number, tenth);
            let value = b.add(value, number);
            let c = b.add(kept, value);
            let y = b.mul(c, scale);
            let one = b.constant(1.0, DType::I32);
            let count = b.add(count, one);
            vec![c, y, count, y]
        });
        b.output_as("y_all", results[3], axes(&["b", "s", "d"]));
        b.output("y_end", results[1]);
        b.output("count", results[2]);
        let loss = b.sum(results[3], axes(&["b", "s", "d"]));
        b.output("loss", loss);
    })
}

fn slstm_inputs(length: usize) -> Vec<Tensor<f64>> {
    let mut r = Numbers::new(50 + length as u64);
    vec![
        r.tensor(&[2, length, 3], -1.0, 1.0),
        r.tensor(&[2, 3], -1.0, 1.0),
        r.tensor(&[3, 3], -0.5, 0.5),
        r.tensor(&[3], -1.0, 1.0),
        r.tensor(&[], 0.5, 1.0),
    ]
}

fn check_all(what: &str, module: &Module, function: FunctionId, inputs: fn(usize) -> Vec<Tensor<f64>>) {
    for length in LENGTHS {
        let inputs = inputs(length);
        let [saved, checkpointed] = [ScanResiduals::Save, ScanResiduals::Checkpoint].map(options);
        let what = format!("{what}, length {length}");
        check(&what, module, function, &inputs, &saved);
        check_loss(&what, module, function, &inputs, &saved);
        let what = format!("{what}, checkpointed");
        check(&what, module, function, &inputs, &checkpointed);
        let given = cotangents(module, function, &inputs, &mut Numbers::new(3));
        let [a, b] = [saved, checkpointed].map(|o| gradients(module, function, &inputs, &given, &o));
        for ((_, a), (_, b)) in a.iter().zip(&b) {
            let near = |(a, b): (f64, f64)| (a - b).abs() <= 1e-12 * (1.0 + a.abs());
            assert!(a.to_f64().into_iter().zip(b.to_f64()).all(near), "{what}: {a:?} and {b:?}");
        }
    }
}

#[test]
fn mlstm_forward_and_reverse() {
    for direction in [Direction::Forward, Direction::Reverse] {
        let (module, function) = mlstm(direction);
        check_all(&format!("mlstm {direction:?}"), &module, function, mlstm_inputs);
    }
}

#[test]
fn slstm_forward_and_reverse() {
    for direction in [Direction::Forward, Direction::Reverse] {
        let (module, function) = slstm(direction);
        check_all(&format!("slstm {direction:?}"), &module, function, slstm_inputs);
    }
}

fn scans(graph: &Graph) -> Vec<&Scan> {
    let here =
        graph.nodes.iter().filter_map(|n| if let Op::Scan { scan } = &n.op { Some(&**scan) } else { None });
    here.flat_map(|s| std::iter::once(s).chain(scans(&s.body))).collect()
}

#[test]
fn weight_gradients_are_contracted_after_the_loop() {
    let (module, function) = slstm(Direction::Forward);
    let (derived, id) = gradient(&module, function, &Options::default()).unwrap();
    let weight = axes(&["d", "e"]);
    let reverse = |s: &&Scan| s.direction == Direction::Reverse;
    assert!(scans(&derived[id].graph).iter().any(reverse));
    for scan in scans(&derived[id].graph).into_iter().filter(reverse) {
        let states = scan.body.inputs.iter().take(scan.states as usize);
        assert!(states.clone().all(|s| s.ty.axes != weight), "no loop carries the weight's gradient");
        assert!(scan.body.nodes.iter().flat_map(|n| &n.types).all(|t| t.axes != axes(&["b", "d", "e"])));
    }
}

#[test]
fn checkpoints_save_no_state_of_every_step() {
    let (module, function) = mlstm(Direction::Forward);
    let stacked = |scans| {
        let (derived, id) = gradient(&module, function, &options(scans)).unwrap();
        let whole = Type::new(DType::F32, axes(&["b", "s", "dk", "dv"]).iter());
        derived[id].graph.nodes.iter().flat_map(|n| &n.types).any(|t| *t == whole)
    };
    assert!(stacked(ScanResiduals::Save));
    assert!(!stacked(ScanResiduals::Checkpoint));
}

#[test]
fn only_states_that_matter_are_carried_backwards() {
    let (module, function) = module_of(|b| {
        let x = float(b, "x", &[("s", length())]);
        let zero = b.constant(0.0, DType::F32);
        let results = scan(b, Direction::Forward, (2, 1), &[zero, zero, x], |b, x| {
            // The second state is only looked at through a detach.
            let seen = b.detach(x[1]);
            let first = b.mul(seen, x[2]);
            let first = b.add(x[0], first);
            let second = b.add(x[1], x[2]);
            vec![first, second]
        });
        b.output("loss", results[0]);
    });
    let (derived, id) = gradient(&module, function, &Options::default()).unwrap();
    let reverse = scans(&derived[id].graph).into_iter().find(|s| s.direction == Direction::Reverse).unwrap();
    assert_eq!(reverse.states, 1);
}

#[test]
fn nested_loops() {
    let (module, function) = module_of(|b| {
        let x = float(b, "x", &[("s", length()), ("t", Size::symbol("t"))]);
        let w = float(b, "w", &[]);
        let zero = b.constant(0.5, DType::F32);
        let results = scan(b, Direction::Forward, (1, 1), &[zero, x, w], |b, x| {
            let mut inner = Builder::body(b.axes().clone());
            let state = inner.argument("state", DType::F32, &[]);
            let element = inner.argument("element", DType::F32, &[]);
            let w = inner.argument("w", DType::F32, &[]);
            let next = inner.mul(state, w);
            let next = inner.add(next, element);
            let next = inner.tanh(next);
            inner.output("state", next);
            inner.output("all", next);
            let body = inner.finish_pass();
            let inner =
                Scan { axis: "t".into(), direction: Direction::Reverse, states: 1, sequences: 1, body };
            let results = b.scan(inner, &[x[0], x[1], x[2]]);
            vec![results[0], results[1]]
        });
        b.output("end", results[0]);
        b.output("all", results[1]);
        let loss = b.sum(results[1], axes(&["s", "t"]));
        b.output("loss", loss);
    });
    let mut r = Numbers::new(4);
    for (s, t) in [(3, 4), (5, 1), (0, 2)] {
        let inputs = [r.tensor(&[s, t], -1.0, 1.0), r.tensor(&[], 0.2, 0.9)];
        for scans in [ScanResiduals::Save, ScanResiduals::Checkpoint] {
            check("nested", &module, function, &inputs, &options(scans));
            check_loss("nested", &module, function, &inputs, &options(scans));
        }
    }
}

#[test]
fn the_gradient_of_a_gradient_goes_through_loops() {
    let (module, function) = slstm(Direction::Forward);
    let by = Options { wrt: Some(vec!["r".into(), "z".into()]), ..Options::default() };
    let (module, first) = value_and_gradient(&module, function, "loss", &by).unwrap();
    check("second order", &module, first, &slstm_inputs(4), &Options::default());
}

/// What a step contracts is yielded, not contracted again.
#[test]
fn the_reverse_loop_repeats_no_contraction_of_the_forward_one() {
    let (module, function) = slstm(Direction::Forward);
    let (derived, id) = gradient(&module, function, &Options::default()).unwrap();
    let reverse = scans(&derived[id].graph).into_iter().find(|s| s.direction == Direction::Reverse).unwrap();
    let weight = |v: &ValueId| reverse.body.ty(*v).axes == axes(&["d", "e"]);
    let products = reverse.body.nodes.iter().filter(|n| n.operands.iter().any(weight));
    assert_eq!(products.count(), 1, "only the cotangent goes through the weight");
}
