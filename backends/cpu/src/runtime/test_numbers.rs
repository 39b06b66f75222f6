//! Numbers for the tests of the tile runtime.

/// `n` numbers between two bounds, the same ones for the same seed.
pub(super) fn numbers(n: usize, seed: u32, low: f32, high: f32) -> Vec<f32> {
    (0..n)
        .map(|i| {
            let [word, ..] = carousel_ir::philox::philox([seed, 77], [i as u32, 0, 0, 0]);
            low + (high - low) * (word >> 8) as f32 / 16_777_216.0
        })
        .collect()
}
