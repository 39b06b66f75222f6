//! Loops, calls, the boundary, and the observer.

use carousel_ir::DType::{F32, I32};
use carousel_ir::{
    Axes, Axis, AxisTable, Builder, Direction, Function, FunctionId, FunctionKind, Graph, Module, OpKind,
    Residuals, Scan, Size, verify,
};
use carousel_reference::{EvalError, NonFinite, Settings, Tensor, evaluate, evaluate_with};

fn function(name: &str, graph: Graph) -> Function {
    Function { name: name.into(), kind: FunctionKind::Block, residuals: Residuals::Save, graph }
}

fn push(module: &mut Module, name: &str, graph: Graph) -> FunctionId {
    let id = module.push(function(name, graph));
    assert_eq!(verify(module), []);
    id
}

fn table(axes: &[(&str, Size)]) -> AxisTable {
    let mut table = AxisTable::default();
    axes.iter().for_each(|(name, size)| assert!(table.declare(Axis::new(name), size.clone()).is_none()));
    table
}

/// `c' = w c + x`, yields `c`, before the step, with its axes turned round.
fn recurrence(direction: Direction) -> Module {
    let axes = table(&[("s", Size::symbol("s")), ("a", Size::Known(2)), ("b", Size::Known(2))]);
    let [s, a, b_axis] = ["s", "a", "b"].map(Axis::new);
    let mut body = Builder::body(axes.clone());
    let c = body.argument("c", F32, &[a, b_axis]);
    let x = body.argument("x", F32, &[b_axis]);
    let w = body.argument("w", F32, &[]);
    let decayed = body.mul(w, c);
    let next = body.add(x, decayed);
    body.output("c", next);
    body.output("old", c);
    let scan = Scan { axis: s, direction, states: 1, sequences: 1, body: body.finish_pass() };

    let mut module = Module::default();
    let mut b = Builder::with_axes(&module, axes);
    let start = b.argument("start", F32, &[b_axis, a]);
    // The scan's axis stands behind another one.
    let xs = b.argument("x", F32, &[b_axis, s]);
    let w = b.argument("w", F32, &[]);
    let results = b.scan(scan, &[start, xs, w]);
    b.output("last", results[0]);
    b.output_as("old", results[1], Axes::new([s, b_axis, a]));
    let graph = b.finish_pass();
    push(&mut module, "recurrence", graph);
    module
}

fn run(module: &Module, steps: usize, x: &[f64]) -> Vec<Vec<f64>> {
    let inputs: [Tensor<f64>; 3] = [
        Tensor::floats(&[2, 2], [1.0, 2.0, 3.0, 4.0]),
        Tensor::floats(&[2, steps], x.iter().copied()),
        Tensor::scalar(10.0),
    ];
    let outputs = evaluate(module, FunctionId(0), &inputs).expect("the inputs fit");
    assert_eq!(outputs[1].shape, [steps, 2, 2]);
    outputs.iter().map(Tensor::to_f64).collect()
}

#[test]
fn scans_run_in_both_directions() {
    let x = [1.0, 2.0, 5.0, 6.0];
    let forward = run(&recurrence(Direction::Forward), 2, &x);
    // start as [a, b] is [[1, 3], [2, 4]]; x is [1, 5] at step 0 and [2, 6] at step 1.
    assert_eq!(forward[0], [112.0, 356.0, 212.0, 456.0]);
    assert_eq!(forward[1], [1.0, 2.0, 3.0, 4.0, 11.0, 21.0, 35.0, 45.0]);
    let reverse = run(&recurrence(Direction::Reverse), 2, &x);
    assert_eq!(reverse[0], [121.0, 365.0, 221.0, 465.0]);
    assert_eq!(reverse[1], [12.0, 22.0, 36.0, 46.0, 1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn scans_of_length_one_and_zero() {
    let one = run(&recurrence(Direction::Reverse), 1, &[1.0, 5.0]);
    assert_eq!(one, [[11.0, 35.0, 21.0, 45.0], [1.0, 2.0, 3.0, 4.0]]);
    let none = run(&recurrence(Direction::Forward), 0, &[]);
    assert_eq!(none[0], [1.0, 3.0, 2.0, 4.0]);
    assert_eq!(none[1], []);
}

#[test]
fn nested_scans_see_both_indices() {
    let axes = table(&[("s", Size::Known(2)), ("t", Size::symbol("t"))]);
    let [s, t] = ["s", "t"].map(Axis::new);
    let mut inner = Builder::body(axes.clone());
    let sum = inner.argument("sum", F32, &[]);
    let x = inner.argument("x", F32, &[]);
    let next = inner.add(sum, x);
    inner.output("sum", next);
    let inner =
        Scan { axis: t, direction: Direction::Forward, states: 1, sequences: 1, body: inner.finish_pass() };
    let mut outer = Builder::body(axes.clone());
    let sum = outer.argument("sum", F32, &[]);
    let row = outer.argument("row", F32, &[t]);
    let doubled = outer.add(sum, sum);
    let next = outer.scan(inner, &[doubled, row]);
    outer.output("sum", next[0]);
    let outer =
        Scan { axis: s, direction: Direction::Forward, states: 1, sequences: 1, body: outer.finish_pass() };
    let mut module = Module::default();
    let mut b = Builder::with_axes(&module, axes);
    let x = b.argument("x", F32, &[s, t]);
    let zero = b.constant(0.0, F32);
    let sums = b.scan(outer, &[zero, x]);
    b.output("sum", sums[0]);
    let graph = b.finish_pass();
    let f = push(&mut module, "f", graph);
    let x: Tensor<f64> = Tensor::floats(&[2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(evaluate(&module, f, &[x]).expect("the input fits")[0].to_f64(), [27.0]);
}

/// `weighted(x, w) = (sum[s](w x), w)`, called twice.
#[test]
fn calls_bind_sizes_and_orders() {
    let [s, d] = ["s", "d"].map(Axis::new);
    let mut module = Module::default();
    let mut b = Builder::with_axes(&module, table(&[("s", Size::symbol("n")), ("d", Size::symbol("d"))]));
    let x = b.argument("x", F32, &[s, d]);
    let w = b.argument("w", F32, &[s]);
    let product = b.mul(w, x);
    let sum = b.sum(product, s.into());
    b.output("sum", sum);
    b.output_as("x", x, Axes::new([d, s]));
    let graph = b.finish_pass();
    let callee = push(&mut module, "weighted", graph);

    let mut b = Builder::with_axes(&module, table(&[("s", Size::symbol("m")), ("d", Size::Known(3))]));
    let x = b.argument("x", F32, &[d, s]);
    let w = b.argument("w", F32, &[s]);
    let first = b.call(callee, &[x, w]);
    let second = b.call(callee, &[first[1], w]);
    let total = b.add(first[0], second[0]);
    b.output("total", total);
    b.output("x", second[1]);
    let graph = b.finish_pass();
    let caller = push(&mut module, "twice", graph);
    let x: Tensor<f64> = Tensor::floats(&[3, 2], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let w = Tensor::floats(&[2], [1.0, 10.0]);
    let outputs = evaluate(&module, caller, &[x.clone(), w]).expect("the inputs fit");
    assert_eq!(outputs[0].to_f64(), [42.0, 86.0, 130.0]);
    assert_eq!(outputs[1], x);
}

#[test]
fn a_product_with_another_user_is_kept() {
    let mut module = Module::default();
    let mut b = Builder::with_axes(&module, table(&[("s", Size::symbol("s"))]));
    let x = b.argument("x", F32, &[Axis::new("s")]);
    let squares = b.mul(x, x);
    let sum = b.sum(squares, Axis::new("s").into());
    let share = b.div(squares, sum);
    b.output("share", share);
    let graph = b.finish_pass();
    let f = push(&mut module, "f", graph);
    let x: Tensor<f32> = Tensor::floats(&[2], [1.0, 3.0]);
    let share = evaluate(&module, f, &[x]).expect("the input fits")[0].to_f64();
    assert!((share[0] - 0.1).abs() < 1e-7 && (share[1] - 0.9).abs() < 1e-7);
}

#[test]
fn inputs_are_checked() {
    let module = recurrence(Direction::Forward);
    let start: Tensor<f64> = Tensor::floats(&[2, 2], [0.0; 4]);
    let (x, w) = (Tensor::floats(&[2, 3], [0.0; 6]), Tensor::scalar(0.0));
    let error =
        |inputs: &[Tensor<f64>]| evaluate(&module, FunctionId(0), inputs).expect_err("they do not fit");
    assert!(matches!(error(std::slice::from_ref(&start)), EvalError::InputCount { wanted: 3, found: 1, .. }));
    let flat = Tensor::floats(&[6], [0.0; 6]);
    assert!(matches!(error(&[start.clone(), flat, w.clone()]), EvalError::InputShape { .. }));
    let wide = Tensor::floats(&[3, 3], [0.0; 9]);
    let message = error(&[start.clone(), wide, w.clone()]).to_string();
    assert_eq!(message, "axis `b` of input `x` has size 3, but it must be 2");
    let integers = Tensor::integers(&[], [1]);
    assert!(matches!(error(&[start, x, integers]), EvalError::InputDType { wanted: F32, .. }));
}

#[test]
fn sizes_that_no_input_tells_must_be_given() {
    let mut module = Module::default();
    let mut b = Builder::with_axes(&module, table(&[("t", Size::symbol("n").ceil_sqrt())]));
    let index = b.iota(Axis::new("t"));
    let sum = b.sum(index, Axis::new("t").into());
    assert_eq!(b.ty(sum).dtype, I32);
    b.output("sum", sum);
    let graph = b.finish_pass();
    let f = push(&mut module, "f", graph);
    let error = evaluate::<f64>(&module, f, &[]).expect_err("n is unknown");
    assert_eq!(error.to_string(), "axis `t` has size ceil_sqrt(n), and no input tells what that is");
    let settings = Settings::<f64> { sizes: [("n".into(), 10)].into(), observer: None };
    assert_eq!(evaluate_with(&module, f, &[], settings).expect("n is given")[0].to_f64(), [6.0]);
}

#[test]
fn the_first_non_finite_value_is_found() {
    let module = recurrence(Direction::Reverse);
    let inputs: [Tensor<f32>; 3] =
        [Tensor::floats(&[2, 2], [1.0; 4]), Tensor::floats(&[2, 4], [0.0; 8]), Tensor::scalar(1e20)];
    let mut first = None;
    let mut observer =
        |observed: carousel_reference::Observed<'_, f32>| NonFinite::note(&mut first, &observed);
    let settings = Settings { observer: Some(&mut observer), ..Settings::default() };
    evaluate_with(&module, FunctionId(0), &inputs, settings).expect("the inputs fit");
    let first = first.expect("1e40 is beyond f32");
    assert_eq!((first.op, first.steps.as_slice()), (OpKind::Mul, [(Axis::new("s"), 2)].as_slice()));
    assert_eq!(first.to_string(), "`mul` in `recurrence` is not finite, at s = 2");
}
