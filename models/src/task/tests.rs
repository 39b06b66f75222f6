//! Examples against other ways to say what they are; the numbers that they are drawn from.

use super::*;

fn parity() -> Task {
    Task::Parity(Parity { tested_to: 70, tests: 100, ..Parity::default() })
}

fn mqar() -> Task {
    Task::Mqar(Mqar { pairs: 5, keys: 9, values: 7, tests: 40 })
}

#[test]
fn the_label_of_the_last_bit_is_the_parity_of_the_ones() {
    let batch = parity().training_batch(0..64, 20, 3, 7);
    let mut lengths = Vec::new();
    for row in 0..64 {
        let row = batch.row(row);
        let asked: Vec<usize> = (0..20).filter(|at| row.labels[*at] >= 0).collect();
        let [last] = asked[..] else { panic!("{:?}", row.labels) };
        let ones = row.inputs[..=last].iter().filter(|bit| **bit == 1).count();
        assert_eq!(row.labels[last] as usize, ones % 2);
        assert!(row.inputs[last + 1..].iter().all(|filling| *filling == 0));
        lengths.push(last + 1);
    }
    assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&3), Some(&20)));

    let every = Task::Parity(Parity { every_bit: true, ..Parity::default() });
    let row = every.training_batch(0..1, 40, 3, 7);
    for at in (0..40).take_while(|at| row.labels[*at] >= 0) {
        assert_eq!(row.labels[at], row.inputs[..=at].iter().sum::<i32>() % 2);
    }
}

#[test]
fn answers_are_the_values_of_their_keys() {
    let batch = mqar().training_batch(0..50, 17, 1, 2);
    for row in 0..50 {
        let row = batch.row(row);
        let told: std::collections::BTreeMap<i32, i32> =
            row.inputs[..10].chunks(2).map(|pair| (pair[0], pair[1])).collect();
        assert_eq!(told.len(), 5, "the keys of a row differ");
        assert!(told.iter().all(|(key, value)| (1..10).contains(key) && (10..17).contains(value)));
        assert!(row.labels[..10].iter().all(|label| *label == -1));
        let mut asked = Vec::new();
        for at in 10..17 {
            match row.inputs[at] {
                0 => assert_eq!(row.labels[at], -1),
                key => {
                    assert_eq!(row.labels[at], told[&key]);
                    asked.push(key);
                }
            }
        }
        asked.sort_unstable();
        assert_eq!(asked, told.into_keys().collect::<Vec<_>>(), "each key is asked for once");
    }
}

#[test]
fn examples_depend_on_seed_step_and_row_only() {
    for task in [parity(), mqar()] {
        let batch = |rows, seed, step| task.training_batch(rows, 20, seed, step);
        let whole = batch(0..8, 1, 5);
        assert_eq!(whole, batch(0..8, 1, 5));
        assert_eq!(whole.inputs, [batch(0..3, 1, 5).inputs, batch(3..8, 1, 5).inputs].concat());
        assert_ne!(whole, batch(0..8, 1, 6));
        assert_ne!(whole, batch(0..8, 2, 5));
        let rows: std::collections::BTreeSet<Vec<i32>> = (0..8).map(|row| whole.row(row).inputs).collect();
        assert_eq!(rows.len(), 8);
    }
}

#[test]
fn tests_are_spread_over_all_sizes_in_any_batches() {
    let all = |rows, most| -> Vec<(usize, Batch)> {
        parity()
            .tests(rows, most, 20)
            .flat_map(|(sizes, batch)| {
                let row = move |(row, size)| (size, batch.row(row));
                sizes.into_iter().enumerate().map(row).collect::<Vec<_>>()
            })
            .collect()
    };
    let sizes = |examples: &[(usize, Batch)]| examples.iter().map(|(size, _)| *size).collect::<Vec<_>>();
    let whole = all(100, None);
    assert_eq!((whole.len(), whole[0].0, whole[99].0), (100, 40, 70));
    assert_eq!(sizes(&whole), sizes(&all(7, None)));
    for ((size, one), (_, other)) in whole.iter().zip(all(7, None)) {
        assert_eq!(one.inputs[..*size], other.inputs[..*size]);
        assert_eq!(one.labels[size - 1], other.inputs.iter().sum::<i32>() % 2);
    }
    assert_eq!(sizes(&all(8, Some(3))), [40, 50, 60]);
}

#[test]
fn accuracies_are_scaled_between_chance_and_one() {
    assert_eq!((parity().scaled(0.5), parity().scaled(1.0), parity().scaled(0.75)), (0.0, 1.0, 0.5));
    assert!(mqar().scaled(1.0 / 7.0).abs() < 1e-12);
}
