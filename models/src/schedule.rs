//! Learning rate of each step: linear warm-up, then half a cosine down to a floor.
//!
//! Invariant: the formula is the one of the published xLSTM experiments, in f64: the rate of step 0 is 0 whenever
//! there is a warm-up. It does not count steps; the caller says which step it is at.

/// Warm-up and cosine decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest rate, reached at the end of the warm-up.
    pub max: f64,
    /// The lowest rate as a part of the highest.
    pub min_factor: f64,
    /// Steps of warm-up.
    pub warmup: u64,
    /// The step from which on the rate is lowest.
    pub decay_until: u64,
}

impl Schedule {
    /// The learning rate of the update with this index, counted from 0.
    pub fn learning_rate(&self, step: u64) -> f64 {
        let min = self.min_factor * self.max;
        if step < self.warmup {
            self.max * step as f64 / self.warmup as f64
        } else if step < self.decay_until {
            let progress = (step - self.warmup) as f64 / (self.decay_until - self.warmup) as f64;
            min + (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0 * (self.max - min)
        } else {
            min
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    const SCHEDULE: Schedule = Schedule { max: 1e-3, min_factor: 0.1, warmup: 10, decay_until: 110 };

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-12 * b.abs().max(1e-3)
    }

    #[test]
    fn warms_up_from_zero_and_decays_to_the_floor() {
        let expected = [(0, 0.0), (5, 5e-4), (10, 1e-3), (60, 5.5e-4), (110, 1e-4), (1_000_000, 1e-4)];
        for (step, rate) in expected {
            assert!(
                close(SCHEDULE.learning_rate(step), rate),
                "step {step}: {}",
                SCHEDULE.learning_rate(step)
            );
        }
        // cos(pi/4): a value that neither a linear nor a quadratic decay would give.
        let quarter = 1e-4 + (1.0 + std::f64::consts::FRAC_1_SQRT_2) / 2.0 * 9e-4;
        assert!(close(SCHEDULE.learning_rate(35), quarter));
    }

    #[test]
    fn degenerate_lengths_are_finite() {
        let no_warmup = Schedule { warmup: 0, ..SCHEDULE };
        assert!(close(no_warmup.learning_rate(0), 1e-3));
        let only_warmup = Schedule { warmup: 20, decay_until: 20, ..SCHEDULE };
        assert!(close(only_warmup.learning_rate(19), 9.5e-4) && close(only_warmup.learning_rate(20), 1e-4));
    }

    /// Rates recorded from the published implementation in float64 (`train/adamw_1_1` of the reference vectors).
    #[test]
    fn agrees_with_the_published_implementation() {
        let schedule = Schedule { max: 0.01, min_factor: 0.1, warmup: 4, decay_until: 16 };
        let recorded = [
            (1, 0.0025),
            (4, 0.010_000_000_000_000_002),
            (5, 0.009_846_666_218_300_808),
            (9, 0.006_664_685_702_961_344),
            (15, 0.001_153_333_781_699_193),
            (16, 0.001),
        ];
        for (step, rate) in recorded {
            assert!((schedule.learning_rate(step) / rate - 1.0).abs() < 1e-14, "step {step}");
        }
    }
}
