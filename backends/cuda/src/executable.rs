//! Compiled programs on a CUDA device: a flat list of launches over one piece of memory.
//!
//! Invariant: a run decides nothing but the addresses; everything of a run lies in one allocation (inputs, outputs, the
//! arena, memory of grid points, status words), which is kept for the next one, but for the inputs and outputs that stay on
//! the device between runs ([`CudaMemory`]).

use crate::codegen::{Point, useful_blocks};
use crate::device::{
    Arguments, Device, DeviceError, DeviceMemory, Driver, Loaded, Started, Team, Transferred,
};
use crate::graphs::{Addresses, Graphs};
use crate::memory::{CudaMemory, bytes_of, failed};
use crate::run::Run;
use crate::sequence::CudaSequence;
use carousel_core::backend::{Backend, CompileError, DataMut, Executable, RunError, Sequence, Tensor};
use carousel_core::bind;
use carousel_core::cost::Machine;
use carousel_core::kernel::{Extent, Kernel, Loop, Place, Statement};
use carousel_core::program::{Bound, Entry, Location, Port, Program, Routine, element_bytes};
use carousel_core::resident::{Input, Output, Resident};
use carousel_ir::DType;
use cudarc::driver::CudaStream;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// More blocks than a GPU runs at a time are not launched: blocks take grid points in turns.
pub(crate) const MOST_BLOCKS: u64 = 1024;
/// Pieces of a run's memory begin at multiples of this.
const ALIGNMENT: u64 = 256;

/// Memory that a launch is going to touch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    /// Its address on the device.
    pub address: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether what is there has no meaning for the launch.
    pub fresh: bool,
}

/// Is told what is about to happen on the device: for devices that check it.
pub trait Observer: Send + Sync {
    /// A run begins: this memory has no values yet.
    fn before_run(&self, memory: &[Expected]);

    /// A kernel is about to be launched, on this memory.
    fn before_launch(&self, kernel: &str, memory: &[Expected]);
}

/// The CUDA target.
#[derive(Clone)]
pub struct CudaBackend {
    pub(crate) device: Arc<Device>,
    observer: Option<Arc<dyn Observer>>,
}

impl CudaBackend {
    /// The first device of a driver.
    ///
    /// # Errors
    /// If there is no such driver, or it has no device.
    pub fn open(driver: &Driver) -> Result<CudaBackend, DeviceError> {
        Ok(CudaBackend { device: Arc::new(Device::open(driver)?), observer: None })
    }

    /// How many bytes went to the device and came from it so far.
    pub fn transferred(&self) -> Transferred {
        self.device.transferred()
    }

    /// What was started so far.
    pub fn started(&self) -> Started {
        self.device.started()
    }

    /// The same with somebody who is told of every launch.
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> CudaBackend {
        CudaBackend { observer: Some(observer), ..self }
    }

    /// Compiles the last routine of the program, its root.
    ///
    /// # Errors
    /// If the compiler is not there, or a kernel does not compile.
    pub fn executable(&self, program: Program) -> Result<CudaExecutable, CompileError> {
        if program.routines.is_empty() {
            return Err(CompileError { message: "the program is empty".to_string() });
        }
        let kernels = compiled(&self.device, &program.kernels)?;
        Ok(CudaExecutable(Arc::new(Core {
            program,
            kernels,
            backend: self.clone(),
            graphs: Graphs::default(),
            bounds: Mutex::default(),
            memories: Mutex::default(),
            peak: AtomicU64::new(0),
        })))
    }
}

impl Backend for CudaBackend {
    fn machine(&self) -> Machine {
        crate::machine()
    }

    fn compile(&self, program: Program) -> Result<Box<dyn Executable>, CompileError> {
        Ok(Box::new(self.executable(program)?))
    }
}

/// Compiles kernels side by side; the result does not depend on how many at a time.
fn compiled(device: &Device, kernels: &[Kernel]) -> Result<Vec<Loaded>, CompileError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let piece = kernels.len().div_ceil(threads).max(1);
    let texts: Vec<Result<(), CompileError>> = std::thread::scope(|scope| {
        let compile = |piece: &[Kernel]| {
            piece.iter().try_for_each(|kernel| {
                crate::compiler::compiled_for(kernel, device.multiprocessors()).map(drop)
            })
        };
        let workers: Vec<_> =
            kernels.chunks(piece).map(|piece| scope.spawn(move || compile(piece))).collect();
        let crashed = || Err(CompileError { message: "the compiler crashed".to_string() });
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| crashed())).collect()
    });
    texts.into_iter().collect::<Result<Vec<()>, _>>()?;
    kernels.iter().map(|kernel| device.load(kernel)).collect()
}

/// The shapes of the inputs; which of the inputs and outputs are somewhere else, if any.
type Key = (Vec<Vec<u64>>, Vec<bool>);

/// A program with addresses for certain shapes.
pub(crate) struct Plan {
    pub(crate) bound: Bound,
    /// Offsets of inputs and outputs in the memory of a run, and their bytes; 0 of both for those that are elsewhere.
    inputs: Vec<(u64, u64)>,
    pub(crate) outputs: Vec<(u64, u64)>,
    arena: u64,
    scratch: u64,
    pub(crate) status: u64,
    /// Words on which teams of blocks count themselves.
    pub(crate) arrived: u64,
    bytes: u64,
}

/// A compiled program.
pub struct CudaExecutable(Arc<Core>);

/// What runs of a program share.
pub(crate) struct Core {
    pub(crate) program: Program,
    // Before the kernels: what was recorded of them goes first.
    pub(crate) graphs: Graphs,
    bounds: Mutex<HashMap<Key, Arc<Plan>>>,
    pub(crate) kernels: Vec<Loaded>,
    pub(crate) backend: CudaBackend,
    pub(crate) memories: Mutex<Vec<DeviceMemory>>,
    peak: AtomicU64,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these hold is valid at any time, even if a thread panicked meanwhile.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who does the grid points of an entry: so many blocks, or teams of several.
#[derive(Clone, Copy)]
struct Blocks {
    teams: u64,
    /// Blocks of a team.
    size: u64,
}

impl CudaExecutable {
    /// The program that was compiled.
    pub fn program(&self) -> &Program {
        &self.0.program
    }
}

impl Core {
    fn blocks(&self, entry: &Entry) -> Blocks {
        let Loaded { crew, together, .. } = &self.kernels[entry.kernel.0 as usize];
        // Where blocks wait for each other, all of them must run at the same time.
        let together = (*together).clamp(1, MOST_BLOCKS);
        let size = match (crew.point, &crew.shares) {
            (Point::Block, _) => return Blocks { teams: entry.points.min(MOST_BLOCKS), size: 1 },
            (_, Some(shares)) => shares.blocks,
            (_, None) => {
                let share = (together / entry.points.max(1)).max(1);
                useful_blocks(self.kernel(entry), &entry.dims).min(share)
            }
        };
        Blocks { teams: entry.points.min(together / size), size }
    }

    /// Bytes of a grid point's memory on the device, where it is not shared memory.
    fn scratch_bytes(&self, entry: &Entry) -> Option<u64> {
        let crew = &self.kernels[entry.kernel.0 as usize].crew;
        crew.far_bytes(entry.scratch_bytes, ALIGNMENT)
    }

    fn root(&self) -> &Routine {
        &self.program.routines[self.program.routines.len() - 1]
    }

    pub(crate) fn kernel(&self, entry: &Entry) -> &Kernel {
        &self.program.kernels[entry.kernel.0 as usize]
    }

    /// The program for inputs of these shapes.
    fn plan(&self, shapes: &[&[u64]], is_elsewhere: Vec<bool>) -> Result<Arc<Plan>, RunError> {
        let key: Key = (shapes.iter().map(|shape| shape.to_vec()).collect(), is_elsewhere);
        if let Some(plan) = lock(&self.bounds).get(&key) {
            return Ok(plan.clone());
        }
        let bound = bind(&self.program, shapes)?;
        for entry in &bound.entries {
            if most_points(&self.kernel(entry).body, &entry.dims) > u64::from(u32::MAX >> 1) {
                return Err(RunError::TooLarge { bytes: None });
            }
        }
        let too_large = || RunError::TooLarge { bytes: None };
        let mut end = 0u64;
        let mut place = |bytes: u64| {
            let start = end;
            end = end.checked_add(bytes)?.checked_next_multiple_of(ALIGNMENT)?;
            Some(start)
        };
        let mut is_elsewhere = key.1.iter().copied();
        let mut ends = |ports: &[Port], elements: &[u64]| {
            let bytes = ports.iter().zip(elements).map(|(p, n)| n.checked_mul(element_bytes(p.ty.dtype)));
            let end = |bytes: Option<u64>| match is_elsewhere.next() {
                Some(true) => Some((0, 0)),
                Some(false) | None => bytes.and_then(|b| Some((place(b)?, b))),
            };
            bytes.map(end).collect::<Option<Vec<_>>>()
        };
        let root = self.root();
        let inputs = ends(&root.inputs, &bound.input_elements).ok_or_else(too_large)?;
        let outputs = ends(&root.outputs, &bound.output_elements).ok_or_else(too_large)?;
        let scratch = |entry: &Entry| self.blocks(entry).teams.checked_mul(self.scratch_bytes(entry)?);
        let scratch =
            bound.entries.iter().map(scratch).collect::<Option<Vec<u64>>>().ok_or_else(too_large)?;
        let scratch = scratch.into_iter().max().unwrap_or(0);
        let arena = place(bound.arena_bytes).ok_or_else(too_large)?;
        let scratch = place(scratch).ok_or_else(too_large)?;
        let status = place(4 * self.program.kernels.len() as u64).ok_or_else(too_large)?;
        let arrived = place(4 * MOST_BLOCKS).ok_or_else(too_large)?;
        let plan = Arc::new(Plan { bound, inputs, outputs, arena, scratch, status, arrived, bytes: end });
        lock(&self.bounds).insert(key, plan.clone());
        Ok(plan)
    }

    fn check(&self, plan: &Plan, inputs: &[Input<'_>], outputs: &[Output<'_>]) -> Result<(), RunError> {
        let root = self.root();
        for ((port, input), &elements) in root.inputs.iter().zip(inputs).zip(&plan.bound.input_elements) {
            check_data(port, input.extent(), elements)?;
        }
        if outputs.len() != root.outputs.len() {
            let (expected, found) = (root.outputs.len(), outputs.len());
            return Err(RunError::Count { what: "outputs", expected, found });
        }
        for ((port, output), &elements) in root.outputs.iter().zip(outputs).zip(&plan.bound.output_elements) {
            check_data(port, output.extent(), elements)?;
        }
        Ok(())
    }

    /// A run that is ready to be started: what is passed is where its launches read it.
    pub(crate) fn prepared(
        self: &Arc<Core>,
        inputs: &[Input<'_>],
        outputs: &[Output<'_>],
    ) -> Result<Run, RunError> {
        let shapes: Vec<&[u64]> = inputs.iter().map(Input::shape).collect();
        let is_resident = inputs.iter().map(|input| matches!(input, Input::Resident { .. }));
        let is_elsewhere = is_resident.chain(outputs.iter().map(|o| matches!(o, Output::Resident(_))));
        let mut is_elsewhere: Vec<bool> = is_elsewhere.collect();
        if !is_elsewhere.contains(&true) {
            is_elsewhere.clear();
        }
        let plan = self.plan(&shapes, is_elsewhere)?;
        self.check(&plan, inputs, outputs)?;
        let taken = {
            let mut memories = lock(&self.memories);
            let fits = memories.iter().position(|memory| memory.bytes >= plan.bytes);
            // In order, so that runs that come again find theirs.
            fits.map(|at| memories.remove(at))
        };
        let device = &self.backend.device;
        let mut memory = match taken {
            Some(memory) => memory,
            None => device.allocate(plan.bytes).map_err(failed)?,
        };
        self.peak.fetch_max(plan.bytes - plan.arena, Ordering::Relaxed);
        let start = device.address(&memory);
        let mut addresses = Addresses { start, inputs: Vec::new(), outputs: Vec::new() };
        let (mut taken, mut residents) = (Vec::new(), Vec::new());
        for (input, (offset, bytes)) in inputs.iter().zip(&plan.inputs) {
            addresses.inputs.push(match input {
                Input::Passed(tensor) => {
                    device.upload(bytes_of(&tensor.data), &mut memory, *offset).map_err(failed)?;
                    start + offset..start + offset + bytes
                }
                Input::Resident { memory, .. } => {
                    let memory = CudaMemory::of(*memory)?;
                    residents.push(memory.shared());
                    taken.push((memory.addresses(), false));
                    memory.addresses()
                }
            });
        }
        for (output, (offset, bytes)) in outputs.iter().zip(&plan.outputs) {
            addresses.outputs.push(match output {
                Output::Passed(_) => start + offset..start + offset + bytes,
                Output::Resident(memory) => {
                    let memory = CudaMemory::of(&**memory)?;
                    residents.push(memory.shared());
                    taken.push((memory.addresses(), true));
                    memory.addresses()
                }
            });
        }
        check_apart(taken)?;
        Ok(Run { core: self.clone(), plan, memory, addresses, residents })
    }

    /// Tells who wants to know that a run begins, in which earlier runs of a sequence read such memory.
    pub(crate) fn announce(&self, plan: &Plan, at: &Addresses, read_before: &[Range<u64>]) {
        let Some(observer) = &self.backend.observer else { return };
        let fresh = |place: &Range<u64>| Expected {
            address: place.start,
            bytes: place.end - place.start,
            fresh: true,
        };
        let is_read = |place: &&Range<u64>| {
            read_before.iter().any(|read| read.start < place.end && place.start < read.end)
        };
        let arena = at.start + plan.arena..at.start + plan.arena + plan.bound.arena_bytes;
        let outputs = at.outputs.iter().filter(|place| !is_read(place)).map(fresh);
        observer.before_run(&outputs.chain([fresh(&arena)]).collect::<Vec<Expected>>());
    }

    pub(crate) fn status_bytes(&self) -> u64 {
        4 * self.program.kernels.len() as u64
    }

    pub(crate) fn launch(
        &self,
        stream: &Arc<CudaStream>,
        plan: &Plan,
        at: &Addresses,
        entry: &Entry,
    ) -> Result<(), RunError> {
        let (kernel, start) = (self.kernel(entry), at.start);
        let place = |location: &Location| match location {
            Location::Input(n) => at.inputs[*n as usize].start,
            Location::Output(n) => at.outputs[*n as usize].start,
            Location::Arena(offset) => start + plan.arena + offset,
        };
        let buffers: Vec<u64> = entry.buffers.iter().map(place).collect();
        let Blocks { teams, size } = self.blocks(entry);
        let scratch_bytes = self.scratch_bytes(entry).unwrap_or(0);
        let loaded = &self.kernels[entry.kernel.0 as usize];
        let blocks = teams * size;
        let arrived = start + plan.arrived;
        let arguments = Arguments {
            buffers: &buffers,
            dims: &entry.dims,
            points: entry.points as i64,
            scratch: start + plan.scratch,
            scratch_bytes: scratch_bytes as i64,
            status: start + plan.status + 4 * u64::from(entry.kernel.0),
            team: (loaded.crew.point != Point::Block).then_some(Team { size: size as u32, arrived }),
        };
        if let Some(observer) = &self.backend.observer {
            let mut touched = Vec::new();
            for buffer in &kernel.buffers {
                if let Place::Argument(n) = buffer.place {
                    let elements = buffer.elements.value(&entry.dims).max(0) as u64;
                    let (address, bytes) = (buffers[n as usize], elements * element_bytes(buffer.dtype));
                    // A kernel may write a part of a buffer: what is in the rest stays.
                    touched.push(Expected { address, bytes, fresh: false });
                }
            }
            let own = teams * scratch_bytes;
            touched.push(Expected { address: arguments.scratch, bytes: own, fresh: true });
            touched.push(Expected { address: arguments.status, bytes: 4, fresh: false });
            touched.push(Expected { address: arrived, bytes: 4 * MOST_BLOCKS, fresh: false });
            observer.before_launch(&kernel.name, &touched);
        }
        // SAFETY: `bind` gives each buffer as many elements as the kernel addresses, inputs and outputs were checked to
        // have as many, and the memory of the run has room for all.
        let launched = unsafe { self.backend.device.launch(stream, loaded, blocks as u32, &arguments) };
        launched.map_err(|error| RunError::Device { message: format!("kernel `{}`: {error}", kernel.name) })
    }
}

/// The most points that threads of a block number in 32 bits.
fn most_points(statements: &[Statement], dims: &[i64]) -> u64 {
    let extent = |extent: &Extent| match extent {
        Extent::Whole(dim) => dim.value(dims).max(0) as u64,
        Extent::Tile { whole, tile, .. } => (whole.value(dims).max(0) as u64).min(*tile),
    };
    let count = |loops: &[Loop]| loops.iter().map(|l| extent(&l.extent)).fold(1, u64::saturating_mul);
    let of = |statement: &Statement| match statement {
        Statement::Loop { body, .. } => most_points(body, dims),
        Statement::Map { loops, .. }
        | Statement::ScatterAdd { loops, .. }
        | Statement::Cumulative { loops, .. } => count(loops),
        Statement::Reduce { loops, over, .. } => count(loops).max(count(over)),
        Statement::Product { .. } => 0,
    };
    statements.iter().map(of).max().unwrap_or(0)
}

fn check_data(port: &Port, (dtype, found): (DType, u64), elements: u64) -> Result<(), RunError> {
    let (name, expected) = (port.name, port.ty.dtype);
    if dtype != expected {
        return Err(RunError::DType { name, expected, found: dtype });
    }
    if found != elements {
        return Err(RunError::Length { name, expected: elements, found });
    }
    Ok(())
}

/// Refuses outputs, those with `true`, that share bytes of the device with other outputs or with inputs.
fn check_apart(mut taken: Vec<(Range<u64>, bool)>) -> Result<(), RunError> {
    taken.retain(|(bytes, _)| !bytes.is_empty());
    taken.sort_by_key(|(bytes, _)| bytes.start);
    // The furthest end so far, of anything and of outputs.
    let (mut end, mut end_of_outputs) = (0, 0);
    for (bytes, is_output) in taken {
        if bytes.start < if is_output { end } else { end_of_outputs } {
            let message = "an output shares memory with another output or an input".to_string();
            return Err(RunError::Device { message });
        }
        end = end.max(bytes.end);
        if is_output {
            end_of_outputs = end_of_outputs.max(bytes.end);
        }
    }
    Ok(())
}

impl Executable for CudaExecutable {
    fn inputs(&self) -> &[Port] {
        &self.0.root().inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.0.root().outputs
    }

    fn output_shapes(&self, input_shapes: &[&[u64]]) -> Result<Vec<Vec<u64>>, RunError> {
        Ok(self.0.plan(input_shapes, Vec::new())?.bound.output_sizes.clone())
    }

    fn run(&self, inputs: &[Tensor<'_>], outputs: &mut [DataMut<'_>]) -> Result<(), RunError> {
        let inputs: Vec<Input<'_>> = inputs.iter().copied().map(Input::Passed).collect();
        let mut outputs: Vec<Output<'_>> =
            outputs.iter_mut().map(|output| Output::Passed(output.again())).collect();
        self.run_resident(&inputs, &mut outputs)
    }

    fn is_elsewhere(&self) -> bool {
        true
    }

    fn resident(&self, dtype: DType, elements: u64) -> Result<Box<dyn Resident>, RunError> {
        Ok(Box::new(CudaMemory::new(&self.0.backend.device, dtype, elements)?))
    }

    fn run_resident(&self, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<(), RunError> {
        let mut run = self.0.prepared(inputs, outputs)?;
        let device = &self.0.backend.device;
        let started = self.0.graphs.start(device, std::slice::from_mut(&mut run));
        let result = started
            .and_then(|()| device.wait().map_err(failed))
            .and_then(|()| run.check())
            .and_then(|()| run.fetch(outputs));
        run.end();
        result
    }

    fn sequence(&self) -> Box<dyn Sequence> {
        Box::new(CudaSequence::new(&self.0.backend.device))
    }

    fn add(
        &self,
        sequence: &mut dyn Sequence,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), RunError> {
        CudaSequence::of(sequence)?.add(&self.0, inputs, outputs)
    }

    fn peak_bytes(&self) -> u64 {
        self.0.peak.load(Ordering::Relaxed)
    }
}
