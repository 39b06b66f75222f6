//! Random damage to bytes and to the words of a program.

use proptest::collection::vec;
use proptest::prelude::*;

/// One damage to some bytes.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    /// Another byte.
    Set(usize, u8),
    /// Nothing from here on.
    Cut(usize),
    /// So many bytes less.
    Remove(usize, usize),
    /// Bytes more.
    Insert(usize, Vec<u8>),
    /// Another number in the place of the next one.
    Digits(usize, u64),
    /// The word at one place in the place of another one.
    Replace(usize, usize),
    /// Two words change places.
    Swap(usize, usize),
    /// A word less.
    Drop(usize),
}

/// Damage to bytes.
pub(crate) fn to_bytes() -> impl Strategy<Value = Vec<Damage>> {
    let place = any::<usize>;
    let one = prop_oneof![
        4 => (place(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        1 => place().prop_map(Damage::Cut),
        1 => (place(), 1..64usize).prop_map(|(at, length)| Damage::Remove(at, length)),
        1 => (place(), vec(any::<u8>(), 1..16)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        3 => (place(), any::<u64>()).prop_map(|(at, number)| Damage::Digits(at, number)),
    ];
    vec(one, 1..4)
}

/// Damage to words, which leaves more of a program, and sometimes to bytes.
pub(crate) fn to_words() -> impl Strategy<Value = Vec<Damage>> {
    let place = any::<usize>;
    let one = prop_oneof![
        4 => (place(), place()).prop_map(|(at, from)| Damage::Replace(at, from)),
        2 => (place(), place()).prop_map(|(a, b)| Damage::Swap(a, b)),
        2 => place().prop_map(Damage::Drop),
        2 => (place(), any::<u64>()).prop_map(|(at, number)| Damage::Digits(at, number)),
        1 => (place(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
    ];
    vec(one, 1..5)
}

/// The bytes with the damages, most of them near the beginning, where structure is.
pub(crate) fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let place =
            |at: &usize| at % bytes.len().clamp(1, if at.is_multiple_of(3) { usize::MAX } else { 4096 });
        match damage {
            Damage::Set(at, byte) => {
                let at = place(at);
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = *byte;
                }
            }
            Damage::Cut(at) => bytes.truncate(place(at)),
            Damage::Remove(at, length) => {
                let at = place(at);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Damage::Insert(at, new) => {
                let at = place(at);
                bytes.splice(at..at, new.iter().copied());
            }
            Damage::Digits(at, number) => {
                let at = place(at);
                let Some(from) = bytes[at..].iter().position(u8::is_ascii_digit).map(|n| at + n) else {
                    continue;
                };
                let length = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let digits = (number >> (number % 64)).to_string();
                bytes.splice(from..from + length, digits.bytes());
            }
            Damage::Replace(at, from) => {
                let words = words(&bytes);
                let word = words[from % words.len()].to_vec();
                bytes = exchanged(&words, at % words.len(), &word);
            }
            Damage::Swap(a, b) => {
                let mut words = words(&bytes);
                let (a, b) = (a % words.len(), b % words.len());
                words.swap(a, b);
                bytes = words.concat();
            }
            Damage::Drop(at) => {
                let words = words(&bytes);
                bytes = exchanged(&words, at % words.len(), b"");
            }
        }
    }
    bytes
}

fn exchanged(words: &[&[u8]], at: usize, word: &[u8]) -> Vec<u8> {
    let mut words = words.to_vec();
    words[at] = word;
    words.concat()
}

/// Names and numbers whole, everything else byte by byte; at least one word, which may be empty.
fn words(bytes: &[u8]) -> Vec<&[u8]> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let words: Vec<&[u8]> = bytes.chunk_by(|a, b| is_word(a) && is_word(b)).collect();
    if words.is_empty() { vec![bytes] } else { words }
}
