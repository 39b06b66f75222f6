//! `carousel explain`.

use std::path::PathBuf;

use super::common::{Failure, ProgramOptions, RuleOptions, remark, tell};
use super::forms::{self, FormArguments};
use super::source::Source;

/// Terms of all e-graphs together from which on tools that draw them take very long.
const MANY_TERMS: usize = 2000;

/// What was derived for a function, and why.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  carousel explain models/xl/cells/mlstm.xl --fn mlstm\n  \
                        carousel explain models/xl/cells/slstm.xl --fn slstm --json --dot slstm.dot")]
pub(super) struct Arguments {
    /// The file.
    file: PathBuf,
    /// The function; it need not be named if the file has no other.
    #[arg(long = "fn", value_name = "NAME")]
    function: Option<String>,
    /// Writes the e-graphs in the DOT language, with every class and every term.
    #[arg(long, value_name = "FILE.dot")]
    dot: Option<PathBuf>,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    program: ProgramOptions,
    #[command(flatten)]
    rules: RuleOptions,
    #[command(flatten)]
    forms: FormArguments,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let passes = arguments.rules.passes()?;
    let source = Source::read(&arguments.file)?;
    let function = match (&arguments.function, source.own_functions().as_slice()) {
        (Some(name), _) => name.clone(),
        (None, [only]) => only.clone(),
        (None, []) => {
            return Err(Failure::Input(format!("{} has no functions", arguments.file.display())));
        }
        (None, several) => {
            let (file, names) = (arguments.file.display(), several.join(", "));
            return Err(Failure::Input(format!("--fn NAME is missing: {file} has the functions {names}")));
        }
    };
    let options = source.options(&[&function], &arguments.program, &[])?;
    let (module, root) = source.elaborated(&function, &options)?;
    let explanation =
        passes.explained(&module, root, &arguments.forms.options(carousel_core::cost::Machine::default())?);
    forms::warn(&explanation.forms);
    if let Some(path) = &arguments.dot {
        let text = explanation.to_dot();
        std::fs::write(path, &text)
            .map_err(|e| Failure::Work(format!("cannot write {}: {e}", path.display())))?;
        let terms = text.lines().filter(|line| line.starts_with("    t")).count();
        if terms > MANY_TERMS {
            remark(&format!("{}: all {terms} terms are there; drawing them may take long\n", path.display()));
        }
    }
    if arguments.json {
        return tell(&format!("{}\n", explanation.to_json()));
    }
    tell(&explanation.to_string())
}
