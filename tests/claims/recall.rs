//! Recall of values by their keys needs memory for pairs: an mLSTM learns it, an sLSTM of the same width does not.
//!
//! A row first pairs half of the keys, chosen at random, with random values, then asks for each of them in another order.
//! The label of a key that is asked is its value; nothing else has a label. Guessing is right once in [`VALUES`] times.

use std::error::Error;

use carousel_models::batch::Batch;
use carousel_models::config::ParameterValue;

use crate::learner::{Draw, Learner, Recipe};

/// Keys that there are.
const KEYS: usize = 32;
/// Values that there are.
const VALUES: usize = 32;
/// Pairs of a row.
const PAIRS: usize = 16;
/// Rows of a step.
const ROWS: usize = 16;
const RECIPE: Recipe = Recipe { steps: 1200, learning_rate: 6e-3, weight_decay: 0.0 };
const SEEDS: [u64; 3] = [0, 1, 2];

/// Rows of pairs and questions. Keys are the tokens below [`KEYS`], values the others.
fn questions(seed: u64, step: u64, rows: usize) -> Batch {
    let (mut inputs, mut labels) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let mut draw = Draw::new(seed, step, row as u64);
        let keys = draw.permutation(KEYS);
        let told: Vec<[i32; 2]> =
            keys[..PAIRS].iter().map(|&key| [key as i32, (KEYS + draw.below(VALUES)) as i32]).collect();
        for pair in &told {
            inputs.extend(pair);
            labels.extend([-1, -1]);
        }
        for at in draw.permutation(PAIRS) {
            let [key, value] = told[at];
            inputs.push(key);
            labels.push(value);
        }
    }
    Batch { rows, context: 3 * PAIRS, inputs, labels, starts: Vec::new() }
}

/// Accuracy on new rows, for each seed, of a model of one layer, which is an sLSTM if its number is in `slstm_at`.
fn recall(cell: &str, slstm_at: Vec<ParameterValue>) -> Result<Vec<f64>, Box<dyn Error>> {
    let learner = Learner::new(&[
        ("vocab", ParameterValue::Integer((KEYS + VALUES) as i64)),
        ("layers", ParameterValue::Integer(1)),
        ("slstm_at", ParameterValue::List(slstm_at)),
        ("width", ParameterValue::Integer(48)),
        ("heads", ParameterValue::Integer(2)),
        ("head_dim", ParameterValue::Integer(24)),
        ("ffn", ParameterValue::Integer(48)),
    ])?;
    SEEDS
        .iter()
        .map(|&seed| {
            let start = std::time::Instant::now();
            let parameters = learner.train(&RECIPE, seed, |step| questions(seed, step, ROWS))?;
            let seconds = start.elapsed().as_secs_f64();
            let test = questions(seed, RECIPE.steps, 64);
            let accuracy = learner.accuracy(&parameters, &test, 0..test.context)?;
            println!(
                "recall, {cell}, seed {seed}: {accuracy:.3} ({} parameters, {seconds:.1} s)",
                learner.elements()
            );
            Ok(accuracy)
        })
        .collect()
}

#[test]
fn mlstm_learns_recall() -> Result<(), Box<dyn Error>> {
    let accuracies = recall("mLSTM", Vec::new())?;
    assert!(accuracies.iter().all(|a| *a > 0.9), "{accuracies:?}");
    Ok(())
}

#[test]
fn slstm_of_the_same_width_does_not() -> Result<(), Box<dyn Error>> {
    let accuracies = recall("sLSTM", vec![ParameterValue::Integer(0)])?;
    assert!(accuracies.iter().all(|a| *a < 0.6), "{accuracies:?}");
    Ok(())
}
