//! Prices of programs: what they see, and what they do not depend on.

use carousel_core::cost::{Profile, ProgramPrice, held, price};
use carousel_core::{Target, lower};
use carousel_ir::{
    Axis, Builder, DType, Direction, Edge, Function, FunctionKind, Graph, Line, Module, Name, Read,
    Residuals, Role, Scan, Size, Type, ValueId,
};
use carousel_passes::forms::{Form, expand};

fn module(graph: Graph) -> Module {
    let mut module = Module::default();
    let kind = FunctionKind::Fn;
    module.push(Function { name: "f".into(), kind, residuals: Residuals::Save, graph });
    module
}

fn priced(module: &Module, sizes: &[(&str, u64)], profile: &Profile) -> ProgramPrice {
    let program = lower(module, carousel_ir::FunctionId(0), &Target::default()).expect("it lowers");
    let size = |name: Name| sizes.iter().find(|(n, _)| *n == name.as_str()).map_or(1, |(_, size)| *size);
    price(&program, &size, profile).expect("the sizes fit")
}

fn graph(build: impl FnOnce(&mut Builder<'_>, [Axis; 3]) -> ValueId) -> Module {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let axes = ["m", "n", "k"].map(|name| b.axis(name, Size::symbol(name)));
    let y = build(&mut b, axes);
    b.output("y", y);
    module(b.finish().unwrap_or_else(|problems| panic!("{}", problems[0])))
}

/// A linear scan of matrices of this size, in a form.
fn scan(form: Form, state: u64) -> Module {
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    let s = b.axis("s", Size::symbol("s"));
    let k = b.axis("k", Size::Known(state));
    let v = b.axis("v", Size::Known(state));
    let line = Line { axis: s, direction: Direction::Forward, edge: Edge::Before, read: Read::New };
    let q = b.argument("q", DType::F32, &[s, k]);
    let x = b.argument("x", DType::F32, &[s, k]);
    let w = b.argument("w", DType::F32, &[s, v]);
    let l = b.argument("l", DType::F32, &[s]);
    let cut = b.argument("cut", DType::Bool, &[s]);
    let start = b.argument("start", DType::F32, &[k, v]);
    let (y, _) = b.linread(&line, k.into(), [q, x, w, l, cut, start]);
    b.output("y", y);
    let graph = b.finish().unwrap_or_else(|problems| panic!("{}", problems[0]));
    expand(&module(graph), &form).0
}

#[test]
fn equal_programs_have_equal_prices() {
    let module = scan(Form::Chunkwise(16), 32);
    let profile = Profile::default();
    let first = priced(&module, &[("s", 100)], &profile);
    assert_eq!(first, priced(&module, &[("s", 100)], &profile));
    assert!(first.seconds > 0.0 && first.bytes > 0);
    assert_eq!(first.seconds, first.kernels.values().sum::<f64>());
}

#[test]
fn more_work_costs_more() {
    let product = |m: u64, n: u64, k: u64| {
        let module = graph(|b, [rows, columns, inner]| {
            let x = b.argument("a", DType::F32, &[rows, inner]);
            let y = b.argument("b", DType::F32, &[inner, columns]);
            b.dot(x, y, inner.into())
        });
        priced(&module, &[("m", m), ("n", n), ("k", k)], &Profile::default()).seconds
    };
    let base = product(64, 64, 64);
    for larger in [product(128, 64, 64), product(64, 128, 64), product(64, 64, 128)] {
        assert!(larger > base, "{larger} after {base}");
    }
    let (square, flat) = (product(256, 256, 256), product(1, 256 * 256, 256));
    assert!(flat > 2.0 * square, "a product with a vector is limited by its bytes: {flat}, {square}");
}

#[test]
fn points_of_a_device_are_worked_on_together() {
    let module = graph(|b, [rows, columns, inner]| {
        let x = b.argument("a", DType::F32, &[rows, inner]);
        let y = b.argument("b", DType::F32, &[inner, columns]);
        b.dot(x, y, inner.into())
    });
    let target = Target { product_rows: 64, product_columns: 64, ..Target::default() };
    let program = lower(&module, carousel_ir::FunctionId(0), &target).expect("it lowers");
    let profile = Profile::named("sm-90").expect("a built-in profile");
    let seconds = |tiles: u64, profile: &Profile| {
        let size = |name: Name| if name.as_str() == "m" { 64 * tiles } else { 64 };
        let price = price(&program, &size, profile).expect("the sizes fit");
        price.seconds - profile.overhead.kernel
    };
    // All from the same level of memory.
    let some = seconds(66, &profile);
    assert!((seconds(132, &profile) / some - 1.0).abs() < 0.05, "each has a multiprocessor");
    assert!((seconds(133, &profile) / some - 2.0).abs() < 0.1, "one has to wait");
    let core = Profile { points: 1.0, ..profile };
    assert!((seconds(132, &core) / some - 132.0).abs() < 7.0, "a core does one after the other");
}

#[test]
fn fusion_is_seen() {
    // Five operations in one kernel, and one operation in each of five.
    let fused = graph(|b, [m, ..]| {
        let x = b.argument("x", DType::F32, &[m]);
        (0..5).fold(x, |x, _| b.mul(x, x))
    });
    let alone = graph(|b, [m, ..]| {
        let x = b.argument("x", DType::F32, &[m]);
        b.mul(x, x)
    });
    let sizes = [("m", 1 << 20)];
    let profile = Profile::default();
    let (fused, alone) = (priced(&fused, &sizes, &profile), priced(&alone, &sizes, &profile));
    assert_eq!(fused.kernels.len(), 1);
    assert!(fused.seconds < 2.5 * alone.seconds, "{fused:?} against {alone:?}");
}

#[test]
fn transcendental_functions_and_strides_cost_more() {
    let sizes = [("m", 512), ("n", 512)];
    let profile = Profile::default();
    let map = |f: fn(&mut Builder<'_>, ValueId) -> ValueId| {
        let module = graph(|b, [m, n, _]| {
            let x = b.argument("x", DType::F32, &[m, n]);
            f(b, x)
        });
        priced(&module, &sizes, &profile).seconds
    };
    let plain = map(|b, x| b.add(x, x));
    assert!(map(|b, x| b.exp(x)) > 1.5 * plain);
    let turned = {
        let empty = Module::default();
        let mut b = Builder::new(&empty);
        let (m, n) = (b.axis("m", Size::symbol("m")), b.axis("n", Size::symbol("n")));
        let x = b.argument("x", DType::F32, &[m, n]);
        let y = b.add(x, x);
        b.output_as("y", y, carousel_ir::Axes::new([n, m]));
        priced(&module(b.finish().expect("it is well typed")), &sizes, &profile).seconds
    };
    assert!(turned > 1.5 * plain, "{turned} against {plain}");
}

#[test]
fn a_state_that_leaves_the_cache_costs_more_an_element() {
    // A loop that multiplies a vector again and again.
    let carried = |elements: u64| {
        let empty = Module::default();
        let mut b = Builder::new(&empty);
        let s = b.axis("s", Size::Known(256));
        let d = b.axis("d", Size::Known(elements));
        let start = b.argument("start", DType::F32, &[d]);
        let a = b.argument("a", DType::F32, &[s]);
        let mut body = Builder::body(b.axes().clone());
        let state = body.input("c", Type { dtype: DType::F32, axes: d.into() }, Role::Argument);
        let step = body.input("a", Type::scalar(DType::F32), Role::Argument);
        let next = body.mul(state, step);
        body.output("c", next);
        let body = body.finish_pass();
        let scan = Scan { axis: s, direction: Direction::Forward, states: 1, sequences: 1, body };
        let results = b.scan(scan, &[start, a]);
        b.output("y", results[0]);
        let module = module(b.finish().unwrap_or_else(|problems| panic!("{}", problems[0])));
        priced(&module, &[], &Profile::default()).seconds / elements as f64
    };
    let (near, far) = (carried(1 << 12), carried(1 << 24));
    assert!(far > 2.0 * near, "{far} against {near}");
}

#[test]
fn forms_have_the_prices_that_theory_says() {
    let profile = Profile::default();
    let seconds = |form, state, length| priced(&scan(form, state), &[("s", length)], &profile).seconds;
    let bytes = |form, state, length| priced(&scan(form, state), &[("s", length)], &profile).bytes;
    // All pairs: with the square of the length. Loops: with the length.
    let growth = |form| seconds(form, 64, 4096) / seconds(form, 64, 1024);
    assert!(growth(Form::Parallel) > 8.0);
    assert!((3.0..5.0).contains(&growth(Form::Recurrent)), "{}", growth(Form::Recurrent));
    // A long sequence of large states goes chunk by chunk, and a short one of small states step by step.
    assert!(seconds(Form::Chunkwise(64), 256, 1024) < seconds(Form::Recurrent, 256, 1024));
    assert!(seconds(Form::Chunkwise(64), 256, 1024) < seconds(Form::Parallel, 256, 1024));
    assert!(seconds(Form::Recurrent, 8, 64) < seconds(Form::Chunkwise(64), 8, 64));
    // The loop needs the least memory, all pairs the most.
    assert!(bytes(Form::Recurrent, 64, 4096) < bytes(Form::Chunkwise(64), 64, 4096));
    assert!(bytes(Form::Chunkwise(64), 64, 4096) < bytes(Form::Parallel, 64, 4096));
}

#[test]
fn profiles_are_checked() {
    for profile in Profile::builtin() {
        assert_eq!(profile.problem(), None);
        assert_eq!(Profile::named(&profile.name), Some(profile.clone()));
        let mut wrong = profile.clone();
        wrong.elements.vector = 0.0;
        assert!(wrong.problem().is_some_and(|p| p.contains("elements.vector")));
        let mut wrong = profile.clone();
        wrong.overhead.row = f64::NAN;
        assert!(wrong.problem().is_some_and(|p| p.contains("overhead.row")));
        let mut wrong = profile.clone();
        wrong.memory.swap(0, 1);
        assert!(wrong.problem().is_some_and(|p| p.contains("memory.bytes")));
        let wrong = Profile { memory: Vec::new(), ..profile };
        assert!(wrong.problem().is_some());
    }
    assert_eq!(Profile::named("abacus"), None);
}

/// `y = (x w) w` as a function, called twice by one that keeps what it gives to it.
fn called() -> Module {
    let mut module = Module::default();
    for name in ["inner", "outer"] {
        let graph = {
            let mut b = Builder::new(&module);
            let s = b.axis("s", Size::symbol("s"));
            let [k, v] = ["k", "v"].map(|axis| b.axis(axis, Size::Known(32)));
            let x = b.argument("x", DType::F32, &[s, k]);
            let w = b.argument("w", DType::F32, &[k, v]);
            let mapped = |b: &mut Builder<'_>, x| {
                let y = b.dot(x, w, k.into());
                b.rename(y, v, k)
            };
            let first = mapped(&mut b, x);
            let y = match module.find("inner") {
                None => mapped(&mut b, first),
                Some(inner) => {
                    let once = b.call(inner, &[first, w])[0];
                    let twice = b.call(inner, &[once, w])[0];
                    let sum = b.add(once, twice);
                    b.add(sum, first)
                }
            };
            b.output("y", y);
            b.finish().unwrap_or_else(|problems| panic!("{}", problems[0]))
        };
        let kind = FunctionKind::Block;
        module.push(Function { name: name.into(), kind, residuals: Residuals::Save, graph });
    }
    module
}

#[test]
fn callers_hold_what_is_not_left_for_the_function() {
    let module = called();
    let [inner, outer] = ["inner", "outer"].map(|name| {
        let root = module.find(name).expect("it is there");
        lower(&module, root, &Target::default()).expect("it lowers")
    });
    let bytes = |program| price(program, &|_| 100, &Profile::default()).expect("the sizes fit").bytes;
    let held = held(&outer, &|_| 100).expect("the sizes fit");
    assert_eq!(held[&Name::new("outer")], 0);
    assert!(bytes(&inner) > 0 && held[&Name::new("inner")] >= 2 * 100 * 32 * 4, "{held:?}");
    assert_eq!(held[&Name::new("inner")] + bytes(&inner), bytes(&outer));
}
