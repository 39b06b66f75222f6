//! Evaluation by the reference, and small random graphs.

#![allow(dead_code, reason = "each test file uses its own part")]

use carousel_ir::{
    Axes, Axis, AxisTable, Builder, DType, Direction, Function, FunctionId, FunctionKind, Graph, Module,
    Name, Residuals, Scan, Size, ValueId,
};
use carousel_reference::{Scalar, Tensor, evaluate};

pub(crate) fn module_of(name: &str, graph: Graph) -> Module {
    let mut module = Module::default();
    module.push(function(name, graph));
    module
}

pub(crate) fn function(name: &str, graph: Graph) -> Function {
    Function { name: Name::new(name), kind: FunctionKind::Block, residuals: Residuals::Save, graph }
}

/// The outputs of the last function, all axes of known size.
pub(crate) fn run(module: &Module, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
    run_as::<f64>(module, inputs)
}

/// The same in another type of number.
pub(crate) fn run_as<S: Scalar>(module: &Module, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let last = FunctionId(module.functions.len() as u32 - 1);
    let graph = &module[last].graph;
    let tensors: Vec<Tensor<S>> = graph
        .inputs
        .iter()
        .zip(inputs)
        .map(|(input, values)| {
            let size = |a| graph.axes.size(a).known().expect("tests use known sizes") as usize;
            let shape: Vec<usize> = input.ty.axes.iter().map(size).collect();
            match input.ty.dtype {
                DType::Bool => Tensor::bools(&shape, values.iter().map(|v| *v != 0.0)),
                DType::I32 | DType::U32 => Tensor::integers(&shape, values.iter().map(|v| *v as i64)),
                DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => {
                    Tensor::floats(&shape, values.iter().copied())
                }
            }
        })
        .collect();
    let outputs = evaluate(module, last, &tensors).unwrap_or_else(|e| panic!("{e}"));
    outputs.iter().map(Tensor::to_f64).collect()
}

pub(crate) fn run_graph(graph: &Graph, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
    run(&module_of("f", graph.clone()), inputs)
}

/// A small linear congruential generator.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    pub(crate) fn number(&mut self) -> f64 {
        (self.below(4001) as f64 - 2000.0) / 1000.0
    }

    fn choose<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

const AXES: [(&str, u64); 5] = [("i", 2), ("j", 2), ("k", 3), ("m", 3), ("jk", 6)];

pub(crate) fn axes() -> AxisTable {
    let mut table = AxisTable::default();
    for (name, size) in AXES {
        table.declare(Axis::new(name), Size::Known(size));
    }
    table
}

/// Random elements for the inputs of a graph.
pub(crate) fn inputs(graph: &Graph, random: &mut Random) -> Vec<Vec<f64>> {
    let length = |axes: &Axes| graph.axes.elements(axes).known().expect("sizes are known");
    graph.inputs.iter().map(|i| (0..length(&i.ty.axes)).map(|_| random.number()).collect()).collect()
}

/// A random graph of `size` operations, most of the kinds that rules look for.
pub(crate) fn graph(random: &mut Random, size: usize) -> Graph {
    let mut b = Builder::body(axes());
    let shapes: [&[&str]; 5] = [&[], &["i"], &["i", "j"], &["j", "k"], &["k", "i"]];
    let mut values: Vec<ValueId> = shapes
        .iter()
        .enumerate()
        .map(|(n, axes)| {
            let axes: Vec<Axis> = axes.iter().map(|a| Axis::new(a)).collect();
            b.argument(&format!("x{n}"), DType::F32, &axes)
        })
        .collect();
    for _ in 0..size {
        let made = operation(&mut b, random, &values);
        values.extend(made);
    }
    for n in 0..3 {
        let from = values.len() * (n + 1) / 4;
        let value = values[from + random.below(values.len() - from)];
        b.output(&format!("y{n}"), value);
    }
    b.finish().unwrap_or_else(|problems| panic!("{}", problems[0]))
}

fn operation(b: &mut Builder<'_>, random: &mut Random, values: &[ValueId]) -> Vec<ValueId> {
    let x = random.choose(values);
    // Likely one of the last values, so that graphs grow deep.
    let y = values[values.len() - 1 - random.below(values.len().min(4))];
    let of_x: Vec<Axis> = b.ty(x).axes.iter().collect();
    let one = |v: ValueId| vec![v];
    match random.below(24) {
        0 | 1 => one(b.add(x, y)),
        2 | 3 => one(b.sub(x, y)),
        4..=6 => one(b.mul(x, y)),
        7 => {
            let positive = b.exp(y);
            one(b.div(x, positive))
        }
        8 => one(b.neg(x)),
        9 => {
            let c = b.constant([0.0, 1.0, -1.0, 2.0, 0.5][random.below(5)], DType::F32);
            match random.below(4) {
                0 => one(b.add(c, x)),
                1 => one(b.mul(x, c)),
                2 => one(b.sub(c, x)),
                _ => one(b.max(x, c)),
            }
        }
        10 => one(b.sigmoid(x)),
        11 => one(b.tanh(x)),
        12 => {
            let s = b.sigmoid(x);
            one(b.log(s))
        }
        13 => one(b.max(x, y)),
        14 => one(b.abs(x)),
        15 => {
            let condition = b.lt(x, y);
            let negated = b.not(condition);
            one(b.select(negated, x, y))
        }
        16 | 17 if !of_x.is_empty() => {
            let axes = Axes::from(random.choose(&of_x));
            one(b.sum(x, axes))
        }
        18 if !of_x.is_empty() => {
            let axes = Axes::from(random.choose(&of_x));
            one(b.dot(x, y, axes))
        }
        19 => {
            let wider = Axes::new(["i", "j", "k"].map(Axis::new));
            one(b.broadcast(x, &wider))
        }
        20 => {
            let (k, m) = (Axis::new("k"), Axis::new("m"));
            let (from, to) = if of_x.contains(&k) { (k, m) } else { (m, k) };
            if of_x.contains(&from) && !of_x.contains(&to) { one(b.rename(x, from, to)) } else { Vec::new() }
        }
        21 => {
            let (j, k, jk) = (Axis::new("j"), Axis::new("k"), Axis::new("jk"));
            let parts = Axes::new([j, k]);
            match (of_x.contains(&jk), of_x.contains(&j), of_x.contains(&k)) {
                (true, false, false) => one(b.split(x, jk, parts)),
                (false, true, true) => one(b.merge(x, parts, jk)),
                _ => Vec::new(),
            }
        }
        22 if !of_x.is_empty() => {
            let direction = random.choose(&[Direction::Forward, Direction::Reverse]);
            one(b.cumsum(x, of_x[0], direction))
        }
        23 if !of_x.is_empty() => recurrence(b, random, x, of_x[0], values),
        _ => one(b.detach(x)),
    }
}

/// A loop along an axis of `sequence` with two states, one of which nobody needs, and two yields.
fn recurrence(
    b: &mut Builder<'_>,
    random: &mut Random,
    sequence: ValueId,
    axis: Axis,
    values: &[ValueId],
) -> Vec<ValueId> {
    let shared = random.choose(values);
    if b.ty(shared).axes.contains(axis) {
        return Vec::new();
    }
    let element: Vec<Axis> = b.ty(sequence).axes.iter().filter(|a| *a != axis).collect();
    let captured: Vec<Axis> = b.ty(shared).axes.iter().collect();
    let mut body = Builder::body(b.axes().clone());
    let state = body.argument("state", DType::F32, &[]);
    let unused = body.argument("unused", DType::F32, &[]);
    let x = body.argument("x", DType::F32, &element);
    let w = body.argument("w", DType::F32, &captured);
    let one = body.constant(1.0, DType::F32);
    let mean = body.sum(x, Axes::new(element.iter().copied()));
    let minus = body.neg(state);
    let decayed = body.exp(minus);
    let denominator = body.add(one, decayed);
    let gate = body.div(one, denominator);
    let next = body.add(gate, mean);
    let count = body.add(unused, one);
    body.output("state", next);
    body.output("unused", count);
    let product = body.mul(w, next);
    body.output("y", product);
    body.output("z", x);
    let body = body.finish().unwrap_or_else(|problems| panic!("{}", problems[0]));
    let start = b.constant(0.5, DType::F32);
    let direction = random.choose(&[Direction::Forward, Direction::Reverse]);
    let scan = Scan { axis, direction, states: 2, sequences: 1, body };
    let results = b.scan(scan, &[start, start, sequence, shared]);
    vec![results[0], results[2]]
}
