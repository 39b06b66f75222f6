//! The crate as a stand-in for `libcuda.so`: the entry points of the driver that programs use, over the machine.
//!
//! Every host thread has its own part of the memory, so that threads run launches side by side; a launch may address the
//! parts in which its parameters lie. Everything is done when a call returns: streams and events order nothing more.

mod entry;
mod extension;
mod graph;

use crate::machine::{self, Launch, Mode, Range};
use crate::memory::{Memory, part_of};
use crate::record::{FindingKind, Record};
use crate::{Kernel, Module};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The driver's result codes that are used here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub(crate) enum Status {
    Success = 0,
    InvalidValue = 1,
    OutOfMemory = 2,
    InvalidDevice = 101,
    NoBinary = 209,
    InvalidPtx = 218,
    IllegalState = 401,
    NotFound = 500,
    IllegalAddress = 700,
    LaunchFailed = 719,
    CooperativeTooLarge = 720,
    CaptureUnsupported = 900,
}

impl Status {
    fn name(code: i32) -> &'static std::ffi::CStr {
        match code {
            0 => c"CUDA_SUCCESS",
            1 => c"CUDA_ERROR_INVALID_VALUE",
            2 => c"CUDA_ERROR_OUT_OF_MEMORY",
            101 => c"CUDA_ERROR_INVALID_DEVICE",
            209 => c"CUDA_ERROR_NO_BINARY_FOR_GPU",
            218 => c"CUDA_ERROR_INVALID_PTX",
            401 => c"CUDA_ERROR_ILLEGAL_STATE",
            500 => c"CUDA_ERROR_NOT_FOUND",
            700 => c"CUDA_ERROR_ILLEGAL_ADDRESS",
            719 => c"CUDA_ERROR_LAUNCH_FAILED",
            720 => c"CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE",
            900 => c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
            _ => c"CUDA_ERROR_UNKNOWN",
        }
    }
}

type Part = Arc<Mutex<Memory>>;

/// What all host threads share.
#[derive(Default)]
struct Device {
    parts: Mutex<BTreeMap<u64, Part>>,
    modules: Mutex<BTreeMap<u64, Module>>,
    kernels: Mutex<BTreeMap<u64, Kernel>>,
    graphs: Mutex<BTreeMap<u64, graph::Graph>>,
}

/// What belongs to a host thread.
#[derive(Default)]
struct Host {
    part: Option<(u64, Part)>,
    mode: Option<Mode>,
    ranges: Option<Vec<Range>>,
    records: Vec<Record>,
    capture: Option<graph::Capture>,
}

fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(Device::default)
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these hold is valid at any time, even if a thread panicked meanwhile.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A new handle of any kind; never 0.
fn handle() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0x1000);
    NEXT.fetch_add(0x10, Ordering::Relaxed)
}

/// The thread's own part of the memory.
fn own_part() -> Part {
    HOST.with_borrow_mut(|host| {
        let (_, part) = host.part.get_or_insert_with(|| {
            let mut parts = lock(&device().parts);
            let number = parts.len() as u64;
            let part = Arc::new(Mutex::new(Memory::in_part(number)));
            parts.insert(number, part.clone());
            (number, part)
        });
        part.clone()
    })
}

/// The part of the memory in which an address lies.
fn part_at(address: u64) -> Option<Part> {
    lock(&device().parts).get(&part_of(address)?).cloned()
}

fn load_module(text: &str) -> Result<u64, Status> {
    match Module::load(text, &mut lock(&own_part())) {
        Ok(module) => {
            let number = handle();
            lock(&device().modules).insert(number, module);
            Ok(number)
        }
        Err(error) => {
            let finding = crate::Finding {
                kind: FindingKind::Unknown,
                line: 0,
                kernel_line: 0,
                message: error.to_string(),
            };
            keep(Record { kernel: "module".to_string(), findings: vec![finding], ..Record::default() });
            Err(Status::InvalidPtx)
        }
    }
}

fn keep(record: Record) {
    HOST.with_borrow_mut(|host| host.records.push(record));
}

/// The mode of the thread: as set, or as the environment says.
fn mode() -> Mode {
    let of_environment = || match std::env::var("CAROUSEL_EMULATOR_MODE").as_deref() {
        Ok("fast") => Mode::Fast,
        Ok(_) | Err(_) => Mode::Strict,
    };
    HOST.with_borrow(|host| host.mode).unwrap_or_else(of_environment)
}

/// Fills memory with a byte.
fn fill(to: u64, value: u8, bytes: usize) -> Status {
    let written = part_at(to).map(|part| lock(&part).write(to, &vec![value; bytes]));
    if matches!(written, Some(Ok(()))) { Status::Success } else { Status::InvalidValue }
}

/// What is in this memory now has no value any more. What is not allocated is found when it is touched.
fn forget(start: u64, bytes: usize) -> Status {
    part_at(start).map(|part| lock(&part).forget(start, bytes).ok());
    Status::Success
}

fn launch(kernel: &Kernel, mut launch: Launch, parameters: &[u8]) -> Status {
    launch.mode = mode();
    // The parts of the memory that the parameters point into, and those of the declared ranges.
    let words = kernel.program().parameters.iter().filter(|(_, bytes)| *bytes == 8);
    let pointers =
        words.filter_map(|(at, _)| Some(u64::from_le_bytes(parameters[*at..at + 8].try_into().ok()?)));
    let starts = launch.ranges.iter().flatten().map(|range| range.start);
    let numbers: BTreeSet<u64> = pointers.chain(starts).filter_map(part_of).collect();
    let parts: Vec<Part> = {
        let all = lock(&device().parts);
        numbers.iter().filter_map(|number| all.get(number).cloned()).collect()
    };
    let mut memories: Vec<MutexGuard<'_, Memory>> = parts.iter().map(|part| lock(part)).collect();
    let mut allocations = Vec::new();
    for memory in &mut memories {
        allocations.extend(memory.all());
    }
    let record = machine::launch(kernel.program(), &mut allocations, &launch, parameters);
    let status = match record.findings.first().map(|finding| finding.kind) {
        None => Status::Success,
        Some(FindingKind::OutOfBounds | FindingKind::Misaligned) => Status::IllegalAddress,
        Some(FindingKind::Launch) if launch.cooperative => Status::CooperativeTooLarge,
        Some(FindingKind::Launch) => Status::InvalidValue,
        Some(_) => Status::LaunchFailed,
    };
    keep(record);
    status
}
