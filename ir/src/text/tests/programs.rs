//! What programs mean: the functions, inputs and loops that they become.

use super::*;
use crate::{Axes, Axis, Direction, Function, Graph, Op, Role, Scan, Size};
use std::collections::BTreeMap;

const CELLS: &str = "
// mLSTM, matrix memory, for one head (xLSTM paper). The scale is on k.
fn mlstm(q: [s, dk], k: [s, dk], v: [s, dv], i: [s], f: [s]) -> (h: [s, dv]) {
  scan s {
    state C: [dk, dv] = 0
    state n: [dk] = 0
    let u = k / sqrt(|dk|)
    C' = sigmoid(f) * C + exp(i) * u * v
    n' = sigmoid(f) * n + exp(i) * u
    yield h = sum[dk](q * C') / max(abs(sum[dk](q * n')), 1)
  }
}

// sLSTM, scalar memory with memory mixing, heads as an axis.
fn slstm(z: [s, h, d], i: [s, h, d], f: [s, h, d], o: [s, h, d],
         rz: [h, d, e = d], ri: [h, d, e], rf: [h, d, e], ro: [h, d, e]) -> (y: [s, h, d]) {
  scan s {
    state c: [h, d] = 0
    state n: [h, d] = 0
    state y: [h, d] = 0
    let mix(r) = sum[e](r * y[d -> e])
    c' = sigmoid(f + mix(rf)) * c + exp(i + mix(ri)) * tanh(z + mix(rz))
    n' = sigmoid(f + mix(rf)) * n + exp(i + mix(ri))
    y' = sigmoid(o + mix(ro)) * c' / n'
    yield y = y'
  }
}
";

fn axes(names: &[&str]) -> Axes {
    names.iter().map(|n| Axis::new(n)).collect()
}

fn function<'m>(module: &'m Module, name: &str) -> &'m Function {
    &module[module.find(name).unwrap_or_else(|| panic!("no function {name}\n{}", print(module)))]
}

fn scans(graph: &Graph) -> Vec<&Scan> {
    let scans = graph.nodes.iter();
    scans.filter_map(|n| if let Op::Scan { scan } = &n.op { Some(scan.as_ref()) } else { None }).collect()
}

fn made(text: &str, entry: &str) -> Module {
    let program = parsed(text);
    let problems = check(&program);
    assert!(problems.is_empty(), "{}", program.sources.render(&problems, crate::RenderStyle::Plain));
    elaborated(&program, &[entry], &Options::default())
}

#[test]
fn the_cells_are_loops() {
    let module = made(CELLS, "mlstm");
    let cell = function(&module, "mlstm");
    let [scan] = scans(&cell.graph)[..] else { panic!("one loop") };
    assert_eq!((scan.states, scan.sequences, scan.direction), (2, 5, Direction::Forward));
    assert_eq!(scan.body.inputs[0].ty.axes, axes(&["dk", "dv"]));
    assert_eq!(cell.graph.outputs[0].axes.as_slice(), axes(&["s", "dv"]).as_slice());

    let module = made(CELLS, "slstm");
    let graph = &function(&module, "slstm").graph;
    let [scan] = scans(graph)[..] else { panic!("one loop") };
    assert_eq!((scan.states, scan.sequences), (3, 4));
    // The four recurrent weights are shared by all steps.
    assert_eq!(scan.body.inputs.len(), 3 + 4 + 4);
    assert_eq!(graph.axes.get(Axis::new("e")), Some(&Size::symbol("d")));
}

#[test]
fn mapping_grows_states_but_not_shared_values() {
    let text = format!(
        "{CELLS}
fn heads(q: [b, h, s, dk], k: [b, h, s, dk], v: [b, h, s, dv], i: [b, h, s], f: [b, h, s], w: [dv]) -> (y: [b, h, s, dv]) {{
  let y = mlstm(q, k, v, i, f) * w
}}
fn ramp(x: [s], w: []) -> (y: [s]) {{
  scan s {{ state a: [] = 0 ; state t: [] = 0 ; a' = a + x * w ; t' = t + w ; yield y = a' + t' }}
}}
fn mapped(x: [b, s], w: []) -> (y: [b, s]) {{ let y = ramp(x, w) }}"
    );
    let module = made(&text, "heads");
    let [scan] = scans(&function(&module, "heads").graph)[..] else { panic!("one loop") };
    assert_eq!(scan.body.inputs[0].ty.axes, axes(&["b", "h", "dk", "dv"]));
    assert_eq!(scan.body.inputs[1].ty.axes, axes(&["b", "h", "dk"]));

    let module = made(&text, "mapped");
    let [scan] = scans(&function(&module, "mapped").graph)[..] else { panic!("one loop") };
    assert_eq!(scan.body.inputs[0].ty.axes, axes(&["b"]), "this state depends on x");
    assert_eq!(scan.body.inputs[1].ty.axes, axes(&[]), "this one does not");
}

#[test]
fn roots_can_be_mapped_by_options() {
    let program = parsed(CELLS);
    let leading = || vec!["b".to_string(), "head".to_string()];
    let map: BTreeMap<String, Vec<String>> =
        ["q", "k", "v", "i", "f"].into_iter().map(|n| (n.to_string(), leading())).collect();
    let sizes = BTreeMap::from([("dk".to_string(), 4), ("head".to_string(), 2)]);
    let options = Options { map, sizes, ..Options::default() };
    let module = elaborated(&program, &["mlstm"], &options);
    let graph = &function(&module, "mlstm").graph;
    assert_eq!(graph.inputs[0].ty.axes.as_slice(), axes(&["b", "head", "s", "dk"]).as_slice());
    assert_eq!(graph.outputs[0].axes.as_slice(), axes(&["b", "head", "s", "dv"]).as_slice());
    assert_eq!(graph.axes.get(Axis::new("dk")), Some(&Size::Known(4)));
    assert_eq!(graph.axes.get(Axis::new("b")), Some(&Size::symbol("b")));
}

const MODEL: &str = "
block mix<wide: bool = false>(x: [b, s, d]) -> (y: [b, s, d]) {
  param up: [d, e = if wide { 4 * d } else { ceil(4 * d / 3, 8) }] ~ normal(0, sqrt(2 / (5 * |d|)))
  param down: [e, d] ~ zeros nodecay
  let y = x + dropout(sum[e](max(sum[d](x * up), 0) * down), 0.1, mask)
}
model lm<layers: int, vocab: int = 11, wide_at: set = {}>(tokens: i32[b, s]) -> (logits: [b, s, vocab]) {
  param embedding: [vocab, d = 12] ~ uniform(-1, 1)
  let x = embedding[vocab = tokens]
  repeat layer in 0..layers {
    x = if layer in wide_at { mix<wide = true>(x) } else { mix(x) as narrow }
  }
  let logits = sum[d](x * embedding)
}
model loss(tokens: i32[b, s], target: i32[b, s]) -> (loss: []) {
  let logits = lm(tokens)
  let loss = mean[b, s](sum[vocab](select(iota(vocab) == target, logits, 0)))
}
";

fn config(layers: i64, wide: &[i64]) -> Options {
    let config = BTreeMap::from([
        ("layers".to_string(), ConfigValue::Int(layers)),
        ("wide_at".to_string(), ConfigValue::List(wide.to_vec())),
    ]);
    Options { config, ..Options::default() }
}

#[test]
fn blocks_are_made_once_and_called() {
    let program = parsed(MODEL);
    assert_eq!(check(&program), []);
    let module = elaborated(&program, &["lm"], &config(4, &[2]));
    let names: Vec<&str> = module.functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["mix", "mix.1", "lm"], "one function per configuration");
    let graph = &function(&module, "lm").graph;
    let calls = graph.nodes.iter().filter(|n| matches!(n.op, Op::Call { .. })).count();
    assert_eq!(calls, 4);
    let names: Vec<&str> = graph.inputs.iter().map(|i| i.name.as_str()).collect();
    for name in ["tokens", "embedding", "seed", "step", "layer.0.narrow.up", "layer.2.mix.down"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    // Both widths live in the caller, under different names.
    let width = |name: &str| {
        let input = graph.inputs.iter().find(|i| i.name.as_str() == name).expect("it is there");
        assert!(matches!(input.role, Role::Parameter { .. }));
        graph.axes.size(input.ty.axes.as_slice()[1]).clone()
    };
    assert_eq!(width("layer.0.narrow.up"), Size::Known(16));
    assert_eq!(width("layer.2.mix.up"), Size::Known(48));
    // Each call draws under its own seed.
    let folds: std::collections::BTreeSet<u32> = graph
        .nodes
        .iter()
        .filter_map(|n| if let Op::FoldIn { number } = n.op { Some(number) } else { None })
        .collect();
    assert_eq!(folds.len(), 4);
}

#[test]
fn how_parameters_start_makes_no_function_of_its_own() {
    let program = parsed(
        "block inner<start: float>(x: [s]) -> (y: [s]) {
           param bias: [] ~ constant(start) nodecay
           let y = x + bias
         }
         block outer<start: float, power: float>(x: [s]) -> (y: [s]) {
           param scale: [] ~ constant(power)
           let y = scale * (inner(x) as inner)
         }
         model lm(x: [s]) -> (y: [s]) {
           let y = x
           repeat layer in 0..3 {
             y = outer<start = 0.5 * layer, power = layer + 1>(y)
           }
         }",
    );
    let module = elaborated(&program, &["lm"], &Options::default());
    let names: Vec<&str> = module.functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["inner", "outer", "lm"]);
    let starts: Vec<String> = function(&module, "lm")
        .graph
        .inputs
        .iter()
        .filter_map(|i| if let Role::Parameter { init, .. } = i.role { Some(init.to_string()) } else { None })
        .collect();
    let wanted = [1.0, 0.0, 2.0, 0.5, 3.0, 1.0].map(|start: f64| format!("constant({start})"));
    assert_eq!(starts, wanted, "scale and bias of each layer");
}

#[test]
fn a_model_called_by_a_model_is_the_root_itself() {
    let program = parsed(MODEL);
    for entries in [["lm", "loss"], ["loss", "lm"]] {
        let module = elaborated(&program, &entries, &config(2, &[]));
        let names: Vec<&str> = module.functions.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["mix", "lm", "loss"]);
        let inputs = &function(&module, "loss").graph.inputs;
        assert!(inputs.iter().any(|i| i.name.as_str() == "layer.1.narrow.up"), "the model adds no component");
    }
}

#[test]
fn scans_start_reset_and_run_backwards() {
    let module = made(
        "fn f(x: [s, d], r: bool[s], a0: [d], n0: i32) -> (y: [s, d], a: [d], n: i32) {
           scan s reverse reset r {
             state a: [d] = a0
             state n: i32 = n0
             state m: [] = -inf
             a' = n' + b + cast[f32](iota(s) - |s|) * m
             let b = a * 2
             n' = n + 1
             m' = max(m, sum[d](x))
             yield y = a'
           }
         }"
        .replace("a' = n' +", "a' = cast[f32](n') +")
        .as_str(),
        "f",
    );
    let graph = &function(&module, "f").graph;
    let [scan] = scans(graph)[..] else { panic!("one loop") };
    assert_eq!((scan.states, scan.direction), (3, Direction::Reverse));
    let selects = scan.body.nodes.iter().filter(|n| n.op == Op::Select).count();
    assert_eq!(selects, 3, "each state starts afresh");
    assert_eq!(graph.outputs.len(), 3);
}

#[test]
fn scans_nest_through_functions() {
    let module = made(
        "fn total(x: [t]) -> (y: []) { scan t { state y: [] = 0 ; y' = y + x } }
         fn f(x: [s, t], w: [s]) -> (y: [s]) { scan s { yield y = total(x * w + |s|) } }",
        "f",
    );
    let [outer] = scans(&function(&module, "f").graph)[..] else { panic!("one loop") };
    let [inner] = scans(&outer.body)[..] else { panic!("one loop in the loop") };
    assert_eq!((inner.axis, inner.states), (Axis::new("t"), 1));
}

#[test]
fn views_declare_axes() {
    let module = made(
        "fn f(x: [s, e = 12], table: [v = 5, e]) -> (a: [s, h, d], b: [t, e], c: [u, e], d: [s, g], i: [s, s2]) {
           let a = x[e => h = 4, d]
           let b = x[s -> t]
           let first = table[v -> w = 1..3]
           let c = concat[v, w => u](table, first)
           let d = a[h, d => g]
           let p = pad[v -> p = |v| + 2, 1](table)
           let i = select(iota(s) < iota(s)[s -> s2], 1, 0.5) + sum[p, e](p) + max[e](table[v = 0]) + x[s = 0, e = 3]
         }",
        "f",
    );
    let graph = &function(&module, "f").graph;
    let size = |name: &str| graph.axes.size(Axis::new(name)).clone();
    let found = ["h", "d", "w", "u", "p", "g"].map(size);
    assert_eq!(found, [4, 3, 2, 7, 7, 12].map(Size::Known));
    assert_eq!(size("t"), Size::symbol("s"));
}

#[test]
fn local_axes_of_expansions_stay_apart() {
    let module = made(
        "fn pairs(x: [s]) -> (y: []) { let y = sum[s, t](x * x[s -> t]) }
         fn f(x: [s, t = 3], y: [s]) -> (z: [t]) { let z = pairs(x) + pairs(y) }",
        "f",
    );
    let graph = &function(&module, "f").graph;
    assert_eq!(graph.axes.get(Axis::new("t")), Some(&Size::Known(3)));
    assert_eq!(graph.axes.get(Axis::new("t.1")), Some(&Size::symbol("s")));
}

#[test]
fn configuration_is_settled_while_elaborating() {
    let text = "
      fn act<kind: enum(gelu, swish, relu2) = swish>(x: []) -> (y: []) {
        let y = match kind { gelu => 0.5 * x * (1 + erf(x / sqrt(2))), swish => x * sigmoid(x), relu2 => square(max(x, 0)) }
      }
      model f<kind: enum(gelu, swish, relu2), deep: bool = false>(x: [s]) -> (y: [s]) {
        let y = act(x)
        if deep && kind != gelu { y = act<kind = gelu>(y) }
        match kind { relu2 => { y = y / 2^3 } else => {} }
      }";
    let program = parsed(text);
    assert_eq!(check(&program), []);
    let with = |kind: &str, deep: bool| {
        let config = BTreeMap::from([
            ("kind".to_string(), ConfigValue::Text(kind.to_string())),
            ("deep".to_string(), ConfigValue::Bool(deep)),
        ]);
        let module = elaborated(&program, &["f"], &Options { config, ..Options::default() });
        print(&module)
    };
    assert!(with("gelu", true).matches("erf(").count() == 1);
    assert!(with("swish", true).contains("sigmoid(") && with("swish", true).contains("erf("));
    let relu = with("relu2", false);
    assert!(relu.contains("max(") && relu.contains("const[8, f32]") && !relu.contains("erf("));
}

#[test]
fn files_use_files() {
    let load = |path: &str| match path {
        "cells/a.xl" => Ok("use \"main.xl\" fn a(x: [s]) -> (y: [s]) { let y = x }".to_string()),
        other => Err(format!("no {other}")),
    };
    let program =
        parse_program("main.xl", "use \"cells/a.xl\"\nfn b(x: [s]) -> (y: [s]) { let y = a(x) }", &load)
            .unwrap_or_else(|f| panic!("{f}"));
    elaborated(&program, &["b"], &Options::default());
    for bad in ["../a.xl", "/etc/passwd", "cells/b.xl", "a//b", ""] {
        let failed = parse_program("main.xl", &format!("use \"{bad}\""), &load).expect_err("it is refused");
        assert_eq!(failed.diagnostics[0].code, "use");
    }
}
