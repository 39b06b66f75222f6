//! Recursive descent from tokens to the syntax tree.
//!
//! An error is reported where it stands; the parser then goes on at the next statement or definition, so that all
//! errors of a file are found. Nesting is limited to [`MAX_DEPTH`], so that no later stage runs out of stack.

#![expect(clippy::wildcard_enum_match_arm, reason = "a parser asks for the tokens that it knows")]

mod expression;
mod item;
mod statement;

use super::ast::{Definition, Ident};
use super::lexer::{Lexeme, RESERVED, Token, lex, name_of};
use crate::{Diagnostic, Span};

/// Greatest nesting of expressions and of statements.
pub const MAX_DEPTH: u16 = 200;

/// Most messages about the syntax of one file.
const MAX_PROBLEMS: usize = 100;

/// A place where parsing went wrong; the message is already noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure;

pub(super) type Parsed<T> = Result<T, Failure>;

/// Reads tokens; shared by the parser of sources and the reader of printed modules.
pub(super) struct Cursor<'t> {
    text: &'t str,
    lexemes: Vec<Lexeme>,
    place: usize,
    depth: u16,
    pub(super) problems: Vec<Diagnostic>,
}

/// A file's definitions and the files that it uses.
#[derive(Default)]
pub(super) struct File {
    pub(super) definitions: Vec<Definition>,
    pub(super) uses: Vec<(String, Span)>,
}

/// The definitions of a file, with everything that is wrong in it.
pub(super) fn parse(file: u32, text: &str) -> (File, Vec<Diagnostic>) {
    let mut cursor = Cursor::new(file, text);
    let file = cursor.file();
    (file, cursor.problems)
}

impl<'t> Cursor<'t> {
    pub(super) fn new(file: u32, text: &'t str) -> Cursor<'t> {
        let mut problems = Vec::new();
        let lexemes = lex(file, text, &mut problems);
        problems.truncate(MAX_PROBLEMS);
        Cursor { text, lexemes, place: 0, depth: 0, problems }
    }

    pub(super) fn lexeme(&self) -> Lexeme {
        self.ahead(0)
    }

    pub(super) fn ahead(&self, by: usize) -> Lexeme {
        self.lexemes[(self.place + by).min(self.lexemes.len() - 1)]
    }

    pub(super) fn token(&self) -> Token {
        self.lexeme().token
    }

    pub(super) fn span(&self) -> Span {
        self.lexeme().span
    }

    /// The span of the token before this one.
    pub(super) fn last_span(&self) -> Span {
        self.lexemes[self.place.saturating_sub(1)].span
    }

    pub(super) fn place(&self) -> usize {
        self.place
    }

    pub(super) fn text_of(&self, lexeme: Lexeme) -> &'t str {
        &self.text[lexeme.span.start as usize..lexeme.span.end as usize]
    }

    pub(super) fn text(&self) -> &'t str {
        self.text_of(self.lexeme())
    }

    pub(super) fn advance(&mut self) -> Lexeme {
        let lexeme = self.lexeme();
        self.place = (self.place + 1).min(self.lexemes.len() - 1);
        lexeme
    }

    pub(super) fn at(&self, token: Token) -> bool {
        self.token() == token
    }

    /// Whether the word `word` comes next.
    pub(super) fn at_word(&self, word: &str) -> bool {
        self.word_ahead(0) == Some(word)
    }

    pub(super) fn word_ahead(&self, by: usize) -> Option<&'t str> {
        let lexeme = self.ahead(by);
        (lexeme.token == Token::Word).then(|| self.text_of(lexeme))
    }

    pub(super) fn eat(&mut self, token: Token) -> bool {
        let found = self.at(token);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn expect(&mut self, token: Token) -> Parsed<Lexeme> {
        if self.at(token) { Ok(self.advance()) } else { self.unexpected(token.describe()) }
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Parsed<()> {
        if self.eat_word(word) { Ok(()) } else { self.unexpected(&format!("`{word}`")) }
    }

    /// A name that is not reserved.
    pub(super) fn ident(&mut self) -> Parsed<Ident> {
        let lexeme = self.lexeme();
        let text = self.text();
        match lexeme.token {
            Token::Word if RESERVED.contains(&text) => {
                let message = format!("`{text}` is a word of the language, not a name");
                self.fail(Diagnostic::error("syntax", lexeme.span, message))
            }
            Token::Word | Token::Quoted => {
                self.advance();
                Ok(Ident { name: name_of(text), span: lexeme.span })
            }
            _ => self.unexpected("a name"),
        }
    }

    pub(super) fn unexpected<T>(&mut self, wanted: &str) -> Parsed<T> {
        let found = match self.token() {
            Token::Word | Token::Quoted | Token::Number | Token::Text => format!("`{}`", self.text()),
            token => token.describe().to_string(),
        };
        let message = format!("expected {wanted}, found {found}");
        let mut span = self.span();
        // A missing token at the end of a line is shown there, not at the start of the next line.
        if self.lexeme().starts_line && self.place > 0 {
            let last = self.last_span();
            span = Span { start: last.end.saturating_sub(1).max(last.start), ..last };
        }
        self.fail(Diagnostic::error("syntax", span, message))
    }

    pub(super) fn fail<T>(&mut self, problem: Diagnostic) -> Parsed<T> {
        self.report(problem);
        Err(Failure)
    }

    pub(super) fn report(&mut self, problem: Diagnostic) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    /// Runs `inner` one level deeper.
    pub(super) fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.enter()?;
        let result = inner(self);
        self.leave();
        result
    }

    /// One level deeper, for those that cannot use [`Cursor::nested`].
    pub(super) fn enter(&mut self) -> Parsed<()> {
        if self.depth >= MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} deep");
            return self.fail(Diagnostic::error("limit", self.span(), message));
        }
        self.depth += 1;
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Items separated by commas up to `close`, which is consumed; a last comma is allowed.
    pub(super) fn list<T>(
        &mut self,
        close: Token,
        mut item: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let mut items = Vec::new();
        while !self.at(close) {
            items.push(item(self)?);
            if !self.eat(Token::Comma) && !self.at(close) {
                return self.unexpected(&format!("`,` or {}", close.describe()));
            }
        }
        self.advance();
        Ok(items)
    }

    /// Whether a definition starts here.
    pub(super) fn at_definition(&self) -> bool {
        let starts = |w: &str| matches!(w, "fn" | "block" | "model" | "use" | "remat");
        self.lexeme().starts_line && self.word_ahead(0).is_some_and(starts)
    }

    /// Skips to the next line that can start a statement, to the brace that closes this body, or to a definition.
    fn skip_to_statement(&mut self, from: usize) {
        if self.place == from && !self.at_definition() && !self.at(Token::CloseBrace) {
            self.advance_over_group();
        }
        while !self.at(Token::End) && !self.at(Token::CloseBrace) && !self.at_definition() {
            if self.lexeme().starts_line && matches!(self.token(), Token::Word | Token::Quoted) {
                return;
            }
            self.advance_over_group();
        }
    }

    /// Skips one token, or a group in braces with all that is in it.
    fn advance_over_group(&mut self) {
        let mut open = 0usize;
        loop {
            match self.advance().token {
                Token::OpenBrace => open += 1,
                Token::CloseBrace => open = open.saturating_sub(1),
                _ => {}
            }
            if open == 0 || self.at(Token::End) || self.at_definition() {
                return;
            }
        }
    }

    /// Skips to the next definition.
    pub(super) fn skip_to_definition(&mut self, from: usize) {
        if self.place == from {
            self.advance();
        }
        while !self.at(Token::End) && !self.at_definition() {
            self.advance();
        }
    }
}
