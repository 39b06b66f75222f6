//! Weak values: compile-time values, and scalars made of literals and sizes, whose dtype is that of what they meet.

use super::Elaborator;
use super::constant::describe;
use super::scope::Value;
use crate::text::program::ConfigValue;
use crate::{Axis, DType, Diagnostic, Number, Op, OpKind, Span};

/// A scalar without a dtype.
#[derive(Clone, Debug)]
pub(super) enum Weak {
    /// A compile-time value.
    Const(ConfigValue),
    /// The size of an axis.
    Size(Axis),
    /// Arithmetic on weak scalars of which at least one is a size.
    Apply(OpKind, Vec<Weak>),
}

/// Longest arithmetic that stays weak.
const MAX_WEIGHT: usize = 32;

impl Weak {
    pub(super) fn weight(&self) -> usize {
        match self {
            Weak::Const(_) | Weak::Size(_) => 1,
            Weak::Apply(_, parts) => 1 + parts.iter().map(Weak::weight).sum::<usize>(),
        }
    }
}

impl Elaborator<'_> {
    /// The compile-time value of a weak scalar, where sizes are known.
    pub(super) fn settle(&self, weak: &Weak) -> Option<ConfigValue> {
        match weak {
            Weak::Const(value) => Some(value.clone()),
            Weak::Size(axis) => {
                self.size(*axis).known().and_then(|n| i64::try_from(n).ok()).map(ConfigValue::Int)
            }
            Weak::Apply(kind, parts) => {
                let parts: Option<Vec<ConfigValue>> = parts.iter().map(|p| self.settle(p)).collect();
                fold(*kind, &parts?).ok()
            }
        }
    }

    /// An operation on weak scalars; `None` if it gives a value of the graph.
    pub(super) fn apply_weak(&mut self, kind: OpKind, parts: &[Weak], span: Span) -> Option<Value> {
        let constants: Option<Vec<ConfigValue>> = parts
            .iter()
            .map(|p| match p {
                Weak::Const(value) => Some(value.clone()),
                Weak::Size(_) | Weak::Apply(..) => None,
            })
            .collect();
        if let Some(constants) = constants {
            return match fold(kind, &constants) {
                Ok(value) => Some(Value::Weak(Weak::Const(value))),
                Err(Some(message)) => {
                    self.error("constant", span, message);
                    Some(Value::Error)
                }
                Err(None) => None,
            };
        }
        let known: Option<Vec<ConfigValue>> = parts.iter().map(|p| self.settle(p)).collect();
        if is_comparison(kind)
            && let Some(known) = known
        {
            return fold(kind, &known).ok().map(|v| Value::Weak(Weak::Const(v)));
        }
        let stays = matches!(
            kind,
            OpKind::Add | OpKind::Sub | OpKind::Mul | OpKind::Div | OpKind::Neg | OpKind::Min | OpKind::Max
        );
        (stays && parts.iter().map(Weak::weight).sum::<usize>() < MAX_WEIGHT)
            .then(|| Value::Weak(Weak::Apply(kind, parts.to_vec())))
    }

    /// The value as a scalar of that dtype in the current frame.
    pub(super) fn materialise(&mut self, weak: &Weak, dtype: DType, span: Span) -> Value {
        let value = match weak {
            Weak::Size(axis) => {
                let axis = *axis;
                if dtype == DType::Bool {
                    self.error("dtype", span, "a size is a number, not a truth value");
                    return Value::Error;
                }
                return self.outside(axis, |e| e.push(Op::SizeOf { axis, dtype }, &[], span));
            }
            Weak::Apply(kind, parts) => {
                if *kind == OpKind::Div && !dtype.is_float() {
                    let problem = Diagnostic::error("dtype", span, "a quotient of sizes is a float");
                    self.report(problem.with_help("convert the other operand with `cast[f32](..)`"));
                    return Value::Error;
                }
                let mut operands = Vec::new();
                for part in parts {
                    match self.materialise(part, dtype, span) {
                        Value::Tensor(value) => operands.push(value),
                        Value::Weak(_) | Value::Tuple(_) | Value::Error => return Value::Error,
                    }
                }
                return match kind.with_attributes(&[]) {
                    Some(op) => self.push(op, &operands, span),
                    None => Value::Error,
                };
            }
            Weak::Const(value) => value,
        };
        let number = match value {
            ConfigValue::Int(n) if dtype.is_float() => Some(*n as f64),
            ConfigValue::Int(n) if dtype == DType::I32 => i32::try_from(*n).ok().map(f64::from),
            ConfigValue::Int(n) if dtype == DType::U32 => u32::try_from(*n).ok().map(f64::from),
            ConfigValue::Float(x) if dtype.is_float() => Some(*x),
            ConfigValue::Bool(b) if dtype == DType::Bool => Some(f64::from(u8::from(*b))),
            ConfigValue::Int(_)
            | ConfigValue::Float(_)
            | ConfigValue::Bool(_)
            | ConfigValue::Text(_)
            | ConfigValue::List(_) => None,
        };
        match number {
            Some(x) => self.push(Op::Const { value: Number::new(x), dtype }, &[], span),
            None => {
                let message = format!("{} is no {dtype}", describe(value));
                self.error("dtype", span, message);
                Value::Error
            }
        }
    }
}

fn is_comparison(kind: OpKind) -> bool {
    matches!(kind, OpKind::Lt | OpKind::Le | OpKind::Eq | OpKind::Ne)
}

/// The operation on compile-time values; an error without a message if it is none for them.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only arithmetic is done while compiling; the rest stays an operation"
)]
fn fold(kind: OpKind, parts: &[ConfigValue]) -> Result<ConfigValue, Option<String>> {
    use ConfigValue::{Bool, Float, Int};
    let overflow = || Some("the result is out of range".to_string());
    let number = |v: &ConfigValue| match v {
        Int(n) => Some(*n as f64),
        Float(x) => Some(*x),
        Bool(_) | ConfigValue::Text(_) | ConfigValue::List(_) => None,
    };
    if let [a, b] = parts {
        match kind {
            OpKind::Eq => return Ok(Bool(a == b || (number(a).is_some() && number(a) == number(b)))),
            OpKind::Ne => return Ok(Bool(!(a == b || (number(a).is_some() && number(a) == number(b))))),
            _ => {}
        }
    }
    match (kind, parts) {
        (OpKind::Add, [Int(a), Int(b)]) => a.checked_add(*b).map(Int).ok_or_else(overflow),
        (OpKind::Sub, [Int(a), Int(b)]) => a.checked_sub(*b).map(Int).ok_or_else(overflow),
        (OpKind::Mul, [Int(a), Int(b)]) => a.checked_mul(*b).map(Int).ok_or_else(overflow),
        (OpKind::Div, [_, Int(0)]) => Err(Some("division by zero".to_string())),
        (OpKind::Div, [Int(a), Int(b)]) if a.checked_rem(*b) == Some(0) => {
            a.checked_div(*b).map(Int).ok_or_else(overflow)
        }
        (OpKind::Neg, [Int(a)]) => a.checked_neg().map(Int).ok_or_else(overflow),
        (OpKind::Abs, [Int(a)]) => a.checked_abs().map(Int).ok_or_else(overflow),
        (OpKind::Min, [Int(a), Int(b)]) => Ok(Int(*a.min(b))),
        (OpKind::Max, [Int(a), Int(b)]) => Ok(Int(*a.max(b))),
        (OpKind::Lt, [Int(a), Int(b)]) => Ok(Bool(a < b)),
        (OpKind::Le, [Int(a), Int(b)]) => Ok(Bool(a <= b)),
        (OpKind::And, [Bool(a), Bool(b)]) => Ok(Bool(*a && *b)),
        (OpKind::Or, [Bool(a), Bool(b)]) => Ok(Bool(*a || *b)),
        (OpKind::Not, [Bool(a)]) => Ok(Bool(!a)),
        (_, [a]) => {
            let a = number(a).ok_or(None)?;
            Ok(Float(match kind {
                OpKind::Neg => -a,
                OpKind::Abs => a.abs(),
                OpKind::Floor => a.floor(),
                OpKind::Ceil => a.ceil(),
                OpKind::Exp => a.exp(),
                OpKind::Log => a.ln(),
                OpKind::Log1p => a.ln_1p(),
                OpKind::Sqrt => a.sqrt(),
                OpKind::Tanh => a.tanh(),
                _ => return Err(None),
            }))
        }
        (_, [a, b]) => {
            let (a, b) = (number(a).ok_or(None)?, number(b).ok_or(None)?);
            Ok(match kind {
                OpKind::Add => Float(a + b),
                OpKind::Sub => Float(a - b),
                OpKind::Mul => Float(a * b),
                OpKind::Div => Float(a / b),
                OpKind::Min => Float(if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }),
                OpKind::Max => Float(if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }),
                OpKind::Lt => Bool(a < b),
                OpKind::Le => Bool(a <= b),
                _ => return Err(None),
            })
        }
        _ => Err(None),
    }
}
