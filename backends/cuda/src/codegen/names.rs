//! Names in the generated code: those of the source, made unique and fit for C++.

use carousel_core::kernel::Kernel;
use std::collections::HashSet;

/// The names of a kernel's buffers, by number.
pub(super) struct Names {
    pub(super) buffers: Vec<String>,
}

/// A name with only what C++ allows in one.
fn plain(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(allowed).collect()
}

impl Names {
    pub(super) fn new(kernel: &Kernel) -> Names {
        let mut taken = HashSet::new();
        let buffers = kernel.buffer_names.iter().map(|name| {
            // No name of a variable, a type or a function ends so.
            let base = format!("{}_", plain(name));
            let name = (1..).map(|n| if n == 1 { base.clone() } else { format!("{base}{n}_") });
            let free = name.into_iter().find(|name| !taken.contains(name)).expect("numbers do not end");
            taken.insert(free.clone());
            free
        });
        Names { buffers: buffers.collect() }
    }
}

/// The name of a kernel's function.
pub(crate) fn function_name(kernel: &Kernel) -> String {
    format!("kernel_{}", plain(&kernel.name))
}
