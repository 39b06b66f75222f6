//! The published cells as they are written in `models/xl`, at several lengths, against the reference.

mod support;

use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{DType, FunctionId, Module};
use std::path::Path;

/// A function of a file in `models/xl`.
fn model(file: &str, entry: &str, sizes: &[(&str, u64)], dtype: DType) -> (Module, FunctionId) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/xl");
    let load = |path: &str| std::fs::read_to_string(folder.join(path)).map_err(|e| e.to_string());
    let text = load(file).expect("the file is there");
    let program = parse_program(file, &text, &load).unwrap_or_else(|_| panic!("{file} has problems"));
    let sizes = sizes.iter().map(|(name, n)| (name.to_string(), *n)).collect();
    let options = Options { sizes, dtype, ..Options::default() };
    let module = elaborate(&program, &[entry], &options).unwrap_or_else(|e| panic!("{file}: {e:?}"));
    let root = FunctionId(module.functions.len() as u32 - 1);
    (module, root)
}

/// In f32 and, as a mode for checking, in f64.
fn agree(file: &str, entry: &str, sizes: &[(&str, u64)], lengths: &[[u64; 1]]) {
    for (dtype, tolerance) in [(DType::F32, 1e-4), (DType::F64, 1e-11)] {
        let (module, root) = model(file, entry, sizes, dtype);
        support::agree_at(&module, root, &["s"], lengths, tolerance);
    }
}

#[test]
fn slstm_with_memory_mixing() {
    agree("reference/slstm.xl", "slstm", &[("h", 2), ("d", 5)], &[[1], [7], [40]]);
}

#[test]
fn slstm_without_memory_mixing() {
    agree("reference/slstm.xl", "slstm_unmixed", &[("h", 3), ("d", 4)], &[[1], [7], [100]]);
}

#[test]
fn mlstm() {
    agree("reference/mlstm.xl", "mlstm", &[("dk", 6), ("dv", 19)], &[[1], [7], [50]]);
}

#[test]
fn layers() {
    agree("layers/norm.xl", "layer_norm", &[("c", 50)], &[[1]]);
    agree("layers/norm.xl", "rms_norm", &[("c", 3)], &[[1]]);
    agree("layers/conv.xl", "causal_conv", &[("c", 9)], &[[1], [3], [20]]);
    agree("layers/loss.xl", "cross_entropy", &[("vocab", 41)], &[[1]]);
}
