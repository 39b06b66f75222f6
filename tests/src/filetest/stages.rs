//! The text of a program after a stage, in the names that the command line uses.

use super::directives::{FileTest, Run};
use super::{backends, check_module, diagnostics, gradients, module_of, rewrites};
use carousel_ir::text::print;
use carousel_ir::{FunctionId, Module};
use carousel_models::compile::derived;
use carousel_passes::{Rules, canonicalize};

/// After which step the program is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// What is wrong with it.
    Diagnostics,
    /// As the source says it.
    Parsed,
    /// In canonical form.
    Canonical,
    /// As it is derived: with scales, and with linear scans, before forms are chosen.
    Stable,
    /// The canonical form of its vector-Jacobian product.
    Grad,
    /// The kernels of the canonical form.
    Kernel,
}

impl Stage {
    const ALL: [(&'static str, Stage); 6] = [
        ("diagnostics", Stage::Diagnostics),
        ("parsed", Stage::Parsed),
        ("canonical", Stage::Canonical),
        ("stable", Stage::Stable),
        ("grad", Stage::Grad),
        ("kernel", Stage::Kernel),
    ];

    pub(super) fn parse(name: &str) -> Result<Stage, String> {
        let found = Stage::ALL.iter().find(|(n, _)| *n == name);
        found.map(|(_, stage)| *stage).ok_or_else(|| format!("there is no stage `{name}`"))
    }
}

/// The text after the stage, once everything that can be checked about it is checked.
pub(super) fn text(test: &FileTest, run: &Run) -> Result<String, String> {
    if run.stage == Stage::Diagnostics {
        return Ok(diagnostics::text(test));
    }
    let function = run.settings.function.as_deref().ok_or("say which function: fn=NAME")?;
    let (module, root) = module_of(test, function, &run.settings)?;
    match run.stage {
        Stage::Diagnostics | Stage::Parsed => Ok(print(&module)),
        Stage::Canonical => {
            let (canonical, _) = canonical(&module, root)?;
            rewrites::same_meaning(&module, root, &canonical, root, &run.settings)?;
            Ok(print(&canonical))
        }
        Stage::Stable => {
            let derived = derived(&module);
            let name = module[root].name;
            let new = derived
                .find(name.as_str())
                .ok_or_else(|| format!("`{name}` is gone from what is derived"))?;
            rewrites::same_meaning(&module, root, &derived, new, &run.settings)?;
            Ok(print(&derived))
        }
        Stage::Grad => {
            let derived = gradients::derive(&module, root, &run.settings)?;
            gradients::compare(&module, root, &derived, &run.settings)?;
            let (text, _) = canonical(&derived.module, derived.root)?;
            Ok(print(&text))
        }
        Stage::Kernel => {
            let (canonical, root) = canonical(&module, root)?;
            rewrites::same_numbers_on_cpu(&canonical, root, &run.settings)?;
            backends::kernels(&canonical, root)
        }
    }
}

/// The module in canonical form, checked. Functions keep their places.
pub(super) fn canonical(module: &Module, root: FunctionId) -> Result<(Module, FunctionId), String> {
    let (canonical, _) = canonicalize(module, Rules::builtin());
    check_module(&canonical, "the canonical form")?;
    let name = module[root].name;
    let root =
        canonical.find(name.as_str()).ok_or_else(|| format!("`{name}` is gone from the canonical form"))?;
    Ok((canonical, root))
}
