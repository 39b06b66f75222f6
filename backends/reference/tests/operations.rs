//! Every operation on small tensors with results worked out by hand. `every_operation_has_a_row` fails when a new
//! operation has none.

use carousel_ir::DType::{Bf16, Bool, F16, F32, I32, U32};
use carousel_ir::Direction::{Forward, Reverse};
use carousel_ir::{
    Axes, Axis, Builder, DType, Edge, Function, FunctionKind, Line, Module, Op, OpKind, Read, Residuals,
    Size, ValueId,
};
use carousel_reference::{EvalError, Tensor, evaluate};
use std::f64::consts::LN_2;

type Input = (DType, &'static [&'static str], &'static [f64]);

/// One operation applied to all inputs.
struct Row {
    op: Op,
    inputs: &'static [Input],
    /// Axes of the result in order, and its elements.
    result: (&'static [&'static str], &'static [f64]),
}

const SIZES: [(&str, u64); 9] =
    [("a", 2), ("b", 3), ("b2", 3), ("c", 6), ("d", 5), ("e", 0), ("one", 1), ("f", 4), ("g", 1)];

fn size(axis: &str) -> usize {
    SIZES.iter().find(|(name, _)| *name == axis).map_or(0, |(_, size)| *size as usize)
}

fn tensor(&(dtype, axes, values): &Input) -> Tensor<f64> {
    let shape: Vec<usize> = axes.iter().map(|a| size(a)).collect();
    match dtype {
        DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => Tensor::floats(&shape, values.iter().copied()),
        DType::I32 | DType::U32 => Tensor::integers(&shape, values.iter().map(|&x| x as i64)),
        DType::Bool => Tensor::bools(&shape, values.iter().map(|&x| x != 0.0)),
    }
}

/// The axes and the elements of one operation's result.
fn apply(op: &Op, inputs: &[Input]) -> Result<(Vec<Axis>, Vec<f64>), EvalError> {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    for (name, size) in SIZES {
        b.axis(name, Size::Known(size));
    }
    let operands: Vec<ValueId> = inputs
        .iter()
        .enumerate()
        .map(|(i, (dtype, axes, _))| {
            let axes: Vec<Axis> = axes.iter().map(|a| Axis::new(a)).collect();
            b.argument(&format!("x{i}"), *dtype, &axes)
        })
        .collect();
    let result = b.push(op.clone(), &operands);
    b.output("result", result);
    let axes = b.ty(result).axes.iter().collect();
    let module = module(b);
    let inputs: Vec<Tensor<f64>> = inputs.iter().map(tensor).collect();
    let result = evaluate(&module, module.find("f").expect("it was just made"), &inputs)?;
    Ok((axes, result[0].to_f64()))
}

fn module(b: Builder<'_>) -> Module {
    let graph = b.finish().expect("the operation accepts its operands");
    let (kind, residuals) = (FunctionKind::Fn, Residuals::Save);
    let module = Module { functions: vec![Function { name: "f".into(), kind, residuals, graph }] };
    assert_eq!(carousel_ir::verify(&module), []);
    module
}

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

fn axes(names: &[&str]) -> Axes {
    names.iter().map(|a| Axis::new(a)).collect()
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let row = |op, inputs, result| Row { op, inputs, result };
    let (a, b, c) = (Axis::new("a"), Axis::new("b"), Axis::new("c"));

    vec![
        row(Op::Const { value: 2.5.into(), dtype: F32 }, &[], (&[], &[2.5])),
        row(Op::Const { value: 1.0.into(), dtype: Bool }, &[], (&[], &[1.0])),
        row(Op::Const { value: (-1.0).into(), dtype: I32 }, &[], (&[], &[-1.0])),
        row(Op::SizeOf { axis: b, dtype: F32 }, &[], (&[], &[3.0])),
        row(Op::Iota { axis: b }, &[], (&["b"], &[0.0, 1.0, 2.0])),

        row(Op::Neg, &[(F32, &["a"], &[1.0, -2.0])], (&["a"], &[-1.0, 2.0])),
        row(Op::Neg, &[(U32, &["a"], &[1.0, 0.0])], (&["a"], &[4294967295.0, 0.0])),
        row(Op::Abs, &[(F32, &["b"], &[1.5, -2.0, NAN])], (&["b"], &[1.5, 2.0, NAN])),
        row(Op::Abs, &[(I32, &["a"], &[-7.0, -2147483648.0])], (&["a"], &[7.0, -2147483648.0])),
        row(Op::Sign, &[(F32, &["f"], &[1.5, -2.0, NAN, 0.0])], (&["f"], &[1.0, -1.0, NAN, 0.0])),
        row(Op::Floor, &[(F32, &["f"], &[1.5, -2.5, NAN, -INF])], (&["f"], &[1.0, -3.0, NAN, -INF])),
        row(Op::Ceil, &[(F32, &["f"], &[1.5, -2.5, -1e30, 3.0])], (&["f"], &[2.0, -2.0, -1e30, 3.0])),
        row(Op::Exp, &[(F32, &["b"], &[0.0, 1.0, -INF])], (&["b"], &[1.0, std::f64::consts::E, 0.0])),
        row(Op::Log, &[(F32, &["b"], &[1.0, 0.0, -1.0])], (&["b"], &[0.0, -INF, NAN])),
        row(Op::Log1p, &[(F32, &["a"], &[1e-20, -1.0])], (&["a"], &[1e-20, -INF])),
        row(Op::Sqrt, &[(F32, &["a"], &[9.0, -1.0])], (&["a"], &[3.0, NAN])),
        row(Op::Tanh, &[(F32, &["a"], &[0.75, 100.0])], (&["a"], &[0.6351489523872873, 1.0])),
        row(Op::Sigmoid, &[(F32, &["b"], &[0.5, -1000.0, 1000.0])], (&["b"], &[0.6224593312018546, 0.0, 1.0])),
        row(Op::Logsigmoid, &[(F32, &["b"], &[-0.5, -1000.0, 1000.0])], (&["b"], &[-0.9740769841801067, -1000.0, 0.0])),
        row(Op::Erf, &[(F32, &["a"], &[0.75, -0.75])], (&["a"], &[0.7111556336535151, -0.7111556336535151])),
        row(Op::Not, &[(Bool, &["a"], &[1.0, 0.0])], (&["a"], &[0.0, 1.0])),
        row(Op::Cast { dtype: I32 }, &[(F32, &["f"], &[-1.7, 1.7, 3e9, NAN])], (&["f"], &[-1.0, 1.0, 2147483647.0, 0.0])),
        row(Op::Cast { dtype: U32 }, &[(I32, &["a"], &[-1.0, 5.0])], (&["a"], &[4294967295.0, 5.0])),
        row(Op::Cast { dtype: F32 }, &[(Bool, &["a"], &[1.0, 0.0])], (&["a"], &[1.0, 0.0])),
        row(Op::Cast { dtype: Bool }, &[(F32, &["b"], &[0.5, 0.0, -0.0])], (&["b"], &[1.0, 0.0, 0.0])),
        row(Op::Cast { dtype: Bf16 }, &[(F32, &["a"], &[1.02, 1.00390625])], (&["a"], &[1.0234375, 1.0])),
        row(Op::Detach, &[(F32, &["a"], &[1.0, -2.0])], (&["a"], &[1.0, -2.0])),

        row(Op::Add, &[(F32, &["a"], &[1.0, 2.0]), (F32, &["b"], &[10.0, 20.0, 30.0])], (&["a", "b"], &[11.0, 21.0, 31.0, 12.0, 22.0, 32.0])),
        row(Op::Add, &[(I32, &["a"], &[2147483647.0, 2.0]), (I32, &[], &[1.0])], (&["a"], &[-2147483648.0, 3.0])),
        row(Op::Cast { dtype: F16 }, &[(F32, &["a"], &[1.02, 70000.0])], (&["a"], &[1.01953125, f64::INFINITY])),
        row(Op::Add, &[(Bf16, &[], &[1.0]), (Bf16, &[], &[0.00390625])], (&[], &[1.0])),
        row(Op::Sub, &[(F32, &["b", "a"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), (F32, &["a", "b"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], (&["b", "a"], &[0.0, -2.0, 1.0, -1.0, 2.0, 0.0])),
        row(Op::Mul, &[(F32, &["a"], &[1.0, 2.0]), (F32, &["a"], &[3.0, 4.0])], (&["a"], &[3.0, 8.0])),
        row(Op::Div, &[(F32, &["a"], &[1.0, 0.0]), (F32, &["a"], &[0.0, 4.0])], (&["a"], &[INF, 0.0])),
        row(Op::Div, &[(I32, &["a"], &[-7.0, 7.0]), (I32, &[], &[2.0])], (&["a"], &[-3.0, 3.0])),
        row(Op::Min, &[(F32, &["b"], &[1.0, NAN, 3.0]), (F32, &["b"], &[2.0, 1.0, NAN])], (&["b"], &[1.0, NAN, NAN])),
        row(Op::Max, &[(F32, &["b"], &[1.0, NAN, 3.0]), (F32, &["b"], &[2.0, 1.0, NAN])], (&["b"], &[2.0, NAN, NAN])),
        row(Op::Max, &[(I32, &["a"], &[1.0, -5.0]), (I32, &[], &[0.0])], (&["a"], &[1.0, 0.0])),
        row(Op::Eq, &[(F32, &["b"], &[1.0, NAN, 3.0]), (F32, &["b"], &[1.0, NAN, 2.0])], (&["b"], &[1.0, 0.0, 0.0])),
        row(Op::Ne, &[(F32, &["b"], &[1.0, NAN, 3.0]), (F32, &["b"], &[1.0, NAN, 2.0])], (&["b"], &[0.0, 1.0, 1.0])),
        row(Op::Lt, &[(I32, &["b"], &[1.0, 2.0, 3.0]), (I32, &[], &[2.0])], (&["b"], &[1.0, 0.0, 0.0])),
        row(Op::Le, &[(F32, &["b"], &[1.0, 2.0, NAN]), (F32, &[], &[2.0])], (&["b"], &[1.0, 1.0, 0.0])),
        row(Op::And, &[(Bool, &["a"], &[1.0, 0.0]), (Bool, &[], &[1.0])], (&["a"], &[1.0, 0.0])),
        row(Op::Or, &[(Bool, &["a"], &[1.0, 0.0]), (Bool, &[], &[0.0])], (&["a"], &[1.0, 0.0])),
        row(Op::Select, &[(Bool, &["a"], &[1.0, 0.0]), (F32, &["b"], &[1.0, 2.0, 3.0]), (F32, &[], &[9.0])], (&["a", "b"], &[1.0, 2.0, 3.0, 9.0, 9.0, 9.0])),

        row(Op::Sum { axes: a.into() }, &[(F32, &["a", "b"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], (&["b"], &[5.0, 7.0, 9.0])),
        row(Op::Sum { axes: axes(&["b", "a"]) }, &[(I32, &["a", "b"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], (&[], &[21.0])),
        row(Op::Sum { axes: axes(&["e"]) }, &[(F32, &["a", "e"], &[])], (&["a"], &[0.0, 0.0])),
        row(Op::ReduceMax { axes: b.into() }, &[(F32, &["b", "a"], &[1.0, NAN, 7.0, 4.0, 5.0, 6.0])], (&["a"], &[7.0, NAN])),
        row(Op::ReduceMax { axes: axes(&["e"]) }, &[(I32, &["e"], &[])], (&[], &[-2147483648.0])),
        row(Op::Dot { axes: b.into() }, &[(F32, &["a", "b"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), (F32, &["b"], &[1.0, 10.0, 100.0])], (&["a"], &[321.0, 654.0])),
        row(Op::Dot { axes: axes(&["a", "b"]) }, &[(F32, &["a"], &[1.0, 2.0]), (F32, &["b"], &[1.0, 10.0, 100.0])], (&[], &[333.0])),

        row(Op::CumSum { axis: b, direction: Forward }, &[(F32, &["b", "a"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], (&["b", "a"], &[1.0, 2.0, 4.0, 6.0, 9.0, 12.0])),
        row(Op::CumSum { axis: b, direction: Reverse }, &[(I32, &["b"], &[1.0, 2.0, 3.0])], (&["b"], &[6.0, 5.0, 3.0])),
        row(Op::CumMax { axis: b, direction: Forward }, &[(F32, &["b"], &[2.0, 1.0, 3.0])], (&["b"], &[2.0, 2.0, 3.0])),
        row(Op::CumMax { axis: b, direction: Reverse }, &[(F32, &["b"], &[2.0, NAN, 1.0])], (&["b"], &[NAN, NAN, 1.0])),

        row(Op::Rename { from: b, to: "b2".into() }, &[(F32, &["b"], &[1.0, 2.0, 3.0])], (&["b2"], &[1.0, 2.0, 3.0])),
        row(Op::Split { axis: c, into: axes(&["b", "a"]) }, &[(F32, &["c"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], (&["b", "a"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        row(Op::Merge { axes: axes(&["b", "a"]), into: c }, &[(F32, &["a", "b"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], (&["c"], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0])),
        row(Op::Merge { axes: axes(&["a", "b"]), into: c }, &[(I32, &["a", "one", "b"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], (&["one", "c"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        row(Op::Broadcast { axes: a.into() }, &[(Bool, &["b"], &[1.0, 0.0, 1.0])], (&["a", "b"], &[1.0, 0.0, 1.0, 1.0, 0.0, 1.0])),
        row(Op::Slice { axis: b, to: a, start: Size::Known(1) }, &[(F32, &["one", "b"], &[1.0, 2.0, 3.0])], (&["one", "a"], &[2.0, 3.0])),
        row(Op::Slice { axis: b, to: "e".into(), start: Size::Known(3) }, &[(F32, &["b"], &[1.0, 2.0, 3.0])], (&["e"], &[])),
        row(Op::Pad { axis: b, to: "d".into(), before: Size::Known(1) }, &[(F32, &["b"], &[1.0, 2.0, 3.0])], (&["d"], &[0.0, 1.0, 2.0, 3.0, 0.0])),
        row(Op::Concat { axes: vec![b, a], to: "d".into() }, &[(F32, &["one", "b"], &[1.0, 2.0, 3.0]), (F32, &["a", "one"], &[4.0, 5.0])], (&["one", "d"], &[1.0, 2.0, 3.0, 4.0, 5.0])),
        row(Op::Shift { axis: b, by: 1 }, &[(F32, &["b", "a"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], (&["b", "a"], &[0.0, 0.0, 1.0, 2.0, 3.0, 4.0])),
        row(Op::Shift { axis: b, by: -2 }, &[(F32, &["a", "b"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], (&["a", "b"], &[3.0, 0.0, 0.0, 6.0, 0.0, 0.0])),
        row(Op::Shift { axis: b, by: i64::MIN }, &[(F32, &["b"], &[1.0, 2.0, 3.0])], (&["b"], &[0.0, 0.0, 0.0])),

        row(Op::Gather { axis: b }, &[(F32, &["b", "a"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), (I32, &["one"], &[2.0])], (&["one", "a"], &[5.0, 6.0])),
        row(Op::Gather { axis: b }, &[(F32, &["a", "b"], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), (U32, &["a"], &[0.0, 2.0])], (&["a"], &[1.0, 6.0])),
        row(Op::ScatterAdd { axis: a, over: b.into() }, &[(F32, &["b"], &[1.0, 2.0, 4.0]), (I32, &["b"], &[1.0, 0.0, 1.0])], (&["a"], &[2.0, 5.0])),
        row(Op::ScatterAdd { axis: a, over: b.into() }, &[(F32, &["one"], &[3.0]), (I32, &["b"], &[1.0, 0.0, 1.0])], (&["a", "one"], &[3.0, 6.0])),

        // Two steps along a with decays 1/2 and 1/4, of which the first is cut; they write 2 and 3, and read all of it twice.
        row(Op::LinReadDecay { axis: a, direction: Forward, edge: Edge::Before, read: Read::New, key: Axes::none() }, &[
            (F32, &["a"], &[2.0, 2.0]), (F32, &["a"], &[1.0, 1.0]), (F32, &["a"], &[2.0, 3.0]), (F32, &["a"], &[-LN_2, -2.0 * LN_2]),
            (Bool, &["a"], &[1.0, 0.0]), (F32, &[], &[7.0]), (F32, &["a"], &[1.0, 10.0]), (F32, &[], &[5.0]),
        ], (&["a"], &[0.0, 12.5])),

        // Two steps along a with decays 1 and 1/2: the memory that the first leaves, 2 times 3, is read by the second 5 times.
        row(Op::LinSolve { axis: a, direction: Forward, edge: Edge::Before, key: Axes::none(), rank: Axes::none() }, &[
            (F32, &["a"], &[4.0, 5.0]), (F32, &["a"], &[2.0, 9.0]), (F32, &["a"], &[3.0, 1.0]), (F32, &["a"], &[0.0, -LN_2]),
            (Bool, &["a"], &[0.0, 0.0]),
        ], (&["a"], &[3.0, 31.0])),

        // Independently drawn: the known answers of the generator are tested beside it.
        row(Op::FoldIn { number: 0 }, &[(U32, &[], &[0.0])], (&[], &[0x6627_e8d5u32 as f64])),
    ]
}

#[test]
fn every_row_holds() {
    for Row { op, inputs, result: (names, expected) } in rows() {
        let (axes, values) = apply(&op, inputs).unwrap_or_else(|e| panic!("{op:?}: {e}"));
        assert_eq!(axes, names.iter().map(|a| Axis::new(a)).collect::<Vec<_>>(), "{op:?}");
        assert_eq!(values.len(), expected.len(), "{op:?}");
        for (a, b) in values.iter().zip(expected) {
            let near = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-15 * b.abs();
            assert!(near, "{op:?} of {inputs:?} is {values:?}, not {expected:?}");
        }
    }
}

#[test]
fn every_operation_has_a_row() {
    let rows = rows();
    for kind in OpKind::ALL {
        let elsewhere = matches!(
            kind,
            OpKind::Input | OpKind::Scan | OpKind::Call | OpKind::Proj | OpKind::Uniform | OpKind::LinRead
        );
        let found = rows.iter().any(|r| r.op.kind() == *kind);
        assert!(found != elsewhere, "`{kind}` is {}", if found { "here too" } else { "nowhere" });
    }
}

#[test]
fn uniform_numbers_follow_the_declared_order() {
    let scalar = |value| -> Input { (U32, &[], value) };
    let draw = |axes_: &[&str]| {
        let op = Op::Uniform { stream: "dropout".into(), axes: axes(axes_) };
        apply(&op, &[scalar(&[7.0]), scalar(&[3.0])]).expect("there is nothing to go wrong").1
    };
    let values = draw(&["a", "b"]);
    assert!(values.iter().all(|x| (0.0..1.0).contains(x)) && values[0] != values[1]);
    assert_eq!(values, draw(&["c"]));
    let hash = carousel_ir::philox::stream_hash("dropout");
    assert_eq!(values[4], f64::from(carousel_ir::philox::uniform(7, hash, 3, 4)));
}

#[test]
fn linear_scans_read_before_and_after_they_write() {
    // A state \[k\] that starts at (1, 2); decays 1/2 and 1/4; each step writes (1, -1) times 2 and 3.
    let run = |edge, read, direction| {
        let empty = Module::default();
        let mut b = Builder::new(&empty);
        let (s, k) = (b.axis("s", Size::Known(2)), b.axis("k", Size::Known(2)));
        let q = b.argument("q", F32, &[s, k]);
        let x = b.argument("x", F32, &[k, s]);
        let [w, l] = ["w", "l"].map(|n| b.argument(n, F32, &[s]));
        let cut = b.argument("cut", Bool, &[s]);
        let start = b.argument("start", F32, &[k]);
        let line = Line { axis: s, direction, edge, read };
        let (y, last) = b.linread(&line, k.into(), [q, x, w, l, cut, start]);
        b.output("y", y);
        b.output("last", last);
        let module = module(b);
        let inputs: [Tensor<f64>; 6] = [
            Tensor::floats(&[2, 2], [1.0, 0.0, 10.0, 1.0]),
            Tensor::floats(&[2, 2], [1.0, 1.0, -1.0, -1.0]),
            Tensor::floats(&[2], [2.0, 3.0]),
            Tensor::floats(&[2], [-LN_2, -2.0 * LN_2]),
            Tensor::bools(&[2], [false, false]),
            Tensor::floats(&[2], [1.0, 2.0]),
        ];
        let results = evaluate(&module, module.find("f").unwrap(), &inputs).unwrap();
        [results[0].to_f64(), results[1].to_f64()].concat()
    };
    let (before, after) = (Edge::Before, Edge::After);
    // Forwards: states (2.5, -1), then (3.625, -3.25).
    assert_eq!(run(before, Read::New, Forward), [2.5, 33.0, 3.625, -3.25]);
    assert_eq!(run(before, Read::Old, Forward), [1.0, 24.0, 3.625, -3.25]);
    // Backwards: (3.25, -2.5), then (3.625, -3.25).
    assert_eq!(run(before, Read::New, Reverse), [3.625, 30.0, 3.625, -3.25]);
    // Forwards, decay last: (3, 0) to (1.5, 0), then (4.5, -3) to (1.125, -0.75).
    assert_eq!(run(after, Read::New, Forward), [3.0, 42.0, 1.125, -0.75]);
    assert_eq!(run(after, Read::Old, Forward), [1.0, 24.0, 3.625, -3.25]);
}

#[test]
fn data_that_does_not_fit_is_an_error() {
    let table: Input = (F32, &["b"], &[1.0, 2.0, 3.0]);
    let gather = Op::Gather { axis: "b".into() };
    for index in [&[3.0], &[-1.0]] {
        let error = apply(&gather, &[table, (I32, &[], index)]).expect_err("the index is out of range");
        assert!(matches!(error, EvalError::IndexOutOfRange { size: 3, .. }), "{error}");
        assert!(error.to_string().contains("axis `b`"), "{error}");
    }
    let one: Input = (I32, &[], &[1.0]);
    let error = apply(&Op::Div, &[one, (I32, &[], &[0.0])]).expect_err("the divisor is 0");
    assert!(matches!(error, EvalError::DivisionByZero { .. }));
}
