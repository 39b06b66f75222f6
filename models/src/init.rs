//! Initial values of parameters, evaluated on the host.
//!
//! Invariant: a value depends only on the seed, the parameter's path and the value's place in the parameter, never
//! on other parameters: adding a parameter to a model leaves all others as they were. It does not decide which
//! initialiser a parameter has; that is written in the model's source.

use carousel_ir::{Init, Number};

use crate::hash::fnv1a;
use crate::philox::{Philox, Stream, join, normal_pair, unit_interval};

/// One axis of a parameter, in declared order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisSize {
    /// Name of the axis.
    pub name: String,
    /// Its size.
    pub size: usize,
}

/// Why an initialiser does not fit its parameter.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InitError {
    /// The initialiser names an axis that the parameter lacks.
    #[error("initialiser of parameter `{parameter}`: there is no axis `{axis}`; its axes are {axes}")]
    NoSuchAxis {
        /// Path of the parameter.
        parameter: String,
        /// The axis that was named.
        axis: String,
        /// The axes that it has.
        axes: String,
    },
    /// A number of the initialiser is infinite or not a number.
    #[error("initialiser of parameter `{parameter}`: {name} is {value}; it must be a finite number")]
    NotFinite {
        /// Path of the parameter.
        parameter: String,
        /// Which number.
        name: &'static str,
        /// What it is.
        value: f64,
    },
    /// A standard deviation below zero.
    #[error(
        "initialiser of parameter `{parameter}`: the standard deviation is {value}; it must not be negative"
    )]
    NegativeDeviation {
        /// Path of the parameter.
        parameter: String,
        /// What it is.
        value: f64,
    },
}

/// The initial values of the parameter with this path, in row-major order of its axes.
pub fn initial_values(
    init: &Init,
    seed: u64,
    parameter: &str,
    axes: &[AxisSize],
) -> Result<Vec<f32>, InitError> {
    check_numbers(init, parameter)?;
    let count = axes.iter().map(|axis| axis.size).product();
    Ok(match init {
        Init::Constant(value) => vec![value.get() as f32; count],
        Init::Normal { mean, std } => random(count, seed, parameter, |[a, b, c, d]| {
            let ([w, x], [y, z]) = (normal_pair(a, b), normal_pair(c, d));
            [w, x, y, z].map(|unit| mean.get() + std.get() * unit)
        }),
        Init::Uniform { low, high } => random(count, seed, parameter, |[a, b, c, d]| {
            let width = high.get() - low.get();
            [join(a, b), join(c, d)].map(|bits| low.get() + width * unit_interval(bits))
        }),
        Init::Linspace { low, high, axis } => {
            along(low.get(), high.get(), 1.0, count, axes, axis_index(parameter, axes, axis.as_str())?)
        }
        Init::Powerlaw { low, high, power, axis } => along(
            low.get(),
            high.get(),
            power.get(),
            count,
            axes,
            axis_index(parameter, axes, axis.as_str())?,
        ),
    })
}

/// Fills `count` places from consecutive blocks of the parameter's own counters.
fn random<const N: usize>(
    count: usize,
    seed: u64,
    parameter: &str,
    values: impl Fn([u32; 4]) -> [f64; N],
) -> Vec<f32> {
    let (generator, path) = (Philox::new(seed, Stream::Initialisation), fnv1a(parameter.as_bytes()));
    let blocks = (0..).flat_map(|index| values(generator.block_at(path, index)));
    blocks.take(count).map(|value| value as f32).collect()
}

fn axis_index(parameter: &str, axes: &[AxisSize], name: &str) -> Result<usize, InitError> {
    axes.iter().position(|axis| axis.name == name).ok_or_else(|| InitError::NoSuchAxis {
        parameter: parameter.into(),
        axis: name.into(),
        axes: axes.iter().map(|axis| axis.name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// Values from `low` to `high` along the axis in place `along`.
fn along(low: f64, high: f64, power: f64, count: usize, axes: &[AxisSize], along: usize) -> Vec<f32> {
    let size = axes[along].size;
    let stride: usize = axes[along + 1..].iter().map(|axis| axis.size).product();
    let last = size.saturating_sub(1).max(1) as f64;
    // Both ends are met exactly: each value is a mean of the two, weighted.
    let at = |index: usize| {
        let weight = if power == 1.0 { index as f64 / last } else { (index as f64 / last).powf(power) };
        let other = if power == 1.0 { (last - index as f64) / last } else { 1.0 - weight };
        low * other + high * weight
    };
    (0..count).map(|place| at(place / stride % size) as f32).collect()
}

fn check_numbers(init: &Init, parameter: &str) -> Result<(), InitError> {
    let numbers: &[(&'static str, Number)] = match init {
        Init::Constant(value) => &[("the constant", *value)],
        Init::Normal { mean, std } => &[("the mean", *mean), ("the standard deviation", *std)],
        Init::Uniform { low, high } | Init::Linspace { low, high, axis: _ } => {
            &[("the low end", *low), ("the high end", *high)]
        }
        Init::Powerlaw { low, high, power, axis: _ } => {
            &[("the low end", *low), ("the high end", *high), ("the power", *power)]
        }
    };
    for &(name, value) in numbers {
        let value = value.get();
        if !value.is_finite() {
            return Err(InitError::NotFinite { parameter: parameter.into(), name, value });
        }
    }
    match init {
        Init::Normal { mean: _, std } if std.get() < 0.0 => {
            Err(InitError::NegativeDeviation { parameter: parameter.into(), value: std.get() })
        }
        Init::Constant(_)
        | Init::Normal { .. }
        | Init::Uniform { .. }
        | Init::Linspace { .. }
        | Init::Powerlaw { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(sizes: &[(&str, usize)]) -> Vec<AxisSize> {
        sizes.iter().map(|&(name, size)| AxisSize { name: name.into(), size }).collect()
    }

    fn moments(values: &[f32]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        (mean, (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt())
    }

    #[test]
    fn normal_has_its_moments() {
        let values = initial_values(
            &Init::Normal { mean: 0.5.into(), std: (2.0).into() },
            1,
            "w",
            &axes(&[("i", 401), ("o", 99)]),
        )
        .unwrap();
        assert_eq!(values.len(), 401 * 99);
        let (mean, std) = moments(&values);
        // Four standard errors.
        assert!((mean - 0.5).abs() < 4.0 * 2.0 / (values.len() as f64).sqrt(), "{mean}");
        assert!((std - 2.0).abs() < 4.0 * 2.0 / (2.0 * values.len() as f64).sqrt(), "{std}");
    }

    #[test]
    fn uniform_fills_its_interval() {
        let values = initial_values(
            &Init::Uniform { low: (-1.0).into(), high: (3.0).into() },
            1,
            "w",
            &axes(&[("o", 20_000)]),
        )
        .unwrap();
        assert!(values.iter().all(|v| (-1.0..=3.0).contains(v)));
        let (mean, std) = moments(&values);
        assert!((mean - 1.0).abs() < 0.05 && (std - 4.0 / 12f64.sqrt()).abs() < 0.05, "{mean} {std}");
    }

    #[test]
    fn values_depend_on_seed_and_path_and_place_only() {
        let normal = Init::Normal { mean: 0.0.into(), std: (1.0).into() };
        let draw = |seed, path, n| initial_values(&normal, seed, path, &axes(&[("o", n)])).unwrap();
        assert_eq!(draw(1, "layer.0.up", 9), draw(1, "layer.0.up", 100)[..9]);
        assert_ne!(draw(1, "layer.0.up", 9), draw(2, "layer.0.up", 9));
        assert_ne!(draw(1, "layer.0.up", 9), draw(1, "layer.1.up", 9));
    }

    #[test]
    fn linspace_runs_along_the_named_axis() {
        let shape = axes(&[("h", 2), ("d", 3)]);
        let along = |axis: &str| {
            initial_values(
                &Init::Linspace { low: 3.0.into(), high: 6.0.into(), axis: axis.into() },
                0,
                "b",
                &shape,
            )
            .unwrap()
        };
        assert_eq!(along("d"), [3.0, 4.5, 6.0, 3.0, 4.5, 6.0]);
        assert_eq!(along("h"), [3.0, 3.0, 3.0, 6.0, 6.0, 6.0]);
        let single = Init::Linspace { low: 3.0.into(), high: 6.0.into(), axis: "h".into() };
        assert_eq!(initial_values(&single, 0, "b", &axes(&[("h", 1)])).unwrap(), [3.0]);
        assert!(initial_values(&single, 0, "b", &axes(&[("h", 0)])).unwrap().is_empty());
    }

    #[test]
    fn powerlaw_bends_between_the_same_ends() {
        let shape = axes(&[("h", 2), ("d", 5)]);
        let init = |power: f64| Init::Powerlaw {
            low: 5.0.into(),
            high: (-7.0).into(),
            power: power.into(),
            axis: "d".into(),
        };
        let draw = |power| initial_values(&init(power), 0, "b", &shape).unwrap();
        assert_eq!(draw(1.0), [5.0, 2.0, -1.0, -4.0, -7.0, 5.0, 2.0, -1.0, -4.0, -7.0]);
        assert_eq!(draw(2.0)[..5], [5.0, 4.25, 2.0, -1.75, -7.0]);
        assert!(initial_values(&init(f64::INFINITY), 0, "b", &shape).is_err());
    }

    #[test]
    fn misfits_are_named() {
        let linspace = Init::Linspace { low: 0.0.into(), high: 1.0.into(), axis: "x".into() };
        let message = initial_values(&linspace, 0, "cell.b", &axes(&[("h", 2)])).unwrap_err().to_string();
        assert!(
            message.contains("cell.b") && message.contains("`x`") && message.contains("are h"),
            "{message}"
        );
        assert!(initial_values(&Init::Normal { mean: 0.0.into(), std: (-1.0).into() }, 0, "b", &[]).is_err());
        assert!(initial_values(&Init::Constant(f64::NAN.into()), 0, "b", &[]).is_err());
    }
}
