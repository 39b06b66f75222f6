//! Weights and states that stay where functions compute: weights as long as they are the same, states from one run to the
//! next.
//!
//! On a host, functions read weights where they lie, and nothing is kept.

use std::sync::{Arc, Mutex, PoisonError};

use carousel_core::backend::{Data, Executable, RunError};
use carousel_core::resident::Resident;
use carousel_ir::DType;

use crate::memory::{KeptStates, Memory};
use crate::weights::{Identity, Weights};

/// The parameters, in the order of the layout.
pub(crate) type Kept = Arc<[Box<dyn Resident>]>;

/// The weights that were used last.
#[derive(Default)]
pub(crate) struct KeptWeights(Mutex<Option<(Identity, Kept)>>);

impl KeptWeights {
    /// Weights for a function, taken there if they are not; none where it computes in the host's memory.
    pub(crate) fn of(
        &self,
        function: &dyn Executable,
        weights: &Weights<'_>,
    ) -> Result<Option<Kept>, RunError> {
        if !function.is_elsewhere() {
            return Ok(None);
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((identity, there)) = &*kept
            && *identity == weights.identity()
        {
            return Ok(Some(there.clone()));
        }
        // What is there makes room first.
        *kept = None;
        let there: Kept = (0..weights.count())
            .map(|at| {
                let data = weights.data(at);
                let mut memory = function.resident(data.dtype(), data.elements())?;
                memory.write(data)?;
                Ok(memory)
            })
            .collect::<Result<_, RunError>>()?;
        *kept = Some((weights.identity(), there.clone()));
        Ok(Some(there))
    }
}

/// How many sets of states are kept to be written to.
const MOST_SPARE: usize = 4;

/// States of memories that have gone on, to be written to.
#[derive(Default)]
pub(crate) struct SpareStates(Mutex<Vec<Vec<Box<dyn Resident>>>>);

impl SpareStates {
    /// Room for as many elements.
    pub(crate) fn like(
        &self,
        function: &dyn Executable,
        states: &[Box<dyn Resident>],
    ) -> Result<Vec<Box<dyn Resident>>, RunError> {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |spare: &Vec<Box<dyn Resident>>| {
            spare.len() == states.len() && spare.iter().zip(states).all(|(a, b)| a.elements() == b.elements())
        };
        if let Some(at) = spare.iter().position(fits) {
            return Ok(spare.swap_remove(at));
        }
        states.iter().map(|state| function.resident(DType::F32, state.elements())).collect()
    }

    /// Takes states back that nobody else remembers.
    pub(crate) fn give(&self, states: KeptStates) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(states) = Arc::try_unwrap(states)
            && spare.len() < MOST_SPARE
        {
            spare.push(states);
        }
    }
}

/// The states of a memory where a function computes; `zeros` are those of one that has not begun.
pub(crate) fn states_there(
    function: &dyn Executable,
    memory: &Memory,
    zeros: impl FnOnce() -> Vec<Vec<f32>>,
) -> Result<KeptStates, RunError> {
    if let Some(there) = memory.there() {
        return Ok(there.clone());
    }
    let send = |state: &Vec<f32>| {
        let mut there = function.resident(DType::F32, state.len() as u64)?;
        there.write(Data::F32(state))?;
        Ok(there)
    };
    let states = memory.states()?;
    let sent: Result<Vec<_>, RunError> = if states.is_empty() {
        zeros().iter().map(send).collect()
    } else {
        states.iter().map(send).collect()
    };
    sent.map(Arc::new)
}
