//! From bytes of text to tokens and back.
//!
//! Invariant: decoding what was encoded gives the same bytes. Tokens stand for bytes, not characters; making
//! characters of them is the business of [`crate::utf8::Utf8Stream`].

/// A reversible map from bytes to tokens.
pub trait Tokenizer {
    /// The name under which a checkpoint records it.
    fn name(&self) -> &'static str;
    /// Tokens are below this number.
    fn vocabulary(&self) -> usize;
    /// The tokens of some text.
    fn encode(&self, text: &[u8]) -> Vec<i32>;
    /// Appends the bytes of one token.
    fn decode(&self, token: i32, bytes: &mut Vec<u8>) -> Result<(), UnknownToken>;
}

/// A number that is no token of a tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{token} is no token of the tokenizer `{tokenizer}`, whose tokens are 0 to {last}")]
pub struct UnknownToken {
    /// The number.
    pub token: i32,
    /// Name of the tokenizer.
    pub tokenizer: &'static str,
    /// Its last token.
    pub last: usize,
}

/// Every byte is a token: 256 of them, nothing to train or load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteTokenizer;

impl Tokenizer for ByteTokenizer {
    fn name(&self) -> &'static str {
        "bytes"
    }

    fn vocabulary(&self) -> usize {
        256
    }

    fn encode(&self, text: &[u8]) -> Vec<i32> {
        text.iter().map(|&byte| i32::from(byte)).collect()
    }

    fn decode(&self, token: i32, bytes: &mut Vec<u8>) -> Result<(), UnknownToken> {
        let unknown = UnknownToken { token, tokenizer: self.name(), last: self.vocabulary() - 1 };
        bytes.push(u8::try_from(token).map_err(|_| unknown)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let text: Vec<u8> = (0..=255).collect();
        let tokens = ByteTokenizer.encode(&text);
        assert!(tokens.iter().all(|&t| (0..256).contains(&t)));
        let mut back = Vec::new();
        for token in tokens {
            ByteTokenizer.decode(token, &mut back).unwrap();
        }
        assert_eq!(back, text);
    }

    #[test]
    fn other_numbers_are_refused() {
        for token in [-1, 256] {
            let error = ByteTokenizer.decode(token, &mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains(&token.to_string()) && error.contains("0 to 255"), "{error}");
        }
    }
}
