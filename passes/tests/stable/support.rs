//! Programs from text.

use carousel_ir::{FunctionId, Graph, Module, Op, OpKind, Options, Scan, elaborate, parse_program};
use carousel_passes::{StableOptions, StableReport, stabilize};

/// The module of a text, and its first function.
pub(crate) fn module(text: &str) -> (Module, FunctionId) {
    let no_files = |_: &str| Err("there are no files".to_string());
    let program = parse_program("cell.xl", text, &no_files).unwrap_or_else(|e| panic!("{e}"));
    let after = text.split("fn ").nth(1).expect("there is a function");
    let name = after.split('(').next().expect("it has a name");
    let module = elaborate(&program, &[name], &Options::default()).unwrap_or_else(|e| panic!("{e:?}"));
    let function = module.find(name).expect("it was asked for");
    (module, function)
}

/// The same, stabilised.
pub(crate) fn stable(text: &str) -> (Module, FunctionId, StableReport) {
    let (module, function) = module(text);
    let (stable, report) = stabilize(&module, &StableOptions::default());
    (stable, function, report)
}

/// The loops of a graph.
pub(crate) fn scans(graph: &Graph) -> Vec<&Scan> {
    let scans = graph.nodes.iter();
    scans.filter_map(|n| if let Op::Scan { scan } = &n.op { Some(scan.as_ref()) } else { None }).collect()
}

/// The kinds of operations in the body of the first loop.
pub(crate) fn kinds(graph: &Graph) -> Vec<OpKind> {
    scans(graph)[0].body.nodes.iter().map(|n| n.op.kind()).collect()
}
