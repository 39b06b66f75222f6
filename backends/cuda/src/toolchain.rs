//! Where the compiler of CUDA C++ is, and how it gets there.
//!
//! NVRTC is looked for in the folder that `CAROUSEL_CUDA_TOOLS` names, in a system's CUDA (`CUDA_HOME`, `CUDA_PATH`,
//! `CUDA_ROOT`), in `target/cuda-tools` of the working directory or one above it, and where the system looks for
//! libraries. [`install`] fetches it from PyPI; nothing is fetched unless that is asked for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Something that can be installed from PyPI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tool {
    /// Its packages, with their versions.
    pub packages: &'static [&'static str],
    /// Where it is installed by default, below a working directory.
    pub folder: &'static str,
    /// How the name of the file begins that is used.
    file: &'static str,
    /// Folders in which that may be, below where packages or a toolkit are installed.
    places: &'static [&'static str],
}

/// NVRTC: all that running kernels needs, with a driver.
pub const COMPILER: Tool = Tool {
    packages: &["nvidia-cuda-nvrtc==13.2.86"],
    folder: "target/cuda-tools",
    file: "libnvrtc.so",
    places: &["nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib", "lib64", "lib", "targets/x86_64-linux/lib", "."],
};

/// `ptxas`, which does what drivers do with PTX, and beside it `nvdisasm`, which prints the result. Only to look at it.
pub const ASSEMBLER: Tool = Tool {
    packages: &["nvidia-cuda-nvcc==13.2.86", "nvidia-cuda-nvdisasm==13.2.86"],
    folder: "target/cuda-assembler",
    file: "ptxas",
    places: &["nvidia/cu13/bin", "bin", "."],
};

/// The compiler cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ToolchainError {
    /// It is nowhere.
    #[error(
        "NVRTC, the compiler of CUDA kernels, was not found in {looked_in}.\nInstall it with `carousel cuda install`, or set \
         CUDA_HOME to a CUDA toolkit"
    )]
    Absent {
        /// Where it was looked for.
        looked_in: String,
    },
    /// It is there, but cannot be loaded.
    #[error("{path} cannot be loaded: {message}")]
    Broken {
        /// The library.
        path: String,
        /// What the system says.
        message: String,
    },
    /// It could not be installed.
    #[error("`{command}` failed: {message}")]
    NotInstalled {
        /// What was run.
        command: String,
        /// What it said.
        message: String,
    },
}

impl Tool {
    /// Its file in a folder of tools, if it is there.
    fn file_in(&self, root: &Path) -> Option<PathBuf> {
        let is_it = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.starts_with(self.file)
        };
        self.places.iter().find_map(|place| {
            let entries = fs::read_dir(root.join(place)).ok()?;
            let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_it).collect();
            // The name with the fewest parts is the one that programs ask for.
            found.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
            found.into_iter().next()
        })
    }
}

/// Where tools may be, the first choice first.
fn roots() -> Vec<PathBuf> {
    let variables = ["CAROUSEL_CUDA_TOOLS", "CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"];
    let mut roots: Vec<PathBuf> = variables.iter().filter_map(std::env::var_os).map(PathBuf::from).collect();
    if let Ok(here) = std::env::current_dir() {
        roots.extend(here.ancestors().map(|folder| folder.join(COMPILER.folder)));
    }
    roots
}

/// NVRTC's library, if one of the usual places has it.
pub fn find() -> Option<PathBuf> {
    roots().iter().find_map(|root| COMPILER.file_in(root))
}

/// `ptxas`, if it was installed below the working directory or a folder above it, or a toolkit has it.
pub fn find_assembler() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    let installed = here.ancestors().map(|folder| folder.join(ASSEMBLER.folder));
    roots().into_iter().chain(installed).find_map(|root| ASSEMBLER.file_in(&root))
}

/// Loads NVRTC, once for the process.
///
/// # Errors
/// If it is not there, with what to do, or cannot be loaded.
pub fn load() -> Result<(), ToolchainError> {
    static LOADED: OnceLock<Result<(), ToolchainError>> = OnceLock::new();
    LOADED
        .get_or_init(|| {
            if let Some(path) = find() {
                return load_globally(&path)
                    .map_err(|message| ToolchainError::Broken { path: path.display().to_string(), message });
            }
            // SAFETY: NVRTC's initialisers are those of a library that is meant to be loaded.
            if unsafe { cudarc::nvrtc::sys::is_culib_present() } {
                return Ok(());
            }
            let looked_in: Vec<String> =
                roots().iter().take(4).map(|root| root.display().to_string()).collect();
            Err(ToolchainError::Absent { looked_in: looked_in.join(", ") })
        })
        .clone()
}

/// Loads a library for the rest of the process, so that it is found by its name.
pub(crate) fn load_globally(path: &Path) -> Result<(), String> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: the libraries that are loaded so, NVRTC and drivers, have no initialisers that expect anything.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    library.map(std::mem::forget).map_err(|error| error.to_string())
}

/// Installs a tool from PyPI into a folder, unless it is there, and says where its file is. Several processes may do so at the
/// same time.
///
/// # Errors
/// If `python3 -m pip` cannot be run, or fails.
pub fn install(tool: &Tool, folder: &Path) -> Result<PathBuf, ToolchainError> {
    let arguments = ["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"];
    let command =
        format!("python3 {} --target {} {}", arguments.join(" "), folder.display(), tool.packages.join(" "));
    let fail = |message: String| ToolchainError::NotInstalled { command: command.clone(), message };
    if let Some(file) = tool.file_in(folder) {
        return Ok(file);
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|error| fail(error.to_string()))?;
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let lock = File::create(parent.join(format!("{name}.lock"))).map_err(|error| fail(error.to_string()))?;
    lock.lock().map_err(|error| fail(error.to_string()))?;
    if let Some(file) = tool.file_in(folder) {
        return Ok(file);
    }
    // A folder that is only half there is never seen.
    let unfinished = parent.join(format!("{name}.unfinished"));
    let _ = fs::remove_dir_all(&unfinished);
    let run = Command::new("python3")
        .args(arguments)
        .args(["--root-user-action", "ignore", "--target"])
        .arg(&unfinished)
        .args(tool.packages)
        .output();
    let output = run.map_err(|error| fail(error.to_string()))?;
    if !output.status.success() {
        return Err(fail(String::from_utf8_lossy(&output.stderr).trim().to_string()));
    }
    let _ = fs::remove_dir_all(folder);
    fs::rename(&unfinished, folder).map_err(|error| fail(error.to_string()))?;
    tool.file_in(folder).ok_or_else(|| fail(format!("there is no {} in {}", tool.file, folder.display())))
}
