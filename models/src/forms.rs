//! How forms of linear scans are chosen: which are admitted, the machine that prices are for, and what sizes are taken
//! for that nobody knows before the program runs.
//!
//! Invariant: nothing here depends on the computer that compiles, nor on the number of threads.

use std::collections::{BTreeMap, BTreeSet};

use carousel_core::cost::{self, Profile};
use carousel_core::{Target, lower};
use carousel_ir::{FunctionId, Module, Name, Size};
use carousel_passes::forms::{Certainty, Expected, Price, PriceForms, SearchOptions, Wanted};

use crate::compile::simplified;

/// How forms are chosen.
#[derive(Clone, PartialEq, Debug)]
pub struct FormOptions {
    /// Which forms are admitted.
    pub wanted: Wanted,
    /// The machine.
    pub profile: Profile,
    /// Bytes that a function may take beside its inputs and outputs.
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
            profile: Profile::default(),
            memory_limit: None,
            sizes: BTreeMap::new(),
            length: 1024,
            other: 8,
        }
    }
}

impl FormOptions {
    /// What is searched.
    pub fn search(&self) -> SearchOptions {
        SearchOptions { wanted: self.wanted, memory_limit: self.memory_limit }
    }

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

impl PriceForms for FormOptions {
    fn price(
        &self,
        module: &Module,
        function: FunctionId,
        lengths: &BTreeSet<Name>,
    ) -> Result<Price, String> {
        // As it will be compiled: what rules take away is not to be paid for.
        let program = lower(&simplified(module), function, &Target::default())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        let symbol = |name: Name| {
            let guess = if lengths.contains(&name) { self.length } else { self.other };
            self.said(name).unwrap_or(guess)
        };
        let price = cost::price(&program, &symbol, &self.profile).map_err(|e| e.to_string())?;
        Ok(Price { seconds: price.seconds, bytes: price.bytes })
    }

    fn expected(&self, length: &Size) -> Expected {
        if let Some(length) = length.known() {
            return Expected { length, certainty: Certainty::Known };
        }
        let is_said = length.symbols().into_iter().all(|name| self.said(name).is_some());
        let value = length.evaluate(&|name| Some(self.said(name).unwrap_or(self.length)));
        let certainty = if is_said { Certainty::Said } else { Certainty::Guessed };
        Expected { length: value.unwrap_or(self.length), certainty }
    }
}
