//! Accesses of a run: what of an address is computed outside of the innermost loop, and where the points of an iteration lie.

use super::Run;
use crate::codegen::emitter::{Emitter, bytes_of};
use crate::codegen::nest::{Lane, Nest, permission, scaled};
use carousel_core::kernel::{BufferId, Dim, Guard, Linear};
use cranelift_codegen::ir::{InstBuilder, Value};

/// How an access moves along the row.
pub(super) enum Move {
    /// Element after element.
    Contiguous,
    /// By so many bytes.
    Strided(Value),
    /// Computed anew at each point.
    Free,
}

/// An access that was prepared outside of the innermost loop.
pub(super) struct Prepared<'k> {
    pub(super) buffer: BufferId,
    pub(super) index: &'k Linear,
    pub(super) guards: &'k [Guard],
    pub(super) pointer: Value,
    /// All ones where the row may be touched, else 0; `None` if it always may.
    mask: Option<Value>,
    pub(super) movement: Move,
}

/// Computes outside of the innermost loop what an access needs; `otherwise` is where it goes if it is not allowed.
pub(super) fn prepare<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    buffer: BufferId,
    index: &'k Linear,
    guards: &'k [Guard],
    run: Run,
    otherwise: Option<Value>,
) -> Prepared<'k> {
    let start = e.buffer(buffer);
    let inner = nest.inner_depth();
    let strides = nest.strides_along_inner(index);
    let steady = guards.iter().all(|guard| nest.depth_of_linear(&guard.index) < inner);
    let Some(strides) = strides.filter(|_| steady) else {
        return Prepared { buffer, index, guards, pointer: start, mask: None, movement: Move::Free };
    };
    let bytes = bytes_of(e.dtype(buffer));
    let contiguous = nest.is_contiguous(index);
    let mut stride = None;
    if !contiguous {
        for (coefficient, dim) in strides {
            let part = match dim {
                Dim::Known(n) => e.int(coefficient * n as i64 * bytes),
                dim @ Dim::Argument(_) => {
                    let dim = e.dim(dim);
                    scaled(e, dim, coefficient * bytes)
                }
            };
            stride = Some(match stride {
                None => part,
                Some(sum) => e.b.ins().iadd(sum, part),
            });
        }
    }
    let movement = match (contiguous, stride) {
        (true, _) => Move::Contiguous,
        (false, Some(stride)) => Move::Strided(stride),
        (false, None) => Move::Strided(e.int(0)),
    };
    let (base, fine) = nest.base(e, index);
    let holds = nest.all_hold(e, guards, Lane::NONE);
    let mut pointer = start;
    if let Some(base) = base {
        let offset = scaled(e, base, bytes);
        pointer = e.b.ins().iadd(pointer, offset);
    }
    if let Some(first) = run.start {
        let offset = match &movement {
            Move::Strided(stride) => e.b.ins().imul(first, *stride),
            Move::Contiguous | Move::Free => scaled(e, first, bytes),
        };
        pointer = e.b.ins().iadd(pointer, offset);
    }
    let mut mask = None;
    if let (Some(allowed), Some(otherwise)) = (permission(e, holds, fine), otherwise) {
        pointer = e.b.ins().select(allowed, pointer, otherwise);
        let ty = cranelift_codegen::ir::types::I64;
        mask = Some(e.b.ins().bmask(ty, allowed));
    }
    Prepared { buffer, index, guards, pointer, mask, movement }
}

/// The address of the point at `position`, for accesses that are not free.
pub(super) fn address(e: &mut Emitter<'_, '_>, access: &Prepared<'_>, position: Value, lane: i64) -> Value {
    let mut offset = match access.movement {
        Move::Strided(stride) => {
            let position = if lane == 0 { position } else { e.b.ins().iadd_imm_s(position, lane) };
            e.b.ins().imul(position, stride)
        }
        Move::Contiguous | Move::Free => scaled(e, position, bytes_of(e.dtype(access.buffer))),
    };
    if let Some(mask) = access.mask {
        offset = e.b.ins().band(offset, mask);
    }
    e.b.ins().iadd(access.pointer, offset)
}
