//! The pieces that programs are made of, alone: a matrix product, a chain of elementwise operations.
//!
//! They go the whole way from source text, as a user's function does.

use std::time::Instant;

use carousel_ir::text::{Failed, Options, elaborate, parse_program};
use clap::ValueEnum;

use super::measure::Report;
use super::{Common, Work, measured};
use crate::cli::common::Failure;

/// Which operand is stored transposed.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Layout {
    /// None.
    Nn,
    /// The right one.
    Nt,
    /// The left one.
    Tn,
}

/// `c = a b`.
pub(super) fn gemm([m, n, k]: [u64; 3], layout: Layout, common: &Common) -> Result<Report, Failure> {
    let (a, b) = match layout {
        Layout::Nn => ("m, k", "k, n"),
        Layout::Nt => ("m, k", "n, k"),
        Layout::Tn => ("k, m", "k, n"),
    };
    let text = format!("fn gemm(a: [{a}], b: [{b}]) -> (c: [m, n]) {{ let c = sum[k](a * b) }}");
    let work = Work { tokens: 0, flops: 2.0 * super::product(&[m, n, k]) };
    function("gemm", &text, &[("m", m), ("n", n), ("k", k)], work, common)
}

/// `y = f(x, z)`.
pub(super) fn pointwise(
    elements: u64,
    ops: u64,
    transcendental_every: u64,
    common: &Common,
) -> Result<Report, Failure> {
    let work = Work { tokens: 0, flops: super::product(&[elements, ops]) };
    function("pointwise", &chain(ops, transcendental_every), &[("n", elements)], work, common)
}

/// A chain of operations that keeps its values small.
fn chain(ops: u64, transcendental_every: u64) -> String {
    const CHEAP: [&str; 4] = ["v * z", "v + z", "max(v, z)", "v - z"];
    const TRANSCENDENTAL: [&str; 3] = ["tanh(v)", "sigmoid(v)", "exp(v)"];
    let (mut cheap, mut transcendental) = (CHEAP.iter().cycle(), TRANSCENDENTAL.iter().cycle());
    let mut text = String::from("fn pointwise(x: [n], z: [n]) -> (y: [n]) {\n  let v0 = x\n");
    for op in 0..ops {
        let is_transcendental =
            transcendental_every > 0 && op % transcendental_every == transcendental_every - 1;
        let of = if is_transcendental { transcendental.next() } else { cheap.next() };
        let of = of.expect("a cycle does not end").replace('v', &format!("v{op}"));
        text += &format!("  let v{} = {of}\n", op + 1);
    }
    text + &format!("  let y = v{ops}\n}}\n")
}

fn function(
    name: &'static str,
    text: &str,
    sizes: &[(&str, u64)],
    work: Work,
    common: &Common,
) -> Result<Report, Failure> {
    let started = Instant::now();
    let program = parse_program(name, text, &|p| Err(format!("no file `{p}`")))?;
    let options = Options {
        sizes: sizes.iter().map(|(n, size)| (n.to_string(), *size)).collect(),
        ..Options::default()
    };
    let fail = |diagnostics| Failure::Program(Failed { sources: program.sources.clone(), diagnostics });
    let engine = common.target.engine(sizes)?;
    let module = engine.prepared(&elaborate(&program, &[name], &options).map_err(fail)?);
    let root = module.find(name).expect("an elaborated function is in its module");
    let compiled = engine.compile_with_report(&module, root).map_err(fail)?;
    measured(name, &compiled, sizes, work, started.elapsed().as_secs_f64(), common)
}
