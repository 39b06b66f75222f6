//! Lines of a rules file: what is not at its end goes on with indented lines; `define` gives a pattern a name.
//!
//! A definition is written `define (name ?a ?b) = pattern` and stands before its uses, which are replaced by the
//! pattern with other arguments in place of `?a` and `?b`. Nothing here knows what operations there are.

use super::parse::problem;
use carousel_ir::Diagnostic;

/// A rule, a definition or a header, which may be several physical lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    /// Where it begins and ends in the text.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Its words, with one space between them.
    pub(super) words: String,
}

impl Line {
    /// Whether something is still to come: a rule ends with its tag, a definition with its last parenthesis.
    fn is_open(&self) -> bool {
        if self.words.starts_with("define ") {
            let count = |c: char| self.words.matches(c).count();
            return self.words.ends_with('=') || count('(') > count(')');
        }
        !self.words.starts_with('[') && !self.words.contains('#')
    }
}

/// The lines of a file; comments and empty lines are left out.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let mut found: Vec<Line> = Vec::new();
    let mut end = 0;
    for physical in text.split_inclusive('\n') {
        let line = physical.trim();
        let start = end + physical.find(line).unwrap_or(0);
        end += physical.len();
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        match found.last_mut() {
            Some(open) if physical.starts_with(char::is_whitespace) && open.is_open() => {
                open.words.push(' ');
                open.words.push_str(&words);
                open.end = start + line.len();
            }
            Some(_) | None => found.push(Line { start, end: start + line.len(), words }),
        }
    }
    found
}

/// A pattern as it is written.
#[derive(Clone, PartialEq, Debug)]
enum Tree {
    Word(String),
    List(Vec<Tree>),
}

/// The most words that a pattern may have once definitions are written out.
const LONGEST: usize = 10_000;

/// What names stand for.
#[derive(Clone, Default, Debug)]
pub(super) struct Definitions(Vec<Definition>);

#[derive(Clone, Debug)]
struct Definition {
    name: String,
    parameters: Vec<String>,
    body: Tree,
}

impl Definitions {
    /// Adds the definition of a line if it is one. Whether it was.
    pub(super) fn add(&mut self, line: &str) -> Result<bool, Diagnostic> {
        let Some(rest) = line.strip_prefix("define ") else { return Ok(false) };
        let (head, body) = rest
            .split_once('=')
            .ok_or_else(|| problem("a definition has `=` between its name and its pattern".into()))?;
        let (Tree::List(head), body) = (tree(head)?, self.expand(tree(body)?)?) else {
            return Err(problem("a definition begins with `(name ?parameter ..)`".into()));
        };
        let words: Option<Vec<String>> =
            head.into_iter().map(|t| if let Tree::Word(w) = t { Some(w) } else { None }).collect();
        let words = words.unwrap_or_default();
        let Some((name, parameters)) = words.split_first() else {
            return Err(problem("a definition begins with `(name ?parameter ..)`".into()));
        };
        if let Some(wrong) = parameters.iter().find(|p| !p.starts_with('?')) {
            return Err(problem(format!("`{wrong}` is no variable; variables are written `?name`")));
        }
        if self.0.iter().any(|d| d.name == *name) {
            return Err(problem(format!("there is another definition of `{name}`")));
        }
        self.0.push(Definition { name: name.clone(), parameters: parameters.to_vec(), body });
        Ok(true)
    }

    /// One side of a rule with all names written out.
    pub(super) fn written_out(&self, text: &str) -> Result<String, Diagnostic> {
        let (mut words, mut open) = (tokens(text), Vec::new());
        // Only what is well formed can have a definition in it; the rest is for the parser of patterns to report.
        let named = |w: &str| self.0.iter().any(|d| d.name == w);
        if !words.any(|w| named(&w)) {
            return Ok(text.to_string());
        }
        write(&self.expand(tree(text)?)?, &mut open);
        if open.len() > LONGEST {
            Err(problem(format!("a pattern may have {LONGEST} words")))
        } else {
            Ok(open.join(" "))
        }
    }

    fn expand(&self, tree: Tree) -> Result<Tree, Diagnostic> {
        let Tree::List(parts) = tree else { return Ok(tree) };
        let parts: Vec<Tree> = parts.into_iter().map(|p| self.expand(p)).collect::<Result<_, _>>()?;
        let known =
            parts.first().and_then(|first| self.0.iter().find(|d| Tree::Word(d.name.clone()) == *first));
        let Some(definition) = known else { return Ok(Tree::List(parts)) };
        let (wanted, given) = (definition.parameters.len(), parts.len() - 1);
        if wanted != given {
            return Err(problem(format!("`{}` takes {wanted} argument(s), not {given}", definition.name)));
        }
        Ok(substitute(&definition.body, &definition.parameters, &parts[1..]))
    }
}

fn substitute(body: &Tree, parameters: &[String], arguments: &[Tree]) -> Tree {
    match body {
        Tree::Word(word) => match parameters.iter().position(|p| p == word) {
            Some(place) => arguments[place].clone(),
            None => body.clone(),
        },
        Tree::List(parts) => Tree::List(parts.iter().map(|p| substitute(p, parameters, arguments)).collect()),
    }
}

fn tokens(text: &str) -> std::vec::IntoIter<String> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    spaced.split_whitespace().map(str::to_string).collect::<Vec<_>>().into_iter()
}

fn tree(text: &str) -> Result<Tree, Diagnostic> {
    let mut open: Vec<Vec<Tree>> = vec![Vec::new()];
    for word in tokens(text) {
        match word.as_str() {
            "(" => open.push(Vec::new()),
            ")" => match (open.pop(), open.last_mut()) {
                (Some(parts), Some(outer)) => outer.push(Tree::List(parts)),
                (_, None) | (None, _) => return Err(problem("`)` stands where a value should".into())),
            },
            _ => open.last_mut().expect("the outermost list is open").push(Tree::Word(word)),
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some(mut one), true) if one.len() == 1 => Ok(one.remove(0)),
        _ => Err(problem("a pattern is one variable, number or operation in parentheses".into())),
    }
}

fn write(tree: &Tree, words: &mut Vec<String>) {
    if words.len() > LONGEST {
        return;
    }
    match tree {
        Tree::Word(word) => words.push(word.clone()),
        Tree::List(parts) => {
            words.push("(".into());
            parts.iter().for_each(|p| write(p, words));
            words.push(")".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_written_out() {
        let mut definitions = Definitions::default();
        assert_eq!(definitions.add("define (twice ?x) = (add ?x ?x)"), Ok(true));
        assert_eq!(definitions.add("define (four ?x) = (twice (twice ?x))"), Ok(true));
        assert_eq!(definitions.add("a: (neg ?x) => ?x # real"), Ok(false));
        let found = definitions.written_out("(neg (four (exp ?y)))");
        let twice = "( add ( exp ?y ) ( exp ?y ) )";
        assert_eq!(found, Ok(format!("( neg ( add {twice} {twice} ) )")));
        assert_eq!(definitions.written_out("(neg (four"), definitions.written_out("(neg (four"));
        assert!(definitions.written_out("(twice ?a ?b)").is_err());
        assert!(definitions.add("define (twice ?y) = ?y").is_err(), "it is defined");
        assert!(definitions.add("define (once) ?y").is_err() && definitions.add("define once = 1").is_err());
    }

    #[test]
    fn open_lines_go_on_where_they_are_indented() {
        let text = "a: (neg ?x)\n   => ?x  # real\n\n  // nothing\n  b: c # real\ndefine (d) =\n  (e\n  f)\n[g]\n h # i";
        let found = lines(text);
        let words: Vec<&str> = found.iter().map(|l| l.words.as_str()).collect();
        assert_eq!(words, ["a: (neg ?x) => ?x # real", "b: c # real", "define (d) = (e f)", "[g]", "h # i"]);
        let written: Vec<&str> = found.iter().map(|l| &text[l.start..l.end]).collect();
        assert!(written[0].starts_with("a:") && written[0].ends_with("real"), "{written:?}");
        assert_eq!(written[4], "h # i");
    }
}
