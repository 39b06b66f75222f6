//! PTX as the machine code of GPUs that are not here, to look at: what the driver would make of it there.
//!
//! `ptxas` does what drivers do. Nothing is fetched unless [`install`] is called, and nothing runs what is assembled.

use crate::error::Error;
use carousel_cuda::assembler::assemble;
use carousel_cuda::toolchain::{self, ASSEMBLER};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The listing's program, beside `ptxas`.
const LISTING: &str = "nvdisasm";

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

    /// Bytes of what registers have no room for: those that are stored and those that are loaded.
    pub fn spilled_bytes(&self) -> u64 {
        self.said_before(" bytes spill stores") + self.said_before(" bytes spill loads")
    }

    /// Registers of a thread.
    pub fn registers(&self) -> u64 {
        self.said_before(" registers")
    }

    /// The sum of the numbers that stand before these words.
    fn said_before(&self, words: &str) -> u64 {
        let places = self.remarks.match_indices(words).map(|(at, _)| &self.remarks[..at]);
        let numbers =
            places.map(|before| before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
        numbers.filter_map(|number| number.parse::<u64>().ok()).sum()
    }
}

/// The assembler, if one of the usual places has it, with its listing's program beside it.
pub fn find() -> Option<PathBuf> {
    toolchain::find_assembler().filter(|path| path.with_file_name(LISTING).is_file())
}

/// The assembler, from PyPI into a folder if it is not there (50 MB).
///
/// # Errors
/// If it cannot be installed.
pub fn install(folder: &Path) -> Result<PathBuf, Error> {
    toolchain::install(&ASSEMBLER, folder).map_err(|error| Error::Setup(error.to_string()))
}

/// Assembles PTX for a GPU of an architecture, such as `sm_90`.
///
/// # Errors
/// If the assembler refuses the text.
pub fn assembled(assembler: &Path, ptx: &str, architecture: &str) -> Result<Assembled, String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let code = std::env::temp_dir().join(format!("carousel-{}-{number}.cubin", std::process::id()));
    let listed = assemble(assembler, ptx, architecture, &code)
        .and_then(|remarks| Ok((remarks, listing(&assembler.with_file_name(LISTING), &code)?)));
    // It may never have been written; what is left in a folder for such files does no harm.
    let _ = std::fs::remove_file(&code);
    let (remarks, listing) = listed?;
    // `/*0010*/  FADD R1, R2, R3 ;`
    let instruction = |line: &str| {
        line.trim_start().strip_prefix("/*")?.split_once("*/").map(|(_, rest)| rest.trim().to_string())
    };
    Ok(Assembled { remarks, instructions: listing.lines().filter_map(instruction).collect() })
}

fn listing(program: &Path, code: &Path) -> Result<String, String> {
    let output = Command::new(program).arg("-c").arg(code).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{}: {said}", program.display()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_are_read() {
        let remarks = "ptxas info    : Function properties for k\n    16 bytes stack frame, 12 bytes spill stores, 20 bytes spill loads\n\
                       ptxas info    : Used 255 registers, used 1 barriers";
        let assembled = Assembled { remarks: remarks.to_string(), instructions: Vec::new() };
        assert_eq!((assembled.registers(), assembled.spilled_bytes(), assembled.spills()), (255, 32, true));
    }
}
