//! What is derived is derived once, and where a limit was hit this is said.

use crate::support::module;
use carousel_ir::{FunctionId, Module, Op, elaborate, parse_program};
use carousel_passes::{
    Limits, Options, Rules, SizeWeighted, StableOptions, Stop, canonicalize_traced, canonicalize_with,
    stabilize, stabilize_traced,
};

const CELL: &str = "
fn cell(i: [s], f: [s], x: [s]) -> (h: [s]) {
  scan s {
    state c: [] = 0
    state n: [] = 0
    c' = sigmoid(f) * c + exp(i) * x
    n' = sigmoid(f) * n + exp(i)
    yield h = c' / n'
  }
}
";

fn elaborated(text: &str, function: &str) -> Module {
    let program =
        parse_program("m.xl", text, &|_| Err("there are no files".into())).unwrap_or_else(|e| panic!("{e}"));
    let module = elaborate(&program, &[function], &carousel_ir::Options::default());
    module.unwrap_or_else(|e| panic!("{e:?}"))
}

#[test]
fn equal_blocks_are_derived_once() {
    let text = format!(
        "{CELL}
block layer(x: [s]) -> (y: [s]) {{
  param a: [] ~ constant(0)
  param b: [] ~ constant(0)
  let y = x + cell(a + x, b + x, x)
}}
model deep(x: [s]) -> (y: [s]) {{
  let h = x
  repeat turn in 0..48 {{
    h = layer(h) as layer
  }}
  let y = h
}}
"
    );
    let module = elaborated(&text, "deep");
    let calls = |module: &Module| {
        let root = module.find("deep").expect("it was asked for");
        module[root].graph.nodes.iter().filter(|n| matches!(n.op, Op::Call { .. })).count()
    };
    assert_eq!((module.functions.len(), calls(&module)), (2, 48));
    let options = Options {
        rules: Rules::builtin(),
        limits: Limits::default(),
        cost: &SizeWeighted::default(),
        done: None,
    };
    let (module, report) = canonicalize_with(&module, options);
    assert_eq!(report.graphs.len(), 3, "the loop, the block and the model");
    let (module, report) = stabilize(&module, &StableOptions::default());
    assert_eq!((report.scans.len(), calls(&module)), (1, 48));
}

#[test]
fn equal_loops_in_different_functions_are_derived_once() {
    let text = format!(
        "{CELL}
fn one(i: [s], f: [s], x: [s]) -> (y: [s]) {{ let y = 2 * cell(i, f, x) }}
fn other(i: [s], f: [s], x: [s]) -> (y: [s]) {{ let y = cell(i, f, x) - 1 }}
"
    );
    let program = parse_program("m.xl", &text, &|_| Err("there are no files".into())).unwrap();
    let module = elaborate(&program, &["one", "other"], &carousel_ir::Options::default()).unwrap();
    let options = Options {
        rules: Rules::builtin(),
        limits: Limits::default(),
        cost: &SizeWeighted::default(),
        done: None,
    };
    let (module, report, trace) = canonicalize_traced(&module, options);
    let again: Vec<&str> = report.graphs.iter().filter(|g| g.again).map(|g| g.name.as_str()).collect();
    assert!(again.len() == 1 && again[0].starts_with("other/scan "), "{report}");
    assert_eq!(trace.graphs.len(), report.graphs.len() - 1);
    let (stable, report, trace) = stabilize_traced(&module, &StableOptions::default());
    let again: Vec<bool> = report.scans.iter().map(|s| s.again).collect();
    assert_eq!((again, trace.graphs.len()), (vec![false, true], 1), "{report}");
    // Both have the same loop, and it is the same every time.
    let body = |function: u32| {
        let graph = &stable[FunctionId(function)].graph;
        let scan = graph
            .nodes
            .iter()
            .find_map(|n| if let Op::Scan { scan } = &n.op { Some(scan.clone()) } else { None });
        scan.expect("it is a loop")
    };
    assert_eq!(body(0), body(1));
    assert_eq!(stable, stabilize(&module, &StableOptions::default()).0);
}

#[test]
fn limits_are_reported_and_what_was_found_is_right() {
    let (module, _) = module(CELL);
    let cost = SizeWeighted::default();
    for (limits, stop) in [
        (Limits { nodes: 20, ..Limits::default() }, Stop::Nodes),
        (Limits { rounds: 1, ..Limits::default() }, Stop::Rounds),
    ] {
        let (_, report) = stabilize(&module, &StableOptions { rules: Rules::stable(), limits });
        assert_eq!(report.limited().map(|s| s.stop).collect::<Vec<_>>(), [stop], "{report}");
        assert!(report.to_string().contains(&stop.to_string()), "{report}");
        let (canonical, report, trace) = canonicalize_traced(
            &module,
            Options { rules: Rules::builtin(), limits, cost: &cost, done: None },
        );
        assert_eq!(carousel_ir::verify(&canonical), []);
        // A proof of what was found holds even then.
        for graph in &trace.graphs {
            assert!(matches!(&graph.proof, Some(Ok(_))), "{}", graph.name);
        }
        let tiny = Limits { nodes: 2, rounds: 1 };
        let (_, report_of_tiny) = canonicalize_with(
            &module,
            Options { rules: Rules::builtin(), limits: tiny, cost: &cost, done: None },
        );
        assert!(report_of_tiny.limited().count() > 0 && report.graphs.len() == report_of_tiny.graphs.len());
    }
}
