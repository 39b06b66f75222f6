//! The forms that a cell's linear scans are computed in.

use carousel_ir::{FunctionId, Module};
use carousel_models::compile::{in_forms_with_report, simplified};
use carousel_models::forms::FormOptions;
use carousel_passes::forms::{Form, expand};
use std::collections::BTreeSet;
use std::fmt;

/// How linear scans are computed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Way {
    /// Step by step.
    Recurrent,
    /// All pairs of steps.
    Parallel,
    /// In chunks of so many steps.
    Chunkwise(u64),
    /// In chunks of so many steps, made of chunks of so many.
    TwoLevel(u64, u64),
    /// In chunks of so many steps, within them step by step.
    Associative(u64),
    /// As the compiler chooses where nothing is said of sizes.
    Chosen,
}

/// As on the command line; `chosen` for the compiler's choice.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form() {
            Some(form) => form.fmt(f),
            None => f.write_str("chosen"),
        }
    }
}

impl Way {
    /// Those that are tried unless a test says otherwise.
    pub const ALL: [Way; 7] = [
        Way::Recurrent,
        Way::Parallel,
        Way::Chunkwise(16),
        Way::Chunkwise(64),
        Way::Chunkwise(100),
        Way::Associative(16),
        Way::Chosen,
    ];

    /// The one form of all linear scans, if it is settled.
    pub fn form(self) -> Option<Form> {
        Some(match self {
            Way::Recurrent => Form::Recurrent,
            Way::Parallel => Form::Parallel,
            Way::Chunkwise(steps) => Form::Chunkwise(steps),
            Way::TwoLevel(outer, inner) => Form::TwoLevel(outer, inner),
            Way::Associative(steps) => Form::Associative(steps),
            Way::Chosen => return None,
        })
    }

    /// A module that is in canonical form in this form, and again in canonical form; with a line for each group of scans that
    /// says which and by which rules.
    pub(crate) fn apply(self, module: &Module) -> (Module, String) {
        let (expanded, said) = match self.form() {
            Some(form) => {
                let (module, scans) = expand(module, &form);
                let lines = scans.iter().map(|s| line(&s.function, s.operation, &s.form, &s.rules));
                (module, lines.collect::<BTreeSet<String>>())
            }
            None => {
                let all: Vec<FunctionId> = module.iter().map(|(id, _)| id).collect();
                let (module, report) = in_forms_with_report(module, &all, &FormOptions::default());
                let group = |g: &carousel_passes::forms::GroupReport| {
                    line(
                        &g.function,
                        &format!("{} scans along {}", g.sites.len(), g.axis),
                        &g.chosen,
                        &g.rules,
                    )
                };
                (module, report.groups.iter().map(group).collect())
            }
        };
        (simplified(&expanded), said.into_iter().collect())
    }
}

/// Prices are left out: they change with the cost model, the form rarely does.
fn line(function: &dyn fmt::Display, what: &str, form: &Form, rules: &[String]) -> String {
    let by = if rules.is_empty() { String::new() } else { format!(" by {}", rules.join(", ")) };
    format!("{function}, {what}: {form}{by}\n")
}
