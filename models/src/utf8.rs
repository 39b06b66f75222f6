//! Text out of bytes that arrive a few at a time.
//!
//! Invariant: what has been given out, joined, is the lossy decoding of all bytes: a character is given out once it
//! is complete, and what can never become one is replaced by U+FFFD.

/// Holds back the bytes of a character that is not complete yet.
#[derive(Clone, Debug, Default)]
pub struct Utf8Stream {
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// Takes some bytes; returns the text that is certain by now.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        while !rest.is_empty() {
            let error = match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => error,
            };
            let (valid, invalid) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            rest = invalid;
            // No length: the bytes may be the beginning of a character, so wait for more.
            let Some(length) = error.error_len() else { break };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &rest[length..];
        }
        self.pending = rest.to_vec();
        text
    }

    /// The text of what is still held back, once no more bytes will come.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::Utf8Stream;

    fn streamed(bytes: &[u8], piece: usize) -> String {
        let mut stream = Utf8Stream::default();
        let mut text: String = bytes.chunks(piece).map(|chunk| stream.push(chunk)).collect();
        text.push_str(&stream.finish());
        text
    }

    #[test]
    fn equals_lossy_decoding_however_it_is_cut() {
        let cases: [&[u8]; 6] = [
            "plain".as_bytes(),
            "aé€😀z".as_bytes(),
            b"a\xffb\xc3",
            b"\xf0\x9f\x98",
            b"\xf0\x9fA\x80\x80",
            b"",
        ];
        for bytes in cases {
            for piece in 1..=bytes.len().max(1) {
                assert_eq!(streamed(bytes, piece), String::from_utf8_lossy(bytes), "{bytes:?} by {piece}");
            }
        }
    }

    #[test]
    fn incomplete_characters_are_held_back() {
        let mut stream = Utf8Stream::default();
        assert_eq!(stream.push(&"€".as_bytes()[..2]), "");
        assert_eq!(stream.push(&"€".as_bytes()[2..]), "€");
    }
}
