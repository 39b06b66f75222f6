//! Rewrite rules: text files, one rule a line.
//!
//! ```text
//! // a comment
//! name: (pattern) => (pattern)   if condition ?x, condition ?y   for $op in add mul   # tag
//! define (name ?x ?y) = (pattern)
//! ```
//!
//! * A line that begins with a space goes on with the line before.
//! * A pattern is an operation by its mnemonic with attributes first, then operands, in parentheses; a variable
//!   `?x`; a number, which stands for a scalar constant; `true` or `false`. On the right a number has the dtype of the
//!   value that is rewritten.
//! * Operands of commutative operations match in either order.
//! * On the right, attributes that are axes can be computed: `(union ?a ?b)`, `(minus ?a ?b)`, `(meet ?a ?b)`,
//!   `(replace ?a ?old ?new)`; a variable that is a value stands for its axes there. `(count ?a)` is the number of
//!   elements that the axes have, as a constant. A sum, maximum or broadcast over no axes is its operand, a
//!   contraction over none a product, a rename to the same name nothing.
//! * What comes out on the right is broadcast to the axes that the left-hand side has; a rule whose right-hand side is
//!   ill-typed, or has other axes still, does not apply. So rules need no conditions on types.
//! * `for` makes one rule of each operation listed; `$op` may stand in the name.
//! * `(scaled ?a ?m)` is `a * exp(m)` and `(gexp ?a ?m)` is `exp(a - m)` with `a <= m`. They exist in e-graphs only;
//!   the rules of stabilisation bring them in and take them away again.
//! * A line `[canonical]`, `[stable]` or `[forms]`, or with several names, says which sets the rules below it belong to
//!   ([`RuleSet`]). Without one, rules that speak of scales are rules of stabilisation, those of linear scans rules of
//!   forms, all others of the canonical form.
//! * A rule of forms that replaces a linear scan has a name that begins with the form that it gives, `parallel-` or
//!   `chunk-`.
//! * The line of a linear scan is one attribute, and stands for its axis where an axis is wanted. On the right there are
//!   lines and axes made from it, `(steps ?line)`, `(chunks ?line)`, `(adjoint ?line)`, `(writes ?line)`, and values,
//!   such as the weights `(between ?line ?l ?cut)`: see `forms.rules`.
//! * Tags: `bitwise`, the same floats; `real`, equal over the reals wherever either side is defined; `approx`,
//!   anything less, which must be asked for.
//!
//! Laws: a rule is right for every value and type that its conditions admit, for definedness too ([`crate::fuzz()`]
//! tries them), conditions are only ever positive facts, and a rule alone terminates.

mod apply;
mod condition;
mod define;
mod parse;
mod pattern;
mod sets;

use carousel_ir::text::Failed;
use carousel_ir::{Diagnostic, OpKind, Sources, Span};
use condition::Condition;
use egg::Pattern;
use std::collections::HashSet;
use std::fmt;
use std::sync::OnceLock;

pub(crate) use apply::{apply, value};
pub(crate) use pattern::{Expr, Hole, holes};
pub use sets::{RuleSet, RuleSets, Trials};

use crate::language::Term;

/// What a rule preserves; each tag admits less than the one after it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Tag {
    /// The same floats.
    Bitwise,
    /// Equal over the reals, definedness included.
    Real,
    /// Anything less; used only if asked for.
    Approx,
}

impl Tag {
    /// All of them, the strictest first.
    pub const ALL: [Tag; 3] = [Tag::Bitwise, Tag::Real, Tag::Approx];

    /// As rules files write it.
    pub fn name(self) -> &'static str {
        match self {
            Tag::Bitwise => "bitwise",
            Tag::Real => "real",
            Tag::Approx => "approx",
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One rule.
#[derive(Clone)]
pub struct Rule {
    name: String,
    tag: Tag,
    text: String,
    /// Its line in its file; with `for`, that of all that came of it.
    span: Span,
    /// The sets that it belongs to.
    sets: Vec<RuleSet>,
    /// The left-hand side as written, and compiled: one pattern for each order of commutative operands.
    pub(crate) left: Expr,
    pub(crate) patterns: Vec<Pattern<Term>>,
    /// How many edges the left-hand side goes down.
    pub(crate) height: usize,
    pub(crate) right: Expr,
    pub(crate) conditions: Vec<Condition>,
}

impl Rule {
    /// Its name, unique among the rules.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it preserves.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// Whether it has virtual operations, or conditions on scales.
    pub(crate) fn speaks_of_scales(&self) -> bool {
        let tests = |c: &Condition| c.test.is_about_scales();
        let is_virtual = |e: &Expr| matches!(e, Expr::Virtual(..));
        self.left.any(&is_virtual) || self.right.any(&is_virtual) || self.conditions.iter().any(tests)
    }

    /// Whether it rewrites linear scans.
    pub(crate) fn speaks_of_lines(&self) -> bool {
        let kinds = [OpKind::LinRead, OpKind::LinReadDecay, OpKind::LinSolve];
        self.left.any(&|e| matches!(e, Expr::Op(kind, _) if kinds.contains(kind)))
    }

    /// Where it stands in its file.
    pub fn span(&self) -> Span {
        self.span
    }

    /// The sets of rules that it belongs to.
    pub fn sets(&self) -> &[RuleSet] {
        &self.sets
    }

    /// Its line in the file.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  # {}", self.text, self.tag)
    }
}

/// Rules, and which tags may be used.
#[derive(Clone, Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    allowed: Tag,
}

impl Rules {
    /// The rules of this crate.
    pub fn builtin() -> &'static Rules {
        static BUILTIN: OnceLock<Rules> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            let mut rules = Rules { rules: Vec::new(), allowed: Tag::Real };
            for (name, text) in FILES {
                if let Err(problems) = rules.extend(Rules::parse_builtin(name, text)) {
                    panic!("a built-in rule is wrong: {}", problems[0]);
                }
            }
            rules
        })
    }

    /// The rules of stabilisation.
    pub fn stable() -> &'static Rules {
        static STABLE: OnceLock<Rules> = OnceLock::new();
        STABLE.get_or_init(|| Rules::parse_builtin("stable.rules", include_str!("../../rules/stable.rules")))
    }

    /// The rules of the forms of linear scans.
    pub fn forms() -> &'static Rules {
        static FORMS: OnceLock<Rules> = OnceLock::new();
        FORMS.get_or_init(|| Rules::parse_builtin("forms.rules", include_str!("../../rules/forms.rules")))
    }

    fn parse_builtin(name: &str, text: &str) -> Rules {
        Rules::parse(name, text).unwrap_or_else(|failed| panic!("a built-in rule is wrong: {failed}"))
    }

    /// The rules of a text, of whatever sets; `name` is what messages call it.
    pub fn parse(name: &str, text: &str) -> Result<Rules, Failed> {
        let mut sources = Sources::default();
        let file = sources.add(name, text);
        match parse::parse(text, file) {
            Ok(rules) => Ok(Rules { rules, allowed: Tag::Real }),
            Err(diagnostics) => Err(Failed { sources, diagnostics }),
        }
    }

    /// Adds rules. A name that stands twice is an error, and nothing is added.
    pub fn extend(&mut self, other: Rules) -> Result<(), Vec<Diagnostic>> {
        let known: HashSet<&str> = self.rules.iter().map(|r| r.name.as_str()).collect();
        let twice: Vec<Diagnostic> = other
            .rules
            .iter()
            .filter(|r| known.contains(r.name.as_str()))
            .map(|r| {
                let message = format!("there is another rule called `{}`", r.name);
                Diagnostic::error("rule", r.span, message).with_help("give it a name of its own")
            })
            .collect();
        if twice.is_empty() {
            self.rules.extend(other.rules);
            Ok(())
        } else {
            Err(twice)
        }
    }

    /// The same rules with those of this tag, and of stricter ones, allowed. [`Tag::Real`] unless this is called.
    pub fn allowing(mut self, tag: Tag) -> Rules {
        self.allowed = tag;
        self
    }

    /// Rule number `place` alone, allowed whatever its tag.
    pub(crate) fn only(&self, place: usize) -> Rules {
        let rule = self.rules[place].clone();
        Rules { allowed: rule.tag, rules: vec![rule] }
    }

    /// The rule in that place.
    pub(crate) fn get(&self, place: usize) -> &Rule {
        &self.rules[place]
    }

    /// The loosest tag that is allowed.
    pub fn allowed(&self) -> Tag {
        self.allowed
    }

    /// All rules, allowed or not.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.rules.iter()
    }
}

const FILES: [(&str, &str); 6] = [
    ("arithmetic.rules", include_str!("../../rules/arithmetic.rules")),
    ("functions.rules", include_str!("../../rules/functions.rules")),
    ("selection.rules", include_str!("../../rules/selection.rules")),
    ("reductions.rules", include_str!("../../rules/reductions.rules")),
    ("views.rules", include_str!("../../rules/views.rules")),
    ("approximate.rules", include_str!("../../rules/approximate.rules")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtin_rules_load_and_are_told_apart() {
        let rules = Rules::builtin();
        assert!(rules.iter().len() > 80);
        assert!(rules.iter().any(|r| r.name() == "strip-mul"));
        assert!(rules.clone().extend(rules.clone()).is_err());
    }

    #[test]
    fn every_mistake_is_reported_with_its_line() {
        let text = "// mistakes\n\
                    unbound: (add ?x 0) => ?y  # real\n\
                    unknown: (sigmod ?x) => ?x  # real\n\
                    arity: (mul ?x) => ?x  # real\n\
                    tag: (mul ?x 1) => ?x  # rael\n\
                    open: (mul ?x (add ?y 1) => ?x  # real\n\
                    fine: (mul ?x 1) => ?x  # real\n\
                    fine: (mul ?x 1) => ?x  # real\n\
                    condition: (abs ?x) => ?x if nonnegativ ?x  # real\n\
                    opaque: (gather ?a ?x) => ?x  # real\n\
                    kinds: (sum ?x ?x) => ?x  # real\n\
                    everything: ?x => (neg (neg ?x))  # real\n";
        let failed = Rules::parse("mine.rules", text).expect_err("it is full of mistakes");
        let problems = &failed.diagnostics;
        let line = |d: &Diagnostic| failed.sources.line_column(d.span).map_or(0, |(line, _)| line);
        let lines: Vec<String> =
            problems.iter().map(|d| format!("mine.rules:{}: {}", line(d), d.message)).collect();
        let wanted = [
            ("mine.rules:2:", "?y"),
            ("mine.rules:3:", "sigmod"),
            ("mine.rules:4:", "mul"),
            ("mine.rules:5:", "rael"),
            ("mine.rules:6:", ")"),
            ("mine.rules:8:", "fine"),
            ("mine.rules:9:", "nonnegativ"),
            ("mine.rules:10:", "gather"),
            ("mine.rules:11:", "?x"),
            ("mine.rules:12:", "everything"),
        ];
        assert_eq!(lines.len(), wanted.len(), "{lines:#?}");
        for (line, (place, what)) in lines.iter().zip(wanted) {
            assert!(line.starts_with(place) && line.contains(what), "{line} should name {place} {what}");
        }
        let sigmod = &text[problems[1].span.start as usize..problems[1].span.end as usize];
        assert_eq!(sigmod, "sigmod", "the place is that of the word");
        let helps: Vec<_> = problems.iter().filter_map(|d| d.help.as_deref()).collect();
        assert!(
            helps.iter().any(|h| h.contains("sigmoid")) && helps.iter().any(|h| h.contains("nonnegative"))
        );
    }
}
