//! Random numbers: named streams, and seeds that differ from call to call.

use super::Elaborator;
use super::frame::Val;
use super::scope::Value;
use super::weak::Weak;
use crate::text::ast::{Call, Expr, ExprKind};
use crate::{Axes, Axis, DType, Diagnostic, Name, Op, OpKind, Role, Span, Type};

/// A number for a path, the same on every machine (FNV-1a).
pub(super) fn path_number(path: &str) -> u32 {
    path.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl<'a> Elaborator<'a> {
    /// `uniform(stream, [b, s, d])`.
    pub(super) fn uniform(&mut self, call: &'a Call, span: Span) -> Value {
        let [stream, Expr { kind: ExprKind::List(items), .. }] = call.arguments.as_slice() else {
            let problem = Diagnostic::error("operation", span, "`uniform` takes a stream and axes");
            self.report(problem.with_help("write `uniform(noise, [b, s])`"));
            return Value::Error;
        };
        let axes: Vec<Option<Axis>> = items.iter().map(|i| self.axis_of(i)).collect();
        let axes: Option<Vec<Axis>> = axes.into_iter().collect();
        match (self.stream(stream), axes) {
            (Some(stream), Some(axes)) => self.draw(stream, Axes::new(axes), span),
            _ => Value::Error,
        }
    }

    /// `dropout(x, p, stream)`: with probability `p` an element is 0, the others grow by `1 / (1 - p)`.
    pub(super) fn dropout(&mut self, call: &'a Call, span: Span) -> Value {
        let [x, p, stream] = call.arguments.as_slice() else {
            return self.wrong_count(call, 3, call.arguments.len(), span);
        };
        let (x, p, stream) = (self.eval(x), self.eval(p), self.stream(stream));
        let Some(x) = self.tensor_or_report(x, span) else { return Value::Error };
        let Some(stream) = stream else { return Value::Error };
        let ty = self.ty_here(x);
        let drawn = self.draw(stream, ty.axes, span);
        let one = || Value::Weak(Weak::Const(crate::text::ConfigValue::Int(1)));
        let dropped = self.apply(OpKind::Lt, vec![drawn, p.clone()], span);
        let kept = self.apply(OpKind::Sub, vec![one(), p], span);
        let grown = self.apply(OpKind::Div, vec![Value::Tensor(x), kept], span);
        let zero = Value::Weak(Weak::Const(crate::text::ConfigValue::Int(0)));
        self.apply(OpKind::Select, vec![dropped, zero, grown], span)
    }

    fn stream(&mut self, expr: &Expr) -> Option<Name> {
        let name = expr.as_name();
        if name.is_none() {
            self.error("operation", expr.span, "expected the name of a random stream");
        }
        name.map(|n| n.name)
    }

    /// Uniform numbers along `axes` and along the scans around: each step draws its own.
    fn draw(&mut self, stream: Name, axes: Axes, span: Span) -> Value {
        let loops = self.function.frames[..=self.function.at].iter().filter_map(|f| f.axis);
        let axes: Axes = loops.chain(axes.iter()).collect();
        let at = std::mem::replace(&mut self.function.at, 0);
        let drawn = match self.seed(span) {
            Some(seed) => {
                let step = self.random_input("step", span);
                self.push(Op::Uniform { stream, axes }, &[seed, step], span)
            }
            None => Value::Error,
        };
        let dtype = self.dtype();
        let drawn = if let Value::Tensor(value) = drawn
            && dtype != DType::F32
        {
            self.push(Op::Cast { dtype }, &[value], span)
        } else {
            drawn
        };
        self.function.at = at;
        drawn
    }

    /// The seed here: the function's, folded with the turn of `repeat` and the expansions around.
    pub(super) fn seed(&mut self, span: Span) -> Option<Val> {
        let mut numbers = Vec::new();
        if !self.function.path.is_empty() {
            numbers.push(path_number(&self.function.path.join(".")));
        }
        let expansions = self.function.scopes.iter().filter_map(|s| s.function.as_ref()?.expansion);
        numbers.extend(expansions.map(|n| path_number(&format!("expansion {n}"))));
        let at = std::mem::replace(&mut self.function.at, 0);
        let mut seed = Some(self.random_input("seed", span));
        for length in 1..=numbers.len() {
            let known = self.function.seeds.get(&numbers[..length]).copied();
            seed = match (known, seed) {
                (Some(known), _) => Some(known),
                (None, Some(seed)) => {
                    match self.push(Op::FoldIn { number: numbers[length - 1] }, &[seed], span) {
                        Value::Tensor(value) => {
                            self.function.seeds.insert(numbers[..length].to_vec(), value);
                            Some(value)
                        }
                        Value::Weak(_) | Value::Tuple(_) | Value::Error => None,
                    }
                }
                (None, None) => None,
            };
        }
        self.function.at = at;
        seed
    }

    /// The function's input `seed` or `step`, which is added if need be.
    pub(super) fn random_input(&mut self, name: &str, span: Span) -> Val {
        let name = Name::new(name);
        let root = &mut self.function.frames[0];
        let found = root.graph.inputs.iter().position(|i| i.name == name);
        let id = match found {
            Some(index) => {
                let wanted = Op::Input { index: index as u32 };
                let node = root.graph.nodes.iter().position(|n| n.op == wanted);
                crate::ValueId(node.expect("inputs are added with their nodes") as u32)
            }
            None => root.add_input(name, Type::scalar(DType::U32), Role::Argument, span),
        };
        Val { frame: 0, id }
    }
}
