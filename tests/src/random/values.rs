//! The values that a growing graph has so far, with bounds on what they may be at run time.

use super::choices::Choices;
use carousel_ir::{DType, ValueId};

/// A value with an upper bound of the absolute values of its elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounded {
    pub(super) value: ValueId,
    pub(super) bound: f64,
}

/// The values by kind. `u32` values are not here: they are only seeds.
#[derive(Default)]
pub(super) struct Values {
    pub(super) floats: Vec<Bounded>,
    pub(super) integers: Vec<ValueId>,
    pub(super) bools: Vec<ValueId>,
}

impl Values {
    pub(super) fn add(&mut self, value: ValueId, dtype: DType, bound: f64) {
        match dtype {
            DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => self.floats.push(Bounded { value, bound }),
            DType::I32 => self.integers.push(value),
            DType::Bool => self.bools.push(value),
            DType::U32 => {}
        }
    }

    /// A float; the first choice is the last one made. There is always one.
    pub(super) fn float(&self, choices: &mut Choices<'_>) -> Bounded {
        self.floats[self.floats.len() - 1 - choices.below(self.floats.len())]
    }

    /// An integer. There is always one.
    pub(super) fn integer(&self, choices: &mut Choices<'_>) -> ValueId {
        self.integers[self.integers.len() - 1 - choices.below(self.integers.len())]
    }

    /// A truth value. There is always one.
    pub(super) fn bool(&self, choices: &mut Choices<'_>) -> ValueId {
        self.bools[self.bools.len() - 1 - choices.below(self.bools.len())]
    }

    /// Any value.
    pub(super) fn any(&self, choices: &mut Choices<'_>) -> Bounded {
        let whole = |value| Bounded { value, bound: f64::INFINITY };
        match choices.below(6) {
            4 if !self.integers.is_empty() => whole(self.integer(choices)),
            5 if !self.bools.is_empty() => whole(self.bool(choices)),
            _ => self.float(choices),
        }
    }
}
