//! Compiled programs on the CPU: a flat list of calls of machine code.
//!
//! Invariant: a run decides nothing but which thread does which grid points, and results do not depend on that; nothing
//! is interpreted. Memory between kernels comes from workspaces that are kept, so that a run on one thread allocates nothing
//! once the shapes are known, and runs of one executable may overlap.

use crate::codegen::{HEADER_BYTES, STATUS_DIVISION};
use crate::jit::{self, Code, Compiled};
use crate::memory::{Addresses, Workspace};
use carousel_core::backend::{Backend, CompileError, Data, DataMut, Executable, RunError, Tensor};
use carousel_core::bind;
use carousel_core::program::{Bound, Entry, Location, Port, Program};
use carousel_ir::{DType, Name};
use rayon::ThreadPool;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Kernels with less work than this run on one thread: a parallel region costs about two microseconds.
const WORTH_THREADS: u64 = 24 << 10;
/// Pieces of a kernel for each thread, so that one that was held up does not hold up all.
const PIECES: u64 = 4;

/// The CPU target.
#[derive(Clone)]
pub struct CpuBackend {
    threads: usize,
    pool: Option<Arc<ThreadPool>>,
}

impl CpuBackend {
    /// A target that uses that many threads (at least one).
    pub fn new(threads: usize) -> CpuBackend {
        let threads = threads.max(1);
        let pool = (threads > 1)
            .then(|| rayon::ThreadPoolBuilder::new().num_threads(threads).build().ok())
            .flatten()
            .map(Arc::new);
        CpuBackend { threads: if pool.is_some() { threads } else { 1 }, pool }
    }

    /// Compiles the last routine of the program, its root.
    pub fn executable(&self, program: Program) -> Result<CpuExecutable, CompileError> {
        if program.routines.is_empty() {
            return Err(CompileError { message: "the program is empty".to_string() });
        }
        let code = jit::compile(&program.kernels, self.threads)?;
        Ok(CpuExecutable {
            program,
            code,
            backend: self.clone(),
            bounds: Mutex::default(),
            workspaces: Mutex::default(),
            peak: AtomicU64::new(0),
        })
    }
}

impl Backend for CpuBackend {
    fn compile(&self, program: Program) -> Result<Box<dyn Executable>, CompileError> {
        Ok(Box::new(self.executable(program)?))
    }
}

/// Programs for shapes, by the hash of the shapes: a look-up makes no copy of them.
type Bounds = HashMap<u64, Vec<(Vec<Vec<u64>>, Arc<Bound>)>>;

/// A compiled program.
pub struct CpuExecutable {
    program: Program,
    code: Code,
    backend: CpuBackend,
    bounds: Mutex<Bounds>,
    workspaces: Mutex<Vec<Workspace>>,
    peak: AtomicU64,
}

/// How long a kernel took in a run, over all its launches.
#[derive(Clone, PartialEq, Debug)]
pub struct KernelProfile {
    /// The kernel's name.
    pub name: String,
    /// How often it was launched.
    pub launches: u64,
    /// Grid points of all launches.
    pub points: u64,
    /// Seconds of wall time.
    pub seconds: f64,
}

/// Addresses that threads share while a kernel runs.
struct Shared<'a> {
    buffers: &'a [*mut u8],
    scratch: &'a [*mut u8],
    status: &'a AtomicU32,
}

// SAFETY: kernels write distinct elements from distinct grid points, each thread has scratch of its own, and the status
// word is only ever set, by whole-word stores.
unsafe impl Sync for Shared<'_> {}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What these hold is valid at any time, even if a thread panicked meanwhile.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CpuExecutable {
    /// Bytes of machine code.
    pub fn code_bytes(&self) -> u64 {
        self.kernel_code_bytes().iter().sum()
    }

    /// Bytes of machine code of each kernel of the program.
    pub fn kernel_code_bytes(&self) -> Vec<u64> {
        self.code.kernels().iter().map(|kernel| kernel.code_bytes).collect()
    }

    /// The program that was compiled.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Runs and tells how long each kernel took, the slowest first.
    pub fn run_profiled(
        &self,
        inputs: &[Tensor<'_>],
        outputs: &mut [DataMut<'_>],
    ) -> Result<Vec<KernelProfile>, RunError> {
        let mut profile: HashMap<usize, KernelProfile> = HashMap::new();
        self.run_with(inputs, outputs, &mut |entry, seconds| {
            let kernel = entry.kernel.0 as usize;
            let row = profile.entry(kernel).or_insert_with(|| KernelProfile {
                name: self.program.kernels[kernel].name.clone(),
                launches: 0,
                points: 0,
                seconds: 0.0,
            });
            row.launches += 1;
            row.points += entry.points;
            row.seconds += seconds;
        })?;
        let mut rows: Vec<KernelProfile> = profile.into_values().collect();
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Ok(rows)
    }

    /// The program for inputs of these shapes.
    fn bound<'s>(
        &self,
        shapes: impl ExactSizeIterator<Item = &'s [u64]> + Clone,
    ) -> Result<Arc<Bound>, RunError> {
        let mut hasher = DefaultHasher::new();
        shapes.clone().for_each(|shape| shape.hash(&mut hasher));
        let key = hasher.finish();
        let known = lock(&self.bounds);
        let candidates = known.get(&key).into_iter().flatten();
        let is_same = |known: &[Vec<u64>]| {
            known.len() == shapes.len() && known.iter().zip(shapes.clone()).all(|(a, b)| a == b)
        };
        if let Some((_, bound)) = candidates.into_iter().find(|(known, _)| is_same(known)) {
            return Ok(bound.clone());
        }
        drop(known);
        let shapes: Vec<&[u64]> = shapes.collect();
        let bound = Arc::new(bind(&self.program, &shapes)?);
        let shapes = shapes.iter().map(|shape| shape.to_vec()).collect();
        lock(&self.bounds).entry(key).or_default().push((shapes, bound.clone()));
        Ok(bound)
    }

    fn root(&self) -> &carousel_core::program::Routine {
        &self.program.routines[self.program.routines.len() - 1]
    }

    fn check(&self, bound: &Bound, inputs: &[Tensor<'_>], outputs: &[DataMut<'_>]) -> Result<(), RunError> {
        let root = self.root();
        for ((port, tensor), &elements) in root.inputs.iter().zip(inputs).zip(&bound.input_elements) {
            check_data(port, tensor.data, elements)?;
        }
        if outputs.len() != root.outputs.len() {
            return Err(RunError::Count {
                what: "outputs",
                expected: root.outputs.len(),
                found: outputs.len(),
            });
        }
        for ((port, output), &elements) in root.outputs.iter().zip(outputs).zip(&bound.output_elements) {
            check_data(port, output.as_data(), elements)?;
        }
        Ok(())
    }

    fn run_with(
        &self,
        inputs: &[Tensor<'_>],
        outputs: &mut [DataMut<'_>],
        observe: &mut (dyn FnMut(&Entry, f64) + Send),
    ) -> Result<(), RunError> {
        let bound = self.bound(inputs.iter().map(|tensor| tensor.shape))?;
        self.check(&bound, inputs, outputs)?;
        let taken = lock(&self.workspaces).pop();
        let mut workspace = taken.unwrap_or_else(|| Workspace::new(self.backend.threads));
        let result = self.run_in(&bound, inputs, outputs, &mut workspace, observe);
        self.peak.fetch_max(workspace.bytes(), Ordering::Relaxed);
        lock(&self.workspaces).push(workspace);
        result
    }

    fn run_in(
        &self,
        bound: &Bound,
        inputs: &[Tensor<'_>],
        outputs: &mut [DataMut<'_>],
        workspace: &mut Workspace,
        observe: &mut (dyn FnMut(&Entry, f64) + Send),
    ) -> Result<(), RunError> {
        let scratch = bound.entries.iter().map(|entry| self.scratch_bytes(entry)).max().unwrap_or(0);
        let blocks = workspace.scratch.iter_mut().map(|block| (block, scratch));
        for (block, bytes) in blocks.chain([(&mut workspace.arena, bound.arena_bytes)]) {
            if !block.reserve(bytes) {
                return Err(RunError::TooLarge { bytes: Some(bytes) });
            }
        }
        let [ins, outs, scratch, arguments] = &mut workspace.addresses;
        ins.set(inputs.iter().map(|tensor| tensor.data.as_ptr().cast_mut()));
        outs.set(outputs.iter_mut().map(DataMut::as_mut_ptr));
        scratch.set(workspace.scratch.iter().map(crate::memory::Block::start));
        let launch = Launch {
            executable: self,
            bound,
            inputs: ins.get(),
            outputs: outs.get(),
            arena: workspace.arena.start(),
            scratch: scratch.get(),
        };
        match &self.backend.pool {
            Some(pool) => pool.install(|| launch.all(arguments, observe)),
            None => launch.all(arguments, observe),
        }
    }

    fn compiled(&self, entry: &Entry) -> Compiled {
        self.code.kernels()[entry.kernel.0 as usize]
    }

    fn scratch_bytes(&self, entry: &Entry) -> u64 {
        let own = entry.scratch_bytes.saturating_add(63) & !63;
        own.saturating_add(HEADER_BYTES + self.compiled(entry).temporaries_bytes)
    }
}

/// A run with all addresses settled.
struct Launch<'a> {
    executable: &'a CpuExecutable,
    bound: &'a Bound,
    inputs: &'a [*mut u8],
    outputs: &'a [*mut u8],
    arena: *mut u8,
    scratch: &'a [*mut u8],
}

// SAFETY: whoever has the launch has the inputs, the outputs and the workspace for its time.
unsafe impl Send for Launch<'_> {}
// SAFETY: as above; kernels are only started from one thread at a time.
unsafe impl Sync for Launch<'_> {}

impl Launch<'_> {
    /// All entries, one after the other.
    fn all(
        &self,
        arguments: &mut Addresses,
        observe: &mut (dyn FnMut(&Entry, f64) + Send),
    ) -> Result<(), RunError> {
        let status = AtomicU32::new(0);
        for entry in &self.bound.entries {
            let start = Instant::now();
            arguments.set(entry.buffers.iter().map(|location| self.address(*location)));
            self.entry(entry, &Shared { buffers: arguments.get(), scratch: self.scratch, status: &status });
            let bits = status.load(Ordering::Relaxed);
            if bits != 0 {
                let kernel = self.executable.program.kernels[entry.kernel.0 as usize].name.clone();
                let division = i64::from(bits) == STATUS_DIVISION;
                return Err(if division {
                    RunError::Division { kernel }
                } else {
                    RunError::Index { kernel }
                });
            }
            observe(entry, start.elapsed().as_secs_f64());
        }
        Ok(())
    }

    fn address(&self, location: Location) -> *mut u8 {
        match location {
            Location::Input(n) => self.inputs[n as usize],
            Location::Output(n) => self.outputs[n as usize],
            // SAFETY: the arena has `arena_bytes`, which is beyond every buffer in it.
            Location::Arena(offset) => unsafe { self.arena.add(offset as usize) },
        }
    }

    /// One entry, by as many threads as pay.
    fn entry(&self, entry: &Entry, shared: &Shared<'_>) {
        let kernel = self.executable.compiled(entry);
        let threads = (self.executable.backend.threads as u64).min(entry.points);
        if threads <= 1 || entry.work < WORTH_THREADS {
            run_points(kernel, entry, shared, 0, 0, entry.points);
            return;
        }
        let piece = entry.points.div_ceil(threads * PIECES);
        let next = AtomicU64::new(0);
        let work = |thread: usize| {
            loop {
                let begin = next.fetch_add(piece, Ordering::Relaxed);
                if begin >= entry.points {
                    return;
                }
                run_points(kernel, entry, shared, thread, begin, (begin + piece).min(entry.points));
            }
        };
        let work = &work;
        rayon::scope(|scope| {
            for thread in 1..threads as usize {
                scope.spawn(move |_| work(thread));
            }
            work(0);
        });
    }
}

fn run_points(kernel: Compiled, entry: &Entry, shared: &Shared<'_>, thread: usize, begin: u64, end: u64) {
    // SAFETY: the kernel was compiled for these buffers: `bind` gives each as many elements as the kernel addresses,
    // inputs and outputs were checked to have as many, and the scratch block was made large enough.
    unsafe {
        (kernel.function)(
            shared.buffers.as_ptr(),
            entry.dims.as_ptr(),
            begin as i64,
            end as i64,
            shared.scratch[thread],
            shared.status.as_ptr(),
        );
    }
}

fn check_data(port: &Port, data: Data<'_>, elements: u64) -> Result<(), RunError> {
    let (name, expected): (Name, DType) = (port.name, port.ty.dtype);
    if data.dtype() != expected {
        return Err(RunError::DType { name, expected, found: data.dtype() });
    }
    if data.elements() != elements {
        return Err(RunError::Length { name, expected: elements, found: data.elements() });
    }
    Ok(())
}

impl Executable for CpuExecutable {
    fn inputs(&self) -> &[Port] {
        &self.root().inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.root().outputs
    }

    fn output_shapes(&self, input_shapes: &[&[u64]]) -> Result<Vec<Vec<u64>>, RunError> {
        Ok(self.bound(input_shapes.iter().copied())?.output_sizes.clone())
    }

    fn run(&self, inputs: &[Tensor<'_>], outputs: &mut [DataMut<'_>]) -> Result<(), RunError> {
        self.run_with(inputs, outputs, &mut |_, _| {})
    }

    fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}
