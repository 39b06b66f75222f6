//! Published recurrences on a CUDA device, with their gradients, each in one of its forms: every form is among them.

use super::zoo::ROWS;
use carousel_testkit::recurrence::Law;
use carousel_testkit::{Tolerance, Way};
use carousel_tests::emulated::backend;
use std::collections::BTreeSet;

#[test]
fn every_recurrence_is_its_equations_on_a_device() {
    let mut tried = BTreeSet::new();
    for (number, row) in ROWS.iter().enumerate() {
        let recurrence = row.with_states();
        let ways: Vec<Way> = recurrence.ways().collect();
        let way = ways[number % ways.len()];
        tried.insert(way);
        // One step, less than a chunk, several chunks and a part of one.
        for steps in [1, 7, 37] {
            let inputs = recurrence.inputs(&row.sizes(2, steps), 3, &|input| row.positive(input)).unwrap();
            let law = recurrence.law::<Law>(&inputs).unwrap();
            let found = recurrence.form(way).run_on(backend(), &inputs);
            let found = found.unwrap_or_else(|why| panic!("{}, {steps} steps: {why}", row.name));
            let errors = recurrence.errors_of(way, &inputs, &law, &found).unwrap();
            let judged = recurrence.judge(way, &errors, Tolerance::WELL_CONDITIONED);
            judged.unwrap_or_else(|why| panic!("{}, {way:?}, {steps} steps: {why}", row.name));
        }
    }
    assert_eq!(tried.len(), Way::ALL.len(), "only {tried:?}");
}
