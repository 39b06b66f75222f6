//! The tokens of a stretch of a text: its bytes where they lie, or numbers in a temporary file that has no name and goes with the
//! program.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;

use super::{Text, TextError};
use crate::files;
use crate::tokenizer::Tokenizer;

/// Bytes that are encoded at a time.
const STRETCH: usize = 4 << 20;

#[derive(Clone, Debug)]
pub(super) enum Tokens {
    Bytes { text: Text, range: Range<usize> },
    Numbers(Arc<Numbers>),
}

#[derive(Debug)]
pub(super) struct Numbers {
    words: Option<Mmap>,
    count: usize,
}

impl Tokens {
    pub(super) fn new(
        text: &Text,
        range: Range<usize>,
        tokenizer: &dyn Tokenizer,
    ) -> Result<Tokens, TextError> {
        if tokenizer.tokens_are_bytes() {
            return Ok(Tokens::Bytes { text: text.clone(), range });
        }
        let failed = |source| TextError::Scratch { folder: std::env::temp_dir(), source };
        let mut file = BufWriter::new(tempfile::tempfile().map_err(failed)?);
        let mut count = 0;
        for slice in text.slices(range) {
            let mut rest = slice?;
            while !rest.is_empty() {
                let (stretch, after) = rest.split_at(end_of_stretch(rest));
                let tokens = tokenizer.encode(stretch)?;
                count += tokens.len();
                tokens.iter().try_for_each(|token| file.write_all(&token.to_le_bytes())).map_err(failed)?;
                rest = after;
            }
        }
        let file = file.into_inner().map_err(|error| failed(io::Error::from(error.into_error().kind())))?;
        Ok(Tokens::Numbers(Arc::new(Numbers::map(&file, count).map_err(failed)?)))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Tokens::Bytes { range, .. } => range.len(),
            Tokens::Numbers(numbers) => numbers.count,
        }
    }

    pub(super) fn read(&self, wanted: Range<usize>) -> Result<Vec<i32>, TextError> {
        match self {
            Tokens::Bytes { text, range } => {
                let bytes = text.read(range.start + wanted.start..range.start + wanted.end)?;
                Ok(bytes.into_iter().map(i32::from).collect())
            }
            Tokens::Numbers(numbers) => {
                Ok(numbers.words()[wanted].iter().map(|word| i32::from_le_bytes(*word)).collect())
            }
        }
    }
}

impl Numbers {
    fn map(file: &File, count: usize) -> io::Result<Numbers> {
        // The file has no name and no other handle, so that nobody can change it.
        let words = if count > 0 { Some(files::map(file)?) } else { None };
        Ok(Numbers { words, count })
    }

    fn words(&self) -> &[[u8; 4]] {
        self.words.as_deref().unwrap_or_default().as_chunks().0
    }
}

/// A whole line behind which to cut, as near as may be: a tokenizer's words do not go on from line to line.
fn end_of_stretch(bytes: &[u8]) -> usize {
    if bytes.len() <= STRETCH {
        return bytes.len();
    }
    let is_good = |at: &usize| {
        bytes[at - 1] == b'\n' && bytes[at - 2].is_ascii_graphic() && bytes[*at].is_ascii_graphic()
    };
    let limit = bytes.len().min(2 * STRETCH);
    let is_character = |at: &usize| bytes[*at] & 0xc0 != 0x80;
    let any = || (STRETCH..limit).find(is_character);
    (STRETCH..limit).find(is_good).or_else(any).unwrap_or(limit)
}
