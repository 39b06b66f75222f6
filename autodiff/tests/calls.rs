//! Gradients through calls: blocks shared by several calls, nested calls, recomputation, clashing inner axes.

mod common;

use carousel_autodiff::{Options, gradient, value_and_gradient};
use carousel_ir::{Axes, DType, Direction, FunctionId, Module, Op, Residuals, Scan, Size};
use carousel_reference::Tensor;
use common::{Numbers, add, check, check_loss, cotangents, float, gradients, run};

fn axes(names: &[&str]) -> Axes {
    names.iter().map(|n| (*n).into()).collect()
}

/// A feed-forward block with an inner axis `e` of `width`, a random mask and a loop over s.
fn block(module: &mut Module, name: &str, width: u64, residuals: Residuals) -> FunctionId {
    add(module, name, residuals, |b| {
        let x = float(b, "x", &[("s", Size::symbol("s")), ("d", Size::Known(3))]);
        let up = float(b, "up", &[("d", Size::Known(3)), ("hidden", Size::Known(width))]);
        let seed = b.argument("seed", DType::U32, &[]);
        b.axis("e", Size::Known(width));
        let hidden = b.dot(x, up, axes(&["d"]));
        let hidden = b.rename(hidden, "hidden".into(), "e".into());
        let hidden = b.tanh(hidden);
        let mask = b.push(Op::Uniform { stream: "drop".into(), axes: axes(&["s", "e"]) }, &[seed, seed]);
        let hidden = b.mul(hidden, mask);
        let down = b.rename(up, "hidden".into(), "e".into());
        let back = b.dot(hidden, down, axes(&["e"]));
        let zero = b.constant(0.0, DType::F32);
        let start = b.broadcast(zero, &axes(&["d"]));
        let mut body = carousel_ir::Builder::body(b.axes().clone());
        let state = body.argument("state", DType::F32, &["d".into()]);
        let element = body.argument("element", DType::F32, &["d".into()]);
        let half = body.constant(0.5, DType::F32);
        let kept = body.mul(half, state);
        let square = body.mul(element, element);
        let next = body.add(kept, square);
        body.output("state", next);
        body.output("all", next);
        let body = body.finish_pass();
        let scan = Scan { axis: "s".into(), direction: Direction::Forward, states: 1, sequences: 1, body };
        let all = b.scan(scan, &[start, back])[1];
        let y = b.add(x, all);
        b.output_as("y", y, axes(&["s", "d"]));
        let norm = b.sum(hidden, axes(&["s", "e"]));
        b.output("norm", norm);
        b.output("unused", all);
    })
}

/// Layers of blocks with parameters of their own, the first parameter used twice, and an axis `e` of another size.
fn model(module: &mut Module, blocks: &[(FunctionId, u64)], residuals: Residuals) -> FunctionId {
    add(module, "model", residuals, |b| {
        let mut x = float(b, "x", &[("s", Size::symbol("s")), ("d", Size::Known(3))]);
        let seed = b.argument("seed", DType::U32, &[]);
        let mix = float(b, "mix", &[("e", Size::Known(7)), ("d", Size::Known(3))]);
        let product = b.dot(x, mix, axes(&["d"]));
        let product = b.dot(product, mix, axes(&["e"]));
        x = b.add(x, product);
        let mut norms = b.constant(0.0, DType::F32);
        for (n, (function, width)) in blocks.iter().enumerate() {
            let up =
                float(b, &format!("layer.{n}.up"), &[("d", Size::Known(3)), ("hidden", Size::Known(*width))]);
            let seed = b.push(Op::FoldIn { number: n as u32 }, &[seed]);
            let results = b.call(*function, &[x, up, seed]);
            x = results[0];
            norms = b.add(norms, results[1]);
        }
        b.output_as("y", x, axes(&["s", "d"]));
        let squares = b.mul(x, x);
        let total = b.sum(squares, axes(&["s", "d"]));
        let loss = b.add(total, norms);
        b.output("loss", loss);
    })
}

fn inputs(layers: usize, length: usize) -> Vec<Tensor<f64>> {
    let mut r = Numbers::new(8);
    let mut inputs = vec![r.tensor(&[length, 3], -1.0, 1.0), Tensor::integers(&[], [7])];
    inputs.push(r.tensor(&[7, 3], -0.3, 0.3));
    inputs.extend((0..layers).map(|_| r.tensor(&[3, 5], -0.7, 0.7)));
    inputs
}

fn layered(residuals: Residuals, layers: usize) -> (Module, FunctionId) {
    let mut module = Module::default();
    let block = block(&mut module, "block", 5, residuals);
    let function = model(&mut module, &vec![(block, 5); layers], Residuals::Save);
    (module, function)
}

#[test]
fn shared_blocks_agree_with_finite_differences() {
    for residuals in [Residuals::Save, Residuals::Recompute] {
        let (module, function) = layered(residuals, 3);
        for length in [0, 1, 5] {
            let what = format!("{residuals:?}, length {length}");
            check(&what, &module, function, &inputs(3, length), &Options::default());
            check_loss(&what, &module, function, &inputs(3, length), &Options::default());
            let checkpointed = common::options(carousel_autodiff::ScanResiduals::Checkpoint);
            check_loss(&what, &module, function, &inputs(3, length), &checkpointed);
        }
    }
}

#[test]
fn a_block_is_derived_once_whatever_the_depth() {
    let count = |layers| {
        let (module, function) = layered(Residuals::Save, layers);
        let (derived, _) = value_and_gradient(&module, function, "loss", &Options::default()).unwrap();
        derived.functions.len()
    };
    // The block, the model, the block's forward and backward functions, the model's gradient.
    assert_eq!(count(1), 5);
    assert_eq!(count(6), 5);
}

#[test]
fn recomputed_equals_saved_and_saves_nothing() {
    let (saved, f) = layered(Residuals::Save, 2);
    let (recomputed, g) = layered(Residuals::Recompute, 2);
    let inputs = inputs(2, 4);
    let given = cotangents(&saved, f, &inputs, &mut Numbers::new(2));
    let a = gradients(&saved, f, &inputs, &given, &Options::default());
    let b = gradients(&recomputed, g, &inputs, &given, &Options::default());
    assert_eq!(a, b);
    let (derived, _) = gradient(&recomputed, g, &Options::default()).unwrap();
    assert!(derived.find("block.fwd").is_none());
}

#[test]
fn inputs_and_random_masks_are_not_saved() {
    let (module, function) = layered(Residuals::Save, 1);
    let (derived, _) = gradient(&module, function, &Options::default()).unwrap();
    let forward = &derived[derived.find("block.fwd").unwrap()].graph;
    for output in forward.outputs.iter().filter(|o| o.name.as_str().starts_with("saved.")) {
        let op = &forward[output.value].op;
        assert!(!matches!(op, Op::Input { .. } | Op::Uniform { .. } | Op::Rename { .. }), "{op:?} is saved");
    }
}

#[test]
fn inner_axes_of_blocks_may_clash_and_calls_may_nest() {
    let mut module = Module::default();
    let narrow = block(&mut module, "narrow", 5, Residuals::Save);
    let group = model(&mut module, &[(narrow, 5), (narrow, 5)], Residuals::Save);
    let outer = add(&mut module, "outer", Residuals::Save, |b| {
        let x = float(b, "x", &[("s", Size::symbol("s")), ("d", Size::Known(3))]);
        let seed = b.argument("seed", DType::U32, &[]);
        let mix = float(b, "mix", &[("e", Size::Known(7)), ("d", Size::Known(3))]);
        let a = float(b, "a", &[("d", Size::Known(3)), ("hidden", Size::Known(5))]);
        let first = b.call(group, &[x, seed, mix, a, a]);
        let second = b.call(group, &[first[0], seed, mix, a, a]);
        let loss = b.mul(first[1], second[1]);
        b.output("loss", loss);
    });
    let mut inputs = inputs(1, 3);
    inputs[0] = Numbers::new(5).tensor(&[3, 3], -0.3, 0.3);
    inputs[3] = Numbers::new(6).tensor(&[3, 5], -0.3, 0.3);
    check_loss("nested calls", &module, outer, &inputs, &Options::default());
}

#[test]
fn the_gradient_of_a_gradient_goes_through_calls() {
    let (module, function) = layered(Residuals::Save, 1);
    let options = Options { wrt: Some(vec!["layer.0.up".into()]), ..Options::default() };
    let (module, first) = value_and_gradient(&module, function, "loss", &options).unwrap();
    let inputs = inputs(1, 2);
    assert_eq!(run(&module, first, &inputs).len(), 3);
    check("second order", &module, first, &inputs, &Options::default());
}
