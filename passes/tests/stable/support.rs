//! Programs from text, evaluation, random inputs.

use carousel_ir::{FunctionId, Module, Options, elaborate, parse_program};
use carousel_passes::{StableOptions, StableReport, stabilize};

/// The module of a text with one function, and that function.
pub(crate) fn module(text: &str) -> (Module, FunctionId) {
    let program = parse_program("cell.xl", text, &|_: &str| Err("there are no files".to_string())).unwrap_or_else(|e| panic!("{e:?}"));
    let name = program_name(text);
    let module = elaborate(&program, &[name], &Options::default()).unwrap_or_else(|e| panic!("{e:?}"));
    let function = module.find(name).expect("it was asked for");
    (module, function)
}

/// The name of the last function of a text.
fn program_name(text: &str) -> &str {
    let after = text.rsplit("fn ").next().expect("there is a function");
    after.split('(').next().expect("there is a name")
}

/// The same, stabilised.
pub(crate) fn stable(text: &str) -> (Module, FunctionId, StableReport) {
    let (module, function) = module(text);
    let (stable, report) = stabilize(&module, &StableOptions::default());
    (stable, function, report)
}
