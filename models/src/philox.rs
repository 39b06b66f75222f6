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
}

impl Stream {
    /// Distinct bits for the key; the values themselves have no meaning.
    fn key_bits(self) -> u64 {
        match self {
            Stream::Initialisation => 0x696e_6974_0000_0000,
            Stream::Data => 0x6461_7461_0000_0000,
            Stream::Sampling => 0x7361_6d70_0000_0000,
        }
    }
}

/// A random function from 128-bit counters to 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
}

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 10;

impl Philox {
    /// The generator of a stream of a seed.
    pub fn new(seed: u64, stream: Stream) -> Philox {
        let [low, high] = halves(seed ^ stream.key_bits());
        Philox { key: [low, high] }
    }

    /// The four words at a counter.
    pub fn block(self, counter: [u32; 4]) -> [u32; 4] {
        let [mut c0, mut c1, mut c2, mut c3] = counter;
        let [mut k0, mut k1] = self.key;
        for _ in 0..ROUNDS {
            let [low0, high0] = halves(u64::from(MULTIPLIERS[0]) * u64::from(c0));
            let [low1, high1] = halves(u64::from(MULTIPLIERS[1]) * u64::from(c2));
            (c0, c1, c2, c3) = (high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0);
            k0 = k0.wrapping_add(WEYL[0]);
            k1 = k1.wrapping_add(WEYL[1]);
        }
        [c0, c1, c2, c3]
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

    /// The known answers published with Random123 (`kat_vectors`, philox4x32 10).
    #[test]
    fn known_answers() {
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(Philox { key }.block(counter), expected);
        }
    }

    #[test]
    fn streams_differ() {
        let blocks =
            [Stream::Initialisation, Stream::Data, Stream::Sampling].map(|s| Philox::new(7, s).block_at(0, 0));
        assert!(blocks[0] != blocks[1] && blocks[1] != blocks[2] && blocks[0] != blocks[2]);
    }

    #[test]
    fn derived_numbers_stay_in_range() {
        assert_eq!(unit_interval(0), 0.0);
        assert!(unit_interval(u64::MAX) < 1.0);
        assert_eq!((below(0, 10), below(u64::MAX, 10), below(u64::MAX, u64::MAX)), (0, 9, u64::MAX - 1));
        assert!(normal_pair(0, 0).iter().chain(&normal_pair(u32::MAX, u32::MAX)).all(|x| x.is_finite()));
    }
}
