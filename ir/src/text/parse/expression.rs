//! Expressions, by precedence climbing.

#![expect(clippy::wildcard_enum_match_arm, reason = "a parser asks for the tokens that it knows")]

use super::{Cursor, MAX_DEPTH, Parsed};
use crate::text::ast::{Arm, Binary, BracketItem, Brackets, Call, Expr, ExprKind, Ident, Unary};
use crate::text::lexer::{RESERVED, Token};
use crate::{Diagnostic, Name, Span};

/// How tightly an operator binds; comparisons do not chain.
fn operator(token: Token, word: Option<&str>) -> Option<(Binary, u8)> {
    Some(match token {
        Token::Or => (Binary::Or, 1),
        Token::And => (Binary::And, 2),
        Token::Less => (Binary::Less, 3),
        Token::LessEqual => (Binary::LessEqual, 3),
        Token::Greater => (Binary::Greater, 3),
        Token::GreaterEqual => (Binary::GreaterEqual, 3),
        Token::EqualEqual => (Binary::Equal, 3),
        Token::NotEqual => (Binary::NotEqual, 3),
        Token::Word if word == Some("in") => (Binary::In, 3),
        Token::Plus => (Binary::Add, 4),
        Token::Minus => (Binary::Subtract, 4),
        Token::Star => (Binary::Multiply, 5),
        Token::Slash => (Binary::Divide, 5),
        Token::Caret => (Binary::Power, 7),
        _ => return None,
    })
}

const COMPARISON: u8 = 3;
const SUM: u8 = 4;
const PREFIX: u8 = 6;

impl Cursor<'_> {
    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        self.binary(0)
    }

    /// The default of a compile-time parameter; a comparison would swallow the closing `>`.
    pub(super) fn config_value(&mut self) -> Parsed<Expr> {
        self.binary(SUM)
    }

    fn binary(&mut self, at_least: u8) -> Parsed<Expr> {
        let mut left = self.nested(Self::prefix)?;
        let mut compared = false;
        while let Some((op, strength)) = operator(self.token(), self.word_ahead(0)) {
            if strength < at_least {
                break;
            }
            if strength == COMPARISON && compared {
                let problem = Diagnostic::error("syntax", self.span(), "comparisons do not chain");
                return self.fail(problem.with_help("join two of them with `&&`"));
            }
            compared |= strength == COMPARISON;
            self.advance();
            let right = self.nested(|p| p.binary(strength + 1))?;
            let span = left.span.to(right.span);
            left = self.expr(
                span,
                &[left.depth, right.depth],
                ExprKind::Binary(op, Box::new(left), Box::new(right)),
            )?;
        }
        Ok(left)
    }

    fn expr(&mut self, span: Span, below: &[u16], kind: ExprKind) -> Parsed<Expr> {
        let depth = below.iter().max().copied().unwrap_or(0) + 1;
        if depth > MAX_DEPTH {
            let message = format!("an expression more than {MAX_DEPTH} operations deep");
            return self
                .fail(Diagnostic::error("limit", span, message).with_help("name a part of it with `let`"));
        }
        Ok(Expr { kind, span, depth })
    }

    fn prefix(&mut self) -> Parsed<Expr> {
        let start = self.span();
        let op = match self.token() {
            Token::Minus => Unary::Negate,
            Token::Not => Unary::Not,
            _ => return self.postfix(),
        };
        self.advance();
        let inner = self.nested(|p| p.binary(PREFIX))?;
        let span = start.to(inner.span);
        self.expr(span, &[inner.depth], ExprKind::Unary(op, Box::new(inner)))
    }

    fn postfix(&mut self) -> Parsed<Expr> {
        let mut value = self.primary()?;
        while self.at(Token::OpenBracket) && !self.lexeme().starts_line {
            let brackets = self.brackets()?;
            let span = value.span.to(brackets.span);
            let below = [value.depth, brackets_depth(&brackets)];
            value = self.expr(span, &below, ExprKind::View(Box::new(value), brackets))?;
        }
        Ok(value)
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let start = self.span();
        match (self.token(), self.word_ahead(0)) {
            (Token::Number, _) => self.number(),
            (Token::OpenParen, _) => {
                self.advance();
                let inner = self.nested(Self::expression)?;
                self.expect(Token::CloseParen)?;
                Ok(Expr { span: start.to(self.last_span()), ..inner })
            }
            (Token::OpenBracket, _) => self.literal_list(Token::CloseBracket),
            (Token::OpenBrace, _) => self.literal_list(Token::CloseBrace),
            (Token::Bar, _) => {
                self.advance();
                let axis = self.ident()?;
                self.expect(Token::Bar)?;
                self.expr(start.to(self.last_span()), &[], ExprKind::Size(axis))
            }
            (Token::Word, Some("if")) => self.choice(),
            (Token::Word, Some("match")) => self.match_value(),
            (Token::Word, Some(word @ ("true" | "false"))) => {
                self.advance();
                self.expr(start, &[], ExprKind::Truth(word == "true"))
            }
            (Token::Word, Some(word @ ("inf" | "nan"))) => {
                self.advance();
                let value = if word == "inf" { f64::INFINITY } else { f64::NAN };
                self.expr(start, &[], ExprKind::Float(value))
            }
            (Token::Word, Some(word)) if RESERVED.contains(&word) => self.unexpected("an expression"),
            (Token::Word | Token::Quoted, _) => self.name_or_call(),
            _ => self.unexpected("an expression"),
        }
    }

    fn number(&mut self) -> Parsed<Expr> {
        let span = self.span();
        let text = self.text();
        self.advance();
        let kind = match text.parse::<i64>() {
            Ok(n) => ExprKind::Integer(n),
            Err(_) => match text.parse::<f64>() {
                Ok(x) if x.is_finite() => ExprKind::Float(x),
                _ => {
                    return self.fail(Diagnostic::error("number", span, format!("`{text}` is out of range")));
                }
            },
        };
        self.expr(span, &[], kind)
    }

    fn literal_list(&mut self, close: Token) -> Parsed<Expr> {
        let start = self.advance().span;
        let items = self.nested(|p| p.list(close, Self::expression))?;
        let below: Vec<u16> = items.iter().map(|i| i.depth).collect();
        self.expr(start.to(self.last_span()), &below, ExprKind::List(items))
    }

    fn choice(&mut self) -> Parsed<Expr> {
        let start = self.advance().span;
        let condition = self.nested(Self::expression)?;
        let then = self.braced()?;
        self.expect_word("else")?;
        let otherwise = if self.at_word("if") { self.nested(Self::choice)? } else { self.braced()? };
        let below = [condition.depth, then.depth, otherwise.depth];
        self.expr(start.to(self.last_span()), &below, ExprKind::If(Box::new([condition, then, otherwise])))
    }

    fn braced(&mut self) -> Parsed<Expr> {
        self.expect(Token::OpenBrace)?;
        let inner = self.nested(Self::expression)?;
        self.expect(Token::CloseBrace)?;
        Ok(inner)
    }

    fn match_value(&mut self) -> Parsed<Expr> {
        let start = self.advance().span;
        let subject = self.nested(Self::expression)?;
        self.expect(Token::OpenBrace)?;
        let arms = self.nested(|p| {
            p.list(Token::CloseBrace, |p| {
                let patterns = p.patterns()?;
                p.expect(Token::FatArrow)?;
                Ok(Arm { patterns, body: p.expression()? })
            })
        })?;
        let below: Vec<u16> =
            arms.iter().map(|a| a.body.depth).chain(std::iter::once(subject.depth)).collect();
        self.expr(start.to(self.last_span()), &below, ExprKind::Match(Box::new(subject), arms))
    }

    /// `gelu | swish`, or `else`.
    pub(super) fn patterns(&mut self) -> Parsed<Vec<Ident>> {
        if self.at_word("else") {
            let span = self.advance().span;
            return Ok(vec![Ident { name: Name::new("else"), span }]);
        }
        let mut patterns = vec![self.ident()?];
        while self.eat(Token::Bar) {
            patterns.push(self.ident()?);
        }
        Ok(patterns)
    }

    fn name_or_call(&mut self) -> Parsed<Expr> {
        let name = self.ident()?;
        if self.at(Token::Prime) {
            let end = self.advance().span;
            return self.expr(name.span.to(end), &[], ExprKind::Next(name.name));
        }
        let mut config = Vec::new();
        // `f<heads = 4>(x)`; a comparison is never followed by `=`.
        if self.at(Token::Less) && self.ahead(1).token == Token::Word && self.ahead(2).token == Token::Equal {
            self.advance();
            config = self.list(Token::Greater, |p| {
                let key = p.ident()?;
                p.expect(Token::Equal)?;
                Ok((key, p.nested(Self::config_value)?))
            })?;
        }
        let mut attributes = None;
        if self.at(Token::OpenBracket) && !self.lexeme().starts_line {
            let brackets = self.brackets()?;
            if !self.at(Token::OpenParen) {
                let value = self.expr(name.span, &[], ExprKind::Name(name.name))?;
                let span = name.span.to(brackets.span);
                let below = [value.depth, brackets_depth(&brackets)];
                return self.expr(span, &below, ExprKind::View(Box::new(value), brackets));
            }
            attributes = Some(brackets);
        }
        if !self.at(Token::OpenParen) {
            if !config.is_empty() {
                return self.unexpected("`(`");
            }
            return self.expr(name.span, &[], ExprKind::Name(name.name));
        }
        self.advance();
        let arguments = self.nested(|p| p.list(Token::CloseParen, Self::expression))?;
        let alias = if self.eat_word("as") { Some(self.ident()?) } else { None };
        let reversed = if self.eat_word("reversed") { Some(self.ident()?) } else { None };
        let inner = arguments.iter().chain(config.iter().map(|(_, e)| e)).map(|e| e.depth);
        let below: Vec<u16> = inner.chain(attributes.iter().map(brackets_depth)).collect();
        let call = Call { name, config, attributes, arguments, alias, reversed };
        self.expr(name.span.to(self.last_span()), &below, ExprKind::Call(call))
    }

    fn brackets(&mut self) -> Parsed<Brackets> {
        let start = self.expect(Token::OpenBracket)?.span;
        let (mut before, mut after) = (Vec::new(), None::<Vec<BracketItem>>);
        while !self.at(Token::CloseBracket) {
            let item = self.nested(Self::bracket_item)?;
            after.as_mut().unwrap_or(&mut before).push(item);
            if self.at(Token::FatArrow) && after.is_none() {
                self.advance();
                after = Some(Vec::new());
            } else if !self.eat(Token::Comma) && !self.at(Token::CloseBracket) {
                return self.unexpected("`,` or `]`");
            }
        }
        self.advance();
        Ok(Brackets { before, after, span: start.to(self.last_span()) })
    }

    fn bracket_item(&mut self) -> Parsed<BracketItem> {
        let subject = self.expression()?;
        let to = if self.eat(Token::Arrow) { Some(self.ident()?) } else { None };
        let (mut value, mut end) = (None, None);
        if self.eat(Token::Equal) {
            value = Some(self.expression()?);
            end = if self.eat(Token::DotDot) { Some(self.expression()?) } else { None };
        }
        Ok(BracketItem { subject, to, value, end })
    }
}

fn brackets_depth(brackets: &Brackets) -> u16 {
    let items = brackets.before.iter().chain(brackets.after.iter().flatten());
    let parts = items.flat_map(|i| [Some(&i.subject), i.value.as_ref(), i.end.as_ref()]).flatten();
    parts.map(|e| e.depth).max().unwrap_or(0)
}
