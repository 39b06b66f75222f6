//! Numbers and tensors as directives write them: `f([1, 2], m0 = -inf) ~= [[true], [false]]`.
//!
//! Invariant: a tensor has as many elements as its shape says. Dtypes are not known here; the function's inputs tell.

/// A tensor of numbers; truth values are 0 and 1.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Literal {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f64>,
}

/// A call and the outputs that it must have.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Call {
    pub(super) function: String,
    /// Each with the name of its input, if it is given.
    pub(super) arguments: Vec<(Option<String>, Literal)>,
    pub(super) outputs: Vec<Literal>,
}

/// Reads `f(..) ~= .., ..` and returns what follows it.
pub(super) fn call(text: &str) -> Result<(Call, &str), String> {
    let mut reader = Reader { rest: text };
    let function = reader.word()?;
    reader.expect("(")?;
    let mut arguments = Vec::new();
    while !reader.eat(")") {
        arguments.push(reader.argument()?);
        if !reader.eat(",") {
            reader.expect(")")?;
            break;
        }
    }
    reader.expect("~=")?;
    let mut outputs = vec![reader.literal()?];
    while reader.eat(",") {
        outputs.push(reader.literal()?);
    }
    Ok((Call { function, arguments, outputs }, reader.rest))
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn eat(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(format!("expected `{token}` at `{}`", self.rest)) }
    }

    fn word(&mut self) -> Result<String, String> {
        self.rest = self.rest.trim_start();
        let end =
            self.rest.find(|c: char| !c.is_alphanumeric() && !"_.+-".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() { Err(format!("expected a word at `{rest}`")) } else { Ok(word.to_string()) }
    }

    fn argument(&mut self) -> Result<(Option<String>, Literal), String> {
        let start = self.rest;
        if let Ok(name) = self.word()
            && self.eat("=")
        {
            return Ok((Some(name), self.literal()?));
        }
        self.rest = start;
        Ok((None, self.literal()?))
    }

    fn literal(&mut self) -> Result<Literal, String> {
        if self.eat("zeros") {
            // Shapes with an axis of size 0 have no other spelling.
            let shape = self.literal()?.values.iter().map(|n| *n as usize).collect::<Vec<_>>();
            let count = shape.iter().product();
            return Ok(Literal { shape, values: vec![0.0; count] });
        }
        if !self.eat("[") {
            let word = self.word()?;
            let value = match word.as_str() {
                "true" => 1.0,
                "false" => 0.0,
                number => number.parse().map_err(|_| format!("`{number}` is not a number"))?,
            };
            return Ok(Literal { shape: Vec::new(), values: vec![value] });
        }
        let mut rows: Vec<Literal> = Vec::new();
        while !self.eat("]") {
            rows.push(self.literal()?);
            if !self.eat(",") {
                self.expect("]")?;
                break;
            }
        }
        let inner = rows.first().map_or(Vec::new(), |row| row.shape.clone());
        if rows.iter().any(|row| row.shape != inner) {
            return Err("the rows of a tensor have different shapes".to_string());
        }
        let shape = std::iter::once(rows.len()).chain(inner).collect();
        Ok(Literal { shape, values: rows.into_iter().flat_map(|row| row.values).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_calls() {
        let (call, rest) =
            call("f([[1, 2], [3, -inf]], m.0 = true, zeros[0, 3]) ~= 1e-3, [nan] tol=1e-6").unwrap();
        assert_eq!(call.function, "f");
        assert_eq!(
            call.arguments[0].1,
            Literal { shape: vec![2, 2], values: vec![1.0, 2.0, 3.0, f64::NEG_INFINITY] }
        );
        assert_eq!(
            call.arguments[1],
            (Some("m.0".to_string()), Literal { shape: vec![], values: vec![1.0] })
        );
        assert_eq!(call.arguments[2].1, Literal { shape: vec![0, 3], values: vec![] });
        assert_eq!((call.outputs[0].values[0], call.outputs[1].values[0].is_nan()), (1e-3, true));
        assert_eq!(rest.trim(), "tol=1e-6");
    }

    #[test]
    fn refuses_nonsense() {
        for text in ["f(", "f(1) 2", "f([1, [2]]) ~= 1", "f(x) ~= 1", "f(1) ~=", "(1) ~= 1", "f(1 2) ~= 3"] {
            assert!(call(text).is_err(), "{text}");
        }
    }
}
