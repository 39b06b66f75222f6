//! Gradients of random graphs against finite differences in f64.

use carousel_autodiff::{Options, ScanResiduals, gradient};
use carousel_ir::{Function, philox, verify};
use carousel_reference::{Data, Tensor, evaluate};
use carousel_tests::random::{Case, Purpose, cases};
use proptest::prelude::*;

/// How far inputs are moved.
const STEP: f64 = 1e-5;

/// Numbers in \[-1, 1) of the shape of `like`.
fn drawn(like: &Tensor<f64>, seed: u32, place: usize) -> Tensor<f64> {
    let draw = |i| 2.0 * f64::from(philox::uniform(seed, place as u32, 1, i)) - 1.0;
    Tensor::floats(&like.shape, (0..like.data.len() as u64).map(draw))
}

fn inner(a: &Tensor<f64>, b: &Tensor<f64>) -> f64 {
    a.to_f64().iter().zip(b.to_f64()).map(|(x, y)| x * y).sum()
}

/// The float inputs moved by `step` along `directions`.
fn moved(inputs: &[Tensor<f64>], directions: &[Option<Tensor<f64>>], step: f64) -> Vec<Tensor<f64>> {
    let one = |(x, direction): (&Tensor<f64>, &Option<Tensor<f64>>)| match direction {
        Some(d) => Tensor::floats(&x.shape, x.to_f64().iter().zip(d.to_f64()).map(|(x, d)| x + step * d)),
        None => x.clone(),
    };
    inputs.iter().zip(directions).map(one).collect()
}

/// The float outputs of the root.
fn floats(case: &Case, inputs: &[Tensor<f64>]) -> Vec<Tensor<f64>> {
    let outputs = evaluate(&case.module, case.root(), inputs).unwrap_or_else(|e| panic!("{e}\n{case:?}"));
    outputs.into_iter().filter(|t| matches!(t.data, Data::Float(_))).collect()
}

fn check(case: &Case, scans: ScanResiduals) -> Result<(), TestCaseError> {
    let inputs = case.inputs::<f64>();
    let options = Options { scans, ..Options::default() };
    let (module, function) = gradient(&case.module, case.root(), &options)
        .unwrap_or_else(|problems| panic!("{problems:?}\n{case:?}"));
    let problems = verify(&module);
    assert!(problems.is_empty(), "{problems:?}\n{case:?}");

    let outputs = floats(case, &inputs);
    let cotangents: Vec<Tensor<f64>> =
        outputs.iter().enumerate().map(|(i, t)| drawn(t, case.seed ^ 0x0c07, i)).collect();
    let root: &Function = &case.module[case.root()];
    let directions: Vec<Option<Tensor<f64>>> = inputs
        .iter()
        .zip(&root.graph.inputs)
        .enumerate()
        .map(|(i, (t, input))| input.ty.dtype.is_float().then(|| drawn(t, case.seed ^ 0xd12e, i)))
        .collect();

    let all: Vec<Tensor<f64>> = inputs.iter().chain(&cotangents).cloned().collect();
    let results = evaluate(&module, function, &all).unwrap_or_else(|e| panic!("{e}\n{case:?}"));
    let gradients = &results[root.graph.outputs.len()..];
    let derived: f64 = gradients.iter().zip(directions.iter().flatten()).map(|(g, d)| inner(g, d)).sum();

    let loss = |step| -> f64 {
        let outputs = floats(case, &moved(&inputs, &directions, step));
        outputs.iter().zip(&cotangents).map(|(y, c)| inner(y, c)).sum()
    };
    let slope = |step: f64| (loss(step) - loss(-step)) / (2.0 * step);
    // Two steps extrapolated: the error falls with the fourth power of the step. Their difference tells how far the
    // extrapolation can be trusted, as kinks between the points make it useless.
    let (wide, narrow) = (slope(2.0 * STEP), slope(STEP));
    let measured = (4.0 * narrow - wide) / 3.0;
    let scale = 1.0 + measured.abs() + loss(0.0).abs();
    // Too many rejections fail the test.
    if (wide - narrow).abs() > 1e-4 * scale {
        return Err(TestCaseError::reject("a kink lies between the points"));
    }
    prop_assert!((derived - measured).abs() <= 1e-5 * scale, "derived {derived}, measured {measured}");
    Ok(())
}

proptest! {
    #![proptest_config(crate::random::config(200, 10))]

    #[test]
    fn gradients_agree_with_finite_differences(case in cases(Purpose::Gradients)) {
        check(&case, ScanResiduals::Save)?;
    }

    #[test]
    fn gradients_from_checkpoints_agree_too(case in cases(Purpose::Gradients)) {
        check(&case, ScanResiduals::Checkpoint)?;
    }
}
