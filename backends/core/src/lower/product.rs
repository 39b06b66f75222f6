//! Contractions as matrix products.
//!
//! The axes of `sum(a * b)` fall into four groups: batch (in both and in the result), m (only in a), n (only in b) and
//! k (contracted). Of each of m, n and k, the largest run of axes whose strides compose in both matrices becomes a
//! dimension of the product; what is left becomes loops around it, as do the batch axes. Leftover contracted axes
//! add to a destination that is zeroed first. The operand whose axis is fastest in the result gives the columns.

use super::Context;
use super::builder::KernelBuilder;
use super::frame::{Start, leaves, view_of};
use super::statement::{Site, open, zero};
use super::view::View;
use crate::kernel::{Atom, Dim, Extent, Linear, Loop, Matrix, Statement, Store, Triangle, Update, Var};
use carousel_ir::{Axis, AxisTable, DType, Direction, Op, Size, ValueId};

/// Elements of the largest matrix that a block of a block-diagonal product has alone.
const LARGEST_BLOCK: u64 = 256;

/// A product with the loops around it apart.
pub(crate) struct Product {
    /// Independent loops around it.
    pub(crate) loops: Vec<Loop>,
    /// Loops over contracted axes, in which it adds.
    pub(crate) contracted: Vec<Loop>,
    m: Extent,
    n: Extent,
    k: Extent,
    a: Matrix,
    b: Matrix,
    c: Matrix,
    dtype: DType,
    triangle: Option<Triangle>,
    zero_vars: (Var, Var),
}

/// Whether a contraction is worth a matrix product, whatever its operands' layouts.
pub(crate) fn is_worth_it(cx: &Context<'_>, frame: usize, value: ValueId) -> bool {
    let graph = cx.frames[frame].graph;
    let node = &graph[value];
    let Op::Dot { axes } = &node.op else { return false };
    let (a, b) = (&graph.ty(node.operands[0]).axes, &graph.ty(node.operands[1]).axes);
    let has_size = |axes: &carousel_ir::Axes| axes.iter().any(|x| *graph.axes.size(x) != Size::Known(1));
    let (m, n) = (has_size(&a.without(b)), has_size(&b.without(a)));
    // A vector that is computed from indices alone is not worth its memory.
    let is_given = |operand: &ValueId| {
        let mut read = false;
        leaves(&cx.frames, frame, *operand, Start::Value, &mut |_, _| read = true);
        read
    };
    let depth = graph.axes.elements(axes).known().unwrap_or(u64::MAX);
    let least = if m && n { 4 } else { cx.target.small_contraction };
    cx.target.product_dtypes.contains(&node.ty().dtype)
        && axes.is_subset(&a.intersection(b))
        && (m || n)
        && depth >= least
        && ((m && n) || node.operands.iter().all(is_given))
        && ((m && n) || !cx.target.is_coalescing || !is_computed_for_it(cx, frame, value))
}

/// Whether the factor that has all axes is in memory for this contraction alone, if it becomes a product.
fn is_computed_for_it(cx: &Context<'_>, frame: usize, value: ValueId) -> bool {
    let graph = cx.frames[frame].graph;
    let largest = graph[value].operands.iter().max_by_key(|operand| graph.ty(**operand).axes.len());
    largest.is_some_and(|operand| view_of(&cx.frames, frame, *operand).is_none())
}

/// Whether a contraction whose operands have views is one product, and not several that add up. Only then is it one where
/// the result has 16 bits: it would be rounded after each.
pub(crate) fn is_rounded_once(cx: &Context<'_>, frame: usize, value: ValueId) -> bool {
    let (graph, node) = (cx.frames[frame].graph, &cx.frames[frame].graph[value]);
    let Op::Dot { axes } = &node.op else { return false };
    let views: Vec<View> = node.operands.iter().filter_map(|o| view_of(&cx.frames, frame, *o)).collect();
    let ([a, b], true) = (views.as_slice(), node.ty().dtype.is_half()) else { return true };
    let mut k: Vec<Axis> = axes.iter().filter(|x| !a.order().contains(x)).collect();
    k.extend(a.order().into_iter().filter(|x| axes.contains(*x)));
    k.retain(|x| *graph.axes.size(*x) != Size::Known(1));
    best_run(cx, &Site::whole(frame), &k, &[a, b], &graph.axes).1.is_empty()
}

/// The product that computes `value` into `home`. Both operands have views.
pub(crate) fn product(
    cx: &Context<'_>,
    kernel: &mut KernelBuilder,
    site: &Site,
    value: ValueId,
    home: &View,
) -> Product {
    let frame = &cx.frames[site.frame];
    let (graph, table) = (frame.graph, &frame.graph.axes);
    let node = &graph[value];
    let Op::Dot { axes: contracted } = &node.op else { panic!("{} is no contraction", node.op.kind()) };
    let fixed =
        |axis: &Axis| site.grid.iter().any(|(a, _)| a == axis) || *table.size(*axis) == Size::Known(1);
    let view = |i: usize| {
        view_of(&cx.frames, site.frame, node.operands[i]).expect("operands of a product have views")
    };
    let [mut a, mut b] = [0, 1].map(|i| (view(i), &graph.ty(node.operands[i]).axes, node.operands[i]));
    let fastest = home.order().into_iter().rev().find(|x| !fixed(x));
    if fastest.is_some_and(|x| a.1.contains(x) && !b.1.contains(x)) {
        std::mem::swap(&mut a, &mut b);
    }
    let [(a, a_axes, a_value), (b, b_axes, b_value)] = [a, b];
    let in_order = |view: &View, keep: &dyn Fn(Axis) -> bool, all: &carousel_ir::Axes| -> Vec<Axis> {
        let mut order: Vec<Axis> = all.iter().filter(|x| !view.order().contains(x)).collect();
        order.extend(view.order().into_iter().filter(|x| all.contains(*x)));
        order.retain(|x| keep(*x) && !fixed(x));
        order
    };
    let all = a_axes.union(b_axes);
    let is_batch = |x: Axis| a_axes.contains(x) && b_axes.contains(x) && !contracted.contains(x);
    let batch = in_order(home, &is_batch, &all);
    let m = in_order(home, &|x| a_axes.contains(x) && !b_axes.contains(x), &all);
    let n = in_order(home, &|x| b_axes.contains(x) && !a_axes.contains(x), &all);
    let k = in_order(&a, &|x| contracted.contains(x), &all);
    let (m, m_left) = best_run(cx, site, &m, &[&a, home], table);
    let (n, n_left) = best_run(cx, site, &n, &[&b, home], table);
    let (k, k_left) = best_run(cx, site, &k, &[&a, &b], table);

    let mut env = site.grid.clone();
    let around: Vec<Axis> = batch.into_iter().chain(m_left).chain(n_left).collect();
    let loops = open(cx, kernel, site, &around, &mut env);
    let contracted = open(cx, kernel, site, &k_left, &mut env);
    let zero_vars = if contracted.is_empty() { (Var(0), Var(0)) } else { (kernel.var(), kernel.var()) };
    // A tiled axis is a run of its own.
    let tile = |run: &[Axis]| run.first().and_then(|axis| site.tile(*axis));
    let extent = |kernel: &mut KernelBuilder, run: &[Axis]| {
        let whole = kernel.dim(&Size::product(run.iter().map(|x| table.size(*x).clone())));
        tile(run).map_or(Extent::Whole(whole), |tile| tile.extent(whole))
    };
    env.extend([&m, &n, &k].into_iter().filter_map(|run| tile(run)).map(|tile| (tile.axis, tile.start())));
    let mut matrix = |view: &View, rows: &[Axis], columns: &[Axis]| Matrix {
        buffer: kernel.buffer(view.storage),
        base: kernel.address(view, &env),
        row: kernel.dim(&rows.last().map_or(Size::Known(0), |x| view.stride(*x))),
        column: kernel.dim(&columns.last().map_or(Size::Known(0), |x| view.stride(*x))),
    };
    let (am, bm, cm) = (matrix(&a, &m, &k), matrix(&b, &k, &n), matrix(home, &m, &n));
    let is_tiled = [&m, &n, &k].into_iter().any(|run| tile(run).is_some());
    let triangle = match (m.as_slice(), n.as_slice(), k.as_slice()) {
        (&[m], &[n], &[k]) if !is_tiled => frame.triangles.of_product(value, [a_value, b_value], [m, n, k]),
        _ => None,
    };
    let (m, n, k) = (extent(kernel, &m), extent(kernel, &n), extent(kernel, &k));
    Product { loops, contracted, m, n, k, a: am, b: bm, c: cm, dtype: node.ty().dtype, triangle, zero_vars }
}

/// The longest run of axes whose strides compose in all views, and the other axes.
fn best_run(
    cx: &Context<'_>,
    site: &Site,
    axes: &[Axis],
    views: &[&View],
    table: &AxisTable,
) -> (Vec<Axis>, Vec<Axis>) {
    let mut runs: Vec<Vec<Axis>> = Vec::new();
    for axis in axes {
        let joins = runs.last().and_then(|run| run.last()).is_some_and(|before| {
            let is_tiled = site.tile(*axis).is_some() || site.tile(*before).is_some();
            !is_tiled
                && views
                    .iter()
                    .all(|v| v.stride(*before) == Size::product([v.stride(*axis), table.size(*axis).clone()]))
        });
        match runs.last_mut() {
            Some(run) if joins => run.push(*axis),
            _ => runs.push(vec![*axis]),
        }
    }
    let weight = |run: &[Axis]| {
        run.iter()
            .map(|a| table.size(*a).known().unwrap_or_else(|| cx.likely_size(*a)))
            .fold(1u64, u64::saturating_mul)
    };
    // The last of the largest: it is the fastest in memory.
    let best = (0..runs.len()).max_by_key(|i| (weight(&runs[*i]), *i));
    let Some(best) = best else { return (Vec::new(), Vec::new()) };
    let run = runs.remove(best);
    (run, runs.into_iter().flatten().collect())
}

impl Product {
    /// As grid loops and statements of a grid point: rows and columns in tiles.
    pub(crate) fn into_kernel(
        mut self,
        kernel: &mut KernelBuilder,
        rows: u64,
        columns: u64,
    ) -> (Vec<Loop>, Vec<Statement>) {
        let mut grid = std::mem::take(&mut self.loops);
        if let Some(blocks) = grid.pop_if(|over| self.are_blocks(kernel, over)) {
            let (number, within) = self.blocks(kernel, blocks, columns);
            grid.extend(number);
            self.loops.push(within);
        }
        if let Some((number, extent)) = tile(kernel, self.m, rows) {
            let count = number;
            shift(kernel, &mut self.a.base, self.a.row, rows, count.var);
            shift(kernel, &mut self.c.base, self.c.row, rows, count.var);
            self.m = extent;
            self.triangle = None;
            grid.push(number);
        }
        if let Some((number, extent)) = tile(kernel, self.n, columns) {
            shift(kernel, &mut self.b.base, self.b.column, columns, number.var);
            shift(kernel, &mut self.c.base, self.c.column, columns, number.var);
            self.n = extent;
            self.triangle = None;
            grid.push(number);
        }
        (grid, self.into_statements())
    }

    /// Whether the products of a loop are narrow strips side by side in larger matrices, as the blocks of a block-diagonal
    /// matrix make them: each reads and writes a small part of every cache line.
    fn are_blocks(&self, kernel: &KernelBuilder, over: &Loop) -> bool {
        let known = |extent: Extent| match extent {
            Extent::Whole(dim) => kernel.size(dim).known().unwrap_or(u64::MAX),
            Extent::Tile { tile, .. } => tile,
        };
        let [m, n, k] = [self.m, self.n, self.k].map(known);
        // The matrix that has the many rows, and how much there is of what belongs to a block alone.
        let (strip, own) =
            if m >= k { (&self.c, n.saturating_mul(k)) } else { (&self.b, m.saturating_mul(n)) };
        let neighbours = strip.base.terms.iter().any(|t| {
            t.atom == Atom::Var(over.var) && t.dim == Dim::Known(1) && u64::try_from(t.coefficient) == Ok(n)
        });
        self.contracted.is_empty() && strip.column == Dim::Known(1) && own <= LARGEST_BLOCK && neighbours
    }

    /// As many neighbouring blocks in a grid point as have so many columns: the loop over such pieces, if there are
    /// several, and the loop within one.
    fn blocks(&mut self, kernel: &mut KernelBuilder, blocks: Loop, columns: u64) -> (Option<Loop>, Loop) {
        let width = match self.n {
            Extent::Whole(Dim::Known(n)) => n.max(1),
            Extent::Whole(Dim::Argument(_)) | Extent::Tile { .. } => columns,
        };
        let piece = (columns / width).max(1);
        let Some((number, extent)) = tile(kernel, blocks.extent, piece) else { return (None, blocks) };
        for base in [&mut self.a.base, &mut self.b.base, &mut self.c.base] {
            super::schedule::follow(kernel, base, blocks.var, number.var, piece);
        }
        (Some(number), Loop { var: blocks.var, extent })
    }

    /// As statements, all loops sequential.
    pub(crate) fn into_statements(self) -> Vec<Statement> {
        let nest = |loops: Vec<Loop>, mut body: Vec<Statement>| {
            for over in loops.into_iter().rev() {
                body = vec![Statement::Loop { over, direction: Direction::Forward, body }];
            }
            body
        };
        let update = if self.contracted.is_empty() { Update::Set } else { Update::Add };
        let mut body = Vec::new();
        if update == Update::Add {
            let (region, value) = zero(self.dtype);
            let mut index = self.c.base.clone();
            index.add_term(1, self.c.row, Atom::Var(self.zero_vars.0));
            index.add_term(1, self.c.column, Atom::Var(self.zero_vars.1));
            super::builder::canonical(&mut index);
            let loops = vec![
                Loop { var: self.zero_vars.0, extent: self.m },
                Loop { var: self.zero_vars.1, extent: self.n },
            ];
            let stores = vec![Store { buffer: self.c.buffer, index, value }];
            body.push(Statement::Map { loops, region, stores });
        }
        let product = Statement::Product {
            m: self.m,
            n: self.n,
            k: self.k,
            a: self.a,
            b: self.b,
            c: self.c,
            update,
            dtype: self.dtype,
            triangle: self.triangle,
        };
        body.extend(nest(self.contracted, vec![product]));
        nest(self.loops, body)
    }
}

/// A loop over tiles and the extent of one, if there may be more than one.
fn tile(kernel: &mut KernelBuilder, extent: Extent, tile: u64) -> Option<(Loop, Extent)> {
    let Extent::Whole(whole) = extent else { return None };
    if matches!(whole, Dim::Known(n) if n <= tile) {
        return None;
    }
    let index = kernel.var();
    let count = kernel.size(whole).ceil_div(Size::Known(tile));
    let count = kernel.dim(&count);
    Some((Loop { var: index, extent: Extent::Whole(count) }, Extent::Tile { whole, tile, index }))
}

/// Moves a base by whole tiles.
fn shift(kernel: &mut KernelBuilder, base: &mut Linear, stride: Dim, tile: u64, number: Var) {
    let stride = kernel.size(stride);
    let tiles = Linear::var(number, Dim::Known(tile));
    kernel.add_scaled(base, &tiles, &stride);
    super::builder::canonical(base);
}
