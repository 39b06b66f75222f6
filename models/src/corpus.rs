//! What a model learns from: a text in tokens, cut into a part to train on and a part held back.
//!
//! Invariant: both parts of a [`Corpus`] hold at least one window of the context, so that batches can always be
//! made. The held-back part is the tail of the text; nothing of it is ever trained on. Memory does not grow with the text:
//! bytes are read where they lie, and the tokens of a tokenizer are kept in a temporary file.

mod text;
mod tokens;

use std::io;
use std::ops::Range;
use std::path::PathBuf;

pub use text::{BUNDLED_NAME, Text, TextIdentity};

use crate::tokenizer::{Tokenizer, TokenizerError};
use tokens::Tokens;

/// Why a text cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// It cannot be read.
    #[error("cannot read the text {}: {source}", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a device or a pipe.
    #[error("the text {} is a device or pipe; give a plain file, a folder or a pattern", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A pattern names nothing.
    #[error("the text {pattern}: {message}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// A file is not what it was.
    #[error("the text {} was changed while it was being read; put it back as it was and resume", path.display())]
    Changed {
        /// Path of the file.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error("the text {name} is empty")]
    Empty {
        /// Its name.
        name: String,
    },
    /// It cannot be made tokens of.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Its tokens cannot be kept.
    #[error("cannot keep the tokens of the text in {}: {source}; TMPDIR names another folder", folder.display())]
    Scratch {
        /// The folder for temporary files.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A part has not even one window.
    #[error(
        "the text {name} is too short: its {part} has {found} tokens, but a context of {context} needs at least \
         {needed}; {advice}"
    )]
    TooShort {
        /// Its name.
        name: String,
        /// Which part.
        part: &'static str,
        /// Tokens in it.
        found: usize,
        /// Tokens that are needed.
        needed: usize,
        /// Length of the context.
        context: usize,
        /// What helps.
        advice: &'static str,
    },
}

/// Tokens of one part of a text.
#[derive(Clone, Debug)]
pub struct Part {
    tokens: Tokens,
    bytes: usize,
    context: usize,
    /// The tokens that end a document; none if the text is one document.
    end: Vec<i32>,
}

impl Part {
    /// A text that is used whole, as when a model is evaluated on a file.
    pub fn whole(text: &Text, tokenizer: &dyn Tokenizer, context: usize) -> Result<Part, TextError> {
        let advice = "take a longer text or a shorter context";
        Part::new(text, 0..text.len(), "whole", advice, tokenizer, context)
    }

    fn new(
        text: &Text,
        range: Range<usize>,
        part: &'static str,
        advice: &'static str,
        tokenizer: &dyn Tokenizer,
        context: usize,
    ) -> Result<Part, TextError> {
        assert!(context > 0, "a context has at least one token");
        let bytes = range.len();
        let tokens = Tokens::new(text, range, tokenizer)?;
        // One more than the context: the label of a token is the token after it.
        let (needed, found) = (context.saturating_add(1), tokens.len());
        if found < needed {
            let name = text.name().to_string();
            return Err(TextError::TooShort { name, part, found, needed, context, advice });
        }
        Ok(Part { tokens, bytes, context, end: Vec::new() })
    }

    /// The same as documents, each of which ends with these tokens.
    pub fn in_documents(self, end: Vec<i32>) -> Part {
        Part { end, ..self }
    }

    /// Where documents begin among these tokens; `None` if the text is one document.
    pub fn starts(&self, range: Range<usize>) -> Result<Option<Vec<bool>>, TextError> {
        let ending = self.end.len();
        if ending == 0 {
            return Ok(None);
        }
        // Behind the end of the document before.
        let from = range.start.saturating_sub(ending);
        let tokens = self.read(from..range.end)?;
        let begins = |at: usize| at == 0 || tokens[..at - from].ends_with(&self.end);
        Ok(Some(range.map(begins).collect()))
    }

    /// How many tokens there are; more of them than the context.
    #[expect(clippy::len_without_is_empty, reason = "no part is empty")]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Some of the tokens.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn read(&self, range: Range<usize>) -> Result<Vec<i32>, TextError> {
        self.tokens.read(range)
    }

    /// Length of a window's inputs.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The loss in bits a byte that belongs to a loss in nats a token.
    pub fn bits_per_byte(&self, nats_per_token: f64) -> f64 {
        nats_per_token / std::f64::consts::LN_2 * (self.len() as f64 / self.bytes as f64)
    }
}

/// A text in tokens, cut in two.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// What the model is trained on.
    pub train: Part,
    /// The tail of the text, which shows how well the model does on what it has not seen.
    pub held_back: Part,
}

impl Corpus {
    /// Cuts off the last `held_back` part (between 0 and 1) of the text's bytes.
    pub fn new(
        text: &Text,
        tokenizer: &dyn Tokenizer,
        held_back: f64,
        context: usize,
    ) -> Result<Corpus, TextError> {
        let border = border(text, held_back)?;
        let advice = "take a longer text or a shorter context, or change the part held back";
        let part = |range, name| Part::new(text, range, name, advice, tokenizer, context);
        Ok(Corpus {
            train: part(0..border, "training part")?,
            held_back: part(border..text.len(), "held-back part")?,
        })
    }

    /// The same as documents, each of which ends with this text; one document if there is none.
    pub fn in_documents(
        self,
        end: Option<&str>,
        tokenizer: &dyn Tokenizer,
    ) -> Result<Corpus, TokenizerError> {
        let Some(end) = end else { return Ok(self) };
        let end = tokenizer.encode(end.as_bytes())?;
        let Corpus { train, held_back } = self;
        Ok(Corpus { train: train.in_documents(end.clone()), held_back: held_back.in_documents(end) })
    }
}

/// Where the held-back part begins: at a whole character if the text is UTF-8.
fn border(text: &Text, held_back: f64) -> Result<usize, TextError> {
    let wanted = (((1.0 - held_back) * text.len() as f64) as usize).min(text.len());
    let tail = text.read(wanted..text.len().min(wanted + 4))?;
    // A character has at most three continuation bytes; more of them are no UTF-8, and any place is as good.
    let skipped = tail.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
    Ok(if skipped <= 3 { wanted + skipped } else { wanted })
}

#[cfg(test)]
mod tests;
