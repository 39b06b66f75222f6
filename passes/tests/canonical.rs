//! Canonical forms: what becomes of known equations, and random graphs that must mean the same afterwards.

mod common;

use carousel_ir::{
    Axes, Axis, AxisTable, Builder, DType, Direction, Graph, Module, Name, Op, OpKind, Output, Scan, Size,
    Span, ValueId, verify,
};
use carousel_passes::{
    Limits, Options, Report, Rules, SizeWeighted, Stop, Tag, canonicalize, canonicalize_with,
    common_subexpressions, dead_code,
};
use common::Random;

/// The kinds of the nodes of the canonical form, inputs left out.
fn kinds(make: impl FnOnce(&mut Builder<'_>) -> ValueId) -> Vec<OpKind> {
    let graph = canonical(make).0;
    graph.nodes.iter().map(|n| n.op.kind()).filter(|k| *k != OpKind::Input).collect()
}

fn canonical(make: impl FnOnce(&mut Builder<'_>) -> ValueId) -> (Graph, Report) {
    let mut b = Builder::body(common::axes());
    let root = make(&mut b);
    b.output("result", root);
    let module = common::module_of("f", b.finish().unwrap_or_else(|p| panic!("{}", p[0])));
    let (mut module, report) = canonicalize(&module, Rules::builtin());
    assert!(report.graphs.iter().all(|g| g.stop == Stop::Saturated && g.alarms == 0), "{report}");
    (module.functions.remove(0).graph, report)
}

fn input(b: &mut Builder<'_>, name: &str, axes: &[&str]) -> ValueId {
    let axes: Vec<Axis> = axes.iter().map(|a| Axis::new(a)).collect();
    b.argument(name, DType::F32, &axes)
}

#[test]
fn a_sum_of_products_is_a_contraction() {
    let found = kinds(|b| {
        let (x, y) = (input(b, "x", &["i", "k"]), input(b, "y", &["k", "j"]));
        let product = b.mul(x, y);
        b.sum(product, Axes::from(Axis::new("k")))
    });
    assert_eq!(found, [OpKind::Dot]);
}

#[test]
fn a_scale_moves_to_the_smaller_side() {
    // The result of the contraction has fewer elements than either operand.
    let (graph, _) = canonical(|b| {
        let (x, y) = (input(b, "x", &["i", "k"]), input(b, "y", &["i", "k"]));
        let size = b.size_of(Axis::new("k"), DType::F32);
        let root = b.sqrt(size);
        let scaled = b.div(x, root);
        let product = b.mul(scaled, y);
        b.sum(product, Axes::from(Axis::new("k")))
    });
    let last = graph.nodes.last().expect("it has nodes");
    assert!(matches!(last.op, Op::Div), "{:?}", last.op);
    assert!(matches!(graph[last.operands[0]].op, Op::Dot { .. }));
    assert!(matches!(graph[last.operands[1]].op, Op::Const { value, .. } if value.get() == 3f64.sqrt()));
}

/// That -1 times a number is minus that number is a rule, but that the two are one class is known without it.
#[test]
fn a_number_of_numbers_is_a_number() {
    let found = kinds(|b| {
        let minus_one = b.constant(-1.0, DType::F32);
        b.mul(minus_one, minus_one)
    });
    assert_eq!(found, [OpKind::Const]);
}

#[test]
fn functions_are_recognised() {
    let softplus = kinds(|b| {
        let x = input(b, "x", &["i"]);
        let (one, e) = (b.constant(1.0, DType::F32), b.exp(x));
        let sum = b.add(e, one);
        let log = b.log(sum);
        let minus = b.neg(x);
        b.add(minus, log)
    });
    // log(1 + e^x) - x has the stable log of the logistic function in it.
    assert!(softplus.contains(&OpKind::Logsigmoid) && !softplus.contains(&OpKind::Exp), "{softplus:?}");
    let silu = kinds(|b| {
        let x = input(b, "x", &["i"]);
        let (one, minus) = (b.constant(1.0, DType::F32), b.neg(x));
        let e = b.exp(minus);
        let sum = b.add(one, e);
        b.div(x, sum)
    });
    assert_eq!(silu, [OpKind::Sigmoid, OpKind::Mul]);
}

#[test]
fn what_cancels_goes() {
    let found = kinds(|b| {
        let x = input(b, "x", &["j", "k"]);
        let whole = b.merge(x, Axes::new([Axis::new("j"), Axis::new("k")]), Axis::new("jk"));
        let parts = b.split(whole, Axis::new("jk"), Axes::new([Axis::new("j"), Axis::new("k")]));
        let minus = b.neg(parts);
        let plus = b.neg(minus);
        let zero = b.constant(0.0, DType::F32);
        let x = b.add(plus, zero);
        let y = b.rename(x, Axis::new("k"), Axis::new("m"));
        b.rename(y, Axis::new("m"), Axis::new("k"))
    });
    assert_eq!(found, []);
    let transposed = kinds(|b| {
        let x = input(b, "x", &["j", "k"]);
        let whole = b.merge(x, Axes::new([Axis::new("j"), Axis::new("k")]), Axis::new("jk"));
        b.split(whole, Axis::new("jk"), Axes::new([Axis::new("k"), Axis::new("j")]))
    });
    assert_eq!(transposed, [OpKind::Merge, OpKind::Split], "the order of the parts means something");
}

#[test]
fn an_explicit_broadcast_becomes_implicit() {
    let found = kinds(|b| {
        let (x, y) = (input(b, "x", &["i"]), input(b, "y", &["i", "k"]));
        let wide = b.broadcast(x, &Axes::new([Axis::new("i"), Axis::new("k")]));
        let product = b.mul(wide, y);
        b.tanh(product)
    });
    assert_eq!(found, [OpKind::Mul, OpKind::Tanh]);
    let counted = kinds(|b| {
        let x = input(b, "x", &["i"]);
        let wide = b.broadcast(x, &Axes::new([Axis::new("i"), Axis::new("k")]));
        b.sum(wide, Axes::from(Axis::new("k")))
    });
    assert_eq!(counted, [OpKind::Const, OpKind::Mul]);
}

#[test]
fn detach_and_undefined_values_stay() {
    let detached = kinds(|b| {
        let x = input(b, "x", &["i"]);
        let once = b.detach(x);
        let twice = b.detach(once);
        b.sub(x, twice)
    });
    assert_eq!(detached, [OpKind::Detach, OpKind::Sub]);
    let logarithm = kinds(|b| {
        let x = input(b, "x", &["i"]);
        let log = b.log(x);
        b.exp(log)
    });
    assert_eq!(logarithm, [OpKind::Log, OpKind::Exp], "exp(log x) is not x where x is negative");
}

#[test]
fn names_and_spans_stay_with_their_values() {
    let (graph, _) = canonical(|b| {
        let (x, y) = (input(b, "x", &["i"]), input(b, "y", &["i"]));
        b.span = Span { file: 0, start: 3, end: 7 };
        let minus = b.neg(y);
        let sum = b.add(x, minus);
        b.name(sum, Name::new("difference"));
        b.span = Span { file: 0, start: 10, end: 12 };
        b.exp(sum)
    });
    let named =
        graph.nodes.iter().find(|n| n.name == Some(Name::new("difference"))).expect("it keeps its name");
    assert_eq!((named.op.kind(), named.span), (OpKind::Sub, Span { file: 0, start: 3, end: 7 }));
}

#[test]
fn approximate_rules_must_be_asked_for() {
    let product = || {
        let mut b = Builder::body(common::axes());
        let (x, y) = (input(&mut b, "x", &["i"]), input(&mut b, "y", &["i"]));
        let (x, y) = (b.exp(x), b.exp(y));
        let z = b.mul(x, y);
        b.output("z", z);
        common::module_of("f", b.finish_pass())
    };
    let nodes = |rules: &Rules| canonicalize(&product(), rules).0.functions[0].graph.nodes.len();
    assert_eq!(nodes(Rules::builtin()), 5);
    assert_eq!(nodes(&Rules::builtin().clone().allowing(Tag::Approx)), 4);
    let bitwise = Rules::builtin().clone().allowing(Tag::Bitwise);
    let (_, report) = canonicalize(&product(), &bitwise);
    assert!(report.graphs[0].fired.is_empty(), "{report}");
}

/// Equal up to rounding that grows with depth; undefined in the same places.
fn assert_same(before: &[Vec<f64>], after: &[Vec<f64>], what: &str) {
    assert_eq!(before.len(), after.len());
    for (b, a) in before.iter().flatten().zip(after.iter().flatten()) {
        let same = (b - a).abs() <= 1e-6 * (1.0 + b.abs().max(a.abs())) || (!b.is_finite() && !a.is_finite());
        assert!(same, "{what}: {b} became {a}");
    }
}

#[test]
fn random_graphs_mean_the_same_afterwards() {
    let mut fired = std::collections::BTreeSet::new();
    let (mut defined, mut elements) = (0, 0);
    for seed in 0..300 {
        let mut random = Random(seed);
        let size = 4 + random.below(30);
        let graph = common::graph(&mut random, size);
        let module = common::module_of("f", graph);
        assert_eq!(verify(&module), [], "seed {seed}");
        let inputs = common::inputs(&module.functions[0].graph, &mut random);
        let before = common::run(&module, &inputs);
        elements += before.iter().flatten().count();
        defined += before.iter().flatten().filter(|v| v.is_finite()).count();

        let (canonical, report) = canonicalize(&module, Rules::builtin());
        assert_eq!(verify(&canonical), [], "seed {seed}");
        assert_eq!(report.graphs.iter().map(|g| g.alarms).sum::<usize>(), 0, "seed {seed}: {report}");
        assert_same(&before, &common::run(&canonical, &inputs), &format!("seed {seed}\n{report}"));
        assert_eq!(canonical, canonicalize(&module, Rules::builtin()).0, "seed {seed}: not deterministic");
        fired.extend(report.fired().keys().map(|k| k.to_string()));

        let mut plain = module.clone();
        common_subexpressions(&mut plain);
        dead_code(&mut plain);
        assert_eq!(verify(&plain), [], "seed {seed}");
        assert!(plain.functions[0].graph.nodes.len() <= module.functions[0].graph.nodes.len());
        assert_same(&before, &common::run(&plain, &inputs), &format!("seed {seed}, plain passes"));
    }
    assert!(defined * 10 > elements * 9, "only {defined} of {elements} elements are defined");
    assert!(fired.len() > 40, "the random graphs reach too few rules: {fired:?}");
}

#[test]
fn a_hit_limit_is_reported_and_harmless() {
    let mut hit = 0;
    for seed in 0..20 {
        let mut random = Random(seed);
        let graph = common::graph(&mut random, 60);
        let module = common::module_of("f", graph);
        let inputs = common::inputs(&module.functions[0].graph, &mut random);
        let limits = Limits { nodes: 40 + 20 * seed as usize, rounds: 2 };
        let cost = SizeWeighted::default();
        let options = Options { rules: Rules::builtin(), limits, cost: &cost, done: None };
        let (canonical, report) = canonicalize_with(&module, options);
        hit += report.limited().count();
        assert_eq!(report.to_string().matches("limit of").count(), report.limited().count());
        assert_same(&common::run(&module, &inputs), &common::run(&canonical, &inputs), &report.to_string());
    }
    assert!(hit > 10, "the limits are too wide for this test: {hit}");
}

fn first_loop(graph: &Graph) -> Option<Scan> {
    graph.nodes.iter().find_map(|n| if let Op::Scan { scan } = &n.op { Some((**scan).clone()) } else { None })
}

#[test]
fn unused_yields_and_states_of_a_loop_go() {
    let mut found = None;
    for seed in 0..200 {
        let graph = common::graph(&mut Random(seed), 25);
        let before = first_loop(&graph);
        let mut module = common::module_of("f", graph);
        dead_code(&mut module);
        assert_eq!(verify(&module), []);
        if let (Some(before), Some(after)) = (before, first_loop(&module.functions[0].graph)) {
            assert_eq!((before.states, before.body.outputs.len()), (2, 4));
            assert_eq!(after.states, 1, "the second state feeds only itself");
            assert!(after.body.outputs.len() <= 2);
            found = Some(after);
        }
    }
    assert!(found.is_some(), "no random graph has a loop");
}

#[test]
fn blocks_are_simplified_once_and_called_as_before() {
    let mut module = Module::default();
    let mut b = Builder::new(&module);
    let s = b.axis("s", Size::symbol("s"));
    let x = b.argument("x", DType::F32, &[s]);
    let one = b.constant(1.0, DType::F32);
    let y = b.mul(x, one);
    let y = b.exp(y);
    b.output("y", y);
    let graph = b.finish_pass();
    let block = module.push(common::function("block", graph));
    let mut b = Builder::new(&module);
    let t = b.axis("s", Size::Known(3));
    let x = b.argument("x", DType::F32, &[t]);
    let unused = b.argument("unused", DType::F32, &[t]);
    let y = b.call(block, &[x])[0];
    let again = b.call(block, &[x])[0];
    let y = b.add(y, again);
    let zero = b.constant(0.0, DType::F32);
    let unused = b.mul(unused, zero);
    let y = b.call(block, &[y])[0];
    let _ = unused;
    b.output("y", y);
    let graph = b.finish_pass();
    module.push(common::function("root", graph));

    let inputs = [vec![0.1, -0.2, 0.3], vec![0.0; 3]];
    let (canonical, report) = canonicalize(&module, Rules::builtin());
    assert_eq!(report.graphs.iter().map(|g| g.name.as_str()).collect::<Vec<_>>(), ["block", "root"]);
    let root = &canonical.functions[1].graph;
    assert_eq!(root.inputs, module.functions[1].graph.inputs);
    assert_eq!(root.nodes.iter().filter(|n| matches!(n.op, Op::Call { .. })).count(), 2, "{report}");
    assert_eq!(root.nodes.iter().filter(|n| matches!(n.op, Op::Input { .. })).count(), 2);
    assert_eq!(canonical.functions[0].graph.nodes.len(), 2);
    assert_same(&common::run(&module, &inputs), &common::run(&canonical, &inputs), "calls");
}

#[test]
fn graphs_of_hundreds_of_operations_stay_within_the_limits() {
    for seed in 0..4 {
        let mut random = Random(seed);
        let mut graph = common::graph(&mut random, 600);
        let single = |n: &usize| graph.nodes[*n].types.len() == 1;
        let last: Vec<usize> = (0..graph.nodes.len()).filter(single).rev().take(120).collect();
        for value in last {
            let name = Name::new(&format!("value {value}"));
            let (value, axes) = (ValueId(value as u32), graph.nodes[value].ty().axes.clone());
            graph.outputs.push(Output { name, value, axes });
        }
        let (canonical, report) = canonicalize(&common::module_of("f", graph), Rules::builtin());
        assert!(canonical.functions[0].graph.nodes.len() > 300);
        assert_eq!(report.limited().count(), 0, "{report}");
        let graph = report.graphs.last().expect("there is one");
        assert!(graph.terms < 5 * graph.nodes.0 && graph.cost.1 < graph.cost.0, "{graph}");
    }
}

/// One step of an mLSTM with its products in an unlucky order, and the loop around it.
fn mlstm() -> Module {
    let mut axes = AxisTable::default();
    let sizes = [("s", 3), ("dk", 4), ("dv", 2)];
    let [s, dk, dv] = sizes.map(|(name, size)| {
        axes.declare(Axis::new(name), Size::Known(size));
        Axis::new(name)
    });
    let mut b = Builder::body(axes.clone());
    let memory = b.argument("C", DType::F32, &[dk, dv]);
    let [q, k] = ["q", "k"].map(|name| b.argument(name, DType::F32, &[dk]));
    let v = b.argument("v", DType::F32, &[dv]);
    let [i, f] = ["i", "f"].map(|name| b.argument(name, DType::F32, &[]));
    let (size, gate, forget) = (b.size_of(dk, DType::F32), b.exp(i), b.sigmoid(f));
    let root = b.sqrt(size);
    let kept = b.mul(forget, memory);
    let outer = b.mul(k, v);
    let scaled = b.div(outer, root);
    let write = b.mul(gate, scaled);
    let next = b.add(kept, write);
    let read = b.mul(q, next);
    let h = b.sum(read, Axes::from(dk));
    b.output("C", next);
    b.output("h", h);
    let body = b.finish_pass();

    let mut b = Builder::body(axes);
    let zero = b.constant(0.0, DType::F32);
    let start = b.broadcast(zero, &Axes::new([dk, dv]));
    let [q, k] = ["q", "k"].map(|name| b.argument(name, DType::F32, &[s, dk]));
    let v = b.argument("v", DType::F32, &[s, dv]);
    let [i, f] = ["i", "f"].map(|name| b.argument(name, DType::F32, &[s]));
    let scan = Scan { axis: s, direction: Direction::Forward, states: 1, sequences: 5, body };
    let results = b.scan(scan, &[start, q, k, v, i, f]);
    b.output("h", results[1]);
    common::module_of("mlstm", b.finish_pass())
}

#[test]
fn a_recurrence_does_the_least_work_on_its_matrix_memory() {
    let module = mlstm();
    let (canonical, report) = canonicalize(&module, Rules::builtin());
    let body = first_loop(&canonical.functions[0].graph).expect("the loop is there").body;
    let computed = |n: &&carousel_ir::Node| n.ty().axes.len() == 2 && n.op.kind() != OpKind::Input;
    let large: Vec<OpKind> = body.nodes.iter().filter(computed).map(|n| n.op.kind()).collect();
    assert_eq!(large, [OpKind::Mul, OpKind::Mul, OpKind::Add], "{report}");
    assert!(body.nodes.iter().any(|n| n.op.kind() == OpKind::Dot));
    assert!(body.nodes.iter().all(|n| n.op.kind() != OpKind::Div), "sqrt(4) is a power of two: {report}");
    let mut random = Random(5);
    let inputs = common::inputs(&module.functions[0].graph, &mut random);
    assert_same(&common::run(&module, &inputs), &common::run(&canonical, &inputs), "mlstm");
}
