//! A recurrence from its graph to all its forms, and how they are compared.
//!
//! Invariant: what is compared with is the gradient of the source, evaluated step by step; nothing of the derivation
//! is used for it. A form is compiled once and serves every length.

use crate::data::{self, Draw, Sizes};
use crate::error::{Error, sentences};
use crate::formed::{Formed, evaluated};
use crate::nearness::{Computed, Errors, Mismatch, Tolerance, distance};
use crate::way::Way;
use carousel_autodiff::{Options as GradientOptions, gradient};
use carousel_ir::text::{Options, elaborate, parse_program};
use carousel_ir::{Function, FunctionId, Module, Op, RenderStyle, verify};
use carousel_models::compile::{Derived, derived_with_reports, simplified};
use carousel_models::library::bundled;
use carousel_passes::forms::Recurrence as Family;
use carousel_reference::{Extended, Scalar, Tensor};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The law in numbers that cannot overflow.
pub type Law = Extended;

/// What an evaluation returned, by name.
pub type Results = BTreeMap<String, Vec<f64>>;

/// A recurrence, derived.
pub struct Recurrence {
    /// Its source with its gradient.
    written: (Module, FunctionId),
    /// Its derivation without gradient.
    pub derived: Derived,
    /// With its gradient, in canonical form, before forms are chosen.
    backward: (Module, FunctionId),
    forms: RefCell<BTreeMap<Way, Rc<Formed>>>,
}

/// A function of a text, elaborated. The text may use the built-in files.
///
/// # Errors
/// Every diagnostic, with its place.
pub fn module(text: &str, function: &str, options: &Options) -> Result<(Module, FunctionId), Error> {
    let load = |path: &str| {
        bundled(path).map(str::to_string).ok_or_else(|| format!("there is no built-in file `{path}`"))
    };
    let program = parse_program("cell.xl", text, &load).map_err(|failed| Error::Text(failed.to_string()))?;
    let module = elaborate(&program, &[function], options)
        .map_err(|problems| Error::Text(program.sources.render(&problems, RenderStyle::Plain)))?;
    let root = module.find(function);
    let root = root.ok_or_else(|| Error::Setup(format!("there is no function `{function}` in the text")))?;
    Ok((module, root))
}

/// A function of a module with its vector-Jacobian product.
fn differentiated(module: &Module, root: FunctionId) -> Result<(Module, FunctionId), Error> {
    let (module, root) = gradient(module, root, &GradientOptions::default())
        .map_err(|problems| Error::Text(sentences(&problems)))?;
    match verify(&module).first() {
        Some(problem) => Err(Error::Failed(format!("the gradient does not verify: {problem}"))),
        None => Ok((module, root)),
    }
}

impl Recurrence {
    /// Derives a function of a module, with the gradients of all it returns by all it takes.
    ///
    /// # Errors
    /// If it has no gradient.
    pub fn new(module: &Module, root: FunctionId) -> Result<Recurrence, Error> {
        Recurrence::with_law(module, root, module)
    }

    /// The same where `law` has the function's equations in another way, in which nothing cancels.
    ///
    /// # Errors
    /// If one of them has no gradient.
    pub fn with_law(module: &Module, root: FunctionId, law: &Module) -> Result<Recurrence, Error> {
        let derived = derived_with_reports(&simplified(module));
        let (backward, backward_root) = differentiated(&derived.module, root)?;
        Ok(Recurrence {
            written: differentiated(law, root)?,
            derived,
            backward: (simplified(&backward), backward_root),
            forms: RefCell::new(BTreeMap::new()),
        })
    }

    /// A function of a module as it is, without gradients.
    pub fn without_gradients(module: &Module, root: FunctionId) -> Recurrence {
        let derived = derived_with_reports(&simplified(module));
        let backward = (simplified(&derived.module), root);
        Recurrence {
            written: (module.clone(), root),
            derived,
            backward,
            forms: RefCell::new(BTreeMap::new()),
        }
    }

    /// The source with its gradient.
    pub fn source(&self) -> &Function {
        &self.written.0[self.written.1]
    }

    /// The ways that it can be computed in: those of its kind if it is a linear scan, else one.
    pub fn ways(&self) -> impl Iterator<Item = Way> + use<> {
        let is_linear = self.is_linear();
        let mut kinds = self.derived.linear.iter().filter_map(|loop_| loop_.kind);
        let is_elementwise = kinds.all(|kind| kind == Family::Elementwise);
        Way::ALL.into_iter().filter(move |way| match way {
            Way::Chosen => true,
            Way::Recurrent | Way::Chunkwise(16) => is_linear,
            Way::Parallel | Way::Chunkwise(_) | Way::TwoLevel(..) => is_linear && !is_elementwise,
            Way::Associative(_) => is_linear && is_elementwise,
        })
    }

    /// Whether there is a linear scan in it.
    pub fn is_linear(&self) -> bool {
        let mut nodes = self.derived.module.functions.iter().flat_map(|f| &f.graph.nodes);
        nodes.any(|n| matches!(n.op, Op::LinRead { .. }))
    }

    /// It in that form, which is made once.
    pub fn form(&self, way: Way) -> Rc<Formed> {
        let (module, root) = &self.backward;
        let new = || Rc::new(Formed::new(module, *root, way));
        self.forms.borrow_mut().entry(way).or_insert_with(new).clone()
    }

    /// Inputs, cotangents included.
    ///
    /// # Errors
    /// If a size is missing.
    pub fn inputs(&self, sizes: &Sizes, seed: u32, draw: Draw<'_>) -> Result<Vec<Tensor<f64>>, Error> {
        data::inputs(self.source(), sizes, seed, draw)
    }

    /// What the equations say.
    ///
    /// # Errors
    /// What the reference says, such as an index out of range.
    pub fn law<S: Scalar>(&self, inputs: &[Tensor<f64>]) -> Result<Vec<Vec<f64>>, Error> {
        let (module, root) = &self.written;
        evaluated::<S>(module, *root, inputs)
    }

    /// The names of outputs.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.source().graph.outputs.iter().map(|output| output.name.as_str())
    }

    /// Results by name.
    ///
    /// # Panics
    /// If there are not as many results as outputs.
    pub fn named(&self, results: Vec<Vec<f64>>) -> Results {
        assert_eq!(self.outputs().count(), results.len());
        self.outputs().map(str::to_string).zip(results).collect()
    }

    /// Computes in that form, by reference and machine code: the errors of each output.
    ///
    /// # Errors
    /// If it cannot be computed.
    pub fn errors(&self, way: Way, inputs: &[Tensor<f64>], law: &[Vec<f64>]) -> Result<Vec<Errors>, Error> {
        self.errors_of(way, inputs, law, &self.form(way).run(inputs)?)
    }

    /// The same where these are the results of compiled code, of whatever target.
    ///
    /// # Errors
    /// If the reference cannot compute it.
    pub fn errors_of(
        &self,
        way: Way,
        inputs: &[Tensor<f64>],
        law: &[Vec<f64>],
        code: &[Vec<f64>],
    ) -> Result<Vec<Errors>, Error> {
        let form = self.form(way);
        let (double, own) = (form.evaluate::<f64>(inputs)?, form.evaluate::<f32>(inputs)?);
        let error = |found: &[Vec<f64>], place: usize| distance(&found[place], &law[place]);
        let places = 0..law.len();
        Ok(places
            .map(|at| Errors { double: error(&double, at), own: error(&own, at), code: error(code, at) })
            .collect())
    }

    /// Computes in that form and compares with the law.
    ///
    /// # Errors
    /// If it cannot be computed, or is not near enough.
    pub fn check(
        &self,
        way: Way,
        inputs: &[Tensor<f64>],
        law: &[Vec<f64>],
        tolerance: Tolerance,
    ) -> Result<Errors, Error> {
        let errors = self.errors(way, inputs, law)?;
        self.judge(way, &errors, tolerance).map_err(|mismatch| Error::Wrong(vec![mismatch]))
    }

    /// Whether the errors of all outputs are within the tolerance; the largest ones.
    ///
    /// # Errors
    /// The first output that is not.
    pub fn judge(&self, way: Way, errors: &[Errors], tolerance: Tolerance) -> Result<Errors, Mismatch> {
        for (output, Errors { double, own, code }) in self.outputs().zip(errors) {
            let near =
                |computed, error, allowed| Mismatch::unless_near(way, computed, output, error, allowed);
            near(Computed::ReferenceSingle, *own, tolerance.own)?;
            near(Computed::ReferenceDouble, *double, tolerance.in_double(*own))?;
            near(Computed::Single, *code, tolerance.in_single(*own))?;
        }
        Ok(errors.iter().copied().fold(Errors::default(), Errors::max))
    }
}
