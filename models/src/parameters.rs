//! The parameters of a model in one arena, the ones with weight decay first, so that the optimiser is one pass a group
//! and gradients are written where it reads them.

use std::ops::Range;

use carousel_core::program::Port;
use carousel_cpu::in_large_pages;
use carousel_ir::{Axis, Decay, Diagnostic, Graph, Init, Input, Name, Role, Span};

use crate::checkpoint::{TensorRef, TensorSpec};
use crate::init::{AxisSize, InitError, initial_values};

/// More numbers than a model may have: their gradients and moments would not fit into the memory of any one computer.
const MOST_ELEMENTS: usize = 1 << 36;

/// One parameter.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its path.
    pub name: Name,
    /// Sizes of its axes in declared order.
    pub shape: Vec<usize>,
    /// Names of its axes in declared order.
    axes: Vec<String>,
    /// How it starts.
    init: Init,
    /// Where it lies in the arena.
    pub range: Range<usize>,
}

/// Which parameters there are, and where each lies.
#[derive(Clone, Debug)]
pub struct Layout {
    parameters: Vec<Parameter>,
    decayed: usize,
    elements: usize,
}

impl Parameter {
    /// Names and sizes of its axes in declared order.
    pub fn axes(&self) -> impl Iterator<Item = (&String, usize)> {
        self.axes.iter().zip(self.shape.iter().copied())
    }
}

impl Layout {
    /// The layout of the parameters of a graph; refused if one of them has no numbers, or an axis whose size nothing says, or all of
    /// them more numbers than any computer could train.
    pub fn new(graph: &Graph) -> Result<Layout, Diagnostic> {
        let mut layout = Layout { parameters: Vec::new(), decayed: 0, elements: 0 };
        for group in [Decay::Yes, Decay::No] {
            for input in &graph.inputs {
                let Role::Parameter { init, decay } = input.role else { continue };
                if decay != group {
                    continue;
                }
                let mut shape = Vec::new();
                for axis in input.ty.axes.iter() {
                    match graph.axes.size(axis).known() {
                        None => return Err(no_size(input, axis)),
                        Some(0) => return Err(no_elements(input, axis)),
                        Some(size) => shape.push(size as usize),
                    }
                }
                let start = layout.elements;
                let count = shape.iter().try_fold(1usize, |count, n| count.checked_mul(*n));
                layout.elements = count
                    .and_then(|count| layout.elements.checked_add(count))
                    .filter(|all| *all <= MOST_ELEMENTS)
                    .ok_or_else(|| too_many(input, &shape))?;
                layout.parameters.push(Parameter {
                    name: input.name,
                    axes: input.ty.axes.iter().map(|a| a.to_string()).collect(),
                    shape,
                    init,
                    range: start..layout.elements,
                });
            }
            if group == Decay::Yes {
                layout.decayed = layout.elements;
            }
        }
        Ok(layout)
    }

    /// The parameters, in the order of the arena.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Numbers in the arena.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// The part of the arena that decays, and the part that does not.
    pub fn groups(&self) -> [Range<usize>; 2] {
        [0..self.decayed, self.decayed..self.elements]
    }

    /// The parameter called `name`.
    pub fn find(&self, name: Name) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.name == name)
    }

    /// The arena as training starts.
    pub fn initial(&self, seed: u64) -> Result<Vec<f32>, InitError> {
        let mut arena = in_large_pages(Vec::with_capacity(self.elements));
        for p in &self.parameters {
            let axes =
                p.axes.iter().zip(&p.shape).map(|(name, size)| AxisSize { name: name.clone(), size: *size });
            arena.extend(initial_values(&p.init, seed, p.name.as_str(), &axes.collect::<Vec<_>>())?);
        }
        Ok(arena)
    }

    /// The first parameter of an arena with a number that is not finite, and the place of that number in it.
    pub fn first_not_finite(&self, arena: &[f32]) -> Option<(&Parameter, usize)> {
        self.parameters.iter().find_map(|parameter| {
            let values = &arena[parameter.range.clone()];
            values.iter().position(|x| !x.is_finite()).map(|place| (parameter, place))
        })
    }

    /// What a checkpoint of these parameters must hold.
    pub fn specs(&self) -> Vec<TensorSpec> {
        let spec = |p: &Parameter| TensorSpec { name: p.name.to_string(), shape: p.shape.clone() };
        self.parameters.iter().map(spec).collect()
    }

    /// The tensors of an arena, for a checkpoint.
    pub fn tensors<'a>(&'a self, arena: &'a [f32]) -> Vec<TensorRef<'a>> {
        let tensor = |p: &'a Parameter| TensorRef {
            name: p.name.as_str(),
            shape: &p.shape,
            values: &arena[p.range.clone()],
        };
        self.parameters.iter().map(tensor).collect()
    }

    /// Mutable parts of an arena for the outputs `grad.NAME` of an executable, in the order of those outputs; other
    /// outputs get `None`.
    pub fn gradients<'a>(&self, outputs: &[Port], mut arena: &'a mut [f32]) -> Vec<Option<&'a mut [f32]>> {
        let mut parts = Vec::with_capacity(self.parameters.len());
        for p in &self.parameters {
            let (part, rest) = arena.split_at_mut(p.range.len());
            parts.push(part);
            arena = rest;
        }
        self.of_gradients(outputs, parts)
    }

    /// What belongs to each parameter, in the order of the outputs `grad.NAME`; other outputs get `None`.
    pub(crate) fn of_gradients<T>(
        &self,
        outputs: &[Port],
        parts: impl IntoIterator<Item = T>,
    ) -> Vec<Option<T>> {
        let mut parts: Vec<Option<T>> = parts.into_iter().map(Some).collect();
        let of = |port: &Port| port.name.as_str().strip_prefix("grad.").map(Name::new);
        let place = |name| self.parameters.iter().position(|p| p.name == name);
        outputs.iter().map(|port| of(port).and_then(place).and_then(|at| parts[at].take())).collect()
    }
}

fn too_many(input: &Input, shape: &[usize]) -> Diagnostic {
    let message = format!(
        "with `{}` of shape {shape:?} the model has more than {MOST_ELEMENTS} parameters: it could not be trained",
        input.name
    );
    Diagnostic::error("limit", Span::default(), message)
}

fn no_size(input: &Input, axis: Axis) -> Diagnostic {
    let message = format!(
        "the parameter `{}` has the axis `{axis}`, whose size is not known when the model is compiled",
        input.name
    );
    Diagnostic::error("size", Span::default(), message).with_help(format!(
        "give the axis a size, `{axis} = 64`, or the model a compile-time parameter of that name, `<{axis}: int = 64>`"
    ))
}

fn no_elements(input: &Input, axis: Axis) -> Diagnostic {
    let message = format!("the parameter `{}` has no elements: its axis `{axis}` has the size 0", input.name);
    Diagnostic::error("size", Span::default(), message)
        .with_help("the sizes of a model follow from its configuration")
}
