//! CUDA C++ to PTX, by NVRTC.
//!
//! Compiled texts are kept by their content: the same kernel is compiled once in a process.

use crate::{codegen, toolchain};
use carousel_core::backend::CompileError;
use carousel_core::kernel::Kernel;
use cudarc::nvrtc::{result, sys};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The oldest GPUs whose instructions are used; newer ones run the same PTX.
const ARCHITECTURE: &str = "compute_80";

/// The CUDA C++ of a kernel.
pub fn cuda(kernel: &Kernel) -> String {
    codegen::source(kernel)
}

/// The PTX of a kernel.
///
/// # Errors
/// If the compiler is not there, or refuses the text: then it is a defect of the code generator.
pub fn ptx(kernel: &Kernel) -> Result<String, CompileError> {
    compiled(kernel).map(|text| text.to_string())
}

/// The PTX of any CUDA C++; `name` is what messages call it.
///
/// # Errors
/// If the compiler is not there, or refuses the text.
pub fn ptx_of_text(name: &str, source: &str) -> Result<String, CompileError> {
    let program = Program::compile(name, source)?;
    // SAFETY: the program was compiled.
    let ptx = unsafe { result::get_ptx(program.handle) }.map_err(|error| failed(name, &error.to_string()))?;
    Ok(text(&ptx))
}

/// The PTX of a kernel, compiled or remembered.
pub(crate) fn compiled(kernel: &Kernel) -> Result<Arc<str>, CompileError> {
    static KNOWN: OnceLock<Mutex<HashMap<String, Arc<str>>>> = OnceLock::new();
    let known = || KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let source = cuda(kernel);
    if let Some(ptx) = known().get(&source) {
        return Ok(ptx.clone());
    }
    let ptx: Arc<str> = ptx_of_text(&kernel.name, &source)?.into();
    known().insert(source, ptx.clone());
    Ok(ptx)
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
    fn compile(name: &str, source: &str) -> Result<Program, CompileError> {
        toolchain::load().map_err(|error| CompileError { message: error.to_string() })?;
        let source = CString::new(source).map_err(|_| failed(name, "its text contains a zero"))?;
        let handle =
            result::create_program(&source, None).map_err(|error| failed(name, &error.to_string()))?;
        let program = Program { handle };
        let options = [
            format!("--gpu-architecture={ARCHITECTURE}"),
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
