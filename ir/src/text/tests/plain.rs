//! The printed form, beyond what programs make.

use super::*;
use crate::{
    Axis, Builder, DType, Decay, Direction, Edge, Function, FunctionKind, Init, Line, Name, Node, Number, Op,
    Read, Residuals, Role, Scan, Size, Type, ValueId,
};

fn module_of(name: &str, builder: Builder<'_>) -> Module {
    let graph = builder.finish().unwrap_or_else(|d| panic!("{d:?}"));
    let mut module = Module::default();
    let (kind, residuals) = (FunctionKind::Block, Residuals::Recompute);
    module.push(Function { name: Name::new(name), kind, residuals, graph });
    module
}

#[test]
fn odd_names_and_composite_sizes_survive() {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let s = b.axis("let", Size::symbol("length of s"));
    let root = Size::symbol("length of s").ceil_sqrt();
    let k = b.axis("k", root.clone());
    let n = b.axis("blocks", Size::symbol("length of s").ceil_div(root));
    let whole = b.axis("w", Size::product([b.axes().size(k).clone(), b.axes().size(n).clone()]));
    let rest = b.axis("rest", b.axes().size(whole).clone().minus(Size::symbol("length of s")));
    let x = b.argument("mul.1", DType::F32, &[s]);
    let y = b.parameter(
        "a.b c`",
        DType::F32,
        &[rest],
        Init::Normal { mean: Number::new(-0.0), std: Number::new(1e-30) },
        Decay::No,
    );
    let z = b.parameter(
        "line",
        DType::F64,
        &[k],
        Init::Linspace { low: Number::new(3.0), high: Number::new(f64::INFINITY), axis: k },
        Decay::Yes,
    );
    let padded = b.pad(x, s, whole, Size::Known(0));
    let split = b.split(padded, whole, crate::Axes::new([n, k]));
    let squared = b.mul(split, split);
    b.name(squared, Name::new("x y"));
    let again = b.mul(squared, split);
    b.name(again, Name::new("x y"));
    let nan = b.constant(f64::NAN, DType::F32);
    let total = b.sum(again, crate::Axes::new([n, k]));
    let total = b.add(total, nan);
    let shifted = b.shift(x, s, -3);
    b.output("out put", total);
    b.output("y", y);
    b.output("z", z);
    b.output("shifted", shifted);
    let module = module_of("remat", b);
    assert!(verify(&module).is_empty(), "{:?}", verify(&module));
    round_trip(&module);
    let text = print(&module);
    assert!(
        text.contains("block `remat`(") && text.contains("ceil_div(`length of s`, ceil_sqrt(`length of s`))"),
        "{text}"
    );
}

#[test]
fn input_nodes_may_stand_anywhere_or_nowhere() {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let one = b.constant(1.0, DType::F32);
    let _unused = b.argument("unused", DType::F32, &[]);
    let x = b.argument("const.1", DType::F32, &[]);
    let y = b.add(one, x);
    b.output("y", y);
    let mut module = module_of("f", b);
    round_trip(&module);
    assert!(print(&module).contains("explicit"));
    // Without the node of the input that nothing uses.
    let graph = &mut module.functions[0].graph;
    graph.nodes.remove(1);
    for node in &mut graph.nodes {
        for operand in &mut node.operands {
            operand.0 -= u32::from(operand.0 > 1);
        }
    }
    graph.outputs[0].value.0 -= 1;
    assert!(verify(&module).is_empty());
    round_trip(&module);
}

#[test]
fn nested_loops_survive() {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let (s, t) = (b.axis("s", Size::symbol("s")), b.axis("t", Size::Known(3)));
    let x = b.argument("x", DType::F32, &[s, t]);
    let zero = b.constant(0.0, DType::F32);
    let mut inner = Builder::body(b.axes().clone());
    let state = inner.argument("state", DType::F32, &[]);
    let element = inner.argument("element", DType::F32, &[]);
    let next = inner.add(state, element);
    inner.output("state", next);
    let inner =
        Scan { axis: t, direction: Direction::Reverse, states: 1, sequences: 1, body: inner.finish_pass() };
    let mut outer = Builder::body(b.axes().clone());
    let state = outer.argument("state", DType::F32, &[]);
    let row = outer.argument("row", DType::F32, &[t]);
    let sums = outer.scan(inner, &[state, row]);
    outer.output("state", sums[0]);
    outer.output("sum", sums[0]);
    let outer =
        Scan { axis: s, direction: Direction::Forward, states: 1, sequences: 1, body: outer.finish_pass() };
    let results = b.scan(outer, &[zero, x]);
    b.output("last", results[0]);
    b.output("all", results[1]);
    let module = module_of("f", b);
    assert!(verify(&module).is_empty());
    round_trip(&module);
}

#[test]
fn every_operation_can_be_written() {
    // A node's text depends only on its attributes; those of each kind are covered here or by the programs.
    let axis = Axis::new("s");
    let axes = crate::Axes::from(axis);
    let scalars = |dtype| vec![(dtype, false)];
    let cases: Vec<(Op, Vec<(DType, bool)>)> = vec![
        (Op::Uniform { stream: Name::new("a b"), axes: axes.clone() }, vec![(DType::U32, false); 2]),
        (Op::FoldIn { number: u32::MAX }, scalars(DType::U32)),
        (Op::CumSum { axis, direction: Direction::Reverse }, vec![(DType::F32, true)]),
        (Op::CumMax { axis, direction: Direction::Forward }, vec![(DType::F32, true)]),
        (
            Op::ScatterAdd { axis: "t".into(), over: axes.clone() },
            vec![(DType::F32, true), (DType::I32, true)],
        ),
        (Op::Gather { axis }, vec![(DType::F32, true), (DType::I32, false)]),
        (Op::Dot { axes: axes.clone() }, vec![(DType::F32, true); 2]),
        (Op::ReduceMax { axes: axes.clone() }, vec![(DType::F32, true)]),
        (Op::Slice { axis, to: "t".into(), start: Size::Known(1) }, vec![(DType::F32, true)]),
        (Op::Concat { axes: vec![axis, axis], to: "w".into() }, vec![(DType::F32, true); 2]),
        (Op::Merge { axes: axes.clone(), into: "r".into() }, vec![(DType::F32, true)]),
        (Op::Rename { from: axis, to: "r".into() }, vec![(DType::F32, true)]),
        (Op::Broadcast { axes: axes.clone() }, scalars(DType::Bool)),
        (Op::Cast { dtype: DType::Bf16 }, scalars(DType::F32)),
        (Op::Cast { dtype: DType::F16 }, scalars(DType::F32)),
        (Op::SizeOf { axis, dtype: DType::F64 }, vec![]),
        (
            Op::LinReadDecay {
                axis,
                direction: Direction::Reverse,
                edge: Edge::After,
                read: Read::Old,
                key: crate::Axes::none(),
            },
            vec![
                (DType::F32, true),
                (DType::F32, true),
                (DType::F32, true),
                (DType::F32, true),
                (DType::Bool, true),
                (DType::F32, false),
                (DType::F32, true),
                (DType::F32, false),
            ],
        ),
        (
            Op::LinSolve {
                axis,
                direction: Direction::Forward,
                edge: Edge::Before,
                key: crate::Axes::none(),
                rank: crate::Axes::none(),
            },
            vec![
                (DType::F32, true),
                (DType::F32, true),
                (DType::F32, true),
                (DType::F32, true),
                (DType::Bool, true),
            ],
        ),
        (Op::Const { value: Number::new(-1.5e-300), dtype: DType::F64 }, vec![]),
    ];
    for (op, operands) in cases {
        let empty = Module::default();
        let mut b = Builder::new(&empty);
        b.axis("s", Size::Known(4));
        b.axis("r", Size::Known(4));
        b.axis("t", Size::Known(2));
        b.axis("w", Size::Known(8));
        let values: Vec<ValueId> = operands
            .iter()
            .enumerate()
            .map(|(i, (dtype, has_axis))| {
                b.argument(
                    &format!("x{i}"),
                    *dtype,
                    axes.as_slice().get(..usize::from(*has_axis)).unwrap_or_default(),
                )
            })
            .collect();
        let value = b.push(op, &values);
        b.output("y", value);
        let module = module_of("f", b);
        assert!(verify(&module).is_empty());
        round_trip(&module);
    }
}

#[test]
fn linear_scans_survive() {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let axes = ["s", "head size", "v"].map(|a| b.axis(a, Size::symbol(a)));
    let [s, k, v] = axes;
    let q = b.argument("q", DType::F32, &[s, k]);
    let w = b.argument("w", DType::F32, &[v, s]);
    let l = b.argument("l", DType::F32, &[s]);
    let cut = b.argument("cut", DType::Bool, &[s]);
    let start = b.argument("start", DType::F32, &[k, v]);
    for edge in [Edge::Before, Edge::After] {
        for read in [Read::New, Read::Old] {
            let line = Line { axis: s, direction: Direction::Forward, edge, read };
            let (y, last) = b.linread(&line, k.into(), [q, q, w, l, cut, start]);
            b.output(&format!("y {} {}", edge.name(), read.name()), y);
            b.output(&format!("last {} {}", edge.name(), read.name()), last);
        }
    }
    let module = module_of("f", b);
    assert!(verify(&module).is_empty());
    round_trip(&module);
    assert!(print(&module).contains("linread[s, forward, after, old, [`head size`]]("), "{}", print(&module));
}

#[test]
fn texts_that_contradict_themselves_are_refused() {
    let good = "fn f(x: f32[s]) {\n  let y: f32[s] = exp(x)\n  return (y: [s] = y)\n}\n";
    parse_module(good).unwrap_or_else(|f| panic!("{f}"));
    for (from, to, code) in [
        ("y: f32[s]", "y: f64[s]", "type"),
        ("exp(x)", "exp(z)", "name-unknown"),
        ("exp(x)", "exp(x, x)", "arity"),
        ("exp(x)", "cast(x)", "attributes"),
        ("exp(x)", "call[g](x)", "function-unknown"),
        ("exp(x)", "exq(x)", "syntax"),
        ("[s] = y)", "[t] = y)", "output"),
        ("}\n", "", "syntax"),
    ] {
        let failed = parse_module(&good.replace(from, to)).expect_err("it is refused");
        assert_eq!(failed.diagnostics[0].code, code, "{failed}");
    }
    let twice = good.repeat(2);
    assert_eq!(parse_module(&twice).expect_err("it is refused").diagnostics[0].code, "duplicate");
}

#[test]
fn roles_of_inputs_survive_in_bodies() {
    // Nothing says that a body's input must be an argument.
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let s = b.axis("s", Size::symbol("n"));
    let x = b.argument("x", DType::F32, &[s]);
    let mut body = Builder::body(b.axes().clone());
    let init = Init::Constant(Number::new(2.0));
    let e = body.input("e", Type::scalar(DType::F32), Role::Parameter { init, decay: Decay::Yes });
    let y = body.neg(e);
    body.output("y", y);
    let scan =
        Scan { axis: s, direction: Direction::Forward, states: 0, sequences: 1, body: body.finish_pass() };
    let results = b.scan(scan, &[x]);
    b.output("y", results[0]);
    let module = module_of("f", b);
    assert!(verify(&module).is_empty());
    round_trip(&module);
    let spans: Vec<&Node> = module.functions[0].graph.nodes.iter().collect();
    assert_eq!(spans.len(), 3);
}
