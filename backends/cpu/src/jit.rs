//! Machine code in memory: compiles kernels for the host and owns the result.
//!
//! Invariant: a [`Code`] outlives every call of its functions, and its memory is freed when it goes. Kernels are compiled
//! by several threads, each into a module of its own; the code does not depend on how many there are.

use crate::codegen::{self, Linker};
use crate::runtime;
use carousel_core::backend::CompileError;
use carousel_core::kernel::Kernel;
use cranelift_codegen::ir::{FuncRef, Function, Signature};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::FunctionBuilderContext;
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, ModuleError, default_libcall_names};
use std::collections::HashMap;

/// What a kernel becomes; see [`crate::codegen`] for the arguments.
pub(crate) type KernelFunction =
    unsafe extern "C" fn(*const *mut u8, *const i64, i64, i64, *mut u8, *mut u32);

/// A compiled kernel.
#[derive(Clone, Copy)]
pub(crate) struct Compiled {
    /// Its machine code.
    pub(crate) function: KernelFunction,
    /// Bytes of tile temporaries that it needs behind its scratch.
    pub(crate) temporaries_bytes: u64,
    /// Bytes of its machine code.
    pub(crate) code_bytes: u64,
}

/// The machine code of a program.
pub(crate) struct Code {
    modules: Vec<JITModule>,
    kernels: Vec<Compiled>,
}

// SAFETY: after compilation a module is only kept to be freed, by one owner; its code is immutable.
unsafe impl Send for Code {}
// SAFETY: as above; nothing of a module is reachable through a shared reference.
unsafe impl Sync for Code {}

impl Code {
    /// The kernels, in the order in which they were given.
    pub(crate) fn kernels(&self) -> &[Compiled] {
        &self.kernels
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        for module in self.modules.drain(..) {
            // SAFETY: whoever calls the code holds a reference to this, so nothing runs, and nothing can call it later.
            unsafe { module.free_memory() };
        }
    }
}

/// Declares functions of the tile runtime in a module.
struct ModuleLinker<'m> {
    module: &'m mut JITModule,
    declared: &'m mut HashMap<&'static str, FuncId>,
}

impl Linker for ModuleLinker<'_> {
    fn import(&mut self, function: &mut Function, name: &'static str, signature: Signature) -> FuncRef {
        let id = *self.declared.entry(name).or_insert_with(|| {
            self.module
                .declare_function(name, Linkage::Import, &signature)
                .unwrap_or_else(|error| panic!("`{name}` is called with two signatures: {error}"))
        });
        self.module.declare_func_in_func(id, function)
    }
}

fn failed(kernel: &Kernel, error: impl std::fmt::Display) -> CompileError {
    CompileError { message: format!("kernel `{}`: {error}", kernel.name) }
}

/// The host as a target.
fn host() -> Result<OwnedTargetIsa, CompileError> {
    let message = |text: String| CompileError { message: text };
    let mut flags = settings::builder();
    let verifier = if cfg!(debug_assertions) { "true" } else { "false" };
    // Without optimisation: Cranelift's own reorders interleaved vector code until it spills.
    let set = [
        ("opt_level", "none"),
        ("enable_verifier", verifier),
        ("use_colocated_libcalls", "false"),
        ("is_pic", "false"),
        ("regalloc_algorithm", "backtracking"),
    ];
    for (name, value) in set {
        flags.set(name, value).map_err(|error| message(error.to_string()))?;
    }
    let builder = cranelift_native::builder().map_err(|error| message(format!("this processor: {error}")))?;
    builder.finish(settings::Flags::new(flags)).map_err(|error| message(error.to_string()))
}

/// Whether the host has a fused multiply-add.
fn has_fma() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("fma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        cfg!(target_arch = "aarch64")
    }
}

fn module(isa: OwnedTargetIsa) -> JITModule {
    let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
    for symbol in runtime::symbols::symbols() {
        builder.symbol(symbol.name, symbol.address);
    }
    let uniform: extern "C" fn(u32, u32, u32, u64) -> f32 = codegen::random::philox_uniform;
    let fold_in: extern "C" fn(u32, u32) -> u32 = codegen::random::philox_fold_in;
    builder.symbol("philox_uniform", uniform as *const u8);
    builder.symbol("philox_fold_in", fold_in as *const u8);
    JITModule::new(builder)
}

/// Compiles kernels, by up to `threads` threads.
pub(crate) fn compile(kernels: &[Kernel], threads: usize) -> Result<Code, CompileError> {
    let isa = host()?;
    let threads = threads.min(kernels.len()).max(1);
    // Neighbours cost alike, so dealing them out balances the load.
    let parts: Vec<Vec<usize>> =
        (0..threads).map(|part| (part..kernels.len()).step_by(threads).collect()).collect();
    let mut done = Vec::new();
    std::thread::scope(|scope| {
        let others: Vec<_> = parts[1..]
            .iter()
            .map(|part| {
                let isa = isa.clone();
                scope.spawn(move || Part(compile_part(kernels, part, isa)))
            })
            .collect();
        done.push(compile_part(kernels, &parts[0], isa.clone()));
        for other in others {
            let Part(result) = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done.push(result);
        }
    });
    let mut code = Code { modules: Vec::new(), kernels: Vec::new() };
    let mut compiled = vec![None; kernels.len()];
    let mut problem = None;
    for (part, result) in parts.iter().zip(done) {
        match result {
            Ok((module, functions)) => {
                code.modules.push(module);
                for (&at, function) in part.iter().zip(functions) {
                    compiled[at] = Some(function);
                }
            }
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    match problem {
        Some(error) => Err(error),
        None => {
            code.kernels = compiled.into_iter().flatten().collect();
            Ok(code)
        }
    }
}

/// What a thread brings back.
struct Part(Result<(JITModule, Vec<Compiled>), CompileError>);

// SAFETY: the thread that made the module gives it away and ends.
unsafe impl Send for Part {}

fn compile_part(
    kernels: &[Kernel],
    part: &[usize],
    isa: OwnedTargetIsa,
) -> Result<(JITModule, Vec<Compiled>), CompileError> {
    let mut module = module(isa.clone());
    match define_all(kernels, part, &mut module, &isa) {
        Ok(functions) => Ok((module, functions)),
        Err(error) => {
            // SAFETY: none of its functions was handed out.
            unsafe { module.free_memory() };
            Err(error)
        }
    }
}

fn define_all(
    kernels: &[Kernel],
    part: &[usize],
    module: &mut JITModule,
    isa: &OwnedTargetIsa,
) -> Result<Vec<Compiled>, CompileError> {
    let fma = has_fma();
    let mut declared = HashMap::new();
    let mut builder_context = FunctionBuilderContext::new();
    let mut defined = Vec::new();
    let mut context = module.make_context();
    for &at in part {
        let kernel = &kernels[at];
        let mut linker = ModuleLinker { module, declared: &mut declared };
        let built = codegen::build(kernel, &**isa, fma, &mut linker, &mut context.func, &mut builder_context);
        let id = module
            .declare_function(&format!("kernel{at}"), Linkage::Local, &context.func.signature)
            .map_err(|error| failed(kernel, error))?;
        module.define_function(id, &mut context).map_err(|error| failed(kernel, explain(&error)))?;
        let code_bytes = context.compiled_code().map_or(0, |code| code.code_buffer().len() as u64);
        defined.push((id, built.temporaries_bytes, code_bytes));
        module.clear_context(&mut context);
    }
    module.finalize_definitions().map_err(|error| CompileError { message: error.to_string() })?;
    let compiled = defined.into_iter().map(|(id, temporaries_bytes, code_bytes)| {
        let address = module.get_finalized_function(id);
        // SAFETY: the function was built with exactly this signature.
        let function = unsafe { std::mem::transmute::<*const u8, KernelFunction>(address) };
        Compiled { function, temporaries_bytes, code_bytes }
    });
    Ok(compiled.collect())
}

/// The verifier's findings, which the error's own text leaves out.
fn explain(error: &ModuleError) -> String {
    format!("{error}: {error:?}")
}

/// What to print of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Listing {
    Clif,
    Assembly,
}

/// The Cranelift function of a kernel as text, with names that survive edits elsewhere.
pub fn clif(kernel: &Kernel) -> Result<String, CompileError> {
    listing(kernel, Listing::Clif)
}

/// The machine code of a kernel as text.
pub fn assembly(kernel: &Kernel) -> Result<String, CompileError> {
    listing(kernel, Listing::Assembly)
}

fn listing(kernel: &Kernel, listing: Listing) -> Result<String, CompileError> {
    let isa = host()?;
    let mut module = module(isa.clone());
    let mut declared = HashMap::new();
    let mut context = module.make_context();
    let mut linker = ModuleLinker { module: &mut module, declared: &mut declared };
    let mut builder_context = FunctionBuilderContext::new();
    let built =
        codegen::build(kernel, &*isa, has_fma(), &mut linker, &mut context.func, &mut builder_context);
    let text = match listing {
        Listing::Clif => Ok(format!("; {}\n{}", kernel.name, built.names.text(&context.func))),
        Listing::Assembly => {
            context.set_disasm(true);
            let result = context.compile(&*isa, &mut Default::default());
            match result {
                Ok(code) => Ok(format!("; {}\n{}", kernel.name, code.vcode.clone().unwrap_or_default())),
                Err(error) => Err(failed(kernel, format!("{:?}", error.inner))),
            }
        }
    };
    // SAFETY: nothing was finalised, so no function was handed out.
    unsafe { module.free_memory() };
    text
}
