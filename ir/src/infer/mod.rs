//! Types of results from types of operands: the one place that knows what each operation accepts.

mod scans;
mod views;

use crate::{Axes, Axis, AxisTable, Class, DType, FunctionId, Graph, Node, Op, Scan, Size, Type, Types};
use scans::{linread_types, linsolve_type, scan_types};
use smallvec::smallvec;
use views::{concat, view_axes};

/// Why an operation does not accept its operands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TypeError {
    /// A stable short code.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl TypeError {
    fn new(code: &'static str, message: impl Into<String>) -> TypeError {
        TypeError { code, message: message.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> TypeError {
        self.help = Some(help.into());
        self
    }
}

type Inferred<T> = Result<T, TypeError>;

/// What inference may look up outside the node.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Sizes of the axes of the graph.
    pub axes: &'a AxisTable,
    /// The graph's inputs, for `Op::Input`.
    pub inputs: &'a [crate::Input],
    /// The functions that may be called.
    pub functions: &'a [crate::Function],
}

/// The result types of `op` applied to `operands`.
pub fn infer(context: Context<'_>, op: &Op, operands: &[&Node]) -> Inferred<Types> {
    if let crate::Arity::Exactly(n) = op.kind().arity()
        && operands.len() != n
    {
        let message = format!("`{}` takes {n} operand(s), not {}", op.kind(), operands.len());
        return Err(TypeError::new("arity", message));
    }
    if let Op::Proj { index } = op {
        let types = &operands[0].types;
        return types.get(*index as usize).map(|t| smallvec![t.clone()]).ok_or_else(|| {
            TypeError::new(
                "projection",
                format!("result {index} of {}, which has {}", operands[0].op.kind(), types.len()),
            )
        });
    }
    if let Some(tuple) = operands.iter().find(|n| n.types.len() != 1) {
        let message = format!("the results of `{}` must be taken one by one", tuple.op.kind());
        return Err(TypeError::new("tuple", message));
    }
    let types: Vec<&Type> = operands.iter().map(|n| n.ty()).collect();
    let one = |t: Type| -> Inferred<Types> { Ok(smallvec![t]) };
    match op {
        Op::Scan { scan } => scan_types(context, scan, &types),
        Op::Call { function } => call_types(context, *function, &types),
        Op::Input { index } => match context.inputs.get(*index as usize) {
            Some(input) => one(input.ty.clone()),
            None => Err(TypeError::new("input", format!("there is no input number {index}"))),
        },
        Op::Const { value: _, dtype } => one(Type::scalar(*dtype)),
        Op::SizeOf { axis, dtype } => {
            declared(context, *axis)?;
            one(Type::scalar(*dtype))
        }
        Op::Iota { axis } => {
            declared(context, *axis)?;
            one(Type::new(DType::I32, [*axis]))
        }
        Op::Uniform { stream: _, axes } => {
            for (ty, what) in types.iter().zip(["seed", "step"]) {
                expect(ty, &Type::scalar(DType::U32), what)?;
            }
            axes.iter().try_for_each(|a| declared(context, a).map(drop))?;
            one(Type { dtype: DType::F32, axes: axes.clone() })
        }
        Op::FoldIn { number: _ } => {
            expect(types[0], &Type::scalar(DType::U32), "seed")?;
            one(Type::scalar(DType::U32))
        }
        Op::Neg
        | Op::Abs
        | Op::Sign
        | Op::Floor
        | Op::Ceil
        | Op::Exp
        | Op::Log
        | Op::Log1p
        | Op::Sqrt
        | Op::Tanh
        | Op::Sigmoid
        | Op::Logsigmoid
        | Op::Erf
        | Op::Not
        | Op::Cast { .. }
        | Op::Detach
        | Op::Add
        | Op::Sub
        | Op::Mul
        | Op::Div
        | Op::Min
        | Op::Max
        | Op::Eq
        | Op::Ne
        | Op::Lt
        | Op::Le
        | Op::And
        | Op::Or
        | Op::Select => one(elementwise(op, &types)?),
        Op::Sum { axes } | Op::ReduceMax { axes } => {
            numeric(op, types[0])?;
            one(Type { dtype: types[0].dtype, axes: reduced(op, &types[0].axes, axes)? })
        }
        Op::Dot { axes } => {
            numeric(op, types[0])?;
            same_dtype(op, &types)?;
            one(Type {
                dtype: types[0].dtype,
                axes: reduced(op, &types[0].axes.union(&types[1].axes), axes)?,
            })
        }
        Op::CumSum { axis, .. } | Op::CumMax { axis, .. } => {
            numeric(op, types[0])?;
            has(op, types[0], *axis)?;
            one(types[0].clone())
        }
        Op::Rename { .. }
        | Op::Split { .. }
        | Op::Merge { .. }
        | Op::Broadcast { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Shift { .. } => one(Type { dtype: types[0].dtype, axes: view_axes(context, op, types[0])? }),
        Op::Concat { axes, to } => one(concat(context, op, axes, *to, &types)?),
        Op::Gather { axis } => {
            has(op, types[0], *axis)?;
            if !types[1].dtype.is_integer() {
                return Err(TypeError::new(
                    "dtype",
                    format!("an index must be i32 or u32, not {}", types[1].dtype),
                ));
            }
            if types[1].axes.contains(*axis) {
                let message = format!("the index carries the axis `{axis}` that it addresses");
                return Err(TypeError::new("axis-clash", message).help("rename that axis of the index"));
            }
            one(Type {
                dtype: types[0].dtype,
                axes: types[1].axes.union(&types[0].axes.without(&(*axis).into())),
            })
        }
        Op::ScatterAdd { axis, over } => {
            declared(context, *axis)?;
            numeric(op, types[0])?;
            if !types[1].dtype.is_integer() {
                return Err(TypeError::new(
                    "dtype",
                    format!("an index must be i32 or u32, not {}", types[1].dtype),
                ));
            }
            if !over.is_subset(&types[1].axes)
                || types[0].axes.contains(*axis)
                || types[1].axes.contains(*axis)
            {
                let message =
                    format!("cannot scatter {} at {} along `{axis}` over [{over}]", types[0], types[1]);
                return Err(TypeError::new("scatter", message));
            }
            let kept = types[0].axes.union(&types[1].axes).without(over);
            one(Type { dtype: types[0].dtype, axes: Axes::new(std::iter::once(*axis).chain(kept.iter())) })
        }
        Op::LinRead { axis, key, .. } => linread_types(op, *axis, key, &types),
        Op::LinSolve { axis, key, rank, .. } => linsolve_type(op, *axis, key, rank, &types),
        Op::LinReadDecay { axis, key, .. } => {
            let results = linread_types(op, *axis, key, &types[..6])?;
            for (ty, (wanted, what)) in
                types[6..].iter().zip(results.iter().zip(["the cotangent", "the final cotangent"]))
            {
                expect(ty, wanted, what)?;
            }
            one(types[3].clone())
        }
        Op::Proj { .. } => Err(TypeError::new("projection", "a projection needs a scan or a call")),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the exhaustive match of `infer` sends only elementwise operations here"
)]
fn elementwise(op: &Op, types: &[&Type]) -> Inferred<Type> {
    debug_assert_eq!(op.kind().class(), Class::Elementwise);
    let axes = types.iter().fold(Axes::none(), |axes, t| axes.union(&t.axes));
    let first = types[0].dtype;
    let wrong = |what: &str| TypeError::new("dtype", format!("`{}` needs {what}, not {first}", op.kind()));
    let dtype = match op {
        Op::Floor
        | Op::Ceil
        | Op::Exp
        | Op::Log
        | Op::Log1p
        | Op::Sqrt
        | Op::Tanh
        | Op::Sigmoid
        | Op::Logsigmoid
        | Op::Erf => {
            if !first.is_float() {
                return Err(wrong("a float").help("convert it with `cast[f32](..)`"));
            }
            first
        }
        Op::Not | Op::And | Op::Or => {
            same_dtype(op, types)?;
            if first != DType::Bool {
                return Err(wrong("truth values"));
            }
            first
        }
        Op::Cast { dtype } => *dtype,
        Op::Detach => first,
        Op::Eq | Op::Ne | Op::Lt | Op::Le => {
            same_dtype(op, types)?;
            DType::Bool
        }
        Op::Select => {
            if first != DType::Bool {
                return Err(wrong("a truth value as its first operand"));
            }
            same_dtype(op, &types[1..])?;
            types[1].dtype
        }
        _ => {
            same_dtype(op, types)?;
            numeric(op, types[0])?;
            first
        }
    };
    Ok(Type { dtype, axes })
}

fn call_types(context: Context<'_>, function: FunctionId, types: &[&Type]) -> Inferred<Types> {
    let Some(callee) = context.functions.get(function.index()) else {
        return Err(TypeError::new("call", format!("there is no function number {}", function.0)));
    };
    let graph = &callee.graph;
    if graph.inputs.len() != types.len() {
        let message = format!("`{}` takes {} inputs, not {}", callee.name, graph.inputs.len(), types.len());
        return Err(TypeError::new("call", message));
    }
    for (ty, input) in types.iter().zip(&graph.inputs) {
        expect(ty, &input.ty, input.name.as_str())?;
    }
    let sizes = callee_sizes(context.axes, graph)?;
    let axes: Axes = graph.outputs.iter().flat_map(|output| output.axes.iter()).collect();
    for axis in axes.iter() {
        let size = graph.axes.size(axis).substitute(&|name| sizes.get(&name).cloned());
        equal_sizes(axis, declared(context, axis)?, axis, &size)?;
    }
    let types = graph.outputs.iter();
    Ok(types.map(|o| Type { dtype: graph.ty(o.value).dtype, axes: o.axes.clone() }).collect())
}

/// What the symbols of a callee's sizes are in the caller: axes have the same names on both sides of a call.
pub fn callee_sizes(
    caller: &AxisTable,
    callee: &Graph,
) -> Inferred<std::collections::BTreeMap<crate::Name, Size>> {
    let mut sizes = std::collections::BTreeMap::new();
    // Each axis once: a model has as many inputs as there are parameters, and few axes.
    let axes: Axes = callee.inputs.iter().flat_map(|i| i.ty.axes.iter()).collect();
    for axis in axes.iter() {
        let inner = callee.axes.size(axis);
        let outer = caller.get(axis).ok_or_else(|| {
            TypeError::new(
                "axis-unknown",
                format!("the axis `{axis}` of the called function is not declared here"),
            )
        })?;
        if let Size::Symbol(name) = inner {
            let known = sizes.entry(*name).or_insert_with(|| outer.clone());
            equal_sizes(axis, known, axis, outer)?;
        }
    }
    for axis in axes.iter() {
        let inner = callee.axes.size(axis).substitute(&|name| sizes.get(&name).cloned());
        equal_sizes(axis, caller.size(axis), axis, &inner)?;
    }
    Ok(sizes)
}

fn declared<'a>(context: Context<'a>, axis: Axis) -> Inferred<&'a Size> {
    context.axes.get(axis).ok_or_else(|| {
        let known = context.axes.iter().map(|(a, _)| a.as_str());
        let error = TypeError::new("axis-unknown", format!("unknown axis `{axis}`"));
        match crate::nearest(axis.as_str(), known) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error,
        }
    })
}

fn has(op: &Op, ty: &Type, axis: Axis) -> Inferred<()> {
    if ty.axes.contains(axis) {
        return Ok(());
    }
    let error = TypeError::new(
        "axis-missing",
        format!("`{}` along `{axis}`, which the operand {ty} does not have", op.kind()),
    );
    Err(match crate::nearest(axis.as_str(), ty.axes.as_slice().iter().map(|a| a.as_str())) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error,
    })
}

fn reduced(op: &Op, from: &Axes, axes: &Axes) -> Inferred<Axes> {
    if axes.is_empty() {
        return Err(TypeError::new("axis-missing", format!("`{}` needs an axis", op.kind())));
    }
    let ty = Type { dtype: DType::F32, axes: from.clone() };
    axes.iter().try_for_each(|a| has(op, &ty, a))?;
    Ok(from.without(axes))
}

fn same_dtype(op: &Op, types: &[&Type]) -> Inferred<()> {
    match types.iter().find(|t| t.dtype != types[0].dtype) {
        Some(other) => {
            let message = format!("`{}` of {} and {}", op.kind(), types[0].dtype, other.dtype);
            Err(TypeError::new("dtype", message)
                .help(format!("convert one with `cast[{}](..)`", types[0].dtype)))
        }
        None => Ok(()),
    }
}

fn numeric(op: &Op, ty: &Type) -> Inferred<()> {
    if ty.dtype == DType::Bool {
        return Err(TypeError::new("dtype", format!("`{}` of truth values", op.kind()))
            .help("convert with `cast[f32](..)`"));
    }
    Ok(())
}

fn expect(found: &Type, wanted: &Type, what: &str) -> Inferred<()> {
    if found == wanted {
        return Ok(());
    }
    Err(TypeError::new("argument", format!("`{what}` must be {wanted}, not {found}")))
}

fn equal_sizes(a: Axis, size_a: &Size, b: Axis, size_b: &Size) -> Inferred<()> {
    if size_a == size_b {
        return Ok(());
    }
    Err(TypeError::new("size", format!("axis `{a}` has size {size_a}, axis `{b}` size {size_b}")))
}
