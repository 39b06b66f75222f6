//! Factors that a norm hides get no gradient, and all others do.

mod common;

use carousel_autodiff::Options;
use carousel_ir::text::{elaborate, parse_program};
use carousel_ir::{FunctionId, Module};
use carousel_reference::Tensor;
use common::{Numbers, check, cotangents, gradients};

/// A memory's value over its normaliser, and what comes of it.
fn after_division(rest: &str) -> (Module, FunctionId) {
    let text = format!(
        "fn f(x: [s, h, c], d: [s, h], w: [c]) -> (y: [s, h, c]) {{ let u = x / max(abs(d), 0.5)  {rest} }}"
    );
    let program = parse_program("f.xl", &text, &|path| Err(format!("no {path}"))).unwrap();
    let module = elaborate(&program, &["f"], &Default::default())
        .unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
    let function = module.find("f").unwrap();
    (module, function)
}

/// Whether the normaliser has a gradient.
fn normaliser_counts(rest: &str) -> bool {
    let (module, function) = after_division(rest);
    let mut numbers = Numbers::new(7);
    let shapes: [&[usize]; 3] = [&[3, 2, 4], &[3, 2], &[4]];
    let inputs: Vec<Tensor<f64>> = shapes.iter().map(|shape| numbers.tensor(shape, 0.6, 2.0)).collect();
    if !rest.contains("detach") {
        check(rest, &module, function, &inputs, &Options::default());
    }
    let cotangents = cotangents(&module, function, &inputs, &mut numbers);
    let found = gradients(&module, function, &inputs, &cotangents, &Options::default());
    assert!(found[0].1.to_f64().iter().all(|g| *g != 0.0), "{rest}: every x counts");
    found[1].1.to_f64().iter().any(|g| *g != 0.0)
}

#[test]
fn norms_without_epsilon_hide_what_they_divide_out() {
    for rest in [
        "let y = u / sqrt(mean[c](u * u)) * w",
        // It is divided out in two places.
        "let e = exp(d)  let y = w * (x / e) / sqrt(mean[c](x * x) / e / e)",
        "let z = u - mean[c](u)  let y = z / sqrt(mean[c](z * z)) * w + u[c = 0] / u[c = 1]",
        "let z = 3 * u  let y = w * z / sum[c](abs(z))",
        "let z = max(u, 0)  let y = z / max[c](z) * w",
        "let z = u * exp(d)  let y = sqrt(z / sum[c](z)) * w",
        "let z = cumsum[c](u * w)  let y = z / z[c = 3] * u / sum[c](u)",
    ] {
        assert!(!normaliser_counts(rest), "{rest}");
    }
}

#[test]
fn all_others_are_felt() {
    for rest in [
        "let y = u * w",
        // An epsilon: no longer the same for every scale.
        "let y = u / sqrt(mean[c](u * u) + 0.001) * w",
        // Heads are mixed by the norm, each with a normaliser of its own.
        "let y = u / sqrt(sum[h](mean[c](u * u))) * w",
        "let y = cumsum[s](u) / sqrt(mean[c](u * u)) * w",
        // It gets out beside the norm, and through the norm's own factor.
        "let y = u / sqrt(mean[c](u * u)) + 0.1 * u * w",
        "let y = u / sqrt(mean[c](u * u)) * tanh(d) * w",
        "let y = u / detach(sqrt(mean[c](u * u))) * w",
        "let y = exp(u) / sum[c](exp(u)) * w",
        "let y = u / mean[c](u * u) * w",
    ] {
        assert!(normaliser_counts(rest), "{rest}");
    }
}
