//! What the compiler tells people: every problem with a code, a place in the source, and a suggestion where one is
//! likely.

use ariadne::{CharSet, Color, Config, IndexType, Label, Report, ReportKind};
use std::fmt;

/// A range of bytes in one file of a [`Sources`]. The default span is "nowhere": made by the compiler.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Span {
    /// Number of the file in its [`Sources`]; `u32::MAX` for nowhere.
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Default for Span {
    fn default() -> Span {
        Span { file: u32::MAX, start: 0, end: 0 }
    }
}

impl Span {
    /// From here to the end of `other`.
    pub fn to(self, other: Span) -> Span {
        Span { end: other.end.max(self.end), ..self }
    }

    /// Whether this is a place in a source.
    pub fn is_known(self) -> bool {
        self.file != u32::MAX
    }
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The program is refused.
    Error,
    /// It is accepted; something deserves a look.
    Warning,
}

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// A stable short code, `axis-unknown`.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// One sentence: what is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// Other places that matter, each with what it is.
    pub related: Vec<(Span, String)>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            span,
            related: Vec::new(),
            help: None,
        }
    }

    /// A warning at `span`.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, span, message) }
    }

    /// With advice.
    pub fn with_help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// With another place.
    pub fn with_related(mut self, span: Span, what: impl Into<String>) -> Diagnostic {
        self.related.push((span, what.into()));
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.code)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// One file of a program.
#[derive(Clone, Debug)]
pub struct Source {
    /// How messages call it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The files of a program; spans refer to them by number.
#[derive(Clone, Default, Debug)]
pub struct Sources {
    files: Vec<Source>,
}

impl Sources {
    /// Adds a file and returns its number.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> u32 {
        self.files.push(Source { name: name.into(), text: text.into() });
        self.files.len() as u32 - 1
    }

    /// A file by number.
    pub fn get(&self, file: u32) -> Option<&Source> {
        self.files.get(file as usize)
    }

    /// All files, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.files.iter()
    }

    /// Line and column of a span's start, from 1.
    pub fn line_column(&self, span: Span) -> Option<(usize, usize)> {
        let text = self.get(span.file)?.text.get(..span.start as usize)?;
        let line_start = text.rfind('\n').map_or(0, |at| at + 1);
        Some((text.matches('\n').count() + 1, text[line_start..].chars().count() + 1))
    }

    /// The messages as people read them: each with its source line, then a count.
    pub fn render(&self, diagnostics: &[Diagnostic], style: RenderStyle) -> String {
        let mut out = Vec::new();
        for diagnostic in diagnostics {
            self.render_one(diagnostic, style, &mut out);
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    fn render_one(&self, d: &Diagnostic, style: RenderStyle, out: &mut Vec<u8>) {
        use std::io::Write;
        let files = ariadne::sources(self.files.iter().map(|f| (f.name.clone(), f.text.clone())));
        let config = Config::default()
            .with_color(style == RenderStyle::Colour)
            .with_char_set(CharSet::Ascii)
            .with_index_type(IndexType::Byte);
        let kind = match d.severity {
            Severity::Error => ReportKind::Error,
            Severity::Warning => ReportKind::Warning,
        };
        if self.get(d.span.file).is_none() {
            let word = if d.severity == Severity::Error { "Error" } else { "Warning" };
            // Writing to memory cannot fail.
            let _ = writeln!(out, "[{}] {word}: {}", d.code, d.message);
            if let Some(help) = &d.help {
                let _ = writeln!(out, "  help: {help}");
            }
            return;
        }
        let name = |s: Span| self.get(s.file).map_or_else(String::new, |f| f.name.clone());
        let place = |s: Span| (name(s), s.start as usize..s.end as usize);
        let mut report = Report::build(kind, place(d.span))
            .with_config(config)
            .with_code(d.code)
            .with_message(&d.message)
            .with_label(Label::new(place(d.span)).with_message("here").with_color(Color::Red));
        for (span, what) in d.related.iter().filter(|(span, _)| self.get(span.file).is_some()) {
            report = report.with_label(Label::new(place(*span)).with_message(what).with_color(Color::Blue));
        }
        if let Some(help) = &d.help {
            report = report.with_help(help);
        }
        let _ = report.finish().write(files, &mut *out);
    }
}

/// Whether messages are coloured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RenderStyle {
    /// Plain text.
    Plain,
    /// With terminal colours.
    Colour,
}

/// The candidate nearest to `word`, if it is near enough to be a likely slip.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|c| (edit_distance(word, c), c))
        .filter(|(d, c)| *d <= limit && *c != word)
        .min()
        .map(|(_, c)| c)
}

/// Edit distance by characters; two neighbours that are swapped count as one edit.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let mut best = above[j] + usize::from(a[i] != b[j]);
            best = best.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_the_line_and_the_help() {
        let mut sources = Sources::default();
        let file = sources.add("cell.xl", "fn f(x: [s]) -> (y: [s]) {\n  yield y = sum[dk](x)\n}\n");
        let span = Span { file, start: 43, end: 45 };
        let d = Diagnostic::error("axis-unknown", span, "unknown axis `dk`").with_help("did you mean `s`?");
        let text = sources.render(&[d], RenderStyle::Plain);
        assert!(text.contains("cell.xl:2:17"), "{text}");
        assert!(text.contains("sum[dk](x)") && text.contains("did you mean"), "{text}");
    }

    #[test]
    fn suggests_only_near_names() {
        assert_eq!(nearest("sigmid", ["sigmoid", "tanh"]), Some("sigmoid"));
        assert_eq!(nearest("dk", ["dv", "query"]), Some("dv"));
        assert_eq!(nearest("gaet", ["gate", "exp"]), Some("gate"));
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(nearest("abc", ["xyz"]), None);
    }
}
