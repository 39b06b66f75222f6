//! Linear scans: every form, and the derivative in every form, against the definition.

mod support;

use carousel_ir::{
    Axes, Axis, Builder, DType, Direction, Edge, Function, FunctionId, FunctionKind, Graph, Line, Module, Op,
    Read, Residuals, Size,
};
use carousel_passes::Stop;
use carousel_passes::forms::{Form, expand};
use support::{Numbers, assert_close, differentiated, errors, inputs, run};

/// Every line along `s`.
fn lines() -> Vec<Line> {
    let mut lines = Vec::new();
    for direction in [Direction::Forward, Direction::Reverse] {
        for edge in [Edge::Before, Edge::After] {
            for read in [Read::New, Read::Old] {
                lines.push(Line { axis: "s".into(), direction, edge, read });
            }
        }
    }
    lines
}

/// Which axes a linear scan has besides its line's.
#[derive(Clone, Copy)]
struct Shape {
    q: &'static [&'static str],
    x: &'static [&'static str],
    w: &'static [&'static str],
    l: &'static [&'static str],
    cut: &'static [&'static str],
    state: &'static [&'static str],
    key: &'static [&'static str],
    /// Decays are known to be between -1 and 0.
    is_narrow: bool,
}

const MATRIX: Shape = Shape {
    q: &["h", "k"],
    x: &["h", "k"],
    w: &["h", "v"],
    l: &["h"],
    cut: &["b"],
    state: &["b", "h", "k", "v"],
    key: &["k"],
    is_narrow: false,
};

/// A decay for each key.
const KEYED: Shape = Shape { l: &["h", "k"], ..MATRIX };
const NARROW: Shape = Shape { is_narrow: true, ..KEYED };

const SHAPES: [Shape; 7] = [
    MATRIX,
    KEYED,
    NARROW,
    // A normaliser.
    Shape { w: &[], l: &[], cut: &[], state: &["h", "k"], ..MATRIX },
    // A moving average of a vector, and one with a decay for each of its elements.
    Shape { q: &[], x: &[], w: &["v"], l: &[], cut: &[], state: &["v"], key: &[], ..MATRIX },
    Shape { q: &["v"], x: &[], w: &[], l: &["v"], cut: &[], state: &["v"], key: &[], ..MATRIX },
    // Two key axes, keys shared by heads, nothing written but a scale.
    Shape { q: &["h", "k", "v"], x: &["k", "v"], w: &["b"], l: &[], cut: &["h"], key: &["k", "v"], ..MATRIX },
];

fn function(name: &str, graph: Graph) -> Function {
    Function { name: name.into(), kind: FunctionKind::Fn, residuals: Residuals::Save, graph }
}

fn module(line: &Line, shape: &Shape, length: Size) -> (Module, FunctionId) {
    let mut module = Module::default();
    let empty = Module::default();
    let mut b = Builder::new(&empty);
    b.axis("s", length);
    for (axis, size) in [("b", 2), ("h", 2), ("k", 3), ("v", 2)] {
        b.axis(axis, Size::Known(size));
    }
    let axes = |names: &[&str]| -> Vec<Axis> { names.iter().map(|n| Axis::new(n)).collect() };
    let sequence = |names: &[&str]| -> Vec<Axis> { [&axes(names)[..], &[Axis::new("s")]].concat() };
    let q = b.argument("q", DType::F32, &sequence(shape.q));
    let x = b.argument("x", DType::F32, &sequence(shape.x));
    let w = b.argument("w", DType::F32, &sequence(shape.w));
    let mut l = b.argument("l", DType::F32, &sequence(shape.l));
    if shape.is_narrow {
        let fading = b.sigmoid(l);
        l = b.neg(fading);
    }
    let cut = b.argument("cut", DType::Bool, &sequence(shape.cut));
    let start = b.argument("start", DType::F32, &axes(shape.state));
    let (y, last) = b.linread(line, Axes::new(axes(shape.key)), [q, x, w, l, cut, start]);
    b.output("y", y);
    b.output("last", last);
    let graph = b.finish().unwrap_or_else(|problems| panic!("{}", problems[0]));
    let id = module.push(function("f", graph));
    (module, id)
}

/// Decays of a few steps, sometimes of none, sometimes at once; a cut now and then.
fn draw(name: &str, numbers: &mut Numbers) -> f64 {
    match name {
        "l" => match numbers.below(12) {
            0 => -1e30,
            1 => numbers.next(-90.0, -20.0),
            2..=4 => numbers.next(-0.02, 0.0),
            _ => numbers.next(-2.0, 0.0),
        },
        "cut" => numbers.next(0.0, 0.55),
        _ => numbers.next(-1.0, 1.0),
    }
}

/// Everything that is not a linear scan's own: the derivative of the definition as a loop.
fn compare(line: &Line, shape: &Shape, length: Size, steps: u64, forms: &[Form]) -> f64 {
    let (scan, f) = module(line, shape, length);
    let mut numbers = Numbers::new(steps + 7);
    let (loops, _) = expand(&scan, &Form::Recurrent);
    let (wanted, g) = differentiated(&loops, f);
    let inputs = inputs(&wanted, g, &[("s", steps)], &mut numbers, &mut draw);
    let wanted_values = run(&wanted, g, &inputs);
    let (found, g) = differentiated(&scan, f);
    let mut worst = 0.0f64;
    let mut check = |what: &str, values: &[carousel_reference::Tensor<f64>]| {
        let errors = errors(&wanted, g, values, &wanted_values);
        assert_close(&format!("{what}, {line:?}, {steps} steps"), &errors, 1e-11);
        worst = errors.values().fold(worst, |m, e| m.max(*e));
    };
    check("definition", &run(&found, g, &inputs));
    for form in forms {
        let (expanded, sites) = expand(&found, form);
        assert!(sites.len() >= 4, "{sites:?}");
        let left = |graph: &Graph| graph.nodes.iter().any(|n| Line::of(&n.op).is_some());
        assert!(!expanded.functions.iter().any(|f| left(&f.graph)));
        check(&format!("{form:?}"), &run(&expanded, g, &inputs));
    }
    worst
}

const FORMS: [Form; 5] =
    [Form::Recurrent, Form::Parallel, Form::Chunkwise(3), Form::Chunkwise(16), Form::TwoLevel(8, 3)];

#[test]
fn all_forms_agree_on_every_line() {
    for line in lines() {
        for steps in [0, 1, 2, 7, 33] {
            compare(&line, &MATRIX, Size::symbol("s"), steps, &FORMS);
        }
    }
}

#[test]
fn all_forms_agree_for_every_shape() {
    for line in lines() {
        for shape in &SHAPES {
            compare(&line, shape, Size::symbol("s"), 19, &FORMS);
        }
    }
}

#[test]
fn lengths_that_are_known_agree() {
    let line = Line { axis: "s".into(), direction: Direction::Forward, edge: Edge::Before, read: Read::New };
    for steps in [1, 3, 6, 7, 32] {
        compare(&line, &MATRIX, Size::Known(steps), steps, &FORMS);
    }
}

#[test]
fn long_sequences_agree() {
    for line in &lines()[..2] {
        let forms = [Form::Chunkwise(16), Form::Chunkwise(64), Form::Chunkwise(100)];
        for steps in [64, 100, 257] {
            let worst = compare(line, &MATRIX, Size::symbol("s"), steps, &forms);
            println!("{steps} steps: {worst:e}");
        }
    }
}

#[test]
fn candidates_say_by_which_rules() {
    let line = Line { axis: "s".into(), direction: Direction::Forward, edge: Edge::Before, read: Read::New };
    let (scan, f) = module(&line, &MATRIX, Size::symbol("s"));
    let (backward, _) = differentiated(&scan, f);
    let names = |form: Form, operation: &str| -> Vec<String> {
        let (_, sites) = expand(&backward, &form);
        assert!(sites.iter().all(|s| s.stop == Stop::Saturated), "{sites:?}");
        sites.into_iter().find(|s| s.operation == operation).expect("it is there").rules
    };
    let (parallel, chunks) = (Form::Parallel, Form::Chunkwise(16));
    assert!(names(Form::Recurrent, "linread").is_empty());
    assert_eq!(names(parallel, "linread"), ["parallel-read", "parallel-state"]);
    assert_eq!(names(parallel, "linread_decay"), ["parallel-decay"]);
    assert_eq!(names(chunks, "linread"), ["chunk-read", "chunk-state", "parallel-read"]);
    assert_eq!(names(chunks, "linread_decay"), ["chunk-decay", "parallel-decay"]);
    assert_eq!(names(Form::TwoLevel(64, 16), "linread"), names(chunks, "linread"));
}

#[test]
fn weights_are_products_where_decays_add_up_to_little() {
    let line = Line { axis: "s".into(), direction: Direction::Forward, edge: Edge::Before, read: Read::New };
    let inside = |shape: &Shape, form: Form| {
        let (scan, _) = module(&line, shape, Size::symbol("s"));
        let (_, sites) = expand(&scan, &form);
        sites[0].rules.last().expect("a scan was taken away").clone()
    };
    let chunks = Form::Chunkwise;
    assert_eq!(inside(&NARROW, chunks(16)), "parallel-narrow-read");
    assert_eq!(inside(&NARROW, Form::TwoLevel(64, 16)), "parallel-narrow-read");
    // Seventeen steps may leave less than e^-16, and sixteen of nobody knows how much.
    assert_eq!(inside(&NARROW, chunks(17)), "parallel-keyed-read");
    assert_eq!(inside(&KEYED, chunks(16)), "parallel-keyed-read");
    let cut_apart = Shape { cut: &["k"], ..NARROW };
    assert_eq!(inside(&cut_apart, chunks(16)), "parallel-keyed-read");
}

/// Axes of all values, those in the bodies of loops included.
fn values(graph: &Graph, found: &mut Vec<Axes>) {
    for node in &graph.nodes {
        found.extend(node.types.iter().map(|t| t.axes.clone()));
        if let Op::Scan { scan } = &node.op {
            values(&scan.body, found);
        }
    }
}

#[test]
fn no_state_of_every_step_becomes_a_value() {
    let line = Line { axis: "s".into(), direction: Direction::Forward, edge: Edge::Before, read: Read::New };
    let (scan, f) = module(&line, &MATRIX, Size::symbol("s"));
    let (backward, _) = differentiated(&scan, f);
    for form in [Form::Parallel, Form::Chunkwise(64)] {
        let (expanded, _) = expand(&backward, &form);
        let mut all = Vec::new();
        expanded.functions.iter().for_each(|f| values(&f.graph, &mut all));
        let both = Axes::new(["k".into(), "v".into()]);
        for axes in all.iter().filter(|a| both.is_subset(a)) {
            let along: Vec<_> = axes
                .iter()
                .filter(|a| {
                    !["b", "h", "k", "v", "chunk"].contains(&a.as_str().split('.').next().unwrap_or(""))
                })
                .collect();
            assert!(along.is_empty(), "{form:?}: [{axes}]");
        }
    }
}
