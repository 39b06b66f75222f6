//! Matrix products: calls of the tile runtime.
//!
//! Invariant: one call a statement for f32, also with one operand that is stored in 16 bits, and for f64, in which the runtime
//! chooses the way; other dtypes, for which there is no fast path, become a reduction of products in generated code.

use super::emitter::{Emitter, bytes_of};
use super::nest::scaled;
use super::reduce;
use carousel_core::kernel::{
    Atom, Combine, Dim, Expr, ExprId, Extent, Factor, Linear, Loop, Matrix, Region, Statement, Store,
    Triangle, Update, Var,
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
    triangle: Option<Triangle>,
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
            return product(e, [n, m, k], [&a, &b, &c], update, dtype, None);
        }
        _ => return as_reduction(e, extents, matrices, update, dtype),
    };
    let arguments = arguments(e, extents, matrices, update, dtype);
    if name == "gemm_f32"
        && let Some(triangle) = triangle
    {
        let part = e.int(part(triangle));
        let all: Vec<Value> = std::iter::once(part).chain(arguments).collect();
        e.call("gemm_f32_triangle", &all, None);
    } else {
        e.call(name, &arguments, None);
    }
}

/// The number of a triangle in a call of the tile runtime: see `runtime::matrix::part`.
fn part(triangle: Triangle) -> i64 {
    let first = match triangle.factor {
        Factor::A => 1,
        Factor::B => 3,
        Factor::C => 5,
    };
    if triangle.is_lower { first } else { first + 1 }
}

/// The arguments of a product.
fn arguments(
    e: &mut Emitter<'_, '_>,
    extents: [Extent; 3],
    matrices: [&Matrix; 3],
    update: Update,
    dtype: DType,
) -> [Value; 14] {
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
    [m, n, k, c[0], c[1], c[2], alpha, a[0], a[1], a[2], b[0], b[1], b[2], beta]
}

/// A loop over nothing but a product, as one call of the tile runtime, which then sees all of the products; false if it is
/// to be a loop.
pub(super) fn products(e: &mut Emitter<'_, '_>, over: Loop, body: &[Statement]) -> bool {
    let [Statement::Product { m, n, k, a, b, c, update, dtype: DType::F32, triangle: None }] = body else {
        return false;
    };
    let matrices = [a, b, c];
    let is_f32 = matrices.iter().all(|matrix| e.dtype(matrix.buffer) == DType::F32);
    let is_fixed = |extent: &Extent| match extent {
        Extent::Whole(_) => true,
        Extent::Tile { index, .. } => *index != over.var,
    };
    let steps = matrices.map(|matrix| steps(&matrix.base, over.var));
    // Results that lie in one place would be added in another order.
    let are_apart = steps[2].as_ref().is_some_and(|c| !c.is_empty());
    let [Some(a_step), Some(b_step), Some(c_step)] = &steps else { return false };
    if !is_f32 || !are_apart || ![m, n, k].into_iter().all(is_fixed) {
        return false;
    }
    let firsts = matrices.map(|matrix| {
        let mut first = matrix.clone();
        first.base.terms.retain(|term| term.atom != Atom::Var(over.var));
        first
    });
    let count = e.count(over.extent).value;
    let steps = [c_step, a_step, b_step].map(|step| {
        let zero = e.int(0);
        step.iter().fold(zero, |sum, &(factor, dim)| {
            let dim = e.dim(dim);
            let step = scaled(e, dim, factor);
            e.b.ins().iadd(sum, step)
        })
    });
    let arguments = arguments(e, [*m, *n, *k], [&firsts[0], &firsts[1], &firsts[2]], *update, DType::F32);
    let all: Vec<Value> = std::iter::once(count).chain(steps).chain(arguments).collect();
    e.call("gemm_f32_batch", &all, None);
    true
}

/// What an index grows by from one turn of a loop to the next, as a sum of products; none if that is not always the same.
fn steps(index: &Linear, var: Var) -> Option<Vec<(i64, Dim)>> {
    let mut steps = Vec::new();
    for term in &index.terms {
        match &term.atom {
            Atom::Var(v) if *v == var => steps.push((term.coefficient, term.dim)),
            Atom::Var(_) | Atom::One => {}
            Atom::Quotient(..) | Atom::Remainder(..) | Atom::Data { .. } => return None,
        }
    }
    Some(steps)
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
