//! The CUDA C++ of a kernel of each class, whole.

use carousel_core::lower;
use carousel_core::program::Program;
use carousel_cuda::{compiled, cuda, target};
use carousel_ir::text::Options;
use carousel_ir::{FunctionId, Module};
use carousel_models::compile::simplified;
use carousel_testkit::{recurrence, text};
use carousel_tests::emulated::install_compiler;

/// A function of each class of kernels, with the name of its snapshot.
#[rustfmt::skip]
pub(crate) const CLASSES: [(&str, &str); 8] = [
    ("elementwise", "fn f(x: [s, d], g: [s, d], bias: [d]) -> (y: [s, d]) { let y = x * sigmoid(g) + bias }"),
    ("reduction",   "fn f(x: [s, d]) -> (y: [s]) { let y = sqrt(sum[d](x * x)) }"),
    ("columns",     "fn f(x: [s, d]) -> (y: [d]) { let y = sum[s](x * x) }"),
    ("maximum",     "fn f(x: [n]) -> (y: []) { let y = max[n](x) }"),
    ("product",     "fn f(a: [m, k], b: [k, n]) -> (c: [m, n]) { let c = sum[k](a * b) }"),
    ("running_sum", "fn f(x: [n]) -> (y: [n]) { let y = cumsum[n](x) }"),
    ("scan",        "fn f(x: [s, d], rate: [d]) -> (y: [s, d]) {
                       scan s { state c: [d] = 0  c' = sigmoid(rate) * c + (1 - sigmoid(rate)) * x  yield y = c' }
                     }"),
    ("memory",      "fn f(q: [s, e], k: [s, e], v: [s, d]) -> (h: [s, d]) {
                       scan s { state C: [e, d] = 0  C' = 0.9 * C + k * v  yield h = sum[e](q * C') }
                     }"),
];

/// The function `f` of a text, simplified.
pub(crate) fn elaborated(text: &str) -> (Module, FunctionId) {
    let (module, root) = recurrence::module(text, "f", &Options::default()).unwrap();
    (simplified(&module), root)
}

pub(crate) fn lowered(text: &str) -> Program {
    let (module, root) = elaborated(text);
    lower(&module, root, &target()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

#[test]
fn the_text_of_each_class() {
    for (name, function) in CLASSES {
        insta::assert_snapshot!(name, text::cuda(&lowered(function)));
    }
}

#[test]
fn the_text_is_the_same_every_time() {
    for (_, text) in CLASSES {
        let (first, second) = (lowered(text), lowered(text));
        for (a, b) in first.kernels.iter().zip(&second.kernels) {
            assert_eq!(cuda(a), cuda(b));
        }
    }
}

/// Lines of a kernel, and the lines of the program that they compute.
#[test]
fn lines_come_from_lines_of_the_program() {
    install_compiler();
    let text = "fn f(x: [s, d = 64], w: [d]) -> (y: [s, d], z: [s, d]) {
      let scale = sqrt(sum[d](x * x) + 1)
      let y = tanh(x / scale) * w
      let z = y * y + 1
    }";
    let line_of = |at: usize| text[..at].matches('\n').count() + 1;
    let mut found = Vec::new();
    for kernel in &lowered(text).kernels {
        let compiled = compiled(kernel).unwrap_or_else(|error| panic!("{error}"));
        for (number, line) in cuda(kernel).lines().enumerate() {
            let name =
                line.trim_start().strip_prefix("store_run<false>(&").and_then(|rest| rest.split_once('['));
            if let Some((name, _)) = name {
                let span = compiled.origin(number as u32 + 1).expect("a line of the program");
                found.push((name.to_string(), line_of(span.start as usize)));
            }
        }
    }
    found.sort();
    assert_eq!(found, [("y_".to_string(), 3), ("z_".to_string(), 4)]);
}
