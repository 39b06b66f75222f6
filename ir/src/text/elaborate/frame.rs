//! Frames: the function's graph and, while a scan's body is made, that body on top of it.
//!
//! A value of an outer frame that is used inside becomes an input of the body: the current element if it has the
//! scan's axis, the value itself if not. All frames have the same axis table.

use super::Elaborator;
use super::scope::Value;
use crate::infer::{Context, infer};
use crate::{Axis, Diagnostic, Graph, Input, Name, Node, Op, Role, Size, Span, Type, TypeError, ValueId};
use smallvec::{SmallVec, smallvec};
use std::collections::{HashMap, HashSet};

/// A value of one of the frames.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Val {
    pub(super) frame: usize,
    pub(super) id: ValueId,
}

/// A graph that is being made.
#[derive(Clone, Debug, Default)]
pub(super) struct Frame {
    pub(super) graph: Graph,
    /// The axis that this body loops over; `None` for a function.
    pub(super) axis: Option<Axis>,
    /// Values of the next outer frame that are inputs here: which input, and whether element by element.
    pub(super) captures: Vec<Capture>,
    by_outer: HashMap<ValueId, ValueId>,
    /// The names of inputs.
    names: HashSet<Name>,
}

/// An outer value that the body uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capture {
    pub(super) outer: ValueId,
    pub(super) is_sequence: bool,
}

impl Frame {
    pub(super) fn body(outer: &Frame, axis: Axis) -> Frame {
        let graph = Graph { axes: outer.graph.axes.clone(), ..Graph::default() };
        Frame { graph, axis: Some(axis), ..Frame::default() }
    }

    /// Whether an input has that name.
    pub(super) fn has_input(&self, name: Name) -> bool {
        self.names.contains(&name)
    }

    /// A name that no input has.
    fn free_name(&self, base: Name) -> Name {
        let mut name = base;
        let mut n = 0;
        while self.has_input(name) {
            n += 1;
            name = Name::new(&format!("{base}.{n}"));
        }
        name
    }

    /// Adds an input under a free name like `name`, with its value.
    pub(super) fn add_input(&mut self, name: Name, ty: Type, role: Role, span: Span) -> ValueId {
        let name = self.free_name(name);
        self.names.insert(name);
        let index = self.graph.inputs.len() as u32;
        self.graph.inputs.push(Input { name, ty: ty.clone(), role });
        self.graph.nodes.push(Node {
            op: Op::Input { index },
            operands: smallvec![],
            types: smallvec![ty],
            span,
            name: Some(name),
        });
        ValueId(self.graph.nodes.len() as u32 - 1)
    }
}

impl Elaborator<'_> {
    pub(super) fn frame(&self) -> &Frame {
        &self.function.frames[self.function.at]
    }

    /// The type of a value that is not a tuple.
    pub(super) fn ty(&self, value: Val) -> Type {
        self.function.frames[value.frame].graph.ty(value.id).clone()
    }

    /// The type that a value has in the current frame: without the axes of the scans around.
    pub(super) fn ty_here(&self, value: Val) -> Type {
        let mut ty = self.ty(value);
        for frame in &self.function.frames[(value.frame + 1).min(self.function.at + 1)..=self.function.at] {
            if let Some(axis) = frame.axis {
                ty.axes = ty.axes.without(&axis.into());
            }
        }
        ty
    }

    /// The value in the frame number `to`.
    pub(super) fn import(&mut self, value: Val, to: usize) -> ValueId {
        assert!(value.frame <= to, "a value of a scan's body is used outside");
        if value.frame == to {
            return value.id;
        }
        let outer = self.import(value, to - 1);
        if let Some(inner) = self.function.frames[to].by_outer.get(&outer) {
            return *inner;
        }
        let node = &self.function.frames[to - 1].graph[outer];
        let (name, span) = (node.name.unwrap_or_else(|| Name::new(node.op.kind().mnemonic())), node.span);
        let mut ty = node.ty().clone();
        let frame = &mut self.function.frames[to];
        let axis = frame.axis.expect("an inner frame is a scan's body");
        let is_sequence = ty.axes.contains(axis);
        ty.axes = ty.axes.without(&axis.into());
        let inner = frame.add_input(name, ty, Role::Argument, span);
        frame.captures.push(Capture { outer, is_sequence });
        frame.by_outer.insert(outer, inner);
        inner
    }

    /// Adds a node to the current frame.
    pub(super) fn try_push(&mut self, op: Op, operands: &[Val], span: Span) -> Result<Val, TypeError> {
        self.nodes += 1;
        let at = self.function.at;
        let operands: SmallVec<[ValueId; 3]> = operands.iter().map(|v| self.import(*v, at)).collect();
        let graph = &mut self.function.frames[at].graph;
        let nodes: SmallVec<[&Node; 3]> = operands.iter().map(|v| &graph[*v]).collect();
        let context = Context { axes: &graph.axes, inputs: &graph.inputs, functions: &self.module.functions };
        let types = infer(context, &op, &nodes)?;
        drop(nodes);
        graph.nodes.push(Node { op, operands, types, span, name: None });
        Ok(Val { frame: at, id: ValueId(graph.nodes.len() as u32 - 1) })
    }

    /// Adds a node; a mistake is reported.
    pub(super) fn push(&mut self, op: Op, operands: &[Val], span: Span) -> Value {
        match self.try_push(op, operands, span) {
            Ok(value) => Value::Tensor(value),
            Err(error) => {
                let problem = Diagnostic::error(error.code, span, error.message);
                self.report(Diagnostic { help: error.help, ..problem });
                Value::Error
            }
        }
    }

    pub(super) fn projection(&mut self, tuple: Val, index: u32, span: Span) -> Value {
        let at = std::mem::replace(&mut self.function.at, tuple.frame);
        let value = self.push(Op::Proj { index }, &[tuple], span);
        self.function.at = at;
        value
    }

    /// Runs `make` in the innermost frame that still has `axis` around, so that loops over it see elements.
    pub(super) fn outside<T>(&mut self, axis: Axis, make: impl FnOnce(&mut Self) -> T) -> T {
        let at = self.function.at;
        let inside = self.function.frames[..=at].iter().position(|f| f.axis == Some(axis));
        self.function.at = inside.map_or(at, |frame| frame - 1);
        let result = make(self);
        self.function.at = at;
        result
    }

    /// Gives a value the author's name for it.
    pub(super) fn name_value(&mut self, value: &Value, name: Name) {
        if let Value::Tensor(value) = value {
            self.function.frames[value.frame].graph[value.id].name.get_or_insert(name);
        }
    }

    /// The size of an axis of the graph.
    pub(super) fn size(&self, axis: Axis) -> Size {
        self.frame().graph.axes.size(axis).clone()
    }

    /// Declares an axis in all frames.
    pub(super) fn declare_everywhere(&mut self, axis: Axis, size: &Size) {
        for frame in &mut self.function.frames {
            frame.graph.axes.declare(axis, size.clone());
        }
    }
}
