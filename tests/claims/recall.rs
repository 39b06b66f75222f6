//! Recall of values by their keys needs memory for pairs: an mLSTM learns it, an sLSTM of the same width does not.
//!
//! A row first pairs every key with a random value, in random order, then asks for all keys in another order. The
//! label of a key that is asked is its value; nothing else is asked.

use std::error::Error;

use carousel_models::batch::Batch;
use carousel_models::config::{AdamW, ParameterValue};
use carousel_models::schedule::Schedule;

use crate::learner::{Draw, Learner, Recipe};

const SEEDS: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// Keys are the tokens below [`KEYS`], values the others.
fn questions(seed: u64, step: u64, rows: usize) -> Batch {
    let (keys, pairs, values) =
        (env("KEYS", 32) as usize, env("PAIRS", 8) as usize, env("VALUES", 16) as usize);
    let (mut inputs, mut labels) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let mut draw = Draw::new(seed, step, row as u64);
        let told: Vec<(i32, i32)> = draw.permutation(keys)[..pairs]
            .iter()
            .map(|key| (*key as i32, (keys + draw.below(values)) as i32))
            .collect();
        for (key, value) in &told {
            inputs.extend([*key, *value]);
            labels.extend([-1, -1]);
        }
        for at in draw.permutation(pairs) {
            inputs.push(told[at].0);
            labels.push(told[at].1);
        }
    }
    Batch { rows, context: 3 * pairs, inputs, labels }
}

/// Accuracy for each seed.
fn recall(cell: &str, slstm_at: Vec<ParameterValue>) -> Result<Vec<f64>, Box<dyn Error>> {
    let layers = env("LAYERS", 1);
    let learner = Learner::new(&[
        ("vocab", ParameterValue::Integer(env("KEYS", 32) + env("VALUES", 16))),
        ("layers", ParameterValue::Integer(layers)),
        ("slstm_at", ParameterValue::List(slstm_at)),
        ("width", ParameterValue::Integer(env("W", 32))),
        ("heads", ParameterValue::Integer(env("H", 1))),
        ("head_dim", ParameterValue::Integer(env("HD", 16))),
        ("ffn", ParameterValue::Integer(env("W", 32))),
    ])?;
    let steps = env("STEPS", 400) as u64;
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
            let parameters =
                learner.train(&recipe, seed, |step| questions(seed, step, env("ROWS", 16) as usize))?;
            let seconds = start.elapsed().as_secs_f64();
            let test = questions(seed, recipe.steps, 64);
            let accuracy = learner.accuracy(&parameters, &test, 0..test.context)?;
            println!(
                "recall, {cell}, seed {seed}: {accuracy:.3} ({} parameters, {seconds:.1} s)",
                learner.elements()
            );
            Ok(accuracy)
        })
        .collect()
}
fn env(name: &str, default: i64) -> i64 {
    std::env::var(name).map_or(default, |v| v.parse().unwrap())
}

#[test]
fn mlstm_learns_recall() -> Result<(), Box<dyn Error>> {
    let accuracies = recall("mLSTM", Vec::new())?;
    assert!(accuracies.iter().all(|a| *a > 0.95), "{accuracies:?}");
    Ok(())
}

#[test]
fn slstm_of_the_same_width_does_not() -> Result<(), Box<dyn Error>> {
    let all = (0..env("LAYERS", 1)).map(ParameterValue::Integer).collect();
    let accuracies = recall("sLSTM", all)?;
    assert!(accuracies.iter().all(|a| *a < 0.5), "{accuracies:?}");
    Ok(())
}
