//! The driver and the device behind it.

use crate::codegen::{self, Crew, Point};
use crate::{compiler, toolchain};
use carousel_core::backend::{CompileError, RunError};
use carousel_core::kernel::Kernel;
use cudarc::driver::{
    CudaContext, CudaFunction, CudaGraph, CudaSlice, CudaStream, DevicePtr, LaunchConfig, PushKernelArg,
    result, sys,
};
use cudarc::nvrtc::Ptx;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Which driver is used. It is chosen once for a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Driver {
    /// The system's.
    System,
    /// A library with the driver's interface, such as an emulated device.
    Library(PathBuf),
}

/// The device cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is no driver.
    #[error(
        "there is no CUDA driver here: `libcuda.so` was not found. Without a GPU, --emulate runs an emulated device"
    )]
    NoDriver,
    /// The driver's library cannot be loaded.
    #[error("{path} cannot be loaded: {message}")]
    Broken {
        /// The library.
        path: String,
        /// What the system says.
        message: String,
    },
    /// Another driver was chosen before.
    #[error("another CUDA driver is in use in this process")]
    AnotherDriver,
    /// The driver refuses.
    #[error("the CUDA driver: {0}")]
    Refused(String),
}

pub(crate) fn refused(error: cudarc::driver::DriverError) -> DeviceError {
    DeviceError::Refused(format!("{error:?}"))
}

/// A device with the stream on which everything is done in order.
pub(crate) struct Device {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// How many multiprocessors it has.
    multiprocessors: u64,
    /// Where launches are recorded, by one thread at a time; nothing is ever done in it.
    recorder: Mutex<Option<Arc<CudaStream>>>,
    to_device: AtomicU64,
    from_device: AtomicU64,
    kernels: AtomicU64,
    graphs: AtomicU64,
}

/// Bytes between the host and a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Transferred {
    /// From the host.
    pub to_device: u64,
    /// To the host.
    pub from_device: u64,
}

/// Work that the host has started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Started {
    /// Kernels, one by one.
    pub kernels: u64,
    /// Graphs: the kernels of a run that was recorded before.
    pub graphs: u64,
}

/// A kernel that is ready to be launched.
pub(crate) struct Loaded {
    function: CudaFunction,
    /// Who does its points.
    pub(crate) crew: Crew,
    /// How many of its blocks run at the same time, if they wait for each other.
    pub(crate) together: u64,
}

/// Memory of the device.
pub(crate) struct DeviceMemory {
    slice: CudaSlice<u8>,
    pub(crate) bytes: u64,
}

/// Launches that were recorded, to be started together.
pub(crate) struct Graph(CudaGraph);

// SAFETY: a graph belongs to no thread, and one that is not shared is used by one thread at a time.
unsafe impl Send for Graph {}

impl Device {
    pub(crate) fn open(driver: &Driver) -> Result<Device, DeviceError> {
        static CHOSEN: OnceLock<(Driver, Result<(), DeviceError>)> = OnceLock::new();
        let (chosen, loaded) = CHOSEN.get_or_init(|| (driver.clone(), load(driver)));
        if chosen != driver {
            return Err(DeviceError::AnotherDriver);
        }
        loaded.clone()?;
        let context = CudaContext::new(0).map_err(refused)?;
        // One stream does everything in order: nothing has to be tracked.
        // SAFETY: no memory is used from two streams.
        unsafe { context.disable_event_tracking() };
        let stream = context.default_stream();
        let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let multiprocessors = context.attribute(attribute).map_err(refused)?;
        Ok(Device {
            context,
            stream,
            multiprocessors: u64::try_from(multiprocessors).unwrap_or(0),
            recorder: Mutex::default(),
            to_device: AtomicU64::new(0),
            from_device: AtomicU64::new(0),
            kernels: AtomicU64::new(0),
            graphs: AtomicU64::new(0),
        })
    }

    pub(crate) fn transferred(&self) -> Transferred {
        let of = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        Transferred { to_device: of(&self.to_device), from_device: of(&self.from_device) }
    }

    pub(crate) fn started(&self) -> Started {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Started { kernels: of(&self.kernels), graphs: of(&self.graphs) }
    }

    /// The stream in which things are done.
    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Records what is done in a stream, without doing it.
    pub(crate) fn record(
        &self,
        work: impl FnOnce(&Arc<CudaStream>) -> Result<(), RunError>,
    ) -> Result<Graph, RunError> {
        let failed = |error| RunError::Device { message: refused(error).to_string() };
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = match &mut *recorder {
            Some(stream) => stream,
            None => recorder.insert(self.context.new_stream().map_err(failed)?),
        };
        // Other threads go on with theirs.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        stream.begin_capture(mode).map_err(failed)?;
        let done = work(stream);
        let recorded = stream.end_capture(sys::CUgraphInstantiate_flags(0)).map_err(failed);
        done?;
        let nothing = || RunError::Device { message: "the CUDA driver recorded no graph".to_string() };
        recorded?.map(Graph).ok_or_else(nothing)
    }

    /// Starts what was recorded.
    ///
    /// # Safety
    /// What its launches address is memory as it was when they were recorded.
    pub(crate) unsafe fn start(&self, graph: &Graph) -> Result<(), DeviceError> {
        self.graphs.fetch_add(1, Ordering::Relaxed);
        self.context.bind_to_thread().map_err(refused)?;
        // SAFETY: graph and stream belong to this device and are alive; the caller promises the rest.
        unsafe { result::graph::launch(graph.0.cu_graph_exec(), self.stream.cu_stream()) }.map_err(refused)
    }

    /// How many multiprocessors there are.
    pub(crate) fn multiprocessors(&self) -> u64 {
        self.multiprocessors
    }

    pub(crate) fn load(&self, kernel: &Kernel) -> Result<Loaded, CompileError> {
        let compiled = compiler::compiled_for(kernel, self.multiprocessors)?;
        let fail = |error| CompileError { message: format!("kernel `{}`: {}", kernel.name, refused(error)) };
        let module = self.context.load_module(Ptx::from_src(compiled.ptx.as_str())).map_err(fail)?;
        let function = module.load_function(&compiled.function).map_err(fail)?;
        // More than 48 KiB, with what the kernel's functions have, have to be asked for.
        let crew = Crew::of(kernel, self.multiprocessors);
        let shared_bytes = crew.memory.shared_bytes as u32;
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function.set_attribute(attribute, shared_bytes as i32).map_err(fail)?;
        let together = match crew.point {
            Point::Block => 1,
            Point::Team | Point::Share => {
                let blocks = function.occupancy_max_active_blocks_per_multiprocessor(
                    codegen::THREADS,
                    shared_bytes as usize,
                    None,
                );
                u64::from(blocks.map_err(fail)?) * self.multiprocessors
            }
        };
        Ok(Loaded { function, crew, together })
    }

    pub(crate) fn allocate(&self, bytes: u64) -> Result<DeviceMemory, DeviceError> {
        // SAFETY: what is not written is not read: kernels promise that.
        let slice = unsafe { self.stream.alloc::<u8>(bytes.max(1) as usize) }.map_err(refused)?;
        Ok(DeviceMemory { slice, bytes })
    }

    pub(crate) fn address(&self, memory: &DeviceMemory) -> u64 {
        memory.slice.device_ptr(&self.stream).0
    }

    pub(crate) fn upload(&self, bytes: &[u8], to: &mut DeviceMemory, offset: u64) -> Result<(), DeviceError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.to_device.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        self.stream.memcpy_htod(bytes, &mut to.slice.slice_mut(start..end)).map_err(refused)
    }

    pub(crate) fn download(
        &self,
        from: &DeviceMemory,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), DeviceError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.from_device.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        self.stream.memcpy_dtoh(&from.slice.slice(start..end), bytes).map_err(refused)
    }

    pub(crate) fn zero(
        &self,
        stream: &Arc<CudaStream>,
        memory: &mut DeviceMemory,
        offset: u64,
        bytes: u64,
    ) -> Result<(), DeviceError> {
        let (start, end) = (offset as usize, (offset + bytes) as usize);
        stream.memset_zeros(&mut memory.slice.slice_mut(start..end)).map_err(refused)
    }

    pub(crate) fn wait(&self) -> Result<(), DeviceError> {
        self.stream.synchronize().map_err(refused)
    }

    /// Launches a kernel of the code generator in a stream.
    ///
    /// # Safety
    /// The addresses are of memory with as many elements as the kernel addresses.
    pub(crate) unsafe fn launch(
        &self,
        stream: &Arc<CudaStream>,
        kernel: &Loaded,
        blocks: u32,
        arguments: &Arguments<'_>,
    ) -> Result<(), DeviceError> {
        self.kernels.fetch_add(u64::from(Arc::ptr_eq(stream, &self.stream)), Ordering::Relaxed);
        let mut launch = stream.launch_builder(&kernel.function);
        for address in arguments.buffers {
            launch.arg(address);
        }
        for dim in arguments.dims {
            launch.arg(dim);
        }
        launch
            .arg(&arguments.points)
            .arg(&arguments.scratch)
            .arg(&arguments.scratch_bytes)
            .arg(&arguments.status);
        let config = LaunchConfig {
            grid_dim: (blocks, 1, 1),
            block_dim: (codegen::THREADS, 1, 1),
            shared_mem_bytes: kernel.crew.memory.shared_bytes as u32,
        };
        match &arguments.team {
            // SAFETY: the arguments are those of the generated function, in its order; the caller promises the rest.
            None => unsafe { launch.launch(config) },
            Some(team) => {
                launch.arg(&team.size).arg(&team.arrived);
                // SAFETY: as above.
                unsafe { launch.launch_cooperative(config) }
            }
        }
        .map(drop)
        .map_err(refused)
    }
}

/// What a generated function is given.
pub(crate) struct Arguments<'a> {
    pub(crate) buffers: &'a [u64],
    pub(crate) dims: &'a [i64],
    pub(crate) points: i64,
    pub(crate) scratch: u64,
    pub(crate) scratch_bytes: i64,
    pub(crate) status: u64,
    /// If several blocks do a grid point.
    pub(crate) team: Option<Team>,
}

/// Blocks that do a grid point together.
pub(crate) struct Team {
    /// How many.
    pub(crate) size: u32,
    /// Words of zeros, one for each team.
    pub(crate) arrived: u64,
}

fn load(driver: &Driver) -> Result<(), DeviceError> {
    match driver {
        // SAFETY: the driver's initialisers are those of a library that is meant to be loaded.
        Driver::System if unsafe { cudarc::driver::sys::is_culib_present() } => Ok(()),
        Driver::System => Err(DeviceError::NoDriver),
        Driver::Library(path) => toolchain::load_globally(path)
            .map_err(|message| DeviceError::Broken { path: path.display().to_string(), message }),
    }
}
