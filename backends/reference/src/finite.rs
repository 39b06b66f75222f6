//! Finding the first value that is not finite.

use crate::{Observed, Scalar};
use carousel_ir::{Axis, Name, OpKind, Span, ValueId};
use std::fmt;

/// The first NaN or infinity of an evaluation, and what made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonFinite {
    /// In which function.
    pub function: Name,
    /// Which value of its graph or, inside a scan, of the body.
    pub value: ValueId,
    /// The author's name for it.
    pub name: Option<Name>,
    /// The operation.
    pub op: OpKind,
    /// Where it stands in the source.
    pub span: Span,
    /// The steps of the scans around it, outermost first.
    pub steps: Vec<(Axis, usize)>,
}

impl NonFinite {
    /// Keeps the first one in `first`; for use in an observer. Constants and inputs count too.
    pub fn note<S: Scalar>(first: &mut Option<NonFinite>, observed: &Observed<'_, S>) {
        if first.is_none() && observed.results.iter().any(|t| !t.is_finite()) {
            *first = Some(NonFinite {
                function: observed.function,
                value: observed.value,
                name: observed.node.name,
                op: observed.node.op.kind(),
                span: observed.node.span,
                steps: observed.steps.to_vec(),
            });
        }
    }
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` in `{}` is not finite", self.op, self.function)?;
        if let Some(name) = self.name {
            write!(f, ", value `{name}`")?;
        }
        for (axis, step) in &self.steps {
            write!(f, ", at {axis} = {step}")?;
        }
        Ok(())
    }
}
