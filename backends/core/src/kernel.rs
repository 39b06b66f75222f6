//! The kernel IR: the only road to CPU and CUDA code.
//!
//! A [`Kernel`] is a grid of parallel points; at each point it runs statements in order: sequential loops and *tile
//! statements* over buffers, which are the kernel's arguments or scratch memory of the point. Named axes are gone:
//! they are loops and strides here. Where a size is not known when compiled it is an argument ([`Dim`]), so that one
//! kernel serves every length.
//!
//! Invariants: every variable is bound by exactly one loop that encloses its uses; expressions of a [`Region`] precede
//! their users; every access is in bounds for all values of its variables for which its guards hold; distinct grid
//! points write distinct elements. Kernels that are equal (names aside) are one kernel: see the structural `Eq` and
//! `Hash`.

use carousel_ir::{DType, Direction, Number, OpKind, Span};
use std::hash::{Hash, Hasher};

/// A size or stride: known, or an argument of the kernel (an i64, evaluated when the sizes are known).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Dim {
    /// Known when compiled.
    Known(u64),
    /// Number of the argument in the kernel's list of dims.
    Argument(u32),
}

/// A loop variable, counting elements of an axis.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Var(pub u32);

/// A buffer of the kernel: an index into [`Kernel::buffers`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// An expression of a region: an index into [`Region::exprs`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ExprId(pub u32);

/// How many times a loop runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Extent {
    /// The whole axis.
    Whole(Dim),
    /// One tile of it: `min(tile, whole - index * tile)`, where `index` counts tiles (a grid variable).
    Tile {
        /// The axis.
        whole: Dim,
        /// Elements of a full tile.
        tile: u64,
        /// Which tile.
        index: Var,
    },
}

/// A loop: `for var in 0..extent`. Inside a tile the variable counts from the tile's start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Loop {
    /// The variable.
    pub var: Var,
    /// How many times.
    pub extent: Extent,
}

/// An integer that is linear in atoms: the sum of its terms. Used for element offsets and for indices as values.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Linear {
    /// `coefficient * dim * atom` each; at most one term for each (dim, atom).
    pub terms: Vec<Term>,
}

/// One term of a [`Linear`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Term {
    /// A number.
    pub coefficient: i64,
    /// A stride; `Known(1)` where there is none.
    pub dim: Dim,
    /// What is multiplied.
    pub atom: Atom,
}

/// What a term multiplies.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Atom {
    /// Nothing: a constant term.
    One,
    /// A loop variable.
    Var(Var),
    /// `floor(linear / dim)` of a linear expression that is not negative.
    Quotient(Box<Linear>, Dim),
    /// `linear mod dim`, likewise.
    Remainder(Box<Linear>, Dim),
    /// An integer from data, an i32 or u32 expression of the same region. If it is outside `0..bound`, 0 is used and
    /// the kernel's status word becomes non-zero.
    Data {
        /// The expression.
        value: ExprId,
        /// The size of the addressed axis.
        bound: Dim,
    },
}

/// A condition on indices: `0 <= index < bound`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Guard {
    /// The index.
    pub index: Linear,
    /// The bound.
    pub bound: Dim,
}

/// A value computed at each point of a tile statement's loops.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Expr {
    /// An element of a buffer; 0 where a guard does not hold (no memory is touched there).
    Load {
        /// From where.
        buffer: BufferId,
        /// Element offset.
        index: Linear,
        /// All must hold.
        guards: Vec<Guard>,
    },
    /// A constant.
    Const {
        /// Its value.
        value: Number,
        /// Its dtype.
        dtype: DType,
    },
    /// A size as a number.
    Size {
        /// The size.
        dim: Dim,
        /// dtype of the result.
        dtype: DType,
    },
    /// An index as an i32.
    Index {
        /// The index.
        index: Linear,
    },
    /// Whether a guard holds, as a truth value.
    Holds {
        /// The guard.
        guard: Guard,
    },
    /// An elementwise operation of the op table other than `Cast` and `Detach`.
    Apply {
        /// Which; its class is elementwise.
        op: OpKind,
        /// Operands, of one dtype (except for `select`).
        operands: Vec<ExprId>,
        /// dtype of the result.
        dtype: DType,
    },
    /// Conversion to another dtype.
    Cast {
        /// What.
        value: ExprId,
        /// Its dtype.
        from: DType,
        /// To what.
        to: DType,
    },
    /// Philox uniform number in \[0, 1) as `ir::Op::Uniform` defines it.
    Uniform {
        /// u32.
        seed: ExprId,
        /// u32.
        step: ExprId,
        /// FNV-1a of the stream's name.
        stream: u32,
        /// The row-major logical index.
        index: Linear,
    },
    /// `ir::Op::FoldIn`.
    FoldIn {
        /// u32.
        seed: ExprId,
        /// The number.
        number: u32,
    },
}

/// Expressions of one statement; operands precede users.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Region {
    /// The expressions.
    pub exprs: Vec<Expr>,
    /// The dtype of each.
    pub dtypes: Vec<DType>,
}

/// Where a statement writes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Store {
    /// To which buffer.
    pub buffer: BufferId,
    /// Element offset.
    pub index: Linear,
    /// What: an expression of the region, of the buffer's dtype.
    pub value: ExprId,
}

/// A matrix in a buffer: element (r, c) at `base + r * row + c * column`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Matrix {
    /// The buffer.
    pub buffer: BufferId,
    /// Offset of element (0, 0), in terms of the loops around the statement.
    pub base: Linear,
    /// Distance of rows, in elements; `Known(0)` repeats one row.
    pub row: Dim,
    /// Distance of columns.
    pub column: Dim,
}

/// A matrix of a product.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Factor {
    /// (m, k).
    A,
    /// (k, n).
    B,
    /// (m, n), the result.
    C,
}

/// Half of a product. The other half of `a` or `b` is 0; the other half of `c` is not needed, and may get 0 (or keep what
/// the product is added to) in place of what it would be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Triangle {
    /// The matrix of which a triangle counts.
    pub factor: Factor,
    /// Whether it is where the row's number is at least the column's, else where it is at most that.
    pub is_lower: bool,
}

impl Triangle {
    /// Whether an element counts.
    pub fn has(self, row: i64, column: i64) -> bool {
        if self.is_lower { row >= column } else { row <= column }
    }
}

/// How elements are combined.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Combine {
    /// Sum, from 0.
    Sum,
    /// Maximum, from minus infinity (from the smallest integer); NaN wins.
    Max,
}

/// Whether a statement starts its destination afresh or adds to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Update {
    /// The destination is overwritten.
    Set,
    /// The result is added to what is there.
    Add,
}

/// What a kernel does at a grid point, one after the other.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Statement {
    /// A sequential loop around statements: time.
    Loop {
        /// The loop.
        over: Loop,
        /// From which end.
        direction: Direction,
        /// What is done each time.
        body: Vec<Statement>,
    },
    /// At every point of `loops` (the last one fastest): evaluates the region and stores. Points are independent:
    /// a buffer that is stored to may be loaded only at the very element that the same point stores, before the store.
    Map {
        /// The tile.
        loops: Vec<Loop>,
        /// What is computed.
        region: Region,
        /// What is stored.
        stores: Vec<Store>,
    },
    /// At every point of `loops`: combines `value` over all points of `over` and stores the result at `index`.
    Reduce {
        /// The tile of results.
        loops: Vec<Loop>,
        /// What is combined away (the last one fastest).
        over: Vec<Loop>,
        /// What is computed at each point of both.
        region: Region,
        /// How.
        combine: Combine,
        /// Where to, with the value; `index` is linear in `loops` and what is around.
        store: Store,
        /// Afresh or added.
        update: Update,
    },
    /// `c[m, n] = sum over k of a[m, k] * b[k, n]`, or added to c.
    Product {
        /// Rows.
        m: Extent,
        /// Columns.
        n: Extent,
        /// Contracted.
        k: Extent,
        /// (m, k).
        a: Matrix,
        /// (k, n).
        b: Matrix,
        /// (m, n).
        c: Matrix,
        /// Afresh or added.
        update: Update,
        /// dtype of `c` and of the sums, which are in f32 where it has 16 bits. A buffer of `a` or `b` may have another one, whose elements are converted as they
        /// are read.
        dtype: DType,
        /// If only a triangle counts, which; all of it may be computed, too.
        triangle: Option<Triangle>,
    },
    /// At every point of `loops`: the running combination of `value` along `along`, stored at each of its points.
    Cumulative {
        /// The tile without the running axis.
        loops: Vec<Loop>,
        /// The running axis.
        along: Loop,
        /// From which end.
        direction: Direction,
        /// What is computed at each point of both.
        region: Region,
        /// How.
        combine: Combine,
        /// Where to; `index` may use `along`.
        store: Store,
    },
    /// Adds `value` to the element at `index` (which contains a data-dependent atom), at the points of `loops` in
    /// ascending order, the last one fastest.
    ScatterAdd {
        /// The points.
        loops: Vec<Loop>,
        /// What is computed.
        region: Region,
        /// Where to.
        store: Store,
    },
}

/// Where a buffer lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    /// Argument number n of the kernel: a pointer.
    Argument(u32),
    /// Scratch memory of the grid point, at this offset in bytes (a multiple of 64). Buffers at the same offset take
    /// the memory over from each other; others do not overlap.
    Scratch(Dim),
}

/// How a kernel uses an argument.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// Only loads.
    Read,
    /// Only stores; every element that is loaded was stored before by the same point.
    Write,
    /// Both.
    ReadWrite,
}

/// A buffer as the kernel sees it. Truth values are 4 bytes, 0 or -1.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Buffer {
    /// Element type.
    pub dtype: DType,
    /// Where.
    pub place: Place,
    /// How it is used.
    pub access: Access,
    /// Number of elements.
    pub elements: Dim,
}

/// One kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// For people: what it computes. Not part of equality.
    pub name: String,
    /// For people: names of buffers, by number. Not part of equality.
    pub buffer_names: Vec<String>,
    /// For people: where in their text is what a buffer holds, by number. Not part of equality.
    pub buffer_spans: Vec<Span>,
    /// Arguments and scratch. Arguments are numbered in this order.
    pub buffers: Vec<Buffer>,
    /// How many dims come as arguments.
    pub dims: u32,
    /// The parallel loops, outermost first; a flat grid index counts the last one fastest. None: one point.
    pub grid: Vec<Loop>,
    /// Bytes of scratch of a point.
    pub scratch_bytes: Dim,
    /// The dtype to which factors of products in f32 are rounded before they are multiplied; f32 if they are not.
    pub factors: DType,
    /// What is done at a point.
    pub body: Vec<Statement>,
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Kernel) -> bool {
        self.buffers == other.buffers
            && self.dims == other.dims
            && self.grid == other.grid
            && self.scratch_bytes == other.scratch_bytes
            && self.factors == other.factors
            && self.body == other.body
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.buffers, self.dims, &self.grid, self.scratch_bytes, self.factors, &self.body).hash(state);
    }
}

impl Dim {
    /// Its value, given the dims that came as arguments.
    pub fn value(self, dims: &[i64]) -> i64 {
        match self {
            Dim::Known(n) => n as i64,
            Dim::Argument(i) => dims[i as usize],
        }
    }
}

impl Linear {
    /// The constant 0.
    pub fn zero() -> Linear {
        Linear::default()
    }

    /// A variable times a stride.
    pub fn var(var: Var, stride: Dim) -> Linear {
        let mut linear = Linear::default();
        linear.add_term(1, stride, Atom::Var(var));
        linear
    }

    /// Adds `coefficient * dim * atom`, folding known numbers.
    pub fn add_term(&mut self, coefficient: i64, dim: Dim, atom: Atom) {
        let (coefficient, dim) = match dim {
            Dim::Known(n) => (coefficient * n as i64, Dim::Known(1)),
            Dim::Argument(_) => (coefficient, dim),
        };
        match self.terms.iter().position(|t| t.dim == dim && t.atom == atom) {
            Some(at) => {
                self.terms[at].coefficient += coefficient;
                if self.terms[at].coefficient == 0 {
                    self.terms.remove(at);
                }
            }
            None if coefficient == 0 => {}
            None => self.terms.push(Term { coefficient, dim, atom }),
        }
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Linear) {
        for t in &other.terms {
            self.add_term(t.coefficient, t.dim, t.atom.clone());
        }
    }
}

impl Region {
    /// Appends an expression, or finds the equal one that is there.
    pub fn push(&mut self, expr: Expr, dtype: DType) -> ExprId {
        let found = self.exprs.iter().position(|e| *e == expr);
        ExprId(found.unwrap_or_else(|| {
            self.exprs.push(expr);
            self.dtypes.push(dtype);
            self.exprs.len() - 1
        }) as u32)
    }
}

impl Statement {
    /// Calls `see` with every buffer that the statement stores to.
    pub fn visit_writes(&self, see: &mut impl FnMut(BufferId)) {
        match self {
            Statement::Loop { body, .. } => body.iter().for_each(|s| s.visit_writes(see)),
            Statement::Map { stores, .. } => stores.iter().for_each(|s| see(s.buffer)),
            Statement::Reduce { store, .. }
            | Statement::Cumulative { store, .. }
            | Statement::ScatterAdd { store, .. } => see(store.buffer),
            Statement::Product { c, .. } => see(c.buffer),
        }
    }

    /// Calls `see` with every buffer that the statement loads from or adds to.
    pub fn visit_reads(&self, see: &mut impl FnMut(BufferId)) {
        let mut region = |region: &Region| {
            for expr in &region.exprs {
                if let Expr::Load { buffer, .. } = expr {
                    see(*buffer);
                }
            }
        };
        match self {
            Statement::Loop { body, .. } => body.iter().for_each(|s| s.visit_reads(see)),
            Statement::Map { region: r, .. } | Statement::Cumulative { region: r, .. } => region(r),
            Statement::Reduce { region: r, store, update, .. } => {
                region(r);
                if *update == Update::Add {
                    see(store.buffer);
                }
            }
            Statement::ScatterAdd { region: r, store, .. } => {
                region(r);
                see(store.buffer);
            }
            Statement::Product { a, b, c, update, .. } => {
                see(a.buffer);
                see(b.buffer);
                if *update == Update::Add {
                    see(c.buffer);
                }
            }
        }
    }

    /// Gives every buffer another number.
    pub fn renumber_buffers(&mut self, new: &impl Fn(BufferId) -> BufferId) {
        let region = |region: &mut Region| {
            for expr in &mut region.exprs {
                if let Expr::Load { buffer, .. } = expr {
                    *buffer = new(*buffer);
                }
            }
        };
        match self {
            Statement::Loop { body, .. } => body.iter_mut().for_each(|s| s.renumber_buffers(new)),
            Statement::Map { region: r, stores, .. } => {
                region(r);
                stores.iter_mut().for_each(|s| s.buffer = new(s.buffer));
            }
            Statement::Reduce { region: r, store, .. }
            | Statement::Cumulative { region: r, store, .. }
            | Statement::ScatterAdd { region: r, store, .. } => {
                region(r);
                store.buffer = new(store.buffer);
            }
            Statement::Product { a, b, c, .. } => {
                for matrix in [a, b, c] {
                    matrix.buffer = new(matrix.buffer);
                }
            }
        }
    }
}
