//! The compiled functions of a language model that take whole batches: logits, losses, gradients.
//!
//! Invariant: parameters, gradients and what is carried from batch to batch stay where the function computes, if that is
//! not the caller's memory; tokens go there and losses come back.

use std::sync::Arc;

use carousel_core::backend::{Data, DataMut, Executable, RunError, Sequence, Tensor};
use carousel_core::program::Port;
use carousel_core::resident::{Input, Output, Resident};
use carousel_ir::DType;
use carousel_passes::carry::{FRESH, NEXT, STATE};
use carousel_passes::documents::STARTS;
use carousel_passes::forms::FormReport;

use crate::arena::{Arena, Parameters};
use crate::batch::Batch;
use crate::checkpoint::TensorSpec;
use crate::kept::{KeptWeights, SpareStates, states_there};
use crate::memory::{KeptStates, Memory};
use crate::parameters::Layout;
use crate::piece::shape_of;

/// A compiled function of a language model: its inputs are parameters, tokens, labels, where documents begin if there are
/// several, and where the model has random streams, seed and step.
pub struct LanguageFunction {
    executable: Box<dyn Executable>,
    forms: FormReport,
    layout: Layout,
    /// Weights, where the function computes.
    kept: KeptWeights,
    spare: SpareStates,
}

/// The states of a recurrence, in the order of the function's inputs: in the caller's memory, or where it computes.
enum States<There> {
    Here(Vec<Vec<f32>>),
    There(There),
}

/// States that the function goes on from.
type Given = States<KeptStates>;
/// Room for those that it ends with.
type Room = States<Vec<Box<dyn Resident>>>;

impl Room {
    fn outputs(&mut self) -> Vec<Output<'_>> {
        match self {
            States::Here(states) => {
                states.iter_mut().map(|state| Output::Passed(DataMut::F32(state))).collect()
            }
            States::There(states) => states.iter_mut().map(|state| Output::Resident(&mut **state)).collect(),
        }
    }
}

/// What a run of a [`LanguageFunction`] reads beside the parameters.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Tokens and labels.
    pub batch: &'a Batch,
    /// Seed of the random streams.
    pub seed: u64,
    /// Step of the random streams.
    pub step: u64,
}

impl LanguageFunction {
    pub(crate) fn new(
        executable: Box<dyn Executable>,
        forms: FormReport,
        layout: Layout,
    ) -> LanguageFunction {
        let (kept, spare) = (KeptWeights::default(), SpareStates::default());
        LanguageFunction { executable, forms, layout, kept, spare }
    }

    /// What comes out.
    pub fn outputs(&self) -> &[Port] {
        self.executable.outputs()
    }

    /// The forms of its linear scans, and why these.
    pub fn forms(&self) -> &FormReport {
        &self.forms
    }

    /// The most memory that a run has needed beside inputs and outputs, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.executable.peak_bytes()
    }

    /// Runs the function on parameters that are stored as it was compiled for.
    ///
    /// # Errors
    /// What the backend says.
    pub fn run<'p>(
        &self,
        parameters: impl Into<Parameters<'p>>,
        reading: Reading<'_>,
        outputs: &mut [DataMut<'_>],
    ) -> Result<(), RunError> {
        let mut outputs: Vec<Output<'_>> = outputs.iter_mut().map(|o| Output::Passed(o.again())).collect();
        let states = self.states(&Memory::empty(reading.batch.rows), reading.batch)?;
        self.add_from(None, (true, &states), parameters.into(), reading, &mut outputs)
    }

    /// Goes on from states, in the order of inputs; `is_fresh` if nothing was read. As a part of a sequence, if there is one.
    fn add_from(
        &self,
        sequence: Option<&mut dyn Sequence>,
        (is_fresh, states): (bool, &Given),
        parameters: Parameters<'_>,
        reading: Reading<'_>,
        outputs: &mut [Output<'_>],
    ) -> Result<(), RunError> {
        let shape = [reading.batch.rows as u64, reading.batch.context as u64];
        let shapes: Vec<Vec<u64>> =
            self.layout.parameters().iter().map(|p| p.shape.iter().map(|n| *n as u64).collect()).collect();
        let state_shapes = self.state_shapes(reading.batch)?;
        let (seed, step) = ([reading.seed as u32], [reading.step as u32]);
        let begins = |at: usize| reading.batch.starts.get(at) == Some(&true);
        let starts: Vec<i32> = (0..reading.batch.inputs.len()).map(|at| -i32::from(begins(at))).collect();
        let fresh = [-i32::from(is_fresh)];
        let kept = match parameters {
            Parameters::Weights(weights) => self.kept.of(&*self.executable, weights)?,
            Parameters::Arena(_) => None,
        };
        let mut next_state = 0..;
        let inputs = self.executable.inputs().iter().map(|port| {
            let place = self.layout.parameters().iter().position(|p| p.name == port.name);
            let passed = |data, shape| Input::Passed(Tensor { data, shape });
            Ok(match (place, port.name.as_str()) {
                (Some(at), _) => match (&kept, parameters) {
                    (Some(kept), _) => Input::Resident { memory: &*kept[at], shape: &shapes[at] },
                    (None, Parameters::Weights(weights)) => passed(weights.data(at), &shapes[at]),
                    (None, Parameters::Arena(arena)) => arena.parameter(&self.layout, at, &shapes[at]),
                },
                (None, "tokens") => passed(Data::I32(&reading.batch.inputs), &shape),
                (None, "labels") => passed(Data::I32(&reading.batch.labels), &shape),
                (None, STARTS) => passed(Data::Bool(&starts), &shape),
                (None, "seed") => passed(Data::U32(&seed), &[]),
                (None, "step") => passed(Data::U32(&step), &[]),
                (None, FRESH) => passed(Data::Bool(&fresh), &[]),
                (None, name) if name.starts_with(STATE) => {
                    let at = next_state.next().expect("it has no end");
                    let shape = &state_shapes[at];
                    match states {
                        States::Here(values) => passed(Data::F32(&values[at]), shape),
                        States::There(states) => Input::Resident { memory: &*states[at], shape },
                    }
                }
                (None, _) => {
                    let message = "a language model takes tokens, labels, seed and step only".to_string();
                    return Err(RunError::Shape { name: port.name, message });
                }
            })
        });
        let inputs: Vec<Input<'_>> = inputs.collect::<Result<_, _>>()?;
        match sequence {
            Some(sequence) => self.executable.add(sequence, &inputs, outputs),
            None => self.executable.run_resident(&inputs, outputs),
        }
    }

    /// The shapes of its states, in the order of inputs.
    fn state_shapes(&self, batch: &Batch) -> Result<Vec<Vec<u64>>, RunError> {
        self.state_ports().map(|port| shape_of(port, batch.rows, batch.context)).collect()
    }

    fn state_ports(&self) -> impl Iterator<Item = &Port> {
        self.executable.inputs().iter().filter(|port| port.name.as_str().starts_with(STATE))
    }

    /// The states of a memory where the function computes, in the order of inputs; zeros where nothing was read.
    fn states(&self, memory: &Memory, batch: &Batch) -> Result<Given, RunError> {
        let shapes = self.state_shapes(batch)?;
        let zeros = || shapes.iter().map(|shape| vec![0.0; shape.iter().product::<u64>() as usize]).collect();
        if self.executable.is_elsewhere() {
            return Ok(States::There(states_there(&*self.executable, memory, zeros)?));
        }
        let remembered = memory.states()?;
        Ok(States::Here(if remembered.is_empty() { zeros() } else { remembered.to_vec() }))
    }

    /// What is carried from one batch to the next: names and shapes of the states.
    pub fn carried(&self, rows: usize, context: usize) -> Result<Vec<TensorSpec>, RunError> {
        let spec = |port: &Port| {
            let shape = shape_of(port, rows, context)?.into_iter().map(|n| n as usize).collect();
            Ok(TensorSpec { name: port.name.to_string(), shape })
        };
        self.state_ports().map(spec).collect()
    }

    /// Runs a function whose outputs are the scalar `loss` and, if `gradients` is given, gradients, which go there.
    ///
    /// # Errors
    /// What the backend says.
    pub fn loss<'p>(
        &self,
        parameters: impl Into<Parameters<'p>>,
        reading: Reading<'_>,
        gradients: Option<&mut Arena>,
    ) -> Result<f32, RunError> {
        self.carried_loss(parameters, reading, gradients, &mut Memory::empty(reading.batch.rows))
    }

    /// The same of a batch that goes on where the memory ends, which then ends with the batch.
    ///
    /// # Errors
    /// What the backend says; the memory is then what it was.
    pub fn carried_loss<'p>(
        &self,
        parameters: impl Into<Parameters<'p>>,
        reading: Reading<'_>,
        gradients: Option<&mut Arena>,
        memory: &mut Memory,
    ) -> Result<f32, RunError> {
        let mut loss = [0.0];
        let to = Output::Passed(DataMut::F32(&mut loss));
        let run = self.add_loss(None, parameters.into(), reading, gradients, memory, to)?;
        self.settle(run, memory);
        Ok(loss[0])
    }

    /// Where a loss goes.
    ///
    /// # Errors
    /// If there is no room.
    pub fn room_for_loss(&self) -> Result<Box<dyn Resident>, RunError> {
        self.executable.resident(DType::F32, 1)
    }

    /// A sequence of runs of this function and others.
    pub fn sequence(&self) -> Box<dyn Sequence> {
        self.executable.sequence()
    }

    /// The same as a part of a sequence, if there is one. When that is finished, the memory may go on to what the run remembers.
    pub fn add_loss(
        &self,
        sequence: Option<&mut dyn Sequence>,
        parameters: Parameters<'_>,
        reading: Reading<'_>,
        gradients: Option<&mut Arena>,
        memory: &Memory,
        loss: Output<'_>,
    ) -> Result<Remembered, RunError> {
        let mut loss = Some(loss);
        let states = self.states(memory, reading.batch)?;
        let mut next = match &states {
            States::Here(states) => Room::Here(states.clone()),
            States::There(states) => Room::There(self.spare.like(&*self.executable, states)?),
        };
        let mut next_parts = next.outputs().into_iter();
        let mut parts =
            gradients.map(|arena| arena.gradients(&self.layout, self.outputs())).unwrap_or_default();
        parts.resize_with(self.outputs().len(), || None);
        let outputs = self.outputs().iter().zip(parts).map(|(port, part)| match (part, port.name.as_str()) {
            (Some(part), _) => Ok(part),
            (None, "loss") => Ok(loss.take().expect("there is one loss")),
            (None, name) if name.starts_with(NEXT) => {
                Ok(next_parts.next().expect("there is one for each input"))
            }
            (None, _) => {
                let message = "a loss function gives the loss and gradients only".to_string();
                Err(RunError::Shape { name: port.name, message })
            }
        });
        let mut outputs: Vec<Output<'_>> = outputs.collect::<Result<_, _>>()?;
        let begin = (memory.is_empty(), &states);
        self.add_from(sequence, begin, parameters, reading, &mut outputs)?;
        drop((outputs, next_parts));
        Ok(Remembered { states, next })
    }

    /// Goes on to what a run remembers, which is finished.
    pub fn settle(&self, run: Remembered, memory: &mut Memory) {
        match run.next {
            Room::Here(next) => memory.set(next),
            Room::There(next) => memory.set_there(Arc::new(next)),
        }
        if let States::There(states) = run.states {
            self.spare.give(states);
        }
    }
}

/// What a run began with and what it remembers.
pub struct Remembered {
    states: Given,
    next: Room,
}
