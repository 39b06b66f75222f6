//! The `.xl` files that come with the program, and where a model's source is found: built in, in a folder, or in a
//! checkpoint.
//!
//! Invariant: a [`ModelSource`] holds every file that it needs as text, so that a checkpoint can keep it and compile
//! again without the originals.

use std::fs;
use std::path::{Path, PathBuf};

use carousel_ir::text::{Failed, Program, parse_program};

use crate::checkpoint::SourceFile;

macro_rules! bundled {
    ($($path:literal),+ $(,)?) => {
        /// Path and text of every built-in file.
        const BUNDLED: &[(&str, &str)] = &[$(($path, include_str!(concat!("../xl/", $path)))),+];
    };
}

bundled!(
    "blocks/feedforward.xl",
    "blocks/large.xl",
    "blocks/mlstm.xl",
    "blocks/slstm.xl",
    "cells/mlstm.xl",
    "cells/slstm.xl",
    "layers/activation.xl",
    "layers/conv.xl",
    "layers/loss.xl",
    "layers/norm.xl",
    "models/large.xl",
    "models/lm.xl",
    "models/sequence.xl",
    "optim/adamw.xl",
    "reference/lstm.xl",
    "reference/mlstm.xl",
    "reference/slstm.xl",
);

/// The built-in language model.
pub const LANGUAGE_MODEL: &str = "models/lm.xl";
/// The built-in optimiser.
pub const OPTIMIZER: &str = "optim/adamw.xl";

/// The text of a built-in file.
pub fn bundled(path: &str) -> Option<&'static str> {
    BUNDLED.iter().find(|(name, _)| *name == path).map(|(_, text)| *text)
}

/// The paths of all built-in files.
pub fn bundled_paths() -> impl Iterator<Item = &'static str> {
    BUNDLED.iter().map(|(path, _)| *path)
}

/// A file of a model that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The system refused.
    #[error("cannot read the model {}: {source}", path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The user's cell replaces nothing.
    #[error(
        "{}: the file defines none of the cells {known}; name the function after the cell that it replaces",
        path.display()
    )]
    NoSuchCell {
        /// Path of the file.
        path: PathBuf,
        /// Names of the cells that can be replaced.
        known: String,
    },
    /// The model has no such cell.
    #[error("{}: the model uses none of the cells that the file defines; it uses {used}", path.display())]
    UnusedCell {
        /// Path of the file.
        path: PathBuf,
        /// Built-in cells that the model uses.
        used: String,
    },
}

/// Which cells a model has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cells {
    /// The paper's equations, from which the compiler derives what is stable.
    Paper,
    /// The published stabilised recurrences.
    Published,
}

/// The text of a model: the file to compile first, then the ones that it uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSource {
    files: Vec<SourceFile>,
}

impl ModelSource {
    /// The built-in language model, or the one in `model`, which may be the path of a built-in file; with the cell in `cell` in place of the built-in one of that name.
    ///
    /// A user's model may use its own files, relative to its folder, and built-in ones.
    pub fn load(model: Option<&Path>, cell: Option<&Path>) -> Result<ModelSource, SourceError> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| SourceError::Io { path: path.to_path_buf(), source })
        };
        let root = match model {
            None => SourceFile { path: LANGUAGE_MODEL.into(), text: builtin_text(LANGUAGE_MODEL) },
            Some(path) => {
                let built_in = path.to_str().filter(|_| !path.exists()).and_then(bundled);
                let text = built_in.map_or_else(|| read(path), |text| Ok(text.to_string()))?;
                SourceFile { path: path.display().to_string(), text }
            }
        };
        let folder = model.and_then(Path::parent).map(Path::to_path_buf);
        let replaced = cell.map(|path| Ok((replaced_files(path, &read(path)?)?, read(path)?))).transpose()?;
        let mut source = ModelSource { files: vec![root] };
        // Parsing asks for every file that is used; what it is given is kept. Problems are reported when it is compiled.
        let found = std::cell::RefCell::new(Vec::new());
        let load = |path: &str| {
            let text = match &replaced {
                Some((files, text)) if files.iter().any(|f| f == path) => Some(text.clone()),
                Some(_) | None => folder
                    .as_ref()
                    .and_then(|folder| fs::read_to_string(folder.join(path)).ok())
                    .or_else(|| bundled(path).map(str::to_string)),
            };
            let text = text.ok_or_else(|| {
                format!("there is no file `{path}` beside the model nor among the built-in ones")
            })?;
            found.borrow_mut().push(SourceFile { path: path.into(), text: text.clone() });
            Ok(text)
        };
        let parsed = parse_program(&source.files[0].path, &source.files[0].text, &load);
        source.files.extend(found.into_inner());
        if let (Some(cell), Some((files, _)), Ok(_)) = (cell, &replaced, parsed)
            && !source.files.iter().any(|f| files.contains(&f.path))
        {
            let cells = source.files.iter().filter_map(|f| cell_name(&f.path)).map(|c| format!("`{c}`"));
            let used = cells.collect::<Vec<_>>().join(", ");
            let used = if used.is_empty() { "none of the built-in ones".to_string() } else { used };
            return Err(SourceError::UnusedCell { path: cell.to_path_buf(), used });
        }
        Ok(source)
    }

    /// A built-in model with these cells.
    ///
    /// # Panics
    /// If there is no such model.
    pub fn builtin(model: &str, cells: Cells) -> ModelSource {
        let root = SourceFile { path: model.into(), text: builtin_text(model) };
        let found = std::cell::RefCell::new(vec![root.clone()]);
        let load = |path: &str| {
            let published = path.strip_prefix("cells/").map(|cell| format!("reference/{cell}"));
            let from = match cells {
                Cells::Paper => None,
                Cells::Published => published,
            };
            let text = builtin_text(from.as_deref().unwrap_or(path));
            found.borrow_mut().push(SourceFile { path: path.into(), text: text.clone() });
            Ok(text)
        };
        // Problems are reported when it is compiled.
        let _ = parse_program(&root.path, &root.text, &load);
        ModelSource { files: found.into_inner() }
    }

    /// A model from the files of a checkpoint; the first one is the file to compile.
    pub fn from_files(files: Vec<SourceFile>) -> ModelSource {
        ModelSource { files }
    }

    /// The files, the one to compile first.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// Parses it.
    pub fn parse(&self) -> Result<Program, Failed> {
        let load = |path: &str| {
            let file = self.files.iter().skip(1).find(|f| f.path == path);
            file.map(|f| f.text.clone()).ok_or_else(|| {
                format!("there is no file `{path}` beside the model nor among the built-in ones")
            })
        };
        parse_program(&self.files[0].path, &self.files[0].text, &load)
    }
}

fn builtin_text(path: &str) -> String {
    bundled(path).unwrap_or_else(|| panic!("`{path}` is built in")).to_string()
}

/// The cell that a built-in file is there for.
fn cell_name(file: &str) -> Option<&str> {
    let cell = file.strip_prefix("cells/").or(file.strip_prefix("reference/"))?;
    cell.strip_suffix(".xl")
}

/// The built-in files that a user's cell file stands for: those of the same name as a function in it.
fn replaced_files(path: &Path, text: &str) -> Result<Vec<String>, SourceError> {
    let cells = BUNDLED.iter().filter_map(|(file, _)| Some((*file, cell_name(file)?)));
    let defines = |name: &str| {
        text.lines().any(|line| {
            let rest = line.trim_start().strip_prefix("fn ").unwrap_or_default().trim_start();
            rest.strip_prefix(name).is_some_and(|rest| rest.starts_with(['(', '<', ' ']))
        })
    };
    let found: Vec<String> =
        cells.clone().filter(|(_, name)| defines(name)).map(|(file, _)| file.to_string()).collect();
    if found.is_empty() {
        let known: std::collections::BTreeSet<String> = cells.map(|(_, name)| format!("`{name}`")).collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        return Err(SourceError::NoSuchCell { path: path.to_path_buf(), known });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_file_parses() {
        for path in bundled_paths() {
            let load = |used: &str| bundled(used).map(str::to_string).ok_or_else(|| format!("no `{used}`"));
            let parsed = parse_program(path, &builtin_text(path), &load);
            assert!(parsed.is_ok(), "{path}: {:?}", parsed.err().map(|f| f.diagnostics));
        }
    }

    #[test]
    fn a_cell_replaces_the_built_in_file_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.xl");
        fs::write(&path, "// mine\nfn mlstm(q: [s, dk]) -> (h: [s]) {\n}\n").unwrap();
        let source = ModelSource::load(None, Some(&path)).unwrap();
        let used = source.files().iter().find(|f| f.path == "cells/mlstm.xl").unwrap();
        assert!(used.text.starts_with("// mine"));
        fs::write(&path, "fn other(q: [s]) -> (h: [s]) {\n}\n").unwrap();
        let error = ModelSource::load(None, Some(&path)).unwrap_err().to_string();
        assert!(error.contains("`mlstm`") && error.contains("mine.xl"), "{error}");
        fs::write(&path, "fn lstm(q: [s]) -> (h: [s]) {\n}\n").unwrap();
        let error = ModelSource::load(None, Some(&path)).unwrap_err().to_string();
        assert!(error.contains("it uses `slstm`") && error.contains("`mlstm`"), "{error}");
    }
}
