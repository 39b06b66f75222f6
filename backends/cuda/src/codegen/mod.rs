//! CUDA C++ of a kernel.
//!
//! A grid point becomes the work of one block of threads: its statements run one after the other, each by all threads of
//! the block, with a barrier where one needs what another wrote. Blocks take points in turns, so that the memory of a
//! point is needed once a block. Invariants: the text depends on the kernel alone; results do not depend on the number of
//! blocks; every access that the kernel IR allows is in bounds here as well.

mod barriers;
mod crew;
mod cumulative;
mod expression;
mod linear;
mod names;
mod reduce;
mod runs;
mod runtime;
mod scratch;
mod shares;
mod statement;
mod steps;
mod team;

pub(crate) use crew::{Crew, Point};
pub(crate) use names::function_name;
pub(crate) use team::useful_blocks;

use carousel_core::kernel::{BufferId, Dim, Extent, Kernel, Loop, Place, Statement, Var};
use carousel_ir::Span;
use expression::memory_type;
use names::Names;
use scratch::Scratch;
use shares::Shares;
use std::fmt::Write;

/// How many blocks run at the same time at least where texts are for any GPU: one for each multiprocessor of an A100.
pub(crate) const USUAL_BLOCKS: u64 = 108;
/// Threads of a block.
pub(crate) const THREADS: u32 = 256;
/// The bit of the status word for an index out of range.
pub(crate) const STATUS_INDEX: u32 = 1;
/// The bit of the status word for an integer division by zero.
pub(crate) const STATUS_DIVISION: u32 = 2;
/// Text that is built line by line.
pub(crate) struct Writer {
    text: String,
    depth: usize,
    lines: u32,
}

impl Writer {
    fn line(&mut self, line: impl AsRef<str>) {
        let pad = 2 * self.depth;
        self.lines += 1;
        writeln!(self.text, "{:pad$}{}", "", line.as_ref()).expect("text can be written");
    }

    fn open(&mut self, line: impl AsRef<str>) {
        self.line(format!("{} {{", line.as_ref()));
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.line("}");
    }
}

/// What the code of a kernel is built from.
pub(crate) struct Context<'k> {
    kernel: &'k Kernel,
    names: Names,
    /// Who does a grid point.
    workers: Point,
    memory: Scratch,
    shares: Option<&'k Shares>,
    out: Writer,
    /// From which line on what is computed comes from where.
    origins: Vec<(u32, Span)>,
}

/// The CUDA C++ of a kernel, whole.
pub(crate) struct Source {
    pub(crate) text: String,
    /// The lines from which on what is computed comes from a place of the program, in order.
    origins: Vec<(u32, Span)>,
}

impl Source {
    /// The place of the program that a line of the kernel computes.
    pub(crate) fn origin(&self, line: u32) -> Option<Span> {
        self.origins.iter().rev().find(|(first, _)| *first <= line).map(|(_, span)| *span)
    }
}

/// Writes the text of a kernel for a GPU on which so many blocks run at the same time.
pub(crate) fn source(kernel: &Kernel, together: u64) -> Source {
    let out = Writer { text: String::new(), depth: 0, lines: 0 };
    let Crew { point: workers, memory, shares } = Crew::of(kernel, together);
    let shares = shares.as_ref();
    let kernel = shares.map_or(kernel, |shares| &shares.kernel);
    let names = Names::new(kernel);
    let mut cx = Context { kernel, names, workers, memory, shares, out, origins: Vec::new() };
    let plan = barriers::plan(kernel, shares);
    cx.kernel_text(&plan);
    let body = cx.out.text;
    let before = format!("{}\n", runtime::needed(&body));
    let lines = before.lines().count() as u32;
    let origins = cx.origins.into_iter().map(|(line, span)| (lines + line, span)).collect();
    Source { text: before + &body, origins }
}

impl Context<'_> {
    fn kernel_text(&mut self, plan: &barriers::Plan) {
        let kernel = self.kernel;
        self.out.line(format!("// `{}`", kernel.name));
        let mut parameters: Vec<String> = Vec::new();
        for (number, buffer) in kernel.buffers.iter().enumerate() {
            if let Place::Argument(_) = buffer.place {
                let read_only = buffer.access == carousel_core::kernel::Access::Read;
                let constant = if read_only { "const " } else { "" };
                let (ty, name) = (memory_type(buffer.dtype), &self.names.buffers[number]);
                let elements = linear::dim(buffer.elements);
                parameters.push(format!("{constant}{ty}* __restrict__ {name}, // {elements} elements"));
            }
        }
        parameters.extend((0..kernel.dims).map(|number| format!("const i64 d{number},")));
        parameters.push("const i64 points,".into());
        parameters.push("u8* __restrict__ scratch,".into());
        parameters.push("const i64 scratch_bytes,".into());
        match self.workers {
            Point::Block => parameters.push("u32* __restrict__ status".into()),
            Point::Team | Point::Share => {
                parameters.push("u32* __restrict__ status,".into());
                parameters.push("const u32 team_size, // blocks".into());
                parameters.push(
                    "u32* __restrict__ arrived // for each team, how many blocks came to barriers".into(),
                );
            }
        }
        let name = function_name(kernel);
        self.out.line(format!("extern \"C\" __global__ void __launch_bounds__({THREADS}) {name}("));
        self.out.depth += 1;
        parameters.iter().for_each(|parameter| self.out.line(parameter));
        self.out.depth -= 1;
        self.out.open(")");
        if self.workers != Point::Block {
            self.out.line("const u32 team = blockIdx.x / team_size, rank = blockIdx.x % team_size;");
        }
        if self.workers == Point::Team {
            self.out.line(format!(
                "const u32 thread = rank * {THREADS} + threadIdx.x, threads = team_size * {THREADS}; // of the team"
            ));
        }
        if let Some(shares) = self.shares {
            self.out.line(format!("const i64 x{} = rank; // the share", shares.number.0));
        }
        self.scratch();
        self.out.open(match self.workers {
            Point::Block => "for (i64 point = blockIdx.x; point < points; point += gridDim.x)",
            Point::Team | Point::Share => {
                "for (i64 point = team; point < points; point += gridDim.x / team_size)"
            }
        });
        self.grid(&kernel.grid);
        self.statements(&kernel.body, plan);
        if plan.after_point {
            self.barrier(plan.after_point_of_shares, " // the next point uses the same memory");
        }
        self.out.close();
        self.out.close();
    }

    /// Pointers to the memory of a grid point.
    fn scratch(&mut self) {
        let kernel = self.kernel;
        let places: Vec<(usize, Dim)> = kernel
            .buffers
            .iter()
            .enumerate()
            .filter_map(|(number, buffer)| match buffer.place {
                Place::Scratch(offset) => Some((number, offset)),
                Place::Argument(_) => None,
            })
            .collect();
        if places.is_empty() {
            return;
        }
        if self.memory.shared_bytes > 0 {
            self.out.line("extern __shared__ __align__(16) u8 own[]; // the memory of a point");
        }
        if !self.memory.is_all_shared {
            let number = if self.workers == Point::Block { "blockIdx.x" } else { "team" };
            let line =
                format!("u8* far = scratch + (i64){number} * scratch_bytes; // what is not shared memory");
            self.out.line(line);
        }
        for (number, offset) in places {
            let id = BufferId(number as u32);
            let buffer = &kernel.buffers[number];
            let (ty, name) = (memory_type(buffer.dtype), &self.names.buffers[number]);
            let carried = self.shares.map_or(&[][..], |shares| &shares.carried);
            let is_next = carried.iter().any(|(_, next)| *next == id);
            let (memory, offset) = match self.memory.shared(id) {
                Some(offset) => ("own", offset.to_string()),
                None if is_next => ("far", format!("scratch_bytes / 2 + {}", linear::dim(offset))),
                None => ("far", linear::dim(offset)),
            };
            // Pointers to what is carried change.
            let constant = if is_next || carried.iter().any(|(old, _)| *old == id) { "" } else { "const " };
            let elements = linear::dim(buffer.elements);
            let line =
                format!("{ty}* {constant}{name} = ({ty}*)({memory} + {offset}); // {elements} elements");
            self.out.line(line);
        }
    }

    /// The variables of the grid, the last one fastest.
    fn grid(&mut self, grid: &[Loop]) {
        match grid {
            [] => {}
            [only] => self.out.line(format!("const i64 x{} = point;", only.var.0)),
            all => {
                self.out.line("i64 rest = point;");
                for (at, over) in all.iter().enumerate().rev() {
                    let (var, extent) = (over.var.0, self.extent(&over.extent));
                    if at == 0 {
                        self.out.line(format!("const i64 x{var} = rest;"));
                    } else {
                        self.out.line(format!("const i64 x{var} = remainder(rest, {extent});"));
                        self.out.line(format!("rest = quotient(rest, {extent});"));
                    }
                }
            }
        }
    }

    /// How many times a loop runs.
    fn extent(&self, extent: &Extent) -> String {
        match extent {
            Extent::Whole(whole) => linear::dim(*whole),
            Extent::Tile { whole, tile, index } => {
                format!("tile_extent({}, {tile}, x{})", linear::dim(*whole), index.0)
            }
        }
    }

    fn statements(&mut self, statements: &[Statement], plan: &barriers::Plan) {
        for statement in statements {
            if plan.before(statement) {
                self.barrier(plan.between_shares(statement), "");
            }
            self.origin(statement);
            self.statement(statement, plan);
        }
    }

    /// Notes where in the program that stands which the statement computes first.
    fn origin(&mut self, statement: &Statement) {
        let mut first = None;
        statement.visit_writes(&mut |buffer| first = first.or(Some(buffer)));
        if let Some(buffer) = first {
            self.origin_of(buffer);
        }
    }

    /// The next line computes what a buffer holds.
    fn origin_of(&mut self, buffer: BufferId) {
        self.origins.push((self.out.lines + 1, self.kernel.buffer_spans[buffer.0 as usize]));
    }

    /// All who do the point wait for each other; of those that have shares, only the threads of one if nothing is exchanged.
    fn barrier(&mut self, is_between_shares: bool, comment: &str) {
        self.out.line(match self.workers {
            Point::Share if is_between_shares => {
                format!("wait_for_team(arrived + team, team_size);{comment}")
            }
            Point::Block | Point::Share => format!("__syncthreads();{comment}"),
            Point::Team => format!("wait_for_team(arrived + team, team_size);{comment}"),
        });
    }

    /// What is carried in shares changes places: the new one is the old one from now on.
    fn turn(&mut self, steps: Var) {
        let Some(shares) = self.shares.filter(|shares| shares.steps == steps) else { return };
        for (old, new) in &shares.carried {
            let line = format!("swap_places({}, {});", self.buffer(*old), self.buffer(*new));
            self.out.line(line);
        }
    }
}
