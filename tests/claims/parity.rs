//! Parity of a bit string needs state that mixes: an sLSTM learns it from short strings and keeps it up on long ones; the
//! same model without recurrent weights does not.
//!
//! The label of each bit is the parity of all bits so far. Accuracy is measured on strings several times as long as any
//! that was trained on, at places beyond the training length only.

use std::error::Error;

use carousel_models::batch::Batch;
use carousel_models::config::ParameterValue;

use crate::learner::{Draw, Learner, Recipe};

/// Bits of a string to train on.
const SHORT: usize = 40;
/// Bits of a string to test on.
const LONG: usize = 256;
/// Strings of a step.
const ROWS: usize = 16;
const RECIPE: Recipe = Recipe { steps: 300, learning_rate: 1e-2, weight_decay: 0.0 };
const SEEDS: [u64; 4] = [0, 1, 2, 3];

/// Random bits and the parity of each prefix.
fn strings(seed: u64, step: u64, rows: usize, length: usize) -> Batch {
    let (mut inputs, mut labels) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let mut draw = Draw::new(seed, step, row as u64);
        let mut parity = 0;
        for _ in 0..length {
            let bit = draw.below(2) as i32;
            parity ^= bit;
            inputs.push(bit);
            labels.push(parity);
        }
    }
    Batch { rows, context: length, inputs, labels, starts: Vec::new() }
}

/// Accuracy on the places of long strings that are beyond the training length, for each seed.
fn extrapolation(mixing: bool) -> Result<Vec<f64>, Box<dyn Error>> {
    let learner = Learner::new(&[
        ("vocab", ParameterValue::Integer(2)),
        ("layers", ParameterValue::Integer(1)),
        ("slstm_at", ParameterValue::List(vec![ParameterValue::Integer(0)])),
        ("width", ParameterValue::Integer(16)),
        ("heads", ParameterValue::Integer(1)),
        ("head_dim", ParameterValue::Integer(16)),
        ("ffn", ParameterValue::Integer(16)),
        ("slstm_conv", ParameterValue::Integer(0)),
        ("mixing", ParameterValue::Boolean(mixing)),
    ])?;
    SEEDS
        .iter()
        .map(|&seed| {
            let start = std::time::Instant::now();
            let parameters = learner.train(&RECIPE, seed, |step| strings(seed, step, ROWS, SHORT))?;
            let seconds = start.elapsed().as_secs_f64();
            let inside = learner.accuracy(&parameters, &strings(seed, RECIPE.steps, 64, SHORT), 0..SHORT)?;
            let long = strings(seed, RECIPE.steps + 1, 64, LONG);
            let beyond = learner.accuracy(&parameters, &long, SHORT..LONG)?;
            println!(
                "parity, mixing {mixing}, seed {seed}: {inside:.3} up to length {SHORT}, {beyond:.3} from there to {LONG} \
                 ({} parameters, {seconds:.1} s)",
                learner.elements(),
            );
            Ok(beyond)
        })
        .collect()
}

#[test]
fn slstm_learns_parity_and_extrapolates() -> Result<(), Box<dyn Error>> {
    let accuracies = extrapolation(true)?;
    assert!(accuracies.iter().filter(|a| **a > 0.95).count() >= 3, "{accuracies:?}");
    Ok(())
}

#[test]
fn slstm_without_mixing_does_not() -> Result<(), Box<dyn Error>> {
    let accuracies = extrapolation(false)?;
    assert!(accuracies.iter().all(|a| *a < 0.6), "{accuracies:?}");
    Ok(())
}
