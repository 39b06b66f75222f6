//! From a module to executables: canonical form, stable recurrences, linear scans, gradients, forms, lowering, machine
//! code, in this order.
//!
//! Invariant: every stage's output is verified before the next one sees it (always in builds with debug assertions).

use std::collections::BTreeMap;

use carousel_autodiff as autodiff;
use carousel_core::backend::{Backend, Executable};
use carousel_core::lower_stored;
use carousel_core::program::Stored;
use carousel_cpu::CpuBackend;
use carousel_ir::{Axis, Diagnostic, FunctionId, Module, Name, Op, Span, verify};
use carousel_passes::carry::{Summaries, carry};
use carousel_passes::forms::{Chosen, FormReport, Recognition, SearchOptions, expand_cheapest, recognize};
use carousel_passes::{
    Limits, Options, Report, RuleSet, RuleSets, SizeWeighted, StableOptions, StableReport, canonicalize_with,
    common_parts, early_indices, stabilize,
};

use crate::forms::{FormOptions, Pricer};
use crate::reference_target::ReferenceExecutable;

/// What compiles functions.
pub struct Engine {
    target: EngineTarget,
    passes: PassOptions,
    forms: FormOptions,
}

enum EngineTarget {
    Compiled(Box<dyn Backend>),
    Reference,
}

/// What the passes go by.
#[derive(Clone, Default, Debug)]
pub struct PassOptions {
    /// The rules.
    pub rules: RuleSets,
    /// How far they are applied.
    pub limits: Limits,
}

/// A compiled function, and what was decided on the way.
pub struct CompiledFunction {
    /// What runs.
    pub executable: Box<dyn Executable>,
    /// The forms of its linear scans.
    pub forms: FormReport,
}

impl Engine {
    /// Machine code for this computer's processor on `threads` threads; on all cores if none are given.
    pub fn cpu(threads: Option<usize>) -> Engine {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Engine::on(Box::new(CpuBackend::new(threads.unwrap_or_else(cores))))
    }

    /// Code of another backend.
    pub fn on(backend: Box<dyn Backend>) -> Engine {
        let forms = FormOptions { machine: backend.machine(), ..FormOptions::default() };
        Engine { target: EngineTarget::Compiled(backend), passes: PassOptions::default(), forms }
    }

    /// The plain evaluator in f64.
    pub fn reference() -> Engine {
        Engine {
            target: EngineTarget::Reference,
            passes: PassOptions::default(),
            forms: FormOptions::default(),
        }
    }

    /// The same with these options for the passes.
    pub fn with_passes(self, passes: PassOptions) -> Engine {
        Engine { passes, ..self }
    }

    /// The same with a say in the forms of linear scans.
    pub fn with_forms(self, forms: FormOptions) -> Engine {
        Engine { forms, ..self }
    }

    /// The module as gradients are taken of it and as it is compiled: [`derived`] for machine code; the reference
    /// evaluates the equations as they stand.
    pub fn prepared(&self, module: &Module) -> Module {
        match &self.target {
            EngineTarget::Reference => module.clone(),
            EngineTarget::Compiled(_) => {
                let (simplified, _) = self.passes.simplified(module);
                self.passes.derived(&simplified).module
            }
        }
    }

    /// `function` as one of a piece of the sequence along `axis`, with its states passed in and out, of a module as it was
    /// elaborated; ready to be compiled. What is passed on are the states of the stable recurrences, so that nothing that
    /// is carried overflows either.
    pub fn prepared_piece(
        &self,
        module: &Module,
        function: FunctionId,
        axis: Axis,
        summaries: Summaries,
    ) -> Result<(Module, FunctionId), Vec<Diagnostic>> {
        match &self.target {
            EngineTarget::Reference => carry(module, function, axis, summaries),
            EngineTarget::Compiled(_) => {
                let passes = &self.passes;
                let options =
                    StableOptions { rules: passes.rules.get(RuleSet::Stable), limits: passes.limits };
                let (module, _) = passes.simplified(module);
                let (stable, _) = stabilize(&module, &options);
                let simplified = passes.simplified_after(&stable, &module).0;
                let (module, function) = carry(&simplified, function, axis, summaries)?;
                assert_verified(&module, "the function of a piece");
                Ok((passes.recognized(&passes.simplified(&module).0).0, function))
            }
        }
    }

    /// Compiles one function of a module that was [`Engine::prepared`], or is made of such by differentiation.
    pub fn compile(
        &self,
        module: &Module,
        function: FunctionId,
    ) -> Result<Box<dyn Executable>, Vec<Diagnostic>> {
        self.compile_with_report(module, function).map(|compiled| compiled.executable)
    }

    /// The same with what was decided.
    pub fn compile_with_report(
        &self,
        module: &Module,
        function: FunctionId,
    ) -> Result<CompiledFunction, Vec<Diagnostic>> {
        self.compile_stored(module, function, &[])
    }

    /// The same with inputs that lie in memory in another dtype than they are computed with, or in another order, and are
    /// read there.
    pub fn compile_stored(
        &self,
        module: &Module,
        function: FunctionId,
        stored: &[(Name, Stored)],
    ) -> Result<CompiledFunction, Vec<Diagnostic>> {
        match &self.target {
            EngineTarget::Reference => {
                let executable = Box::new(ReferenceExecutable::new(module.clone(), function).stored(stored));
                Ok(CompiledFunction { executable, forms: FormReport::default() })
            }
            EngineTarget::Compiled(backend) => {
                let (module, function) = reachable(module, function);
                let (canonical, _) = self.passes.simplified(&module);
                let (module, forms) = self.passes.in_forms(&canonical, &[function], &self.forms);
                let (module, _) = self.passes.lowerable(&module, Some(&canonical));
                let program = lower_stored(&module, function, stored, &backend.machine().target)?;
                let failed = |e| vec![Diagnostic::error("compile", Span::default(), format!("{e}"))];
                Ok(CompiledFunction { executable: backend.compile(program).map_err(failed)?, forms })
            }
        }
    }

    /// Compiles the function that returns the outputs of `function` and the gradients `grad.NAME` of its scalar output
    /// `loss` with respect to its parameters.
    pub fn compile_loss_gradient(
        &self,
        module: &Module,
        function: FunctionId,
        loss: &str,
    ) -> Result<CompiledFunction, Vec<Diagnostic>> {
        let (module, function) = loss_gradient(&self.prepared(module), function, loss)?;
        self.compile_with_report(&module, function)
    }
}

/// What became of the recurrences of a module.
#[derive(Debug)]
pub struct Derived {
    /// In canonical form, with recurrences that do not overflow, and linear scans where recurrences are such.
    pub module: Module,
    /// Which scales were derived, and why others were not.
    pub stable: StableReport,
    /// Which loops became linear scans, and why others did not.
    pub linear: Vec<Recognition>,
}

impl PassOptions {
    /// The module in canonical form, checked, and what the rules did.
    pub fn simplified(&self, module: &Module) -> (Module, Report) {
        self.simplify(module, None)
    }

    /// The same for what became of a module that was in canonical form; functions that have not changed stay.
    pub fn simplified_after(&self, module: &Module, before: &Module) -> (Module, Report) {
        self.simplify(module, Some(before))
    }

    fn simplify(&self, module: &Module, done: Option<&Module>) -> (Module, Report) {
        let rules = self.rules.get(RuleSet::Canonical);
        let options = Options { rules, limits: self.limits, cost: &SizeWeighted::default(), done };
        let (module, report) = canonicalize_with(&early_indices(module), options);
        assert_verified(&module, "canonical form");
        (module, report)
    }

    /// A module without linear scans as it is lowered: in canonical form, with what gradients have in common computed once.
    /// Functions that are those of `before` are in canonical form.
    pub fn lowerable(&self, module: &Module, before: Option<&Module>) -> (Module, Report) {
        let (mut module, report) = self.simplify(module, before);
        common_parts(&mut module);
        assert_verified(&module, "what is common");
        (module, report)
    }

    /// The module in canonical form, with recurrences that do not overflow, and linear scans where recurrences are such,
    /// of a module that is in canonical form; with what was done and why.
    pub fn derived(&self, module: &Module) -> Derived {
        let options = StableOptions { rules: self.rules.get(RuleSet::Stable), limits: self.limits };
        let (stabilised, stable) = stabilize(module, &options);
        let (module, linear) = self.recognized(&self.simplified_after(&stabilised, module).0);
        Derived { module, stable, linear }
    }

    /// The module with the linear scans of `roots`, and of what they call, in the cheapest forms, and why these.
    pub fn in_forms(
        &self,
        module: &Module,
        roots: &[FunctionId],
        forms: &FormOptions,
    ) -> (Module, FormReport) {
        let (module, _, report) = self.chosen_forms(module, roots, forms);
        (module, report)
    }

    pub(crate) fn chosen_forms(
        &self,
        module: &Module,
        roots: &[FunctionId],
        forms: &FormOptions,
    ) -> (Module, Chosen, FormReport) {
        let pricer = Pricer::new(forms, self);
        let rules = self.rules.get(RuleSet::Forms);
        let options = SearchOptions { wanted: forms.wanted, memory_limit: forms.memory_limit, rules };
        let (module, chosen, mut report) = expand_cheapest(module, roots, &pricer, &options);
        report.limits.extend(pricer.limits());
        assert_verified(&module, "the forms of linear scans");
        (module, chosen, report)
    }

    /// The module with linear scans where recurrences are such, of one in canonical form, again in canonical form.
    fn recognized(&self, module: &Module) -> (Module, Vec<Recognition>) {
        let (recognised, linear) = recognize(module);
        assert_verified(&recognised, "the recognised linear scans");
        (self.simplified_after(&recognised, module).0, linear)
    }
}

/// A function and those that it calls, as a module of their own: nothing is done for others.
pub(crate) fn reachable(module: &Module, root: FunctionId) -> (Module, FunctionId) {
    // Callees precede callers: what is behind the root is none of its business.
    let mut called = vec![false; root.index() + 1];
    called[root.index()] = true;
    for place in (0..=root.index()).rev() {
        for node in &module.functions[place].graph.nodes {
            if let (Op::Call { function }, true) = (&node.op, called[place]) {
                called[function.index()] = true;
            }
        }
    }
    let mut result = Module::default();
    let mut moved: BTreeMap<FunctionId, FunctionId> = BTreeMap::new();
    for (id, function) in module.iter().filter(|(id, _)| called.get(id.index()) == Some(&true)) {
        let mut function = function.clone();
        for node in &mut function.graph.nodes {
            if let Op::Call { function } = &mut node.op {
                *function = moved[function];
            }
        }
        moved.insert(id, result.push(function));
    }
    (result, moved[&root])
}

/// The module in canonical form by the built-in rules, checked.
pub fn simplified(module: &Module) -> Module {
    PassOptions::default().simplified(module).0
}

/// The module in canonical form, with recurrences that do not overflow, and linear scans where recurrences are such, by
/// the built-in rules.
pub fn derived(module: &Module) -> Module {
    derived_with_reports(&simplified(module)).module
}

/// The same for a module that is in canonical form, with what was done and why.
pub fn derived_with_reports(module: &Module) -> Derived {
    PassOptions::default().derived(module)
}

/// The module with every linear scan in the cheapest form, by default: what is lowered.
pub fn in_forms(module: &Module) -> Module {
    let all: Vec<FunctionId> = module.iter().map(|(id, _)| id).collect();
    in_forms_with_report(module, &all, &FormOptions::default()).0
}

/// The module with the linear scans of `roots`, and of what they call, in the cheapest forms, and why these.
pub fn in_forms_with_report(
    module: &Module,
    roots: &[FunctionId],
    options: &FormOptions,
) -> (Module, FormReport) {
    let passes = PassOptions::default();
    let (module, report) = passes.in_forms(module, roots, options);
    (passes.lowerable(&module, None).0, report)
}

/// The module with the function that returns `loss` and the gradients of all parameters.
pub fn loss_gradient(
    module: &Module,
    function: FunctionId,
    loss: &str,
) -> Result<(Module, FunctionId), Vec<Diagnostic>> {
    let parameters = module[function].graph.inputs.iter();
    let parameters =
        parameters.filter(|i| matches!(i.role, carousel_ir::Role::Parameter { .. })).map(|i| i.name);
    let options = autodiff::Options { wrt: Some(parameters.collect()), ..autodiff::Options::default() };
    let (module, gradient) = autodiff::value_and_gradient(module, function, loss, &options)?;
    assert_verified(&module, "the gradient");
    Ok((module, gradient))
}

fn assert_verified(module: &Module, stage: &str) {
    if cfg!(debug_assertions)
        && let Some(problem) = verify(module).first()
    {
        panic!("{stage} is not a valid module: {problem}");
    }
}
