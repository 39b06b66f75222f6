//! What becomes of a run's values: written to memory, added to it, or combined into registers or a temporary row.

use super::access::{Move, address};
use super::points::{bind, operand};
use super::{Accumulators, Body, Row, Run, Sink, read_temporary, write_temporary};
use crate::codegen::emitter::{Emitter, bytes_of};
use crate::codegen::nest::{Lane, Nest};
use crate::codegen::values::{self, LANES, Shape};
use carousel_core::kernel::{ExprId, Store, Update};
use carousel_ir::{DType, OpKind};
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::Variable;

/// Does with the values of a run what the sink says.
pub(super) fn pour<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    row: &Row<'k>,
    body: &Body,
    run: Run,
    sink: &Sink<'k, '_>,
) {
    let dtype_of = |id: ExprId| nest.region.dtypes[id.0 as usize];
    match sink {
        Sink::Store { store, update } => {
            let values = operand(nest, row, body, store.value);
            write(e, nest, row, body, run, store, *update, &values);
        }
        Sink::Accumulate { value, combine, into } => {
            let dtype = dtype_of(*value);
            for (part, value) in operand(nest, row, body, *value).into_iter().enumerate() {
                let variable = accumulator(into, body.shape, part);
                let sum = e.b.use_var(variable);
                let sum = values::combine(e, *combine, dtype, body.shape, sum, value);
                e.b.def_var(variable, sum);
            }
        }
        Sink::AccumulateProduct { a, b, into } => {
            let (a, b) = (operand(nest, row, body, *a), operand(nest, row, body, *b));
            for part in 0..body.parts {
                let variable = accumulator(into, body.shape, part);
                let sum = e.b.use_var(variable);
                let sum = e.b.ins().fma(a[part], b[part], sum);
                e.b.def_var(variable, sum);
            }
        }
        Sink::Fold { value, combine, row: slot, store } => {
            let dtype = dtype_of(*value);
            let values = operand(nest, row, body, *value);
            let sums = read_temporary(e, row, body, dtype, *slot);
            let sums: Vec<Value> = sums
                .into_iter()
                .zip(values)
                .map(|(sum, value)| values::combine(e, *combine, dtype, body.shape, sum, value))
                .collect();
            write_temporary(e, row, body, dtype, *slot, &sums);
            if let Some(store) = store {
                write(e, nest, row, body, run, store, Update::Set, &sums);
            }
        }
        Sink::Running { value, combine, carry, store } => {
            let dtype = dtype_of(*value);
            let value = operand(nest, row, body, *value)[0];
            let sum = e.b.use_var(*carry);
            let sum = values::combine(e, *combine, dtype, body.shape, sum, value);
            e.b.def_var(*carry, sum);
            write(e, nest, row, body, run, store, Update::Set, &[sum]);
        }
    }
}

fn accumulator(into: &Accumulators, shape: Shape, part: usize) -> Variable {
    match shape {
        Shape::Scalar => into.scalar,
        Shape::Vector => into.vectors[part],
    }
}

/// Writes values to where a store says, or adds them to what is there, point after point.
#[expect(clippy::too_many_arguments, reason = "the context of the innermost loop")]
fn write<'k>(
    e: &mut Emitter<'_, '_>,
    nest: &mut Nest<'k>,
    row: &Row<'k>,
    body: &Body,
    run: Run,
    store: &'k Store,
    update: Update,
    values: &[Value],
) {
    let access = &row.stores[&std::ptr::from_ref(store)];
    let dtype = e.dtype(store.buffer);
    if let Move::Contiguous = access.movement {
        let address = address(e, access, body.position, 0);
        let bytes = bytes_of(dtype) * LANES as i64;
        for (part, &value) in values.iter().enumerate() {
            put(e, dtype, body.shape, update, value, address, (part as i64 * bytes) as i32);
        }
        return;
    }
    for (part, &value) in values.iter().enumerate() {
        for lane in 0..if body.shape == Shape::Vector { LANES as u8 } else { 1 } {
            let of = (body.shape == Shape::Vector).then_some(lane);
            let offset = part as i64 * LANES as i64 + i64::from(lane);
            let address = match access.movement {
                Move::Free => {
                    bind(e, nest, run, body, offset);
                    let trash = e.trash();
                    let lane = Lane { values: &body.values, part, lane: of };
                    nest.address(e, store.buffer, access.index, access.guards, lane, trash)
                }
                Move::Contiguous | Move::Strided(_) => address(e, access, body.position, offset),
            };
            let value = match of {
                Some(lane) => e.b.ins().extractlane(value, lane),
                None => value,
            };
            put(e, dtype, Shape::Scalar, update, value, address, 0);
        }
    }
}

/// Writes a register, or adds it to what is there.
pub(in crate::codegen) fn put(
    e: &mut Emitter<'_, '_>,
    dtype: DType,
    shape: Shape,
    update: Update,
    value: Value,
    address: Value,
    offset: i32,
) {
    let value = match update {
        Update::Set => value,
        Update::Add => {
            let there = values::load(e, dtype, shape, address, offset);
            values::apply(e, OpKind::Add, dtype, dtype, shape, &[there, value])
        }
    };
    values::store(e, dtype, shape, value, address, offset);
}
