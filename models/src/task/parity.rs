//! Parity: whether the number of ones in a string of bits is odd. The question comes with the last bit. It needs a state that each bit
//! turns over, however long the string is (Beck et al., 2024, section 4.1; Delétang et al., 2023).

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{Draw, Examples};

/// Strings of bits. Those to train on have up to as many bits as the context has tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parity {
    /// Bits of the shortest string to train on.
    pub shortest: usize,
    /// Bits of the shortest string of the test.
    pub tested_from: usize,
    /// Bits of its longest string.
    pub tested_to: usize,
    /// Strings of the test.
    pub tests: usize,
    /// Whether the parity so far is asked with every bit of a string to train on, not with the last one alone.
    pub every_bit: bool,
}

impl Default for Parity {
    fn default() -> Parity {
        Parity { shortest: 3, tested_from: 40, tested_to: 256, tests: 1024, every_bit: false }
    }
}

impl Examples for Parity {
    fn name(&self) -> &'static str {
        "parity"
    }

    fn vocabulary(&self) -> usize {
        2
    }

    fn answers(&self) -> usize {
        2
    }

    fn trained(&self, context: usize) -> RangeInclusive<usize> {
        self.shortest..=context
    }

    fn tested(&self, _: usize) -> RangeInclusive<usize> {
        self.tested_from..=self.tested_to
    }

    fn tests(&self) -> usize {
        self.tests
    }

    fn example(&self, draw: &mut Draw, size: usize, _: usize) -> (Vec<i32>, Vec<i32>) {
        let bits: Vec<i32> = (0..size).map(|_| draw.below(2) as i32).collect();
        let mut parity = 0;
        let labels = bits.iter().enumerate().map(|(at, bit)| {
            parity ^= bit;
            if self.every_bit || at + 1 == size { parity } else { -1 }
        });
        (bits.clone(), labels.collect())
    }

    fn check(&self, context: usize, require: &mut dyn FnMut(bool, &str, usize, String)) {
        let Parity { shortest, tested_from, tested_to, tests, every_bit: _ } = *self;
        let allowed = format!("from 1 to `context`, which is {context}");
        require((1..=context).contains(&shortest), "shortest", shortest, allowed);
        let allowed = format!("from 1 to `tested_to`, which is {tested_to}");
        require((1..=tested_to).contains(&tested_from), "tested_from", tested_from, allowed);
        require(tested_to <= 1 << 20, "tested_to", tested_to, format!("at most {}", 1 << 20));
        require((1..=1 << 20).contains(&tests), "tests", tests, format!("from 1 to {}", 1 << 20));
    }
}
