//! From tokens to the syntax tree.

use super::token::{Source, Token, tokens};
use super::{Function, Instruction, Module, Operand, Parameter, Register, SyntaxError, Variable, type_bytes};
use std::collections::HashMap;

/// Parses a module.
///
/// # Errors
/// The first thing that is not understood, with its line.
pub fn parse(text: &str) -> Result<Module, SyntaxError> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, source: Source::default() };
    let mut module = Module::default();
    let mut shared = Vec::new();
    while let Some(token) = parser.peek() {
        let Token::Word(word) = token else { return Err(parser.unexpected("a directive")) };
        match word.as_str() {
            ".version" | ".target" | ".address_size" => parser.skip_line_directive(),
            ".visible" | ".weak" | ".extern" | ".common" => parser.at += 1,
            ".entry" => {
                parser.at += 1;
                module.functions.push(function(&mut parser, &shared)?);
            }
            ".func" => return Err(parser.unexpected("a kernel (functions that are called are not known)")),
            ".shared" => {
                parser.at += 1;
                shared.extend(parser.variables()?);
                parser.expect(';')?;
            }
            ".global" | ".const" => {
                parser.at += 1;
                for variable in parser.variables()? {
                    let bytes = parser.initial_bytes(&variable)?;
                    module.globals.push((variable, bytes));
                }
                parser.expect(';')?;
            }
            _ => return Err(parser.unexpected("a directive of a module")),
        }
    }
    Ok(module)
}

struct Parser<'t> {
    tokens: &'t [(Token, u32)],
    at: usize,
    source: Source,
}

/// Registers by name, in nested braces.
type Scopes = Vec<HashMap<String, Register>>;

impl<'t> Parser<'t> {
    /// The next token that is no `.loc`.
    fn peek(&mut self) -> Option<&'t Token> {
        while let Some((Token::Source(source), _)) = self.tokens.get(self.at) {
            self.source = *source;
            self.at += 1;
        }
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn next(&mut self) -> Option<&'t Token> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn line(&self) -> u32 {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens.get(self.at.min(last)).map_or(1, |(_, line)| *line)
    }

    fn unexpected(&mut self, wanted: &str) -> SyntaxError {
        let found = match self.peek() {
            Some(Token::Word(word)) => format!("`{word}`"),
            Some(Token::Mark(mark)) => format!("`{mark}`"),
            Some(Token::Integer(_) | Token::Single(_) | Token::Double(_) | Token::Source(_)) => {
                "a number".to_string()
            }
            None => "the end".to_string(),
        };
        SyntaxError { line: self.line(), message: format!("{wanted} is expected, found {found}") }
    }

    fn is(&mut self, mark: char) -> bool {
        matches!(self.peek(), Some(Token::Mark(m)) if *m == mark)
    }

    fn eat(&mut self, mark: char) -> bool {
        let found = self.is(mark);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, mark: char) -> Result<(), SyntaxError> {
        if self.eat(mark) { Ok(()) } else { Err(self.unexpected(&format!("`{mark}`"))) }
    }

    fn word(&mut self) -> Result<&'t str, SyntaxError> {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    fn integer(&mut self) -> Result<i64, SyntaxError> {
        let negative = self.eat('-');
        match self.peek() {
            Some(Token::Integer(n)) => {
                self.at += 1;
                Ok(if negative { (*n as i64).wrapping_neg() } else { *n as i64 })
            }
            _ => Err(self.unexpected("an integer")),
        }
    }

    /// A size: an integer that memory could have.
    fn size(&mut self) -> Result<usize, SyntaxError> {
        let value = self.integer()?;
        let fits = usize::try_from(value).ok().filter(|n| *n <= 1 << 31);
        fits.ok_or_else(|| self.unexpected("a size of at most 2 GiB"))
    }

    fn skip_line_directive(&mut self) {
        let line = self.line();
        while self.at < self.tokens.len() && self.tokens[self.at].1 == line {
            self.at += 1;
        }
    }

    /// `[.align n] .type name[n], ..` after `.shared`, `.local`, `.global` or `.const`.
    fn variables(&mut self) -> Result<Vec<Variable>, SyntaxError> {
        let (mut align, mut element, mut lanes) = (1usize, 1usize, 1usize);
        let mut found = Vec::new();
        loop {
            let word = self.word()?;
            if word == ".align" {
                align = self.size()?;
            } else if let Some(name) = word.strip_prefix('.') {
                match (name, type_bytes(name)) {
                    ("v2", _) => lanes = 2,
                    ("v4", _) => lanes = 4,
                    (_, Some(bytes)) => element = bytes,
                    _ => {}
                }
            } else {
                let mut bytes = element * lanes;
                while self.eat('[') {
                    let count = if self.is(']') { 0 } else { self.size()? };
                    bytes = bytes.checked_mul(count).ok_or_else(|| self.unexpected("a smaller size"))?;
                    self.expect(']')?;
                }
                let align = align.max(element * lanes).next_power_of_two();
                found.push(Variable { name: word.to_string(), align, bytes, element });
                if !self.eat(',') {
                    return Ok(found);
                }
            }
        }
    }

    /// `= n` or `= {n, ..}` after a variable; zeros where nothing is given.
    fn initial_bytes(&mut self, variable: &Variable) -> Result<Vec<u8>, SyntaxError> {
        let mut bytes = vec![0; variable.bytes.min(1 << 24)];
        if !self.eat('=') {
            return Ok(bytes);
        }
        let (mut at, mut depth) = (0, 0);
        loop {
            if self.eat('{') {
                depth += 1;
                continue;
            }
            if !self.eat('}') {
                let bits = self.number()?.to_le_bytes();
                let end = at + variable.element.min(bits.len());
                let place = bytes.get_mut(at..end).ok_or_else(|| self.unexpected("fewer elements"))?;
                place.copy_from_slice(&bits[..end - at]);
                at = end;
            } else if depth > 0 {
                depth -= 1;
            } else {
                return Err(self.unexpected("an element"));
            }
            if !self.eat(',') && depth == 0 {
                return Ok(bytes);
            }
        }
    }

    /// A number as the bits of its type.
    fn number(&mut self) -> Result<u64, SyntaxError> {
        let bits = match self.peek() {
            Some(Token::Single(bits)) => u64::from(*bits),
            Some(Token::Double(bits)) => *bits,
            _ => return self.integer().map(|n| n as u64),
        };
        self.at += 1;
        Ok(bits)
    }

    fn parameter(&mut self, function: &mut Function) -> Result<(), SyntaxError> {
        if self.word()? != ".param" {
            return Err(self.unexpected("`.param`"));
        }
        let (mut align, mut element) = (1usize, 1usize);
        loop {
            let word = self.word()?;
            if word == ".align" {
                align = align.max(self.size()?);
            } else if let Some(name) = word.strip_prefix('.') {
                element = type_bytes(name).unwrap_or(element);
            } else {
                let mut bytes = element;
                while self.eat('[') {
                    let count = self.size()?;
                    bytes = bytes.checked_mul(count).ok_or_else(|| self.unexpected("a smaller size"))?;
                    self.expect(']')?;
                }
                let align = align.max(element).next_power_of_two();
                let offset = function.parameter_bytes.next_multiple_of(align);
                function.parameters.push(Parameter { name: word.to_string(), offset, bytes });
                function.parameter_bytes = offset + bytes;
                return Ok(());
            }
        }
    }

    /// `.maxntid` and the like between the parameters and the body.
    fn tuning(&mut self, function: &mut Function) -> Result<(), SyntaxError> {
        while let Some(Token::Word(word)) = self.peek() {
            self.at += 1;
            let mut product = 1u32;
            while let Some(Token::Integer(n)) = self.peek() {
                product = product.saturating_mul(*n as u32);
                self.at += 1;
                self.eat(',');
            }
            if matches!(word.as_str(), ".maxntid" | ".reqntid") {
                function.max_threads = Some(product);
            }
        }
        Ok(())
    }

    fn registers(&mut self, scopes: &mut Scopes, count: &mut u32) -> Result<(), SyntaxError> {
        self.word()?;
        let scope = scopes.len() - 1;
        loop {
            let name = self.word()?;
            let names: Vec<String> = if self.eat('<') {
                let n = self.size()?;
                self.expect('>')?;
                if n > 1 << 20 {
                    return Err(self.unexpected("fewer registers"));
                }
                (0..n).map(|i| format!("{name}{i}")).collect()
            } else {
                vec![name.to_string()]
            };
            for name in names {
                scopes[scope].insert(name, Register(*count));
                *count += 1;
            }
            if !self.eat(',') {
                return self.expect(';');
            }
        }
    }

    fn operand(&mut self, scopes: &Scopes) -> Result<Operand, SyntaxError> {
        let first = self.single_operand(scopes, 0)?;
        if self.eat('|') {
            let second = self.single_operand(scopes, 0)?;
            return Ok(Operand::Pair(Box::new(first), Box::new(second)));
        }
        Ok(first)
    }

    fn single_operand(&mut self, scopes: &Scopes, depth: u32) -> Result<Operand, SyntaxError> {
        if depth > 4 {
            return Err(self.unexpected("a simple operand"));
        }
        if self.eat('!') {
            return Ok(Operand::Not(Box::new(self.single_operand(scopes, depth + 1)?)));
        }
        if self.eat('{') {
            let mut parts = vec![self.single_operand(scopes, depth + 1)?];
            while self.eat(',') {
                parts.push(self.single_operand(scopes, depth + 1)?);
            }
            self.expect('}')?;
            return Ok(Operand::Vector(parts));
        }
        if self.eat('[') {
            let base = self.single_operand(scopes, depth + 1)?;
            let offset = if self.eat('+') || self.is('-') { self.integer()? } else { 0 };
            self.expect(']')?;
            return Ok(Operand::Address(Box::new(base), offset));
        }
        if self.is('-') {
            return Ok(Operand::Bits(self.integer()? as u64));
        }
        match self.next() {
            Some(Token::Integer(n)) => Ok(Operand::Bits(*n)),
            Some(Token::Single(bits)) => Ok(Operand::Bits(u64::from(*bits))),
            Some(Token::Double(bits)) => Ok(Operand::Bits(*bits)),
            Some(Token::Word(word)) if word == "_" => Ok(Operand::Sink),
            Some(Token::Word(word)) => {
                if let Some(register) = scopes.iter().rev().find_map(|s| s.get(word)) {
                    return Ok(Operand::Register(*register));
                }
                Ok(if word.starts_with('%') {
                    Operand::Special(word.clone())
                } else {
                    Operand::Symbol(word.clone())
                })
            }
            _ => {
                self.at -= 1;
                Err(self.unexpected("an operand"))
            }
        }
    }

    fn instruction(&mut self, scopes: &Scopes) -> Result<Instruction, SyntaxError> {
        let mut guard = None;
        if self.eat('@') {
            let negated = self.eat('!');
            let Operand::Register(register) = self.single_operand(scopes, 0)? else {
                return Err(self.unexpected("a predicate"));
            };
            guard = Some((register, negated));
        }
        self.peek();
        let (line, source) = (self.line(), self.source);
        let opcode = self.word()?.split('.').map(str::to_string).collect();
        let mut operands = Vec::new();
        if !self.is(';') {
            operands.push(self.operand(scopes)?);
            while self.eat(',') {
                operands.push(self.operand(scopes)?);
            }
        }
        self.expect(';')?;
        Ok(Instruction { opcode, operands, guard, source, line })
    }
}

fn function(parser: &mut Parser<'_>, shared: &[Variable]) -> Result<Function, SyntaxError> {
    let name = parser.word()?.to_string();
    let mut function = Function { name, shared: shared.to_vec(), ..Function::default() };
    if parser.eat('(') && !parser.eat(')') {
        parser.parameter(&mut function)?;
        while parser.eat(',') {
            parser.parameter(&mut function)?;
        }
        parser.expect(')')?;
    }
    parser.tuning(&mut function)?;
    parser.expect('{')?;
    // Labels and registers in braces are seen in these braces only: each scope has a number that labels carry.
    let mut scopes: Scopes = vec![HashMap::new()];
    let mut numbers = vec![0usize];
    let mut opened = 0;
    let mut branches: Vec<(usize, Vec<usize>)> = Vec::new();
    while !scopes.is_empty() {
        if parser.eat('}') {
            scopes.pop();
            numbers.pop();
            continue;
        }
        if parser.eat('{') {
            opened += 1;
            scopes.push(HashMap::new());
            numbers.push(opened);
            continue;
        }
        if parser.eat(';') {
            continue;
        }
        if let Some(Token::Word(word)) = parser.peek() {
            let is_label = matches!(parser.tokens.get(parser.at + 1), Some((Token::Mark(':'), _)));
            match word.as_str() {
                ".reg" => {
                    parser.at += 1;
                    parser.registers(&mut scopes, &mut function.registers)?;
                    continue;
                }
                ".shared" | ".local" => {
                    parser.at += 1;
                    let variables = parser.variables()?;
                    parser.expect(';')?;
                    if word == ".shared" {
                        function.shared.extend(variables);
                    } else {
                        function.local.extend(variables);
                    }
                    continue;
                }
                ".pragma" => {
                    parser.at += 1;
                    parser.expect(';')?;
                    continue;
                }
                label if is_label => {
                    parser.at += 2;
                    let scope = numbers[numbers.len() - 1];
                    function.labels.insert(format!("{label}#{scope}"), function.instructions.len());
                    continue;
                }
                _ => {}
            }
        }
        let instruction = parser.instruction(&scopes)?;
        if instruction.opcode[0] == "bra" {
            branches.push((function.instructions.len(), numbers.clone()));
        }
        function.instructions.push(instruction);
    }
    for (at, numbers) in branches {
        let instruction = &mut function.instructions[at];
        let [Operand::Symbol(label)] = instruction.operands.as_slice() else { continue };
        let inner = numbers.iter().rev().map(|n| format!("{label}#{n}"));
        if let Some(found) = inner.into_iter().find(|name| function.labels.contains_key(name)) {
            instruction.operands = vec![Operand::Symbol(found)];
        }
    }
    Ok(function)
}
