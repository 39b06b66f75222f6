//! Linear scans replaced by one of their forms, in functions and in the bodies of loops.
//!
//! Invariant: interfaces stay, and no linear scan is left. What several scans have in common (weights, products,
//! states between chunks) is written once for each and left to [`crate::common_subexpressions`].

use super::chunked::{self, Layouts, written_axes};
use super::policy::{ChooseForm, Form, Site};
use super::recurrent;
use carousel_ir::{Builder, Graph, Line, Module, Name, Op, Scan, ValueId};

/// A linear scan that was expanded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expanded {
    /// The function that it is in.
    pub function: Name,
    /// The operation, `linread` or its derivative by the decay.
    pub operation: &'static str,
    /// How many steps it has, as a size expression.
    pub length: String,
    /// The form that was chosen.
    pub form: Form,
}

/// Replaces every linear scan by the form that `policy` chooses. The module is verified, and so is the result.
pub fn expand(module: &Module, policy: &dyn ChooseForm) -> (Module, Vec<Expanded>) {
    let mut result = Module::default();
    let mut done = Vec::new();
    for function in &module.functions {
        let mut expansion = Expansion { policy, function: function.name, done: &mut done };
        let graph = expansion.graph(&result, &function.graph);
        result.push(carousel_ir::Function { graph, ..function.clone() });
    }
    if cfg!(debug_assertions)
        && let Some(problem) = carousel_ir::verify(&result).first()
    {
        panic!("an expanded linear scan does not verify: {problem}");
    }
    (result, done)
}

struct Expansion<'a> {
    policy: &'a dyn ChooseForm,
    function: Name,
    done: &'a mut Vec<Expanded>,
}

/// Where a value of the old graph is in the new one.
enum Made {
    One(ValueId),
    Results([ValueId; 2]),
}

impl Expansion<'_> {
    fn graph(&mut self, module: &Module, graph: &Graph) -> Graph {
        let empty = Graph { axes: graph.axes.clone(), inputs: graph.inputs.clone(), ..Graph::default() };
        let mut b = Builder::resume(module, empty);
        let mut layouts = Layouts::default();
        let mut made: Vec<Made> = Vec::with_capacity(graph.nodes.len());
        for (_, node) in graph.iter() {
            b.span = node.span;
            if let Op::Proj { index } = node.op
                && let Made::Results(results) = made[node.operands[0].index()]
            {
                let value = results[index as usize];
                node.name.iter().for_each(|name| b.name(value, *name));
                made.push(Made::One(value));
                continue;
            }
            let operands: Vec<ValueId> = node
                .operands
                .iter()
                .map(|o| match made[o.index()] {
                    Made::One(value) => value,
                    Made::Results(_) => panic!("the results of a linear scan are taken one by one"),
                })
                .collect();
            let value = match (Line::of(&node.op), &node.op) {
                (Some(line), Op::LinRead { key, .. }) => {
                    let operands = first_six(&operands);
                    let form = self.choose(&b, node.op.kind(), &line, key, &operands);
                    let (read, state) = match steps(form) {
                        None => recurrent::linread(&mut b, &line, key, &operands),
                        Some(length) => {
                            let layout = layouts.layout(&mut b, &line, length);
                            chunked::linread(&mut b, &line, key, &operands, &layout)
                        }
                    };
                    made.push(Made::Results([read, state]));
                    continue;
                }
                (Some(line), Op::LinReadDecay { key, .. }) => {
                    let (six, last) = (first_six(&operands), [operands[6], operands[7]]);
                    let form = self.choose(&b, node.op.kind(), &line, key, &six);
                    let length = steps(form).unwrap_or(Some(DECAY_STEPS));
                    let layout = layouts.layout(&mut b, &line, length);
                    chunked::decay_gradient(&mut b, &line, key, &six, last, &layout)
                }
                (_, Op::Scan { scan }) => {
                    let body = self.body(&mut b, &scan.body);
                    let scan = Scan { body, ..(**scan).clone() };
                    let (scan, operands) = carousel_ir::scan::normalize(scan, &operands);
                    b.push(Op::Scan { scan: Box::new(scan) }, &operands)
                }
                (_, op) => b.push(op.clone(), &operands),
            };
            node.name.iter().for_each(|name| b.name(value, *name));
            made.push(Made::One(value));
        }
        for output in &graph.outputs {
            let Made::One(value) = made[output.value.index()] else {
                panic!("the results of a linear scan are taken one by one")
            };
            b.output_as(output.name.as_str(), value, output.axes.clone());
        }
        let graph = carousel_ir::transform::without_dead_code(&b.finish_pass());
        crate::plain::live(module, &crate::plain::shared(module, &graph))
    }

    /// A loop's body; its new axes get the same sizes outside.
    fn body(&mut self, b: &mut Builder<'_>, body: &Graph) -> Graph {
        if !contains(body) {
            return body.clone();
        }
        let with_outer_axes = Graph { axes: b.axes().clone(), ..body.clone() };
        let body = self.graph(&Module::default(), &with_outer_axes);
        for (axis, size) in body.axes.iter() {
            b.axes_mut().declare(axis, size.clone());
        }
        body
    }

    fn choose(
        &mut self,
        b: &Builder<'_>,
        kind: carousel_ir::OpKind,
        line: &Line,
        key: &carousel_ir::Axes,
        operands: &chunked::Operands,
    ) -> Form {
        let length = b.axes().size(line.axis);
        let written = written_axes(b, key, operands);
        let state = b.axes().elements(&key.union(&written));
        let form = self.policy.choose(Site { kind, line, length, key, written: &written, state: &state });
        let (operation, length) = (kind.mnemonic(), length.to_string());
        self.done.push(Expanded { function: self.function, operation, length, form });
        form
    }
}

/// The steps of a chunk of the gradient by the decay, where everything else goes step by step. Running sums of q dq and
/// -x dx over the whole sequence would need no chunks, but they cancel: in f32 they lose what a large early step leaves.
const DECAY_STEPS: u64 = 16;

/// The steps of a chunk in forms that have chunks; in the inner `None`, all of them are one.
fn steps(form: Form) -> Option<Option<u64>> {
    match form {
        Form::Recurrent => None,
        Form::Parallel => Some(None),
        Form::Chunkwise(length) => Some(Some(length)),
    }
}

fn first_six(operands: &[ValueId]) -> chunked::Operands {
    operands[..6].try_into().expect("a verified linear scan has its operands")
}

/// Whether there are linear scans in the graph.
fn contains(graph: &Graph) -> bool {
    graph.nodes.iter().any(|n| {
        Line::of(&n.op).is_some() || if let Op::Scan { scan } = &n.op { contains(&scan.body) } else { false }
    })
}
