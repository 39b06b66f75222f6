//! `carousel cuda`.

use std::path::{Path, PathBuf};

use carousel_cuda::toolchain::{self, ASSEMBLER, COMPILER};
use clap::{Args, Subcommand};

use super::common::{Failure, tell};

/// What the CUDA target needs.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the compiler of CUDA kernels (NVRTC) from PyPI, by `python3 -m pip`.
    #[command(after_help = "Example:\n  carousel cuda install")]
    Install {
        /// Where it goes; found again there from this folder and those below it.
        #[arg(long, value_name = "FOLDER", default_value = COMPILER.folder)]
        to: PathBuf,
        /// The assembler as well: reports then tell how many blocks a GPU runs at a time.
        #[arg(long)]
        assembler: bool,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Command::Install { to, assembler } = &arguments.command;
    let library = toolchain::install(&COMPILER, to).map_err(Failure::work)?;
    tell(&format!("{}\n", library.display()))?;
    if *assembler {
        let program = toolchain::install(&ASSEMBLER, Path::new(ASSEMBLER.folder)).map_err(Failure::work)?;
        tell(&format!("{}\n", program.display()))?;
    }
    Ok(())
}
