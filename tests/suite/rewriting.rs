//! What rewriting must keep: values, interfaces, the verifier's invariants.

use carousel_ir::{Module, verify};
use carousel_passes::{Rules, canonicalize, common_subexpressions, dead_code};
use carousel_reference::evaluate;
use carousel_tests::random::{Case, Purpose, cases};
use proptest::prelude::*;

/// Evaluates a case before and after in f64: the rules hold for real numbers, so that rounding may differ.
fn same_values(case: &Case, rewritten: &Module) -> Result<(), TestCaseError> {
    let problems = verify(rewritten);
    prop_assert!(problems.is_empty(), "{:?}", problems);
    let text = || carousel_ir::text::print(rewritten);
    let root = rewritten.find(case.module[case.root()].name.as_str()).expect("the root keeps its name");
    prop_assert_eq!(&rewritten[root].graph.inputs, &case.module[case.root()].graph.inputs);
    let run = |module, root| evaluate::<f64>(module, root, &case.inputs());
    let before = run(&case.module, case.root()).unwrap_or_else(|e| panic!("{e}\n{case:?}"));
    let after = run(rewritten, root).unwrap_or_else(|e| panic!("{e}\n{}", text()));
    prop_assert_eq!(before.len(), after.len());
    for (a, b) in before.iter().zip(&after) {
        prop_assert_eq!(&a.shape, &b.shape);
        for (x, y) in a.to_f64().into_iter().zip(b.to_f64()) {
            prop_assert!((x - y).abs() <= 1e-9 * (1.0 + x.abs()), "{} became {}\n{}", x, y, text());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(crate::random::config(60, 0))]

    #[test]
    fn the_canonical_form_keeps_values(case in cases(Purpose::Values)) {
        let (rewritten, _) = canonicalize(&case.module, Rules::builtin());
        same_values(&case, &rewritten)?;
    }

    #[test]
    fn plain_passes_keep_values(case in cases(Purpose::Values)) {
        let mut module = case.module.clone();
        common_subexpressions(&mut module);
        dead_code(&mut module);
        same_values(&case, &module)?;
    }
}
