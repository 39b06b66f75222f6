//! Where the workspace lies, its manifests and its source files, for tests that check how it is built up.
//!
//! Invariant: paths are relative to the root of the workspace, with `/` between folders, in sorted order.

use std::path::{Path, PathBuf};

/// A text file of the workspace.
pub struct TextFile {
    /// Its path from the root.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of a file, by its path from the root.
///
/// # Errors
/// If it cannot be read.
pub fn read(path: &str) -> std::io::Result<String> {
    std::fs::read_to_string(root().join(path))
}

/// The folders of the members of the workspace.
///
/// # Panics
/// If the manifest of the workspace cannot be read.
pub fn members() -> Vec<String> {
    let manifest: toml::Table =
        read("Cargo.toml").expect("the manifest of the workspace").parse().expect("TOML");
    let members = manifest["workspace"]["members"].as_array().expect("a list of members");
    members.iter().map(|m| m.as_str().expect("a path").to_string()).collect()
}

/// All files below `folder` whose name ends in `.extension`.
///
/// # Panics
/// If a file cannot be read.
pub fn files(folder: &str, extension: &str) -> Vec<TextFile> {
    let mut paths = Vec::new();
    collect(&root().join(folder), folder, &mut paths);
    paths.retain(|p| Path::new(p).extension().is_some_and(|e| e == extension));
    paths.sort();
    let text = |path: &String| read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    paths.iter().map(|path| TextFile { text: text(path), path: path.clone() }).collect()
}

fn collect(folder: &Path, name: &str, paths: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let path = if name.is_empty() { file.clone() } else { format!("{name}/{file}") };
        if entry.path().is_dir() {
            // Build products and hidden folders are not sources.
            if file != "target" && !file.starts_with('.') {
                collect(&entry.path(), &path, paths);
            }
        } else {
            paths.push(path);
        }
    }
}

/// The text without comments and without the contents of strings; as many lines as before.
pub fn code_of(rust: &str) -> String {
    let bytes: Vec<char> = rust.chars().collect();
    let mut code = String::with_capacity(rust.len());
    let mut at = 0;
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| bytes.get(at + i) == Some(&c));
    while at < bytes.len() {
        if starts(at, "//") {
            while at < bytes.len() && bytes[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            while at < bytes.len() && !starts(at, "*/") {
                code.extend((bytes[at] == '\n').then_some('\n'));
                at += 1;
            }
            at += 2;
        } else if starts(at, "r\"") || starts(at, "r#\"") {
            let hashes = bytes[at + 1..].iter().take_while(|c| **c == '#').count();
            let close: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            at += hashes + 2;
            while at < bytes.len() && !starts(at, &close) {
                code.extend((bytes[at] == '\n').then_some('\n'));
                at += 1;
            }
            at += close.len();
            code.push_str("\"\"");
        } else if bytes[at] == '"' {
            at += 1;
            while at < bytes.len() && bytes[at] != '"' {
                code.extend((bytes[at] == '\n').then_some('\n'));
                // A line may end in a backslash within a string.
                if bytes[at] == '\\' {
                    at += 1;
                    code.extend((bytes.get(at) == Some(&'\n')).then_some('\n'));
                }
                at += 1;
            }
            at += 1;
            code.push_str("\"\"");
        } else if bytes[at] == '\'' && (starts(at + 2, "'") || starts(at + 1, "\\")) {
            // A character, not a lifetime.
            at += if starts(at + 1, "\\") { 3 } else { 2 };
            while at < bytes.len() && bytes[at] != '\'' {
                at += 1;
            }
            at += 1;
            code.push_str("' '");
        } else {
            code.push(bytes[at]);
            at += 1;
        }
    }
    code
}

/// Whether `word` stands in `code` as a whole word.
pub fn has_word(code: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(word)
        .any(|(at, _)| !part(code[..at].chars().next_back()) && !part(code[at + word.len()..].chars().next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_not_code() {
        let text = "let a = \"unsafe // x\"; // unsafe\nlet b = r#\"un\"safe\"#; /* unsafe\n */ let c = '\"';\nunsafe {}";
        let code = code_of(text);
        assert_eq!(code.lines().count(), text.lines().count());
        let lines: Vec<&str> = code.lines().collect();
        assert!(
            !has_word(lines[0], "unsafe") && !has_word(lines[1], "unsafe") && !has_word(lines[2], "unsafe")
        );
        assert!(lines[2].contains("let c") && has_word(lines[3], "unsafe"), "{code}");
        assert!(!has_word("unsafe_code", "unsafe"));
    }
}
