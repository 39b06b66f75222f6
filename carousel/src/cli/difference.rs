//! Two texts compared line by line.

use carousel_ir::RenderStyle;
use similar::{ChangeTag, TextDiff};

/// How many unchanged lines stand around changed ones.
const CONTEXT: usize = 3;

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const CYAN: &str = "\x1b[36m";
const END: &str = "\x1b[0m";

/// What changes from `old` to `new`, in the unified format; empty if nothing does.
pub(super) fn unified(old: &str, new: &str, (from, to): (&str, &str), style: RenderStyle) -> String {
    let painted = |colour: &str, line: &str| match style {
        RenderStyle::Plain => format!("{line}\n"),
        RenderStyle::Colour => format!("{colour}{line}{END}\n"),
    };
    let differences = TextDiff::from_lines(old, new);
    let mut out = String::new();
    for hunk in differences.unified_diff().context_radius(CONTEXT).iter_hunks() {
        if out.is_empty() {
            out += &painted(RED, &format!("--- {from}"));
            out += &painted(GREEN, &format!("+++ {to}"));
        }
        out += &painted(CYAN, &hunk.header().to_string());
        for change in hunk.iter_changes() {
            let line = change.value().trim_end_matches('\n');
            out += &match change.tag() {
                ChangeTag::Equal => format!(" {line}\n"),
                ChangeTag::Delete => painted(RED, &format!("-{line}")),
                ChangeTag::Insert => painted(GREEN, &format!("+{line}")),
            };
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_stand_among_their_neighbours() {
        let (old, new) = ("a\nb\nc\nd\ne\nf\n", "a\nb\nc\nd\nE\nf\n");
        let plain = unified(old, new, ("parsed", "stable"), RenderStyle::Plain);
        assert_eq!(plain, "--- parsed\n+++ stable\n@@ -2,5 +2,5 @@\n b\n c\n d\n-e\n+E\n f\n");
        let coloured = unified(old, new, ("parsed", "stable"), RenderStyle::Colour);
        assert!(coloured.contains("\x1b[31m-e\x1b[0m\n\x1b[32m+E\x1b[0m\n"), "{coloured}");
        assert_eq!(unified(old, old, ("parsed", "stable"), RenderStyle::Plain), "");
    }
}
