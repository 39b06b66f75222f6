//! PTX as the machine code of GPUs that are not here, to look at: what the driver would make of it there.
//!
//! Invariant: the assembler is there or the test fails; it is installed if it is missing.

use carousel_cuda::toolchain::{self, ASSEMBLER};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// What became of a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assembled {
    /// What the assembler says of it: registers, spills.
    pub remarks: String,
    /// Its instructions, a line each.
    pub instructions: Vec<String>,
}

impl Assembled {
    /// How many of its instructions have an opcode that begins so.
    pub fn count(&self, opcode: &str) -> usize {
        let is_wanted = |line: &&String| {
            let words = line.split_whitespace().filter(|word| !word.starts_with('@'));
            words.take(1).any(|word| word.starts_with(opcode))
        };
        self.instructions.iter().filter(is_wanted).count()
    }

    /// Whether it keeps in memory what registers have no room for.
    pub fn spills(&self) -> bool {
        let says = |what: &str| self.remarks.contains(what);
        !(says("0 bytes stack frame") && says(" 0 bytes spill stores") && says(" 0 bytes spill loads"))
    }
}

/// The assembler, installed where the workspace is built if it is not there.
fn assembler() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(ASSEMBLER.folder);
        toolchain::install(&ASSEMBLER, &folder).unwrap_or_else(|error| panic!("{error}"))
    })
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    format!("{said}{}", String::from_utf8_lossy(&output.stdout))
}

/// Assembles PTX for a GPU of an architecture, such as `sm_90`.
///
/// # Panics
/// If the assembler cannot be installed, or refuses the text.
pub fn assembled(ptx: &str, architecture: &str) -> Assembled {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("carousel-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let (text, code) = (std::env::temp_dir().join(format!("{name}.ptx")), std::env::temp_dir().join(name));
    std::fs::write(&text, ptx).unwrap_or_else(|error| panic!("{}: {error}", text.display()));
    let architecture = format!("-arch={architecture}");
    let remarks = output(Command::new(assembler()).args(["-v", &architecture, "-o"]).args([&code, &text]));
    let listing = output(Command::new(assembler().with_file_name("nvdisasm")).arg("-c").arg(&code));
    for file in [text, code] {
        std::fs::remove_file(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    // `/*0010*/  FADD R1, R2, R3 ;`
    let instruction = |line: &str| {
        line.trim_start().strip_prefix("/*")?.split_once("*/").map(|(_, rest)| rest.trim().to_string())
    };
    Assembled { remarks, instructions: listing.lines().filter_map(instruction).collect() }
}
