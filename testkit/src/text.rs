//! Programs as text for snapshots.
//!
//! Invariant: names and numbers are local to a kernel and a statement, so that an edit changes the lines that it is about
//! and few others; nothing depends on the computer, except that reductions need fused multiply-add.

use crate::error::Error;
use carousel_core::program::Program;
use carousel_models::compile::Derived;

/// Which scales were derived, which loops became linear scans, and why others did not. How often which rule fired is left out,
/// as are places: both change with what does not change the result.
pub fn derivation(derived: &Derived) -> String {
    let mut lines = Vec::new();
    for scan in &derived.stable.scans {
        lines.push(format!("scales: {}", scan.outcome));
        lines.extend(scan.groups.iter().map(|group| {
            let (states, scale, axes) = (group.states.join(", "), &group.scale, &group.axes);
            format!("  {states} by exp({scale}[{axes}]), which becomes {}", group.update)
        }));
    }
    lines.extend(derived.linear.iter().map(ToString::to_string));
    lines.into_iter().map(|line| line + "\n").collect()
}

/// Cranelift's text of all kernels.
///
/// # Errors
/// What the code generator says.
pub fn clif(program: &Program) -> Result<String, Error> {
    let kernels = program.kernels.iter().map(carousel_cpu::clif).collect::<Result<Vec<_>, _>>();
    Ok(kernels.map_err(Error::failed)?.join("\n"))
}

/// The CUDA C++ of all kernels, without what every kernel has in front of it.
#[cfg(feature = "cuda")]
pub fn cuda(program: &Program) -> String {
    let own = |kernel| {
        let text = carousel_cuda::cuda(kernel);
        let at = text.rfind("// `").expect("a kernel begins with its name");
        text[at..].to_string()
    };
    program.kernels.iter().map(own).collect::<Vec<_>>().join("\n")
}
