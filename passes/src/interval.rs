//! Ranges of values, as far as they follow from the operations that make them.
//!
//! Bounds lie on a fixed grid and only ever move towards each other, so that the analysis terminates. A range speaks
//! of the real number, where it is defined; a float may round onto a bound, underflow to it, or be NaN.

use std::hash::{Hash, Hasher};

/// Bounds of a real value, and whether it is known to be above 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    /// At least this.
    pub(crate) low: f64,
    /// At most this.
    pub(crate) high: f64,
    /// Strictly above 0; not implied by `low`, for exp(x) has no positive lower bound.
    pub(crate) positive: bool,
}

const GRID: [f64; 9] = [f64::NEG_INFINITY, -1e30, -80.0, -1.0, 0.0, 1.0, 80.0, 1e30, f64::INFINITY];

impl PartialEq for Interval {
    fn eq(&self, other: &Interval) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Interval {}

impl Hash for Interval {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Interval {
    /// To be compared and hashed: no bound is NaN, and the two zeros are one.
    fn key(self) -> (u64, u64, bool) {
        ((self.low + 0.0).to_bits(), (self.high + 0.0).to_bits(), self.positive)
    }

    /// Nothing is known.
    pub(crate) const ANY: Interval =
        Interval { low: f64::NEG_INFINITY, high: f64::INFINITY, positive: false };

    /// Bounds, moved outwards to the grid.
    pub(crate) fn new(low: f64, high: f64) -> Interval {
        if low.is_nan() || high.is_nan() {
            return Interval::ANY;
        }
        let down = GRID.into_iter().rfind(|g| *g <= low).unwrap_or(f64::NEG_INFINITY);
        let up = GRID.into_iter().find(|g| *g >= high).unwrap_or(f64::INFINITY);
        Interval { low: down, high: up, positive: low > 0.0 }
    }

    /// The same bounds, above 0.
    pub(crate) fn positive_if(self, positive: bool) -> Interval {
        Interval {
            positive: self.positive || positive,
            low: if positive { self.low.max(0.0) } else { self.low },
            ..self
        }
    }

    /// What both say.
    pub(crate) fn meet(self, other: Interval) -> Interval {
        Interval {
            low: self.low.max(other.low),
            high: self.high.min(other.high),
            positive: self.positive || other.positive,
        }
    }

    /// What holds for either.
    pub(crate) fn hull(self, other: Interval) -> Interval {
        Interval {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            positive: self.positive && other.positive,
        }
    }

    /// Whether no value is left: two equal terms were given ranges that exclude each other.
    pub(crate) fn is_empty(self) -> bool {
        self.low > self.high || (self.positive && self.high < 0.0)
    }

    /// The sign of a sum of any number of such values.
    pub(crate) fn summed(self) -> Interval {
        let low = if self.low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        let high = if self.high <= 0.0 { 0.0 } else { f64::INFINITY };
        Interval { low, high, positive: false }
    }

    pub(crate) fn neg(self) -> Interval {
        Interval::new(-self.high, -self.low)
    }

    pub(crate) fn abs(self) -> Interval {
        let low = if self.low > 0.0 {
            self.low
        } else if self.high < 0.0 {
            -self.high
        } else {
            0.0
        };
        Interval::new(low, self.low.abs().max(self.high.abs())).positive_if(self.nonzero())
    }

    pub(crate) fn add(self, other: Interval) -> Interval {
        let sum = Interval::new(self.low + other.low, self.high + other.high);
        sum.positive_if((self.positive && other.low >= 0.0) || (other.positive && self.low >= 0.0))
    }

    pub(crate) fn mul(self, other: Interval) -> Interval {
        // A bound of infinity stands for "no bound", hence 0 times it is 0.
        let product = |a: f64, b: f64| if a == 0.0 || b == 0.0 { 0.0 } else { a * b };
        let corners = [
            product(self.low, other.low),
            product(self.low, other.high),
            product(self.high, other.low),
            product(self.high, other.high),
        ];
        let low = corners.into_iter().fold(f64::INFINITY, f64::min);
        let high = corners.into_iter().fold(f64::NEG_INFINITY, f64::max);
        Interval { positive: false, ..Interval::new(low, high) }.positive_if(self.positive && other.positive)
    }

    /// `1 / self`.
    pub(crate) fn reciprocal(self) -> Interval {
        if self.low >= 0.0 {
            let low = 1.0 / self.high;
            Interval { positive: false, ..Interval::new(low, 1.0 / self.low) }.positive_if(self.positive)
        } else if self.high <= 0.0 {
            let low = if self.high == 0.0 { f64::NEG_INFINITY } else { 1.0 / self.high };
            Interval { positive: false, ..Interval::new(low, 1.0 / self.low) }
        } else {
            Interval::ANY
        }
    }

    pub(crate) fn min(self, other: Interval) -> Interval {
        Interval {
            low: self.low.min(other.low),
            high: self.high.min(other.high),
            positive: self.positive && other.positive,
        }
    }

    pub(crate) fn max(self, other: Interval) -> Interval {
        Interval {
            low: self.low.max(other.low),
            high: self.high.max(other.high),
            positive: self.positive || other.positive,
        }
    }

    /// Image under an increasing function.
    pub(crate) fn increasing(self, f: impl Fn(f64) -> f64) -> Interval {
        Interval { positive: false, ..Interval::new(f(self.low), f(self.high)) }
    }

    /// Never 0.
    pub(crate) fn nonzero(self) -> bool {
        self.positive || self.low > 0.0 || self.high < 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_move_outwards_to_the_grid() {
        let x = Interval::new(0.3, 5.0);
        assert_eq!((x.low, x.high, x.positive), (0.0, 80.0, true));
        assert!(x.mul(x).positive && !x.add(Interval::ANY).positive);
        assert!(Interval::new(1.0, 2.0).meet(Interval::new(-3.0, -2.0)).is_empty());
    }

    #[test]
    fn operations_contain_their_results() {
        let ranges = [(-100.0, -2.0), (-0.5, 0.25), (0.0, 3.0), (0.5, 90.0)];
        let inside = |r: Interval, v: f64| r.low <= v && v <= r.high && (!r.positive || v > 0.0);
        for (al, ah) in ranges {
            for (bl, bh) in ranges {
                let (a, b) = (Interval::new(al, ah), Interval::new(bl, bh));
                for x in [al, (al + ah) / 2.0, ah] {
                    for y in [bl, (bl + bh) / 2.0, bh] {
                        assert!(inside(a.add(b), x + y) && inside(a.mul(b), x * y));
                        assert!(inside(a.min(b), x.min(y)) && inside(a.max(b), x.max(y)));
                        assert!(y == 0.0 || inside(b.reciprocal(), 1.0 / y), "1/{y} in {:?}", b.reciprocal());
                        assert!(inside(a.abs(), x.abs()) && inside(a.neg(), -x) && inside(a.hull(b), y));
                    }
                }
            }
        }
    }
}
