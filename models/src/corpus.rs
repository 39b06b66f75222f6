//! The text that a model learns from: bundled or the user's own, cut into a part to train on and a part held back.
//!
//! Invariant: both parts of a [`Corpus`] hold at least one window of the context, so that batches can always be
//! made. The held-back part is the tail of the text; nothing of it is ever trained on.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::hash::fnv1a;
use crate::tokenizer::Tokenizer;

/// Eight of Shakespeare's plays; `models/data/README.md` says where they come from.
static BUNDLED: &[u8] = include_bytes!("../data/shakespeare.txt");

/// Name of the bundled text in manifests and messages.
pub const BUNDLED_NAME: &str = "built-in:shakespeare";

/// A text with its name.
#[derive(Clone, Debug)]
pub struct Text {
    name: String,
    bytes: Cow<'static, [u8]>,
}

/// What tells two texts apart, kept in checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextIdentity {
    /// Path, or [`BUNDLED_NAME`].
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// FNV-1a hash of the bytes, in hexadecimal.
    pub fnv1a: String,
}

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
    /// It is a folder or a device.
    #[error("the text {} is {kind}; give a plain file (to use several, join them: cat a.txt b.txt > all.txt)", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        kind: &'static str,
    },
    /// There is nothing in it.
    #[error("the text {name} is empty")]
    Empty {
        /// Its name.
        name: String,
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

impl Text {
    /// The text that is built into the program.
    pub fn bundled() -> Text {
        Text { name: BUNDLED_NAME.into(), bytes: Cow::Borrowed(BUNDLED) }
    }

    /// The text of a file. Any bytes will do; it need not be UTF-8.
    pub fn from_file(path: &Path) -> Result<Text, TextError> {
        let unreadable = |source| TextError::Unreadable { path: path.into(), source };
        let kind = fs::metadata(path).map_err(unreadable)?;
        if !kind.is_file() {
            let kind = if kind.is_dir() { "a folder" } else { "a device or pipe" };
            return Err(TextError::NotAFile { path: path.into(), kind });
        }
        Text::from_bytes(path.display().to_string(), fs::read(path).map_err(unreadable)?)
    }

    /// A text that is already in memory.
    pub fn from_bytes(name: String, bytes: Vec<u8>) -> Result<Text, TextError> {
        if bytes.is_empty() {
            return Err(TextError::Empty { name });
        }
        Ok(Text { name, bytes: Cow::Owned(bytes) })
    }

    /// Path, or [`BUNDLED_NAME`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What tells it from another text.
    pub fn identity(&self) -> TextIdentity {
        let hash = format!("{:016x}", fnv1a(&self.bytes));
        TextIdentity { name: self.name.clone(), bytes: self.bytes.len() as u64, fnv1a: hash }
    }
}

impl TextIdentity {
    /// Whether the bytes are the same, whatever the names.
    pub fn same_content(&self, other: &TextIdentity) -> bool {
        self.bytes == other.bytes && self.fnv1a == other.fnv1a
    }
}

/// Tokens of one part of a text.
#[derive(Clone, Debug)]
pub struct Part {
    tokens: Vec<i32>,
    bytes: usize,
    context: usize,
}

impl Part {
    /// A text that is used whole, as when a model is evaluated on a file.
    pub fn whole(text: &Text, tokenizer: &dyn Tokenizer, context: usize) -> Result<Part, TextError> {
        let advice = "take a longer text or a shorter context";
        Part::new(text, text.bytes(), "whole", advice, tokenizer, context)
    }

    fn new(
        text: &Text,
        bytes: &[u8],
        part: &'static str,
        advice: &'static str,
        tokenizer: &dyn Tokenizer,
        context: usize,
    ) -> Result<Part, TextError> {
        assert!(context > 0, "a context has at least one token");
        let tokens = tokenizer.encode(bytes);
        // One more than the context: the label of a token is the token after it.
        let needed = context.saturating_add(1);
        if tokens.len() < needed {
            let (name, found) = (text.name.clone(), tokens.len());
            return Err(TextError::TooShort { name, part, found, needed, context, advice });
        }
        Ok(Part { tokens, bytes: bytes.len(), context })
    }

    /// The tokens; more of them than the context.
    pub fn tokens(&self) -> &[i32] {
        &self.tokens
    }

    /// Length of a window's inputs.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The loss in bits a byte that belongs to a loss in nats a token.
    pub fn bits_per_byte(&self, nats_per_token: f64) -> f64 {
        nats_per_token / std::f64::consts::LN_2 * (self.tokens.len() as f64 / self.bytes as f64)
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
        let (head, tail) = text.bytes().split_at(border(text.bytes(), held_back));
        let advice = "take a longer text or a shorter context, or change the part held back";
        Ok(Corpus {
            train: Part::new(text, head, "training part", advice, tokenizer, context)?,
            held_back: Part::new(text, tail, "held-back part", advice, tokenizer, context)?,
        })
    }
}

/// Where the held-back part begins: at a whole character if the text is UTF-8.
fn border(bytes: &[u8], held_back: f64) -> usize {
    let wanted = ((1.0 - held_back) * bytes.len() as f64) as usize;
    let is_continuation = |&&byte: &&u8| byte & 0xc0 == 0x80;
    let tail = &bytes[wanted.min(bytes.len())..];
    // A character has at most three continuation bytes; more of them are no UTF-8, and any place is as good.
    let skipped = tail.iter().take_while(is_continuation).count();
    if skipped <= 3 { bytes.len() - tail.len() + skipped } else { bytes.len() - tail.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::ByteTokenizer;

    fn text(bytes: &[u8]) -> Text {
        Text::from_bytes("t".into(), bytes.to_vec()).unwrap()
    }

    #[test]
    fn bundled_text_is_plain_and_about_a_megabyte() {
        let text = Text::bundled();
        assert!(text.bytes().iter().all(|&b| b == b'\n' || (b' '..=b'~').contains(&b)));
        assert_eq!(text.identity().bytes, 954_962);
        let corpus = Corpus::new(&text, &ByteTokenizer, 0.1, 256).unwrap();
        assert_eq!(corpus.train.tokens().len() + corpus.held_back.tokens().len(), text.bytes().len());
        assert!(corpus.held_back.tokens().len().abs_diff(95_496) <= 1);
    }

    #[test]
    fn split_is_a_tail_at_a_whole_character() {
        let euros = "€".repeat(100);
        for held_back in [0.1, 0.11, 0.115, 0.2] {
            let corpus = Corpus::new(&text(euros.as_bytes()), &ByteTokenizer, held_back, 4).unwrap();
            assert_eq!(corpus.held_back.tokens()[0], 0xe2);
            let whole: Vec<i32> =
                corpus.train.tokens().iter().chain(corpus.held_back.tokens()).copied().collect();
            assert_eq!(whole, ByteTokenizer.encode(euros.as_bytes()));
        }
    }

    #[test]
    fn unusable_texts_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let message = |path: &Path| Text::from_file(path).unwrap_err().to_string();
        assert!(message(&folder.path().join("none.txt")).contains("none.txt"));
        assert!(message(folder.path()).contains("is a folder"));
        let empty = folder.path().join("empty.txt");
        fs::write(&empty, "").unwrap();
        assert!(message(&empty).contains("is empty"));
        let short = Corpus::new(&text(&[b'a'; 100]), &ByteTokenizer, 0.1, 16).unwrap_err().to_string();
        assert!(short.contains("held-back part has 10 tokens") && short.contains("at least 17"), "{short}");
        let short = Corpus::new(&text(b"abc"), &ByteTokenizer, 0.5, 2).unwrap_err().to_string();
        assert!(short.contains("training part has 1 tokens"), "{short}");
    }

    #[test]
    fn identity_follows_the_content() {
        assert!(text(b"abc").identity().same_content(&text(b"abc").identity()));
        assert!(!text(b"abc").identity().same_content(&text(b"abd").identity()));
    }

    #[test]
    fn a_bit_a_byte_is_ln_two_nats() {
        let part = Part::whole(&text(b"abcdef"), &ByteTokenizer, 2).unwrap();
        assert!((part.bits_per_byte(std::f64::consts::LN_2 * 3.0) - 3.0).abs() < 1e-12);
    }
}
