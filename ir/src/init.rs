//! Initial values of parameters. The host evaluates them from a counter-based generator keyed by the parameter's path.

use crate::{Axis, Number};
use std::fmt;

/// How a parameter starts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Init {
    /// The same number everywhere.
    Constant(Number),
    /// Independent normal numbers.
    Normal {
        /// Mean.
        mean: Number,
        /// Standard deviation.
        std: Number,
    },
    /// Independent uniform numbers in \[low, high).
    Uniform {
        /// Lower bound.
        low: Number,
        /// Upper bound.
        high: Number,
    },
    /// Evenly spaced along `axis`, both ends included.
    Linspace {
        /// First value.
        low: Number,
        /// Last value.
        high: Number,
        /// Along which axis; the same for all places of the others.
        axis: Axis,
    },
    /// From `low` to `high` along `axis`, by a power of the place between 0 and 1.
    Powerlaw {
        /// First value.
        low: Number,
        /// Last value.
        high: Number,
        /// The power; 1 is evenly spaced.
        power: Number,
        /// Along which axis; the same for all places of the others.
        axis: Axis,
    },
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Init::Constant(c) => write!(f, "constant({c})"),
            Init::Normal { mean, std } => write!(f, "normal({mean}, {std})"),
            Init::Uniform { low, high } => write!(f, "uniform({low}, {high})"),
            Init::Linspace { low, high, axis } => write!(f, "linspace({low}, {high}, {axis})"),
            Init::Powerlaw { low, high, power, axis } => {
                write!(f, "powerlaw({low}, {high}, {power}, {axis})")
            }
        }
    }
}
