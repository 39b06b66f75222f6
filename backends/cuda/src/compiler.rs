//! CUDA C++ to PTX, by NVRTC.
//!
//! Compiled texts are kept by their content: the same kernel is compiled once in a process.

use crate::{codegen, toolchain};
use carousel_core::backend::CompileError;
use carousel_core::kernel::Kernel;
use carousel_ir::Span;
use cudarc::nvrtc::{result, sys};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The oldest GPUs whose instructions are used; newer ones run the same PTX.
const ARCHITECTURE: &str = "compute_80";

/// The CUDA C++ of a kernel.
pub fn cuda(kernel: &Kernel) -> String {
    codegen::source(kernel, codegen::USUAL_BLOCKS).text
}

/// The PTX of a kernel.
///
/// # Errors
/// If the compiler is not there, or refuses the text: then it is a defect of the code generator.
pub fn ptx(kernel: &Kernel) -> Result<String, CompileError> {
    compiled(kernel).map(|compiled| compiled.ptx.clone())
}

/// The PTX of any CUDA C++; `name` is what messages call it.
///
/// # Errors
/// If the compiler is not there, or refuses the text.
pub fn ptx_of_text(name: &str, source: &str) -> Result<String, CompileError> {
    ptx_for(ARCHITECTURE, name, source)
}

/// The PTX of any CUDA C++ for GPUs from an architecture on, such as `compute_90`.
///
/// # Errors
/// If the compiler is not there, or refuses the text.
pub fn ptx_for(architecture: &str, name: &str, source: &str) -> Result<String, CompileError> {
    let program = Program::compile(architecture, name, source)?;
    // SAFETY: the program was compiled.
    let ptx = unsafe { result::get_ptx(program.handle) }.map_err(|error| failed(name, &error.to_string()))?;
    Ok(text(&ptx))
}

/// A compiled kernel.
pub struct Compiled {
    /// The name of its function.
    pub function: String,
    /// What the compiler made of it.
    pub ptx: String,
    source: codegen::Source,
}

impl Compiled {
    /// The place of the program that a line of the kernel's text computes.
    pub fn origin(&self, line: u32) -> Option<Span> {
        self.source.origin(line)
    }
}

/// What was compiled, by its text.
fn known() -> MutexGuard<'static, HashMap<String, Arc<Compiled>>> {
    static KNOWN: OnceLock<Mutex<HashMap<String, Arc<Compiled>>>> = OnceLock::new();
    KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// All kernels that were compiled for devices in this process.
pub fn all_compiled() -> Vec<Arc<Compiled>> {
    known().values().cloned().collect()
}

/// A kernel, compiled or remembered.
///
/// # Errors
/// If the compiler is not there, or refuses the text: then it is a defect of the code generator.
pub fn compiled(kernel: &Kernel) -> Result<Arc<Compiled>, CompileError> {
    compiled_for(kernel, codegen::USUAL_BLOCKS)
}

/// The same for a GPU on which so many blocks run at the same time.
pub(crate) fn compiled_for(kernel: &Kernel, together: u64) -> Result<Arc<Compiled>, CompileError> {
    let source = codegen::source(kernel, together);
    if let Some(compiled) = known().get(&source.text) {
        return Ok(compiled.clone());
    }
    let ptx = ptx_of_text(&kernel.name, &source.text)?;
    let text = source.text.clone();
    let compiled = Arc::new(Compiled { function: codegen::function_name(kernel), ptx, source });
    known().insert(text, compiled.clone());
    Ok(compiled)
}

fn failed(name: &str, message: &str) -> CompileError {
    CompileError { message: format!("kernel `{name}`: {message}") }
}

/// A text that ends with a zero.
fn text(bytes: &[std::ffi::c_char]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|byte| *byte as u8).collect();
    CStr::from_bytes_until_nul(&bytes).map_or_else(
        |_| String::from_utf8_lossy(&bytes).into_owned(),
        |text| text.to_string_lossy().into_owned(),
    )
}

/// A program of NVRTC, for its time.
struct Program {
    handle: sys::nvrtcProgram,
}

impl Program {
    fn compile(architecture: &str, name: &str, source: &str) -> Result<Program, CompileError> {
        toolchain::load().map_err(|error| CompileError { message: error.to_string() })?;
        let source = CString::new(source).map_err(|_| failed(name, "its text contains a zero"))?;
        let handle =
            result::create_program(&source, None).map_err(|error| failed(name, &error.to_string()))?;
        let program = Program { handle };
        let options = [
            format!("--gpu-architecture={architecture}"),
            "--std=c++17".to_string(),
            "--generate-line-info".to_string(),
        ];
        // SAFETY: the program was created, and is not in use.
        let compiled = unsafe { result::compile_program(handle, &options) };
        match compiled {
            Ok(()) => Ok(program),
            Err(_) => Err(failed(name, &format!("NVRTC refuses its text:\n{}", program.log()))),
        }
    }

    fn log(&self) -> String {
        // SAFETY: the program was created.
        unsafe { result::get_program_log(self.handle) }.map_or(String::new(), |log| text(&log))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the program was created and is not used again. That it is gone is all that is asked for.
        let _ = unsafe { result::destroy_program(self.handle) };
    }
}
