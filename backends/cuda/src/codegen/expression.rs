//! Expressions of a region as C++: one variable each, in order.
//!
//! In registers, a bf16 or f16 number is a float that is one, a truth value a bool; in memory they are 16 bits, and 0 or
//! -1 in 32 bits. Floats are computed as IEEE 754 says, where CUDA's functions do not promise less.

use super::linear::{dim, guard, linear, value};
use super::{Context, STATUS_DIVISION};
use carousel_core::kernel::{BufferId, Expr, Region, Store};
use carousel_ir::{DType, Number, OpKind};

/// The type of elements in memory.
pub(super) fn memory_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float",
        DType::F64 => "double",
        DType::Bf16 => "bf16",
        DType::F16 => "f16",
        DType::I32 | DType::Bool => "i32",
        DType::U32 => "u32",
    }
}

/// The type of values in registers.
pub(super) fn register_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 | DType::Bf16 | DType::F16 => "float",
        DType::F64 => "double",
        DType::I32 => "i32",
        DType::U32 => "u32",
        DType::Bool => "bool",
    }
}

/// An element of memory as a value.
pub(super) fn loaded(dtype: DType, element: &str) -> String {
    match dtype {
        DType::F32 | DType::F64 | DType::I32 | DType::U32 => element.to_string(),
        DType::Bf16 | DType::F16 => format!("from_{dtype}({element})"),
        DType::Bool => format!("({element} != 0)"),
    }
}

/// A value as an element of memory.
pub(super) fn stored(dtype: DType, value: &str) -> String {
    match dtype {
        DType::F32 | DType::F64 | DType::I32 | DType::U32 => value.to_string(),
        DType::Bf16 | DType::F16 => format!("to_{dtype}({value})"),
        DType::Bool => format!("-(i32){value}"),
    }
}

/// A constant.
pub(super) fn constant(number: f64, dtype: DType) -> String {
    match dtype {
        DType::Bf16 | DType::F16 => rounded(dtype, &constant(number, DType::F32)),
        DType::F32 => {
            let single = number as f32;
            if single.is_finite() {
                format!("{single:?}f")
            } else {
                format!("__int_as_float({:#010x})", single.to_bits())
            }
        }
        DType::F64 if number.is_finite() => format!("{number:?}"),
        DType::F64 => format!("__longlong_as_double({:#018x}ll)", number.to_bits()),
        DType::I32 if number == f64::from(i32::MIN) => "(-2147483647 - 1)".to_string(),
        DType::I32 => format!("{}", number as i64 as i32),
        DType::U32 => format!("{}u", number as i64 as u32),
        DType::Bool => format!("{}", number != 0.0),
    }
}

/// A float as a number of its dtype, if that has fewer bits.
fn rounded(dtype: DType, value: &str) -> String {
    if dtype.is_half() { format!("round_{dtype}({value})") } else { value.to_string() }
}

fn is_float(dtype: DType) -> bool {
    dtype.is_float()
}

impl Context<'_> {
    pub(super) fn buffer(&self, buffer: BufferId) -> &str {
        &self.names.buffers[buffer.0 as usize]
    }

    pub(super) fn dtype(&self, buffer: BufferId) -> DType {
        self.kernel.buffers[buffer.0 as usize].dtype
    }

    /// All expressions of a region, as variables.
    pub(super) fn region(&mut self, region: &Region) {
        (0..region.exprs.len()).for_each(|number| self.evaluate(region, number));
    }

    /// An expression of a region, as a variable.
    pub(super) fn evaluate(&mut self, region: &Region, number: usize) {
        let text = self.expression(region, &region.exprs[number], region.dtypes[number]);
        self.define(region, number, &text);
    }

    /// The variable of an expression, with this value.
    pub(super) fn define(&mut self, region: &Region, number: usize, text: &str) {
        self.out.line(format!("const {} v{number} = {text};", register_type(region.dtypes[number])));
    }

    /// `buffer[index] = value;`
    pub(super) fn store_value(&mut self, store: &Store, text: &str) {
        let element = format!("{}[{}]", self.buffer(store.buffer), linear(&store.index));
        let line = format!("{element} = {};", stored(self.dtype(store.buffer), text));
        self.origin_of(store.buffer);
        self.out.line(line);
    }

    fn expression(&self, region: &Region, expr: &Expr, dtype: DType) -> String {
        match expr {
            Expr::Load { buffer, index, guards } => {
                let element = format!("{}[{}]", self.buffer(*buffer), linear(index));
                let element = loaded(self.dtype(*buffer), &element);
                if guards.is_empty() {
                    return element;
                }
                let all: Vec<String> = guards.iter().map(guard).collect();
                format!("{} ? {element} : {}", all.join(" && "), constant(0.0, dtype))
            }
            Expr::Const { value, dtype } => constant(Number::get(*value), *dtype),
            Expr::Size { dim: size, dtype } => from_index(&dim(*size), *dtype),
            Expr::Index { index } => from_index(&linear(index), DType::I32),
            Expr::Holds { guard: g } => guard(g),
            Expr::Apply { op, operands, dtype } => {
                let of = region.dtypes[operands[operands.len().min(2) - 1].0 as usize];
                let operands: Vec<String> = operands.iter().map(|id| value(*id)).collect();
                let result = apply(*op, of, &operands);
                rounded(*dtype, &result)
            }
            Expr::Cast { value: from_value, from, to } => cast(&value(*from_value), *from, *to),
            Expr::Uniform { seed, step, stream, index } => {
                let (seed, step) = (value(*seed), value(*step));
                let number = format!("philox_uniform({seed}, {stream}u, {step}, {})", linear(index));
                rounded(dtype, &number)
            }
            Expr::FoldIn { seed, number } => format!("philox_fold_in({}, {number}u)", value(*seed)),
        }
    }
}

/// A 64-bit index as another type.
fn from_index(text: &str, dtype: DType) -> String {
    match dtype {
        DType::F32 | DType::F64 | DType::I32 | DType::U32 => format!("({})({text})", register_type(dtype)),
        DType::Bf16 | DType::F16 => rounded(dtype, &format!("(float)({text})")),
        DType::Bool => format!("(({text}) != 0)"),
    }
}

fn cast(value: &str, from: DType, to: DType) -> String {
    match (from, to) {
        (_, DType::Bf16 | DType::F16) if from == to => value.to_string(),
        (_, DType::Bf16 | DType::F16) => rounded(to, &format!("(float){value}")),
        (DType::F32 | DType::F64 | DType::Bf16 | DType::F16, DType::I32) => format!("to_i32({value})"),
        (DType::F32 | DType::F64 | DType::Bf16 | DType::F16, DType::U32) => format!("to_u32({value})"),
        (DType::F32 | DType::F64 | DType::Bf16 | DType::F16 | DType::I32 | DType::U32, DType::Bool) => {
            format!("({value} != 0)")
        }
        (DType::Bool, DType::Bool)
        | (_, DType::F32 | DType::F64)
        | (DType::I32 | DType::U32 | DType::Bool, DType::I32 | DType::U32) => {
            format!("({}){value}", register_type(to))
        }
    }
}

/// An elementwise operation; `of` is the dtype of its operands.
fn apply(op: OpKind, of: DType, operands: &[String]) -> String {
    let a = operands[0].as_str();
    let b = operands.get(1).map_or(a, String::as_str);
    let float = is_float(of);
    let infix = |sign: &str| format!("{a} {sign} {b}");
    // Signed integers wrap around, which C++ promises of unsigned ones only.
    let wrapping = |sign: &str| match of {
        DType::I32 => format!("(i32)((u32){a} {sign} (u32){b})"),
        DType::F32 | DType::F64 | DType::Bf16 | DType::F16 | DType::U32 | DType::Bool => infix(sign),
    };
    let function =
        |name: &str| if of == DType::F64 { format!("{name}({a})") } else { format!("{name}f({a})") };
    match op {
        OpKind::Neg if float => format!("-{a}"),
        OpKind::Neg => format!("({})(0u - (u32){a})", register_type(of)),
        OpKind::Abs if float => function("fabs"),
        OpKind::Abs if of == DType::I32 => format!("({a} < 0 ? (i32)(0u - (u32){a}) : {a})"),
        OpKind::Abs => a.to_string(),
        OpKind::Sign => format!("sign({a})"),
        OpKind::Floor => function("floor"),
        OpKind::Ceil => function("ceil"),
        OpKind::Exp => function("exp"),
        OpKind::Log => function("log"),
        OpKind::Log1p => function("log1p"),
        OpKind::Sqrt => function("sqrt"),
        OpKind::Tanh => function("tanh"),
        OpKind::Erf => function("erf"),
        OpKind::Sigmoid => format!("sigmoid({a})"),
        OpKind::Logsigmoid => format!("log_sigmoid({a})"),
        OpKind::Not => format!("!{a}"),
        OpKind::Add => wrapping("+"),
        OpKind::Sub => wrapping("-"),
        OpKind::Mul => wrapping("*"),
        OpKind::Div if float => infix("/"),
        OpKind::Div => format!("divided({a}, {b}, status, {STATUS_DIVISION}u)"),
        OpKind::Min => format!("smaller({a}, {b})"),
        OpKind::Max => format!("larger({a}, {b})"),
        OpKind::Eq => infix("=="),
        OpKind::Ne => infix("!="),
        // -1 is above 0: of truth values, false is less than true, as of bools.
        OpKind::Lt => infix("<"),
        OpKind::Le => infix("<="),
        OpKind::And => infix("&&"),
        OpKind::Or => infix("||"),
        OpKind::Select => format!("{a} ? {b} : {}", operands[2]),
        other @ (OpKind::Input
        | OpKind::Const
        | OpKind::SizeOf
        | OpKind::Iota
        | OpKind::Cast
        | OpKind::Detach
        | OpKind::Sum
        | OpKind::ReduceMax
        | OpKind::Dot
        | OpKind::CumSum
        | OpKind::CumMax
        | OpKind::Rename
        | OpKind::Split
        | OpKind::Merge
        | OpKind::Broadcast
        | OpKind::Slice
        | OpKind::Pad
        | OpKind::Concat
        | OpKind::Shift
        | OpKind::Gather
        | OpKind::ScatterAdd
        | OpKind::Uniform
        | OpKind::FoldIn
        | OpKind::LinRead
        | OpKind::LinReadDecay
        | OpKind::LinSolve
        | OpKind::Scan
        | OpKind::Call
        | OpKind::Proj) => unreachable!("{other} is not an elementwise operation of a region"),
    }
}
