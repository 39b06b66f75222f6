//! Definitions: `use`, `fn`, `block`, `model`, with their headers.

use super::{Cursor, File, Parsed};
use crate::text::ast::{AxisDeclaration, ConfigDeclaration, ConfigKind, Definition, TypeExpr, Typed};
use crate::text::lexer::Token;
use crate::{DType, Diagnostic, FunctionKind, Residuals};

impl Cursor<'_> {
    /// A whole file.
    pub(super) fn file(&mut self) -> File {
        let mut file = File::default();
        while !self.at(Token::End) {
            let from = self.place();
            let done = if self.at_word("use") {
                self.use_file().map(|used| file.uses.push(used))
            } else {
                self.definition().map(|definition| file.definitions.push(definition))
            };
            if done.is_err() {
                self.skip_to_definition(from);
            }
        }
        file
    }

    fn use_file(&mut self) -> Parsed<(String, crate::Span)> {
        self.advance();
        let path = self.expect(Token::Text)?;
        self.eat(Token::Semicolon);
        let text = self.text_of(path);
        Ok((text[1..text.len() - 1].to_string(), path.span))
    }

    fn definition(&mut self) -> Parsed<Definition> {
        let residuals = if self.eat_word("remat") { Residuals::Recompute } else { Residuals::Save };
        let kind = match self.word_ahead(0) {
            Some("fn") => FunctionKind::Fn,
            Some("block") => FunctionKind::Block,
            Some("model") => FunctionKind::Model,
            word => {
                let problem =
                    Diagnostic::error("syntax", self.span(), "expected `fn`, `block`, `model` or `use`");
                let words = ["fn", "block", "model", "use", "remat"];
                let near = word.and_then(|w| crate::nearest(w, words));
                return self.fail(match near {
                    Some(near) => problem.with_help(format!("did you mean `{near}`?")),
                    None => problem,
                });
            }
        };
        if residuals == Residuals::Recompute && kind == FunctionKind::Fn {
            let message = "`remat` is for blocks and models";
            let problem = Diagnostic::error("remat", self.last_span(), message);
            self.report(problem.with_help("an `fn` is expanded where it is used; make it a `block`"));
        }
        self.advance();
        let name = self.ident()?;
        let config =
            if self.eat(Token::Less) { self.list(Token::Greater, Self::config)? } else { Vec::new() };
        self.expect(Token::OpenParen)?;
        let inputs = self.list(Token::CloseParen, Self::typed)?;
        self.expect(Token::Arrow)?;
        self.expect(Token::OpenParen)?;
        let outputs = self.list(Token::CloseParen, Self::typed)?;
        let body = self.body()?;
        Ok(Definition { kind, residuals, name, config, inputs, outputs, body })
    }

    fn config(&mut self) -> Parsed<ConfigDeclaration> {
        let name = self.ident()?;
        self.expect(Token::Colon)?;
        let kind = match self.word_ahead(0) {
            Some("int") => ConfigKind::Int,
            Some("float") => ConfigKind::Float,
            Some("bool") => ConfigKind::Bool,
            Some("set") => ConfigKind::Set,
            Some("enum") => ConfigKind::Enum(Vec::new()),
            _ => return self.unexpected("`int`, `float`, `bool`, `set` or `enum(..)`"),
        };
        let place = self.advance().span;
        let kind = match kind {
            ConfigKind::Enum(_) => {
                self.expect(Token::OpenParen)?;
                let words = self.list(Token::CloseParen, Self::ident)?;
                if words.is_empty() {
                    return self.fail(Diagnostic::error(
                        "syntax",
                        place,
                        "an `enum` needs at least one word",
                    ));
                }
                ConfigKind::Enum(words)
            }
            kind @ (ConfigKind::Int | ConfigKind::Float | ConfigKind::Bool | ConfigKind::Set) => kind,
        };
        let default = if self.eat(Token::Equal) { Some(self.config_value()?) } else { None };
        Ok(ConfigDeclaration { name, kind, default })
    }

    fn typed(&mut self) -> Parsed<Typed> {
        let name = self.ident()?;
        self.expect(Token::Colon)?;
        Ok(Typed { name, ty: self.type_expr()? })
    }

    /// `f32[s, e = d]`, `[s]`, `f32`.
    pub(super) fn type_expr(&mut self) -> Parsed<TypeExpr> {
        let start = self.span();
        let mut dtype = None;
        if self.at(Token::Word) {
            let word = self.text();
            dtype = DType::parse(word);
            if dtype.is_none() {
                let known = DType::ALL.map(DType::name);
                let problem = Diagnostic::error("dtype", start, format!("there is no dtype `{word}`"));
                let help = match crate::nearest(word, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        format!("the dtypes are {}; a scalar's type is one of them, or []", known.join(", "))
                    }
                };
                self.report(problem.with_help(help));
            }
            self.advance();
        } else if !self.at(Token::OpenBracket) {
            return self.unexpected("a type such as `[s, d]` or `i32[s]`");
        }
        let axes = if self.eat(Token::OpenBracket) {
            self.list(Token::CloseBracket, |p| {
                let name = p.ident()?;
                let size = if p.eat(Token::Equal) { Some(p.expression()?) } else { None };
                Ok(AxisDeclaration { name, size })
            })?
        } else {
            Vec::new()
        };
        Ok(TypeExpr { dtype, axes, span: start.to(self.last_span()) })
    }
}
