//! Tasks whose examples are drawn and not read from a text: sequences of tokens with questions in them, whose answers are the
//! labels.
//!
//! Invariant: an example depends only on the task, the seed, the step and its row, so that a resumed run goes on with the examples
//! of the uninterrupted one; those of the test depend on nothing but the task, and are no examples of any training.
//! A new task is a variant here, and a file with its examples.

mod mqar;
mod parity;

use std::ops::{Range, RangeInclusive};

use carousel_core::backend::RunError;
use serde::{Deserialize, Serialize};

pub use mqar::Mqar;
pub use parity::Parity;

use crate::arena::Parameters;
use crate::batch::Batch;
use crate::config::Problem;
use crate::corpus::TextIdentity;
use crate::evaluate::{Answers, Evaluation, answers};
use crate::hash::fnv1a;
use crate::model::LanguageFunction;
use crate::philox::{Philox, Stream, below, join};

/// A task, `[task.NAME]` in a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// The parity of a string of bits.
    Parity(Parity),
    /// Multi-query associative recall.
    Mqar(Mqar),
}

/// What a task is made of.
trait Examples {
    /// Its name in configurations.
    fn name(&self) -> &'static str;
    /// How many tokens there are.
    fn vocabulary(&self) -> usize;
    /// Of how many answers one is right by guessing.
    fn answers(&self) -> usize;
    /// Sizes of the examples to train on, where rows have `context` tokens.
    fn trained(&self, context: usize) -> RangeInclusive<usize>;
    /// Sizes of the examples of the test.
    fn tested(&self, context: usize) -> RangeInclusive<usize>;
    /// Examples of the test.
    fn tests(&self) -> usize;
    /// Tokens of an example, and the answers at the places of questions, -1 at all others. An example of a training has at most
    /// `context` tokens.
    fn example(&self, draw: &mut Draw, size: usize, context: usize) -> (Vec<i32>, Vec<i32>);
    /// Calls back with key, value and what is allowed for each value outside its range.
    fn check(&self, context: usize, require: &mut dyn FnMut(bool, &str, usize, String));
}

impl Task {
    fn examples(&self) -> &dyn Examples {
        match self {
            Task::Parity(task) => task,
            Task::Mqar(task) => task,
        }
    }

    /// Its name in configurations.
    pub fn name(&self) -> &'static str {
        self.examples().name()
    }

    /// How many tokens there are.
    pub fn vocabulary(&self) -> usize {
        self.examples().vocabulary()
    }

    /// The part of its questions that is answered rightly by guessing.
    pub fn chance(&self) -> f64 {
        1.0 / self.examples().answers() as f64
    }

    /// An accuracy between that of guessing, 0, and 1; below 0 if it is worse than guessing.
    pub fn scaled(&self, accuracy: f64) -> f64 {
        (accuracy - self.chance()) / (1.0 - self.chance())
    }

    /// What tells it apart from other tasks and other sizes of itself, in the place of a text.
    pub fn identity(&self) -> TextIdentity {
        let name = serde_json::to_string(self).expect("a task is plain numbers");
        let (bytes, fnv1a) = (name.len() as u64, format!("{:016x}", fnv1a(name.as_bytes())));
        TextIdentity { name, bytes, fnv1a }
    }

    /// Everything that is wrong with it, in rows of `context` tokens.
    pub(crate) fn problems(&self, context: usize) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.examples().check(context, &mut |holds, key, value, allowed| {
            if !holds {
                let key = format!("task.{}.{key}", self.name());
                problems.push(Problem { key, value: value.to_string(), allowed });
            }
        });
        problems
    }

    /// Rows of the batch of a training step, filled up to `context` tokens.
    pub fn training_batch(&self, rows: Range<usize>, context: usize, seed: u64, step: u64) -> Batch {
        let sizes = self.examples().trained(context);
        let examples = rows.map(|row| {
            let mut draw = Draw::new(Philox::new(seed, Stream::Data), step << 32 | row as u64);
            let size = sizes.start() + draw.below(sizes.end() - sizes.start() + 1);
            self.examples().example(&mut draw, size, context)
        });
        batch(&examples.collect::<Vec<_>>(), context)
    }

    /// The test, or at most so many examples of it, spread evenly over all sizes from the smallest on; in batches of up to
    /// `rows`, each with the sizes of its examples.
    pub fn tests(
        &self,
        rows: usize,
        most: Option<usize>,
        context: usize,
    ) -> impl Iterator<Item = (Vec<usize>, Batch)> {
        let (all, sizes) = (self.examples().tests(), self.examples().tested(context));
        let count = most.map_or(all, |most| most.min(all));
        let (first, different) = (*sizes.start(), sizes.end() - sizes.start() + 1);
        let generator = Philox::new(0, Stream::Test);
        (0..count).step_by(rows).map(move |from| {
            let of_batch = from..count.min(from + rows);
            let sizes: Vec<usize> = of_batch.clone().map(|at| first + at * different / count).collect();
            let examples: Vec<_> = of_batch
                .zip(&sizes)
                .map(|(at, size)| {
                    self.examples().example(&mut Draw::new(generator, at as u64), *size, context)
                })
                .collect();
            let longest = examples.iter().map(|(inputs, _)| inputs.len()).max().unwrap_or_default();
            (sizes, batch(&examples, longest))
        })
    }

    /// How well a model does the test, or at most so many examples of it.
    pub fn evaluate<'p>(
        &self,
        logits: &LanguageFunction,
        parameters: impl Into<Parameters<'p>>,
        rows: usize,
        most: Option<usize>,
        context: usize,
    ) -> Result<Evaluation, RunError> {
        let parameters = parameters.into();
        let (mut loss, mut all, mut by_size) = (0.0, Answers::default(), Vec::<(usize, Answers)>::new());
        for (sizes, batch) in self.tests(rows, most, context) {
            for (size, (surprise, found)) in sizes.into_iter().zip(answers(logits, parameters, &batch)?) {
                loss += surprise;
                all.add(found);
                match by_size.last_mut() {
                    Some((last, answers)) if *last == size => answers.add(found),
                    Some(_) | None => by_size.push((size, found)),
                }
            }
        }
        let tokens = all.asked;
        Ok(Evaluation {
            loss: loss / tokens.max(1) as f64,
            bits_per_byte: None,
            tokens,
            accuracy: Some(all.accuracy()),
            by_size,
        })
    }
}

/// Examples as rows of `context` tokens, filled up with the token 0, of which nothing is asked.
fn batch(examples: &[(Vec<i32>, Vec<i32>)], context: usize) -> Batch {
    let rows = examples.len();
    let mut batch = Batch { rows, context, inputs: Vec::new(), labels: Vec::new(), starts: Vec::new() };
    for (row, (inputs, labels)) in examples.iter().enumerate() {
        batch.inputs.extend(inputs);
        batch.labels.extend(labels);
        batch.inputs.resize((row + 1) * context, 0);
        batch.labels.resize((row + 1) * context, -1);
    }
    batch
}

/// The random numbers of one example.
struct Draw {
    generator: Philox,
    example: u64,
    next: u64,
}

impl Draw {
    fn new(generator: Philox, example: u64) -> Draw {
        Draw { generator, example, next: 0 }
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        let [low, high, ..] = self.generator.block_at(self.example, self.next);
        self.next += 1;
        below(join(low, high), bound as u64) as usize
    }

    /// So many different numbers below `bound`, in a random order.
    fn choose(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..bound).collect();
        for at in 0..count {
            let other = at + self.below(bound - at);
            order.swap(at, other);
        }
        order.truncate(count);
        order
    }
}

#[cfg(test)]
mod tests;
