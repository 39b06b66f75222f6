//! Weights are read where they lie in their files, whatever their dtype and the order of their axes, by whatever reads them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use carousel_core::backend::DataMut;
use carousel_ir::DType;
use carousel_models::batch::Batch;
use carousel_models::compile::Engine;
use carousel_models::external::External;
use carousel_models::library::Cells;
use carousel_models::model::{Model, Reading};
use carousel_models::piece::Memory;
use carousel_models::weights::Weights;
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// A tensor of a file.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn tests(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(path)
}

/// A folder with other tensors.
fn rewritten(from: &Path, change: impl Fn(&str, &mut Stored)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(from.join("config.json"), folder.path().join("config.json")).unwrap();
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let changed: BTreeMap<String, Stored> = tensors
        .iter()
        .map(|(name, view)| {
            let (dtype, shape, bytes) = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            let mut stored = Stored { dtype, shape, bytes };
            change(name, &mut stored);
            (name.to_string(), stored)
        })
        .collect();
    let views = changed.iter().map(|(name, Stored { dtype, shape, bytes })| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, &folder.path().join("model.safetensors")).unwrap();
    folder
}

/// The recurrent weights and the biases of sLSTM cells as the package's CUDA cell stores them.
fn as_cuda(name: &str, tensor: &mut Stored) {
    let elements = tensor.bytes.len() / 4;
    let of = |places: Vec<usize>| -> Vec<u8> {
        places.into_iter().flat_map(|at| tensor.bytes[4 * at..4 * at + 4].to_vec()).collect()
    };
    if name.ends_with("_recurrent_kernel_") {
        let [h, gp, r] = tensor.shape[..] else { panic!("{:?}", tensor.shape) };
        let from = |at: usize| at / (r * gp) * gp * r + at % gp * r + at / gp % r;
        tensor.bytes = of((0..elements).map(from).collect());
        tensor.shape = vec![h, r, gp];
    } else if name.ends_with("_bias_") {
        // Heads outermost: there are two.
        let (heads, p) = (2, elements / 8);
        let from = |at: usize| at / p % 4 * heads * p + at / (4 * p) * p + at % p;
        tensor.bytes = of((0..elements).map(from).collect());
    }
}

/// The same numbers, rounded, in 16 bits.
fn as_halves(tensor: &mut Stored, dtype: Dtype) {
    let bits = floats(tensor).map(|x| {
        let (brain, half) = (bf16::from_f32(x), f16::from_f32(x));
        if dtype == Dtype::BF16 { brain.to_bits() } else { half.to_bits() }
    });
    tensor.bytes = bits.flat_map(u16::to_le_bytes).collect();
    tensor.dtype = dtype;
}

/// Rounded to what f16 can say.
fn rounded(tensor: &mut Stored) {
    let numbers = floats(tensor).map(|x| f16::from_f32(x).to_f32());
    tensor.bytes = numbers.flat_map(f32::to_le_bytes).collect();
}

fn floats(tensor: &Stored) -> impl Iterator<Item = f32> {
    tensor.bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word))
}

struct Opened {
    model: Model,
    weights: Weights<'static>,
}

fn open(folder: &Path) -> Opened {
    let external = External::open(folder).unwrap().expect("a checkpoint of another program");
    let model = external.model(Cells::Published).unwrap();
    let weights = external.weights(&model).unwrap_or_else(|error| panic!("{error}"));
    Opened { model, weights }
}

const TOKENS: [i32; 12] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8];

fn batch() -> Batch {
    let labels = TOKENS.iter().map(|token| (token + 1) % 11).collect();
    Batch { rows: 2, context: 6, inputs: TOKENS.to_vec(), labels, starts: Vec::new() }
}

/// Logits of every token and the loss, of functions for parameters that lie like these.
fn whole(model: &Model, weights: &Weights<'_>, engine: &Engine) -> Vec<f32> {
    let (stored, batch) = (weights.stored(model.layout()), batch());
    let reading = Reading { batch: &batch, seed: 0, step: 0 };
    let logits = model.logits(engine, &stored).unwrap_or_else(|failed| panic!("{failed}"));
    let mut found = vec![0.0; TOKENS.len() * model.vocabulary() as usize];
    logits.run(weights, reading, &mut [DataMut::F32(&mut found)]).unwrap();
    let loss = model.loss(engine, &stored).unwrap_or_else(|failed| panic!("{failed}"));
    found.push(loss.loss(weights, reading, None).unwrap());
    found
}

/// Logits of every token, read in pieces of several lengths.
fn in_pieces(model: &Model, weights: &Weights<'_>) -> Vec<f32> {
    let reader = model.reader(&Engine::cpu(Some(2)), weights).unwrap_or_else(|failed| panic!("{failed}"));
    let mut logits = Vec::new();
    for lengths in [&[12][..], &[1, 4, 1, 6]] {
        let (mut memory, mut done) = (Memory::empty(1), 0);
        for length in lengths {
            let piece = &TOKENS[done..done + length];
            logits.extend(reader.read(weights, &mut memory, piece).unwrap());
            done += length;
        }
    }
    logits
}

/// The largest difference, as a part of the largest number.
fn difference(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    let largest = wanted.iter().fold(0f32, |most, x| most.max(x.abs()));
    let worst = |worst: f32, (x, y): (&f32, &f32)| if (x - y).abs() <= worst { worst } else { (x - y).abs() };
    found.iter().zip(wanted).fold(0.0, worst) / largest
}

/// Everything that reads weights gives from these what it gives from a copy of them in f32.
fn agrees_with_a_copy(Opened { model, weights }: &Opened, what: &str) {
    assert_eq!(weights.copied_bytes(), 0, "{what}");
    let copy = Weights::of(model.layout(), weights.widened(model.layout()));
    let cpu = || Engine::cpu(Some(2));
    let error = difference(&whole(model, weights, &cpu()), &whole(model, &copy, &cpu()));
    assert!(error <= 1e-6, "{what}, a whole text: {error:e}");
    let error = difference(&in_pieces(model, weights), &in_pieces(model, &copy));
    assert!(error <= 1e-6, "{what}, in pieces: {error:e}");
    let [found, wanted] = [weights, &copy].map(|weights| whole(model, weights, &Engine::reference()));
    assert_eq!(found, wanted, "{what}, on the reference");
}

#[test]
fn every_reader_uses_weights_where_they_lie() {
    for name in ["golden/hf/fused", "golden/hf/bf16", "interop/package"] {
        agrees_with_a_copy(&open(&tests(name)), name);
    }
}

#[test]
fn another_order_of_axes_is_a_view() {
    let package = tests("interop/package");
    let (plain, folder) = (open(&package), rewritten(&package, as_cuda));
    let turned = open(folder.path());
    let strided = turned.weights.stored(turned.model.layout());
    // Recurrent weights and four biases.
    assert_eq!(strided.iter().filter(|(_, stored)| stored.strides.is_some()).count(), 5);
    let layout = plain.model.layout();
    assert_eq!(turned.weights.widened(layout), plain.weights.widened(layout));
    assert_eq!(turned.weights.bytes(), plain.weights.bytes());
    agrees_with_a_copy(&turned, "CUDA's order");
}

#[test]
fn f16_is_read_where_it_lies() {
    for (name, cuda) in [("golden/hf/fused", false), ("interop/package", false), ("interop/package", true)] {
        let from = tests(name);
        let turn = |name: &str, tensor: &mut Stored| {
            if cuda {
                as_cuda(name, tensor);
            }
        };
        let narrow = rewritten(&from, |name, tensor| {
            turn(name, tensor);
            as_halves(tensor, Dtype::F16);
        });
        let wide = rewritten(&from, |_, tensor| rounded(tensor));
        let (narrow, wide) = (open(narrow.path()), open(wide.path()));
        let layout = narrow.model.layout();
        let stored = narrow.weights.stored(layout);
        assert!(stored.iter().all(|(_, stored)| stored.dtype == DType::F16));
        assert_eq!(stored.len(), layout.parameters().len());
        assert_eq!(narrow.weights.bytes(), 2 * layout.elements() as u64);
        assert_eq!(narrow.weights.widened(layout), wide.weights.widened(layout), "{name}");
        agrees_with_a_copy(&narrow, name);
        let what = |opened: &Opened| whole(&opened.model, &opened.weights, &Engine::cpu(Some(1)));
        assert!(difference(&what(&narrow), &what(&wide)) <= 1e-6, "{name}");
    }
}

#[test]
fn bf16_in_another_order_is_read_where_it_lies() {
    let folder = rewritten(&tests("interop/package"), |name, tensor| {
        as_cuda(name, tensor);
        as_halves(tensor, Dtype::BF16);
    });
    agrees_with_a_copy(&open(folder.path()), "bf16 in CUDA's order");
}
