//! The language model learns text without its causal convolutions too: shortened runs of a smaller model than
//! `carousel train` has, on the same text.

use std::error::Error;

use carousel_models::batch::training_batch;
use carousel_models::config::{AdamW, ParameterValue};
use carousel_models::corpus::{Corpus, Text};
use carousel_models::schedule::Schedule;
use carousel_models::tokenizer::ByteTokenizer;

use crate::learner::{Learner, Recipe};

/// Bits a byte on text that was held back.
fn held_back(conv: bool) -> Result<f64, Box<dyn Error>> {
    let learner = Learner::new(&[
        ("layers", ParameterValue::Integer(env("LAYERS", 2))),
        ("width", ParameterValue::Integer(env("W", 64))),
        ("heads", ParameterValue::Integer(env("H", 2))),
        ("head_dim", ParameterValue::Integer(env("HD", 32))),
        ("ffn", ParameterValue::Integer(96)),
        ("conv", ParameterValue::Boolean(conv)),
    ])?;
    let corpus = Corpus::new(&Text::bundled(), &ByteTokenizer, 0.1, env("CTX", 64) as usize)?;
    let steps = env("STEPS", 400) as u64;
    let recipe = Recipe {
        steps,
        schedule: Schedule {
            max: env("LR", 60) as f64 * 1e-4,
            min_factor: 0.1,
            warmup: 20,
            decay_until: steps,
        },
        adamw: AdamW::default(),
    };
    let start = std::time::Instant::now();
    let parameters =
        learner.train(&recipe, 0, |step| training_batch(&corpus.train, env("ROWS", 8) as usize, 0, step))?;
    let seconds = start.elapsed().as_secs_f64();
    let bits = learner.bits_per_byte(&parameters, &corpus.held_back, 256)?;
    println!(
        "text, conv {conv}: {bits:.3} bits a byte held back ({} parameters, {seconds:.1} s)",
        learner.elements()
    );
    Ok(bits)
}
fn env(name: &str, default: i64) -> i64 {
    std::env::var(name).map_or(default, |v| v.parse().unwrap())
}

#[test]
fn language_model_without_convolutions_reaches_3_2_bits() -> Result<(), Box<dyn Error>> {
    let bits = held_back(false)?;
    assert!(bits < 3.2, "{bits}");
    Ok(())
}

#[test]
fn language_model_with_convolutions_reaches_3_0_bits() -> Result<(), Box<dyn Error>> {
    let bits = held_back(true)?;
    assert!(bits < 3.0, "{bits}");
    Ok(())
}
