//! Tokenizers of other programs, `tokenizer.json`, by the crate `tokenizers`.
//!
//! Invariant: a file that is opened cannot make the program use more memory than a fixed multiple of the file and of the
//! texts that it reads. Padding and truncation, which the file may ask for, are left out: they are no part of a text. Nothing
//! is fetched from elsewhere.

use std::path::Path;

use serde_json::Value;
use tokenizers::DecoderWrapper;

use super::{ByBytes, Decoder, Tokenizer, TokenizerError, UnknownToken};
use crate::files::read_limited;
use crate::hash::fnv1a;
use crate::utf8::Utf8Stream;

/// Name of a tokenizer's file in the folder of a checkpoint.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// More than any published tokenizer's file has.
const MOST_BYTES: u64 = 256 << 20;
/// More tokens than any tokenizer has.
const MOST_TOKENS: usize = 1 << 24;
/// How much longer replacements may make a text, all of them one after the other.
const MOST_GROWTH: f64 = 1024.0;
/// A text is encoded in pieces of about this many bytes.
const PIECE: usize = 64 << 10;

/// A tokenizer that was read from a file.
pub struct FileTokenizer {
    name: String,
    json: Vec<u8>,
    inner: tokenizers::Tokenizer,
    vocabulary: usize,
    /// The bytes of each token, if they do not depend on its neighbours.
    bytes: Option<Vec<Option<Vec<u8>>>>,
}

impl FileTokenizer {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<FileTokenizer, TokenizerError> {
        let json = read_limited(path, MOST_BYTES)
            .map_err(|source| TokenizerError::Unreadable { path: path.into(), source })?;
        FileTokenizer::new(json).map_err(|message| TokenizerError::Malformed { path: path.into(), message })
    }

    /// Of the bytes of a file; or what is wrong with it.
    pub fn new(json: Vec<u8>) -> Result<FileTokenizer, String> {
        let value: Value = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        let growth = growth(&value);
        if growth > MOST_GROWTH {
            return Err(format!("its replacements could make a text {growth:.0} times as long"));
        }
        if let Some(merge) = merge_without_token(&value) {
            return Err(format!("its merge {merge} makes no token of its vocabulary"));
        }
        drop(value);
        let mut inner: tokenizers::Tokenizer =
            serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| error.to_string())?;
        let largest = inner.get_vocab(true).into_values().max();
        let vocabulary = largest.map_or(0, |token| token as usize + 1);
        if vocabulary == 0 {
            return Err("it has no tokens".to_string());
        }
        if vocabulary > MOST_TOKENS {
            return Err(format!(
                "it has a token {}; at most {MOST_TOKENS} tokens are allowed",
                vocabulary - 1
            ));
        }
        let is_by_bytes = matches!(inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_)));
        let bytes =
            is_by_bytes.then(|| (0..vocabulary as u32).map(|token| bytes_of(&inner, token)).collect());
        let name = format!("{TOKENIZER_FILE}:{:016x}", fnv1a(&json));
        Ok(FileTokenizer { name, json, inner, vocabulary, bytes })
    }

    fn token(&self, token: i32) -> Option<u32> {
        u32::try_from(token).ok().filter(|t| (*t as usize) < self.vocabulary)
    }
}

/// A merge whose parts, put together without the prefix of parts inside a word, are no token: the library takes that for granted.
fn merge_without_token(json: &Value) -> Option<&Value> {
    let model = json.get("model")?;
    let prefix = model.get("continuing_subword_prefix").and_then(Value::as_str).unwrap_or_default();
    let vocabulary = model.get("vocab")?.as_object()?;
    let parts = |merge: &Value| -> Option<[String; 2]> {
        let text = |place| merge.get(place).and_then(Value::as_str).map(str::to_string);
        match merge.as_str() {
            Some(pair) => pair.split_once(' ').map(|(a, b)| [a.to_string(), b.to_string()]),
            None => Some([text(0)?, text(1)?]),
        }
    };
    let lacks = |merge: &&Value| {
        parts(merge).is_some_and(|[first, second]| match second.strip_prefix(prefix) {
            Some(rest) => !vocabulary.contains_key(&(first + rest)),
            None => true,
        })
    };
    model.get("merges")?.as_array()?.iter().find(lacks)
}

impl Tokenizer for FileTokenizer {
    fn name(&self) -> &str {
        &self.name
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn tokens_are_bytes(&self) -> bool {
        false
    }

    fn file(&self) -> Option<&[u8]> {
        Some(&self.json)
    }

    fn encode(&self, text: &[u8]) -> Result<Vec<i32>, TokenizerError> {
        let text = std::str::from_utf8(text).map_err(|error| TokenizerError::NotUtf8 {
            tokenizer: self.name.clone(),
            place: error.valid_up_to(),
        })?;
        let refused = |error: tokenizers::Error| TokenizerError::Refused {
            tokenizer: self.name.clone(),
            message: error.to_string(),
        };
        let encodings = self.inner.encode_batch_fast(pieces(text), false).map_err(refused)?;
        Ok(encodings.iter().flat_map(|encoding| encoding.get_ids()).map(|token| *token as i32).collect())
    }

    fn decoder(&self) -> Box<dyn Decoder + '_> {
        match &self.bytes {
            Some(table) => {
                let bytes = |token| table.get(usize::try_from(token).ok()?)?.clone();
                Box::new(ByBytes { tokenizer: self, bytes, stream: Utf8Stream::default() })
            }
            None => {
                Box::new(ByWindow { tokenizer: self, window: Vec::new(), given: String::new(), settled: 0 })
            }
        }
    }
}

/// Where the text of a token depends on its neighbours: the last tokens are decoded again and again, from the last place at
/// which the text was whole.
struct ByWindow<'a> {
    tokenizer: &'a FileTokenizer,
    window: Vec<u32>,
    /// The text of the first `settled` tokens of the window, which has been given out.
    given: String,
    settled: usize,
}

/// An unfinished character has at most as many tokens as bytes; what is longer will not become one.
const MOST_UNSETTLED: usize = 32;

impl ByWindow<'_> {
    fn text(&self, tokens: &[u32]) -> String {
        // A decoder that fails has no text for these tokens.
        self.tokenizer.inner.decode(tokens, true).unwrap_or_default()
    }

    fn settle(&mut self, text: &str) -> String {
        let same = text.chars().zip(self.given.chars()).take_while(|(new, old)| new == old);
        let new = text[same.map(|(character, _)| character.len_utf8()).sum()..].to_string();
        self.window.drain(..self.settled);
        self.settled = self.window.len();
        self.given = self.text(&self.window);
        new
    }
}

impl Decoder for ByWindow<'_> {
    fn push(&mut self, token: i32) -> Result<String, UnknownToken> {
        let known = self.tokenizer.token(token).ok_or_else(|| UnknownToken::new(token, self.tokenizer))?;
        self.window.push(known);
        let text = self.text(&self.window);
        let is_open = text.ends_with(char::REPLACEMENT_CHARACTER) || text.len() <= self.given.len();
        if is_open && self.window.len() - self.settled < MOST_UNSETTLED {
            return Ok(String::new());
        }
        Ok(self.settle(&text))
    }

    fn finish(&mut self) -> String {
        let text = self.text(&self.window);
        let new = self.settle(&text);
        self.window.clear();
        self.given.clear();
        self.settled = 0;
        new
    }
}

/// The bytes of a token of a byte-level tokenizer; none for a number that is no token, and no bytes for special ones.
fn bytes_of(tokenizer: &tokenizers::Tokenizer, token: u32) -> Option<Vec<u8>> {
    let text = tokenizer.id_to_token(token)?;
    if tokenizer.get_added_vocabulary().is_special_token(&text) {
        return Some(Vec::new());
    }
    // A token with any other character stands for itself.
    let bytes: Option<Vec<u8>> = text.chars().map(byte_of).collect();
    Some(bytes.unwrap_or_else(|| text.into_bytes()))
}

/// The byte for which a character of GPT-2's alphabet stands: printable ones for themselves, the others, in their order, for
/// the characters from U+0100 on.
fn byte_of(character: char) -> Option<u8> {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(character) {
        code @ 0..=0xff => u8::try_from(code).ok().filter(|byte| is_printable(*byte)),
        code @ 0x100.. => (0..=0xff).filter(|byte| !is_printable(*byte)).nth(code as usize - 0x100),
    }
}

/// The text in pieces that are encoded as they would be within the whole: cut behind a single line end between printable
/// characters where there is one, as no rule for cutting words looks past it.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > PIECE {
        let bytes = rest.as_bytes();
        let is_good = |at: &usize| {
            bytes[at - 1] == b'\n' && bytes[at - 2].is_ascii_graphic() && bytes[*at].is_ascii_graphic()
        };
        let limit = bytes.len().min(16 * PIECE);
        let any = || (1..=PIECE).rev().find(|at| rest.is_char_boundary(*at));
        let Some(at) = (PIECE..limit).find(is_good).or_else(any) else { break };
        let (piece, after) = rest.split_at(at);
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// By how much the replacements of a tokenizer can make a text longer at most: each puts its text in place of one byte or more,
/// or between two.
fn growth(json: &Value) -> f64 {
    match json {
        Value::Object(object) => {
            let is = |wanted: &[&str]| {
                object.get("type").and_then(Value::as_str).is_some_and(|t| wanted.contains(&t))
            };
            let length = |key: &str| object.get(key).and_then(Value::as_str).map_or(0, str::len) as f64;
            let own = if is(&["Replace"]) {
                let pattern = object.get("pattern").and_then(|p| p.get("String")).and_then(Value::as_str);
                match pattern.map(str::len) {
                    Some(found) if found > 0 => (length("content") / found as f64).max(1.0),
                    Some(_) | None => length("content") + 1.0,
                }
            } else if is(&["Prepend"]) {
                length("prepend") + 1.0
            } else {
                1.0
            };
            // The vocabulary holds no rules.
            object
                .iter()
                .filter(|(key, _)| *key != "vocab")
                .fold(own, |product, (_, value)| product * growth(value))
        }
        Value::Array(items) => items.iter().map(growth).product(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1.0,
    }
}
