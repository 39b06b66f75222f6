//! The reader of printed modules: one value a line, every attribute given.
//!
//! Types are inferred and compared with those that are written, so that a text that was edited by hand is either
//! consistent or refused.

use super::lexer::Token;
use super::parse::{Cursor, Failure, Parsed};
use super::print::bracketed;
use super::program::Failed;
use crate::infer::{Context, infer};
use crate::{
    Attribute, Axes, Axis, DType, Decay, Diagnostic, Direction, Function, FunctionKind, Graph, Init, Input,
    Module, Name, Node, Number, Op, OpKind, Output, Residuals, Role, Scan, Size, Sources, Span, Type, Types,
    ValueId,
};
use smallvec::smallvec;
use std::collections::{HashMap, HashSet};

/// Reads what [`print`](super::print()) has written.
///
/// # Errors
/// Everything that is wrong with the text, and what the verifier finds.
pub fn parse_module(text: &str) -> Result<Module, Failed> {
    let mut sources = Sources::default();
    let file = sources.add("module", text);
    let mut reader =
        Reader { cursor: Cursor::new(file, text), module: Module::default(), functions: HashMap::new() };
    while !reader.cursor.at(Token::End) {
        let from = reader.cursor.place();
        if reader.function().is_err() {
            reader.cursor.skip_to_definition(from);
        }
    }
    let mut diagnostics = reader.cursor.problems;
    if diagnostics.is_empty() {
        diagnostics = crate::verify(&reader.module);
    }
    if diagnostics.is_empty() { Ok(reader.module) } else { Err(Failed { sources, diagnostics }) }
}

struct Reader<'t> {
    cursor: Cursor<'t>,
    module: Module,
    /// Functions by name: looking them up one by one would take long in large modules.
    functions: HashMap<Name, crate::FunctionId>,
}

impl Reader<'_> {
    fn function(&mut self) -> Parsed<()> {
        let c = &mut self.cursor;
        let residuals = if c.eat_word("remat") { Residuals::Recompute } else { Residuals::Save };
        let kind = match c.word_ahead(0) {
            Some("fn") => FunctionKind::Fn,
            Some("block") => FunctionKind::Block,
            Some("model") => FunctionKind::Model,
            _ => return c.unexpected("`fn`, `block` or `model`"),
        };
        c.advance();
        let name = c.ident()?;
        c.expect(Token::OpenParen)?;
        let mut graph = Graph::default();
        let inputs = self.inputs(&mut graph, Token::CloseParen)?;
        graph.inputs = inputs;
        self.cursor.expect(Token::OpenBrace)?;
        if self.cursor.eat_word("axes") {
            loop {
                self.sized_axis(&mut graph)?;
                if !self.cursor.eat(Token::Comma) {
                    break;
                }
            }
        }
        self.body(&mut graph)?;
        if self.functions.contains_key(&name.name) {
            let message = format!("two functions are called `{}`", name.name);
            return self.cursor.fail(Diagnostic::error("duplicate", name.span, message));
        }
        let id = self.module.push(Function { name: name.name, kind, residuals, graph });
        self.functions.insert(name.name, id);
        Ok(())
    }

    /// An axis, declared with the size behind it or, if it is new, with its own name as symbol.
    fn sized_axis(&mut self, graph: &mut Graph) -> Parsed<Axis> {
        let name = self.cursor.ident()?;
        let axis = Axis(name.name);
        let size = if self.cursor.eat(Token::Equal) {
            self.size()?
        } else if graph.axes.get(axis).is_some() {
            return Ok(axis);
        } else {
            Size::Symbol(name.name)
        };
        if let Some(other) = graph.axes.declare(axis, size) {
            let message = format!("axis `{axis}` already has size {other}");
            return self.cursor.fail(Diagnostic::error("size", name.span, message));
        }
        Ok(axis)
    }

    fn inputs(&mut self, graph: &mut Graph, close: Token) -> Parsed<Vec<Input>> {
        let mut inputs = Vec::new();
        while !self.cursor.at(close) {
            inputs.push(self.input(graph)?);
            if !self.cursor.eat(Token::Comma) && !self.cursor.at(close) {
                return self.cursor.unexpected("`,` or `)`");
            }
        }
        self.cursor.advance();
        Ok(inputs)
    }

    fn input(&mut self, graph: &mut Graph) -> Parsed<Input> {
        let is_parameter = self.cursor.eat_word("param");
        let name = self.cursor.ident()?.name;
        self.cursor.expect(Token::Colon)?;
        let dtype = self.dtype()?;
        self.cursor.expect(Token::OpenBracket)?;
        let mut axes = Vec::new();
        while !self.cursor.eat(Token::CloseBracket) {
            axes.push(self.sized_axis(graph)?);
            if !self.cursor.eat(Token::Comma) && !self.cursor.at(Token::CloseBracket) {
                return self.cursor.unexpected("`,` or `]`");
            }
        }
        let role = if is_parameter { self.parameter()? } else { Role::Argument };
        Ok(Input { name, ty: Type::new(dtype, axes), role })
    }

    fn parameter(&mut self) -> Parsed<Role> {
        self.cursor.expect(Token::Tilde)?;
        let kind = self.cursor.ident()?;
        self.cursor.expect(Token::OpenParen)?;
        let first = self.number()?;
        let init = match kind.name.as_str() {
            "constant" => Init::Constant(first),
            word @ ("normal" | "uniform" | "linspace" | "powerlaw") => {
                self.cursor.expect(Token::Comma)?;
                let second = self.number()?;
                match word {
                    "normal" => Init::Normal { mean: first, std: second },
                    "uniform" => Init::Uniform { low: first, high: second },
                    "linspace" => {
                        self.cursor.expect(Token::Comma)?;
                        Init::Linspace { low: first, high: second, axis: Axis(self.cursor.ident()?.name) }
                    }
                    _ => {
                        self.cursor.expect(Token::Comma)?;
                        let power = self.number()?;
                        self.cursor.expect(Token::Comma)?;
                        let axis = Axis(self.cursor.ident()?.name);
                        Init::Powerlaw { low: first, high: second, power, axis }
                    }
                }
            }
            other => {
                let message = format!("there is no initialiser `{other}`");
                return self.cursor.fail(Diagnostic::error("initialiser", kind.span, message));
            }
        };
        self.cursor.expect(Token::CloseParen)?;
        let decay = if self.cursor.eat_word("nodecay") { Decay::No } else { Decay::Yes };
        Ok(Role::Parameter { init, decay })
    }

    fn dtype(&mut self) -> Parsed<DType> {
        match self.cursor.word_ahead(0).and_then(DType::parse) {
            Some(dtype) => {
                self.cursor.advance();
                Ok(dtype)
            }
            None => self.cursor.unexpected("a dtype"),
        }
    }

    /// Statements up to the closing brace, which is consumed.
    fn body(&mut self, graph: &mut Graph) -> Parsed<()> {
        let explicit = self.cursor.eat_word("explicit");
        let mut values: HashMap<Name, ValueId> = HashMap::new();
        if !explicit {
            for (index, input) in graph.inputs.iter().enumerate() {
                values.insert(input.name, ValueId(index as u32));
                graph.nodes.push(Node {
                    op: Op::Input { index: index as u32 },
                    operands: smallvec![],
                    types: smallvec![input.ty.clone()],
                    span: Span::default(),
                    name: Some(input.name),
                });
            }
        }
        while self.cursor.eat_word("let") {
            self.value(graph, &mut values)?;
        }
        self.cursor.expect_word("return")?;
        self.cursor.expect(Token::OpenParen)?;
        while !self.cursor.eat(Token::CloseParen) {
            let name = self.cursor.ident()?.name;
            self.cursor.expect(Token::Colon)?;
            self.cursor.expect(Token::OpenBracket)?;
            let axes = self.axes()?;
            self.cursor.expect(Token::Equal)?;
            let value = self.operand(&values)?;
            graph.outputs.push(Output { name, value, axes: Axes::new(axes) });
            if !self.cursor.eat(Token::Comma) && !self.cursor.at(Token::CloseParen) {
                return self.cursor.unexpected("`,` or `)`");
            }
        }
        self.cursor.expect(Token::CloseBrace)?;
        Ok(())
    }

    fn operand(&mut self, values: &HashMap<Name, ValueId>) -> Parsed<ValueId> {
        let name = self.cursor.ident()?;
        match values.get(&name.name) {
            Some(value) => Ok(*value),
            None => {
                let problem =
                    Diagnostic::error("name-unknown", name.span, format!("unknown value `{}`", name.name));
                let known = values.keys().map(|n| n.as_str());
                let problem = match crate::nearest(name.name.as_str(), known) {
                    Some(near) => problem.with_help(format!("did you mean `{near}`?")),
                    None => problem,
                };
                self.cursor.fail(problem)
            }
        }
    }

    /// Axes up to the closing bracket, which is consumed.
    fn axes(&mut self) -> Parsed<Vec<Axis>> {
        self.cursor.list(Token::CloseBracket, |c| c.ident().map(|i| Axis(i.name)))
    }

    fn value(&mut self, graph: &mut Graph, values: &mut HashMap<Name, ValueId>) -> Parsed<()> {
        let name = self.cursor.ident()?;
        self.cursor.expect(Token::Colon)?;
        let declared = self.types()?;
        self.cursor.expect(Token::Equal)?;
        let start = self.cursor.span();
        let (op, operands) = self.operation(graph, values)?;
        let span = start.to(self.cursor.last_span());
        let nodes: Vec<&Node> = operands.iter().map(|v| &graph[*v]).collect();
        let context = Context { axes: &graph.axes, inputs: &graph.inputs, functions: &self.module.functions };
        let types = match infer(context, &op, &nodes) {
            Ok(types) => types,
            Err(error) => {
                let problem = Diagnostic::error(error.code, span, error.message);
                return self.cursor.fail(Diagnostic { help: error.help, ..problem });
            }
        };
        let same = types.len() == declared.len()
            && types.iter().zip(&declared).all(|(a, b)| a.dtype == b.dtype && a.axes.same_order(&b.axes));
        if !same {
            let text = |types: &[Type]| {
                types
                    .iter()
                    .map(|t| format!("{}{}", t.dtype, bracketed(&t.axes)))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let message = format!("this is {}, but {} is written", text(&types), text(&declared));
            return self.cursor.fail(Diagnostic::error("type", span, message));
        }
        if values.insert(name.name, ValueId(graph.nodes.len() as u32)).is_some() {
            let message = format!("two values are called `{}`", name.name);
            return self.cursor.fail(Diagnostic::error("duplicate", name.span, message));
        }
        graph.nodes.push(Node { op, operands: operands.into(), types, span, name: Some(name.name) });
        Ok(())
    }

    fn types(&mut self) -> Parsed<Types> {
        if !self.cursor.eat(Token::OpenParen) {
            return Ok(smallvec![self.ty()?]);
        }
        let mut types = Types::new();
        while !self.cursor.eat(Token::CloseParen) {
            types.push(self.ty()?);
            if !self.cursor.eat(Token::Comma) && !self.cursor.at(Token::CloseParen) {
                return self.cursor.unexpected("`,` or `)`");
            }
        }
        Ok(types)
    }

    fn ty(&mut self) -> Parsed<Type> {
        let dtype = self.dtype()?;
        self.cursor.expect(Token::OpenBracket)?;
        Ok(Type::new(dtype, self.axes()?))
    }

    fn operation(&mut self, graph: &Graph, values: &HashMap<Name, ValueId>) -> Parsed<(Op, Vec<ValueId>)> {
        let start = self.cursor.span();
        let Some(kind) = self.cursor.word_ahead(0).and_then(OpKind::parse) else {
            return self.cursor.unexpected("an operation");
        };
        self.cursor.advance();
        if kind == OpKind::Scan {
            return self.loop_(graph, values);
        }
        let mut attributes = Vec::new();
        if matches!(kind, OpKind::Sum | OpKind::ReduceMax | OpKind::Dot | OpKind::Broadcast) {
            self.cursor.expect(Token::OpenBracket)?;
            attributes.push(Attribute::Axes(self.axes()?));
        } else if self.cursor.eat(Token::OpenBracket) {
            while !self.cursor.eat(Token::CloseBracket) {
                attributes.push(self.attribute(kind, attributes.len())?);
                if !self.cursor.eat(Token::Comma) && !self.cursor.at(Token::CloseBracket) {
                    return self.cursor.unexpected("`,` or `]`");
                }
            }
        }
        let Some(op) = kind.with_attributes(&attributes) else {
            let message = format!("these attributes do not fit `{kind}`");
            return self.cursor.fail(Diagnostic::error(
                "attributes",
                start.to(self.cursor.last_span()),
                message,
            ));
        };
        self.cursor.expect(Token::OpenParen)?;
        let mut operands = Vec::new();
        while !self.cursor.eat(Token::CloseParen) {
            operands.push(self.operand(values)?);
            if !self.cursor.eat(Token::Comma) && !self.cursor.at(Token::CloseParen) {
                return self.cursor.unexpected("`,` or `)`");
            }
        }
        Ok((op, operands))
    }

    fn attribute(&mut self, kind: OpKind, place: usize) -> Parsed<Attribute> {
        Ok(match (kind, place) {
            (OpKind::Input | OpKind::Proj | OpKind::FoldIn, 0) | (OpKind::Shift, 1) => {
                Attribute::Integer(self.integer()?)
            }
            (OpKind::Const, 0) => Attribute::Number(self.number()?),
            (OpKind::Const | OpKind::SizeOf, 1) | (OpKind::Cast, 0) => Attribute::DType(self.dtype()?),
            (
                OpKind::CumSum | OpKind::CumMax | OpKind::LinRead | OpKind::LinReadDecay | OpKind::LinSolve,
                1,
            ) => Attribute::Direction(self.direction()?),
            (OpKind::Slice | OpKind::Pad, 2) => Attribute::Size(self.size()?),
            (OpKind::Uniform, 0)
            | (OpKind::LinRead | OpKind::LinReadDecay, 2 | 3)
            | (OpKind::LinSolve, 2) => Attribute::Name(self.cursor.ident()?.name),
            (OpKind::Call, 0) => {
                let name = self.cursor.ident()?;
                match self.functions.get(&name.name) {
                    Some(function) => Attribute::Function(*function),
                    None => {
                        let message = format!("there is no function `{}` above", name.name);
                        return self.cursor.fail(Diagnostic::error("function-unknown", name.span, message));
                    }
                }
            }
            _ if self.cursor.eat(Token::OpenBracket) => Attribute::Axes(self.axes()?),
            _ => Attribute::Axis(Axis(self.cursor.ident()?.name)),
        })
    }

    fn direction(&mut self) -> Parsed<Direction> {
        if self.cursor.eat_word("forward") {
            Ok(Direction::Forward)
        } else if self.cursor.eat_word("reverse") {
            Ok(Direction::Reverse)
        } else {
            self.cursor.unexpected("`forward` or `reverse`")
        }
    }

    /// `[s, forward](states; sequences; shared) (inputs) { .. }`.
    fn loop_(&mut self, graph: &Graph, values: &HashMap<Name, ValueId>) -> Parsed<(Op, Vec<ValueId>)> {
        self.cursor.expect(Token::OpenBracket)?;
        let axis = Axis(self.cursor.ident()?.name);
        self.cursor.expect(Token::Comma)?;
        let direction = self.direction()?;
        self.cursor.expect(Token::CloseBracket)?;
        self.cursor.expect(Token::OpenParen)?;
        let mut operands = Vec::new();
        let mut counts = [0u32; 3];
        for (part, count) in counts.iter_mut().enumerate() {
            let close = if part < 2 { Token::Semicolon } else { Token::CloseParen };
            while !self.cursor.eat(close) {
                operands.push(self.operand(values)?);
                *count += 1;
                if !self.cursor.eat(Token::Comma) && !self.cursor.at(close) {
                    return self.cursor.unexpected(close.describe());
                }
            }
        }
        let mut body = Graph { axes: graph.axes.clone(), ..Graph::default() };
        self.cursor.expect(Token::OpenParen)?;
        let declared: HashSet<Axis> = graph.axes.iter().map(|(a, _)| a).collect();
        let inputs = self.inputs(&mut body, Token::CloseParen)?;
        if let Some((axis, _)) = body.axes.iter().find(|(a, _)| !declared.contains(a)) {
            let message = format!("the axis `{axis}` is not declared");
            let span = self.cursor.last_span();
            return self.cursor.fail(Diagnostic::error("axis-unknown", span, message));
        }
        body.inputs = inputs;
        self.cursor.expect(Token::OpenBrace)?;
        // The cursor counts nesting; the reader itself is what recurses.
        self.deeper(|r| r.body(&mut body))?;
        let scan = Scan { axis, direction, states: counts[0], sequences: counts[1], body };
        Ok((Op::Scan { scan: Box::new(scan) }, operands))
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.cursor.enter()?;
        let result = inner(self);
        self.cursor.leave();
        result
    }

    fn integer(&mut self) -> Parsed<i64> {
        let negative = self.cursor.eat(Token::Minus);
        let lexeme = self.cursor.expect(Token::Number)?;
        let text = self.cursor.text_of(lexeme);
        let signed = if negative { format!("-{text}") } else { text.to_string() };
        match signed.parse() {
            Ok(n) => Ok(n),
            Err(_) => {
                let message = format!("`{signed}` is no integer in range");
                self.cursor.fail(Diagnostic::error("number", lexeme.span, message))
            }
        }
    }

    fn number(&mut self) -> Parsed<Number> {
        let negative = self.cursor.eat(Token::Minus);
        let value = if self.cursor.eat_word("inf") {
            f64::INFINITY
        } else if self.cursor.eat_word("nan") {
            f64::NAN
        } else {
            let lexeme = self.cursor.expect(Token::Number)?;
            match self.cursor.text_of(lexeme).parse::<f64>() {
                Ok(x) => x,
                Err(_) => {
                    return self.cursor.fail(Diagnostic::error("number", lexeme.span, "this is no number"));
                }
            }
        };
        Ok(Number::new(if negative { -value } else { value }))
    }

    /// A size: terms with one sign, factors, `ceil_div(a, b)`, `ceil_sqrt(a)`.
    fn size(&mut self) -> Parsed<Size> {
        let first = self.size_product()?;
        if self.cursor.eat(Token::Minus) {
            return Ok(first.minus(self.size_product()?));
        }
        let mut terms = vec![first];
        while self.cursor.eat(Token::Plus) {
            terms.push(self.size_product()?);
        }
        Ok(Size::sum(terms))
    }

    fn size_product(&mut self) -> Parsed<Size> {
        let mut factors = vec![self.deeper(Self::size_atom)?];
        while self.cursor.eat(Token::Star) {
            factors.push(self.deeper(Self::size_atom)?);
        }
        Ok(Size::product(factors))
    }

    fn size_atom(&mut self) -> Parsed<Size> {
        if self.cursor.eat(Token::OpenParen) {
            let size = self.size()?;
            self.cursor.expect(Token::CloseParen)?;
            return Ok(size);
        }
        if self.cursor.at(Token::Number) {
            let span = self.cursor.span();
            return match u64::try_from(self.integer()?) {
                Ok(n) => Ok(Size::Known(n)),
                Err(_) => self.cursor.fail(Diagnostic::error("number", span, "a size is not negative")),
            };
        }
        let is_call = self.cursor.ahead(1).token == Token::OpenParen;
        match self.cursor.word_ahead(0) {
            Some("ceil_div") if is_call => {
                self.cursor.advance();
                self.cursor.advance();
                let a = self.size()?;
                self.cursor.expect(Token::Comma)?;
                let b = self.size()?;
                self.cursor.expect(Token::CloseParen)?;
                Ok(a.ceil_div(b))
            }
            Some("ceil_sqrt") if is_call => {
                self.cursor.advance();
                self.cursor.advance();
                let a = self.size()?;
                self.cursor.expect(Token::CloseParen)?;
                Ok(a.ceil_sqrt())
            }
            _ => match self.cursor.ident() {
                Ok(name) => Ok(Size::Symbol(name.name)),
                Err(Failure) => Err(Failure),
            },
        }
    }
}
