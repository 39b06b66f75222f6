//! The language model learns text without its causal convolutions too: the model and the text of `carousel train`, in
//! much shorter runs.

use std::error::Error;

use carousel_models::batch::training_batch;
use carousel_models::config::ParameterValue;
use carousel_models::corpus::{Corpus, Text};
use carousel_models::tokenizer::ByteTokenizer;

use crate::learner::{Learner, Recipe};

/// Windows of a step.
const ROWS: usize = 8;
/// Bytes of a window.
const CONTEXT: usize = 64;
/// Windows that are held back and tested on.
const WINDOWS: usize = 256;
const RECIPE: Recipe = Recipe { steps: 400, learning_rate: 4e-3, weight_decay: 0.1 };

/// Bits a byte on text that was held back.
fn held_back(conv: i64) -> Result<f64, Box<dyn Error>> {
    let learner = Learner::new(&[
        ("conv", ParameterValue::Integer(conv)),
        ("slstm_conv", ParameterValue::Integer(conv)),
    ])?;
    let corpus = Corpus::new(&Text::bundled(), &ByteTokenizer, 0.1, CONTEXT)?;
    let start = std::time::Instant::now();
    let parameters = learner.train(&RECIPE, 0, |step| {
        training_batch(&corpus.train, 0..ROWS, 0, step).expect("the text is in memory")
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let bits = learner.bits_per_byte(&parameters, &corpus.held_back, WINDOWS)?;
    println!(
        "text, {conv} taps: {bits:.3} bits a byte held back ({} parameters, {seconds:.1} s)",
        learner.elements()
    );
    Ok(bits)
}

#[test]
fn language_model_without_convolutions_reaches_3_2_bits() -> Result<(), Box<dyn Error>> {
    let bits = held_back(0)?;
    assert!(bits < 3.2, "{bits}");
    Ok(())
}

#[test]
fn language_model_with_convolutions_reaches_3_0_bits() -> Result<(), Box<dyn Error>> {
    let bits = held_back(4)?;
    assert!(bits < 3.0, "{bits}");
    Ok(())
}
