//! The `//|` lines: the text of a stage as it was blessed.
//!
//! Those of a `RUN` stand between it and the next one, or the end of the file. `INSTA_UPDATE=always` writes them.

use super::directives::FileTest;
use super::stages;
use similar::TextDiff;
use std::path::Path;

const MARK: &str = "//|";

/// Compares every stage's text with what the file expects.
pub(super) fn check(path: &Path, test: &FileTest) -> Result<(), String> {
    let mut texts = Vec::new();
    for run in &test.runs {
        texts.push(stages::text(test, run).map_err(|why| format!("{}:{}: {why}", test.name, run.line))?);
    }
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        let blessed = bless(&test.text, &test.runs.iter().map(|r| r.line).collect::<Vec<_>>(), &texts);
        if blessed != test.text {
            std::fs::write(path, blessed).map_err(|e| e.to_string())?;
        }
        return Ok(());
    }
    for (place, (run, text)) in test.runs.iter().zip(&texts).enumerate() {
        let end = test.runs.get(place + 1).map_or(usize::MAX, |next| next.line - 1);
        let wanted = expectation(&test.text, run.line, end);
        let found = normal(text);
        if found != wanted {
            let diff = TextDiff::from_lines(&wanted, &found);
            let diff = diff.unified_diff().context_radius(3).header("expected", "found").to_string();
            return Err(format!(
                "{}:{}: the text differs (INSTA_UPDATE=always blesses it)\n{diff}",
                test.name, run.line
            ));
        }
    }
    Ok(())
}

/// The expected text between two lines.
fn expectation(text: &str, from: usize, to: usize) -> String {
    let lines = text.lines().enumerate().filter(|(at, _)| (from..to).contains(at));
    let marked = lines.filter_map(|(_, line)| line.strip_prefix(MARK));
    marked.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
}

/// Without spaces at the ends of lines and without empty lines at the end.
fn normal(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The file with new expectations: `texts` go in front of the next `RUN`, or to the end.
fn bless(text: &str, runs: &[usize], texts: &[String]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out: Vec<String> =
        lines[..runs.first().map_or(lines.len(), |first| first - 1)].iter().map(|l| l.to_string()).collect();
    for (place, expected) in texts.iter().enumerate() {
        let end = runs.get(place + 1).map_or(lines.len(), |next| next - 1);
        let section = lines[runs[place] - 1..end].iter().filter(|l| !l.starts_with(MARK));
        out.extend(section.map(|l| l.to_string()));
        while out.last().is_some_and(|l| l.trim().is_empty()) {
            out.pop();
        }
        out.push(String::new());
        out.extend(normal(expected).lines().map(|l| format!("{MARK} {l}").trim_end().to_string()));
        if place + 1 < texts.len() {
            out.push(String::new());
        }
    }
    out.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blessed_text_is_expected() {
        let source = "// RUN: parsed\nfn f\n\n//| old\n\n// RUN: canonical\n//| older\n";
        let texts = ["a\n\n  b \n".to_string(), "c".to_string()];
        let blessed = bless(source, &[1, 6], &texts);
        assert_eq!(blessed, "// RUN: parsed\nfn f\n\n//| a\n//|\n//|   b\n\n// RUN: canonical\n\n//| c\n");
        assert_eq!(expectation(&blessed, 1, 7), normal(&texts[0]));
        assert_eq!(expectation(&blessed, 8, usize::MAX), normal(&texts[1]));
        assert_eq!(bless(&blessed, &[1, 8], &texts), blessed);
    }
}
