//! Batches of tokens: windows to train on, at random or one behind the other, and consecutive ones to validate on.
//!
//! Invariant: a training batch depends only on the text, the seed and the step.

use std::ops::Range;

use crate::corpus::{Part, TextError};
use crate::philox::{Philox, Stream, below, join};

/// Rows of consecutive tokens, each with the token that follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Number of rows.
    pub rows: usize,
    /// Tokens of a row.
    pub context: usize,
    /// Tokens, row by row.
    pub inputs: Vec<i32>,
    /// The token after each of them; -1 where none is to be predicted.
    pub labels: Vec<i32>,
    /// Where documents begin; empty if rows are not cut into documents.
    pub starts: Vec<bool>,
}

impl Batch {
    /// Number of predicted tokens: the weight of the batch's mean loss.
    pub fn tokens(&self) -> usize {
        self.labels.iter().filter(|label| **label >= 0).count()
    }

    /// One of its rows.
    pub fn row(&self, row: usize) -> Batch {
        let range = row * self.context..(row + 1) * self.context;
        let starts = self.starts.get(range.clone()).unwrap_or_default().to_vec();
        let [inputs, labels] = [&self.inputs, &self.labels].map(|values| values[range.clone()].to_vec());
        Batch { rows: 1, context: self.context, inputs, labels, starts }
    }

    fn from_starts(
        part: &Part,
        context: usize,
        starts: impl Iterator<Item = usize>,
    ) -> Result<Batch, TextError> {
        let mut batch =
            Batch { rows: 0, context, inputs: Vec::new(), labels: Vec::new(), starts: Vec::new() };
        for start in starts {
            let tokens = part.read(start..start + context + 1)?;
            batch.rows += 1;
            batch.inputs.extend_from_slice(&tokens[..context]);
            let Some(begins) = part.starts(start..start + context + 1)? else {
                batch.labels.extend_from_slice(&tokens[1..]);
                continue;
            };
            // Nothing in a document tells how the next one begins.
            let labels = tokens[1..].iter().zip(&begins[1..]);
            batch.labels.extend(labels.map(|(token, begins)| if *begins { -1 } else { *token }));
            batch.starts.extend_from_slice(&begins[..context]);
        }
        Ok(batch)
    }
}

/// Rows of the batch of a training step: windows at random places, all places equally likely.
pub fn training_batch(part: &Part, rows: Range<usize>, seed: u64, step: u64) -> Result<Batch, TextError> {
    let generator = Philox::new(seed, Stream::Data);
    let places = (part.len() - part.context()) as u64;
    let starts = rows.map(|row| {
        let [low, high, ..] = generator.block_at(step, row as u64);
        below(join(low, high), places) as usize
    });
    Batch::from_starts(part, part.context(), starts)
}

/// Rows of a training batch that goes on where the one before it ended: the text is cut into `all` streams of equal length, one
/// a row, which are read window by window, again and again. Whether the windows are the first of their streams.
pub fn next_batch(
    part: &Part,
    rows: Range<usize>,
    all: usize,
    step: u64,
) -> Result<(Batch, bool), TextError> {
    let window = (step % windows(part, all)) as usize;
    let length = (part.len() - 1) / all;
    let starts = rows.map(|row| row * length + window * part.context());
    Ok((Batch::from_starts(part, part.context(), starts)?, window == 0))
}

/// How many windows each of so many streams has.
pub fn windows(part: &Part, streams: usize) -> u64 {
    ((part.len() - 1) / streams / part.context()) as u64
}

/// How much of a text is validated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it: every token but the first is predicted once. The last batch may have a shorter context.
    Whole,
    /// At most this many windows from its beginning.
    Windows(usize),
}

/// Consecutive windows that do not overlap, in batches of up to `rows`.
pub fn validation_batches(
    part: &Part,
    rows: usize,
    extent: Extent,
) -> impl Iterator<Item = Result<Batch, TextError>> {
    assert!(rows > 0, "a batch has at least one row");
    let context = part.context();
    let predicted = part.len() - 1;
    let (windows, rest) = match extent {
        Extent::Whole => (predicted / context, predicted % context),
        Extent::Windows(limit) => (limit.min(predicted / context), 0),
    };
    let full = (0..windows).step_by(rows).map(move |first| {
        let last = windows.min(first + rows);
        Batch::from_starts(part, context, (first..last).map(|window| window * context))
    });
    let remainder = (rest > 0).then(|| Batch::from_starts(part, rest, std::iter::once(windows * context)));
    full.chain(remainder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Text;
    use crate::tokenizer::ByteTokenizer;

    /// A text whose token at a place tells the place.
    fn counting(length: u8, context: usize) -> Part {
        let text = Text::from_bytes("t".into(), (0..length).collect()).unwrap();
        Part::whole(&text, &ByteTokenizer, context).unwrap()
    }

    #[test]
    fn labels_follow_inputs() {
        let batch = training_batch(&counting(200, 7), 0..5, 1, 0).unwrap();
        assert_eq!((batch.rows, batch.inputs.len(), batch.tokens()), (5, 35, 35));
        for row in 0..5 {
            for place in 0..7 {
                let index = row * 7 + place;
                assert_eq!(batch.labels[index], batch.inputs[index] + 1);
                assert_eq!(batch.inputs[index], batch.inputs[row * 7] + place as i32);
            }
        }
    }

    #[test]
    fn batches_depend_on_seed_and_step_only() {
        let part = counting(200, 7);
        let batch = |rows, seed, step| training_batch(&part, rows, seed, step).unwrap();
        assert_eq!(batch(0..8, 1, 5), batch(0..8, 1, 5));
        assert_eq!(batch(0..8, 1, 5).inputs, [batch(0..3, 1, 5).inputs, batch(3..8, 1, 5).inputs].concat());
        assert_ne!(batch(0..8, 1, 5), batch(0..8, 1, 6));
        assert_ne!(batch(0..8, 1, 5), batch(0..8, 2, 5));
    }

    #[test]
    fn every_place_is_reached_the_last_included() {
        let part = counting(12, 4);
        let mut seen = [false; 12];
        for step in 0..100 {
            for row in training_batch(&part, 0..4, 0, step).unwrap().inputs.chunks(4) {
                seen[row[0] as usize] = true;
            }
        }
        assert_eq!(seen.iter().position(|&s| !s), Some(8));
        // The only window there is.
        assert_eq!(training_batch(&counting(5, 4), 0..2, 0, 0).unwrap().labels, [1, 2, 3, 4, 1, 2, 3, 4]);
    }

    #[test]
    fn streams_are_read_from_end_to_end() {
        let part = counting(200, 7);
        // Three streams of 66 tokens are 9 windows each.
        for row in 0..3usize {
            let mut place = row as i32 * 66;
            for step in 0..20 {
                let (batch, is_first) = next_batch(&part, row..row + 1, 3, step).unwrap();
                assert_eq!(is_first, step % 9 == 0);
                place = if is_first { row as i32 * 66 } else { place };
                assert_eq!(batch.inputs, (place..place + 7).collect::<Vec<_>>());
                assert_eq!(batch.labels, (place + 1..place + 8).collect::<Vec<_>>());
                place += 7;
            }
        }
        let (batch, _) = next_batch(&part, 0..3, 3, 4).unwrap();
        assert_eq!((batch.rows, batch.row(2)), (3, next_batch(&part, 2..3, 3, 4).unwrap().0));
        assert_eq!(windows(&part, 200), 0);
    }

    #[test]
    fn validation_predicts_every_token_once() {
        for (length, context, rows) in [(50, 7, 3), (50, 7, 100), (8, 7, 1), (50, 49, 2), (43, 7, 3)] {
            let part = counting(length, context);
            let labels: Vec<i32> = validation_batches(&part, rows, Extent::Whole)
                .flat_map(|batch| batch.unwrap().labels)
                .collect();
            assert_eq!(labels, (1..i32::from(length)).collect::<Vec<_>>(), "{length} {context} {rows}");
        }
    }

    #[test]
    fn validation_stops_at_its_limit() {
        let part = counting(50, 7);
        let sizes = |limit| -> Vec<(usize, usize)> {
            validation_batches(&part, 3, Extent::Windows(limit))
                .map(|batch| batch.map(|b| (b.rows, b.context)).unwrap())
                .collect()
        };
        assert_eq!(sizes(4), [(3, 7), (1, 7)]);
        assert_eq!(sizes(1000), [(3, 7), (3, 7), (1, 7)]);
        assert!(sizes(0).is_empty());
    }
}
