//! Reverse-mode differentiation of IR functions.
//!
//! [`gradient`] and [`value_and_gradient`] add derived functions to a module. Invariants: the result verifies; an
//! operation is differentiated by one rule (`rules.rs`, an exhaustive match) and never silently taken as constant;
//! called functions and loops are derived once each and stay called functions and loops. What the crate does not do:
//! simplify. Its graphs contain what the rules wrote, without dead code.
//!
//! Map: `joint` copies a graph and sweeps it backwards on one tape; `sweep` is that sweep; `rules` are the
//! derivatives, written with `expr`; `loops` reverses scans, `linear` linear scans, `checkpoint` splits them first; `calls` derives called
//! functions and decides what they save; `flow` says where gradients go at all, `scale` which factors
//! a later norm hides.
//!
//! ```
//! use carousel_autodiff::{Options, gradient};
//! use carousel_ir::text::{elaborate, parse_program, print};
//!
//! let text = "fn square(x: [s]) -> (y: [s]) { let y = x * x }";
//! let program = parse_program("square.xl", text, &|path| Err(format!("no {path}"))).unwrap();
//! let module = elaborate(&program, &["square"], &Default::default()).unwrap();
//! let square = module.find("square").unwrap();
//! let (module, gradient) = gradient(&module, square, &Options::default()).unwrap();
//! let graph = &module[gradient].graph;
//! assert_eq!(graph.inputs.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["x", "cot.y"]);
//! assert_eq!(graph.outputs.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["y", "grad.x"]);
//! ```

mod calls;
mod checkpoint;
mod expr;
mod flow;
mod joint;
mod linear;
mod loops;
mod rules;
mod scale;
mod sweep;

use calls::Context;
use carousel_ir::{Diagnostic, Function, FunctionId, Module, Name, Output, Role, Span, Type, ValueId};
use expr::Tape;
use joint::{Seeds, joint};

/// What the reverse of a loop works from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ScanResiduals {
    /// The states before every step are saved; memory grows with the number of steps.
    #[default]
    Save,
    /// Only about sqrt(n) of them are saved, and the steps between are run again.
    Checkpoint,
}

/// How to differentiate.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// What the reverse of a loop works from.
    pub scans: ScanResiduals,
    /// The inputs to differentiate by; all float inputs if that is not said.
    pub wrt: Option<Vec<Name>>,
}

/// Adds the vector-Jacobian product of a function: it takes the inputs, then `cot.OUTPUT` for every float output,
/// and returns the outputs, then `grad.INPUT` for every input that is differentiated by. Where such a name is taken,
/// a number is appended.
pub fn gradient(
    module: &Module,
    function: FunctionId,
    options: &Options,
) -> Result<(Module, FunctionId), Vec<Diagnostic>> {
    let graph = &module[function].graph;
    let cotangents: Vec<bool> = graph.outputs.iter().map(|o| graph.ty(o.value).dtype.is_float()).collect();
    if !cotangents.contains(&true) {
        let message = format!("`{}` has no float output to differentiate", module[function].name);
        return Err(vec![Diagnostic::error("gradient", Span::default(), message)]);
    }
    differentiate(module, function, options, Seeds::Inputs, &cotangents)
}

/// Adds the function with the gradient of its scalar output `loss`: it takes the inputs, and returns the outputs,
/// then `grad.INPUT` for every input that is differentiated by.
pub fn value_and_gradient(
    module: &Module,
    function: FunctionId,
    loss: &str,
    options: &Options,
) -> Result<(Module, FunctionId), Vec<Diagnostic>> {
    let graph = &module[function].graph;
    let Some(output) = graph.outputs.iter().find(|o| o.name.as_str() == loss) else {
        let known = graph.outputs.iter().map(|o| o.name.as_str());
        let message = format!("`{}` has no output `{loss}`", module[function].name);
        let error = Diagnostic::error("gradient", Span::default(), message);
        return Err(vec![suggest(error, loss, known)]);
    };
    let ty = graph.ty(output.value);
    if !ty.dtype.is_float() || !ty.axes.is_empty() {
        let message = format!("the loss `{loss}` must be a float scalar, not {ty}");
        return Err(vec![Diagnostic::error("gradient", graph[output.value].span, message)]);
    }
    let cotangents: Vec<bool> = graph.outputs.iter().map(|o| o.name.as_str() == loss).collect();
    differentiate(module, function, options, Seeds::One, &cotangents)
}

fn suggest<'a>(error: Diagnostic, word: &str, known: impl Iterator<Item = &'a str>) -> Diagnostic {
    match carousel_ir::nearest(word, known) {
        Some(near) => error.with_help(format!("did you mean `{near}`?")),
        None => error,
    }
}

fn differentiate(
    module: &Module,
    function: FunctionId,
    options: &Options,
    seeds: Seeds,
    cotangents: &[bool],
) -> Result<(Module, FunctionId), Vec<Diagnostic>> {
    let needs = differentiated_inputs(&module[function], options)?;
    let problems = linear::second_order(module, function);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut context = Context::new(module.clone(), options);
    let Function { name, kind, residuals, graph: original } = module[function].clone();
    let graph = checkpoint::apply(&context, &original, cotangents, &needs);
    let joint = joint(&mut context, &graph, seeds, cotangents, &needs);

    let mut graph = joint.graph;
    for (output, &value) in original.outputs.iter().zip(&joint.outputs) {
        graph.outputs.push(Output { value, ..output.clone() });
    }
    let mut b = carousel_ir::Builder::resume(&context.module, graph);
    for (i, input) in original.inputs.iter().enumerate().filter(|(i, _)| needs[*i]) {
        let value = joint.gradients[i].unwrap_or_else(|| {
            let zero = b.constant(0.0, input.ty.dtype);
            b.broadcast(zero, &input.ty.axes)
        });
        let taken = |n| b.graph().outputs.iter().any(|o| o.name == n);
        let name = free_name(&format!("grad.{}", input.name), taken);
        b.output_as(name.as_str(), value, input.ty.axes.clone());
    }
    let graph = carousel_ir::transform::without_dead_code(&b.finish_pass());
    let mut module = context.module;
    let name = module.fresh_name(&format!("{name}.grad"));
    let derived = module.push(Function { name, kind, residuals, graph });
    debug_assert_eq!(carousel_ir::verify(&module), Vec::new(), "the derived functions of `{name}` verify");
    Ok((module, derived))
}

fn differentiated_inputs(function: &Function, options: &Options) -> Result<Vec<bool>, Vec<Diagnostic>> {
    let inputs = &function.graph.inputs;
    let Some(wrt) = &options.wrt else {
        return Ok(inputs.iter().map(|i| i.ty.dtype.is_float()).collect());
    };
    let mut problems = Vec::new();
    for name in wrt {
        let error = |message| Diagnostic::error("gradient", Span::default(), message);
        match inputs.iter().find(|i| i.name == *name) {
            None => {
                let known = inputs.iter().map(|i| i.name.as_str());
                let error = error(format!("`{}` has no input `{name}`", function.name));
                problems.push(suggest(error, name.as_str(), known));
            }
            Some(input) if !input.ty.dtype.is_float() => {
                problems.push(error(format!("`{name}` is {}, through which no gradient flows", input.ty)));
            }
            Some(_) => {}
        }
    }
    if problems.is_empty() {
        Ok(inputs.iter().map(|i| wrt.contains(&i.name)).collect())
    } else {
        Err(problems)
    }
}

/// `base`, or `base` with a number, such that `taken` does not hold.
fn free_name(base: &str, taken: impl Fn(Name) -> bool) -> Name {
    (0..)
        .map(|n| if n == 0 { Name::new(base) } else { Name::new(&format!("{base}.{n}")) })
        .find(|name| !taken(*name))
        .expect("there are more names than values")
}

/// An input called `base`, or `base` with a number where that is taken.
fn free_input(tape: &Tape<'_>, base: &str, ty: Type, role: Role) -> ValueId {
    let mut b = tape.borrow_mut();
    let name = free_name(base, |name| b.graph().inputs.iter().any(|i| i.name == name));
    b.input(name.as_str(), ty, role)
}
