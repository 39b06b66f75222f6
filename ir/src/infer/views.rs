//! Types of views and of concatenations: the same elements under other axes.

use super::*;

#[expect(clippy::wildcard_enum_match_arm, reason = "the exhaustive match of `infer` sends only views here")]
pub(super) fn view_axes(context: Context<'_>, op: &Op, x: &Type) -> Inferred<Axes> {
    let size = |a: Axis| declared(context, a);
    let replace = |from: Axis, to: &[Axis]| -> Inferred<Axes> {
        has(op, x, from)?;
        let rest = x.axes.without(&from.into());
        if let Some(clash) = to.iter().find(|t| rest.contains(**t)) {
            return Err(TypeError::new(
                "axis-clash",
                format!("the operand {x} already has an axis `{clash}`"),
            ));
        }
        Ok(x.axes.iter().flat_map(|a| if a == from { to.to_vec() } else { vec![a] }).collect())
    };
    let product = |axes: &Axes| -> Inferred<Size> {
        Ok(Size::product(axes.iter().map(|a| size(a).cloned()).collect::<Inferred<Vec<_>>>()?))
    };
    match op {
        Op::Rename { from, to } => {
            equal_sizes(*from, size(*from)?, *to, size(*to)?)?;
            replace(*from, &[*to])
        }
        Op::Split { axis, into } => {
            let (whole, parts) = (size(*axis)?, product(into)?);
            if *whole != parts {
                return Err(TypeError::new(
                    "size",
                    format!("axis `{axis}` of size {whole} is not [{into}], which has {parts}"),
                ));
            }
            replace(*axis, into.as_slice())
        }
        Op::Merge { axes, into } => {
            let (whole, parts) = (size(*into)?, product(axes)?);
            if *whole != parts {
                return Err(TypeError::new(
                    "size",
                    format!("[{axes}] has {parts} elements, the axis `{into}` {whole}"),
                ));
            }
            axes.iter().try_for_each(|a| has(op, x, a))?;
            let Some(last) = axes.as_slice().last().copied() else {
                return Err(TypeError::new("axis-missing", "a merge needs at least one axis"));
            };
            if x.axes.without(axes).contains(*into) {
                return Err(TypeError::new(
                    "axis-clash",
                    format!("the operand {x} already has an axis `{into}`"),
                ));
            }
            Ok(x.axes
                .iter()
                .filter(|a| *a == last || !axes.contains(*a))
                .map(|a| if a == last { *into } else { a })
                .collect())
        }
        Op::Broadcast { axes } => {
            axes.iter().try_for_each(|a| size(a).map(drop))?;
            match axes.iter().find(|a| x.axes.contains(*a)) {
                Some(clash) => Err(TypeError::new(
                    "axis-clash",
                    format!("the operand {x} already has the axis `{clash}`"),
                )),
                None => Ok(axes.union(&x.axes)),
            }
        }
        Op::Slice { axis, to, start } => {
            let (whole, part) = (size(*axis)?, size(*to)?);
            if let (Some(n), Some(start), Some(k)) = (whole.known(), start.known(), part.known())
                && start.saturating_add(k) > n
            {
                return Err(TypeError::new(
                    "size",
                    format!("elements {start}..{} of axis `{axis}`, which has {n}", start.saturating_add(k)),
                ));
            }
            replace(*axis, &[*to])
        }
        Op::Pad { axis, to, before } => {
            let (inner, outer) = (size(*axis)?, size(*to)?);
            if let (Some(n), Some(before), Some(k)) = (inner.known(), before.known(), outer.known())
                && before.saturating_add(n) > k
            {
                return Err(TypeError::new(
                    "size",
                    format!(
                        "axis `{axis}` of size {n} after {before} zeros does not fit into `{to}` of size {k}"
                    ),
                ));
            }
            replace(*axis, &[*to])
        }
        Op::Shift { axis, by: _ } => {
            has(op, x, *axis)?;
            Ok(x.axes.clone())
        }
        other => Err(TypeError::new("internal", format!("`{}` is no view", other.kind()))),
    }
}

pub(super) fn concat(
    context: Context<'_>,
    op: &Op,
    axes: &[Axis],
    to: Axis,
    types: &[&Type],
) -> Inferred<Type> {
    if types.is_empty() || axes.len() != types.len() {
        let message = format!("`concat` has {} axes for {} operands", axes.len(), types.len());
        return Err(TypeError::new("arity", message).help("name one axis per operand"));
    }
    same_dtype(op, types)?;
    let mut sizes = Vec::new();
    let rest = types[0].axes.without(&axes[0].into());
    for (ty, axis) in types.iter().zip(axes) {
        has(op, ty, *axis)?;
        sizes.push(declared(context, *axis)?.clone());
        if ty.axes.without(&(*axis).into()) != rest {
            return Err(TypeError::new(
                "axes",
                format!("operands {} and {ty} differ in more than the joined axis", types[0]),
            ));
        }
    }
    if rest.contains(to) {
        return Err(TypeError::new("axis-clash", format!("the operands already have an axis `{to}`")));
    }
    let total = Size::sum(sizes);
    equal_sizes(to, declared(context, to)?, to, &total)?;
    let order = types[0].axes.iter().map(|a| if a == axes[0] { to } else { a });
    Ok(Type::new(types[0].dtype, order))
}
