//! Which operation made the first number that is not finite, where a run has diverged.
//!
//! The step is done again on the reference, in the precision of the program and row by row, which is slow, and done once.

use carousel_ir::{FunctionId, Module};
use carousel_passes::documents::STARTS;
use carousel_reference::{NonFinite, Observed, Settings, Tensor, evaluate_with};

use super::{TrainError, Trainer};
use crate::batch::Batch;
use crate::compile::loss_gradient;
use crate::model::LOSS;

impl Trainer {
    /// What was not finite first in the step that comes next: a parameter, or the result of an operation of the forward or the
    /// backward pass, with its place in the source.
    pub(super) fn diagnosis(&self) -> Result<String, TrainError> {
        let parameters = self.optimizer.values()?;
        if let Some((parameter, _)) = self.model.layout().first_not_finite(&parameters) {
            return Ok(format!("the parameter `{}` is not finite already", parameter.name));
        }
        let forward = self.prepared.find(LOSS).expect("elaborated functions are there");
        let backward = loss_gradient(&self.prepared, forward, "loss");
        for part in 0..self.config.accumulate {
            let batch = self.batch(part)?;
            for row in 0..batch.rows {
                let one = batch.row(row);
                let backward = backward.iter().map(|(module, function)| (module, *function, "backward"));
                for (module, function, pass) in
                    [(&self.prepared, forward, "forward")].into_iter().chain(backward)
                {
                    if let Some(found) = self.first_not_finite(module, function, &parameters, &one) {
                        let place = self.model.place(found.span).map(|place| format!(" ({place})"));
                        return Ok(format!(
                            "first, in the {pass} pass, {found}{}",
                            place.unwrap_or_default()
                        ));
                    }
                }
            }
        }
        Ok("each operation is finite where it is evaluated plainly".to_string())
    }

    fn first_not_finite(
        &self,
        module: &Module,
        function: FunctionId,
        parameters: &[f32],
        batch: &Batch,
    ) -> Option<NonFinite> {
        let layout = self.model.layout();
        let shape = [batch.rows, batch.context];
        let inputs = module[function].graph.inputs.iter().map(|input| {
            if let Some(parameter) = layout.find(input.name) {
                let values = &parameters[parameter.range.clone()];
                return Tensor::<f32>::floats(&parameter.shape, values.iter().map(|x| f64::from(*x)));
            }
            match input.name.as_str() {
                "tokens" => Tensor::integers(&shape, batch.inputs.iter().map(|x| i64::from(*x))),
                "labels" => Tensor::integers(&shape, batch.labels.iter().map(|x| i64::from(*x))),
                STARTS => Tensor::bools(&shape, batch.starts.iter().copied()),
                "seed" => Tensor::integers(&[], [i64::from(self.config.seed as u32)]),
                _ => Tensor::integers(&[], [i64::from(self.step as u32)]),
            }
        });
        let inputs: Vec<Tensor<f32>> = inputs.collect();
        let mut first = None;
        let mut observer = |observed: Observed<'_, f32>| NonFinite::note(&mut first, &observed);
        let settings = Settings { observer: Some(&mut observer), ..Settings::default() };
        // What cannot be evaluated names nothing.
        let _ = evaluate_with(module, function, &inputs, settings);
        first
    }
}
