//! Random graphs, lowered and interpreted, against the reference.

#[path = "../../../../tests/src/random/mod.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with other tests")]
mod random;

use proptest::prelude::*;
use random::Purpose;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_agree_with_the_reference(case in random::cases(Purpose::Values)) {
        let inputs = case.inputs::<f64>();
        crate::support::agree(&case.module, case.root(), &inputs);
    }

    #[test]
    fn graphs_over_pieces_agree_with_the_reference(case in random::cases(Purpose::Pieces)) {
        let inputs = case.inputs::<f64>();
        crate::support::agree(&case.module, case.root(), &inputs);
    }
}
