//! One trial for each file below `tests/filetests`, and one that looks for operations that no file evaluates.

use carousel_ir::OpKind;
use carousel_tests::filetest;
use libtest_mimic::{Arguments, Trial};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    assert!(!files.is_empty(), "there are no file tests below {}", root.display());
    let mut trials: Vec<Trial> = files.iter().map(|path| trial(&root, path)).collect();
    let operations = root.join("ops");
    let files: Vec<PathBuf> = files.into_iter().filter(|f| f.starts_with(&operations)).collect();
    trials
        .push(Trial::test("every operation is evaluated by a file of ops", move || every_operation(&files)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "xl") {
            files.push(path);
        }
    }
}

fn trial(root: &Path, path: &Path) -> Trial {
    let name = path.strip_prefix(root).unwrap_or(path).with_extension("");
    let path = path.to_path_buf();
    let name = name.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
    Trial::test(name, move || filetest::run(&path).map_err(Into::into))
}

fn every_operation(files: &[PathBuf]) -> Result<(), libtest_mimic::Failed> {
    let mut found = BTreeSet::new();
    for path in files {
        found.extend(filetest::operations(path).map_err(|why| format!("{}: {why}", path.display()))?);
    }
    // No source can write these: only passes make them.
    found.extend([OpKind::LinRead, OpKind::LinReadDecay, OpKind::LinSolve]);
    let missing: Vec<&str> =
        OpKind::ALL.iter().filter(|k| !found.contains(k)).map(|k| k.mnemonic()).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("no file of ops evaluates {}", missing.join(", ")).into())
    }
}
