//! Properties of random graphs.

use carousel_ir::{Graph, Op, OpKind};
use carousel_reference::{Scalar, Tensor, evaluate};
use carousel_tests::random::{Case, Purpose, cases};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;

fn evaluated<S: Scalar>(case: &Case) -> Vec<Tensor<S>> {
    evaluate(&case.module, case.root(), &case.inputs()).unwrap_or_else(|error| panic!("{error}\n{case:?}"))
}

/// So many cases, or as many as `PROPTEST_CASES` says, of which some may be rejected.
pub(crate) fn config(cases: u32, rejections: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    let factor = asked.map_or(1, |asked: u32| asked.div_ceil(cases));
    Config {
        cases: asked.unwrap_or(cases),
        max_global_rejects: rejections * factor,
        failure_persistence: None,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config(300, 0))]

    /// The generator keeps its promises: values are finite and moderate, whatever the scalar type.
    #[test]
    fn values_stay_in_the_domain(case in cases(Purpose::Values)) {
        let (wide, narrow) = (evaluated::<f64>(&case), evaluated::<f32>(&case));
        for (a, b) in wide.iter().zip(&narrow) {
            prop_assert_eq!(&a.shape, &b.shape);
            for (x, y) in a.to_f64().into_iter().zip(b.to_f64()) {
                prop_assert!(x.is_finite() && x.abs() < 1e7, "{}", x);
                prop_assert!((x - y).abs() <= 1e-3 * (1.0 + x.abs()), "{} in f64, {} in f32", x, y);
            }
        }
    }
}

/// What a graph contains.
#[derive(Default)]
struct Census {
    operations: BTreeMap<OpKind, usize>,
    nested_scans: usize,
}

impl Census {
    fn count(&mut self, graph: &Graph, depth: usize) {
        for node in &graph.nodes {
            *self.operations.entry(node.op.kind()).or_default() += 1;
            if let Op::Scan { scan } = &node.op {
                self.nested_scans += usize::from(depth > 0);
                self.count(&scan.body, depth + 1);
            }
        }
    }
}

/// Every operation occurs, so that a property of random graphs is one of all operations; and loops in loops do.
#[test]
fn every_operation_occurs() {
    let (mut runner, mut census) = (TestRunner::deterministic(), Census::default());
    let strategy = cases(Purpose::Values);
    for _ in 0..400 {
        let case = strategy.new_tree(&mut runner).expect("the strategy rejects nothing").current();
        case.module.functions.iter().for_each(|f| census.count(&f.graph, 0));
    }
    let rare: Vec<_> = OpKind::ALL
        .iter()
        .map(|kind| (kind, census.operations.get(kind).copied().unwrap_or(0)))
        // Only passes make these; their own tests draw them at random.
        .filter(|(kind, _)| !matches!(kind, OpKind::LinRead | OpKind::LinReadDecay | OpKind::LinSolve))
        .filter(|(_, count)| *count < 10)
        .collect();
    assert!(rare.is_empty(), "these hardly occur: {rare:?}");
    assert!(census.nested_scans >= 20, "only {} loops in loops", census.nested_scans);
}
