//! A language model that reads a text piece by piece, with its memory carried from one piece to the next.
//!
//! Invariant: whatever the cuts, the logits are those of the whole text, up to rounding. The memory is that of the compiled
//! function: it never overflows, and means nothing to another function.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use carousel_core::backend::{Data, DataMut, Executable, RunError, Tensor};
use carousel_core::program::Port;
use carousel_core::resident::{Input, Output, Resident};
use carousel_ir::{Name, Size};
use carousel_passes::carry::{FRESH, NEXT, STATE};
use carousel_passes::forms::FormReport;
use smallvec::SmallVec;

use crate::compile::CompiledFunction;
use crate::kept::{Kept, KeptWeights, SpareStates, states_there};
use crate::memory::KeptStates;
use crate::parameters::Layout;
use crate::weights::Weights;

pub use crate::memory::Memory;

/// A compiled model that goes on where it stopped: functions for pieces of any length, and one for single tokens.
pub struct Reader {
    /// Logits of every token of a piece, and what is remembered after it.
    any: Piece,
    /// What is remembered after a piece, without logits; none if nothing is.
    skim: Option<Piece>,
    /// Logits of one token.
    one: Piece,
    forms: FormReport,
    vocabulary: usize,
    signature: u64,
    /// Weights, where functions compute.
    kept: KeptWeights,
    /// States of memories that have gone on, to be written to.
    spare: Mutex<Vec<Vec<Vec<f32>>>>,
    spare_there: SpareStates,
}

/// One of the states that a memory is made of.
#[derive(Clone, PartialEq, Debug)]
pub struct State<'a> {
    /// Its name in the compiled function.
    pub name: String,
    /// Sizes of its axes.
    pub shape: Vec<u64>,
    /// Its elements, row-major; none as long as nothing was read.
    pub values: &'a [f32],
}

impl Reader {
    /// Of the functions of a piece, with states in and out: of every token's logits, of no logits, of one token.
    pub(crate) fn new(
        any: CompiledFunction,
        skim: Option<CompiledFunction>,
        one: CompiledFunction,
        layout: &Layout,
        signature: u64,
    ) -> Reader {
        let logits = any.executable.outputs().iter().find(|port| !port.name.as_str().starts_with(NEXT));
        let vocabulary = logits.and_then(|port| port.sizes.last()).and_then(Size::known).unwrap_or_default();
        let (skim, forms) = skim.map(|skim| (Piece::new(skim.executable, layout), skim.forms)).unzip();
        Reader {
            forms: forms.unwrap_or(any.forms),
            any: Piece::new(any.executable, layout),
            skim,
            one: Piece::new(one.executable, layout),
            vocabulary: vocabulary as usize,
            signature,
            kept: KeptWeights::default(),
            spare: Mutex::default(),
            spare_there: SpareStates::default(),
        }
    }

    /// The forms in which long pieces are read.
    pub fn forms(&self) -> &FormReport {
        &self.forms
    }

    /// Tells this function from others, whose memories mean something else.
    pub fn signature(&self) -> u64 {
        self.signature
    }

    /// The states of a memory, in the order of the function's inputs.
    pub fn states<'m>(&self, memory: &'m Memory) -> Result<Vec<State<'m>>, RunError> {
        let mut values = memory.states()?.iter();
        let ports = self.state_ports().map(|port| {
            let shape = shape_of(port, memory.rows(), 1)?;
            let values = values.next().map(Vec::as_slice).unwrap_or_default();
            Ok(State { name: port.name.to_string(), shape, values })
        });
        ports.collect()
    }

    /// A memory of such states, as [`Reader::states`] gave them.
    ///
    /// # Panics
    /// If their numbers are not those of the function.
    pub fn memory(&self, rows: usize, states: Vec<Vec<f32>>) -> Memory {
        assert_eq!(states.len(), self.state_ports().count(), "a value for each state");
        Memory::of(states, rows)
    }

    /// One memory of several that have begun, to be read side by side; none if a state is not kept for each text.
    pub fn join(&self, memories: &[&Memory]) -> Option<Memory> {
        let rows = memories.iter().map(|memory| memory.rows()).sum();
        let join = |(at, port): (usize, &Port)| {
            let place = batch_axis(port)?;
            let mut parts = Vec::with_capacity(memories.len());
            for memory in memories {
                let shape = shape_of(port, memory.rows(), 1).ok()?;
                let run = shape[place..].iter().product::<u64>() as usize;
                parts.push(memory.states().ok()?.get(at)?.chunks_exact(run.max(1)));
            }
            let mut state = Vec::new();
            while let Some(first) = parts[0].next() {
                state.extend_from_slice(first);
                parts[1..]
                    .iter_mut()
                    .for_each(|part| state.extend_from_slice(part.next().unwrap_or_default()));
            }
            Some(state)
        };
        let states = self.state_ports().enumerate().map(join).collect::<Option<_>>()?;
        Some(Memory::of(states, rows))
    }

    /// The memory of one of several texts that were read side by side; none if a state is not kept for each text.
    pub fn row(&self, memory: &Memory, row: usize) -> Option<Memory> {
        let cut = |(port, state): (&Port, &Vec<f32>)| {
            let place = batch_axis(port)?;
            let shape = shape_of(port, memory.rows(), 1).ok()?;
            let run = shape[place + 1..].iter().product::<u64>() as usize;
            let rows = state.chunks_exact(run.max(1)).skip(row).step_by(memory.rows());
            Some(rows.flatten().copied().collect())
        };
        let states = self.state_ports().zip(memory.states().ok()?).map(cut).collect::<Option<_>>()?;
        Some(Memory::of(states, 1))
    }

    fn state_ports(&self) -> impl Iterator<Item = &Port> {
        self.any.executable.inputs().iter().filter(|port| is_state(port))
    }

    /// How many tokens there are.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The most memory that a run has needed beside parameters and states, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        let pieces = [Some(&self.any), self.skim.as_ref(), Some(&self.one)];
        pieces.into_iter().flatten().map(|piece| piece.executable.peak_bytes()).max().unwrap_or_default()
    }

    /// Reads the next piece of each text, row by row, and gives the logits of every token in it.
    pub fn read(
        &self,
        parameters: &Weights<'_>,
        memory: &mut Memory,
        tokens: &[i32],
    ) -> Result<Vec<f32>, RunError> {
        let mut logits = vec![0.0; tokens.len() * self.vocabulary];
        let piece = if tokens.len() == memory.rows() { &self.one } else { &self.any };
        self.run(piece, parameters, memory, tokens, &mut logits)?;
        Ok(logits)
    }

    /// Reads the next piece of each text, row by row, and writes the logits of the last token of each. Those of the others
    /// are not computed.
    pub fn read_last(
        &self,
        parameters: &Weights<'_>,
        memory: &mut Memory,
        tokens: &[i32],
        logits: &mut Vec<f32>,
    ) -> Result<(), RunError> {
        let (rows, length) = (memory.rows(), tokens.len() / memory.rows());
        logits.resize(rows * self.vocabulary, 0.0);
        if length == 1 {
            return self.run(&self.one, parameters, memory, tokens, logits);
        }
        let Some(skim) = &self.skim else {
            let all = self.read(parameters, memory, tokens)?;
            let last = all.chunks_exact(self.vocabulary).skip(length - 1).step_by(length);
            logits
                .chunks_exact_mut(self.vocabulary)
                .zip(last)
                .for_each(|(to, from)| to.copy_from_slice(from));
            return Ok(());
        };
        let each = || tokens.chunks_exact(length);
        let first: Vec<i32> = each().flat_map(|row| &row[..length - 1]).copied().collect();
        let last: Vec<i32> = each().map(|row| row[length - 1]).collect();
        self.run(skim, parameters, memory, &first, &mut [])?;
        self.run(&self.one, parameters, memory, &last, logits)
    }

    /// Goes on with a piece. In steady state nothing is allocated.
    fn run(
        &self,
        piece: &Piece,
        parameters: &Weights<'_>,
        memory: &mut Memory,
        tokens: &[i32],
        logits: &mut [f32],
    ) -> Result<(), RunError> {
        let shapes = piece.shapes(memory.rows(), tokens.len() / memory.rows())?;
        let is_fresh = memory.is_empty();
        if let Some(kept) = self.kept.of(&*piece.executable, parameters)? {
            let states = states_there(&*piece.executable, memory, || piece.states(&shapes))?;
            let mut next = self.spare_there.like(&*piece.executable, &states)?;
            piece.run_elsewhere((&kept, &states), &shapes, is_fresh, tokens, &mut next, logits)?;
            memory.set_there(Arc::new(next));
            self.spare_there.give(states);
            return Ok(());
        }
        let states = memory.take().filter(|states| !states.is_empty());
        let states = states.unwrap_or_else(|| piece.states(&shapes));
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |spare: &Vec<Vec<f32>>| {
            spare.len() == states.len() && spare.iter().zip(&states).all(|(a, b)| a.len() == b.len())
        };
        let taken = spare.iter().position(fits).map(|at| spare.swap_remove(at));
        drop(spare);
        let mut next = taken.unwrap_or_else(|| piece.states(&shapes));
        let result = piece.run(parameters, &shapes, is_fresh, tokens, &states, &mut next, logits);
        let (now, before) = if result.is_ok() { (next, states) } else { (states, next) };
        memory.set(now);
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < MOST_SPARE {
            spare.push(before);
        }
        result
    }
}

/// How many sets of states are kept to be written to.
const MOST_SPARE: usize = 4;

/// One of the compiled functions.
struct Piece {
    executable: Box<dyn Executable>,
    /// What each of its inputs is.
    sources: Vec<Source>,
    /// The shapes of its inputs as they were last.
    known: Mutex<Known>,
}

/// What an input of the function of a piece is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Parameter(usize),
    Tokens,
    Fresh,
    State(usize),
    /// Seed or step of random streams that are not along the sequence.
    Zero,
}

/// Shapes of the inputs for a number of texts and of tokens of each.
#[derive(Default)]
struct Known {
    of: (usize, usize),
    shapes: Arc<[Vec<u64>]>,
}

impl Piece {
    fn new(executable: Box<dyn Executable>, layout: &Layout) -> Piece {
        let places: HashMap<Name, usize> =
            layout.parameters().iter().enumerate().map(|(at, parameter)| (parameter.name, at)).collect();
        let mut states = 0..;
        let source = |port: &Port| match (places.get(&port.name), port.name.as_str()) {
            (Some(at), _) => Source::Parameter(*at),
            (None, "tokens") => Source::Tokens,
            (None, FRESH) => Source::Fresh,
            (None, "seed" | "step") => Source::Zero,
            (None, _) => Source::State(states.next().unwrap_or_default()),
        };
        let sources = executable.inputs().iter().map(source).collect();
        Piece { executable, sources, known: Mutex::default() }
    }

    fn shapes(&self, rows: usize, length: usize) -> Result<Arc<[Vec<u64>]>, RunError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.of != (rows, length) {
            let shapes = self.executable.inputs().iter().map(|port| shape_of(port, rows, length));
            *known = Known { shapes: shapes.collect::<Result<_, _>>()?, of: (rows, length) };
        }
        Ok(known.shapes.clone())
    }

    /// States of these shapes, all 0.
    fn states(&self, shapes: &[Vec<u64>]) -> Vec<Vec<f32>> {
        let states = self.sources.iter().zip(shapes).filter(|(source, _)| matches!(source, Source::State(_)));
        states.map(|(_, shape)| vec![0.0; shape.iter().product::<u64>() as usize]).collect()
    }

    #[expect(clippy::too_many_arguments, reason = "all that the function reads and writes")]
    fn run(
        &self,
        parameters: &Weights<'_>,
        shapes: &[Vec<u64>],
        is_fresh: bool,
        tokens: &[i32],
        states: &[Vec<f32>],
        next: &mut [Vec<f32>],
        logits: &mut [f32],
    ) -> Result<(), RunError> {
        let fresh = [if is_fresh { -1 } else { 0 }];
        let mut tensors: SmallVec<[Tensor<'_>; ON_STACK]> = SmallVec::new();
        for (source, shape) in self.sources.iter().zip(shapes) {
            let data = match source {
                Source::Parameter(at) => parameters.data(*at),
                Source::Tokens => Data::I32(tokens),
                Source::Fresh => Data::Bool(&fresh),
                Source::State(at) => Data::F32(&states[*at]),
                Source::Zero => Data::U32(&[0]),
            };
            tensors.push(Tensor { data, shape });
        }
        let (mut next, mut logits) = (next.iter_mut(), Some(logits));
        let results = self.executable.outputs().iter().map(|port| {
            let is_state = port.name.as_str().starts_with(NEXT);
            let slot = if is_state { next.next().map(Vec::as_mut_slice) } else { logits.take() };
            DataMut::F32(slot.unwrap_or_default())
        });
        let mut results: SmallVec<[DataMut<'_>; ON_STACK]> = results.collect();
        self.executable.run(&tensors, &mut results)
    }

    /// The same with weights and states where the function computes.
    fn run_elsewhere(
        &self,
        (weights, states): (&Kept, &KeptStates),
        shapes: &[Vec<u64>],
        is_fresh: bool,
        tokens: &[i32],
        next: &mut [Box<dyn Resident>],
        logits: &mut [f32],
    ) -> Result<(), RunError> {
        let fresh = [if is_fresh { -1 } else { 0 }];
        let mut inputs: Vec<Input<'_>> = Vec::with_capacity(self.sources.len());
        for (source, shape) in self.sources.iter().zip(shapes) {
            let passed = |data| Input::Passed(Tensor { data, shape });
            inputs.push(match source {
                Source::Parameter(at) => Input::Resident { memory: &*weights[*at], shape },
                Source::State(at) => Input::Resident { memory: &*states[*at], shape },
                Source::Tokens => passed(Data::I32(tokens)),
                Source::Fresh => passed(Data::Bool(&fresh)),
                Source::Zero => passed(Data::U32(&[0])),
            });
        }
        let (mut next, mut logits) = (next.iter_mut(), Some(logits));
        let outputs = self.executable.outputs().iter().map(|port| {
            let is_state = port.name.as_str().starts_with(NEXT);
            match if is_state { next.next() } else { None } {
                Some(state) => Output::Resident(&mut **state),
                None => Output::Passed(DataMut::F32(logits.take().unwrap_or_default())),
            }
        });
        let mut outputs: Vec<Output<'_>> = outputs.collect();
        self.executable.run_resident(&inputs, &mut outputs)
    }
}

/// So many inputs and outputs are listed on the stack.
const ON_STACK: usize = 1024;

fn is_state(port: &Port) -> bool {
    port.name.as_str().starts_with(STATE)
}

/// Which axis of a state tells the texts apart.
fn batch_axis(port: &Port) -> Option<usize> {
    port.sizes.iter().position(|size| *size == Size::Symbol(Name::new("b")))
}

/// The shape of an input for so many texts and tokens of each.
pub(crate) fn shape_of(port: &Port, rows: usize, length: usize) -> Result<Vec<u64>, RunError> {
    let size = |name: Name| match name.as_str() {
        "b" => Some(rows as u64),
        "s" => Some(length as u64),
        _ => None,
    };
    let unknown = |size| RunError::Shape {
        name: port.name,
        message: format!("a language model has no axis of size {size} beside batch and sequence"),
    };
    port.sizes.iter().map(|s| s.evaluate(&size).ok_or_else(|| unknown(s))).collect()
}
