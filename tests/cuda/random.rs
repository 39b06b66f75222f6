//! Random graphs on the device against the reference: values, gradients, tiles and their tails.

use crate::expected::Expected;
use carousel_autodiff::{Options, ScanResiduals, gradient};
use carousel_ir::{FunctionId, Module, philox};
use carousel_reference::{Tensor, evaluate};
use carousel_testkit::device::OnDevice;
use carousel_tests::emulated::backend;
use carousel_tests::random::{Case, Purpose, cases};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Sizes at which there are tiles, tails of tiles, and several blocks.
const LARGE: [u64; 2] = [61, 48];

/// The same cases in every run.
fn drawn(purpose: Purpose, seed: u8, count: usize) -> Vec<Case> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = cases(purpose);
    let draw = |_| strategy.new_tree(&mut runner).expect("the strategy rejects nothing").current();
    (0..count).map(draw).collect()
}

/// Whether the case could be compared, which it then was.
fn agrees(module: &Module, root: FunctionId, inputs: &[Tensor<f64>]) -> bool {
    let expected = Expected::new(module, root, inputs);
    if !expected.is_steady() {
        return false;
    }
    let found = OnDevice::new(backend(), module, root).and_then(|compiled| compiled.run(inputs));
    let compared = found.and_then(|found| expected.compare(&found, 1.0));
    compared.unwrap_or_else(|why| panic!("{why}\n{}", carousel_ir::text::print(module)));
    true
}

/// The inputs of a case with numbers in \[-1, 1) for the cotangents.
fn with_cotangents(case: &Case) -> Vec<Tensor<f64>> {
    let mut inputs = case.inputs::<f64>();
    let outputs = evaluate(&case.module, case.root(), &inputs).unwrap_or_else(|e| panic!("{e}\n{case:?}"));
    for (at, output) in outputs.iter().enumerate().filter(|(_, output)| output.as_floats().is_some()) {
        let draw = |i| 2.0 * f64::from(philox::uniform(case.seed ^ 0x0c07, at as u32, 1, i)) - 1.0;
        inputs.push(Tensor::floats(&output.shape, (0..output.data.len() as u64).map(draw)));
    }
    inputs
}

fn gradient_agrees(case: &Case, scans: ScanResiduals) -> bool {
    let options = Options { scans, ..Options::default() };
    let (module, root) = gradient(&case.module, case.root(), &options)
        .unwrap_or_else(|problems| panic!("{problems:?}\n{case:?}"));
    agrees(&module, root, &with_cotangents(case))
}

#[test]
fn values_are_those_of_the_reference() {
    let cases = drawn(Purpose::Values, 1, 60);
    let compared = cases.iter().filter(|case| agrees(&case.module, case.root(), &case.inputs())).count();
    assert!(compared > 40, "only {compared} cases were compared");
}

#[test]
fn gradients_are_those_of_the_reference() {
    let cases = drawn(Purpose::Gradients, 2, 24);
    let ways = [ScanResiduals::Save, ScanResiduals::Checkpoint];
    let compared =
        cases.iter().zip(ways.iter().cycle()).filter(|(case, way)| gradient_agrees(case, **way)).count();
    assert!(compared > 16, "only {compared} cases were compared");
}

#[test]
fn values_are_right_in_tiles_and_their_tails() {
    let mut cases = drawn(Purpose::Values, 3, 40);
    cases.iter_mut().for_each(|case| case.sizes = LARGE);
    let small = |case: &&Case| case.inputs::<f64>().iter().map(|t| t.data.len()).sum::<usize>() < 20_000;
    let compared =
        cases.iter().filter(small).filter(|case| agrees(&case.module, case.root(), &case.inputs())).count();
    assert!(compared > 10, "only {compared} cases were compared");
}

#[test]
fn graphs_over_pieces_are_those_of_the_reference() {
    let cases = drawn(Purpose::Pieces, 4, 30);
    let compared = cases.iter().filter(|case| agrees(&case.module, case.root(), &case.inputs())).count();
    assert!(compared > 20, "only {compared} cases were compared");
}
