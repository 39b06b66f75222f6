//! Every operation's gradient against finite differences over its domain, with operands that broadcast both ways,
//! with full cotangents and with narrow ones.

mod common;

use carousel_autodiff::{Options, ScanResiduals, value_and_gradient};
use carousel_ir::{
    Axes, Builder, DType, Direction, Domain, Edge, Line, Op, OpKind, Read, Residuals, Scan, Size, ValueId,
};
use carousel_reference::Tensor;
use common::{Numbers, add, check, check_loss, float, module_of, run};

/// An expression of x: \[i, j\] and y: \[j, k\].
type Row = fn(&mut Builder<'_>, ValueId, ValueId) -> ValueId;

fn axes(names: &[&str]) -> Axes {
    names.iter().map(|n| (*n).into()).collect()
}

/// The index along k, made i32, as an address into an axis of at least 2.
fn index(b: &mut Builder<'_>) -> ValueId {
    b.iota("k".into())
}

/// Adds the float of a truth value to x, so that there is something to differentiate.
fn beside(b: &mut Builder<'_>, x: ValueId, condition: ValueId) -> ValueId {
    let number = b.cast(condition, DType::F32);
    b.mul(x, number)
}

/// A linear scan along i with the state \[j, k\], cut at its second step: what it reads, times the final state.
fn linear_scan(b: &mut Builder<'_>, x: ValueId, y: ValueId, edge: Edge, read: Read, key: &[&str]) -> ValueId {
    let w = b.dot(x, y, axes(&["j"]));
    let gate = b.sum(x, axes(&["j"]));
    let l = b.logsigmoid(gate);
    let (step, one) = (b.iota("i".into()), b.constant(1.0, DType::I32));
    let cut = b.eq(step, one);
    let line = Line { axis: "i".into(), direction: Direction::Forward, edge, read };
    let q = b.tanh(x);
    let (read, last) = b.linread(&line, axes(key), [q, x, w, l, cut, y]);
    b.mul(read, last)
}

/// A memory that reads itself, cut before its second step; decays differ from key to key if there is one.
fn linear_solve(b: &mut Builder<'_>, x: ValueId, y: ValueId, edge: Edge, key: &[&str]) -> ValueId {
    let line = Line { axis: "i".into(), direction: Direction::Forward, edge, read: Read::Old };
    let (step, one) = (b.iota("i".into()), b.constant(1.0, DType::I32));
    let cut = b.eq(step, one);
    let l = b.logsigmoid(x);
    let (a, z) = (b.tanh(x), b.dot(x, y, axes(&["j"])));
    if key.is_empty() {
        let [a, l] = [a, l].map(|v| b.sum(v, axes(&["j"])));
        return b.push(line.linsolve(axes(key), axes(&[])), &[a, a, z, l, cut]);
    }
    b.push(line.linsolve(axes(key), axes(&[])), &[a, x, z, l, cut])
}

/// The cases of an operation; none for those that take no float anywhere, which [`no_float_operands`] checks.
#[rustfmt::skip]
fn rows(kind: OpKind) -> Vec<Row> {
    match kind {
        OpKind::Input => vec![|_, x, _| x],
        OpKind::Const => vec![|b, x, _| { let c = b.constant(1.5, DType::F32); b.mul(x, c) }],
        OpKind::SizeOf => vec![|b, x, _| { let n = b.size_of("k".into(), DType::F32); b.mul(n, x) }],
        OpKind::Iota => vec![|b, x, _| { let n = b.iota("k".into()); beside(b, x, n) }],
        OpKind::Neg => vec![|b, x, _| b.neg(x)],
        OpKind::Abs => vec![|b, x, _| b.abs(x)],
        OpKind::Sign => vec![|b, x, y| { let s = b.sign(x); b.mul(s, y) }],
        OpKind::Floor => vec![|b, x, y| { let n = b.floor(x); b.mul(n, y) }],
        OpKind::Ceil => vec![|b, x, y| { let n = b.ceil(x); b.mul(n, y) }],
        OpKind::Exp => vec![|b, x, _| b.exp(x)],
        OpKind::Log => vec![|b, x, _| b.log(x)],
        OpKind::Log1p => vec![|b, x, _| b.log1p(x)],
        OpKind::Sqrt => vec![|b, x, _| b.sqrt(x)],
        OpKind::Tanh => vec![|b, x, _| b.tanh(x)],
        OpKind::Sigmoid => vec![|b, x, _| b.sigmoid(x)],
        OpKind::Logsigmoid => vec![|b, x, _| b.logsigmoid(x)],
        OpKind::Erf => vec![|b, x, _| b.erf(x)],
        OpKind::Not => vec![|b, x, y| { let c = b.lt(x, y); let c = b.not(c); beside(b, x, c) }],
        OpKind::Cast => vec![
            |b, x, _| b.cast(x, DType::F64),
            |b, x, y| { let n = b.cast(x, DType::I32); beside(b, y, n) },
        ],
        // Its derivative is not the difference quotient; see `detach_stops`.
        OpKind::Detach => vec![],
        OpKind::Add => vec![|b, x, y| b.add(x, y), |b, x, _| b.add(x, x)],
        OpKind::Sub => vec![|b, x, y| b.sub(x, y), |b, x, y| b.sub(y, x)],
        OpKind::Mul => vec![|b, x, y| b.mul(x, y), |b, x, _| b.mul(x, x)],
        OpKind::Div => vec![
            |b, x, y| b.div(x, y),
            |b, x, y| { let s = b.sum(y, axes(&["j"])); let one = b.constant(9.0, DType::F32); let s = b.add(s, one); b.div(x, s) },
            |b, x, _| { let one = b.constant(1.0, DType::F32); b.div(one, x) },
        ],
        OpKind::Min => vec![|b, x, y| b.min(x, y)],
        OpKind::Max => vec![|b, x, y| b.max(x, y)],
        OpKind::Eq => vec![|b, x, y| { let c = b.eq(x, y); beside(b, x, c) }],
        OpKind::Ne => vec![|b, x, y| { let c = b.ne(x, y); beside(b, x, c) }],
        OpKind::Lt => vec![|b, x, y| { let c = b.lt(x, y); beside(b, x, c) }],
        OpKind::Le => vec![|b, x, y| { let c = b.le(x, y); beside(b, x, c) }],
        OpKind::And => vec![|b, x, y| { let (c, d) = (b.lt(x, y), b.ne(x, y)); let c = b.and(c, d); beside(b, x, c) }],
        OpKind::Or => vec![|b, x, y| { let (c, d) = (b.lt(x, y), b.eq(x, y)); let c = b.or(c, d); beside(b, y, c) }],
        OpKind::Select => vec![
            |b, x, y| { let c = b.lt(x, y); b.select(c, x, y) },
            |b, x, y| { let c = b.lt(x, y); let s = b.sum(y, axes(&["k"])); b.select(c, s, x) },
        ],
        OpKind::Sum => vec![|b, x, _| b.sum(x, axes(&["i"])), |b, x, y| { let s = b.sum(x, axes(&["i", "j"])); b.mul(s, y) }],
        OpKind::ReduceMax => vec![|b, x, _| b.rmax(x, axes(&["j"])), |b, x, _| b.rmax(x, axes(&["i", "j"]))],
        OpKind::Dot => vec![
            |b, x, y| b.dot(x, y, axes(&["j"])),
            |b, x, y| b.dot(x, y, axes(&["i", "j", "k"])),
            |b, x, y| b.dot(x, y, axes(&["i"])),
            |b, x, _| b.dot(x, x, axes(&["j"])),
        ],
        OpKind::CumSum => vec![
            |b, x, _| b.cumsum(x, "j".into(), Direction::Forward),
            |b, x, _| b.cumsum(x, "i".into(), Direction::Reverse),
        ],
        OpKind::CumMax => vec![
            |b, x, _| b.cummax(x, "j".into(), Direction::Forward),
            |b, x, _| b.cummax(x, "i".into(), Direction::Reverse),
        ],
        OpKind::Rename => vec![|b, x, _| b.rename(x, "i".into(), "three".into()), |b, x, _| { let r = b.rename(x, "i".into(), "three".into()); b.mul(r, x) }],
        OpKind::Split => vec![|b, x, _| b.split(x, "j".into(), axes(&["m", "n"])), |b, x, _| { let s = b.split(x, "j".into(), axes(&["m", "n"])); b.sum(s, axes(&["n"])) }],
        OpKind::Merge => vec![|b, x, _| b.merge(x, axes(&["i", "j"]), "twelve".into()), |b, x, _| b.merge(x, axes(&["j", "i"]), "twelve".into())],
        OpKind::Broadcast => vec![|b, x, _| b.broadcast(x, &axes(&["k", "m"]))],
        OpKind::Slice => vec![|b, x, _| b.slice(x, "j".into(), "m".into(), Size::Known(1))],
        OpKind::Pad => vec![|b, x, _| b.pad(x, "j".into(), "twelve".into(), Size::Known(3))],
        OpKind::Concat => vec![|b, x, _| {
            let part = b.slice(x, "j".into(), "m".into(), Size::Known(2));
            let twice = b.mul(part, part);
            b.concat(&[(part, "m".into()), (twice, "m".into())], "j".into())
        }],
        OpKind::Shift => vec![|b, x, _| b.shift(x, "j".into(), 1), |b, x, _| b.shift(x, "j".into(), -2), |b, x, _| b.shift(x, "j".into(), 9)],
        OpKind::Gather => vec![
            |b, x, _| { let at = index(b); b.gather(x, "j".into(), at) },
            // The same row twice, and an index that shares an axis with the table.
            |b, x, _| { let at = index(b); let zero = b.sub(at, at); b.gather(x, "i".into(), zero) },
            |b, x, _| { let at = b.iota("i".into()); b.gather(x, "j".into(), at) },
        ],
        OpKind::ScatterAdd => vec![
            |b, _, y| { let at = index(b); b.scatter_add(y, at, "twelve".into(), axes(&["k"])) },
            |b, x, _| { let at = index(b); b.scatter_add(x, at, "twelve".into(), axes(&["k"])) },
            |b, x, _| { let at = b.iota("i".into()); b.scatter_add(x, at, "twelve".into(), axes(&[])) },
        ],
        OpKind::Uniform => vec![|b, x, _| {
            let seed = b.constant(5.0, DType::U32);
            let u = b.push(Op::Uniform { stream: "drop".into(), axes: axes(&["i", "k"]) }, &[seed, seed]);
            b.mul(x, u)
        }],
        OpKind::FoldIn => vec![|b, x, _| {
            let seed = b.constant(5.0, DType::U32);
            let seed = b.push(Op::FoldIn { number: 3 }, &[seed]);
            let u = b.push(Op::Uniform { stream: "drop".into(), axes: axes(&["i"]) }, &[seed, seed]);
            b.mul(x, u)
        }],
        OpKind::LinRead => vec![
            |b, x, y| linear_scan(b, x, y, Edge::Before, Read::New, &["j"]),
            |b, x, y| linear_scan(b, x, y, Edge::After, Read::New, &["j"]),
            |b, x, y| linear_scan(b, x, y, Edge::Before, Read::Old, &["j"]),
            |b, x, y| linear_scan(b, x, y, Edge::After, Read::Old, &["j"]),
            |b, x, y| linear_scan(b, x, y, Edge::Before, Read::New, &[]),
        ],
        OpKind::LinSolve => vec![
            |b, x, y| linear_solve(b, x, y, Edge::Before, &["j"]),
            |b, x, y| linear_solve(b, x, y, Edge::After, &["j"]),
            |b, x, y| linear_solve(b, x, y, Edge::Before, &[]),
        ],
        // It is a derivative itself; see `the_gradient_of_a_decay_is_not_differentiated`.
        OpKind::LinReadDecay => vec![],
        OpKind::Scan | OpKind::Proj => vec![|b, x, y| {
            let start = b.sum(y, axes(&["j", "k"]));
            let start = b.broadcast(start, &axes(&["j"]));
            let mut body = Builder::body(b.axes().clone());
            let state = body.argument("state", DType::F32, &["j".into()]);
            let element = body.argument("element", DType::F32, &["j".into()]);
            let next = body.mul(state, element);
            body.output("state", next);
            body.output("yield", state);
            let scan = Scan { axis: "i".into(), direction: Direction::Forward, states: 1, sequences: 1, body: body.finish_pass() };
            let results = b.scan(scan, &[start, x]);
            b.mul(results[0], results[1])
        }],
        OpKind::Call => vec![|b, x, _| b.call(carousel_ir::FunctionId(0), &[x])[0]],
    }
}

fn declare(b: &mut Builder<'_>) {
    let sizes = [("i", 3), ("j", 4), ("k", 2), ("m", 2), ("n", 2), ("three", 3), ("twelve", 12)];
    for (name, n) in sizes {
        b.axis(name, Size::Known(n));
    }
}

/// One function that may be called, then the case: its value, and the sum of its value as `loss`.
fn case(row: Row) -> (carousel_ir::Module, carousel_ir::FunctionId) {
    let mut module = carousel_ir::Module::default();
    add(&mut module, "callee", Residuals::Save, |b| {
        declare(b);
        let x = b.argument("x", DType::F32, &["i".into(), "j".into()]);
        let e = b.exp(x);
        let y = b.mul(e, x);
        b.output("y", y);
    });
    let function = add(&mut module, "case", Residuals::Save, |b| {
        declare(b);
        let x = b.argument("x", DType::F32, &["i".into(), "j".into()]);
        let y = b.argument("y", DType::F32, &["j".into(), "k".into()]);
        let value = row(b, x, y);
        let all = b.ty(value).axes.clone();
        let loss = b.sum(value, all);
        b.output("value", value);
        b.output("loss", loss);
    });
    (module, function)
}

fn inputs(domain: Domain) -> Vec<Tensor<f64>> {
    let mut numbers = Numbers::new(7);
    let mut one = |shape: &[usize]| match domain {
        Domain::Any => numbers.tensor(shape, -2.0, 2.0),
        Domain::Positive => numbers.tensor(shape, 0.3, 2.0),
        Domain::AboveMinusOne => numbers.tensor(shape, -0.7, 2.0),
        Domain::NonZero => {
            let signs = numbers.tensor(shape, -1.0, 1.0).to_f64();
            let sizes = numbers.tensor(shape, 0.4, 2.0).to_f64();
            Tensor::floats(shape, sizes.iter().zip(signs).map(|(x, s)| x * s.signum()).collect::<Vec<_>>())
        }
    };
    vec![one(&[3, 4]), one(&[4, 2])]
}

#[test]
fn every_operation_agrees_with_finite_differences() {
    for &kind in OpKind::ALL {
        let rows = rows(kind);
        assert!(
            !rows.is_empty() || matches!(kind, OpKind::Detach | OpKind::LinReadDecay),
            "`{kind}` has no case"
        );
        for (n, row) in rows.into_iter().enumerate() {
            let (module, function) = case(row);
            let used = |op: &Op| op.kind() == kind;
            assert!(
                module[function].graph.nodes.iter().any(|n| used(&n.op)),
                "case {n} of `{kind}` lacks it"
            );
            let what = format!("`{kind}`, case {n}");
            let inputs = inputs(kind.domain());
            check(&what, &module, function, &inputs, &Options::default());
            check_loss(&what, &module, function, &inputs, &Options::default());
            let checkpoint = common::options(ScanResiduals::Checkpoint);
            check(&what, &module, function, &inputs, &checkpoint);
        }
    }
}

/// The gradient of the sum of a function of x: \[s\], at `values`.
fn gradient_at(values: &[f64], row: fn(&mut Builder<'_>, ValueId) -> ValueId) -> Vec<f64> {
    let (module, function) = module_of(|b| {
        let x = float(b, "x", &[("s", Size::symbol("s"))]);
        let y = row(b, x);
        let all = b.ty(y).axes.clone();
        let loss = b.sum(y, all);
        b.output("loss", loss);
    });
    let (derived, id) = value_and_gradient(&module, function, "loss", &Options::default()).unwrap();
    run(&derived, id, &[Tensor::floats(&[values.len()], values.to_vec())])[1].to_f64()
}

#[test]
fn detach_stops() {
    let found = gradient_at(&[3.0, -2.0], |b, x| {
        let d = b.detach(x);
        b.mul(d, x)
    });
    assert_eq!(found, [3.0, -2.0]);
    assert_eq!(gradient_at(&[3.0], |b, x| b.detach(x)), [0.0]);
}

#[test]
fn ties_are_shared() {
    assert_eq!(gradient_at(&[0.0, -1.0], |b, x| b.abs(x)), [0.0, -1.0]);
    let max = |b: &mut Builder<'_>, x| {
        let zero = b.constant(0.0, DType::F32);
        b.max(x, zero)
    };
    assert_eq!(gradient_at(&[0.0, 1.0, -1.0], max), [0.5, 1.0, 0.0]);
    let min = |b: &mut Builder<'_>, x| {
        let zero = b.constant(0.0, DType::F32);
        b.min(x, zero)
    };
    assert_eq!(gradient_at(&[0.0, 1.0, -1.0], min), [0.5, 0.0, 1.0]);
    let rmax = |b: &mut Builder<'_>, x| b.rmax(x, axes(&["s"]));
    assert_eq!(gradient_at(&[2.0, 1.0, 2.0, 0.0], rmax), [0.5, 0.0, 0.5, 0.0]);
    // Running maxima 1, 1, 1, 2: the first tie halves what the second and third steps hand back.
    let cummax = |b: &mut Builder<'_>, x| b.cummax(x, "s".into(), Direction::Forward);
    assert_eq!(gradient_at(&[1.0, 1.0, 0.0, 2.0], cummax), [2.0, 1.0, 0.0, 1.0]);
}

#[test]
fn extreme_arguments_stay_finite() {
    let sigmoid = |b: &mut Builder<'_>, x| b.sigmoid(x);
    let logsigmoid = |b: &mut Builder<'_>, x| b.logsigmoid(x);
    assert!(gradient_at(&[-700.0, 700.0], sigmoid).iter().all(|g| *g > 0.0 && *g < 1e-300));
    let found = gradient_at(&[-800.0, 800.0], logsigmoid);
    assert_eq!(found, [1.0, 0.0]);
    // b * b would underflow.
    let quotient = |b: &mut Builder<'_>, x| b.div(x, x);
    assert!(gradient_at(&[1e-200], quotient)[0].abs() <= 1e190);
}

#[test]
fn the_gradient_of_a_gradient_is_right() {
    let (module, function) = module_of(|b| {
        let x = float(b, "x", &[("i", Size::Known(3))]);
        let t = b.tanh(x);
        let y = b.mul(t, x);
        let loss = b.sum(y, axes(&["i"]));
        b.output("loss", loss);
    });
    let (module, first) = value_and_gradient(&module, function, "loss", &Options::default()).unwrap();
    check("second order", &module, first, &[Tensor::floats(&[3], [0.3, -0.8, 1.1])], &Options::default());
}

#[test]
fn the_gradient_of_a_decay_is_not_differentiated() {
    let (module, function) = case(|b, x, y| linear_scan(b, x, y, Edge::Before, Read::New, &["j"]));
    let (module, first) = value_and_gradient(&module, function, "loss", &Options::default()).unwrap();
    let problems = value_and_gradient(&module, first, "loss", &Options::default()).unwrap_err();
    assert!(problems[0].to_string().contains("not differentiated again"), "{}", problems[0]);
}

#[test]
fn mistakes_are_diagnostics() {
    let (module, function) = module_of(|b| {
        let x = float(b, "x", &[("i", Size::Known(3))]);
        let n = b.argument("n", DType::I32, &["i".into()]);
        let total = b.sum(x, axes(&["i"]));
        b.output("loss", total);
        b.output("count", n);
        b.output("wide", x);
    });
    let message = |result: Result<_, Vec<carousel_ir::Diagnostic>>| match result {
        Ok((_, _)) => panic!("accepted"),
        Err(problems) => problems.iter().map(|p| p.to_string()).collect::<Vec<_>>().join("; "),
    };
    let by = |names: &[&str]| Options {
        wrt: Some(names.iter().map(|n| (*n).into()).collect()),
        ..Options::default()
    };
    let found = message(value_and_gradient(&module, function, "los", &Options::default()));
    assert!(found.contains("no output `los`") && found.contains("did you mean `loss`"), "{found}");
    let found = message(value_and_gradient(&module, function, "wide", &Options::default()));
    assert!(found.contains("must be a float scalar"), "{found}");
    let found = message(value_and_gradient(&module, function, "loss", &by(&["z", "n"])));
    assert!(found.contains("no input `z`") && found.contains("`n` is i32"), "{found}");
}
