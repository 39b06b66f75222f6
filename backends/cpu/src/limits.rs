//! The limits of this machine, measured: what any program could reach at most.
//!
//! Each is the best of several tries; other programs that run meanwhile spoil the numbers. With several threads, all
//! work at once, each on memory of its own.

use crate::runtime::isa::Isa;
use crate::runtime::limits;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// The limits of so many threads together.
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// f32 operations a second, a multiply-add being two.
    pub flops: f64,
    /// Reading memory of ascending sizes, which lies in one level of the caches after the other.
    pub levels: Vec<Level>,
}

/// How fast memory is read that fits one level.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Level {
    /// What it is called.
    pub name: &'static str,
    /// Bytes that a thread goes through over and over.
    pub bytes: usize,
    /// Bytes a second.
    pub rate: f64,
}

/// Working sets that lie well inside of a level on current processors.
const LEVELS: [(&str, usize); 4] =
    [("L1", 16 << 10), ("L2", 256 << 10), ("L3", 8 << 20), ("memory", 128 << 20)];
/// How long one try takes.
const TRY: Duration = Duration::from_millis(30);
/// Tries of each limit.
const TRIES: usize = 5;

impl Limits {
    /// Measures them, with that many threads (at least one).
    pub fn measure(threads: usize) -> Limits {
        let threads = threads.max(1);
        let isa = Isa::host();
        let multiply_add = limits::multiply_add::function(isa);
        let per_round = limits::OPERATIONS as f64;
        // SAFETY: the processor has the instruction set; nothing else is asked for.
        let flops = best(threads, || (), |()| unsafe { multiply_add(4096) }, 4096.0 * per_round);
        let read = limits::read::function(isa);
        let level = |(name, bytes): (&'static str, usize)| {
            let count = bytes / 4;
            let rate = best(
                threads,
                || vec![1.0f32; count],
                // SAFETY: as many numbers as there are, a multiple of 128.
                |data| unsafe { read(data.as_ptr(), count) },
                bytes as f64,
            );
            Level { name, bytes, rate }
        };
        Limits { flops, levels: LEVELS.map(level).to_vec() }
    }

    /// How fast that many bytes can be read over and over.
    pub fn rate(&self, bytes: f64) -> f64 {
        let level = self.levels.iter().find(|level| bytes <= level.bytes as f64 * 2.0);
        level.or(self.levels.last()).map_or(f64::INFINITY, |level| level.rate)
    }
}

/// Amounts a second, the best of all tries: `once` does `amount` of work on what `prepare` gives each thread.
fn best<T>(
    threads: usize,
    prepare: impl Fn() -> T + Sync,
    once: impl Fn(&T) -> f32 + Sync,
    amount: f64,
) -> f64 {
    let barrier = Barrier::new(threads);
    let one = || {
        let data = prepare();
        black_box(once(&data));
        let mut rates = [0.0f64; TRIES];
        for rate in &mut rates {
            barrier.wait();
            let (start, mut times) = (Instant::now(), 0.0);
            while start.elapsed() < TRY {
                black_box(once(&data));
                times += 1.0;
            }
            *rate = times * amount / start.elapsed().as_secs_f64();
        }
        rates
    };
    let mut all = [0.0f64; TRIES];
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(one)).collect();
        let mut add = |rates: [f64; TRIES]| all.iter_mut().zip(rates).for_each(|(sum, rate)| *sum += rate);
        add(one());
        for other in others {
            add(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    all.into_iter().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_a_rate() {
        let limits = Limits::measure(2);
        assert!(limits.flops > 1e8 && limits.flops.is_finite(), "{limits:?}");
        assert!(limits.levels.iter().all(|level| level.rate > 1e7 && level.rate.is_finite()), "{limits:?}");
        // What fits a level is taken from it, what fits none from memory.
        assert_eq!(limits.rate(1000.0), limits.levels[0].rate);
        assert_eq!(limits.rate(1e12), limits.levels[3].rate);
    }
}
