//! Parity of a bit string needs state that mixes: an sLSTM learns it from short strings and keeps it up on long ones; the
//! same model without recurrent weights does not.
//!
//! The label of each bit is the parity of all bits so far. Accuracy is measured on strings several times as long as any
//! that was trained on, at places beyond the training length only.

use std::error::Error;

use carousel_models::batch::Batch;
use carousel_models::config::{AdamW, ParameterValue};
use carousel_models::schedule::Schedule;

use crate::learner::{Draw, Learner, Recipe};

const SHORT: usize = 40;
const LONG: usize = 256;
const SEEDS: [u64; 12] = [0, 1, 2, 3,4,5,6,7,8,9,10,11];

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
    Batch { rows, context: length, inputs, labels }
}

/// Accuracy on long strings for each seed.
fn extrapolation(mixing: bool) -> Result<Vec<f64>, Box<dyn Error>> {
    let learner = Learner::new(&[
        ("vocab", ParameterValue::Integer(2)),
        ("layers", ParameterValue::Integer(1)),
        ("slstm_at", ParameterValue::List(vec![ParameterValue::Integer(0)])),
        ("width", ParameterValue::Integer(env("W", 16))),
        ("heads", ParameterValue::Integer(1)),
        ("head_dim", ParameterValue::Integer(env("W", 16))),
        ("ffn", ParameterValue::Integer(env("W", 16))),
        ("conv", ParameterValue::Boolean(false)),
        ("mixing", ParameterValue::Boolean(mixing)),
    ])?;
    let steps = env("STEPS", 300) as u64;
    let recipe = Recipe {
        steps,
        schedule: Schedule {
            max: env("LR", 100) as f64 * 1e-4,
            min_factor: 0.1,
            warmup: 20,
            decay_until: steps,
        },
        adamw: AdamW { weight_decay: 0.0, ..AdamW::default() },
    };
    SEEDS
        .iter()
        .map(|&seed| {
            let start = std::time::Instant::now();
            let parameters = learner.train(&recipe, seed, |step| strings(seed, step, env("ROWS", 16) as usize, SHORT))?;
            let seconds = start.elapsed().as_secs_f64();
            let inside = learner.accuracy(&parameters, &strings(seed, recipe.steps, 64, SHORT), 0..SHORT)?;
            let long = strings(seed, recipe.steps + 1, 64, LONG);
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
fn env(name: &str, default: i64) -> i64 {
    std::env::var(name).map_or(default, |v| v.parse().unwrap())
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
