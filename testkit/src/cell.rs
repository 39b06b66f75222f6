//! A cell under test: what it is run on, and what is checked of it.
//!
//! Invariant: nothing is compared with what the compiler derived; the law is the text itself, differentiated as it stands and
//! evaluated step by step in numbers that cannot overflow.

use crate::data::{Sizes, open, with};
use crate::error::Error;
use crate::formed::made;
use crate::gates::{Drawn, Gates, LARGEST, check_draws, overflow};
use crate::nearness::{Computed, Mismatch, Tolerance, distance};
use crate::recurrence::{Law, Recurrence, module};
use crate::report::{Report, of_cpu};
use crate::way::Way;
use carousel_ir::DType;
use carousel_ir::text::Options;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Range;

/// A cell under test.
pub struct Cell {
    text: String,
    function: String,
    options: Options,
    gradients: Gradients,
    sizes: Sizes,
    lengths: Option<(String, Vec<u64>)>,
    gates: Vec<String>,
    drawn: BTreeMap<String, Range<f64>>,
    ways: Option<Vec<Way>>,
    tolerance: Tolerance,
    seed: u32,
    single: OnceCell<Recurrence>,
    double: OnceCell<Recurrence>,
}

/// Whether gradients are derived and checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gradients {
    Checked,
    None,
}

/// What gates are drawn from where they are moderate.
const MODERATE: (f64, f64) = (-2.0, 2.0);

/// What other inputs are drawn from unless a test says otherwise: sums of such numbers do not cancel.
const POSITIVE: (f64, f64) = (0.1, 1.0);

impl Cell {
    /// A function of an `.xl` text. It may use the built-in files.
    pub fn from_text(text: &str, function: &str) -> Cell {
        Cell {
            text: text.to_string(),
            function: function.to_string(),
            options: Options::default(),
            gradients: Gradients::Checked,
            sizes: Sizes::new(),
            lengths: None,
            gates: Vec::new(),
            drawn: BTreeMap::new(),
            ways: None,
            tolerance: Tolerance::WELL_CONDITIONED,
            seed: 3,
            single: OnceCell::new(),
            double: OnceCell::new(),
        }
    }

    /// The same where these inputs have one more axis, such as a batch or heads; the inner one comes last.
    pub fn over<'a>(mut self, inputs: impl IntoIterator<Item = &'a str>, axis: &str) -> Cell {
        for input in inputs {
            self.options.map.entry(input.to_string()).or_default().push(axis.to_string());
        }
        self.not_yet_derived()
    }

    /// The same where the compiler knows these sizes. All others are known when a program runs.
    pub fn bind<'a>(mut self, sizes: impl IntoIterator<Item = (&'a str, u64)>) -> Cell {
        self.options.sizes.extend(sizes.into_iter().map(|(name, size)| (name.to_string(), size)));
        self.not_yet_derived()
    }

    /// The same without gradients.
    pub fn without_gradients(mut self) -> Cell {
        self.gradients = Gradients::None;
        self.not_yet_derived()
    }

    fn not_yet_derived(self) -> Cell {
        Cell { single: OnceCell::new(), double: OnceCell::new(), ..self }
    }

    /// The same with these sizes of axes.
    pub fn sizes<'a>(mut self, sizes: impl IntoIterator<Item = (&'a str, u64)>) -> Cell {
        self.sizes.extend(sizes.into_iter().map(|(name, size)| (name.to_string(), size)));
        self
    }

    /// The same, checked at each of these sizes of one axis. One step, fewer than a chunk, and some chunks with a part of one
    /// are worth a try.
    pub fn lengths(self, axis: &str, lengths: impl IntoIterator<Item = u64>) -> Cell {
        Cell { lengths: Some((axis.to_string(), lengths.into_iter().collect())), ..self }
    }

    /// The same with these inputs as gates: they may have any size. The forget gate, if there is one, comes second.
    pub fn gates<'a>(self, inputs: impl IntoIterator<Item = &'a str>) -> Cell {
        Cell { gates: inputs.into_iter().map(str::to_string).collect(), ..self }
    }

    /// The same where the elements of an input are drawn from this range, not from 0.1 to 1 (-2 to 2 for gates). Inputs of
    /// truth values are true where a draw is above 0. Where signed numbers cancel, more than the default tolerance is needed.
    pub fn draw(mut self, input: &str, range: Range<f64>) -> Cell {
        self.drawn.insert(input.to_string(), range);
        self
    }

    /// The same, in these forms alone.
    pub fn in_forms(self, ways: impl IntoIterator<Item = Way>) -> Cell {
        Cell { ways: Some(ways.into_iter().collect()), ..self }
    }

    /// The same with another tolerance for moderate gates.
    pub fn tolerance(self, tolerance: Tolerance) -> Cell {
        Cell { tolerance, ..self }
    }

    /// The same with other numbers.
    pub fn seed(self, seed: u32) -> Cell {
        Cell { seed, ..self }
    }

    /// The forms that are checked: those that were asked for, else all that there are for cells of its kind.
    ///
    /// # Errors
    /// If the text is wrong, or a form was asked for that a cell without linear scans does not have.
    pub fn forms(&self) -> Result<Vec<Way>, Error> {
        let recurrence = self.recurrence()?;
        let ways = self.ways.clone().unwrap_or_else(|| recurrence.ways().collect());
        ways.iter().try_for_each(|way| self.has(*way))?;
        Ok(ways)
    }

    fn has(&self, way: Way) -> Result<(), Error> {
        if way == Way::Chosen || self.recurrence()?.is_linear() {
            return Ok(());
        }
        let function = &self.function;
        Err(Error::Setup(format!(
            "`{function}` has no linear scan, so there is no form `{way}`: its only one is `chosen`"
        )))
    }

    /// The cell with its derivation, in f32.
    ///
    /// # Errors
    /// If the text is wrong, or the test names what the cell does not have.
    pub fn recurrence(&self) -> Result<&Recurrence, Error> {
        made(&self.single, || self.derived(DType::F32))
    }

    fn derived(&self, dtype: DType) -> Result<Recurrence, Error> {
        let (module, root) = module(&self.text, &self.function, &Options { dtype, ..self.options.clone() })?;
        let inputs: Vec<&str> = module[root].graph.inputs.iter().map(|input| input.name.as_str()).collect();
        self.options.map.keys().try_for_each(|name| self.known("input", name, &inputs))?;
        match self.gradients {
            Gradients::Checked => Recurrence::new(&module, root),
            Gradients::None => Ok(Recurrence::without_gradients(&module, root)),
        }
    }

    /// That the cell has this input, or this size.
    fn known(&self, what: &str, name: &str, all: &[&str]) -> Result<(), Error> {
        if all.contains(&name) {
            return Ok(());
        }
        let (function, all) = (&self.function, all.join("`, `"));
        Err(Error::Setup(format!("`{function}` has no {what} `{name}`; there are `{all}`")))
    }

    /// The sizes of every run.
    fn runs(&self) -> Result<Vec<Sizes>, Error> {
        let source = self.recurrence()?.source();
        let inputs: Vec<&str> = source.graph.inputs.iter().map(|input| input.name.as_str()).collect();
        let mut named = self.gates.iter().chain(self.drawn.keys());
        named.try_for_each(|name| self.known("input", name, &inputs))?;
        let open = open(source);
        let sizes: Vec<&str> = open.iter().map(|name| name.as_str()).collect();
        let lengths = self.lengths.as_ref().map(|(axis, _)| axis);
        self.sizes.keys().chain(lengths).try_for_each(|name| self.known("open size", name, &sizes))?;
        Ok(match &self.lengths {
            None => vec![self.sizes.clone()],
            Some((axis, lengths)) => lengths.iter().map(|n| with(&self.sizes, &[(axis, *n)])).collect(),
        })
    }

    /// What an input is drawn from.
    fn range(&self, input: &str) -> (f64, f64) {
        let said = self.drawn.get(input).map(|range| (range.start, range.end));
        said.unwrap_or(if self.gates.iter().any(|gate| gate == input) { MODERATE } else { POSITIVE })
    }

    /// What the equations say of inputs with moderate gates, and these.
    fn moderate(&self, recurrence: &Recurrence, sizes: &Sizes) -> Result<Drawn, Error> {
        let inputs = recurrence.inputs(sizes, self.seed, &|input| self.range(input))?;
        let law = recurrence.law::<Law>(&inputs)?;
        let is_held = |law: &[f64]| law.iter().all(|x| x.abs() <= LARGEST);
        match recurrence.outputs().zip(&law).find(|(_, law)| !is_held(law)) {
            Some((output, _)) => Err(overflow(output)),
            None => Ok((law, inputs)),
        }
    }

    /// Checks that every form is the equations, at every length: values, final states and gradients, evaluated by the
    /// reference in f64 and f32, and as machine code in f32 and f64.
    ///
    /// # Errors
    /// Everything that is not near enough: which output, in which form, computed by what, for which sizes, by how much.
    pub fn check_forms(&self) -> Result<(), Error> {
        let recurrence = self.recurrence()?;
        let double = made(&self.double, || self.derived(DType::F64))?;
        let mut wrong = Vec::new();
        for sizes in self.runs()? {
            let (law, inputs) = self.moderate(recurrence, &sizes)?;
            let in_double = double.law::<Law>(&inputs)?;
            for way in self.forms()? {
                let errors = recurrence.errors(way, &inputs, &law)?;
                let judged = recurrence.judge(way, &errors, self.tolerance).map(|_| ());
                let found = double.form(way).run(&inputs)?;
                let mut outputs = double.outputs().zip(found.iter().zip(&in_double)).zip(&errors);
                let judged_in_double = outputs.try_for_each(|((output, (found, law)), errors)| {
                    let allowed = self.tolerance.in_double(errors.own);
                    Mismatch::unless_near(way, Computed::Double, output, distance(found, law), allowed)
                });
                let mismatches = [judged, judged_in_double].into_iter().filter_map(Result::err);
                wrong.extend(mismatches.map(|mismatch| mismatch.on(&told(&sizes))));
            }
        }
        Error::unless_right(wrong)
    }

    /// Checks that values and gradients are finite and right where gates are extreme: up to 1000 in size, all of one sign, some
    /// among moderate ones, and a forget gate that now and then forgets everything. Of gradients that f32 cannot hold nothing is asked.
    ///
    /// # Errors
    /// Everything that is not near enough: which output, in which form, for which gates and sizes, by how much.
    pub fn check_gates(&self) -> Result<(), Error> {
        let recurrence = self.recurrence()?;
        if self.gates.is_empty() {
            return Err(Error::Setup("no input is a gate: `.gates` names those that are".to_string()));
        }
        let mut wrong = Vec::new();
        for sizes in self.runs()? {
            for gates in Gates::ALL {
                let draw =
                    |seed| gates.inputs(recurrence, &self.gates, &sizes, seed, &|input| self.range(input));
                let inputs = format!("{gates}, {}", told(&sizes));
                let found = check_draws(recurrence, self.forms()?, draw)?;
                wrong.extend(found.into_iter().map(|mismatch| mismatch.on(&inputs)));
            }
        }
        Error::unless_right(wrong)
    }

    /// What the compiler makes of the cell in one form for the CPU, and what a run at the given sizes costs.
    ///
    /// # Errors
    /// If the text is wrong, or there is no such form.
    pub fn report(&self, way: Way) -> Result<Report, Error> {
        self.has(way)?;
        self.runs()?;
        of_cpu(self.recurrence()?, way, &self.sizes)
    }
}

/// Checks on a CUDA device: the emulated one, unless `CAROUSEL_CUDA_DRIVER` says otherwise.
#[cfg(feature = "cuda")]
impl Cell {
    /// Checks that every form is the equations on the device, at every length, and that the device finds nothing wrong in its strict
    /// mode: every access is inside its buffer, to what somebody wrote, and ordered; every barrier is reached.
    ///
    /// # Errors
    /// What the device found, else everything that is not near enough. If there is no device, or no NVRTC, how to get it.
    pub fn check_device(&self) -> Result<(), Error> {
        let recurrence = self.recurrence()?;
        let backend = crate::device::backend().map_err(Error::Setup)?;
        crate::device::set_mode(crate::device::Mode::Strict);
        let mut wrong = Vec::new();
        for sizes in self.runs()? {
            let (law, inputs) = self.moderate(recurrence, &sizes)?;
            for way in self.forms()? {
                let found = recurrence.form(way).run_on(backend, &inputs)?;
                let errors = recurrence.errors_of(way, &inputs, &law, &found)?;
                let judged = recurrence.judge(way, &errors, self.tolerance);
                wrong.extend(
                    judged.err().map(|mismatch| mismatch.on(&format!("on the device, {}", told(&sizes)))),
                );
            }
        }
        Error::unless_right(wrong)
    }

    /// What the compiler makes of the cell in one form for CUDA, and what a run at the given sizes costs. Registers and spills
    /// are those of sm_90, where `ptxas` is installed.
    ///
    /// # Errors
    /// If the text is wrong, there is no such form, or the device finds something.
    pub fn report_on_device(&self, way: Way) -> Result<Report, Error> {
        self.has(way)?;
        self.runs()?;
        let recurrence = self.recurrence()?;
        let backend = crate::device::backend().map_err(Error::Setup)?;
        let inputs = recurrence.inputs(&self.sizes, self.seed, &|input| self.range(input))?;
        crate::report::of_device(recurrence, way, backend, &inputs)
    }
}

/// Sizes in a message.
fn told(sizes: &Sizes) -> String {
    sizes.iter().map(|(name, size)| format!("{name} = {size}")).collect::<Vec<_>>().join(", ")
}
