//! The architecture's invariants that manifests and source files show: which crate may know which, which library
//! stands where, and what every source file looks like.
//!
//! It reads text and compiles nothing; what the compiler and clippy check is not repeated here.

use carousel_tests::workspace::{TextFile, code_of, files, has_word, members, read};

/// The own crates that each crate may depend on (outside its tests).
#[rustfmt::skip]
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("ir",                 &[]),
    ("passes",             &["carousel-ir"]),
    ("autodiff",           &["carousel-ir"]),
    ("backends/core",      &["carousel-ir"]),
    ("backends/reference", &["carousel-ir"]),
    ("backends/cpu",       &["carousel-ir", "carousel-core"]),
    // The emulated device is there on request only; it knows nothing of the workspace.
    ("backends/cuda",      &["carousel-ir", "carousel-core", "carousel-emulator"]),
    ("models",             &["carousel-ir", "carousel-passes", "carousel-autodiff", "carousel-core", "carousel-reference", "carousel-cpu"]),
    ("carousel",           &["carousel-ir", "carousel-passes", "carousel-autodiff", "carousel-core", "carousel-reference", "carousel-cpu", "carousel-cuda", "carousel-models"]),
    ("tests",              &["carousel-ir", "carousel-passes", "carousel-autodiff", "carousel-core", "carousel-reference", "carousel-cpu", "carousel-cuda", "carousel-emulator", "carousel-models", "carousel-testkit", "carousel"]),
    // What tests compare with is the reference; nothing but tests knows the kit.
    ("testkit",            &["carousel-ir", "carousel-passes", "carousel-autodiff", "carousel-core", "carousel-reference", "carousel-cpu", "carousel-cuda", "carousel-models"]),
    ("tests/emulator",     &[]),
];

/// Libraries that only one crate may use, by the beginning of their names.
#[rustfmt::skip]
const ONLY_IN: &[(&str, &str)] = &[
    ("egg",       "passes"),
    ("cranelift", "backends/cpu"),
    ("cudarc",    "backends/cuda"),
    ("gemm",      "backends/cpu"),
    ("rayon",     "backends/cpu"),
    ("petgraph",  "backends/core"),
];

/// Libraries whose types no public signature shows, by the names of their modules.
const HIDDEN: &[&str] = &["egg", "petgraph", "cranelift", "cudarc"];

/// Where `unsafe` is needed: machine code, devices and their drivers, and the one place that maps a file into memory.
const MAY_BE_UNSAFE: &[&str] = &[
    "backends/cpu/",
    "backends/cuda/src/",
    "tests/emulator/src/driver/",
    "tests/emulator/src/client.rs",
    "models/src/files.rs",
];

/// Most lines of a source file.
const MOST_LINES: usize = 650;

const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

fn manifest(member: &str) -> (toml::Table, String) {
    let path = format!("{member}/Cargo.toml");
    let text = read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    (text.parse().unwrap_or_else(|e| panic!("{path}: {e}")), text)
}

fn dependencies(manifest: &toml::Table, section: &str) -> Vec<String> {
    let table = manifest.get(section).and_then(toml::Value::as_table);
    table.into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

fn sources() -> Vec<TextFile> {
    let sources: Vec<TextFile> = members().iter().flat_map(|member| files(member, "rs")).collect();
    assert!(sources.len() > 50, "only {} source files were found", sources.len());
    sources
}

fn none(problems: &[String]) {
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn crates_know_only_the_layers_below() {
    let mut problems = Vec::new();
    for member in members() {
        let Some((_, known)) = MAY_KNOW.iter().find(|(name, _)| *name == member) else {
            problems.push(format!("{member}: a new crate; say in MAY_KNOW what it may depend on"));
            continue;
        };
        let (manifest, _) = manifest(&member);
        for section in ["dependencies", "build-dependencies"] {
            let own = dependencies(&manifest, section).into_iter().filter(|d| d.starts_with("carousel"));
            problems.extend(
                own.filter(|d| !known.contains(&d.as_str())).map(|d| format!("{member} must not know {d}")),
            );
        }
    }
    none(&problems);
}

/// What runs on the CPU is not what it is checked against, and it does not reach it by a detour either.
#[test]
fn the_cpu_does_not_depend_on_the_reference() {
    let (mut waiting, mut reached) = (vec!["carousel-cpu".to_string()], Vec::new());
    let folders: Vec<(String, String)> = members()
        .into_iter()
        .map(|member| {
            let (manifest, _) = manifest(&member);
            (manifest["package"]["name"].as_str().expect("a name").to_string(), member)
        })
        .collect();
    while let Some(name) = waiting.pop() {
        let Some((_, member)) = folders.iter().find(|(n, _)| *n == name) else { continue };
        let (manifest, _) = manifest(member);
        waiting
            .extend(["dependencies", "build-dependencies"].iter().flat_map(|s| dependencies(&manifest, s)));
        reached.push(name);
    }
    assert!(reached.iter().any(|n| n == "carousel-core"), "only {reached:?} were reached");
    assert!(!reached.iter().any(|n| n == "carousel-reference"), "carousel-cpu depends on {reached:?}");
}

/// Whoever tests for the CPU alone builds nothing of CUDA.
#[test]
fn the_test_kit_knows_cuda_on_request_only() {
    let (manifest, _) = manifest("testkit");
    let is_optional =
        manifest["dependencies"]["carousel-cuda"].get("optional").and_then(toml::Value::as_bool);
    assert_eq!(is_optional, Some(true), "carousel-cuda is there for feature `cuda`");
    assert!(manifest["features"].get("default").is_none(), "no feature is there by default");
}

#[test]
fn libraries_stand_where_they_belong() {
    let mut problems = Vec::new();
    for member in members() {
        let (manifest, _) = manifest(&member);
        for (name, section) in
            SECTIONS.iter().flat_map(|s| dependencies(&manifest, s).into_iter().map(move |d| (d, s)))
        {
            let home = ONLY_IN.iter().find(|(library, _)| {
                name.strip_prefix(library).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            });
            if let Some((_, home)) = home.filter(|(_, home)| *home != member) {
                problems.push(format!("{member} uses {name} ({section}), which belongs in {home}"));
            }
        }
    }
    none(&problems);
}

#[test]
fn versions_are_pinned_once() {
    let mut problems = Vec::new();
    for member in members() {
        let (manifest, _) = manifest(&member);
        for section in SECTIONS {
            let table = manifest.get(section).and_then(toml::Value::as_table);
            for (name, value) in table.into_iter().flatten() {
                if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                    problems.push(format!("{member}: write `{name}.workspace = true`"));
                }
            }
        }
    }
    none(&problems);
}

#[test]
fn every_dependency_says_why() {
    let mut problems = Vec::new();
    for member in members() {
        problems.extend(
            unexplained(&manifest(&member).1).into_iter().map(|d| format!("{member}: say above {d} why")),
        );
    }
    none(&problems);
}

/// Dependencies without a comment right above. Neighbours of one family (`cranelift-..`, `serde_..`) share a comment; own crates
/// need none.
fn unexplained(manifest: &str) -> Vec<String> {
    let (mut inside, mut explained, mut found) = (false, None::<String>, Vec::new());
    let mut is_comment_above = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            let section = line.trim_matches(['[', ']']);
            inside = section.rsplit('.').next().is_some_and(|last| SECTIONS.contains(&last));
        } else if inside && line.contains('=') && !line.starts_with('#') {
            let name: String =
                line.chars().take_while(|c| c.is_alphanumeric() || "-_".contains(*c)).collect();
            let family = name.split(['-', '_']).next().unwrap_or_default().to_string();
            if family != "carousel" {
                if !is_comment_above && explained.as_ref() != Some(&family) {
                    found.push(name);
                }
                explained = Some(family);
            }
            is_comment_above = false;
            continue;
        }
        is_comment_above = line.starts_with('#');
        explained = None;
    }
    found
}

#[test]
fn unexplained_dependencies_are_noticed() {
    let text = "[dependencies]\ncarousel-ir.workspace = true\n# Machine code.\ncranelift-jit.workspace = true\n\
                cranelift-module.workspace = true\negg.workspace = true\n\n[dev-dependencies]\ninsta = \"1\"\n";
    assert_eq!(unexplained(text), ["egg", "insta"]);
}

#[test]
fn every_source_file_says_what_it_is() {
    let wrong = sources().into_iter().filter(|f| !f.text.starts_with("//!"));
    none(&wrong.map(|f| format!("{} does not open with `//!`", f.path)).collect::<Vec<_>>());
}

#[test]
fn source_files_are_short() {
    let lines = |f: &TextFile| f.text.lines().count();
    let wrong = sources().into_iter().filter(|f| lines(f) > MOST_LINES);
    none(
        &wrong
            .map(|f| format!("{} has {} lines: find the second thing it does", f.path, lines(&f)))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn unsafe_code_is_where_it_must_be_and_says_why() {
    let mut problems = Vec::new();
    for file in sources() {
        let code = code_of(&file.text);
        let text: Vec<&str> = file.text.lines().collect();
        for (at, line) in code.lines().enumerate().filter(|(_, line)| has_word(line, "unsafe")) {
            let place = format!("{}:{}", file.path, at + 1);
            if !MAY_BE_UNSAFE.iter().any(|allowed| file.path.starts_with(allowed)) {
                problems.push(format!("{place}: `unsafe` does not belong here"));
            } else if needs_reason(line) && !reason_above(&text, at) {
                problems.push(format!("{place}: say in a `// SAFETY:` comment why this is sound"));
            }
        }
    }
    none(&problems);
}

/// Unsafe functions and their types put the duty on their callers; blocks and implementations discharge one.
fn needs_reason(line: &str) -> bool {
    line.split("unsafe").skip(1).any(|rest| {
        let rest = rest.trim_start();
        rest.starts_with('{') || rest.starts_with("impl")
    })
}

/// Whether the comment that stands above the statement of line `at` gives a reason.
fn reason_above(text: &[&str], at: usize) -> bool {
    text[at.saturating_sub(8)..=at].iter().any(|line| line.contains("SAFETY:"))
}

#[test]
fn public_signatures_hide_the_libraries() {
    let problems: Vec<String> = sources()
        .iter()
        .flat_map(|file| {
            shown(&code_of(&file.text)).into_iter().map(move |what| format!("{}: {what}", file.path))
        })
        .collect();
    none(&problems);
}

/// Public signatures in which a hidden library, or a name imported from it, occurs.
fn shown(code: &str) -> Vec<String> {
    let hidden = |word: &str| {
        HIDDEN.iter().any(|h| word == *h || word.strip_prefix(h).is_some_and(|r| r.starts_with('_')))
    };
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|w| !w.is_empty())
            .map(str::to_string)
            .collect()
    };
    let mut names: Vec<String> = Vec::new();
    for import in code.split(';').filter_map(|s| s.rsplit_once("use ").map(|(_, import)| import)) {
        let import = words(import);
        if import.first().is_some_and(|first| hidden(first)) {
            names.extend(import.into_iter().skip(1).filter(|w| w.starts_with(char::is_uppercase)));
        }
    }
    let mut found = Vec::new();
    for (at, _) in code.match_indices("pub ") {
        if code[..at].chars().next_back().is_some_and(|c| !c.is_whitespace()) {
            continue;
        }
        let signature = &code[at..];
        let end = signature.find(['{', ';']).unwrap_or(signature.len());
        let signature = &signature[..end];
        if words(signature).iter().any(|w| hidden(w) || names.contains(w)) {
            found.push(signature.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    found
}

#[test]
fn shown_libraries_are_noticed() {
    let code = "use egg::{EGraph, Id as Class};\npub fn a(x: &EGraph<L, N>) {}\npub struct Own(u32);\n\
                fn hidden(x: EGraph) {}\npub(crate) fn inner(x: EGraph) {}\npub fn b() -> cranelift_jit::JITModule { x }\n";
    assert_eq!(shown(code), ["pub fn a(x: &EGraph<L, N>)", "pub fn b() -> cranelift_jit::JITModule"]);
}
