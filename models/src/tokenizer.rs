//! From bytes of text to tokens and back.
//!
//! Invariant: what a [`Decoder`] has given out, joined, is valid UTF-8, and the text of all tokens it was given, whatever
//! the moments at which they came. [`ByteTokenizer`] gives back every text; a file's gives back what its author decided.

mod file;

use std::path::PathBuf;

pub use file::{FileTokenizer, TOKENIZER_FILE};

use crate::utf8::Utf8Stream;

/// A map from text to tokens, and back.
pub trait Tokenizer: Send + Sync {
    /// The name under which a checkpoint records it.
    fn name(&self) -> &str;
    /// Tokens are below this number.
    fn vocabulary(&self) -> usize;
    /// Whether every byte is a token of its own.
    fn tokens_are_bytes(&self) -> bool;
    /// The bytes of the file that it was read from, if there is one.
    fn file(&self) -> Option<&[u8]>;
    /// The tokens of some text; none is added that the text does not spell.
    fn encode(&self, text: &[u8]) -> Result<Vec<i32>, TokenizerError>;
    /// Makes text of tokens that arrive one at a time.
    fn decoder(&self) -> Box<dyn Decoder + '_>;
}

/// Makes text of tokens, in whole characters.
pub trait Decoder {
    /// Takes a token; returns the text that is certain by now.
    fn push(&mut self, token: i32) -> Result<String, UnknownToken>;
    /// The text of what is still held back, once no more tokens will come.
    fn finish(&mut self) -> String;
}

/// The text of some tokens.
pub fn decoded(tokenizer: &dyn Tokenizer, tokens: &[i32]) -> Result<String, UnknownToken> {
    let mut decoder = tokenizer.decoder();
    let mut text = tokens.iter().map(|token| decoder.push(*token)).collect::<Result<String, _>>()?;
    text.push_str(&decoder.finish());
    Ok(text)
}

/// Why a tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// Its file cannot be read.
    #[error("cannot read the tokenizer {}: {source}", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its file is no tokenizer, or one that would do harm.
    #[error("{}: {message}; give a `tokenizer.json` as the package `tokenizers` writes it", path.display())]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The text is no text.
    #[error(
        "byte {place} of the text is not valid UTF-8, which the tokenizer {tokenizer} needs; convert the text first"
    )]
    NotUtf8 {
        /// Name of the tokenizer.
        tokenizer: String,
        /// The first byte that is wrong, from 0.
        place: usize,
    },
    /// It refuses a text.
    #[error("the tokenizer {tokenizer} cannot read the text: {message}")]
    Refused {
        /// Name of the tokenizer.
        tokenizer: String,
        /// What it says.
        message: String,
    },
}

/// A number that is no token of a tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{token} is no token of the tokenizer `{tokenizer}`, whose tokens are 0 to {last}")]
pub struct UnknownToken {
    /// The number.
    pub token: i32,
    /// Name of the tokenizer.
    pub tokenizer: String,
    /// Its last token.
    pub last: usize,
}

impl UnknownToken {
    fn new(token: i32, tokenizer: &dyn Tokenizer) -> UnknownToken {
        let last = tokenizer.vocabulary().saturating_sub(1);
        UnknownToken { token, tokenizer: tokenizer.name().to_string(), last }
    }
}

/// Every byte is a token: 256 of them, nothing to train or load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteTokenizer;

impl Tokenizer for ByteTokenizer {
    fn name(&self) -> &str {
        "bytes"
    }

    fn vocabulary(&self) -> usize {
        256
    }

    fn tokens_are_bytes(&self) -> bool {
        true
    }

    fn file(&self) -> Option<&[u8]> {
        None
    }

    fn encode(&self, text: &[u8]) -> Result<Vec<i32>, TokenizerError> {
        Ok(text.iter().map(|&byte| i32::from(byte)).collect())
    }

    fn decoder(&self) -> Box<dyn Decoder + '_> {
        let bytes = |token| u8::try_from(token).map(|byte| vec![byte]).ok();
        Box::new(ByBytes { tokenizer: self, bytes, stream: Utf8Stream::default() })
    }
}

/// Where a token stands for the same bytes wherever it comes.
struct ByBytes<'a, F> {
    tokenizer: &'a dyn Tokenizer,
    bytes: F,
    stream: Utf8Stream,
}

impl<F: Fn(i32) -> Option<Vec<u8>>> Decoder for ByBytes<'_, F> {
    fn push(&mut self, token: i32) -> Result<String, UnknownToken> {
        let bytes = (self.bytes)(token).ok_or_else(|| UnknownToken::new(token, self.tokenizer))?;
        Ok(self.stream.push(&bytes))
    }

    fn finish(&mut self) -> String {
        std::mem::take(&mut self.stream).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back() {
        let text = "plain, aé€😀\0\u{7f}";
        let tokens = ByteTokenizer.encode(text.as_bytes()).unwrap();
        assert!(tokens.iter().all(|&t| (0..256).contains(&t)));
        assert_eq!(decoded(&ByteTokenizer, &tokens).unwrap(), text);
    }

    #[test]
    fn other_numbers_are_refused() {
        for token in [-1, 256] {
            let error = decoded(&ByteTokenizer, &[token]).unwrap_err().to_string();
            assert!(error.contains(&token.to_string()) && error.contains("0 to 255"), "{error}");
        }
    }
}
