//! The statements of a kernel one by one: how often each is run, and how long it computes each time.
//!
//! Matrix products are priced here, by their extents; everything that is computed element by element is [`Rows`].

use super::profile::Profile;
use super::rows::{Rows, contiguous_loads, is_contiguous};
use super::traffic::{LINE, ScopeId, Touched, Traffic};
use super::{count, extent};
use crate::kernel::{Combine, Dim, Factor, Kernel, Loop, Matrix, Region, Statement, Store, Triangle, Update};
use crate::program::element_bytes;
use carousel_ir::DType;

/// A walk over a kernel's statements for given sizes.
pub(super) struct Walk<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) dims: &'a [i64],
    pub(super) profile: &'a Profile,
    pub(super) traffic: Traffic,
    pub(super) statements: Vec<Work>,
}

/// What one statement does.
pub(super) struct Work {
    /// How often it is run.
    runs: f64,
    /// How long it computes each time.
    seconds: f64,
    overlap: Overlap,
}

/// Whether memory is waited for while computing.
#[derive(Clone, Copy)]
enum Overlap {
    /// The next elements arrive meanwhile.
    Streams,
    /// Operands are packed first.
    Packs,
}

/// Loops around a statement.
#[derive(Clone, Copy)]
pub(super) struct Around {
    pub(super) scope: Option<ScopeId>,
    runs: f64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(kernel: &'a Kernel, dims: &'a [i64], profile: &'a Profile) -> Walk<'a> {
        Walk { kernel, dims, profile, traffic: Traffic::default(), statements: Vec::new() }
    }

    /// The seconds of all points of the grid.
    pub(super) fn grid(&mut self, kernel: &'a Kernel) -> f64 {
        let mut around = Around { scope: None, runs: 1.0 };
        for over in &kernel.grid {
            around = self.enter(around, over);
        }
        self.body(&kernel.body, around);
        let moved = self.traffic.seconds(self.statements.len(), self.profile);
        let each = self.statements.iter().zip(moved);
        let seconds = |(work, moved): (&Work, f64)| {
            let both = match work.overlap {
                Overlap::Streams => work.seconds.max(moved),
                Overlap::Packs => work.seconds + moved,
            };
            work.runs * (both + self.profile.overhead.statement)
        };
        each.map(seconds).sum()
    }

    fn enter(&mut self, around: Around, over: &Loop) -> Around {
        let turns = count(over, self.dims);
        let scope = self.traffic.open(around.scope, over.var, turns);
        Around { scope: Some(scope), runs: around.runs * turns }
    }

    fn body(&mut self, body: &'a [Statement], around: Around) {
        for statement in body {
            match statement {
                Statement::Loop { over, direction: _, body } => {
                    let inside = self.enter(around, over);
                    self.body(body, inside);
                }
                Statement::Map { loops, region, stores } => {
                    let mut rows = Rows::new(self, around, region, loops);
                    stores.iter().for_each(|store| rows.store(self, store));
                    let seconds = rows.seconds(self);
                    self.push(around, seconds);
                }
                Statement::ScatterAdd { loops, region, store } => {
                    let mut rows = Rows::new(self, around, region, loops);
                    rows.store(self, store);
                    rows.store(self, store);
                    let seconds = rows.seconds(self);
                    self.push(around, seconds);
                }
                Statement::Reduce { loops, over, region, combine, store, update } => {
                    let seconds = self.reduce(around, [loops, over], region, *combine, store, *update);
                    self.push(around, seconds);
                }
                Statement::Cumulative { loops, along, direction: _, region, combine: _, store } => {
                    let seconds = self.cumulative(around, loops, *along, region, store);
                    self.push(around, seconds);
                }
                Statement::Product { m, n, k, a, b, c, update, dtype, triangle } => {
                    let [m, n, k] = [m, n, k].map(|e| extent(e, self.dims));
                    let bytes = element_bytes(*dtype) as f64;
                    for (matrix, rows, columns) in [(a, m, k), (b, k, n), (c, m, n)] {
                        self.touch_matrix(around, matrix, [rows, columns], bytes);
                    }
                    if *update == Update::Add {
                        self.touch_matrix(around, c, [m, n], bytes);
                    }
                    let seconds = self.product(m, n, k, *dtype) * share(*triangle, [m, n, k]);
                    let runs = around.runs;
                    self.statements.push(Work { runs, seconds, overlap: Overlap::Packs });
                }
            }
        }
    }

    fn push(&mut self, around: Around, seconds: f64) {
        self.statements.push(Work { runs: around.runs, seconds, overlap: Overlap::Streams });
    }

    fn touch_matrix(&mut self, around: Around, matrix: &Matrix, [rows, columns]: [f64; 2], each: f64) {
        let bytes = rows * columns * each;
        let neighbours = if matrix.column == Dim::Known(1) {
            columns
        } else if matrix.row == Dim::Known(1) {
            rows
        } else {
            1.0
        };
        let lines = bytes.max(rows * columns / neighbours.clamp(1.0, LINE / each) * LINE);
        let touched = Touched { bytes, lines };
        self.traffic.touch(around.scope, self.statements.len(), matrix.buffer, &matrix.base, touched);
    }

    fn product(&self, m: f64, n: f64, k: f64, dtype: DType) -> f64 {
        let rate = self.profile.product;
        let reached = |x: f64, half: f64| if x > 0.0 { x / (x + half) } else { 1.0 };
        let flops = 2.0 * m * n * k;
        let (narrow, wide) = (m.min(n), m.max(n));
        let share =
            reached(narrow, rate.half_narrow) * reached(wide, rate.half_wide) * reached(k, rate.half_depth);
        match dtype {
            DType::F32 => rate.call + flops / (rate.peak * share),
            DType::F64 => rate.call + 2.0 * flops / (rate.peak * share),
            DType::Bf16 | DType::F16 | DType::I32 | DType::U32 | DType::Bool => {
                flops / self.profile.elements.vector
            }
        }
    }

    fn reduce(
        &mut self,
        around: Around,
        [loops, over]: [&[Loop]; 2],
        region: &Region,
        combine: Combine,
        store: &Store,
        update: Update,
    ) -> f64 {
        let results: f64 = loops.iter().map(|l| count(l, self.dims)).product();
        let is_folded = match (loops.last(), over.last()) {
            (Some(result), Some(vanishing)) => {
                contiguous_loads(region, result.var) > contiguous_loads(region, vanishing.var)
            }
            _ => false,
        };
        let ordered: Vec<Loop> = if is_folded {
            let (inner, outer) = loops.split_last().expect("there is a last loop");
            outer.iter().chain(over).chain([inner]).copied().collect()
        } else {
            loops.iter().chain(over).copied().collect()
        };
        let mut rows = Rows::new(self, around, region, &ordered);
        // The combination; a maximum keeps NaN, which takes a comparison more.
        let operations = match combine {
            Combine::Sum => 1.0,
            Combine::Max => 2.0,
        };
        // Folded rows lie in memory between turns.
        rows.innermost(if is_folded { operations + 2.0 } else { operations });
        rows.touch(self, store.buffer, &store.index);
        let touched = match update {
            Update::Set => 1.0,
            Update::Add => 2.0,
        };
        let elements = self.profile.elements;
        let finish = if is_folded { touched / elements.vector } else { (touched + 8.0) / elements.scalar };
        rows.seconds(self) + results * finish
    }

    fn cumulative(
        &mut self,
        around: Around,
        loops: &[Loop],
        along: Loop,
        region: &Region,
        store: &Store,
    ) -> f64 {
        let contiguous = |var| contiguous_loads(region, var) + usize::from(is_contiguous(&store.index, var));
        let is_folded = loops.last().is_some_and(|last| {
            let rows = contiguous(last.var);
            rows > 0 && rows >= contiguous(along.var)
        });
        if is_folded {
            let (inner, outer) = loops.split_last().expect("there is a last loop");
            let ordered: Vec<Loop> = outer.iter().chain([&along, inner]).copied().collect();
            let mut rows = Rows::new(self, around, region, &ordered);
            rows.innermost(3.0);
            rows.store(self, store);
            return rows.seconds(self);
        }
        let ordered: Vec<Loop> = loops.iter().chain([&along]).copied().collect();
        let mut rows = Rows::new(self, around, region, &ordered);
        rows.touch(self, store.buffer, &store.index);
        rows.one_by_one();
        rows.seconds(self) + rows.elements() / self.profile.elements.running
    }
}

/// The share of a product's work that a triangle has: that of whole tiles of rows along its edge.
fn share(triangle: Option<Triangle>, [m, n, k]: [f64; 3]) -> f64 {
    let Some(triangle) = triangle else { return 1.0 };
    let (size, tile) = match triangle.factor {
        Factor::A => (m.min(k), 6.0),
        Factor::B => (n.min(k), 64.0),
        Factor::C => (m.min(n), 32.0),
    };
    if size > 0.0 { (0.5 + 0.5 * tile / size).min(1.0) } else { 1.0 }
}
