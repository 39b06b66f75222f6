//! AdamW over the arena of parameters: the update written in `.xl`, compiled like everything else, one pass a group.

use carousel_core::backend::{Data, DataMut, Executable, RunError, Tensor};
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
    /// First moments.
    pub first: Vec<f32>,
    /// Second moments.
    pub second: Vec<f32>,
    next: [Vec<f32>; 3],
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
        let zeros = vec![0.0; values.len()];
        Optimizer {
            update: compile("adamw"),
            sum_squares: compile("sum_squares"),
            first: zeros.clone(),
            second: zeros.clone(),
            next: [zeros.clone(), zeros.clone(), zeros],
            values,
        }
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
        let [decayed, free] = layout.groups();
        for (range, decay) in [(decayed, with.adamw.weight_decay), (free, 0.0)] {
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
            let vectors = [&self.values[..], gradients, &self.first, &self.second];
            let vectors = vectors.map(|v| Tensor { data: Data::F32(&v[range.clone()]), shape: &shape });
            let inputs: Vec<Tensor<'_>> = vectors
                .into_iter()
                .chain(scalars.iter().map(|s| Tensor { data: Data::F32(s), shape: &[] }))
                .collect();
            let mut outputs = self.next.each_mut().map(|v| DataMut::F32(&mut v[range.clone()]));
            self.update.run(&inputs, &mut outputs)?;
        }
        let [values, first, second] = &mut self.next;
        std::mem::swap(&mut self.values, values);
        std::mem::swap(&mut self.first, first);
        std::mem::swap(&mut self.second, second);
        Ok(())
    }
}
