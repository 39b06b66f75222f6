//! A CUDA device for tests: an emulated one that checks everything, or a real one.
//!
//! `CAROUSEL_CUDA_DRIVER` chooses another driver: `system`, or the path of a library. Invariant: what is needed is there
//! or the test fails; the compiler is installed if it is missing. Nothing else depends on which device it is.

use crate::compiled::{Compiled, Output, sentences};
use carousel_core::lower;
use carousel_core::program::Program;
use carousel_cuda::emulated::{self, Counters, Record};
use carousel_cuda::{CudaBackend, CudaExecutable, Driver, toolchain};
use carousel_ir::{FunctionId, Module};
use carousel_reference as reference;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The compiler of CUDA kernels, installed where the workspace is built if it is nowhere.
///
/// # Panics
/// If it cannot be installed.
pub fn install_compiler() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        if toolchain::find().is_none() {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(toolchain::COMPILER.folder);
            toolchain::install(&toolchain::COMPILER, &root).unwrap_or_else(|error| panic!("{error}"));
        }
    });
}

/// The CUDA target on the device.
///
/// # Panics
/// If there is none.
pub fn backend() -> &'static CudaBackend {
    static BACKEND: OnceLock<CudaBackend> = OnceLock::new();
    BACKEND.get_or_init(own_backend)
}

/// The same, opened anew: what it counts is of its own executables alone.
///
/// # Panics
/// If there is none.
pub fn own_backend() -> CudaBackend {
    install_compiler();
    let chosen = std::env::var("CAROUSEL_CUDA_DRIVER").unwrap_or_default();
    let opened = match chosen.as_str() {
        "" => emulated::backend(),
        "system" => CudaBackend::open(&Driver::System),
        path => CudaBackend::open(&Driver::Library(PathBuf::from(path))),
    };
    opened.unwrap_or_else(|error| panic!("{error}"))
}

/// A function compiled for the device.
pub struct OnDevice(Compiled<CudaExecutable>);

impl OnDevice {
    /// Compiles a function of a verified module as it stands.
    ///
    /// # Errors
    /// What lowering or the code generator says.
    pub fn new(module: &Module, root: FunctionId) -> Result<OnDevice, String> {
        let program =
            lower(module, root, &carousel_cuda::target()).map_err(|problems| sentences(&problems))?;
        OnDevice::of(program)
    }

    /// Compiles a lowered program.
    ///
    /// # Errors
    /// What the code generator says.
    pub fn of(program: Program) -> Result<OnDevice, String> {
        let executable = backend().executable(program).map_err(|error| error.to_string())?;
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
        let (outputs, records) = self.recorded(inputs)?;
        let mut counters = Counters::default();
        records.iter().for_each(|record| counters += record.counters);
        Ok((outputs, counters))
    }

    /// The same with each launch.
    ///
    /// # Errors
    /// What the executable says, with all that the emulated device found.
    pub fn recorded(&self, inputs: &[reference::Tensor<f64>]) -> Result<(Vec<Output>, Vec<Record>), String> {
        let result = self.0.run(inputs);
        let records = emulated::take_records();
        let findings = findings(&records);
        match result {
            Ok(outputs) if findings.is_empty() => Ok((outputs, records)),
            Ok(_) => Err(findings),
            Err(error) => Err(format!("{error}\n{findings}")),
        }
    }
}

/// What was wrong with launches, a line each.
pub fn findings(records: &[Record]) -> String {
    let all = records.iter().flat_map(|record| &record.findings);
    let lines = all.map(|finding| format!("{:?}, line {}: {}", finding.kind, finding.line, finding.message));
    lines.collect::<Vec<_>>().join("\n")
}
