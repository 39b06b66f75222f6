//! Reverse-mode gradients of a user's function against finite differences, on the reference in f64.
//!
//! For random inputs and cotangents, and for random directions u of each input, `<grad, u>` is compared with the
//! central difference of `<cotangents, outputs>` along u. A direction sees every element at once.

use carousel_autodiff as autodiff;
use carousel_ir::philox::philox;
use carousel_ir::{DType, Diagnostic, FunctionId, Input, Module, Size};
use carousel_reference::{EvalError, Tensor, evaluate};

/// The worst disagreement for one input.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The input.
    pub input: String,
    /// `|reverse - difference| / max(|reverse|, |difference|, scale of all)`.
    pub error: f64,
    /// The derivative by the reverse sweep where it is worst.
    pub reverse: f64,
    /// The derivative by central difference there.
    pub difference: f64,
}

/// Why there is no verdict.
#[derive(Debug)]
pub enum GradcheckError {
    /// The function has no gradient; the diagnostics say where.
    Gradient(Vec<Diagnostic>),
    /// It does not run on random inputs.
    Evaluation(EvalError),
}

/// Directions that are tried for each input.
const DIRECTIONS: u32 = 4;
/// The size that stands for every size that is not known.
const DYNAMIC_SIZE: u64 = 5;

/// Compares both gradients of a verified function; the same seed gives the same numbers.
pub fn gradcheck(module: &Module, function: FunctionId, seed: u32) -> Result<Vec<Row>, GradcheckError> {
    let graph = &module[function].graph;
    let (derived, gradient) = autodiff::gradient(module, function, &autodiff::Options::default())
        .map_err(GradcheckError::Gradient)?;
    let mut random = Random { seed, next: 0 };
    let all: Vec<Tensor<f64>> = derived[gradient]
        .graph
        .inputs
        .iter()
        .map(|i| random.tensor(i, &derived[gradient].graph.axes))
        .collect();
    let inputs = &all[..graph.inputs.len()];
    let results = evaluate(&derived, gradient, &all).map_err(GradcheckError::Evaluation)?;
    let cotangents = &all[graph.inputs.len()..];
    let floats: Vec<usize> =
        (0..graph.outputs.len()).filter(|i| graph.ty(graph.outputs[*i].value).dtype.is_float()).collect();
    let objective = |inputs: &[Tensor<f64>]| -> Result<f64, GradcheckError> {
        let outputs = evaluate(module, function, inputs).map_err(GradcheckError::Evaluation)?;
        Ok(floats.iter().zip(cotangents).map(|(i, c)| inner(&outputs[*i].to_f64(), &c.to_f64())).sum())
    };
    let mut rows = Vec::new();
    let mut gradients = results[graph.outputs.len()..].iter();
    for (place, input) in graph.inputs.iter().enumerate().filter(|(_, i)| i.ty.dtype.is_float()) {
        let Some(gradient) = gradients.next() else { break };
        let mut row = Row { input: input.name.to_string(), error: 0.0, reverse: 0.0, difference: 0.0 };
        for _ in 0..DIRECTIONS {
            let values = inputs[place].to_f64();
            let direction: Vec<f64> = values.iter().map(|_| random.number()).collect();
            let moved = |by: f64| {
                let mut inputs = inputs.to_vec();
                let values = values.iter().zip(&direction).map(|(x, u)| x + by * u);
                inputs[place] = Tensor::floats(&inputs[place].shape.clone(), values.collect::<Vec<_>>());
                objective(&inputs)
            };
            let reverse = inner(&gradient.to_f64(), &direction);
            let difference = central_difference(&moved)?;
            let scale = reverse.abs().max(difference.abs()).max(1e-3);
            let error = (reverse - difference).abs() / scale;
            // A NaN is the worst of all, and must not be lost in a comparison.
            if error.is_nan() || error > row.error {
                row = Row { error, reverse, difference, ..row };
            }
            if error.is_nan() {
                break;
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Fourth order, so that the step may be large enough for rounding not to matter.
fn central_difference(at: &dyn Fn(f64) -> Result<f64, GradcheckError>) -> Result<f64, GradcheckError> {
    const STEP: f64 = 1e-4;
    let near = at(STEP)? - at(-STEP)?;
    let far = at(2.0 * STEP)? - at(-2.0 * STEP)?;
    Ok((8.0 * near - far) / (12.0 * STEP))
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

struct Random {
    seed: u32,
    next: u32,
}

impl Random {
    /// In (-1, 1), and not near 0, where many functions have a corner.
    fn number(&mut self) -> f64 {
        let [word, sign, ..] = philox([self.seed, 0], [self.next, 0, 0, 0]);
        self.next += 1;
        let magnitude = 0.1 + 0.9 * f64::from(word) / 4_294_967_296.0;
        if sign & 1 == 0 { magnitude } else { -magnitude }
    }

    fn tensor(&mut self, input: &Input, axes: &carousel_ir::AxisTable) -> Tensor<f64> {
        let size = |s: &Size| s.evaluate(&|_| Some(DYNAMIC_SIZE)).expect("every symbol has a value");
        let shape: Vec<usize> = input.ty.axes.iter().map(|a| size(axes.size(a)) as usize).collect();
        let count = shape.iter().product::<usize>();
        match input.ty.dtype {
            DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => {
                Tensor::floats(&shape, (0..count).map(|_| self.number()).collect::<Vec<_>>())
            }
            // Small enough to address any axis.
            DType::I32 | DType::U32 => Tensor::integers(&shape, (0..count).map(|i| (i % 2) as i64)),
            DType::Bool => Tensor::bools(&shape, (0..count).map(|i| i % 3 == 2)),
        }
    }
}
