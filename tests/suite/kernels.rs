//! What the compiler makes of four small functions, whole: kernels, and the code generator's text of them.
//!
//! The texts do not depend on the processor, except that reductions need fused multiply-add, which every x86-64 since
//! 2013 and every arm64 has. An edit of a function changes the lines that it is about and few others.

use carousel_core::program::Program;
use carousel_core::{Target, lower};
use carousel_ir::text::Options;
use carousel_models::compile::simplified;
use carousel_models::library::bundled;
use carousel_testkit::recurrence::module;
use carousel_testkit::text::clif;
use similar::{ChangeTag, TextDiff};

/// One fused region of elementwise operations.
const GATE: &str = "
fn f(x: [s, d], g: [s, d], bias: [d]) -> (y: [s, d]) {
  let y = x * sigmoid(g) + bias
}";

/// A reduction, and what is done with its result.
const LENGTH: &str = "
fn f(x: [s, d]) -> (y: [s]) {
  let y = sqrt(sum[d](x * x))
}";

/// A scan: an exponential moving average.
const AVERAGE: &str = "
fn f(x: [s, d], rate: [d]) -> (y: [s, d]) {
  scan s {
    state c: [d] = 0
    c' = sigmoid(rate) * c + (1 - sigmoid(rate)) * x
    yield y = c'
  }
}";

/// The kernels of a function with 64 channels and any number of steps.
fn lowered(text: &str, function: &str) -> Program {
    let options = Options { sizes: [("d".to_string(), 64)].into(), ..Options::default() };
    let (module, root) = module(text, function, &options).unwrap();
    let module = simplified(&module);
    lower(&module, root, &Target::default()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

#[test]
fn a_fused_elementwise_region() {
    let program = lowered(GATE, "f");
    assert_eq!(program.kernels.len(), 1, "everything is fused");
    insta::assert_snapshot!("gate_kernel", program.to_string());
    insta::assert_snapshot!("gate_clif", clif(&program).unwrap());
}

#[test]
fn a_reduction() {
    let program = lowered(LENGTH, "f");
    assert_eq!(program.kernels.len(), 1, "the square root needs no kernel of its own");
    insta::assert_snapshot!("length_kernel", program.to_string());
    insta::assert_snapshot!("length_clif", clif(&program).unwrap());
}

#[test]
fn a_scan_of_one_state() {
    let program = lowered(AVERAGE, "f");
    assert_eq!(program.kernels.len(), 1, "a scan is one kernel");
    insta::assert_snapshot!("average_kernel", program.to_string());
    insta::assert_snapshot!("average_clif", clif(&program).unwrap());
}

#[test]
fn the_slstm_cell() {
    let text = bundled("reference/slstm.xl").expect("it is built in");
    let program = lowered(text, "slstm_unmixed");
    insta::assert_snapshot!("slstm_kernel", program.to_string());
    insta::assert_snapshot!("slstm_clif", clif(&program).unwrap());
}

/// What an edit of a function does to the text: lines that go, lines that come, lines in all.
fn changes(before: &str, after: &str) -> (usize, usize, usize) {
    let (before, after) = (clif(&lowered(before, "f")).unwrap(), clif(&lowered(after, "f")).unwrap());
    let diff = TextDiff::from_lines(&before, &after);
    let count = |tag| diff.iter_all_changes().filter(|change| change.tag() == tag).count();
    (count(ChangeTag::Delete), count(ChangeTag::Insert), before.lines().count())
}

#[test]
fn one_more_operation_leaves_the_text_as_it_is() {
    // A further output, and a line after the one that is named.
    let edit = |text: &str, output: &str, at: &str, line: &str| {
        let (header, body) = text.split_once(") {").expect("a function has a body");
        assert!(body.contains(at), "{text}");
        format!("{header}, {output}) {{{}", body.replacen(at, &format!("{at}\n{line}"), 1))
    };
    let cases = [
        (GATE, edit(GATE, "z: [s, d]", "+ bias", "  let z = abs(x)")),
        (LENGTH, edit(LENGTH, "z: [s]", "(x * x))", "  let z = abs(y)")),
        (AVERAGE, edit(AVERAGE, "z: [s, d]", "yield y = c'", "    yield z = abs(x)")),
    ];
    for (before, after) in cases {
        let (gone, come, all) = changes(before, &after);
        assert!(come > 0, "the edit does something:\n{after}");
        assert!(gone * 10 <= all, "{gone} of {all} lines changed for\n{after}");
    }
}

#[test]
fn the_text_is_the_same_every_time() {
    for text in [GATE, LENGTH, AVERAGE] {
        let (first, second) = (lowered(text, "f"), lowered(text, "f"));
        assert_eq!(first.to_string(), second.to_string());
        assert_eq!(clif(&first), clif(&second));
    }
}
