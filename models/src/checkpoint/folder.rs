//! The folder of a checkpoint and how it is replaced.
//!
//! For a checkpoint in `X` a save writes `X.new`, moves `X` to `X.previous`, then `X.new` to `X`. Each move is one
//! rename within a folder, and everything is flushed to the disk before the first.
//!
//! Invariant: at every instant `X` or else `X.previous` is complete. Nothing but a checkpoint is ever removed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::CheckpointError;
use super::tensor_file::write_tensors;
use super::{MANIFEST_FILE, MODEL_FILE, OPTIMIZER_FILE, Snapshot};
use crate::tokenizer::TOKENIZER_FILE;

/// Writes a checkpoint, in place of the one that may be there; that one is kept as `FOLDER.previous`.
pub fn save(folder: &Path, snapshot: &Snapshot<'_>) -> Result<(), CheckpointError> {
    let (new, previous) = (sibling(folder, ".new")?, sibling(folder, ".previous")?);
    let parent = parent(folder);
    fs::create_dir_all(parent).map_err(CheckpointError::io("create the folder", parent))?;
    for replaced in [folder, &new, &previous] {
        refuse_anything_else(replaced)?;
    }
    remove(&new)?;
    if let Err(error) = write(&new, snapshot) {
        // Half a checkpoint is of no use, and would keep a full disk full.
        let _ = remove(&new);
        return Err(error);
    }
    if lacks(folder).is_none() {
        // `folder` is complete, so its predecessor is not needed until it has moved there itself.
        remove(&previous)?;
        fs::rename(folder, &previous).map_err(CheckpointError::io("move away", folder))?;
    } else {
        remove(folder)?;
    }
    fs::rename(&new, folder).map_err(CheckpointError::io("move into place", &new))?;
    flush(parent)
}

/// The folder to read: the one asked for, or its predecessor if a save was cut short between its two moves.
pub(super) fn complete(folder: &Path) -> Result<PathBuf, CheckpointError> {
    let previous = sibling(folder, ".previous").ok();
    let candidates = [Some(folder), previous.as_deref()];
    if let Some(found) = candidates.into_iter().flatten().find(|candidate| lacks(candidate).is_none()) {
        return Ok(found.into());
    }
    Err(match lacks(folder) {
        Some(missing) if folder.exists() => {
            CheckpointError::NotACheckpoint { folder: folder.into(), missing }
        }
        Some(_) | None => CheckpointError::NoFolder { folder: folder.into() },
    })
}

/// A file that is needed to make a checkpoint of a folder.
fn lacks(folder: &Path) -> Option<&'static str> {
    [MANIFEST_FILE, MODEL_FILE, OPTIMIZER_FILE].into_iter().find(|name| !folder.join(name).exists())
}

/// Writes and flushes the files into a folder that does not exist yet.
fn write(folder: &Path, snapshot: &Snapshot<'_>) -> Result<(), CheckpointError> {
    let Snapshot { manifest, parameters, first_moments, second_moments, carried, tokenizer } = *snapshot;
    let path = |name| folder.join(name);
    fs::create_dir(folder).map_err(CheckpointError::io("create the folder", folder))?;

    let broken = manifest.parameters.iter().find(|(_, value)| !value.is_finite());
    if let Some((name, _)) = broken {
        // JSON has no such numbers, and a checkpoint that cannot be read is worse than none.
        let message = format!("the compile-time parameter `{name}` is infinite or not a number");
        return Err(CheckpointError::Unwritable { path: path(MANIFEST_FILE), message });
    }
    // The manifest first: by it an unfinished folder is known for one of ours.
    let text = manifest.to_json().map_err(|error| CheckpointError::Unwritable {
        path: path(MANIFEST_FILE),
        message: error.to_string(),
    })?;
    let written = File::create(path(MANIFEST_FILE)).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        Ok(file.metadata()?.permissions())
    });
    let permissions = written.map_err(CheckpointError::io("write", path(MANIFEST_FILE)))?;

    write_tensors(&path(MODEL_FILE), &[("", parameters)])?;
    let optimizer = [("m.", first_moments), ("v.", second_moments), ("", carried)];
    write_tensors(&path(OPTIMIZER_FILE), &optimizer)?;
    for name in [MODEL_FILE, OPTIMIZER_FILE] {
        // The library makes files that only their owner can read.
        fs::set_permissions(path(name), permissions.clone())
            .map_err(CheckpointError::io("write", path(name)))?;
    }
    if let Some(json) = tokenizer {
        fs::write(path(TOKENIZER_FILE), json).map_err(CheckpointError::io("write", path(TOKENIZER_FILE)))?;
    }
    let written =
        [MANIFEST_FILE, MODEL_FILE, OPTIMIZER_FILE].into_iter().chain(tokenizer.map(|_| TOKENIZER_FILE));
    for name in written {
        flush(&path(name))?;
    }
    flush(folder)
}

/// Waits until a file, or the names in a folder, are on the disk.
fn flush(path: &Path) -> Result<(), CheckpointError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(CheckpointError::io("flush", path))
}

/// An error if there is something at the path that no save has put there.
fn refuse_anything_else(folder: &Path) -> Result<(), CheckpointError> {
    let in_the_way = || CheckpointError::InTheWay { folder: folder.into() };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(folder).is_err() => {
            return Ok(());
        }
        Err(_) => return Err(in_the_way()),
    };
    for entry in entries {
        let entry = entry.map_err(CheckpointError::io("read the folder", folder))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Half-written tensor files have names of their own, beginning with a dot.
        let ours = [MANIFEST_FILE, MODEL_FILE, OPTIMIZER_FILE, TOKENIZER_FILE].contains(&&*name)
            || name.starts_with(".tmp");
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !(ours && is_file) {
            return Err(in_the_way());
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<(), CheckpointError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CheckpointError::io("remove the old checkpoint", folder)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn parent(folder: &Path) -> &Path {
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// The folder beside another, with a longer name.
fn sibling(folder: &Path, suffix: &str) -> Result<PathBuf, CheckpointError> {
    let name = folder.file_name().ok_or_else(|| CheckpointError::NoName { folder: folder.into() })?;
    let mut name = name.to_os_string();
    name.push(suffix);
    Ok(folder.with_file_name(name))
}
