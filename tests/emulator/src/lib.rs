//! A CUDA device without a GPU: an interpreter of PTX that checks what it runs.
//!
//! Kernels run warp by warp, from the PTX that a compiler made of them. Wrong accesses, reads of what nobody wrote, races
//! and divergent barriers are [`Finding`]s, with the line of the source; what a launch did is counted ([`Counters`]). As a
//! shared library, the crate is a stand-in for the driver, which programs load in its place; [`client`] is how a program
//! asks that library what launches did. Nothing here says how long a launch would take on a GPU.
//!
//! ```
//! use carousel_emulator::{Launch, Memory, Module};
//!
//! let module = Module::parse("
//!     .version 8.0
//!     .target sm_80
//!     .address_size 64
//!     .visible .entry double(.param .u64 x) {
//!         .reg .b32 %r<2>; .reg .f32 %f<3>; .reg .b64 %rd<4>;
//!         ld.param.u64 %rd1, [x];
//!         mov.u32 %r1, %tid.x;
//!         mul.wide.u32 %rd2, %r1, 4;
//!         add.s64 %rd3, %rd1, %rd2;
//!         ld.global.f32 %f1, [%rd3];
//!         add.f32 %f2, %f1, %f1;
//!         st.global.f32 [%rd3], %f2;
//!         ret;
//!     }").unwrap();
//! let mut memory = Memory::default();
//! let x = memory.allocate(8);
//! memory.write(x, &[1.0f32.to_le_bytes(), 2.5f32.to_le_bytes()].concat()).unwrap();
//! let double = module.kernel("double").unwrap();
//!
//! let launch = Launch { grid: [1; 3], block: [2, 1, 1], ..Launch::default() };
//! let record = double.launch(&mut memory, &launch, &x.to_le_bytes());
//! assert!(record.findings.is_empty());
//! assert_eq!(memory.read(x + 4, 4).unwrap(), 5.0f32.to_le_bytes());
//!
//! // A third thread has no element.
//! let record = double.launch(&mut memory, &Launch { block: [3, 1, 1], ..launch }, &x.to_le_bytes());
//! assert_eq!(record.findings[0].kind, carousel_emulator::FindingKind::OutOfBounds);
//! ```

mod check;
pub mod client;
mod decode;
mod driver;
mod machine;
mod memory;
pub mod ptx;
mod record;

pub use machine::{Launch, Mode, Range};
pub use memory::{Memory, NotAllocated};
pub use ptx::SyntaxError;
pub use record::{Counters, Finding, FindingKind, Record};

use decode::Program;
use std::collections::HashMap;
use std::sync::Arc;

/// A module that is ready to run.
#[derive(Clone, Debug)]
pub struct Module {
    kernels: HashMap<String, Kernel>,
}

/// A kernel of a module.
#[derive(Clone, Debug)]
pub struct Kernel(Arc<Program>);

impl Module {
    /// A module without global variables.
    ///
    /// # Errors
    /// If the text is no PTX.
    pub fn parse(text: &str) -> Result<Module, SyntaxError> {
        Module::load(text, &mut Memory::default())
    }

    /// A module whose global variables are put in `memory`.
    ///
    /// # Errors
    /// If the text is no PTX.
    pub fn load(text: &str, memory: &mut Memory) -> Result<Module, SyntaxError> {
        let module = ptx::parse(text)?;
        let mut globals = HashMap::new();
        for (variable, bytes) in &module.globals {
            let address = memory.allocate(variable.bytes);
            memory.write(address, bytes).map_err(|e| SyntaxError { line: 1, message: e.to_string() })?;
            globals.insert(variable.name.clone(), address);
        }
        let kernels = decode::decode_all(&module, &globals);
        Ok(Module { kernels: kernels.into_iter().map(|k| (k.name.clone(), Kernel(Arc::new(k)))).collect() })
    }

    /// A kernel by its name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.get(name)
    }
}

impl Kernel {
    /// Runs the kernel; `parameters` are its parameters as they lie in the parameter block.
    pub fn launch(&self, memory: &mut Memory, launch: &Launch, parameters: &[u8]) -> Record {
        machine::launch(&self.0, &mut memory.all(), launch, parameters)
    }

    /// Instructions that the emulator does not know; a launch is refused if there are any.
    pub fn unknown_instructions(&self) -> &[String] {
        &self.0.unknown
    }

    pub(crate) fn program(&self) -> &Program {
        &self.0
    }
}

/// The opcodes that are computed on the registers of a thread, without `.rn` and without `.lo` of products.
pub fn opcodes() -> Vec<&'static str> {
    let mut names: Vec<&str> = decode::alu::table().keys().copied().collect();
    names.sort_unstable();
    names
}
