//! How a program that has loaded the stand-in driver asks it for more than a driver does.
//!
//! Everything is about the launches of the calling thread.

use crate::machine::Mode;
use crate::record::Record;
use libloading::{Library, Symbol};
use std::path::{Path, PathBuf};

/// The stand-in driver, loaded.
pub struct Client {
    library: Library,
}

/// A library that is not the stand-in driver, or not there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{path}: {message}", path = path.display())]
pub struct NotLoaded {
    /// Which library.
    pub path: PathBuf,
    /// What is wrong with it.
    pub message: String,
}

/// The file name of the stand-in driver.
pub const FILE_NAME: &str = "libcarousel_emulator.so";

/// Where the stand-in driver of this build is: beside the running program, or among what it was built with.
pub fn built_library() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?;
    let folders = [folder.join("deps"), folder.to_path_buf(), folder.join("../deps")];
    folders.iter().map(|folder| folder.join(FILE_NAME)).find(|path| path.is_file())
}

impl Client {
    /// Loads the library, or finds the one that is loaded already.
    ///
    /// # Errors
    /// If it is not there, or is another one.
    pub fn load(path: &Path) -> Result<Client, NotLoaded> {
        let fail = |message: String| NotLoaded { path: path.to_path_buf(), message };
        // SAFETY: the library has no initialisers, and its entry points are those of this crate.
        let library = unsafe { Library::new(path) }.map_err(|error| fail(error.to_string()))?;
        let client = Client { library };
        client.symbol::<extern "C" fn(u32)>(b"carousel_emulator_set_mode").map_err(fail)?;
        Ok(client)
    }

    fn symbol<T>(&self, name: &[u8]) -> Result<Symbol<'_, T>, String> {
        // SAFETY: the types given below are those of the functions in `driver/extension.rs`.
        unsafe { self.library.get(name) }.map_err(|_| "this is not the emulated device".to_string())
    }

    /// How much the thread's launches check from now on.
    pub fn set_mode(&self, mode: Mode) {
        if let Ok(set) = self.symbol::<extern "C" fn(u32)>(b"carousel_emulator_set_mode") {
            set(match mode {
                Mode::Strict => 1,
                Mode::Fast => 2,
            });
        }
    }

    /// Adds memory that the thread's next launch may touch.
    pub fn allow(&self, start: u64, bytes: u64) {
        if let Ok(allow) = self.symbol::<extern "C" fn(u64, u64)>(b"carousel_emulator_allow") {
            allow(start, bytes);
        }
    }

    /// What is in this memory now has no value any more.
    pub fn forget(&self, start: u64, bytes: u64) {
        if let Ok(forget) = self.symbol::<extern "C" fn(u64, u64)>(b"carousel_emulator_forget") {
            forget(start, bytes);
        }
    }

    /// What the thread's launches did since the last call.
    pub fn take_records(&self) -> Vec<Record> {
        type Take = unsafe extern "C" fn(*mut u8, usize) -> usize;
        let Ok(take) = self.symbol::<Take>(b"carousel_emulator_take_records") else { return Vec::new() };
        let mut text: Vec<u8> = Vec::new();
        loop {
            // SAFETY: the buffer has as many bytes as its length says.
            let bytes = unsafe { take(text.as_mut_ptr(), text.len()) };
            if bytes <= text.len() {
                text.truncate(bytes);
                return serde_json::from_slice(&text).unwrap_or_default();
            }
            text.resize(bytes, 0);
        }
    }
}
