//! One stored value as statements of a kernel.

use super::Context;
use super::builder::{Env, KernelBuilder};
use super::frame::{Start, leaves};
use super::product;
use super::region::{Emitter, stored};
use super::view::View;
use crate::kernel::{Atom, Combine, Dim, Expr, Extent, Linear, Loop, Region, Statement, Store, Update, Var};
use carousel_ir::{Axes, Axis, DType, Direction, Number, Op, ValueId};

/// Where statements are made: a frame, at a point of a grid over some of its axes.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) frame: usize,
    /// Axes that the grid runs over, with their indices.
    pub(crate) grid: Env,
    /// Axes of which a grid point has a tile.
    pub(crate) tiles: Vec<Tile>,
}

/// What a grid point, or a turn of a loop, has of an axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tile {
    pub(crate) axis: Axis,
    /// Which tile.
    pub(crate) number: Var,
    /// Elements of a full one.
    pub(crate) length: u64,
    /// Whether all are known to be full.
    pub(crate) is_full: bool,
}

impl Tile {
    /// Its extent on an axis of that size.
    pub(crate) fn extent(self, whole: Dim) -> Extent {
        match self.is_full {
            true => Extent::Whole(Dim::Known(self.length)),
            false => Extent::Tile { whole, tile: self.length, index: self.number },
        }
    }

    /// Where it begins.
    pub(crate) fn start(self) -> Linear {
        Linear::var(self.number, Dim::Known(self.length))
    }
}

impl Site {
    /// A frame without a grid.
    pub(crate) fn whole(frame: usize) -> Site {
        Site { frame, grid: Vec::new(), tiles: Vec::new() }
    }

    /// What a grid point has of an axis, if that is a tile.
    pub(crate) fn tile(&self, axis: Axis) -> Option<Tile> {
        self.tiles.iter().find(|tile| tile.axis == axis).copied()
    }
}

/// Loops over axes: makes a variable for each axis that the grid has not fixed and adds all indices to `env`.
pub(crate) fn open(
    cx: &Context<'_>,
    kernel: &mut KernelBuilder,
    site: &Site,
    axes: &[Axis],
    env: &mut Env,
) -> Vec<Loop> {
    let table = &cx.frames[site.frame].graph.axes;
    let mut loops = Vec::new();
    for axis in axes {
        if env.iter().any(|(a, _)| a == axis) {
            continue;
        }
        let var = kernel.var();
        let whole = kernel.dim(table.size(*axis));
        let mut index = Linear::var(var, Dim::Known(1));
        let mut extent = Extent::Whole(whole);
        if let Some(tile) = site.tile(*axis) {
            index.add(&tile.start());
            extent = tile.extent(whole);
        }
        match extent {
            Extent::Whole(Dim::Known(n)) => kernel.limit(var, n),
            Extent::Tile { tile, .. } => kernel.limit(var, tile),
            Extent::Whole(Dim::Argument(_)) => {}
        }
        super::builder::canonical(&mut index);
        loops.push(Loop { var, extent });
        env.push((*axis, index));
    }
    loops
}

/// The statements that compute a value into its home.
pub(crate) fn value(
    cx: &Context<'_>,
    kernel: &mut KernelBuilder,
    site: &Site,
    value: ValueId,
) -> Vec<Statement> {
    let frame = &cx.frames[site.frame];
    let home = frame.home[value.index()].clone().expect("a value that is computed has a home");
    let node = &frame.graph[value];
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other operations are elementwise or views")]
    match &node.op {
        _ if frame.products.contains(&value) => {
            product::product(cx, kernel, site, value, &home).into_statements()
        }
        Op::Sum { axes } | Op::ReduceMax { axes } | Op::Dot { axes } => {
            vec![reduce(cx, kernel, site, value, axes, &home)]
        }
        Op::CumSum { axis, direction } | Op::CumMax { axis, direction } => {
            vec![cumulative(cx, kernel, site, value, *axis, *direction, &home)]
        }
        Op::ScatterAdd { axis, over } => scatter(cx, kernel, site, value, *axis, over, &home),
        _ => vec![copy(cx, kernel, site, value, Start::Definition, &home)],
    }
}

/// A value, or what computes it, stored under a view.
pub(crate) fn copy(
    cx: &Context<'_>,
    kernel: &mut KernelBuilder,
    site: &Site,
    value: ValueId,
    start: Start,
    to: &View,
) -> Statement {
    let axes = loop_order(cx, site.frame, value, to);
    let mut env = site.grid.clone();
    let loops = open(cx, kernel, site, &axes, &mut env);
    let mut emitter = Emitter::new(cx, kernel);
    let result = match start {
        Start::Definition => emitter.definition(site.frame, value, &env, &[]),
        Start::Value => emitter.value(site.frame, value, &env, &[]),
    };
    let mut region = emitter.region;
    let (from, dtype) =
        (cx.frames[site.frame].graph.ty(value).dtype, cx.storages[to.storage.0 as usize].dtype);
    let result = stored(&mut region, result, from, dtype);
    let store = Store { buffer: kernel.buffer(to.storage), index: kernel.address(to, &env), value: result };
    Statement::Map { loops, region, stores: vec![store] }
}

/// The axes of a value in the order of the view it is stored under.
fn loop_order(cx: &Context<'_>, frame: usize, value: ValueId, to: &View) -> Vec<Axis> {
    let mut order = to.order();
    order.extend(cx.frames[frame].graph.ty(value).axes.iter().filter(|a| to.order().iter().all(|b| a != b)));
    order.retain(|a| cx.frames[frame].graph.ty(value).axes.contains(*a));
    order
}

fn reduce(
    cx: &Context<'_>,
    kernel: &mut KernelBuilder,
    site: &Site,
    value: ValueId,
    axes: &Axes,
    home: &View,
) -> Statement {
    let frame = &cx.frames[site.frame];
    let node = &frame.graph[value];
    let order = loop_order(cx, site.frame, value, home);
    let mut env = site.grid.clone();
    let loops = open(cx, kernel, site, &order, &mut env);
    let over = open(cx, kernel, site, &memory_order(cx, site.frame, &node.operands, axes), &mut env);
    let mut emitter = Emitter::new(cx, kernel);
    let operands: Vec<_> = node.operands.iter().map(|o| emitter.value(site.frame, *o, &env, &[])).collect();
    let dtype = node.ty().dtype;
    let result = match operands.as_slice() {
        [one] => *one,
        _ => emitter.region.push(Expr::Apply { op: carousel_ir::OpKind::Mul, operands, dtype }, dtype),
    };
    let region = emitter.region;
    let is_maximum = matches!(node.op, Op::ReduceMax { .. });
    let combine = if is_maximum { Combine::Max } else { Combine::Sum };
    let store =
        Store { buffer: kernel.buffer(home.storage), index: kernel.address(home, &env), value: result };
    Statement::Reduce { loops, over, region, combine, store, update: Update::Set }
}

/// `axes` in the order in which the first stored operand that has them all lies in memory.
fn memory_order(cx: &Context<'_>, frame: usize, operands: &[ValueId], axes: &Axes) -> Vec<Axis> {
    let mut order: Option<Vec<Axis>> = None;
    for operand in operands {
        leaves(&cx.frames, frame, *operand, Start::Value, &mut |view, _| {
            let has: Vec<Axis> = view.order().into_iter().filter(|a| axes.contains(*a)).collect();
            if order.is_none() && has.len() == axes.len() {
                order = Some(has);
            }
        });
    }
    order.unwrap_or_else(|| {
        let all = operands.iter().fold(Axes::none(), |all, o| all.union(&cx.frames[frame].graph.ty(*o).axes));
        all.intersection(axes).iter().collect()
    })
}

fn cumulative(
    cx: &Context<'_>,
    kernel: &mut KernelBuilder,
    site: &Site,
    value: ValueId,
    axis: Axis,
    direction: Direction,
    home: &View,
) -> Statement {
    let node = &cx.frames[site.frame].graph[value];
    let mut order = loop_order(cx, site.frame, value, home);
    order.retain(|a| *a != axis);
    let mut env = site.grid.clone();
    let loops = open(cx, kernel, site, &order, &mut env);
    let along = open(cx, kernel, site, &[axis], &mut env)[0];
    let mut emitter = Emitter::new(cx, kernel);
    let result = emitter.value(site.frame, node.operands[0], &env, &[]);
    let region = emitter.region;
    let combine = if matches!(node.op, Op::CumMax { .. }) { Combine::Max } else { Combine::Sum };
    let store =
        Store { buffer: kernel.buffer(home.storage), index: kernel.address(home, &env), value: result };
    Statement::Cumulative { loops, along, direction, region, combine, store }
}

/// Zeros everywhere, then the additions.
fn scatter(
    cx: &Context<'_>,
    kernel: &mut KernelBuilder,
    site: &Site,
    value: ValueId,
    axis: Axis,
    over: &Axes,
    home: &View,
) -> Vec<Statement> {
    let frame = &cx.frames[site.frame];
    let node = &frame.graph[value];
    let zero = zeros(cx, kernel, site, value, home);
    // The axes that the index lacks are the fastest: rows are added as a whole.
    let index_axes = &frame.graph.ty(node.operands[1]).axes;
    let update_axes = frame.graph.ty(node.operands[0]).axes.union(index_axes);
    let mut order: Vec<Axis> = over.iter().collect();
    order.extend(index_axes.without(over).iter());
    order.extend(update_axes.without(index_axes).without(over).iter());
    let mut env = site.grid.clone();
    let loops = open(cx, kernel, site, &order, &mut env);
    let bound = kernel.dim(frame.graph.axes.size(axis));
    let mut emitter = Emitter::new(cx, kernel);
    let row = emitter.value(site.frame, node.operands[1], &env, &[]);
    let result = emitter.value(site.frame, node.operands[0], &env, &[]);
    let region = emitter.region;
    let mut at = Linear::zero();
    at.add_term(1, Dim::Known(1), Atom::Data { value: row, bound });
    env.push((axis, at));
    let store =
        Store { buffer: kernel.buffer(home.storage), index: kernel.address(home, &env), value: result };
    vec![zero, Statement::ScatterAdd { loops, region, store }]
}

/// Zeros in all elements of a value's home.
fn zeros(
    cx: &Context<'_>,
    kernel: &mut KernelBuilder,
    site: &Site,
    value: ValueId,
    home: &View,
) -> Statement {
    let order = loop_order(cx, site.frame, value, home);
    let mut env = site.grid.clone();
    let loops = open(cx, kernel, site, &order, &mut env);
    let (region, result) = zero(cx.frames[site.frame].graph.ty(value).dtype);
    let store =
        Store { buffer: kernel.buffer(home.storage), index: kernel.address(home, &env), value: result };
    Statement::Map { loops, region, stores: vec![store] }
}

/// A region with nothing but 0.
pub(crate) fn zero(dtype: DType) -> (Region, crate::kernel::ExprId) {
    let mut region = Region::default();
    let zero = region.push(Expr::Const { value: Number::new(0.0), dtype }, dtype);
    (region, zero)
}
