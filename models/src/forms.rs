//! How forms of linear scans are chosen: which are admitted, the machine that prices are for, and what sizes are taken
//! for that nobody knows before the program runs.
//!
//! Invariant: nothing here depends on the computer that compiles, nor on the number of threads.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use carousel_core::cost::{self, Machine};
use carousel_core::lower;
use carousel_core::program::Program;
use carousel_ir::{FunctionId, Module, Name, Size};
use carousel_passes::forms::{Certainty, Expected, Held, Price, PriceForms, Wanted};

use crate::compile::PassOptions;

/// How forms are chosen.
#[derive(Clone, PartialEq, Debug)]
pub struct FormOptions {
    /// Which forms are admitted.
    pub wanted: Wanted,
    /// What candidates are lowered for, and what they cost there.
    pub machine: Machine,
    /// Bytes that the program may take beside its inputs and outputs.
    pub memory_limit: Option<u64>,
    /// What symbols are taken for, by name.
    pub sizes: BTreeMap<String, u64>,
    /// What the length of a sequence is taken for if its symbol is not among these.
    pub length: u64,
    /// The same for every other size.
    pub other: u64,
}

impl Default for FormOptions {
    fn default() -> FormOptions {
        FormOptions {
            wanted: Wanted::Any,
            machine: Machine::default(),
            memory_limit: None,
            sizes: BTreeMap::new(),
            length: 1024,
            other: 8,
        }
    }
}

impl FormOptions {
    /// The same with these values of symbols, where nothing else is said about them.
    pub fn expecting<'a>(mut self, sizes: impl IntoIterator<Item = (&'a str, u64)>) -> FormOptions {
        for (name, size) in sizes {
            self.sizes.entry(name.to_string()).or_insert(size);
        }
        self
    }

    fn said(&self, name: Name) -> Option<u64> {
        self.sizes.get(name.as_str()).copied()
    }
}

/// Prices of candidates as they would be compiled.
pub(crate) struct Pricer<'a> {
    forms: &'a FormOptions,
    passes: &'a PassOptions,
    /// Limits that were hit on the way.
    limits: RefCell<BTreeSet<String>>,
}

impl<'a> Pricer<'a> {
    pub(crate) fn new(forms: &'a FormOptions, passes: &'a PassOptions) -> Pricer<'a> {
        Pricer { forms, passes, limits: RefCell::default() }
    }

    pub(crate) fn limits(self) -> BTreeSet<String> {
        self.limits.into_inner()
    }

    /// The program: what rules take away is not to be paid for.
    fn lowered(&self, module: &Module, root: FunctionId) -> Result<Program, String> {
        let (module, report) = self.passes.lowerable(module, None);
        let hit = report.limited().map(|g| format!("{}, a form of it: {}", g.name, g.stop));
        self.limits.borrow_mut().extend(hit);
        lower(&module, root, &self.forms.machine.target)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    fn symbol(&self, name: Name, lengths: &BTreeSet<Name>) -> u64 {
        let guess = if lengths.contains(&name) { self.forms.length } else { self.forms.other };
        self.forms.said(name).unwrap_or(guess)
    }
}

impl PriceForms for Pricer<'_> {
    fn price(
        &self,
        module: &Module,
        function: FunctionId,
        lengths: &BTreeSet<Name>,
    ) -> Result<Price, String> {
        let program = self.lowered(module, function)?;
        let symbol = |name| self.symbol(name, lengths);
        let price = cost::price(&program, &symbol, &self.forms.machine.profile).map_err(|e| e.to_string())?;
        Ok(Price { seconds: price.seconds, bytes: price.bytes })
    }

    fn expected(&self, length: &Size) -> Expected {
        let forms = self.forms;
        if let Some(length) = length.known() {
            return Expected { length, certainty: Certainty::Known };
        }
        let is_said = length.symbols().into_iter().all(|name| forms.said(name).is_some());
        let value = length.evaluate(&|name| Some(forms.said(name).unwrap_or(forms.length)));
        let certainty = if is_said { Certainty::Said } else { Certainty::Guessed };
        Expected { length: value.unwrap_or(forms.length), certainty }
    }

    fn held(&self, module: &Module, root: FunctionId, lengths: &BTreeSet<Name>) -> Result<Held, String> {
        let program = self.lowered(module, root)?;
        cost::held(&program, &|name| self.symbol(name, lengths)).map_err(|e| e.to_string())
    }
}
