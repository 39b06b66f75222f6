//! What f32 makes of derived recurrences: every form, with its gradients, against the equations as written in numbers of
//! unlimited range.

#[allow(dead_code, reason = "each test file uses its own part")]
#[path = "stable/cells.rs"]
mod cells;
mod support;

use carousel_autodiff::{Options as GradientOptions, gradient};
use carousel_ir::{FunctionId, Module, Options, elaborate, parse_program};
use carousel_passes::forms::{Form, expand, recognize};
use carousel_passes::{Rules, StableOptions, canonicalize, stabilize};
use carousel_reference::{Extended, Scalar, Tensor, evaluate};
use std::collections::BTreeMap;
use support::{Numbers, errors, inputs};

/// mLSTM, its forget gate `$f`.
const MLSTM: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], i: [s], f: [s]) -> (h: [s, dv]) {
  scan s {
    state C: [dk, dv] = 0
    state n: [dk] = 0
    C' = $f * C + exp(i) * k * v
    n' = $f * n + exp(i) * k
    yield h = sum[dk](q * C') / max(abs(sum[dk](q * n')), 1)
  }
}";

fn simplified(module: &Module) -> Module {
    canonicalize(module, Rules::builtin()).0
}

/// The equations with their gradient, and the derived operation with its gradient.
fn programs(forget: &str) -> [(Module, FunctionId); 2] {
    let text = MLSTM.replace("$f", forget);
    let program = parse_program("cell.xl", &text, &|_| Err(String::new())).unwrap_or_else(|e| panic!("{e}"));
    let mut options = Options::default();
    options.sizes.extend([("dk".into(), 6), ("dv".into(), 5)]);
    let source = elaborate(&program, &["cell"], &options).unwrap_or_else(|e| panic!("{e:?}"));
    let root = source.find("cell").expect("it is there");
    let (stable, _) = stabilize(&simplified(&source), &StableOptions::default());
    let (derived, found) = recognize(&simplified(&stable));
    assert!(found[0].outcome.is_ok(), "{}", found[0]);
    [source, simplified(&derived)].map(|module| {
        gradient(&module, root, &GradientOptions::default()).unwrap_or_else(|e| panic!("{e:?}"))
    })
}

/// Positive queries, keys and cotangents; gates up to the given size.
fn draw(gates: f64) -> impl FnMut(&str, &mut Numbers) -> f64 {
    move |name, numbers| match name {
        "i" | "f" => f64::from(numbers.next(-gates, gates) as f32),
        _ => f64::from(numbers.next(0.1, 1.0) as f32),
    }
}

fn cast<S: Scalar>(tensors: &[Tensor<f64>]) -> Vec<Tensor<S>> {
    tensors.iter().map(|t| Tensor::floats(&t.shape, t.to_f64())).collect()
}

/// The errors in f32 of the output, and the largest of the gradients'.
fn forward_and_backward(errors: &BTreeMap<String, f64>) -> (f64, f64) {
    let (forward, backward): (Vec<_>, Vec<_>) = errors.iter().partition(|(name, _)| *name == "h");
    let worst = |all: Vec<(&String, &f64)>| all.into_iter().fold(0.0f64, |m, (_, e)| m.max(*e));
    (worst(forward), worst(backward))
}

/// Input gates for which every step writes about as much as is there, so that the decays matter in all digits.
fn contested(inputs: &mut [Tensor<f64>], forget: &str) {
    let mut numbers = Numbers::new(3);
    let mut scale = 0.0f64;
    let gate = |f: f64| if forget == "exp(f)" { f } else { f.min(0.0) - (-f.abs()).exp().ln_1p() };
    let gates = inputs[4].to_f64().into_iter().map(|f| {
        let i = f64::from((scale + gate(f) + numbers.next(-1.0, 1.0)) as f32);
        scale = (scale + gate(f)).max(i);
        i
    });
    inputs[3] = Tensor::floats(&inputs[3].shape.clone(), gates.collect::<Vec<_>>());
}

/// The errors in f32 of the output and of the gradients in every form.
fn worst(forget: &str, gates: f64, change: impl Fn(&mut [Tensor<f64>])) -> Vec<(Form, f64, f64)> {
    let [(written, root), (derived, derived_root)] = programs(forget);
    let mut inputs = inputs(&written, root, &[("s", 1000)], &mut Numbers::new(11), &mut draw(gates));
    change(&mut inputs);
    let double = |t: Tensor<Extended>| Tensor::floats(&t.shape, t.to_f64());
    let wanted = evaluate::<Extended>(&written, root, &cast(&inputs)).expect("it can be evaluated");
    let wanted: Vec<Tensor<f64>> = wanted.into_iter().map(double).collect();
    let of_form = |form: Form| {
        let (expanded, _) = expand(&derived, &form);
        let found = evaluate::<f32>(&simplified(&expanded), derived_root, &cast(&inputs));
        let found = found.expect("it can be evaluated").into_iter();
        let found: Vec<Tensor<f64>> = found.map(|t| Tensor::floats(&t.shape, t.to_f64())).collect();
        let (forward, backward) = forward_and_backward(&errors(&written, root, &found, &wanted));
        println!("{forget}, gates {gates}, {form:?}: {forward:.1e}, {backward:.1e}");
        (form, forward, backward)
    };
    [Form::Recurrent, Form::Chunkwise(64), Form::Parallel].map(of_form).into()
}

#[test]
fn gates_lose_no_digits_however_large_they_are() {
    for forget in ["exp(f)", "sigmoid(f)"] {
        for gates in [1.0, 20.0, 300.0] {
            for (form, forward, backward) in worst(forget, gates, |_| ()) {
                assert!(forward <= 3e-6 && backward <= 1e-4, "{forget}, {form:?}, gates {gates}");
            }
        }
    }
}

#[test]
fn whole_scales_lose_no_digits_of_decays() {
    for forget in ["exp(f)", "sigmoid(f)"] {
        for gates in [1.0, 20.0, 300.0] {
            for (form, forward, backward) in worst(forget, gates, |inputs| contested(inputs, forget)) {
                assert!(forward <= 6e-7 && backward <= 2e-5, "{forget}, {form:?}, gates {gates}");
            }
        }
    }
}

#[test]
fn stable_cells_with_resets_are_linear_scans() {
    for text in [cells::MLSTM_LOG_FORGET, cells::RESET_TO_CONSTANTS, cells::SMOOTH, cells::BATCHED] {
        let program =
            parse_program("cell.xl", text, &|_| Err(String::new())).unwrap_or_else(|e| panic!("{e}"));
        let source = elaborate(&program, &["cell"], &Options::default()).unwrap_or_else(|e| panic!("{e:?}"));
        let (stable, _) = stabilize(&simplified(&source), &StableOptions::default());
        let (_, found) = recognize(&simplified(&stable));
        assert!(found[0].outcome.is_ok(), "{}", found[0]);
    }
}
