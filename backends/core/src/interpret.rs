//! A plain interpreter of bound programs, to check lowering without a code generator.
//!
//! It is meant to be obviously right and slow, computes all floats in f64, and checks what kernels promise: no access
//! is out of bounds, nothing is read that was not written or is lost as another buffer took its scratch memory, distinct
//! grid points write distinct elements and do not read each other's, a value is stored once by a map. It knows nothing
//! of graphs.

use crate::kernel::{
    Atom, BufferId, Combine, Expr, Extent, Factor, Guard, Kernel, Linear, Loop, Matrix, Place, Region,
    Statement, Store, Update, Var,
};
use crate::program::{Bound, Location, Program};
use carousel_ir::{DType, Direction, OpKind, philox};
use std::collections::HashMap;

/// Why a run was stopped: a kernel broke a promise.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("kernel `{kernel}`: {message}")]
pub struct Broken {
    /// Which kernel.
    pub kernel: String,
    /// What it did.
    pub message: String,
}

/// What a run gives: the outputs, all dtypes as f64 (truth values 0 and 1), and whether some index was out of range.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The outputs, row-major.
    pub outputs: Vec<Vec<f64>>,
    /// Whether some index from data was outside of its axis.
    pub index_fault: bool,
}

type Memory = Vec<Option<f64>>;
type Step<T> = Result<T, String>;

/// Runs a bound program; `inputs` are row-major, all dtypes as f64.
pub fn interpret(program: &Program, bound: &Bound, inputs: &[Vec<f64>]) -> Result<Outcome, Broken> {
    let inputs: Vec<Memory> = inputs.iter().map(|i| i.iter().copied().map(Some).collect()).collect();
    let mut outputs: Vec<Memory> = bound.output_elements.iter().map(|n| vec![None; *n as usize]).collect();
    // An element of the arena is known by its byte address.
    let mut arena: HashMap<u64, f64> = HashMap::new();
    let mut index_fault = false;
    for entry in &bound.entries {
        let kernel = &program.kernels[entry.kernel.0 as usize];
        let broken = |message: String| Broken { kernel: kernel.name.clone(), message };
        let mut arguments = Vec::new();
        for buffer in &kernel.buffers {
            let Place::Argument(n) = buffer.place else { continue };
            let elements = buffer.elements.value(&entry.dims) as usize;
            arguments.push(match entry.buffers[n as usize] {
                // One input may stand for several arguments.
                Location::Input(i) => inputs[i as usize].clone(),
                Location::Output(i) => std::mem::take(&mut outputs[i as usize]),
                Location::Arena(at) => (0..elements as u64)
                    .map(|i| arena.get(&(at + i * crate::program::element_bytes(buffer.dtype))).copied())
                    .collect(),
            });
            if arguments[n as usize].len() < elements {
                return Err(broken(format!("argument {n} has fewer than {elements} elements")));
            }
        }
        let mut machine = Machine {
            kernel,
            dims: &entry.dims,
            vars: HashMap::new(),
            arguments,
            scratch: Vec::new(),
            owners: HashMap::new(),
            writers: HashMap::new(),
            point: 0,
            index_fault: false,
        };
        machine.run().map_err(broken)?;
        index_fault |= machine.index_fault;
        let arguments = machine.arguments;
        let mut numbers = kernel.buffers.iter().filter(|b| matches!(b.place, Place::Argument(_)));
        for (n, memory) in arguments.into_iter().enumerate() {
            let dtype = numbers.next().map_or(DType::F32, |b| b.dtype);
            match entry.buffers[n] {
                Location::Input(i) if inputs[i as usize] != memory => {
                    return Err(Broken { kernel: kernel.name.clone(), message: "writes to an input".into() });
                }
                Location::Input(_) => {}
                Location::Output(i) => outputs[i as usize] = memory,
                Location::Arena(at) => {
                    for (i, value) in memory.into_iter().enumerate() {
                        if let Some(value) = value {
                            arena.insert(at + i as u64 * crate::program::element_bytes(dtype), value);
                        }
                    }
                }
            }
        }
    }
    let outputs = outputs
        .into_iter()
        .map(|o| o.into_iter().collect::<Option<Vec<f64>>>())
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Broken { kernel: "program".into(), message: "an output was not written".into() })?;
    Ok(Outcome { outputs, index_fault })
}

struct Machine<'a> {
    kernel: &'a Kernel,
    dims: &'a [i64],
    vars: HashMap<Var, i64>,
    arguments: Vec<Memory>,
    scratch: Vec<Memory>,
    /// Which buffer was written last in a place of scratch memory.
    owners: HashMap<Place, BufferId>,
    /// Which grid point wrote an element of an argument.
    writers: HashMap<(u32, usize), u64>,
    point: u64,
    index_fault: bool,
}

impl Machine<'_> {
    fn run(&mut self) -> Step<()> {
        let grid = self.kernel.grid.clone();
        self.nest(&grid, &mut |machine| {
            machine.scratch = machine
                .kernel
                .buffers
                .iter()
                .map(|b| vec![None; b.elements.value(machine.dims) as usize])
                .collect();
            machine.statements(&machine.kernel.body)?;
            machine.point += 1;
            Ok(())
        })
    }

    fn extent(&self, extent: &Extent) -> i64 {
        match extent {
            Extent::Whole(dim) => dim.value(self.dims),
            Extent::Tile { whole, tile, index } => {
                (whole.value(self.dims) - self.vars[index] * *tile as i64).min(*tile as i64)
            }
        }
    }

    fn nest(&mut self, loops: &[Loop], body: &mut dyn FnMut(&mut Self) -> Step<()>) -> Step<()> {
        let Some((first, rest)) = loops.split_first() else { return body(self) };
        for i in 0..self.extent(&first.extent) {
            self.vars.insert(first.var, i);
            self.nest(rest, body)?;
        }
        self.vars.remove(&first.var);
        Ok(())
    }

    fn statements(&mut self, statements: &[Statement]) -> Step<()> {
        statements.iter().try_for_each(|s| self.statement(s))
    }

    fn statement(&mut self, statement: &Statement) -> Step<()> {
        match statement {
            Statement::Loop { over, direction, body } => {
                let n = self.extent(&over.extent);
                for step in 0..n {
                    self.vars.insert(over.var, ordered(step, n, *direction));
                    self.statements(body)?;
                }
                self.vars.remove(&over.var);
                Ok(())
            }
            Statement::Map { loops, region, stores } => {
                let mut stored = HashMap::new();
                let mut count = 0u64;
                self.nest(loops, &mut |machine| {
                    let values = machine.region(region)?;
                    for store in stores {
                        let at = machine.linear(&store.index, &values);
                        if stored.insert((store.buffer, at), count).is_some() {
                            return Err(format!("a map stores element {at} twice"));
                        }
                        machine.store(store.buffer, at, values[store.value.0 as usize])?;
                    }
                    count += 1;
                    Ok(())
                })
            }
            Statement::Reduce { loops, over, region, combine, store, update } => {
                self.nest(loops, &mut |machine| {
                    let mut sum = start(*combine, region.dtypes[store.value.0 as usize]);
                    machine.nest(over, &mut |machine| {
                        let values = machine.region(region)?;
                        sum = combined(*combine, sum, values[store.value.0 as usize]);
                        Ok(())
                    })?;
                    let at = machine.linear(&store.index, &[]);
                    machine.update(store.buffer, at, sum, *update)
                })
            }
            Statement::Cumulative { loops, along, direction, region, combine, store } => self
                .nest(loops, &mut |machine| machine.cumulative(along, *direction, region, *combine, store)),
            Statement::ScatterAdd { loops, region, store } => self.nest(loops, &mut |machine| {
                let values = machine.region(region)?;
                let at = machine.linear(&store.index, &values);
                machine.update(store.buffer, at, values[store.value.0 as usize], Update::Add)
            }),
            Statement::Product { m, n, k, a, b, c, update, dtype: _, triangle } => {
                let (m, n, k) = (self.extent(m), self.extent(n), self.extent(k));
                for i in 0..m {
                    for j in 0..n {
                        let mut sum = 0.0;
                        let counts = |l: i64| {
                            triangle.is_none_or(|t| match t.factor {
                                Factor::A => t.has(i, l),
                                Factor::B => t.has(l, j),
                                Factor::C => t.has(i, j),
                            })
                        };
                        for l in (0..k).filter(|l| counts(*l)) {
                            sum += self.element(a, i, l)? * self.element(b, l, j)?;
                        }
                        let at = self.place(c, i, j);
                        self.update(c.buffer, at, sum, *update)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn cumulative(
        &mut self,
        along: &Loop,
        direction: Direction,
        region: &Region,
        combine: Combine,
        store: &Store,
    ) -> Step<()> {
        let n = self.extent(&along.extent);
        let mut sum = start(combine, region.dtypes[store.value.0 as usize]);
        for step in 0..n {
            self.vars.insert(along.var, ordered(step, n, direction));
            let values = self.region(region)?;
            sum = combined(combine, sum, values[store.value.0 as usize]);
            let at = self.linear(&store.index, &values);
            self.store(store.buffer, at, sum)?;
        }
        self.vars.remove(&along.var);
        Ok(())
    }

    fn place(&self, m: &Matrix, row: i64, column: i64) -> i64 {
        self.linear(&m.base, &[]) + row * m.row.value(self.dims) + column * m.column.value(self.dims)
    }

    fn element(&mut self, m: &Matrix, row: i64, column: i64) -> Step<f64> {
        let at = self.place(m, row, column);
        self.load(m.buffer, at)
    }

    fn linear(&self, linear: &Linear, values: &[f64]) -> i64 {
        linear
            .terms
            .iter()
            .map(|t| {
                let atom = match &t.atom {
                    Atom::One => 1,
                    Atom::Var(var) => self.vars[var],
                    Atom::Quotient(inside, dim) => {
                        self.linear(inside, values).div_euclid(dim.value(self.dims))
                    }
                    Atom::Remainder(inside, dim) => {
                        self.linear(inside, values).rem_euclid(dim.value(self.dims))
                    }
                    Atom::Data { value, bound } => {
                        let row = values[value.0 as usize] as i64;
                        if (0..bound.value(self.dims)).contains(&row) { row } else { 0 }
                    }
                };
                t.coefficient * t.dim.value(self.dims) * atom
            })
            .sum()
    }

    /// Notes indices from data that are out of range.
    fn check_data(&mut self, linear: &Linear, values: &[f64]) {
        for term in &linear.terms {
            match &term.atom {
                Atom::Data { value, bound } => {
                    let row = values[value.0 as usize] as i64;
                    self.index_fault |= !(0..bound.value(self.dims)).contains(&row);
                }
                Atom::Quotient(inside, _) | Atom::Remainder(inside, _) => self.check_data(inside, values),
                Atom::One | Atom::Var(_) => {}
            }
        }
    }

    fn holds(&self, guard: &Guard, values: &[f64]) -> bool {
        (0..guard.bound.value(self.dims)).contains(&self.linear(&guard.index, values))
    }

    fn slot(&mut self, buffer: BufferId, at: i64) -> Step<&mut Option<f64>> {
        let b = &self.kernel.buffers[buffer.0 as usize];
        let elements = b.elements.value(self.dims);
        if !(0..elements).contains(&at) {
            let name = &self.kernel.buffer_names[buffer.0 as usize];
            return Err(format!("element {at} of `{name}`, which has {elements}"));
        }
        Ok(match b.place {
            Place::Argument(n) => &mut self.arguments[n as usize][at as usize],
            Place::Scratch(_) => &mut self.scratch[buffer.0 as usize][at as usize],
        })
    }

    /// What another buffer in the same scratch memory held is lost when this one is written.
    fn take_over(&mut self, buffer: BufferId) {
        let place = self.kernel.buffers[buffer.0 as usize].place;
        if let Place::Scratch(_) = place
            && let Some(before) = self.owners.insert(place, buffer)
            && before != buffer
        {
            self.scratch[before.0 as usize].fill(None);
        }
    }

    fn load(&mut self, buffer: BufferId, at: i64) -> Step<f64> {
        let name = self.kernel.buffer_names[buffer.0 as usize].clone();
        if let Place::Argument(n) = self.kernel.buffers[buffer.0 as usize].place
            && self.writers.get(&(n, at as usize)).is_some_and(|writer| *writer != self.point)
        {
            return Err(format!("a grid point reads element {at} of `{name}`, which another one writes"));
        }
        self.slot(buffer, at)?.ok_or_else(|| format!("element {at} of `{name}` is read before it is written"))
    }

    fn store(&mut self, buffer: BufferId, at: i64, value: f64) -> Step<()> {
        let point = self.point;
        let name = self.kernel.buffer_names[buffer.0 as usize].clone();
        self.take_over(buffer);
        *self.slot(buffer, at)? = Some(value);
        if let Place::Argument(n) = self.kernel.buffers[buffer.0 as usize].place
            && *self.writers.entry((n, at as usize)).or_insert(point) != point
        {
            return Err(format!("two grid points write element {at} of `{name}`"));
        }
        Ok(())
    }

    fn update(&mut self, buffer: BufferId, at: i64, value: f64, update: Update) -> Step<()> {
        let before = match update {
            Update::Set => 0.0,
            Update::Add => self.load(buffer, at)?,
        };
        self.store(buffer, at, before + value)
    }

    fn region(&mut self, region: &Region) -> Step<Vec<f64>> {
        let mut values: Vec<f64> = Vec::new();
        for (expr, dtype) in region.exprs.iter().zip(&region.dtypes) {
            let value = match expr {
                Expr::Load { buffer, index, guards } => {
                    if guards.iter().all(|g| self.holds(g, &values)) {
                        self.check_data(index, &values);
                        let at = self.linear(index, &values);
                        self.load(*buffer, at)?
                    } else {
                        0.0
                    }
                }
                Expr::Const { value, .. } => value.get(),
                Expr::Size { dim, .. } => dim.value(self.dims) as f64,
                Expr::Index { index } => self.linear(index, &values) as f64,
                Expr::Holds { guard } => f64::from(u8::from(self.holds(guard, &values))),
                Expr::Apply { op, operands, dtype } => {
                    let x: Vec<f64> = operands.iter().map(|o| values[o.0 as usize]).collect();
                    wrapped(apply(*op, &x)?, *dtype)
                }
                Expr::Cast { value, from: _, to } => cast(values[value.0 as usize], *to),
                Expr::Uniform { seed, step, stream, index } => {
                    let at = self.linear(index, &values) as u64;
                    let (seed, step) = (values[seed.0 as usize] as u32, values[step.0 as usize] as u32);
                    f64::from(philox::uniform(seed, *stream, step, at))
                }
                Expr::FoldIn { seed, number } => {
                    f64::from(philox::fold_in(values[seed.0 as usize] as u32, *number))
                }
            };
            values.push(if *dtype == DType::Bool { f64::from(u8::from(value != 0.0)) } else { value });
        }
        Ok(values)
    }
}

fn ordered(step: i64, n: i64, direction: Direction) -> i64 {
    match direction {
        Direction::Forward => step,
        Direction::Reverse => n - 1 - step,
    }
}

fn start(combine: Combine, dtype: DType) -> f64 {
    match (combine, dtype) {
        (Combine::Sum, _) => 0.0,
        (Combine::Max, DType::I32) => f64::from(i32::MIN),
        (Combine::Max, DType::U32) => 0.0,
        (Combine::Max, DType::F32 | DType::F64 | DType::Bf16 | DType::F16 | DType::Bool) => f64::NEG_INFINITY,
    }
}

fn combined(combine: Combine, a: f64, b: f64) -> f64 {
    match combine {
        Combine::Sum => a + b,
        Combine::Max => maximum(a, b),
    }
}

fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Integers wrap around.
fn wrapped(value: f64, dtype: DType) -> f64 {
    match dtype {
        DType::I32 => f64::from(value as i64 as i32),
        DType::U32 => f64::from(value as i64 as u32),
        DType::F32 | DType::F64 | DType::Bf16 | DType::F16 | DType::Bool => value,
    }
}

fn cast(value: f64, to: DType) -> f64 {
    match to {
        DType::I32 => f64::from(value as i32),
        DType::U32 => f64::from(value as i64 as u32),
        DType::Bool => f64::from(u8::from(value != 0.0)),
        DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => value,
    }
}

fn apply(op: OpKind, x: &[f64]) -> Step<f64> {
    let truth = |b: bool| f64::from(u8::from(b));
    Ok(match op {
        OpKind::Neg => -x[0],
        OpKind::Abs => x[0].abs(),
        OpKind::Sign if x[0].is_nan() => f64::NAN,
        OpKind::Sign => truth(x[0] > 0.0) - truth(x[0] < 0.0),
        OpKind::Floor => x[0].floor(),
        OpKind::Ceil => x[0].ceil(),
        OpKind::Exp => x[0].exp(),
        OpKind::Log => x[0].ln(),
        OpKind::Log1p => x[0].ln_1p(),
        OpKind::Sqrt => x[0].sqrt(),
        OpKind::Tanh => x[0].tanh(),
        OpKind::Sigmoid => 1.0 / (1.0 + (-x[0]).exp()),
        OpKind::Logsigmoid => x[0].min(0.0) - (-x[0].abs()).exp().ln_1p(),
        OpKind::Erf => libm::erf(x[0]),
        OpKind::Not => truth(x[0] == 0.0),
        OpKind::Add => x[0] + x[1],
        OpKind::Sub => x[0] - x[1],
        OpKind::Mul => x[0] * x[1],
        OpKind::Div => x[0] / x[1],
        OpKind::Min => -maximum(-x[0], -x[1]),
        OpKind::Max => maximum(x[0], x[1]),
        OpKind::Eq => truth(x[0] == x[1]),
        OpKind::Ne => truth(x[0] != x[1]),
        OpKind::Lt => truth(x[0] < x[1]),
        OpKind::Le => truth(x[0] <= x[1]),
        OpKind::And => truth(x[0] != 0.0 && x[1] != 0.0),
        OpKind::Or => truth(x[0] != 0.0 || x[1] != 0.0),
        OpKind::Select => x[if x[0] != 0.0 { 1 } else { 2 }],
        OpKind::Input
        | OpKind::Const
        | OpKind::SizeOf
        | OpKind::Iota
        | OpKind::Cast
        | OpKind::Detach
        | OpKind::Sum
        | OpKind::ReduceMax
        | OpKind::Dot
        | OpKind::CumSum
        | OpKind::CumMax
        | OpKind::Rename
        | OpKind::Split
        | OpKind::Merge
        | OpKind::Broadcast
        | OpKind::Slice
        | OpKind::Pad
        | OpKind::Concat
        | OpKind::Shift
        | OpKind::Gather
        | OpKind::ScatterAdd
        | OpKind::Uniform
        | OpKind::FoldIn
        | OpKind::LinRead
        | OpKind::LinReadDecay
        | OpKind::LinSolve
        | OpKind::Scan
        | OpKind::Call
        | OpKind::Proj => return Err(format!("`{op}` is no scalar operation")),
    })
}
