//! Rewrites over the IR by equality saturation: canonical form, recurrences that do not overflow; common
//! subexpressions, dead code.
//!
//! ```
//! use carousel_ir::{Builder, DType, Function, FunctionKind, Module, Residuals, Size};
//! use carousel_passes::{Rules, canonicalize};
//!
//! let mut module = Module::default();
//! let mut b = Builder::new(&module);
//! let s = b.axis("s", Size::symbol("s"));
//! let x = b.argument("x", DType::F32, &[s]);
//! let one = b.constant(1.0, DType::F32);
//! let decay = b.neg(x);
//! let decay = b.exp(decay);
//! let denominator = b.add(one, decay);
//! let y = b.div(one, denominator);
//! b.output("y", y);
//! let graph = b.finish().expect("it is well typed");
//! let (kind, residuals) = (FunctionKind::Fn, Residuals::Save);
//! module.push(Function { name: "f".into(), kind, residuals, graph });
//!
//! let (canonical, report) = canonicalize(&module, Rules::builtin());
//! assert_eq!(canonical.functions[0].graph.nodes.len(), 2); // x and sigmoid(x)
//! assert!(report.fired().contains_key("sigmoid"));
//! ```
//!
//! Map: [`canonicalize`] is one pass, [`stabilize`] the other: recurrences with exponential gates without overflow; [`Rules`] are what it knows, as text; [`Cost`] is what it prefers; [`Report`]
//! is what it did; [`fuzz()`] tries rules on random values. [`dead_code`], [`common_subexpressions`], [`early_indices`] and [`common_parts`] stand alone.
//!
//! Invariants: a verified module stays verified, interfaces of functions stay as they are, the result does not depend
//! on time or threads. No backend is known here, and no type of the e-graph library shows.

mod analysis;
mod canonical;
pub mod carry;
mod constant;
mod cost;
pub mod documents;
mod extract;
pub mod forms;
mod fuzz;
mod growth;
mod indices;
mod interval;
mod language;
mod loops;
mod plain;
mod proof;
mod ranges;
mod report;
mod rules;
mod saturate;
mod stable;
mod sums;
mod trace;
mod twins;

pub use canonical::{Options, canonicalize, canonicalize_traced, canonicalize_with};
pub use cost::{Cost, SizeWeighted};
pub use fuzz::{Counterexample, Evaluate, FuzzReport, fuzz};
pub use indices::early_indices;
pub use plain::{common_parts, common_subexpressions, dead_code};
pub use proof::{Equation, Proof};
pub use report::{GraphReport, Report};
pub use rules::{Rule, RuleSet, RuleSets, Rules, Tag, Trials};
pub use saturate::{Limits, Stop};
pub use stable::describe::value as describe;
pub use stable::{
    Outcome, Overflow, ScaleGroup, ScanReport, StableOptions, StableReport, stabilize, stabilize_traced,
};
pub use trace::{GraphTrace, Trace};
