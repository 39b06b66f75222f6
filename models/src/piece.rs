//! A language model that reads a text piece by piece, with its memory carried from one piece to the next.
//!
//! Invariant: whatever the cuts, the logits are those of the whole text, up to rounding. The memory is that of the compiled
//! function: it never overflows, and means nothing to another function.

use carousel_core::backend::{Data, DataMut, Executable, RunError, Tensor};
use carousel_core::program::Port;
use carousel_ir::Name;
use carousel_passes::carry::{FRESH, NEXT, STATE};

use crate::parameters::Layout;

/// A compiled model that goes on where it stopped: one function for pieces of any length, one for single tokens.
pub struct Reader {
    any: Box<dyn Executable>,
    one: Box<dyn Executable>,
    layout: Layout,
}

/// What a model remembers of a text.
#[derive(Clone, PartialEq, Debug)]
pub struct Memory {
    /// Elements of each state, in the order of the function's inputs; empty as long as nothing was read.
    states: Vec<Vec<f32>>,
    rows: usize,
}

impl Memory {
    /// Of a number of texts that are read side by side, none of which has begun.
    pub fn empty(rows: usize) -> Memory {
        Memory { states: Vec::new(), rows }
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.states.iter().map(|state| size_of_val(state.as_slice()) as u64).sum()
    }
}

impl Reader {
    /// Of the two functions: logits of a piece, with states in and out.
    pub(crate) fn new(any: Box<dyn Executable>, one: Box<dyn Executable>, layout: Layout) -> Reader {
        Reader { any, one, layout }
    }

    /// How many tokens there are.
    pub fn vocabulary(&self) -> usize {
        self.any.outputs()[0].sizes.last().and_then(|size| size.known()).unwrap_or_default() as usize
    }

    /// The most memory that a run has needed beside parameters and states, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.any.peak_bytes().max(self.one.peak_bytes())
    }

    /// Reads the next piece of each text, row by row, and gives the logits of every token in it.
    pub fn read(
        &self,
        parameters: &[f32],
        memory: &mut Memory,
        tokens: &[i32],
    ) -> Result<Vec<f32>, RunError> {
        let length = tokens.len() / memory.rows;
        let function = if length == 1 { &self.one } else { &self.any };
        let size = |name: Name| match name.as_str() {
            "b" => Some(memory.rows as u64),
            "s" => Some(length as u64),
            _ => None,
        };
        let shape_of = |port: &Port| -> Result<Vec<u64>, RunError> {
            let unknown = |size| RunError::Shape {
                name: port.name,
                message: format!("a language model has no axis of size {size} beside batch and sequence"),
            };
            port.sizes.iter().map(|s| s.evaluate(&size).ok_or_else(|| unknown(s))).collect()
        };
        let inputs = function.inputs();
        let shapes: Vec<Vec<u64>> = inputs.iter().map(shape_of).collect::<Result<_, _>>()?;
        let is_state = |port: &Port| port.name.as_str().starts_with(STATE);
        let is_fresh = memory.states.is_empty();
        if is_fresh {
            let states = inputs.iter().zip(&shapes).filter(|(port, _)| is_state(port));
            memory.states = states.map(|(_, shape)| vec![0.0; elements(shape)]).collect();
        }
        let fresh = [if is_fresh { -1 } else { 0 }];
        let mut states = memory.states.iter();
        let mut tensors = Vec::with_capacity(inputs.len());
        for (port, shape) in inputs.iter().zip(&shapes) {
            let parameter = self.layout.parameters().iter().find(|p| p.name == port.name);
            let data = match (parameter, port.name.as_str()) {
                (Some(parameter), _) => Data::F32(&parameters[parameter.range.clone()]),
                (None, "tokens") => Data::I32(tokens),
                (None, FRESH) => Data::Bool(&fresh),
                // Of random streams that are not along the sequence.
                (None, "seed" | "step") => Data::U32(&[0]),
                (None, _) => Data::F32(states.next().map(Vec::as_slice).unwrap_or_default()),
            };
            tensors.push(Tensor { data, shape });
        }
        let outputs = function.outputs();
        let mut logits = vec![0.0; tokens.len() * self.vocabulary()];
        let mut next: Vec<Vec<f32>> = memory.states.iter().map(|state| vec![0.0; state.len()]).collect();
        let mut into = next.iter_mut();
        let mut whole = Some(&mut logits[..]);
        let mut result = |port: &Port| {
            let slot = if port.name.as_str().starts_with(NEXT) {
                into.next().map(Vec::as_mut_slice)
            } else {
                whole.take()
            };
            DataMut::F32(slot.unwrap_or_default())
        };
        let mut results: Vec<DataMut<'_>> = outputs.iter().map(&mut result).collect();
        function.run(&tensors, &mut results)?;
        drop(results);
        memory.states = next;
        Ok(logits)
    }
}

fn elements(shape: &[u64]) -> usize {
    shape.iter().product::<u64>() as usize
}
