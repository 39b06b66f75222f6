//! Choice of the next token from a model's logits.
//!
//! Invariant: the choice depends only on the logits, the settings, the seed and the position, so that a
//! continuation can be repeated. It does not run a model.

use crate::philox::{Philox, Stream, join, unit_interval};

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// The most likely token; of equally likely ones the first.
    Greedy,
    /// At random, by probability. Limits are applied in the order temperature, `top_k`, `top_p`.
    Random {
        /// Logits are divided by it; positive and finite.
        temperature: f64,
        /// Only this many of the most likely tokens, if given.
        top_k: Option<usize>,
        /// Only the fewest most likely tokens whose probabilities sum to at least this, in (0, 1], if given.
        top_p: Option<f64>,
    },
}

/// Why no token can be chosen.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// There are no logits at all.
    #[error("there are no logits to choose from")]
    NoLogits,
    /// A logit is not a number, or infinitely large.
    #[error("logit of token {token} is {value}: the model has diverged or its checkpoint is damaged")]
    NotFinite {
        /// The token.
        token: usize,
        /// Its logit.
        value: f32,
    },
    /// Every token has probability zero.
    #[error("every logit is negative infinity: no token can be chosen")]
    NoPossibleToken,
    /// A temperature that cannot be divided by.
    #[error("temperature is {0}; it must be positive and finite (for the most likely token choose greedily)")]
    Temperature(f64),
    /// A number of tokens that leaves none.
    #[error("top_k is 0; it must be at least 1")]
    TopK,
    /// A probability outside (0, 1].
    #[error("top_p is {0}; it must be above 0 and at most 1")]
    TopP(f64),
}

/// Chooses tokens; the same at the same position, every time.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    choice: Choice,
    generator: Philox,
    row: u64,
}

impl Sampler {
    /// A sampler with these settings.
    pub fn new(choice: Choice, seed: u64) -> Result<Sampler, SampleError> {
        if let Choice::Random { temperature, top_k, top_p } = choice {
            if !(temperature > 0.0 && temperature.is_finite()) {
                return Err(SampleError::Temperature(temperature));
            }
            if top_k == Some(0) {
                return Err(SampleError::TopK);
            }
            if let Some(p) = top_p.filter(|&p| !(p > 0.0 && p <= 1.0)) {
                return Err(SampleError::TopP(p));
            }
        }
        Ok(Sampler { choice, generator: Philox::new(seed, Stream::Sampling), row: 0 })
    }

    /// The same with random numbers of its own for one of several texts; the first has those of a text alone.
    pub fn of_row(self, row: usize) -> Sampler {
        Sampler { row: row as u64, ..self }
    }

    /// The token at this position of the continuation.
    pub fn choose(&self, logits: &[f32], position: u64) -> Result<usize, SampleError> {
        let best = most_likely(logits)?;
        match self.choice {
            Choice::Greedy => Ok(best),
            Choice::Random { temperature, top_k, top_p } => {
                let mut candidates = weights(logits, f64::from(logits[best]), temperature);
                if top_k.is_some() || top_p.is_some() {
                    // A stable sort: of equally likely tokens the first is kept.
                    candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
                }
                candidates.truncate(top_k.unwrap_or(usize::MAX));
                if let Some(p) = top_p {
                    let kept = nucleus(&candidates, p);
                    candidates.truncate(kept);
                }
                let [a, b, ..] = self.generator.block_at(self.row, position);
                Ok(draw(&candidates, unit_interval(join(a, b))))
            }
        }
    }
}

/// Makes tokens that a text already has less likely, as Keskar et al. (2019) do: their logits are divided by the penalty, or
/// multiplied by it where they are negative. A penalty of 1 changes nothing.
pub fn penalise(logits: &mut [f32], seen: &Seen, penalty: f32) {
    if penalty != 1.0 {
        for (_, logit) in logits.iter_mut().enumerate().filter(|(token, _)| seen.contains(*token)) {
            *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
        }
    }
}

/// Which tokens a text has: a bit a token of the vocabulary, however long the text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    bits: Vec<u8>,
}

impl Seen {
    /// None of so many tokens.
    pub fn none(vocabulary: usize) -> Seen {
        Seen { bits: vec![0; vocabulary.div_ceil(8)] }
    }

    /// From its bits, eight a byte, the first one lowest.
    pub fn from_bits(bits: Vec<u8>) -> Seen {
        Seen { bits }
    }

    /// Its bits.
    pub fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// Notes a token.
    pub fn insert(&mut self, token: i32) {
        if let Some(byte) = usize::try_from(token).ok().and_then(|token| self.bits.get_mut(token / 8)) {
            *byte |= 1 << (token % 8);
        }
    }

    fn contains(&self, token: usize) -> bool {
        self.bits.get(token / 8).is_some_and(|byte| byte & (1 << (token % 8)) != 0)
    }
}

fn most_likely(logits: &[f32]) -> Result<usize, SampleError> {
    let mut best = 0;
    for (token, &value) in logits.iter().enumerate() {
        if value.is_nan() || value == f32::INFINITY {
            return Err(SampleError::NotFinite { token, value });
        }
        if value > logits[best] {
            best = token;
        }
    }
    match logits.get(best) {
        None => Err(SampleError::NoLogits),
        Some(&value) if value == f32::NEG_INFINITY => Err(SampleError::NoPossibleToken),
        Some(_) => Ok(best),
    }
}

/// Tokens with their probabilities up to a common factor; the greatest weight is 1.
fn weights(logits: &[f32], greatest: f64, temperature: f64) -> Vec<(usize, f64)> {
    logits.iter().enumerate().map(|(t, &l)| (t, ((f64::from(l) - greatest) / temperature).exp())).collect()
}

/// How many of the sorted candidates make up the probability `p`.
fn nucleus(candidates: &[(usize, f64)], p: f64) -> usize {
    let target = p * candidates.iter().map(|c| c.1).sum::<f64>();
    let mut sum = 0.0;
    for (index, candidate) in candidates.iter().enumerate() {
        sum += candidate.1;
        if sum >= target {
            return index + 1;
        }
    }
    candidates.len()
}

/// The candidate in whose part of the whole weight the point lies.
fn draw(candidates: &[(usize, f64)], point: f64) -> usize {
    let total: f64 = candidates.iter().map(|c| c.1).sum();
    let mut left = point * total;
    let mut chosen = candidates[0].0;
    for &(token, weight) in candidates.iter().filter(|c| c.1 > 0.0) {
        chosen = token;
        left -= weight;
        if left < 0.0 {
            break;
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [0.0, 2.0, f32::NEG_INFINITY, 1.0];

    fn random(temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> Sampler {
        Sampler::new(Choice::Random { temperature, top_k, top_p }, 3).unwrap()
    }

    fn frequencies(sampler: Sampler, draws: u64) -> [f64; 4] {
        let mut counts = [0.0; 4];
        for position in 0..draws {
            counts[sampler.choose(&LOGITS, position).unwrap()] += 1.0 / draws as f64;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        let greedy = Sampler::new(Choice::Greedy, 0).unwrap();
        assert_eq!(greedy.choose(&[1.0, 5.0, 5.0, -1.0], 0), Ok(1));
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        for temperature in [0.5, 1.0, 2.0] {
            let weights = LOGITS.map(|l| (f64::from(l) / temperature).exp());
            let total: f64 = weights.iter().sum();
            let seen = frequencies(random(temperature, None, None), 20_000);
            for (weight, seen) in weights.iter().zip(seen) {
                assert!((weight / total - seen).abs() < 0.015, "T={temperature}: {} {seen}", weight / total);
            }
            assert_eq!(seen[2], 0.0);
        }
    }

    #[test]
    fn limits_leave_only_the_likely() {
        // Probabilities of tokens 1, 3, 0: 0.665, 0.245, 0.090.
        let one = frequencies(random(1.0, Some(1), None), 200);
        assert!(one[0] == 0.0 && one[1] > 0.0 && one[3] == 0.0);
        let two = frequencies(random(1.0, Some(2), None), 500);
        assert!(two[0] == 0.0 && two[1] > 0.0 && two[3] > 0.0);
        let nucleus = frequencies(random(1.0, None, Some(0.7)), 500);
        assert!(nucleus[0] == 0.0 && nucleus[1] > 0.0 && nucleus[3] > 0.0);
        assert!(frequencies(random(1.0, None, Some(0.6)), 200)[3] == 0.0);
        assert!(frequencies(random(1.0, None, Some(1.0)), 500)[0] > 0.0);
    }

    #[test]
    fn a_position_always_gives_the_same_token() {
        let sampler = random(1.0, None, None);
        let run = |seed: u64| -> Vec<usize> {
            let sampler = Sampler::new(sampler.choice, seed).unwrap();
            (0..64).map(|p| sampler.choose(&LOGITS, p).unwrap()).collect()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }

    #[test]
    fn what_was_seen_is_less_likely() {
        let mut seen = Seen::none(4);
        [1, 2, 3].into_iter().for_each(|token| seen.insert(token));
        let mut logits = [3.0, 3.0, -3.0, f32::NEG_INFINITY];
        penalise(&mut logits, &Seen::from_bits(seen.bits().to_vec()), 1.5);
        assert_eq!(logits, [3.0, 2.0, -4.5, f32::NEG_INFINITY]);
        penalise(&mut logits, &seen, 1.0);
        assert_eq!(logits, [3.0, 2.0, -4.5, f32::NEG_INFINITY]);
    }

    #[test]
    fn texts_side_by_side_have_random_numbers_of_their_own() {
        let sampler = random(1.0, None, None);
        let run = |row| -> Vec<usize> {
            (0..64).map(|p| sampler.of_row(row).choose(&LOGITS, p).unwrap()).collect()
        };
        assert!(run(0) != run(1) && run(1) == run(1));
    }

    #[test]
    fn bad_logits_and_settings_are_errors() {
        let greedy = Sampler::new(Choice::Greedy, 0).unwrap();
        assert!(matches!(greedy.choose(&[0.0, f32::NAN], 0), Err(SampleError::NotFinite { token: 1, .. })));
        assert!(matches!(greedy.choose(&[f32::INFINITY], 0), Err(SampleError::NotFinite { token: 0, .. })));
        assert_eq!(greedy.choose(&[], 0), Err(SampleError::NoLogits));
        assert_eq!(greedy.choose(&[f32::NEG_INFINITY], 0), Err(SampleError::NoPossibleToken));
        let build = |temperature, top_k, top_p| Sampler::new(Choice::Random { temperature, top_k, top_p }, 0);
        assert_eq!(build(0.0, None, None).unwrap_err(), SampleError::Temperature(0.0));
        assert_eq!(build(1.0, Some(0), None).unwrap_err(), SampleError::TopK);
        assert_eq!(build(1.0, None, Some(1.5)).unwrap_err(), SampleError::TopP(1.5));
    }
}
