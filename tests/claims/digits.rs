//! Blocks of a language model name handwritten digits, read as sequences from both ends: the example of the command line's crate.

#[path = "../../carousel/examples/digits.rs"]
#[expect(dead_code, reason = "the example is a program of its own")]
mod example;

#[test]
fn blocks_that_read_from_both_ends_name_digits() {
    let found = example::learn(300, Some(1), |_, _| {}).unwrap();
    println!("{found:.3} of the digits kept back are named rightly");
    assert!(found >= 0.93, "{found}");
}
