//! Types of scans, and of the operations that linear scans become.

use super::*;

/// Checks a scan's operands against its body, and gives its results.
pub(super) fn scan_types(context: Context<'_>, scan: &Scan, types: &[&Type]) -> Inferred<Types> {
    let (states, sequences) = (scan.states as usize, scan.sequences as usize);
    declared(context, scan.axis)?;
    let body = &scan.body;
    if body.inputs.len() != types.len() || states + sequences > types.len() || body.outputs.len() < states {
        let message = format!(
            "a scan body with {} inputs and {} outputs, for {} operands, {states} states and {sequences} sequences",
            body.inputs.len(),
            body.outputs.len(),
            types.len()
        );
        return Err(TypeError::new("scan", message));
    }
    for (place, (ty, input)) in types.iter().zip(&body.inputs).enumerate() {
        let is_sequence = (states..states + sequences).contains(&place);
        if ty.axes.contains(scan.axis) != is_sequence {
            let message = format!("operand {place} ({ty}) of a scan over `{}`", scan.axis);
            return Err(TypeError::new("scan", message));
        }
        let element = Type { dtype: ty.dtype, axes: ty.axes.without(&scan.axis.into()) };
        if element != input.ty {
            let message =
                format!("`{}` is {} in the body of the scan, but {element} outside", input.name, input.ty);
            return Err(TypeError::new("scan", message));
        }
    }
    let mut results = Types::new();
    for (place, output) in body.outputs.iter().enumerate() {
        let ty = body.ty(output.value);
        if place < states {
            let before = &body.inputs[place].ty;
            if ty != before {
                let message = format!("state `{}` is {before}, but its next value is {ty}", output.name);
                return Err(TypeError::new("scan-state", message));
            }
            results.push(before.clone());
        } else {
            results.push(stacked(scan, ty));
        }
    }
    Ok(results)
}

/// The type of a yield outside the loop: the scan's axis stands after the axes that come before the first one of a
/// row, that is, in front, except behind axes that the sequences carry in front of it.
pub(super) fn stacked(scan: &Scan, ty: &Type) -> Type {
    Type::new(ty.dtype, std::iter::once(scan.axis).chain(ty.axes.iter()))
}

/// What is read, and the final state, of a linear scan with the operands q, x, w, l, cut and initial state.
pub(super) fn linread_types(op: &Op, axis: Axis, key: &Axes, types: &[&Type]) -> Inferred<Types> {
    let [q, x, w, l, cut, state] = types else {
        return Err(TypeError::new("arity", format!("`{}` takes six operands", op.kind())));
    };
    same_dtype(op, &[q, x, w, l, state])?;
    if !q.dtype.is_float() || cut.dtype != DType::Bool {
        let message = format!("`{}` of {} with cuts of {}", op.kind(), q.dtype, cut.dtype);
        return Err(TypeError::new("dtype", message).help("it takes floats, and cuts that are truth values"));
    }
    let all = &state.axes;
    key.iter().try_for_each(|k| has(op, state, k))?;
    if all.contains(axis) {
        let message = format!("the state {state} of a linear scan along `{axis}` has that axis");
        return Err(TypeError::new("axis-clash", message));
    }
    let written = all.without(key);
    sequences(
        op,
        axis,
        &[
            (q, "q", all, key),
            (x, "x", all, key),
            (w, "w", &written, &Axes::none()),
            (l, "l", all, &Axes::none()),
            // An edge is one, decayed or cut: what is cut key by key decays key by key.
            (cut, "cut", &written.union(&l.axes), &Axes::none()),
        ],
    )?;
    let y = Type::new(q.dtype, std::iter::once(axis).chain(written.iter()));
    Ok(smallvec![y, (*state).clone()])
}

/// Operands of a linear scan along `axis`: type, name, the axes that it may have, those that it must have.
pub(super) fn sequences(op: &Op, axis: Axis, operands: &[(&Type, &str, &Axes, &Axes)]) -> Inferred<()> {
    for (ty, what, allowed, needed) in operands {
        has(op, ty, axis)?;
        let own = ty.axes.without(&axis.into());
        if !own.is_subset(allowed) || !needed.is_subset(&own) {
            let message = format!(
                "`{}` of {what} {ty}, which must have [{}] and may have [{allowed}]",
                op.kind(),
                needed.union(&axis.into())
            );
            return Err(TypeError::new("axes", message));
        }
    }
    Ok(())
}

/// What solves a linear scan that reads itself, with the operands a, b, z, l and cut.
pub(super) fn linsolve_type(
    op: &Op,
    axis: Axis,
    key: &Axes,
    rank: &Axes,
    types: &[&Type],
) -> Inferred<Types> {
    let [a, b, z, l, cut] = types else {
        return Err(TypeError::new("arity", format!("`{}` takes five operands", op.kind())));
    };
    same_dtype(op, &[a, b, z, l])?;
    if !z.dtype.is_float() || cut.dtype != DType::Bool {
        let message = format!("`{}` of {} with cuts of {}", op.kind(), z.dtype, cut.dtype);
        return Err(TypeError::new("dtype", message).help("it takes floats, and cuts that are truth values"));
    }
    if key.contains(axis) || rank.contains(axis) || !key.intersection(&z.axes).is_empty() {
        let message = format!("`{}` along `{axis}` reads [{key}] into {z}", op.kind());
        return Err(TypeError::new("axis-clash", message));
    }
    let kept = z.axes.without(rank).without(&axis.into());
    let state = key.union(&kept);
    let (all, vectors) = (state.union(rank), key.union(rank));
    sequences(
        op,
        axis,
        &[
            (a, "a", &all, &vectors),
            (b, "b", &all, &vectors),
            (z, "z", &kept.union(rank), rank),
            (l, "l", &state, &Axes::none()),
            (cut, "cut", &kept.union(&l.axes), &Axes::none()),
        ],
    )?;
    Ok(smallvec![(*z).clone()])
}
