//! Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy
//! as 1, 2, 3", 2011).
//!
//! Invariant: a number depends only on (seed, stream, counter), never on what was drawn before, so that a resumed
//! run draws the numbers of the uninterrupted one. Not for cryptography.

/// What random numbers are drawn for. Streams of one seed do not share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Initial values of parameters.
    Initialisation,
    /// Places in the text where training windows begin.
    Data,
    /// Choice of the next token.
    Sampling,
    /// Examples that a model is tested on.
    Test,
}

impl Stream {
    /// Distinct bits for the key; the values themselves have no meaning.
    fn key_bits(self) -> u64 {
        match self {
            Stream::Initialisation => 0x696e_6974_0000_0000,
            Stream::Data => 0x6461_7461_0000_0000,
            Stream::Sampling => 0x7361_6d70_0000_0000,
            Stream::Test => 0x7465_7374_0000_0000,
        }
    }
}

/// A random function from 128-bit counters to 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
}

impl Philox {
    /// The generator of a stream of a seed.
    pub fn new(seed: u64, stream: Stream) -> Philox {
        let [low, high] = halves(seed ^ stream.key_bits());
        Philox { key: [low, high] }
    }

    /// The four words at a counter.
    pub fn block(self, counter: [u32; 4]) -> [u32; 4] {
        carousel_ir::philox::philox(self.key, counter)
    }

    /// The four words at a counter given as two 64-bit numbers.
    pub fn block_at(self, major: u64, minor: u64) -> [u32; 4] {
        let ([minor_low, minor_high], [major_low, major_high]) = (halves(minor), halves(major));
        self.block([minor_low, minor_high, major_low, major_high])
    }
}

/// The low and the high half.
fn halves(word: u64) -> [u32; 2] {
    [(word & 0xffff_ffff) as u32, (word >> 32) as u32]
}

/// Two words as one of 64 bits.
pub fn join(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// A number in [0, 1) with all 53 bits of the mantissa random.
pub fn unit_interval(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// A number below `bound`, by multiplication: its bias is at most `bound / 2^64`. `bound` must not be 0.
pub fn below(bits: u64, bound: u64) -> u64 {
    assert!(bound > 0, "no number is below 0");
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// Two independent standard normal numbers out of two words (Box and Muller).
pub fn normal_pair(a: u32, b: u32) -> [f64; 2] {
    const SCALE: f64 = 1.0 / 4_294_967_296.0;
    // In (0, 1], so that the logarithm is finite.
    let radius = (-2.0 * ((f64::from(a) + 1.0) * SCALE).ln()).sqrt();
    let (sine, cosine) = (std::f64::consts::TAU * f64::from(b) * SCALE).sin_cos();
    [radius * cosine, radius * sine]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ() {
        let streams = [Stream::Initialisation, Stream::Data, Stream::Sampling, Stream::Test];
        let blocks: std::collections::BTreeSet<[u32; 4]> =
            streams.map(|stream| Philox::new(7, stream).block_at(0, 0)).into();
        assert_eq!(blocks.len(), streams.len());
    }

    #[test]
    fn derived_numbers_stay_in_range() {
        assert_eq!(unit_interval(0), 0.0);
        assert!(unit_interval(u64::MAX) < 1.0);
        assert_eq!((below(0, 10), below(u64::MAX, 10), below(u64::MAX, u64::MAX)), (0, 9, u64::MAX - 1));
        assert!(normal_pair(0, 0).iter().chain(&normal_pair(u32::MAX, u32::MAX)).all(|x| x.is_finite()));
    }
}
