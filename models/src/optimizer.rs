//! AdamW over the arena of parameters: the update written in `.xl`, compiled like everything else, one pass a group.
//!
//! Moments stay where the update computes; who wants to save them gets them.

use std::borrow::Cow;
use std::ops::Range;

use carousel_core::backend::{Data, DataMut, Executable, RunError, Tensor};
use carousel_core::resident::{Input, Output, Resident};
use carousel_cpu::in_large_pages;
use carousel_ir::DType;
use carousel_ir::text::{Options, elaborate, parse_program};

use crate::compile::Engine;
use crate::config::AdamW;
use crate::library::{OPTIMIZER, bundled};
use crate::parameters::Layout;

/// Parameters, their moments, and what updates them. The values of a step are written beside the old ones and then
/// change places with them.
pub struct Optimizer {
    update: Box<dyn Executable>,
    sum_squares: Box<dyn Executable>,
    /// The parameters.
    pub values: Vec<f32>,
    /// First and second moments, if they are not elsewhere.
    moments: [Vec<f32>; 2],
    next: [Vec<f32>; 3],
    /// For each group the moments, and room for the next ones, if the update computes elsewhere.
    there: Option<[Turn; 2]>,
}

/// First and second moments, and where the next ones go.
struct Turn {
    now: [Box<dyn Resident>; 2],
    next: [Box<dyn Resident>; 2],
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
    /// Compiles the update for parameters with these values; moments are 0.
    pub fn new(engine: &Engine, values: Vec<f32>) -> Optimizer {
        let text = bundled(OPTIMIZER).expect("the optimiser is built in");
        let program = parse_program(OPTIMIZER, text, &|path| Err(format!("no file `{path}`")));
        let program = program.unwrap_or_else(|f| panic!("{OPTIMIZER}: {:?}", f.diagnostics));
        let module = elaborate(&program, &["adamw", "sum_squares"], &Options::default())
            .unwrap_or_else(|problems| panic!("{OPTIMIZER}: {problems:?}"));
        let compile = |name: &str| {
            let function = module.find(name).expect("elaborated functions are there");
            engine.compile(&module, function).unwrap_or_else(|problems| panic!("{OPTIMIZER}: {problems:?}"))
        };
        let zeros = || in_large_pages(vec![0.0; values.len()]);
        Optimizer {
            update: compile("adamw"),
            sum_squares: compile("sum_squares"),
            moments: [zeros(), zeros()],
            next: [zeros(), zeros(), zeros()],
            there: None,
            values,
        }
    }

    /// First and second moments.
    pub fn moments(&self, layout: &Layout) -> Result<[Cow<'_, [f32]>; 2], RunError> {
        let [first, second] = &self.moments;
        let Some(there) = &self.there else { return Ok([first.into(), second.into()]) };
        let fetch = |which: usize| {
            let mut moments = vec![0.0; self.values.len()];
            for (turn, range) in there.iter().zip(layout.groups()) {
                turn.now[which].read(DataMut::F32(&mut moments[range]))?;
            }
            Ok::<_, RunError>(Cow::Owned(moments))
        };
        Ok([fetch(0)?, fetch(1)?])
    }

    /// Goes on from these moments.
    pub fn set_moments(&mut self, moments: [Vec<f32>; 2]) {
        (self.moments, self.there) = (moments, None);
    }

    /// Moments where the update computes.
    fn sent(&self, layout: &Layout) -> Result<[Turn; 2], RunError> {
        let room = |range: &Range<usize>| self.update.resident(DType::F32, range.len() as u64);
        let send = |range: &Range<usize>| {
            let mut now = [room(range)?, room(range)?];
            for (there, here) in now.iter_mut().zip(&self.moments) {
                there.write(Data::F32(&here[range.clone()]))?;
            }
            Ok::<_, RunError>(Turn { now, next: [room(range)?, room(range)?] })
        };
        let [decayed, free] = layout.groups();
        Ok([send(&decayed)?, send(&free)?])
    }

    /// The norm of all gradients together.
    pub fn norm(&self, gradients: &[f32]) -> Result<f64, RunError> {
        let mut total = [0f32];
        let shape = [gradients.len() as u64];
        let input = Tensor { data: Data::F32(gradients), shape: &shape };
        self.sum_squares.run(&[input], &mut [DataMut::F32(&mut total)])?;
        Ok(f64::from(total[0]).sqrt())
    }

    /// One update. `norm` is that of the gradients, which are scaled down if it is above the limit.
    pub fn update(
        &mut self,
        layout: &Layout,
        gradients: &[f32],
        norm: f64,
        with: Update<'_>,
    ) -> Result<(), RunError> {
        let scale = if with.clip > 0.0 { (with.clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let correction = |beta: f64| 1.0 - beta.powf(with.step as f64 + 1.0);
        if self.update.is_elsewhere() && self.there.is_none() {
            self.there = Some(self.sent(layout)?);
        }
        for (group, range) in layout.groups().into_iter().enumerate() {
            let decay = if group == 0 { with.adamw.weight_decay } else { 0.0 };
            if range.is_empty() {
                continue;
            }
            let scalars = [
                with.learning_rate,
                decay,
                scale,
                with.adamw.beta1,
                with.adamw.beta2,
                with.adamw.epsilon,
                correction(with.adamw.beta1),
                correction(with.adamw.beta2),
            ]
            .map(|x| [x as f32]);
            let shape = [range.len() as u64];
            let vectors = [&self.values[..], gradients, &self.moments[0], &self.moments[1]];
            let vectors = vectors.map(|v| Tensor { data: Data::F32(&v[range.clone()]), shape: &shape });
            let scalars = scalars.iter().map(|s| Tensor { data: Data::F32(s), shape: &[] });
            let Some(there) = &mut self.there else {
                let inputs: Vec<Tensor<'_>> = vectors.into_iter().chain(scalars).collect();
                let mut outputs = self.next.each_mut().map(|v| DataMut::F32(&mut v[range.clone()]));
                self.update.run(&inputs, &mut outputs)?;
                continue;
            };
            let Turn { now, next } = &mut there[group];
            let [values, gradients, _, _] = vectors.map(Input::Passed);
            let moments = now.each_ref().map(|m| Input::Resident { memory: &**m, shape: &shape });
            let inputs = [values, gradients].into_iter().chain(moments).chain(scalars.map(Input::Passed));
            let inputs: Vec<Input<'_>> = inputs.collect();
            let [first, second] = next;
            let values = Output::Passed(DataMut::F32(&mut self.next[0][range.clone()]));
            let mut outputs = [values, Output::Resident(&mut **first), Output::Resident(&mut **second)];
            self.update.run_resident(&inputs, &mut outputs)?;
        }
        let [values, first, second] = &mut self.next;
        std::mem::swap(&mut self.values, values);
        match &mut self.there {
            Some(there) => there.iter_mut().for_each(|turn| std::mem::swap(&mut turn.now, &mut turn.next)),
            None => {
                std::mem::swap(&mut self.moments[0], first);
                std::mem::swap(&mut self.moments[1], second);
            }
        }
        Ok(())
    }
}
