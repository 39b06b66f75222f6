//! What a model remembers of a text: the states of its recurrences, here or where its functions compute.
//!
//! Invariant: where a state is, is nobody's business but that of who runs functions; who asks for it gets it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use carousel_core::backend::{DataMut, RunError};
use carousel_core::resident::Resident;

/// States that stay where functions compute, in the order of a function's inputs.
pub(crate) type KeptStates = Arc<Vec<Box<dyn Resident>>>;

/// What a model remembers of a text.
#[derive(Clone)]
pub struct Memory {
    /// Elements of each state, in the order of the function's inputs, once somebody wanted them here.
    here: OnceLock<Vec<Vec<f32>>>,
    there: Option<KeptStates>,
    rows: usize,
}

impl Memory {
    /// Of a number of texts that are read side by side, none of which has begun.
    pub fn empty(rows: usize) -> Memory {
        Memory { here: OnceLock::new(), there: None, rows }
    }

    /// Of such states.
    pub(crate) fn of(states: Vec<Vec<f32>>, rows: usize) -> Memory {
        Memory { here: states.into(), there: None, rows }
    }

    /// How many texts are read side by side.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        match (&self.there, self.here.get()) {
            (Some(there), _) => there.iter().map(|state| 4 * state.elements()).sum(),
            (None, Some(here)) => here.iter().map(|state| size_of_val(state.as_slice()) as u64).sum(),
            (None, None) => 0,
        }
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        let is_empty_there = self.there.as_ref().is_none_or(|states| states.is_empty());
        is_empty_there && self.here.get().is_none_or(Vec::is_empty)
    }

    /// The elements of each state, fetched if they are elsewhere; none as long as nothing was read.
    pub(crate) fn states(&self) -> Result<&[Vec<f32>], RunError> {
        if let (None, Some(there)) = (self.here.get(), &self.there) {
            let fetch = |state: &dyn Resident| {
                let mut elements = vec![0.0; state.elements() as usize];
                state.read(DataMut::F32(&mut elements)).map(|()| elements)
            };
            let fetched = there.iter().map(|state| fetch(&**state)).collect::<Result<Vec<_>, _>>()?;
            // Somebody else may have fetched the same meanwhile.
            let _ = self.here.set(fetched);
        }
        Ok(self.here.get().map(Vec::as_slice).unwrap_or_default())
    }

    /// Goes on to these states.
    pub(crate) fn set(&mut self, states: Vec<Vec<f32>>) {
        *self = Memory::of(states, self.rows);
    }

    /// Takes the states that are here out, to be replaced.
    pub(crate) fn take(&mut self) -> Option<Vec<Vec<f32>>> {
        self.here.take()
    }

    /// The states where functions compute, if they are there.
    pub(crate) fn there(&self) -> Option<&KeptStates> {
        self.there.as_ref()
    }

    /// Goes on to states that are elsewhere.
    pub(crate) fn set_there(&mut self, states: KeptStates) {
        *self = Memory { here: OnceLock::new(), there: Some(states), rows: self.rows };
    }
}

impl PartialEq for Memory {
    fn eq(&self, other: &Memory) -> bool {
        self.rows == other.rows && matches!((self.states(), other.states()), (Ok(a), Ok(b)) if a == b)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("rows", &self.rows).field("bytes", &self.bytes()).finish()
    }
}
