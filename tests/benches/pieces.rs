//! The pieces that programs are made of, each measured alone, from source text to machine code on one thread, and the
//! stages of the compiler: `cargo bench --package carousel-tests --features bench`.
//!
//! They find out which piece became slower; what a model takes beside its peers is measured by `carousel bench`.

use carousel_autodiff::{Options as GradientOptions, gradient};
use carousel_core::backend::{Data, DataMut, Executable, Tensor};
use carousel_core::program::Port;
use carousel_core::{Target, lower};
use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{FunctionId, Module, Size};
use carousel_models::compile::{derived, in_forms_with_report, simplified};
use carousel_models::forms::FormOptions;
use carousel_passes::forms::{Form, Wanted};
use carousel_testkit::machine::backend;
use carousel_tests::filetest::load_library;
use divan::Bencher;
use std::fmt;

fn main() {
    divan::main();
}

/// A function of one kernel, or of a few, and its sizes.
struct Piece {
    name: &'static str,
    text: &'static str,
    sizes: &'static [(&'static str, u64)],
}

const PRODUCT: &str = "fn f(a: [m, k], b: [k, n]) -> (c: [m, n]) { let c = sum[k](a * b) }";
const STACKED: &str = "fn f(a: [h, m, k], b: [h, k, n]) -> (c: [h, m, n]) { let c = sum[k](a * b) }";

#[rustfmt::skip]
const PIECES: [Piece; 12] = [
    Piece { name: "product, large", text: PRODUCT, sizes: &[("m", 512), ("n", 512), ("k", 512)] },
    Piece { name: "products, small", text: STACKED, sizes: &[("h", 64), ("m", 16), ("n", 64), ("k", 64)] },
    Piece { name: "product with a vector", text: PRODUCT, sizes: &[("m", 1), ("n", 2048), ("k", 2048)] },
    Piece { name: "elementwise", text: "fn f(x: [n], z: [n]) -> (y: [n]) { let y = max(x * z + x, z) }", sizes: &[("n", 1 << 20)] },
    Piece { name: "exponentials", text: "fn f(x: [n]) -> (y: [n]) { let y = exp(x) }", sizes: &[("n", 1 << 18)] },
    Piece { name: "gates", text: "fn f(x: [n], z: [n]) -> (y: [n]) { let y = sigmoid(x) * tanh(z) }", sizes: &[("n", 1 << 18)] },
    Piece { name: "transposition", text: "fn f(x: [m, n]) -> (y: [n, m]) { let y = x * 3 }", sizes: &[("m", 512), ("n", 512)] },
    Piece { name: "sums of rows", text: "fn f(x: [m, n]) -> (y: [m]) { let y = sum[n](x) }", sizes: &[("m", 512), ("n", 512)] },
    Piece { name: "sums of columns", text: "fn f(x: [m, n]) -> (y: [n]) { let y = sum[m](x) }", sizes: &[("m", 512), ("n", 512)] },
    Piece { name: "running sum", text: "fn f(x: [m, n]) -> (y: [m, n]) { let y = cumsum[n](x) }", sizes: &[("m", 16), ("n", 4096)] },
    Piece { name: "loop of a vector", text: "fn f(x: [s, d], a: [s]) -> (y: [s, d]) { scan s { state c: [d] = 0  c' = tanh(a * c + x)  yield y = c' } }", sizes: &[("s", 1024), ("d", 64)] },
    Piece { name: "loop with a matrix", text: "fn f(x: [s, d], w: [d, e = d]) -> (y: [s, d]) { scan s { state c: [d] = 0  c' = tanh(x + sum[e](w * c[d -> e]))  yield y = c' } }", sizes: &[("s", 256), ("d", 256)] },
];

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

fn elaborated(text: &str, function: &str, sizes: &[(&str, u64)]) -> (Module, FunctionId) {
    let program = parse_program("piece.xl", text, &load_library).unwrap_or_else(|e| panic!("{e}"));
    let sizes = sizes.iter().map(|(name, size)| (name.to_string(), *size)).collect();
    let options = Options { sizes, ..Options::default() };
    let module = elaborate(&program, &[function], &options).unwrap_or_else(|d| panic!("{d:?}"));
    let root = module.find(function).expect("elaborated functions are there");
    (module, root)
}

/// Runs a function of known sizes on numbers between 0.5 and 1.
fn run(bencher: Bencher<'_, '_>, module: &Module, root: FunctionId) {
    let program = lower(module, root, &Target::default()).unwrap_or_else(|d| panic!("{d:?}"));
    let executable = backend(1).executable(program).unwrap_or_else(|e| panic!("{e}"));
    let shape = |port: &Port| -> Vec<u64> { port.sizes.iter().filter_map(Size::known).collect() };
    let count = |shape: &Vec<u64>| shape.iter().product::<u64>();
    let shapes: Vec<Vec<u64>> = executable.inputs().iter().map(shape).collect();
    let number = |i: u64| 0.5 + (i % 97) as f32 / 194.0;
    let data: Vec<Vec<f32>> = shapes.iter().map(|shape| (0..count(shape)).map(number).collect()).collect();
    let inputs: Vec<Tensor<'_>> =
        data.iter().zip(&shapes).map(|(data, shape)| Tensor { data: Data::F32(data), shape }).collect();
    let outputs = executable.outputs().iter();
    let mut data: Vec<Vec<f32>> = outputs.map(|port| vec![0.0; count(&shape(port)) as usize]).collect();
    let mut outputs: Vec<DataMut<'_>> = data.iter_mut().map(|data| DataMut::F32(data)).collect();
    bencher.bench_local(|| executable.run(&inputs, &mut outputs).unwrap_or_else(|e| panic!("{e}")));
}

#[divan::bench(args = PIECES)]
fn pieces(bencher: Bencher<'_, '_>, piece: &Piece) {
    let (module, root) = elaborated(piece.text, "f", piece.sizes);
    run(bencher, &simplified(&module), root);
}

const MLSTM: [(&str, u64); 3] = [("dk", 64), ("dv", 64), ("s", 1024)];

fn mlstm() -> (Module, FunctionId) {
    let text = load_library("cells/mlstm.xl").unwrap_or_else(|why| panic!("{why}"));
    let (module, root) = elaborated(&text, "mlstm", &MLSTM);
    (derived(&module), root)
}

fn in_form((module, root): &(Module, FunctionId), form: Form) -> Module {
    let options = FormOptions { wanted: Wanted::Only(form), ..FormOptions::default() };
    simplified(&in_forms_with_report(&simplified(module), &[*root], &options).0)
}

const FORMS: [Form; 3] = [Form::Recurrent, Form::Chunkwise(32), Form::Parallel];

#[divan::bench(args = FORMS)]
fn mlstm_forward(bencher: Bencher<'_, '_>, form: Form) {
    let cell = mlstm();
    run(bencher, &in_form(&cell, form), cell.1);
}

#[divan::bench(args = FORMS)]
fn mlstm_forward_and_backward(bencher: Bencher<'_, '_>, form: Form) {
    let (module, root) = mlstm();
    let both = gradient(&module, root, &GradientOptions::default()).unwrap_or_else(|d| panic!("{d:?}"));
    run(bencher, &in_form(&both, form), both.1);
}

/// The stages of compiling it, one by one.
mod compiler {
    use super::*;

    fn source() -> (Module, FunctionId) {
        let text = load_library("cells/mlstm.xl").unwrap_or_else(|why| panic!("{why}"));
        elaborated(&text, "mlstm", &MLSTM)
    }

    #[divan::bench]
    fn canonical_form(bencher: Bencher<'_, '_>) {
        let (module, _) = source();
        bencher.bench_local(|| simplified(&module));
    }

    #[divan::bench]
    fn stable_recurrences(bencher: Bencher<'_, '_>) {
        let (module, _) = source();
        bencher.bench_local(|| derived(&module));
    }

    #[divan::bench]
    fn gradients(bencher: Bencher<'_, '_>) {
        let (module, root) = mlstm();
        bencher.bench_local(|| gradient(&module, root, &GradientOptions::default()).expect("it has one"));
    }

    #[divan::bench]
    fn forms(bencher: Bencher<'_, '_>) {
        let cell = mlstm();
        bencher.bench_local(|| in_form(&cell, Form::Chunkwise(32)));
    }

    #[divan::bench]
    fn machine_code(bencher: Bencher<'_, '_>) {
        let cell = mlstm();
        let module = in_form(&cell, Form::Chunkwise(32));
        bencher.bench_local(|| {
            let program = lower(&module, cell.1, &Target::default()).unwrap_or_else(|d| panic!("{d:?}"));
            // A backend of its own: nothing is known from before.
            carousel_cpu::CpuBackend::new(1).executable(program).unwrap_or_else(|e| panic!("{e}"))
        });
    }
}
