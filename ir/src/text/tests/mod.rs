//! Whole programs through the text form.

mod mistakes;
mod mutation;
mod plain;
mod programs;

use super::*;
use crate::{Module, verify};
use std::path::Path;

fn no_files(path: &str) -> Result<String, String> {
    Err(format!("there is no {path}"))
}

fn model_files(path: &str) -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/xl");
    std::fs::read_to_string(root.join(path)).map_err(|e| e.to_string())
}

fn parsed(text: &str) -> Program {
    parse_program("test.xl", text, &no_files).unwrap_or_else(|f| panic!("{f}"))
}

fn elaborated(program: &Program, entries: &[&str], options: &Options) -> Module {
    let module = elaborate(program, entries, options)
        .unwrap_or_else(|d| panic!("{}", program.sources.render(&d, crate::RenderStyle::Plain)));
    let problems = verify(&module);
    assert!(problems.is_empty(), "{problems:?}\n{}", print(&module));
    round_trip(&module);
    module
}

fn round_trip(module: &Module) {
    let text = print(module);
    let again = parse_module(&text).unwrap_or_else(|f| panic!("{f}\n{text}"));
    assert!(again == *module, "{text}\nwas read as\n{}", print(&again));
    assert_eq!(print(&again), text);
}

#[test]
fn model_files_elaborate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/xl");
    for folder in std::fs::read_dir(&root).expect("the models are there").flatten() {
        let files = std::fs::read_dir(folder.path()).expect("a folder").flatten();
        for file in files.filter(|f| f.path().extension().is_some_and(|e| e == "xl")) {
            let name = file.path().strip_prefix(&root).expect("inside").display().to_string();
            let program = parse_program(&name, &model_files(&name).expect("readable"), &model_files)
                .unwrap_or_else(|f| panic!("{f}"));
            let problems = check(&program);
            assert!(problems.is_empty(), "{}", program.sources.render(&problems, crate::RenderStyle::Plain));
            for definition in &program.definitions {
                if definition.config.iter().all(|c| c.default.is_some()) {
                    elaborated(&program, &[definition.name.name.as_str()], &Options::default());
                }
            }
        }
    }
}
