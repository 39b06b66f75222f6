//! The CUDA C++ of a kernel of each class, whole.

use carousel_core::program::Program;
use carousel_core::{Target, lower};
use carousel_cuda::cuda;
use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{FunctionId, Module};
use carousel_models::compile::simplified;

/// A function of each class of kernels, with the name of its snapshot.
#[rustfmt::skip]
pub(crate) const CLASSES: [(&str, &str); 7] = [
    ("elementwise", "fn f(x: [s, d], g: [s, d], bias: [d]) -> (y: [s, d]) { let y = x * sigmoid(g) + bias }"),
    ("reduction",   "fn f(x: [s, d]) -> (y: [s]) { let y = sqrt(sum[d](x * x)) }"),
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
    let program = parse_program("kernels.xl", text, &|path| Err(format!("no `{path}`")));
    let program = program.unwrap_or_else(|failed| panic!("{failed}"));
    let module = elaborate(&program, &["f"], &Options::default()).unwrap_or_else(|problems| {
        panic!("{}", program.sources.render(&problems, carousel_ir::RenderStyle::Plain))
    });
    let module = simplified(&module);
    let root = module.find("f").expect("it was elaborated");
    (module, root)
}

pub(crate) fn lowered(text: &str) -> Program {
    let (module, root) = elaborated(text);
    lower(&module, root, &Target::default()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The text of a kernel without what is put in front of it.
fn own_text(text: &str) -> &str {
    let at = text.rfind("// `").expect("a kernel begins with its name");
    &text[at..]
}

#[test]
fn the_text_of_each_class() {
    for (name, text) in CLASSES {
        let program = lowered(text);
        let texts: Vec<String> = program.kernels.iter().map(|k| own_text(&cuda(k)).to_string()).collect();
        insta::assert_snapshot!(name, texts.join("\n"));
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
