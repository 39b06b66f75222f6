//! Where the inputs and results of a program lie in the tensors of a case.
//!
//! Elements are never moved: a place says which of them belong to an input.

use super::GoldenError;
use super::families::{Program, Slot};
use super::vectors::Vector;
use carousel_ir::{Function, Graph, Input, Name, Role};
use carousel_models::external::{Axed, Placement};
use carousel_reference::Tensor;
use std::collections::BTreeMap;

/// Where the inputs of a program lie in the tensors of a case.
pub(super) struct Places {
    parameters: BTreeMap<Name, (String, Placement)>,
}

/// Where one input lies.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// An input or output that the program names.
    Slot(&'a Slot),
    /// A parameter: the key, without what it begins with.
    Parameter(&'a str, &'a Placement),
}

impl Place<'_> {
    /// The key behind this prefix.
    pub(super) fn under(self, prefix: &str) -> (String, Self) {
        let key = match self {
            Place::Slot(slot) => slot.key,
            Place::Parameter(key, _) => key,
        };
        (format!("{prefix}{key}"), self)
    }

    /// The places of its elements in the tensor; it has `count` of them.
    fn elements(&self, count: usize) -> Box<dyn Iterator<Item = usize> + '_> {
        match self {
            Place::Slot(slot) => Box::new(slot.part.0 * count..(slot.part.0 + 1) * count),
            Place::Parameter(_, placement) => Box::new(placement.places()),
        }
    }

    /// How many elements the tensor should have.
    fn whole(&self, count: usize) -> usize {
        match self {
            Place::Slot(slot) => slot.part.1 * count,
            Place::Parameter(_, placement) => placement.shape.iter().product(),
        }
    }
}

impl Places {
    /// Of all parameters of a graph.
    pub(super) fn new(program: &Program, graph: &Graph) -> Result<Places, GoldenError> {
        let Some(of) = &program.parameters else { return Ok(Places { parameters: BTreeMap::new() }) };
        let is_parameter = |i: &&Input| matches!(i.role, Role::Parameter { .. });
        let inputs: Vec<&Input> = graph.inputs.iter().filter(is_parameter).collect();
        let paths: Vec<String> = inputs.iter().map(|i| format!("{}{}", of.ours, i.name)).collect();
        let axes = |input: &Input| -> Vec<(&'static str, usize)> {
            let size = |axis| graph.axes.size(axis).known().expect("sizes of parameters are known") as usize;
            input.ty.axes.iter().map(|axis| (axis.as_str(), size(axis))).collect()
        };
        let axed: Vec<Axed<'_>> =
            inputs.iter().zip(&paths).map(|(i, path)| Axed { path, axes: axes(i) }).collect();
        let placements = of.names.placements(&axed, of.section);
        let placements = placements.map_err(|error| GoldenError::Case(error.to_string()))?;
        let key = |placement: &Placement| {
            let key = placement.tensor.strip_prefix(&of.theirs);
            key.map(str::to_string)
                .ok_or_else(|| GoldenError::Case(format!("`{}` is no tensor of the case", placement.tensor)))
        };
        let parameters = inputs.iter().zip(placements);
        let parameters = parameters.map(|(input, p)| Ok((input.name, (key(&p)?, p))));
        Ok(Places { parameters: parameters.collect::<Result<_, GoldenError>>()? })
    }

    /// Of an input by name.
    pub(super) fn of<'a>(&'a self, program: &'a Program, input: &str) -> Option<Place<'a>> {
        let slot = program.inputs.iter().find(|slot| slot.name == input).map(Place::Slot);
        let parameter = || self.parameters.get(&Name::new(input)).map(|(key, p)| Place::Parameter(key, p));
        slot.or_else(parameter)
    }

    /// The key of a parameter, without what it begins with.
    pub(super) fn tensor(&self, parameter: &str) -> Option<&str> {
        self.parameters.get(&Name::new(parameter)).map(|(key, _)| key.as_str())
    }

    /// The values of a parameter.
    pub(super) fn parameter(
        &self,
        name: Name,
        file: &BTreeMap<String, Vector>,
    ) -> Result<Vec<f64>, GoldenError> {
        let place = self.parameters.get(&name);
        let found = place.and_then(|(key, placement)| Some((file.get(&format!("param.{key}"))?, placement)));
        let (vector, placement) =
            found.ok_or_else(|| GoldenError::Case(format!("no tensor is the parameter `{name}`")))?;
        Ok(placement.places().map(|at| vector.values[at]).collect())
    }

    /// Writes the values of a parameter to where they are in the tensor that is recorded under `prefix`.
    pub(super) fn put(
        &self,
        program: &Program,
        prefix: &str,
        parameter: &str,
        values: Vec<f64>,
        file: &BTreeMap<String, Vector>,
        results: &mut BTreeMap<String, Vec<f64>>,
    ) -> Result<(), GoldenError> {
        let place = self.of(program, parameter);
        let place =
            place.ok_or_else(|| GoldenError::Case(format!("`{parameter}` is no tensor of the case")))?;
        let (key, place) = place.under(prefix);
        put(&key, place, values, file, results);
        Ok(())
    }

    /// An input of the derived function: a part of a tensor, or what stands for a missing one.
    pub(super) fn input(
        &self,
        program: &Program,
        function: &Function,
        file: &BTreeMap<String, Vector>,
        declared: &Input,
    ) -> Result<Tensor<f64>, GoldenError> {
        let name = declared.name.as_str();
        let place = match name.strip_prefix("cot.") {
            Some(output) => {
                program.outputs.iter().find(|s| s.name == output).map(|s| Place::Slot(s).under("in.cot."))
            }
            None => self.of(program, name).map(|place| match place {
                Place::Slot(slot) => place.under(slot.prefix),
                Place::Parameter(..) => place.under("param."),
            }),
        };
        let (key, place) =
            place.ok_or_else(|| GoldenError::Program(format!("no tensor is the input `{name}`")))?;
        let shape = shape(program, &function.graph, declared)?;
        let elements: usize = shape.iter().product();
        let values: Vec<f64> = match (file.get(&key), place) {
            (None, Place::Slot(slot)) => vec![slot.absent; elements],
            (None, Place::Parameter(..)) => {
                return Err(GoldenError::Case(format!("there is no tensor `{key}`")));
            }
            (Some(vector), place) if vector.values.len() != place.whole(elements) => {
                let message = format!("`{key}` has the shape {:?}, `{name}` {shape:?}", vector.shape);
                return Err(GoldenError::Case(message));
            }
            (Some(vector), place) => place.elements(elements).map(|at| vector.values[at]).collect(),
        };
        Ok(if declared.ty.dtype.is_float() {
            Tensor::floats(&shape, values)
        } else {
            Tensor::integers(&shape, values.into_iter().map(|x| x as i64))
        })
    }
}

/// Writes the elements of a result to where they are in the recorded tensor, if it is recorded.
pub(super) fn put(
    key: &str,
    place: Place<'_>,
    values: Vec<f64>,
    file: &BTreeMap<String, Vector>,
    results: &mut BTreeMap<String, Vec<f64>>,
) {
    let Some(recorded) = file.get(key) else { return };
    let whole = results.entry(key.to_string()).or_insert_with(|| vec![f64::NAN; recorded.values.len()]);
    for (at, value) in place.elements(values.len()).zip(values) {
        if let Some(element) = whole.get_mut(at) {
            *element = value;
        }
    }
}

/// The shape of an input.
pub(super) fn shape(program: &Program, graph: &Graph, input: &Input) -> Result<Vec<usize>, GoldenError> {
    let size = |axis: carousel_ir::Axis| {
        let known = graph.axes.size(axis).known();
        let size = known.or_else(|| program.sizes.get(axis.as_str()).copied()).map(|size| size as usize);
        size.ok_or_else(|| GoldenError::Case(format!("the case does not tell the size of `{axis}`")))
    };
    input.ty.axes.iter().map(size).collect()
}
