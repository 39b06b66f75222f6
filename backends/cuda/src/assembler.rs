//! PTX as the machine code of a GPU, by `ptxas`, which does what drivers do.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Assembles PTX for an architecture, such as `sm_90`, into the file `code`; what the assembler says of it: registers, spills.
///
/// # Errors
/// What is wrong, if it cannot be run or refuses the text.
pub fn assemble(assembler: &Path, ptx: &str, architecture: &str, code: &Path) -> Result<String, String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let text = std::env::temp_dir().join(format!("carousel-{}-{number}.ptx", std::process::id()));
    std::fs::write(&text, ptx).map_err(|error| format!("{}: {error}", text.display()))?;
    let architecture = format!("-arch={architecture}");
    let run = Command::new(assembler).args(["-v", &architecture, "-o"]).args([code, &text]).output();
    // What is left in a folder for such files does no harm.
    let _ = std::fs::remove_file(&text);
    let output = run.map_err(|error| format!("{}: {error}", assembler.display()))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}
