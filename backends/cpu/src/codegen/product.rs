//! Matrix products: calls of the tile runtime.
//!
//! Invariant: one call a statement for f32, also with one operand that is stored in 16 bits, and for f64, in which the runtime
//! chooses the way; other dtypes, for which there is no fast path, become a reduction of products in generated code.

use super::emitter::{Emitter, bytes_of};
use super::nest::scaled;
use super::reduce;
use carousel_core::kernel::{
    Atom, Combine, Expr, ExprId, Extent, Linear, Loop, Matrix, Region, Store, Update, Var,
};
use carousel_ir::{DType, OpKind};
use cranelift_codegen::ir::{InstBuilder, Value};

/// `c (+)= a b` with extents m, n, k.
pub(super) fn product(
    e: &mut Emitter<'_, '_>,
    extents: [Extent; 3],
    matrices: [&Matrix; 3],
    update: Update,
    dtype: DType,
) {
    let [m, n, k] = extents;
    let [a, b, c] = matrices;
    let name = match (dtype, e.dtype(a.buffer), e.dtype(b.buffer)) {
        (DType::F32, DType::F32, DType::F32) => "gemm_f32",
        (DType::F64, DType::F64, DType::F64) => "gemm_f64",
        (DType::F32, DType::Bf16, DType::F32) => "gemm_bf16",
        (DType::F32, DType::F16, DType::F32) => "gemm_f16",
        (DType::F32, DType::F32, DType::Bf16 | DType::F16) => {
            // The stored matrix is the left one of a call: `c' = b' a'`.
            let [a, b, c] = [b, a, c].map(|x| Matrix { row: x.column, column: x.row, ..x.clone() });
            return product(e, [n, m, k], [&a, &b, &c], update, dtype);
        }
        _ => return as_reduction(e, extents, matrices, update, dtype),
    };
    let number = |e: &mut Emitter<'_, '_>, value: f64| match dtype {
        DType::F64 => e.b.ins().f64const(value),
        DType::F32 | DType::Bf16 | DType::F16 | DType::I32 | DType::U32 | DType::Bool => {
            e.b.ins().f32const(value as f32)
        }
    };
    let [m, n, k] = extents.map(|extent| e.count(extent).value);
    let [a, b, c] = matrices.map(|matrix| {
        let start = start(e, matrix);
        [start, e.dim(matrix.row), e.dim(matrix.column)]
    });
    let alpha = number(e, if update == Update::Add { 1.0 } else { 0.0 });
    let beta = number(e, 1.0);
    let arguments = [m, n, k, c[0], c[1], c[2], alpha, a[0], a[1], a[2], b[0], b[1], b[2], beta];
    e.call(name, &arguments, None);
}

/// The address of element (0, 0).
fn start(e: &mut Emitter<'_, '_>, matrix: &Matrix) -> Value {
    let mut offset: Option<Value> = None;
    let region = Region::default();
    let nest = super::nest::Nest::new(&region, vec![super::statements::ONCE], &[], &[]);
    for term in &matrix.base.terms {
        let value = nest.outer_term(e, term);
        offset = Some(match offset {
            None => value,
            Some(sum) => e.b.ins().iadd(sum, value),
        });
    }
    let start = e.buffer(matrix.buffer);
    match offset {
        None => start,
        Some(offset) => {
            let bytes = scaled(e, offset, bytes_of(e.dtype(matrix.buffer)));
            e.b.ins().iadd(start, bytes)
        }
    }
}

/// Variables that no kernel has, counted down from the one that [`super::statements::ONCE`] has.
const OWN: [Var; 3] = [Var(u32::MAX - 1), Var(u32::MAX - 2), Var(u32::MAX - 3)];

/// The same as loops; numbers of 16 bits are multiplied and added in f32.
fn as_reduction(
    e: &mut Emitter<'_, '_>,
    extents: [Extent; 3],
    matrices: [&Matrix; 3],
    update: Update,
    dtype: DType,
) {
    let [m, n, k] = OWN;
    let element = |matrix: &Matrix, row: Var, column: Var| {
        let mut index = matrix.base.clone();
        index.add_term(1, matrix.row, Atom::Var(row));
        index.add_term(1, matrix.column, Atom::Var(column));
        index
    };
    let mut region = Region::default();
    let wide = if dtype.is_half() { DType::F32 } else { dtype };
    let mut load = |matrix: &Matrix, index: Linear| {
        let from = e.dtype(matrix.buffer);
        let value = region.push(Expr::Load { buffer: matrix.buffer, index, guards: Vec::new() }, from);
        if from == wide { value } else { region.push(Expr::Cast { value, from, to: wide }, wide) }
    };
    let a = load(matrices[0], element(matrices[0], m, k));
    let b = load(matrices[1], element(matrices[1], k, n));
    let value: ExprId = region.push(Expr::Apply { op: OpKind::Mul, operands: vec![a, b], dtype: wide }, wide);
    let axis = |at: usize| Loop { var: OWN[at], extent: extents[at] };
    let store = Store { buffer: matrices[2].buffer, index: element(matrices[2], m, n), value };
    reduce::reduce(e, &[axis(0), axis(1)], &[axis(2)], &region, Combine::Sum, &store, update);
}
