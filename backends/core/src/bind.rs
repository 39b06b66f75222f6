//! Binding a program to sizes: symbols are unified with the shapes of the root's inputs, everything is evaluated, and
//! calls are flattened into one list of kernel entries.

use crate::backend::RunError;
use crate::kernel::{Dim, Extent, Loop, Statement};
use crate::program::{Bound, Entry, Home, KernelId, Location, Port, Program, Routine, SlotId, Step};
use carousel_ir::{Name, Size};
use std::collections::HashMap;

/// Why shapes do not fit a program.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BindError {
    /// The program has no functions.
    #[error("the program is empty")]
    Empty,
    /// The number of inputs.
    #[error("{expected} inputs are expected, {found} were given")]
    Inputs {
        /// How many the root has.
        expected: usize,
        /// How many came.
        found: usize,
    },
    /// The rank of an input.
    #[error("input `{input}` has the axes [{axes}], but a shape of {found} sizes was given")]
    Rank {
        /// Which input.
        input: Name,
        /// Its axes.
        axes: String,
        /// How many sizes came.
        found: usize,
    },
    /// The size of an axis.
    #[error("axis `{axis}` of input `{input}` must have size {expected}, not {found}")]
    Mismatch {
        /// Which input.
        input: Name,
        /// Which axis.
        axis: String,
        /// What it must be, with how that came about.
        expected: String,
        /// What it is.
        found: u64,
    },
    /// A symbol that no input determines.
    #[error("the size `{symbol}` is not determined by the shapes of the inputs")]
    Undetermined {
        /// Which.
        symbol: Name,
    },
    /// A size too large to count.
    #[error("the sizes are too large")]
    Overflow,
}

impl From<BindError> for RunError {
    fn from(error: BindError) -> RunError {
        let message = error.to_string();
        match error {
            BindError::Inputs { expected, found } => RunError::Count { what: "inputs", expected, found },
            BindError::Rank { input: name, .. } | BindError::Mismatch { input: name, .. } => {
                RunError::Shape { name, message }
            }
            BindError::Undetermined { symbol: name } => RunError::Shape { name, message },
            BindError::Empty | BindError::Overflow => RunError::TooLarge { bytes: None },
        }
    }
}

type Symbols = HashMap<Name, u64>;

/// The program for the given shapes of its root's inputs.
pub fn bind(program: &Program, input_sizes: &[&[u64]]) -> Result<Bound, BindError> {
    let root = program.routines.last().ok_or(BindError::Empty)?;
    let symbols = unify(root, input_sizes)?;
    let elements = |ports: &[Port], sizes: &mut dyn Iterator<Item = &[u64]>| -> Result<Vec<u64>, BindError> {
        ports.iter().zip(sizes).map(|(port, sizes)| port.elements(sizes).ok_or(BindError::Overflow)).collect()
    };
    let mut output_sizes = Vec::new();
    for port in &root.outputs {
        output_sizes.push(port.sizes.iter().map(|s| value(s, &symbols)).collect::<Result<Vec<u64>, _>>()?);
    }
    let mut bound = Bound {
        entries: Vec::new(),
        arena_bytes: 0,
        input_elements: elements(&root.inputs, &mut input_sizes.iter().copied())?,
        output_elements: elements(&root.outputs, &mut output_sizes.iter().map(Vec::as_slice))?,
        output_sizes,
    };
    let ends = Ends {
        inputs: (0..root.inputs.len() as u32).map(Location::Input).collect(),
        outputs: (0..root.outputs.len() as u32).map(Location::Output).collect(),
        base: 0,
    };
    flatten(program, root, &symbols, &ends, &mut bound)?;
    Ok(bound)
}

fn unify(root: &Routine, input_sizes: &[&[u64]]) -> Result<Symbols, BindError> {
    if root.inputs.len() != input_sizes.len() {
        return Err(BindError::Inputs { expected: root.inputs.len(), found: input_sizes.len() });
    }
    let mut symbols: HashMap<Name, (u64, Name)> = HashMap::new();
    for (port, sizes) in root.inputs.iter().zip(input_sizes) {
        if port.sizes.len() != sizes.len() {
            let axes = port.ty.axes.to_string();
            return Err(BindError::Rank { input: port.name, axes, found: sizes.len() });
        }
        for (size, found) in port.sizes.iter().zip(*sizes) {
            if let Size::Symbol(name) = size {
                symbols.entry(*name).or_insert((*found, port.name));
            }
        }
    }
    let known: Symbols = symbols.iter().map(|(name, (n, _))| (*name, *n)).collect();
    for (port, sizes) in root.inputs.iter().zip(input_sizes) {
        for ((axis, size), found) in port.ty.axes.iter().zip(&port.sizes).zip(*sizes) {
            let wanted = value(size, &known)?;
            if wanted != *found {
                let expected = match size {
                    Size::Symbol(name) => format!("{wanted} (as in input `{}`)", symbols[name].1),
                    Size::Known(_) => wanted.to_string(),
                    Size::Product(_)
                    | Size::Sum(_)
                    | Size::Minus(_)
                    | Size::CeilDiv(_)
                    | Size::CeilSqrt(_) => format!("{size} = {wanted}"),
                };
                let axis = axis.to_string();
                return Err(BindError::Mismatch { input: port.name, axis, expected, found: *found });
            }
        }
    }
    Ok(known)
}

fn value(size: &Size, symbols: &Symbols) -> Result<u64, BindError> {
    size.evaluate(&|name| symbols.get(&name).copied()).ok_or_else(|| {
        let missing = size.symbols().into_iter().find(|s| !symbols.contains_key(s));
        missing.map_or(BindError::Overflow, |symbol| BindError::Undetermined { symbol })
    })
}

/// Where a routine's inputs, outputs and frame are.
struct Ends {
    inputs: Vec<Location>,
    outputs: Vec<Location>,
    base: u64,
}

fn flatten(
    program: &Program,
    routine: &Routine,
    symbols: &Symbols,
    ends: &Ends,
    bound: &mut Bound,
) -> Result<(), BindError> {
    let frame = value(&routine.frame_bytes, symbols)?;
    let end = ends.base.checked_add(frame).ok_or(BindError::Overflow)?;
    bound.arena_bytes = bound.arena_bytes.max(end);
    let mut locations = Vec::new();
    for slot in &routine.slots {
        locations.push(match slot.home {
            Home::Input(n) => ends.inputs[n as usize],
            Home::Output(n) => ends.outputs[n as usize],
            Home::Frame => Location::Arena(ends.base + value(&slot.offset, symbols)?),
        });
    }
    let at = |slots: &[SlotId]| -> Vec<Location> { slots.iter().map(|s| locations[s.0 as usize]).collect() };
    for step in &routine.steps {
        match step {
            Step::Launch { kernel, buffers, dims } => {
                let dims = dims
                    .iter()
                    .map(|d| i64::try_from(value(d, symbols)?).map_err(|_| BindError::Overflow))
                    .collect::<Result<Vec<i64>, _>>()?;
                bound.entries.push(entry(program, *kernel, at(buffers), dims));
            }
            Step::Call { routine, inputs, outputs, symbols: inner } => {
                let inner = inner
                    .iter()
                    .map(|(name, size)| Ok((*name, value(size, symbols)?)))
                    .collect::<Result<Symbols, BindError>>()?;
                let ends = Ends { inputs: at(inputs), outputs: at(outputs), base: end };
                flatten(program, &program.routines[routine.0 as usize], &inner, &ends, bound)?;
            }
        }
    }
    Ok(())
}

fn entry(program: &Program, id: KernelId, buffers: Vec<Location>, dims: Vec<i64>) -> Entry {
    let kernel = &program.kernels[id.0 as usize];
    let points = count(&kernel.grid, &dims);
    let work = points.saturating_mul(statements_work(&kernel.body, &dims));
    let scratch_bytes = whole(kernel.scratch_bytes, &dims);
    Entry { kernel: id, buffers, dims, points, scratch_bytes, work }
}

fn whole(dim: Dim, dims: &[i64]) -> u64 {
    dim.value(dims).max(0) as u64
}

fn extent(extent: &Extent, dims: &[i64]) -> u64 {
    match extent {
        Extent::Whole(dim) => whole(*dim, dims),
        Extent::Tile { whole: all, tile, .. } => whole(*all, dims).min(*tile),
    }
}

fn count(loops: &[Loop], dims: &[i64]) -> u64 {
    loops.iter().map(|l| extent(&l.extent, dims)).fold(1, u64::saturating_mul)
}

fn statements_work(statements: &[Statement], dims: &[i64]) -> u64 {
    statements.iter().map(|s| statement_work(s, dims)).fold(0, u64::saturating_add)
}

fn statement_work(statement: &Statement, dims: &[i64]) -> u64 {
    let times = |n: u64, exprs: usize| n.saturating_mul(exprs as u64 + 1);
    match statement {
        Statement::Loop { over, body, .. } => {
            extent(&over.extent, dims).saturating_mul(statements_work(body, dims))
        }
        Statement::Map { loops, region, .. } | Statement::ScatterAdd { loops, region, .. } => {
            times(count(loops, dims), region.exprs.len())
        }
        Statement::Reduce { loops, over, region, .. } => {
            times(count(loops, dims).saturating_mul(count(over, dims)), region.exprs.len())
        }
        Statement::Cumulative { loops, along, region, .. } => {
            times(count(loops, dims).saturating_mul(extent(&along.extent, dims)), region.exprs.len())
        }
        Statement::Product { m, n, k, .. } => {
            [m, n, k].into_iter().map(|e| extent(e, dims)).fold(1, u64::saturating_mul)
        }
    }
}
