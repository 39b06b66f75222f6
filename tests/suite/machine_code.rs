//! Machine code against the reference on random graphs: values, gradients, canonical forms, numbers of threads.

use crate::expected::Expected;
use carousel_autodiff::{Options, ScanResiduals, gradient};
use carousel_core::program::Bound;
use carousel_core::{Target, bind, lower};
use carousel_ir::{FunctionId, Graph, Module, Name, Node, Op, Type, philox, verify};
use carousel_reference::{Tensor, evaluate};
use carousel_testkit::machine::{Compiled, canonical};
use carousel_tests::random::{Case, Purpose, cases};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Sizes at which there are tiles, tails of tiles, and work for several threads.
const LARGE: [u64; 2] = [61, 48];

/// Runs a function as it is and in canonical form, and compares both with the reference.
fn agrees(module: &Module, root: FunctionId, inputs: &[Tensor<f64>]) -> Result<(), TestCaseError> {
    let expected = Expected::new(module, root, inputs);
    if !expected.is_steady() {
        return Err(TestCaseError::reject("f32 falls on the other side of a kink"));
    }
    let canonical = canonical(module).map_err(TestCaseError::fail)?;
    for (form, module) in [("as it is", module), ("in canonical form", &canonical)] {
        let compiled = Compiled::new(module, root, 2).and_then(|compiled| compiled.run(inputs));
        let compared = compiled.and_then(|found| expected.compare(&found, 1.0));
        compared.map_err(|why| {
            TestCaseError::fail(format!("{form}: {why}\n{}", carousel_ir::text::print(module)))
        })?;
    }
    Ok(())
}

/// The inputs of a case with numbers in \[-1, 1) for the cotangents.
fn with_cotangents(case: &Case, module: &Module, root: FunctionId) -> Vec<Tensor<f64>> {
    let mut inputs = case.inputs::<f64>();
    let outputs = evaluate(&case.module, case.root(), &inputs).unwrap_or_else(|e| panic!("{e}\n{case:?}"));
    for (at, output) in outputs.iter().enumerate().filter(|(_, output)| output.as_floats().is_some()) {
        let draw = |i| 2.0 * f64::from(philox::uniform(case.seed ^ 0x0c07, at as u32, 1, i)) - 1.0;
        inputs.push(Tensor::floats(&output.shape, (0..output.data.len() as u64).map(draw)));
    }
    assert_eq!(inputs.len(), module[root].graph.inputs.len());
    inputs
}

fn gradient_agrees(case: &Case, scans: ScanResiduals) -> Result<(), TestCaseError> {
    let options = Options { scans, ..Options::default() };
    let (module, root) = gradient(&case.module, case.root(), &options)
        .unwrap_or_else(|problems| panic!("{problems:?}\n{case:?}"));
    assert!(verify(&module).is_empty());
    let inputs = with_cotangents(case, &module, root);
    agrees(&module, root, &inputs)
}

proptest! {
    #![proptest_config(crate::random::config(300, 60))]

    #[test]
    fn values_are_those_of_the_reference(case in cases(Purpose::Values)) {
        agrees(&case.module, case.root(), &case.inputs())?;
    }
}

proptest! {
    #![proptest_config(crate::random::config(200, 60))]

    #[test]
    fn gradients_are_those_of_the_reference(case in cases(Purpose::Gradients)) {
        gradient_agrees(&case, ScanResiduals::Save)?;
    }

    #[test]
    fn gradients_from_checkpoints_are_too(case in cases(Purpose::Gradients)) {
        gradient_agrees(&case, ScanResiduals::Checkpoint)?;
    }
}

/// The elements of the largest value of a graph, with what its loops compute at a step.
fn largest(graph: &Graph, case: &Case) -> u64 {
    let size = |name: Name| match name.as_str() {
        "s" => Some(case.sizes[0]),
        "t" => Some(case.sizes[1]),
        _ => None,
    };
    let elements = |ty: &Type| graph.axes.elements(&ty.axes).evaluate(&size).unwrap_or(0);
    let of = |node: &Node| {
        let own = node.types.iter().map(elements).max().unwrap_or(0);
        if let Op::Scan { scan } = &node.op { own.max(largest(&scan.body, case)) } else { own }
    };
    graph.nodes.iter().map(of).max().unwrap_or(0)
}

/// What the case becomes for its sizes, if its buffers have at most so many bytes together. The reference stores every value, so
/// that none may be much larger.
fn bound(case: &Case, most: u64) -> Option<Bound> {
    if case.module.functions.iter().any(|function| largest(&function.graph, case) > most) {
        return None;
    }
    let shape = |t: &Tensor<f64>| t.shape.iter().map(|n| *n as u64).collect();
    let shapes: Vec<Vec<u64>> = case.inputs::<f64>().iter().map(shape).collect();
    let shapes: Vec<&[u64]> = shapes.iter().map(Vec::as_slice).collect();
    let program = lower(&case.module, case.root(), &Target::default()).expect("verified modules lower");
    let bound = bind(&program, &shapes).expect("the shapes fit");
    (bound.arena_bytes + 4 * bound.output_elements.iter().sum::<u64>() <= most).then_some(bound)
}

proptest! {
    #![proptest_config(crate::random::config(40, 100))]

    #[test]
    fn values_are_right_in_tiles_and_their_tails(mut case in cases(Purpose::Values)) {
        case.sizes = LARGE;
        prop_assume!(bound(&case, 1 << 20).is_some());
        agrees(&case.module, case.root(), &case.inputs())?;
    }
}

proptest! {
    #![proptest_config(crate::random::config(20, 100))]

    #[test]
    fn gradients_are_right_in_tiles_and_their_tails(mut case in cases(Purpose::Gradients)) {
        case.sizes = LARGE;
        prop_assume!(bound(&case, 1 << 20).is_some());
        gradient_agrees(&case, ScanResiduals::Save)?;
    }
}

#[test]
fn threads_change_no_bit() {
    let mut runner = TestRunner::deterministic();
    let (strategy, mut shared_out) = (cases(Purpose::Values), 0);
    for _ in 0..120 {
        let mut case = strategy.new_tree(&mut runner).expect("the strategy rejects nothing").current();
        case.sizes = LARGE;
        let Some(bound) = bound(&case, 64 << 20) else { continue };
        shared_out += usize::from(bound.entries.iter().any(|entry| entry.points > 1 && entry.work > 1 << 16));
        let inputs = case.inputs::<f64>();
        let results = [1, 2, 3].map(|threads| {
            let compiled = Compiled::new(&case.module, case.root(), threads);
            let found = compiled.and_then(|compiled| compiled.run(&inputs));
            found.unwrap_or_else(|why| panic!("{why}\n{case:?}"))
        });
        for more in &results[1..] {
            for (one, more) in results[0].iter().zip(more) {
                assert_eq!(one.bits(), more.bits(), "{case:?}");
            }
        }
    }
    assert!(shared_out >= 20, "only {shared_out} cases had work for several threads");
}
