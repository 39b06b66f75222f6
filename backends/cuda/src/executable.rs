//! Compiled programs on a CUDA device: a flat list of launches over one piece of memory.
//!
//! Invariant: a run decides nothing but the addresses; everything of a run lies in one allocation (inputs, outputs, the
//! arena, memory of grid points, status words), which is kept for the next one, but for the inputs and outputs that stay on
//! the device between runs ([`CudaMemory`]).

use crate::codegen::{Point, STATUS_DIVISION, STATUS_INDEX, useful_blocks};
use crate::device::{
    Arguments, Device, DeviceError, DeviceMemory, Driver, Loaded, Started, Team, Transferred,
};
use crate::graphs::{Addresses, Graphs};
use crate::memory::{CudaMemory, bytes_of, bytes_of_mut, failed};
use carousel_core::backend::{Backend, CompileError, DataMut, Executable, RunError, Tensor};
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
const MOST_BLOCKS: u64 = 1024;
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
    device: Arc<Device>,
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
        Ok(CudaExecutable {
            program,
            kernels,
            backend: self.clone(),
            bounds: Mutex::default(),
            memories: Mutex::default(),
            peak: AtomicU64::new(0),
        })
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
struct Plan {
    bound: Bound,
    /// Offsets of inputs and outputs in the memory of a run, and their bytes; 0 of both for those that are elsewhere.
    inputs: Vec<(u64, u64)>,
    outputs: Vec<(u64, u64)>,
    arena: u64,
    scratch: u64,
    status: u64,
    /// Words on which teams of blocks count themselves.
    arrived: u64,
    bytes: u64,
    graphs: Graphs,
}

/// A compiled program.
pub struct CudaExecutable {
    program: Program,
    // Before the kernels: what was recorded of them goes first.
    bounds: Mutex<HashMap<Key, Arc<Plan>>>,
    kernels: Vec<Loaded>,
    backend: CudaBackend,
    memories: Mutex<Vec<DeviceMemory>>,
    peak: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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

    /// The program that was compiled.
    pub fn program(&self) -> &Program {
        &self.program
    }

    fn root(&self) -> &Routine {
        &self.program.routines[self.program.routines.len() - 1]
    }

    fn kernel(&self, entry: &Entry) -> &Kernel {
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
        let plan = Arc::new(Plan {
            bound,
            inputs,
            outputs,
            arena,
            scratch,
            status,
            arrived,
            bytes: end,
            graphs: Graphs::default(),
        });
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

    fn run_in(
        &self,
        plan: &Plan,
        memory: &mut DeviceMemory,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), RunError> {
        let device = &self.backend.device;
        let start = device.address(memory);
        let mut addresses = Addresses { start, inputs: Vec::new(), outputs: Vec::new() };
        let mut taken = Vec::new();
        for (input, (offset, _)) in inputs.iter().zip(&plan.inputs) {
            addresses.inputs.push(match input {
                Input::Passed(tensor) => {
                    device.upload(bytes_of(&tensor.data), memory, *offset).map_err(failed)?;
                    start + offset
                }
                Input::Resident { memory, .. } => {
                    let there = CudaMemory::of(*memory)?.addresses();
                    taken.push((there.clone(), false));
                    there.start
                }
            });
        }
        for (output, (offset, _)) in outputs.iter().zip(&plan.outputs) {
            addresses.outputs.push(match output {
                Output::Passed(_) => start + offset,
                Output::Resident(memory) => {
                    let there = CudaMemory::of(&**memory)?.addresses();
                    taken.push((there.clone(), true));
                    there.start
                }
            });
        }
        check_apart(taken)?;
        let status_bytes = 4 * self.program.kernels.len() as u64;
        if let Some(observer) = &self.backend.observer {
            let fresh = |address: u64, bytes: u64| Expected { address, bytes, fresh: true };
            let sizes = self.root().outputs.iter().zip(&plan.bound.output_elements);
            let sizes = sizes.map(|(port, elements)| elements * element_bytes(port.ty.dtype));
            let outputs = addresses.outputs.iter().zip(sizes).map(|(address, bytes)| fresh(*address, bytes));
            let arena = fresh(start + plan.arena, plan.bound.arena_bytes);
            observer.before_run(&outputs.chain([arena]).collect::<Vec<Expected>>());
        }
        plan.graphs.start(device, addresses, |stream, addresses| {
            device.zero(stream, memory, plan.status, status_bytes).map_err(failed)?;
            for entry in plan.bound.entries.iter().filter(|entry| entry.points > 0) {
                if self.kernels[entry.kernel.0 as usize].crew.point != Point::Block {
                    device.zero(stream, memory, plan.arrived, 4 * MOST_BLOCKS).map_err(failed)?;
                }
                self.launch(stream, plan, addresses, entry)?;
            }
            Ok(())
        })?;
        device.wait().map_err(failed)?;
        let mut status = vec![0u8; status_bytes as usize];
        device.download(memory, plan.status, &mut status).map_err(failed)?;
        for entry in &plan.bound.entries {
            let at = 4 * entry.kernel.0 as usize;
            let word = u32::from_le_bytes([status[at], status[at + 1], status[at + 2], status[at + 3]]);
            let kernel = self.kernel(entry).name.clone();
            if word & STATUS_DIVISION != 0 {
                return Err(RunError::Division { kernel });
            }
            if word & STATUS_INDEX != 0 {
                return Err(RunError::Index { kernel });
            }
        }
        for (output, (offset, _)) in outputs.iter_mut().zip(&plan.outputs) {
            if let Output::Passed(output) = output {
                device.download(memory, *offset, bytes_of_mut(output)).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn launch(
        &self,
        stream: &Arc<CudaStream>,
        plan: &Plan,
        at: &Addresses,
        entry: &Entry,
    ) -> Result<(), RunError> {
        let (kernel, start) = (self.kernel(entry), at.start);
        let place = |location: &Location| match location {
            Location::Input(n) => at.inputs[*n as usize],
            Location::Output(n) => at.outputs[*n as usize],
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
        &self.root().inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.root().outputs
    }

    fn output_shapes(&self, input_shapes: &[&[u64]]) -> Result<Vec<Vec<u64>>, RunError> {
        Ok(self.plan(input_shapes, Vec::new())?.bound.output_sizes.clone())
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
        Ok(Box::new(CudaMemory::new(&self.backend.device, dtype, elements)?))
    }

    fn run_resident(&self, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<(), RunError> {
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
            fits.map(|at| memories.swap_remove(at))
        };
        let mut memory = match taken {
            Some(memory) => memory,
            None => self.backend.device.allocate(plan.bytes).map_err(failed)?,
        };
        let beside = plan.bytes - plan.arena;
        self.peak.fetch_max(beside, Ordering::Relaxed);
        let result = self.run_in(&plan, &mut memory, inputs, outputs);
        lock(&self.memories).push(memory);
        result
    }

    fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}
