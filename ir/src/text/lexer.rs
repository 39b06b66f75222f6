//! Text to tokens. Whitespace and `//` comments vanish; what is no token is reported and skipped.
//!
//! Keywords are ordinary words: the parser decides by place. Names that are no words, or that are reserved, stand in
//! backquotes.

use crate::{Diagnostic, Name, Span};
use logos::Logos;

/// A kind of token.
#[derive(Logos, Clone, Copy, PartialEq, Eq, Debug)]
#[logos(skip r"[ \t\r\n\x0C]+")]
#[logos(skip(r"//[^\n]*", allow_greedy = true))]
#[rustfmt::skip]
pub(super) enum Token {
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")] Word,
    #[regex(r"`([^`\\\n]|\\[^\n])*`")] Quoted,
    #[regex(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")] Number,
    #[regex("\"[^\"\n]*\"")] Text,
    #[token("->")] Arrow,
    #[token("=>")] FatArrow,
    #[token("==")] EqualEqual,
    #[token("!=")] NotEqual,
    #[token("<=")] LessEqual,
    #[token(">=")] GreaterEqual,
    #[token("&&")] And,
    #[token("||")] Or,
    #[token("..")] DotDot,
    #[token("(")] OpenParen,
    #[token(")")] CloseParen,
    #[token("[")] OpenBracket,
    #[token("]")] CloseBracket,
    #[token("{")] OpenBrace,
    #[token("}")] CloseBrace,
    #[token("<")] Less,
    #[token(">")] Greater,
    #[token("=")] Equal,
    #[token("!")] Not,
    #[token("+")] Plus,
    #[token("-")] Minus,
    #[token("*")] Star,
    #[token("/")] Slash,
    #[token("|")] Bar,
    #[token("^")] Caret,
    #[token("~")] Tilde,
    #[token(",")] Comma,
    #[token(":")] Colon,
    #[token(";")] Semicolon,
    #[token("'")] Prime,
    End,
}

impl Token {
    /// How messages call it.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Token::Word | Token::Quoted => "a name",
            Token::Number => "a number",
            Token::Text => "a text",
            Token::Arrow => "`->`",
            Token::FatArrow => "`=>`",
            Token::EqualEqual => "`==`",
            Token::NotEqual => "`!=`",
            Token::LessEqual => "`<=`",
            Token::GreaterEqual => "`>=`",
            Token::And => "`&&`",
            Token::Or => "`||`",
            Token::DotDot => "`..`",
            Token::OpenParen => "`(`",
            Token::CloseParen => "`)`",
            Token::OpenBracket => "`[`",
            Token::CloseBracket => "`]`",
            Token::OpenBrace => "`{`",
            Token::CloseBrace => "`}`",
            Token::Less => "`<`",
            Token::Greater => "`>`",
            Token::Equal => "`=`",
            Token::Not => "`!`",
            Token::Plus => "`+`",
            Token::Minus => "`-`",
            Token::Star => "`*`",
            Token::Slash => "`/`",
            Token::Bar => "`|`",
            Token::Caret => "`^`",
            Token::Tilde => "`~`",
            Token::Comma => "`,`",
            Token::Colon => "`:`",
            Token::Semicolon => "`;`",
            Token::Prime => "`'`",
            Token::End => "the end of the file",
        }
    }
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lexeme {
    /// Which kind.
    pub(super) token: Token,
    /// Where.
    pub(super) span: Span,
    /// Whether it is the first of its line.
    pub(super) starts_line: bool,
}

/// Longest text of one file, in bytes.
pub(super) const MAX_FILE: usize = 16 << 20;

/// The tokens of a file, the last one being [`Token::End`].
pub(super) fn lex(file: u32, text: &str, problems: &mut Vec<Diagnostic>) -> Vec<Lexeme> {
    let mut lexemes = Vec::new();
    let place = |start: usize, end: usize| Span { file, start: start as u32, end: end as u32 };
    let mut last_end = 0;
    if text.len() > MAX_FILE {
        let message = format!("the file has {} bytes; the limit is {MAX_FILE}", text.len());
        problems.push(Diagnostic::error("limit", place(0, 0), message));
        lexemes.push(Lexeme { token: Token::End, span: place(0, 0), starts_line: true });
        return lexemes;
    }
    let mut lexer = Token::lexer(text);
    let mut bad: Option<(usize, usize)> = None;
    while let Some(token) = lexer.next() {
        let range = lexer.span();
        let starts_line = lexemes.is_empty() || text[last_end..range.start].contains('\n');
        match token {
            Ok(token) => {
                lexemes.push(Lexeme { token, span: place(range.start, range.end), starts_line });
                last_end = range.end;
            }
            // Neighbouring bad characters make one message.
            Err(()) => match &mut bad {
                Some((_, end)) if *end == range.start => *end = range.end,
                Some((start, end)) => {
                    problems.push(unexpected(text, place(*start, *end)));
                    bad = Some((range.start, range.end));
                }
                None => bad = Some((range.start, range.end)),
            },
        }
    }
    if let Some((start, end)) = bad {
        problems.push(unexpected(text, place(start, end)));
    }
    lexemes.push(Lexeme { token: Token::End, span: place(text.len(), text.len()), starts_line: true });
    lexemes
}

fn unexpected(text: &str, span: Span) -> Diagnostic {
    let shown: String = text[span.start as usize..span.end as usize].chars().take(20).collect();
    Diagnostic::error("character", span, format!("`{shown}` means nothing here"))
}

/// Words that cannot be names unless they are quoted.
pub(super) const RESERVED: [&str; 21] = [
    "fn", "block", "model", "let", "param", "repeat", "in", "if", "else", "match", "scan", "state", "yield",
    "use", "remat", "return", "axes", "true", "false", "inf", "nan",
];

/// The name that a word or quoted name means.
pub(super) fn name_of(text: &str) -> Name {
    let Some(inner) = text.strip_prefix('`').and_then(|t| t.strip_suffix('`')) else {
        return Name::new(text);
    };
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some(c) => out.push(c),
                None => {}
            },
            (c, false) => out.push(c),
        }
    }
    Name::new(&out)
}

/// A name as it is written: in backquotes if it is no plain word.
pub(super) fn written(name: &str) -> String {
    let mut lexer = Token::lexer(name);
    let is_word = lexer.next() == Some(Ok(Token::Word)) && lexer.span() == (0..name.len());
    if is_word && !RESERVED.contains(&name) {
        return name.to_string();
    }
    let escaped = name.replace('\\', "\\\\").replace('`', "\\`").replace('\n', "\\n");
    format!("`{escaped}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_writing() {
        for name in ["x", "layer.3.up", "a b", "let", "3x", "tick`\\n\n", "", "x.", "élan"] {
            let text = written(name);
            let mut problems = Vec::new();
            let tokens = lex(0, &text, &mut problems);
            assert!(problems.is_empty() && tokens.len() == 2, "{text}: {problems:?}");
            assert_eq!(name_of(&text).as_str(), name);
        }
    }

    #[test]
    fn ranges_are_not_floats() {
        let mut problems = Vec::new();
        let kinds: Vec<Token> = lex(0, "0..n i..4 2.5", &mut problems).iter().map(|l| l.token).collect();
        use Token::{DotDot, End, Number, Word};
        assert_eq!(kinds, [Number, DotDot, Word, Word, DotDot, Number, Number, End]);
    }

    #[test]
    fn what_is_no_token_is_reported_once() {
        let mut problems = Vec::new();
        lex(0, "let $$$ x = @", &mut problems);
        assert_eq!(problems.len(), 2);
    }
}
