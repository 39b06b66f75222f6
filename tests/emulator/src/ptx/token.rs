//! PTX text as tokens.
//!
//! Invariant: any text gives tokens or an error with its line; nothing is skipped but comments, debug sections and file
//! names, which say nothing about what runs. `.loc` stays: it says from which line of the source an instruction comes.

use super::SyntaxError;
use std::collections::HashMap;

/// What the text is made of.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token {
    /// A name, an opcode with its modifiers, a directive, a register.
    Word(String),
    /// An integer, as its 64 bits.
    Integer(u64),
    /// An f32 in hexadecimal form.
    Single(u32),
    /// An f64 in hexadecimal form.
    Double(u64),
    /// What follows comes from there.
    Source(Source),
    /// Anything else.
    Mark(char),
}

/// A place of the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Source {
    /// The line; 0 if unknown.
    pub line: u32,
    /// The line of the kernel itself, where that is of a function that it calls.
    pub of_kernel: u32,
}

/// Line and column.
type Place = (u32, u32);

/// The place that a `.loc` names, and the one that called the function that it is in:
/// `.loc file line column, function_name label, inlined_at file line column`.
fn located(text: &str) -> Option<(Place, Option<Place>)> {
    let place = |words: &str| {
        let mut numbers =
            words.split_whitespace().skip(1).map(|word| word.trim_end_matches(',').parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    let (own, caller) = text.split_once("inlined_at").map_or((text, None), |(own, rest)| (own, Some(rest)));
    Some((place(own.strip_prefix(".loc")?)?, caller.and_then(place)))
}

/// The tokens with the lines of the PTX text in which they stand.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, u32)>, SyntaxError> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut line = 1u32;
    // From where what is inlined at a place was called.
    let mut callers: HashMap<Place, Place> = HashMap::new();
    loop {
        let skipped = rest.len() - rest.trim_start().len();
        line += newlines(&rest[..skipped]);
        rest = &rest[skipped..];
        let Some(first) = rest.chars().next() else { return Ok(found) };
        let error = |message: &str| SyntaxError { line, message: message.to_string() };
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").ok_or_else(|| error("a comment without an end"))? + 2
        } else if rest.starts_with(".loc") {
            let end = rest.find('\n').unwrap_or(rest.len());
            let (place, caller) = located(&rest[..end]).ok_or_else(|| error("`.loc` without a line"))?;
            callers.extend(caller.map(|caller| (place, caller)));
            // As many steps as there are calls, if the text goes round in circles.
            let mut outermost = caller.unwrap_or(place);
            for _ in 0..callers.len() {
                let Some(caller) = callers.get(&outermost) else { break };
                outermost = *caller;
            }
            found.push((Token::Source(Source { line: place.0, of_kernel: outermost.0 }), line));
            end
        } else if rest.starts_with(".file") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with(".section") {
            section(rest).ok_or_else(|| error("a section without an end"))?
        } else if first == '"' {
            let end = rest[1..].find('"').ok_or_else(|| error("a string without an end"))?;
            end + 2
        } else if first.is_ascii_digit() {
            let (token, length) = number(rest).ok_or_else(|| error("a malformed number"))?;
            found.push((token, line));
            length
        } else if first.is_ascii_alphabetic() || matches!(first, '_' | '%' | '$' | '.') {
            let length = word(rest);
            found.push((Token::Word(rest[..length].to_string()), line));
            length
        } else {
            found.push((Token::Mark(first), line));
            first.len_utf8()
        };
        line += newlines(&rest[..length]);
        rest = &rest[length..];
    }
}

fn newlines(text: &str) -> u32 {
    text.bytes().filter(|b| *b == b'\n').count() as u32
}

/// The length of a debug section with its braces.
fn section(text: &str) -> Option<usize> {
    let mut depth = 0u32;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The length of a word; `::` belongs to it, a single colon does not.
fn word(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'.') => at += 1,
            b':' if bytes.get(at + 1) == Some(&b':') => at += 2,
            _ => break,
        }
    }
    at
}

fn number(text: &str) -> Option<(Token, usize)> {
    let length = text.bytes().take_while(|b| b.is_ascii_alphanumeric()).count();
    let all = &text[..length];
    let token = if let Some(digits) = all.strip_prefix("0f").or_else(|| all.strip_prefix("0F")) {
        Token::Single(u32::from_str_radix(digits, 16).ok()?)
    } else if let Some(digits) = all.strip_prefix("0d").or_else(|| all.strip_prefix("0D")) {
        Token::Double(u64::from_str_radix(digits, 16).ok()?)
    } else if let Some(digits) = all.strip_prefix("0x").or_else(|| all.strip_prefix("0X")) {
        Token::Integer(u64::from_str_radix(digits.trim_end_matches('U'), 16).ok()?)
    } else {
        Token::Integer(all.trim_end_matches('U').parse().ok()?)
    };
    Some((token, length))
}
