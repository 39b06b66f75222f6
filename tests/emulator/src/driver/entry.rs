//! The driver's entry points, by its names and conventions.
//!
//! What is not here is not found by who looks it up, and said so by name. Handles are numbers; a handle that was never
//! given out is an invalid value. The safety of each is as the driver's manual says.

use super::{HOST, Status, device, fill, graph, handle, load_module, lock, own_part, part_at};
use crate::machine::{Launch, MOST_SHARED_BYTES, MOST_THREADS, MULTIPROCESSORS, blocks_of_multiprocessor};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

type Pointer = *mut c_void;
type Address = u64;

/// Bytes of memory of the device.
const TOTAL_BYTES: usize = 16 << 30;

/// Stores a result where the caller wants it.
fn give<T>(to: *mut T, value: T) -> Status {
    if to.is_null() {
        return Status::InvalidValue;
    }
    // SAFETY: the driver's conventions: a result pointer that is not null is valid for its type.
    unsafe { to.write(value) };
    Status::Success
}

/// Entry points that succeed without doing anything, as everything is done when a call returns.
macro_rules! nothing_to_do {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $ty:ty),*);)*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            pub(super) extern "C" fn $name($($argument: $ty),*) -> Status {
                $(let _ = $argument;)*
                Status::Success
            }
        )*
    };
}

/// Entry points that do something.
macro_rules! entries {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $ty:ty),*) $body:block)*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            pub(super) unsafe extern "C" fn $name($($argument: $ty),*) -> Status $body
        )*
    };
}

nothing_to_do! {
    /// Starts the driver.
    cuInit(flags: c_uint);
    /// Gives a context back.
    cuDevicePrimaryCtxRelease_v2(device: c_int);
    /// Makes a context the thread's.
    cuCtxSetCurrent(context: Pointer);
    /// Waits for everything.
    cuCtxSynchronize();
    /// Ends a stream.
    cuStreamDestroy_v2(stream: Pointer);
    /// Waits for a stream.
    cuStreamSynchronize(stream: Pointer);
    /// Lets a stream wait.
    cuStreamWaitEvent(stream: Pointer, event: Pointer, flags: c_uint);
    /// Ends an event.
    cuEventDestroy_v2(event: Pointer);
    /// Records an event.
    cuEventRecord(event: Pointer, stream: Pointer);
    /// Waits for an event.
    cuEventSynchronize(event: Pointer);
    /// Whether an event is over.
    cuEventQuery(event: Pointer);
    /// Forgets a module; its kernels stay valid.
    cuModuleUnload(module: Pointer);
}

entries! {
    /// The version of the driver.
    cuDriverGetVersion(version: *mut c_int) { give(version, 13020) }
    /// The device with a number; there is one.
    cuDeviceGet(device: *mut c_int, ordinal: c_int) {
        if ordinal == 0 { give(device, 0) } else { Status::InvalidDevice }
    }
    /// How many devices there are.
    cuDeviceGetCount(count: *mut c_int) { give(count, 1) }
    /// The device's name.
    cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) {
        let text = c"carousel emulated device".to_bytes_with_nul();
        if device != 0 || name.is_null() || (length as usize) < text.len() {
            return Status::InvalidValue;
        }
        // SAFETY: the caller's buffer has `length` bytes, which are enough.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast(), name, text.len()) };
        Status::Success
    }
    /// What the device has, by the driver's numbers.
    cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int) {
        let _ = device;
        give(value, match attribute {
            // Threads of a block, and along each of its axes.
            1..=3 => MOST_THREADS as c_int,
            4 => 64,
            // Blocks along each axis.
            5 => i32::MAX,
            6 | 7 => 65_535,
            // Shared memory of a block without asking for more, and with it; of a multiprocessor.
            8 => 48 << 10,
            97 => MOST_SHARED_BYTES as c_int,
            81 => 228 << 10,
            // Threads of a warp, registers of a block, multiprocessors, threads of one.
            10 => 32,
            12 => 1 << 16,
            16 => MULTIPROCESSORS as c_int,
            39 => 2048,
            // Compute capability.
            75 => 9,
            76 => 0,
            // Cooperative launches.
            95 => 1,
            _ => 0,
        })
    }
    /// Bytes of the device's memory.
    cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) {
        let _ = device;
        give(bytes, TOTAL_BYTES)
    }
    /// The one context.
    cuDevicePrimaryCtxRetain(context: *mut Pointer, device: c_int) {
        if device == 0 { give(context, 0x10 as Pointer) } else { Status::InvalidDevice }
    }
    /// The one context.
    cuCtxGetCurrent(context: *mut Pointer) { give(context, 0x10 as Pointer) }
    /// Free bytes and all.
    cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        give(free, TOTAL_BYTES);
        give(total, TOTAL_BYTES)
    }
    /// A new stream.
    cuStreamCreate(stream: *mut Pointer, flags: c_uint) {
        let _ = flags;
        give(stream, handle() as Pointer)
    }
    /// Whether the thread records what is done in a stream.
    cuStreamIsCapturing(stream: Pointer, capturing: *mut c_int) {
        give(capturing, c_int::from(graph::is_capturing(stream as u64)))
    }
    /// Records what the thread does in a stream from now on, instead of doing it.
    cuStreamBeginCapture_v2(stream: Pointer, mode: c_int) {
        let _ = mode;
        graph::begin(stream as u64)
    }
    /// Ends recording.
    cuStreamEndCapture(stream: Pointer, recorded: *mut Pointer) {
        match graph::end(stream as u64) {
            Ok(number) => give(recorded, number as Pointer),
            Err(status) => status,
        }
    }
    /// A graph that can be launched.
    cuGraphInstantiateWithFlags(executable: *mut Pointer, recorded: Pointer, flags: u64) {
        let _ = flags;
        match graph::instantiate(recorded as u64) {
            Ok(number) => give(executable, number as Pointer),
            Err(status) => status,
        }
    }
    /// Does all that was recorded.
    cuGraphLaunch(executable: Pointer, stream: Pointer) {
        if graph::is_capturing(stream as u64) {
            return Status::CaptureUnsupported;
        }
        graph::run(executable as u64)
    }
    /// Ends a graph.
    cuGraphDestroy(recorded: Pointer) { graph::destroy(recorded as u64) }
    /// Ends a graph that can be launched.
    cuGraphExecDestroy(executable: Pointer) { graph::destroy(executable as u64) }
    /// A new event.
    cuEventCreate(event: *mut Pointer, flags: c_uint) {
        let _ = flags;
        give(event, handle() as Pointer)
    }
    /// New memory.
    cuMemAlloc_v2(address: *mut Address, bytes: usize) {
        if bytes == 0 {
            return Status::InvalidValue;
        }
        if bytes > TOTAL_BYTES {
            return Status::OutOfMemory;
        }
        give(address, lock(&own_part()).allocate(bytes))
    }
    /// Gives memory back.
    cuMemFree_v2(address: Address) {
        let freed = part_at(address).map(|part| lock(&part).free(address));
        if matches!(freed, Some(Ok(()))) { Status::Success } else { Status::InvalidValue }
    }
    /// From the host to the device.
    cuMemcpyHtoD_v2(to: Address, from: *const c_void, bytes: usize) {
        if bytes == 0 {
            return Status::Success;
        }
        if from.is_null() {
            return Status::InvalidValue;
        }
        // SAFETY: the caller's memory has that many bytes.
        let given = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), bytes) };
        let written = part_at(to).map(|part| lock(&part).write(to, given));
        if matches!(written, Some(Ok(()))) { Status::Success } else { Status::InvalidValue }
    }
    /// From the host to the device, in a stream.
    cuMemcpyHtoDAsync_v2(to: Address, from: *const c_void, bytes: usize, stream: Pointer) {
        if graph::is_capturing(stream as u64) {
            return Status::CaptureUnsupported;
        }
        // SAFETY: as for this function.
        unsafe { cuMemcpyHtoD_v2(to, from, bytes) }
    }
    /// From the device to the host.
    cuMemcpyDtoH_v2(to: Pointer, from: Address, bytes: usize) {
        if bytes == 0 {
            return Status::Success;
        }
        let Some(part) = part_at(from) else { return Status::InvalidValue };
        let memory = lock(&part);
        match memory.read(from, bytes) {
            Ok(_) if to.is_null() => Status::InvalidValue,
            Ok(given) => {
                // SAFETY: the caller's memory has that many bytes, and no part of the device's memory is in it.
                unsafe { std::ptr::copy_nonoverlapping(given.as_ptr(), to.cast::<u8>(), bytes) };
                Status::Success
            }
            Err(_) => Status::InvalidValue,
        }
    }
    /// From the device to the host, in a stream.
    cuMemcpyDtoHAsync_v2(to: Pointer, from: Address, bytes: usize, stream: Pointer) {
        if graph::is_capturing(stream as u64) {
            return Status::CaptureUnsupported;
        }
        // SAFETY: as for this function.
        unsafe { cuMemcpyDtoH_v2(to, from, bytes) }
    }
    /// Fills memory with a byte.
    cuMemsetD8_v2(to: Address, value: u8, bytes: usize) {
        fill(to, value, bytes)
    }
    /// Fills memory with a byte, in a stream.
    cuMemsetD8Async(to: Address, value: u8, bytes: usize, stream: Pointer) {
        graph::in_stream(stream as u64, graph::Node::Fill { to, value, bytes })
    }
    /// Loads PTX; machine code of GPUs is not understood.
    cuModuleLoadData(module: *mut Pointer, image: *const c_void) {
        if image.is_null() {
            return Status::InvalidValue;
        }
        // SAFETY: an image is a text with a zero at its end, or begins with the four bytes of machine code.
        let text = unsafe { CStr::from_ptr(image.cast()) };
        if text.to_bytes().starts_with(b"\x7fELF") {
            return Status::NoBinary;
        }
        match text.to_str().map_err(|_| Status::InvalidPtx).and_then(load_module) {
            Ok(number) => give(module, number as Pointer),
            Err(status) => status,
        }
    }
    /// A kernel of a module.
    cuModuleGetFunction(function: *mut Pointer, module: Pointer, name: *const c_char) {
        if name.is_null() {
            return Status::InvalidValue;
        }
        // SAFETY: names end with a zero.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let modules = lock(&device().modules);
        let Some(module) = modules.get(&(module as u64)) else { return Status::InvalidValue };
        let Some(kernel) = module.kernel(&name) else { return Status::NotFound };
        let number = handle();
        lock(&device().kernels).insert(number, kernel.clone());
        give(function, number as Pointer)
    }
    /// Asks for more shared memory: what a launch may have is checked when it is launched.
    cuFuncSetAttribute(function: Pointer, attribute: c_int, value: c_int) {
        let _ = function;
        let too_much = attribute == 8 && value > MOST_SHARED_BYTES as c_int;
        if too_much { Status::InvalidValue } else { Status::Success }
    }
    /// How many blocks of a kernel run on a multiprocessor.
    cuOccupancyMaxActiveBlocksPerMultiprocessor(count: *mut c_int, function: Pointer, threads: c_int, shared: usize) {
        let kernels = lock(&device().kernels);
        let Some(kernel) = kernels.get(&(function as u64)) else { return Status::InvalidValue };
        let shared = kernel.program().shared_bytes + shared;
        give(count, blocks_of_multiprocessor(threads as u32, shared) as c_int)
    }
    /// The same, with flags that change nothing here.
    cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        count: *mut c_int, function: Pointer, threads: c_int, shared: usize, flags: c_uint
    ) {
        let _ = flags;
        // SAFETY: as for this function.
        unsafe { cuOccupancyMaxActiveBlocksPerMultiprocessor(count, function, threads, shared) }
    }
    /// Runs a kernel.
    cuLaunchKernel(
        function: Pointer, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint, bz: c_uint, shared: c_uint,
        stream: Pointer, parameters: *mut Pointer, extra: *mut Pointer
    ) {
        let _ = extra;
        let launch = Launch { grid: [gx, gy, gz], block: [bx, by, bz], shared_bytes: shared as usize, ..Launch::default() };
        // SAFETY: as the caller of this function promises.
        unsafe { start(function, launch, parameters, stream) }
    }
    /// Runs a kernel whose blocks may wait for each other.
    cuLaunchCooperativeKernel(
        function: Pointer, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint, bz: c_uint, shared: c_uint,
        stream: Pointer, parameters: *mut Pointer
    ) {
        let launch = Launch {
            grid: [gx, gy, gz], block: [bx, by, bz], shared_bytes: shared as usize, cooperative: true, ..Launch::default()
        };
        // SAFETY: as the caller of this function promises.
        unsafe { start(function, launch, parameters, stream) }
    }
    /// The name of a result code.
    cuGetErrorName(code: c_int, name: *mut *const c_char) { give(name, Status::name(code).as_ptr()) }
    /// The name of a result code.
    cuGetErrorString(code: c_int, text: *mut *const c_char) {
        give(text, Status::name(code).as_ptr())
    }
}

/// Runs a kernel in a stream with the parameters that an array of pointers points to.
///
/// # Safety
/// `parameters` points to as many valid pointers as the kernel has parameters, each to as many bytes as it has.
unsafe fn start(function: Pointer, mut how: Launch, parameters: *mut Pointer, stream: Pointer) -> Status {
    let kernel = lock(&device().kernels).get(&(function as u64)).cloned();
    let Some(kernel) = kernel else { return Status::InvalidValue };
    let mut block = vec![0; kernel.program().parameter_bytes];
    for (number, (offset, bytes)) in kernel.program().parameters.iter().enumerate() {
        if parameters.is_null() {
            return Status::InvalidValue;
        }
        // SAFETY: the caller's promise.
        let given = unsafe { std::slice::from_raw_parts((*parameters.add(number)).cast::<u8>(), *bytes) };
        block[*offset..offset + bytes].copy_from_slice(given);
    }
    how.ranges = HOST.with_borrow_mut(|host| host.ranges.take());
    graph::in_stream(stream as u64, graph::Node::Launch { kernel, how, parameters: block })
}
