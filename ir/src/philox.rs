//! Philox4x32-10 (Salmon, Moraes, Dror and Shaw, 2011): the meaning of the random operations, which every backend
//! reproduces bit for bit, and the generator behind everything random on the host.
//!
//! Invariant: a number depends only on key and counter; there is no state.

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 10;

/// The four words of a key at a counter.
#[inline(always)]
pub fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let ([mut k0, mut k1], [mut c0, mut c1, mut c2, mut c3]) = (key, counter);
    for _ in 0..ROUNDS {
        let (high0, low0) = product(MULTIPLIERS[0], c0);
        let (high1, low1) = product(MULTIPLIERS[1], c2);
        (c0, c1, c2, c3) = (high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0);
        (k0, k1) = (k0.wrapping_add(WEYL[0]), k1.wrapping_add(WEYL[1]));
    }
    [c0, c1, c2, c3]
}

/// High and low half of a product.
#[inline(always)]
fn product(a: u32, b: u32) -> (u32, u32) {
    let wide = u64::from(a) * u64::from(b);
    ((wide >> 32) as u32, wide as u32)
}

/// The 32-bit FNV-1a hash of a stream's name.
pub fn stream_hash(name: &str) -> u32 {
    const OFFSET_BASIS: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    name.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME))
}

/// Element `index` (row-major) of a stream: word `index % 4` of the block at counter `(index / 4, step)`, its upper
/// 24 bits as a number in \[0, 1), so that f32 holds it exactly.
pub fn uniform(seed: u32, stream: u32, step: u32, index: u64) -> f32 {
    let block = index / 4;
    let word = philox([seed, stream], [block as u32, (block >> 32) as u32, step, 0])[(index % 4) as usize];
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// A new seed from a seed and a number.
pub fn fold_in(seed: u32, number: u32) -> u32 {
    philox([seed, number], [0; 4])[0]
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
            assert_eq!(philox(key, counter), expected);
        }
    }

    #[test]
    fn streams_steps_and_indices_differ() {
        assert_eq!(stream_hash(""), 0x811c_9dc5);
        assert_eq!(stream_hash("a"), 0xe40c_292c);
        let at = |stream, step, index| uniform(7, stream_hash(stream), step, index);
        assert_eq!(at("dropout", 3, 5), at("dropout", 3, 5));
        let others = [at("other", 3, 5), at("dropout", 4, 5), at("dropout", 3, 6), at("dropout", 3, 1 << 32)];
        assert!(others.iter().all(|&x| x != at("dropout", 3, 5) && (0.0..1.0).contains(&x)));
        assert_eq!(fold_in(0, 0), 0x6627_e8d5);
        assert_ne!(fold_in(0, 1), fold_in(0, 2));
    }
}
