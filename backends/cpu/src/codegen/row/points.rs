//! The value of an expression at the points of an iteration, in all parts.

use super::access::{Move, address};
use super::{Body, Row, Run};
use crate::codegen::emitter::{Emitter, bytes_of};
use crate::codegen::nest::{Lane, Nest};
use crate::codegen::values::{self, LANES, Shape, register};
use carousel_core::kernel::{Expr, ExprId, Linear};
use carousel_ir::DType;
use cranelift_codegen::ir::{InstBuilder, Value};

/// The value of an expression in all parts.
pub(super) fn operand(nest: &Nest<'_>, row: &Row<'_>, body: &Body, id: ExprId) -> Vec<Value> {
    if let Some(values) = &body.values[id.0 as usize] {
        return values.clone();
    }
    let value = match body.shape {
        Shape::Scalar => nest.hoisted[id.0 as usize],
        Shape::Vector => row.splats.get(&id.0).copied(),
    };
    vec![value.expect("operands precede their users"); body.parts]
}

/// Binds the innermost variable to a point of the iteration.
pub(super) fn bind(e: &mut Emitter<'_, '_>, nest: &Nest<'_>, run: Run, body: &Body, offset: i64) {
    let mut index = body.position;
    if let Some(start) = run.start {
        index = e.b.ins().iadd(start, index);
    }
    if offset != 0 {
        index = e.b.ins().iadd_imm_s(index, offset);
    }
    e.variables.insert(nest.inner().var, index);
}

pub(super) fn compute<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    row: &Row<'k>,
    body: &Body,
    run: Run,
    id: ExprId,
) -> Vec<Value> {
    let region = nest.region;
    let dtype = region.dtypes[id.0 as usize];
    match &region.exprs[id.0 as usize] {
        Expr::Load { buffer, .. } => {
            let access = &row.loads[&id.0];
            match (&access.movement, body.shape) {
                (Move::Contiguous, shape) => {
                    let address = address(e, access, body.position, 0);
                    let (dtype, bytes) = (e.dtype(*buffer), bytes_of(e.dtype(*buffer)) * LANES as i64);
                    (0..body.parts)
                        .map(|part| values::load(e, dtype, shape, address, (part as i64 * bytes) as i32))
                        .collect()
                }
                (Move::Strided(_), _) => by_lanes(e, body, dtype, |e, _, _, offset| {
                    let address = address(e, access, body.position, offset);
                    values::load(e, e.dtype(access.buffer), Shape::Scalar, address, 0)
                }),
                (Move::Free, _) => by_lanes(e, body, dtype, |e, part, lane, offset| {
                    bind(e, nest, run, body, offset);
                    nest.scalar(e, id, Lane { values: &body.values, part, lane })
                }),
            }
        }
        Expr::Apply { op, operands, dtype } => {
            let of = region.dtypes[operands[operands.len().min(2) - 1].0 as usize];
            let operands: Vec<Vec<Value>> = operands.iter().map(|id| operand(nest, row, body, *id)).collect();
            // Side by side, so that the parts' latencies overlap.
            (0..body.parts)
                .map(|part| {
                    let operands: Vec<Value> = operands.iter().map(|values| values[part]).collect();
                    values::apply(e, *op, of, *dtype, body.shape, &operands)
                })
                .collect()
        }
        Expr::Cast { value, from, to } => operand(nest, row, body, *value)
            .into_iter()
            .map(|value| values::cast(e, *from, *to, body.shape, value))
            .collect(),
        Expr::Index { index } if body.shape == Shape::Vector && nest.is_contiguous(index) => {
            ascending(e, nest, run, body, index)
        }
        Expr::Holds { guard } if body.shape == Shape::Vector && nest.is_contiguous(&guard.index) => {
            let bound = e.dim(guard.bound);
            let bound = values::from_index(e, bound, DType::I32);
            let bound = values::splat(e, DType::I32, bound);
            let indices = ascending(e, nest, run, body, &guard.index);
            indices
                .into_iter()
                .map(|index| {
                    let below = cranelift_codegen::ir::condcodes::IntCC::UnsignedLessThan;
                    e.b.ins().icmp(below, index, bound)
                })
                .collect()
        }
        Expr::Const { .. }
        | Expr::Size { .. }
        | Expr::Index { .. }
        | Expr::Holds { .. }
        | Expr::Uniform { .. }
        | Expr::FoldIn { .. } => by_lanes(e, body, dtype, |e, part, lane, offset| {
            bind(e, nest, run, body, offset);
            nest.scalar(e, id, Lane { values: &body.values, part, lane })
        }),
    }
}

/// An index that grows by one from lane to lane, as i32.
fn ascending<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    run: Run,
    body: &Body,
    index: &'k Linear,
) -> Vec<Value> {
    bind(e, nest, run, body, 0);
    let (first, _) = nest.whole(e, index, Lane::NONE);
    let first = values::from_index(e, first, DType::I32);
    let ty = register(DType::I32, Shape::Scalar);
    let lanes = [0, 1, 2, 3].map(|lane| e.b.ins().iconst(ty, lane));
    let lanes = values::gather_lanes(e, DType::I32, lanes);
    (0..body.parts)
        .map(|part| {
            let first = e.b.ins().iadd_imm_s(first, part as i64 * LANES as i64);
            let first = values::splat(e, DType::I32, first);
            e.b.ins().iadd(first, lanes)
        })
        .collect()
}

/// Scalars from a function of (part, lane, offset in points), as scalars or gathered into vectors.
pub(super) fn by_lanes(
    e: &mut Emitter<'_, '_>,
    body: &Body,
    dtype: DType,
    mut function: impl FnMut(&mut Emitter<'_, '_>, usize, Option<u8>, i64) -> Value,
) -> Vec<Value> {
    match body.shape {
        Shape::Scalar => vec![function(e, 0, None, 0)],
        Shape::Vector => (0..body.parts)
            .map(|part| {
                let lanes = [0u8, 1, 2, 3]
                    .map(|lane| function(e, part, Some(lane), part as i64 * LANES as i64 + i64::from(lane)));
                values::gather_lanes(e, dtype, lanes)
            })
            .collect(),
    }
}
