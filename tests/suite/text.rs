//! Printing and reading back.

use carousel_ir::text::{parse_module, print};
use carousel_tests::random::{Purpose, cases};
use proptest::prelude::*;

proptest! {
    #![proptest_config(crate::random::config(300, 0))]

    /// What is printed reads back as the same module, and prints the same again.
    #[test]
    fn printed_modules_read_back(case in cases(Purpose::Values)) {
        let text = print(&case.module);
        let read = parse_module(&text).unwrap_or_else(|failed| panic!("{failed}\n{text}"));
        prop_assert_eq!(&read, &case.module);
        prop_assert_eq!(print(&read), text);
    }
}
