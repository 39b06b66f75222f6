//! A language model that reads token by token: its logits, what its layers return, and what it remembers at the end.

use super::GoldenError;
use super::families::{Program, Reading};
use super::places::{Places, shape};
use super::run::{Engine, Target, evaluated};
use super::vectors::Vector;
use carousel_ir::{Axis, FunctionId, Module, Name, Op, Output};
use carousel_passes::carry::{FRESH, NEXT, STATE, Summaries, carry};
use carousel_reference::Tensor;
use carousel_testkit::machine::Compiled;
use std::collections::BTreeMap;

/// What results of layers are called, in programs and behind `out.`.
const HIDDEN: &str = "hidden.";

/// Whether a key of a case is something that only a reading shows.
pub(super) fn is_of_layers(key: &str) -> bool {
    key.starts_with("out.hidden.") || key.starts_with("out.state.")
}

/// Reads the tokens of a case; results by key.
pub(super) fn read(
    program: &Program,
    reading: &Reading,
    (forward, root): (&Module, FunctionId),
    places: &Places,
    file: &BTreeMap<String, Vector>,
    target: Target,
) -> Result<BTreeMap<String, Vec<f64>>, GoldenError> {
    let forward = with_layers(forward, root, reading.layer);
    let forward = target.simplified(&forward)?;
    let carried = carry(&forward, root, Axis::new("s"), Summaries::Refused);
    let (module, root) =
        carried.map_err(|d| GoldenError::Program(d.iter().map(|d| format!("{d}\n")).collect()))?;
    let module = target.simplified(&module)?;
    let graph = &module[root].graph;
    let is_state = |name: Name| name.as_str().starts_with(STATE);
    let mut given = Vec::new();
    for input in &graph.inputs {
        given.push(
            if input.name.as_str() == "tokens" || input.name.as_str() == FRESH || is_state(input.name) {
                // Tokens and `fresh` are set at each step; what the states are before the first one does not matter.
                let shape = shape(program, graph, input)?;
                Tensor::floats(&shape, std::iter::repeat_n(f64::NAN, shape.iter().product()))
            } else {
                places.input(program, &module[root], file, input)?
            },
        );
    }
    let compiled = match target.engine {
        Engine::Cpu32 => Some(Compiled::new(&module, root, 2).map_err(GoldenError::Program)?),
        Engine::Reference64 | Engine::Reference32 => None,
        Engine::Cuda32 => unreachable!("texts are read token by token on the CPU and by the reference"),
    };
    let step = |inputs: &[Tensor<f64>]| match &compiled {
        Some(compiled) => {
            let outputs = compiled.run(inputs).map_err(GoldenError::Program)?;
            Ok(outputs.into_iter().map(|output| output.values).collect())
        }
        None => evaluated(&module, root, inputs),
    };
    let tokens =
        file.get(reading.tokens).ok_or_else(|| GoldenError::Case("there are no tokens".to_string()))?;
    let [rows, length] = tokens.shape[..] else {
        return Err(GoldenError::Case("tokens have the axes of batch and sequence".to_string()));
    };
    let mut steps: Vec<Vec<Vec<f64>>> = Vec::new();
    for at in 0..length {
        for (input, value) in graph.inputs.iter().zip(&mut given) {
            if input.name.as_str() == "tokens" {
                let column = (0..rows).map(|row| tokens.values[row * length + at] as i64);
                *value = Tensor::integers(&[rows, 1], column);
            } else if input.name.as_str() == FRESH {
                *value = Tensor::bools(&[], [at == 0]);
            }
        }
        let outputs = step(&given)?;
        let next = graph.outputs.iter().zip(&outputs).filter(|(o, _)| o.name.as_str().starts_with(NEXT));
        let states = graph.inputs.iter().zip(&mut given).filter(|(input, _)| is_state(input.name));
        for ((_, slot), (_, next)) in states.zip(next) {
            *slot = Tensor::floats(&slot.shape.clone(), next.iter().copied());
        }
        steps.push(outputs);
    }
    let mut results = BTreeMap::new();
    // How many layers had a state of that name.
    let mut layers: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, output) in graph.outputs.iter().enumerate() {
        let name = output.name.as_str();
        if let Some(state) = name.strip_prefix(NEXT) {
            let state = state.rsplit('.').next().unwrap_or(state);
            let layer = layers.entry(state).or_default();
            let last = steps.last().map(|step| step[place].clone()).unwrap_or_default();
            results.insert(format!("out.state.{layer}.{state}"), last);
            *layer += 1;
        } else {
            let key =
                if name.starts_with(HIDDEN) { format!("out.{name}") } else { reading.logits.to_string() };
            results.insert(key, in_rows(&steps, place, rows));
        }
    }
    Ok(results)
}

/// From steps of rows to rows of steps.
fn in_rows(steps: &[Vec<Vec<f64>>], place: usize, rows: usize) -> Vec<f64> {
    let row = |row: usize| {
        steps.iter().flat_map(move |step| {
            let width = step[place].len() / rows;
            step[place][row * width..(row + 1) * width].iter().copied()
        })
    };
    (0..rows).flat_map(row).collect()
}

/// The module with what calls of this function return as further results of the root.
fn with_layers(module: &Module, root: FunctionId, layer: Option<&str>) -> Module {
    let mut module = module.clone();
    let Some(layer) = layer else { return module };
    let graph = &module[root].graph;
    let is_call =
        |op: &Op| matches!(op, Op::Call { function } if module[*function].name.as_str().starts_with(layer));
    let results = graph
        .iter()
        .filter(|(_, node)| matches!(node.op, Op::Proj { index: 0 }) && is_call(&graph[node.operands[0]].op));
    let hidden = results.enumerate().map(|(place, (value, node))| Output {
        name: Name::new(&format!("{HIDDEN}{place}")),
        value,
        axes: node.ty().axes.clone(),
    });
    let hidden: Vec<Output> = hidden.collect();
    module.functions[root.index()].graph.outputs.extend(hidden);
    module
}
