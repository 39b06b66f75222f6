//! A CUDA device for tests: an emulated one that checks everything, or a real one.
//!
//! `CAROUSEL_CUDA_DRIVER` chooses another driver: `system`, or the path of a library. Nothing else depends on which device it
//! is. Nothing is fetched unless [`install`] is called; without NVRTC, errors say how to get it.

use crate::error::{Error, sentences};
use crate::formed::{Formed, made};
use crate::machine::{Compiled, Output};
use carousel_core::lower;
use carousel_core::program::Program;
use carousel_cuda::{CudaBackend, CudaExecutable, Driver, emulated, target, toolchain};
use carousel_ir::{FunctionId, Module};
use carousel_reference as reference;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use carousel_cuda::emulated::{Counters, Mode, Record, set_mode};

/// NVRTC, the compiler of CUDA kernels, from PyPI into a folder if it is nowhere (115 MB). It is found in `target/cuda-tools`
/// of the working directory or above it.
///
/// # Errors
/// If it cannot be installed.
pub fn install(folder: &Path) -> Result<(), Error> {
    if toolchain::find().is_none() {
        toolchain::install(&toolchain::COMPILER, folder).map_err(|error| Error::Setup(error.to_string()))?;
    }
    Ok(())
}

/// The CUDA target on the device.
///
/// # Errors
/// If there is none.
pub fn backend() -> Result<&'static CudaBackend, String> {
    static BACKEND: OnceLock<Result<CudaBackend, String>> = OnceLock::new();
    BACKEND.get_or_init(open).as_ref().map_err(String::clone)
}

/// The same, opened anew: what it counts is of its own executables alone.
///
/// # Errors
/// If there is none.
pub fn open() -> Result<CudaBackend, String> {
    let chosen = std::env::var("CAROUSEL_CUDA_DRIVER").unwrap_or_default();
    let opened = match chosen.as_str() {
        "" => emulated::backend(),
        "system" => CudaBackend::open(&Driver::System),
        path => CudaBackend::open(&Driver::Library(PathBuf::from(path))),
    };
    opened.map_err(|error| error.to_string())
}

/// A function compiled for a device.
pub struct OnDevice(Compiled<CudaExecutable>);

/// What a function did on a device.
pub struct Observed {
    /// Its results.
    pub outputs: Vec<Output>,
    /// Its launches, in order; none are known of a real device.
    pub launches: Vec<Record>,
}

impl OnDevice {
    /// Compiles a function of a verified module as it stands.
    ///
    /// # Errors
    /// What lowering or the code generator says.
    pub fn new(backend: &CudaBackend, module: &Module, root: FunctionId) -> Result<OnDevice, String> {
        let program = lower(module, root, &target()).map_err(|problems| sentences(&problems))?;
        OnDevice::of(backend, program)
    }

    /// Compiles a lowered program.
    ///
    /// # Errors
    /// What the code generator says.
    pub fn of(backend: &CudaBackend, program: Program) -> Result<OnDevice, String> {
        let executable = backend.executable(program).map_err(|error| error.to_string())?;
        Ok(OnDevice(Compiled::from_executable(executable)))
    }

    /// The executable itself.
    pub fn executable(&self) -> &CudaExecutable {
        self.0.executable()
    }

    /// Runs the function.
    ///
    /// # Errors
    /// What the executable says, with all that the emulated device found.
    pub fn run(&self, inputs: &[reference::Tensor<f64>]) -> Result<Vec<Output>, String> {
        self.counted(inputs).map(|(outputs, _)| outputs)
    }

    /// The same with what all launches together did.
    ///
    /// # Errors
    /// What the executable says, with all that the emulated device found.
    pub fn counted(&self, inputs: &[reference::Tensor<f64>]) -> Result<(Vec<Output>, Counters), String> {
        let Observed { outputs, launches } = self.observe(inputs)?;
        let findings = findings(&launches);
        if findings.is_empty() { Ok((outputs, total(&launches))) } else { Err(findings) }
    }

    /// Runs the function, and tells what it did whether or not that is right.
    ///
    /// # Errors
    /// What the executable says, with all that the emulated device found.
    pub fn observe(&self, inputs: &[reference::Tensor<f64>]) -> Result<Observed, String> {
        let result = self.0.run(inputs);
        let launches = emulated::take_records();
        match result {
            Ok(outputs) => Ok(Observed { outputs, launches }),
            Err(error) => Err(format!("{error}\n{}", findings(&launches))),
        }
    }
}

impl Formed {
    /// What it does on a device.
    ///
    /// # Errors
    /// If it cannot be compiled or run.
    pub fn observe(
        &self,
        backend: &CudaBackend,
        inputs: &[reference::Tensor<f64>],
    ) -> Result<Observed, Error> {
        let failed = |why: String| Error::Failed(format!("{} on the device: {why}", self.way));
        let compile = || OnDevice::new(backend, &self.module, self.root).map_err(failed);
        made(&self.on_device, compile)?.observe(inputs).map_err(failed)
    }

    /// The results of a device, which finds nothing wrong.
    ///
    /// # Errors
    /// If it cannot be compiled or run, or something is found.
    pub fn run_on(
        &self,
        backend: &CudaBackend,
        inputs: &[reference::Tensor<f64>],
    ) -> Result<Vec<Vec<f64>>, Error> {
        let Observed { outputs, launches } = self.observe(backend, inputs)?;
        let findings = findings(&launches);
        if !findings.is_empty() {
            return Err(Error::Findings(format!("{} on the device:\n{findings}", self.way)));
        }
        Ok(outputs.into_iter().map(|output| output.values).collect())
    }
}

/// What launches did together.
pub(crate) fn total(launches: &[Record]) -> Counters {
    let mut counters = Counters::default();
    launches.iter().for_each(|launch| counters += launch.counters);
    counters
}

/// What was wrong with launches, a line each.
pub fn findings(records: &[Record]) -> String {
    let all = records.iter().flat_map(|record| record.findings.iter().map(move |finding| (record, finding)));
    let lines = all.map(|(record, finding)| {
        format!("kernel `{}`, {:?}, line {}: {}", record.kernel, finding.kind, finding.line, finding.message)
    });
    lines.collect::<Vec<_>>().join("\n")
}
