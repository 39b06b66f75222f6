//! AdamW over the arena of parameters: the update written in `.xl`, compiled like everything else, one pass a group.
//!
//! Values, moments and gradients stay where the update computes; who wants to see them gets them.

use std::borrow::Cow;

use carousel_core::backend::{Data, DataMut, Executable, RunError, Sequence, Tensor};
use carousel_core::resident::{Input, Output, Resident};
use carousel_ir::DType;
use carousel_ir::text::{Options, elaborate, parse_program};

use crate::arena::Arena;
use crate::compile::Engine;
use crate::config::AdamW;
use crate::library::{OPTIMIZER, bundled};
use crate::parameters::Layout;

/// Parameters, their moments, and what updates them. The values of a step are written beside the old ones and then
/// change places with them.
pub struct Optimizer {
    update: Box<dyn Executable>,
    sum_squares: Box<dyn Executable>,
    weighted_sum: Box<dyn Executable>,
    /// The squares of the gradients of each group, summed.
    squares: [Box<dyn Resident>; 2],
    layout: Layout,
    values: Arena,
    /// First and second moments.
    moments: [Arena; 2],
    next: [Arena; 3],
}

/// What one update depends on beside the gradients.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// Constants.
    pub adamw: &'a AdamW,
    /// Number of the update, from 0.
    pub step: u64,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Largest norm of the gradients; 0 for none.
    pub clip: f64,
}

impl Optimizer {
    /// Compiles the update for parameters with these values, which lie as the layout says; moments are 0.
    ///
    /// # Errors
    /// If there is no room for them where the update computes.
    pub fn new(engine: &Engine, layout: &Layout, values: Vec<f32>) -> Result<Optimizer, RunError> {
        let text = bundled(OPTIMIZER).expect("the optimiser is built in");
        let program = parse_program(OPTIMIZER, text, &|path| Err(format!("no file `{path}`")));
        let program = program.unwrap_or_else(|f| panic!("{OPTIMIZER}: {:?}", f.diagnostics));
        let module = elaborate(&program, &["adamw", "sum_squares", "weighted_sum"], &Options::default())
            .unwrap_or_else(|problems| panic!("{OPTIMIZER}: {problems:?}"));
        let compile = |name: &str| {
            let function = module.find(name).expect("elaborated functions are there");
            engine.compile(&module, function).unwrap_or_else(|problems| panic!("{OPTIMIZER}: {problems:?}"))
        };
        let update = compile("adamw");
        let zeros = || Arena::zeros(&*update, layout);
        let square = || update.resident(DType::F32, 1);
        Ok(Optimizer {
            sum_squares: compile("sum_squares"),
            weighted_sum: compile("weighted_sum"),
            squares: [square()?, square()?],
            layout: layout.clone(),
            moments: [zeros()?, zeros()?],
            next: [zeros()?, zeros()?, zeros()?],
            values: Arena::of(&*update, layout, values)?,
            update,
        })
    }

    /// Zeros where the update computes, for gradients.
    ///
    /// # Errors
    /// If there is no room.
    pub fn zeros(&self) -> Result<Arena, RunError> {
        Arena::zeros(&*self.update, &self.layout)
    }

    /// The parameters where they are, for the functions of a model.
    pub fn parameters(&self) -> &Arena {
        &self.values
    }

    /// The parameters, fetched if they are elsewhere.
    ///
    /// # Errors
    /// If they cannot be fetched.
    pub fn values(&self) -> Result<Cow<'_, [f32]>, RunError> {
        self.values.values(&self.layout)
    }

    /// First and second moments.
    ///
    /// # Errors
    /// If they cannot be fetched.
    pub fn moments(&self) -> Result<[Cow<'_, [f32]>; 2], RunError> {
        let [first, second] = &self.moments;
        Ok([first.values(&self.layout)?, second.values(&self.layout)?])
    }

    /// Goes on from these parameters and moments.
    ///
    /// # Errors
    /// If they cannot be sent.
    pub fn resume(&mut self, values: Vec<f32>, moments: [Vec<f32>; 2]) -> Result<(), RunError> {
        self.values.set(&self.layout, values)?;
        let moments = self.moments.iter_mut().zip(moments);
        moments.into_iter().try_for_each(|(arena, moments)| arena.set(&self.layout, moments))
    }

    /// The norm of all gradients together, of the last update.
    ///
    /// # Errors
    /// If it cannot be fetched.
    pub fn norm(&self) -> Result<f64, RunError> {
        let mut squares = 0.0;
        for total in &self.squares {
            let mut own = [0f32];
            total.read(DataMut::F32(&mut own))?;
            squares += f64::from(own[0]);
        }
        Ok(squares.sqrt())
    }

    /// Adds gradients up: `sum` becomes that many times `sum` and `more`.
    ///
    /// # Errors
    /// What the backend says.
    pub fn add_accumulation(
        &mut self,
        sequence: &mut dyn Sequence,
        sum: &mut Arena,
        more: &Arena,
        times: [f32; 2],
    ) -> Result<(), RunError> {
        // The next values are not written before the update.
        let [room, _, _] = &mut self.next;
        let times = times.map(|x| [x]);
        for group in 0..2 {
            let shape = sum.shape(&self.layout, group);
            let [a, b] = [&*sum, more].map(|arena| arena.input(&self.layout, group, &shape));
            let [of_a, of_b] = times.each_ref().map(|x| scalar(x));
            let output = room.output(&self.layout, group);
            self.weighted_sum.add(sequence, &[a, b, of_a, of_b], &mut [output])?;
        }
        std::mem::swap(room, sum);
        Ok(())
    }

    /// One update. Returns the norm of the gradients, which are scaled down if it is above the limit. If it is no finite number, the
    /// parameters stay what they are.
    ///
    /// # Errors
    /// What the backend says.
    pub fn update(&mut self, gradients: &Arena, with: Update<'_>) -> Result<f64, RunError> {
        let mut sequence = self.update.sequence();
        self.add_update(&mut *sequence, gradients, with)?;
        sequence.finish()?;
        let norm = self.norm()?;
        if norm.is_finite() {
            self.accept();
        }
        Ok(norm)
    }

    /// Adds one update to a sequence; until it is accepted, the parameters are what they were.
    ///
    /// # Errors
    /// What the backend says.
    pub fn add_update(
        &mut self,
        sequence: &mut dyn Sequence,
        gradients: &Arena,
        with: Update<'_>,
    ) -> Result<(), RunError> {
        for (group, total) in self.squares.iter_mut().enumerate() {
            let shape = gradients.shape(&self.layout, group);
            let input = gradients.input(&self.layout, group, &shape);
            self.sum_squares.add(sequence, &[input], &mut [Output::Resident(&mut **total)])?;
        }
        let correction = |beta: f64| 1.0 - beta.powf(with.step as f64 + 1.0);
        for (group, range) in self.layout.groups().into_iter().enumerate() {
            let decay = if group == 0 { with.adamw.weight_decay } else { 0.0 };
            if range.is_empty() {
                continue;
            }
            let scalars = [
                with.learning_rate,
                decay,
                with.clip,
                with.adamw.beta1,
                with.adamw.beta2,
                with.adamw.epsilon,
                correction(with.adamw.beta1),
                correction(with.adamw.beta2),
            ]
            .map(|x| [x as f32]);
            let shape = self.values.shape(&self.layout, group);
            let [first, second] = &self.moments;
            let vectors = [&self.values, gradients, first, second];
            let vectors = vectors.map(|arena| arena.input(&self.layout, group, &shape));
            let squares = self.squares.iter().map(|total| Input::Resident { memory: &**total, shape: &[] });
            let inputs: Vec<Input<'_>> =
                vectors.into_iter().chain(squares).chain(scalars.iter().map(scalar)).collect();
            let mut outputs = self.next.each_mut().map(|arena| arena.output(&self.layout, group));
            self.update.add(sequence, &inputs, &mut outputs)?;
        }
        Ok(())
    }

    /// Takes the last update over, when the sequence to which it was added is finished.
    pub fn accept(&mut self) {
        let [values, first, second] = &mut self.next;
        std::mem::swap(&mut self.values, values);
        std::mem::swap(&mut self.moments[0], first);
        std::mem::swap(&mut self.moments[1], second);
    }
}

fn scalar(value: &[f32; 1]) -> Input<'_> {
    Input::Passed(Tensor { data: Data::F32(value), shape: &[] })
}
