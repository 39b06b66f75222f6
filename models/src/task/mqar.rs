//! Multi-query associative recall (Arora et al., 2023): a row first pairs some keys with values, then asks for each of the keys
//! once, at random places of the rest; the answer is the key's value. It needs a memory of pairs.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{Draw, Examples};

/// Pairs and questions. The tokens are 0, which means nothing, then the keys, then the values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqar {
    /// Keys that there are.
    pub keys: usize,
    /// Values that there are.
    pub values: usize,
    /// Pairs of a row.
    pub pairs: usize,
    /// Rows of the test.
    pub tests: usize,
}

impl Default for Mqar {
    fn default() -> Mqar {
        Mqar { keys: 32, values: 32, pairs: 16, tests: 256 }
    }
}

impl Examples for Mqar {
    fn name(&self) -> &'static str {
        "mqar"
    }

    fn vocabulary(&self) -> usize {
        1 + self.keys + self.values
    }

    fn answers(&self) -> usize {
        self.values
    }

    fn trained(&self, _: usize) -> RangeInclusive<usize> {
        self.pairs..=self.pairs
    }

    fn tested(&self, _: usize) -> RangeInclusive<usize> {
        self.pairs..=self.pairs
    }

    fn tests(&self) -> usize {
        self.tests
    }

    fn example(&self, draw: &mut Draw, size: usize, context: usize) -> (Vec<i32>, Vec<i32>) {
        let key = |key: usize| (1 + key) as i32;
        let keys = draw.choose(size, self.keys);
        let values: Vec<i32> = (0..size).map(|_| (1 + self.keys + draw.below(self.values)) as i32).collect();
        let mut inputs = vec![0; context];
        let mut labels = vec![-1; context];
        for (pair, (own, value)) in inputs.chunks_exact_mut(2).zip(keys.iter().zip(&values)) {
            pair.copy_from_slice(&[key(*own), *value]);
        }
        let places = draw.choose(size, context - 2 * size);
        for (place, (own, value)) in places.into_iter().zip(keys.iter().zip(&values)) {
            inputs[2 * size + place] = key(*own);
            labels[2 * size + place] = *value;
        }
        (inputs, labels)
    }

    fn check(&self, context: usize, require: &mut dyn FnMut(bool, &str, usize, String)) {
        let Mqar { keys, values, pairs, tests } = *self;
        let most = 1 << 20;
        require((1..=most).contains(&keys), "keys", keys, format!("from 1 to {most}"));
        require((2..=most).contains(&values), "values", values, format!("from 2 to {most}"));
        let largest = keys.min(context / 3);
        let allowed = format!("from 1 to {largest}: as many as there are keys, and a third of `context`");
        require((1..=largest).contains(&pairs), "pairs", pairs, allowed);
        require((1..=most).contains(&tests), "tests", tests, format!("from 1 to {most}"));
    }
}
