//! The target on the emulated device, which tells what launches did (feature `emulated`).
//!
//! The device is the stand-in driver that is built beside the program. Everything that is told is about the launches of
//! the calling thread.

use crate::device::{DeviceError, Driver};
use crate::executable::{CudaBackend, Expected, Observer};
use crate::roofline::Work;
use carousel_emulator::client::{Client, FILE_NAME, built_library};
use std::sync::{Arc, OnceLock};

pub use carousel_emulator::{Counters, Finding, Mode, Record};

/// Tells the emulated device what each launch may touch.
struct Watcher(Arc<Client>);

impl Observer for Watcher {
    fn before_run(&self, memory: &[Expected]) {
        memory.iter().for_each(|range| self.0.forget(range.address, range.bytes));
    }

    fn before_launch(&self, _: &str, memory: &[Expected]) {
        for range in memory {
            self.0.allow(range.address, range.bytes);
            if range.fresh {
                self.0.forget(range.address, range.bytes);
            }
        }
    }
}

impl From<&Counters> for Work {
    fn from(counted: &Counters) -> Work {
        Work {
            dram_bytes: (counted.dram_read_bytes + counted.dram_written_bytes) as f64,
            cache_bytes: (counted.read_bytes + counted.written_bytes) as f64,
            shared_passes: counted.shared_passes as f64,
            instructions: counted.warp_instructions as f64,
            flops: counted.flops as f64,
            matrix_flops: counted.matrix_flops as f64,
        }
    }
}

static CLIENT: OnceLock<Arc<Client>> = OnceLock::new();

/// The target on the emulated device.
///
/// # Errors
/// If the stand-in driver is not beside the program, or another driver is in use.
pub fn backend() -> Result<CudaBackend, DeviceError> {
    let broken = |path: String, message: String| DeviceError::Broken { path, message };
    let Some(path) = built_library() else {
        let message = "it is not beside the program; `cargo build --release` makes it".to_string();
        return Err(broken(FILE_NAME.to_string(), message));
    };
    let client = Client::load(&path).map_err(|error| broken(path.display().to_string(), error.message))?;
    let client = CLIENT.get_or_init(|| Arc::new(client)).clone();
    Ok(CudaBackend::open(&Driver::Library(path))?.observed_by(Arc::new(Watcher(client))))
}

/// How much the device checks from now on.
pub fn set_mode(mode: Mode) {
    if let Some(client) = CLIENT.get() {
        client.set_mode(mode);
    }
}

/// What launches did since the last call.
pub fn take_records() -> Vec<Record> {
    CLIENT.get().map_or(Vec::new(), |client| client.take_records())
}
