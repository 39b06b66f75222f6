//! Statements of a function body and of a scan.

use super::{Cursor, Parsed};
use crate::text::ast::{Arm, LocalFunction, ScanStatement, Statement, StatementKind};
use crate::text::lexer::Token;
use crate::{Decay, Diagnostic, Direction};

impl Cursor<'_> {
    /// Statements in braces. Errors inside are reported; the statements around them are kept.
    pub(super) fn body(&mut self) -> Parsed<Vec<Statement>> {
        let open = self.expect(Token::OpenBrace)?.span;
        let mut statements = Vec::new();
        while !self.eat(Token::CloseBrace) {
            if self.at(Token::End) || self.at_definition() {
                let problem = Diagnostic::error("syntax", open, "this `{` is not closed");
                return self.fail(problem);
            }
            if self.eat(Token::Semicolon) {
                continue;
            }
            let from = self.place();
            match self.nested(Self::statement) {
                Ok(statement) => statements.push(statement),
                Err(_) => self.skip_to_statement(from),
            }
        }
        Ok(statements)
    }

    fn statement(&mut self) -> Parsed<Statement> {
        let start = self.span();
        let kind = match self.word_ahead(0) {
            Some("let") => self.binding(),
            Some("param") => self.parameter(),
            Some("repeat") => self.repeat(),
            Some("if") => self.branch(),
            Some("match") => self.cases(),
            Some("scan") => self.scan(),
            Some("state") => self.state(),
            Some("yield") => {
                self.advance();
                let name = self.ident()?;
                self.expect(Token::Equal)?;
                Ok(StatementKind::Yield { name, value: self.expression()? })
            }
            _ => self.equation(),
        }?;
        Ok(Statement { kind, span: start.to(self.last_span()) })
    }

    fn binding(&mut self) -> Parsed<StatementKind> {
        self.advance();
        if self.eat(Token::OpenParen) {
            let names = self.list(Token::CloseParen, Self::ident)?;
            self.expect(Token::Equal)?;
            return Ok(StatementKind::Let { names, ty: None, value: self.expression()? });
        }
        let name = self.ident()?;
        if self.eat(Token::OpenParen) {
            let parameters = self.list(Token::CloseParen, Self::ident)?;
            self.expect(Token::Equal)?;
            let body = self.expression()?;
            return Ok(StatementKind::LocalFunction(LocalFunction { name, parameters, body }));
        }
        let ty = if self.eat(Token::Colon) { Some(self.type_expr()?) } else { None };
        self.expect(Token::Equal)?;
        Ok(StatementKind::Let { names: vec![name], ty, value: self.expression()? })
    }

    fn equation(&mut self) -> Parsed<StatementKind> {
        if !matches!(self.token(), Token::Word | Token::Quoted) {
            return self.unexpected("a statement");
        }
        let name = self.ident()?;
        let is_next = self.eat(Token::Prime);
        if !self.at(Token::Equal) {
            let words = ["let", "param", "repeat", "match", "scan", "state", "yield"];
            let problem = Diagnostic::error("syntax", name.span, "expected a statement");
            let help = match crate::nearest(name.name.as_str(), words) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("to give `{}` a value, write `let {} = ..`", name.name, name.name),
            };
            return self.fail(problem.with_help(help));
        }
        self.advance();
        let value = self.expression()?;
        Ok(if is_next { StatementKind::Next { name, value } } else { StatementKind::Assign { name, value } })
    }

    fn parameter(&mut self) -> Parsed<StatementKind> {
        self.advance();
        let name = self.ident()?;
        self.expect(Token::Colon)?;
        let ty = self.type_expr()?;
        self.expect(Token::Tilde)?;
        let init = self.expression()?;
        let decay = if self.eat_word("nodecay") { Decay::No } else { Decay::Yes };
        Ok(StatementKind::Parameter { name, ty, init, decay })
    }

    fn repeat(&mut self) -> Parsed<StatementKind> {
        self.advance();
        let variable = self.ident()?;
        self.expect_word("in")?;
        let from = self.expression()?;
        self.expect(Token::DotDot)?;
        let to = self.expression()?;
        Ok(StatementKind::Repeat { variable, from, to, body: self.body()? })
    }

    fn branch(&mut self) -> Parsed<StatementKind> {
        self.advance();
        let condition = self.expression()?;
        let then = self.body()?;
        let otherwise = if !self.eat_word("else") {
            Vec::new()
        } else if self.at_word("if") {
            vec![self.nested(Self::statement)?]
        } else {
            self.body()?
        };
        Ok(StatementKind::If { condition, then, otherwise })
    }

    fn cases(&mut self) -> Parsed<StatementKind> {
        self.advance();
        let subject = self.expression()?;
        self.expect(Token::OpenBrace)?;
        let mut arms = Vec::new();
        while !self.eat(Token::CloseBrace) {
            let patterns = self.patterns()?;
            self.expect(Token::FatArrow)?;
            arms.push(Arm { patterns, body: self.body()? });
            self.eat(Token::Comma);
        }
        Ok(StatementKind::Match { subject, arms })
    }

    fn scan(&mut self) -> Parsed<StatementKind> {
        self.advance();
        let axis = self.ident()?;
        let direction = if self.eat_word("reverse") { Direction::Reverse } else { Direction::Forward };
        let reset = if self.eat_word("reset") { Some(self.expression()?) } else { None };
        Ok(StatementKind::Scan(ScanStatement { axis, direction, reset, body: self.body()? }))
    }

    fn state(&mut self) -> Parsed<StatementKind> {
        self.advance();
        let name = self.ident()?;
        self.expect(Token::Colon)?;
        let ty = self.type_expr()?;
        let init = if self.eat(Token::Equal) { Some(self.expression()?) } else { None };
        Ok(StatementKind::State { name, ty, init })
    }
}
