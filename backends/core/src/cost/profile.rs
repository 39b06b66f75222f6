//! What is known of a machine: a handful of rates and fixed costs, each with a unit and a meaning.
//!
//! A profile describes one core, or a device that works on many points of a grid at the same time, by what one of them gets. The
//! number of threads is no part of it, so that no choice depends on it; neither is anything measured while compiling, so that the
//! same source, target and profile give the same program.

use serde::{Deserialize, Serialize};

/// A machine, or rather one core of it with its memory.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it is called.
    pub name: String,
    /// How many points of a grid are worked on at the same time, each at the rates below.
    #[serde(default = "one")]
    pub points: f64,
    /// Matrix products.
    pub product: ProductRate,
    /// Elementwise operations, reductions and running sums.
    pub elements: ElementRate,
    /// What happens however small the work is.
    pub overhead: Overhead,
    /// Memory, the smallest and fastest level first. What fits the first one costs nothing beyond the operations that
    /// touch it.
    pub memory: Vec<Level>,
}

/// How fast matrix products are: the peak times `x / (x + half)` for each of the three extents.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductRate {
    /// Floating-point operations a second of a large product, a multiplication and an addition counting as two.
    pub peak: f64,
    /// The smaller one of rows and columns at which half of the peak is reached.
    pub half_narrow: f64,
    /// The larger one likewise.
    pub half_wide: f64,
    /// The contracted extent likewise.
    pub half_depth: f64,
    /// Seconds of a call.
    pub call: f64,
}

/// How fast elements are computed, one operation on one element at a time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElementRate {
    /// Cheap operations a second in loops that are vectors throughout: additions, products, comparisons, loads, stores.
    pub vector: f64,
    /// The same where elements are done one by one.
    pub scalar: f64,
    /// Divisions and square roots a second in vectors.
    pub division: f64,
    /// Exponentials and their like a second, computed in tiles.
    pub transcendental: f64,
    /// Steps a second of a running sum along contiguous elements.
    pub running: f64,
}

/// Seconds that do not depend on the amount of work.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overhead {
    /// Starting a kernel.
    pub kernel: f64,
    /// A point of its grid.
    pub point: f64,
    /// A statement each time that it is run.
    pub statement: f64,
    /// A row of an innermost loop.
    pub row: f64,
    /// A call of the tile runtime for a function of a row of elements.
    pub call: f64,
}

/// A level of memory.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// How much it holds; nothing for the last one, which holds everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<f64>,
    /// Bytes a second that come from it one after the other.
    pub rate: f64,
    /// Bytes a second of whole lines that lie apart.
    pub scattered: f64,
}

fn one() -> f64 {
    1.0
}

impl Profile {
    /// The built-in ones.
    pub fn builtin() -> [Profile; 4] {
        [x86_avx512(), x86_avx2(), neon(), sm_90()]
    }

    /// The built-in one of that name.
    pub fn named(name: &str) -> Option<Profile> {
        Profile::builtin().into_iter().find(|p| p.name == name)
    }

    /// What is wrong with it: rates, sizes and times are positive numbers, levels grow.
    pub fn problem(&self) -> Option<String> {
        let Profile { name: _, points, product: p, elements: e, overhead: o, memory } = self;
        if !(points.is_finite() && *points >= 1.0) {
            return Some(format!("`points` is {points}: it must be 1 or more"));
        }
        let rates = [
            ("product.peak", p.peak),
            ("elements.vector", e.vector),
            ("elements.scalar", e.scalar),
            ("elements.division", e.division),
            ("elements.transcendental", e.transcendental),
            ("elements.running", e.running),
        ];
        let amounts = [
            ("product.half_narrow", p.half_narrow),
            ("product.half_wide", p.half_wide),
            ("product.half_depth", p.half_depth),
            ("product.call", p.call),
            ("overhead.kernel", o.kernel),
            ("overhead.point", o.point),
            ("overhead.statement", o.statement),
            ("overhead.row", o.row),
            ("overhead.call", o.call),
        ];
        let is_rate = |x: f64| x.is_finite() && x > 0.0;
        if let Some((key, x)) = rates.iter().find(|(_, x)| !is_rate(*x)) {
            return Some(format!("`{key}` is {x}: a rate is above 0"));
        }
        if let Some((key, x)) = amounts.iter().find(|(_, x)| !(x.is_finite() && *x >= 0.0)) {
            return Some(format!("`{key}` is {x}: it must be 0 or more"));
        }
        if let Some(level) = memory.iter().find(|l| !is_rate(l.rate) || !is_rate(l.scattered)) {
            let (rate, scattered) = (level.rate, level.scattered);
            return Some(format!("`memory` has the rates {rate} and {scattered}: a rate is above 0"));
        }
        let Some((last, caches)) = memory.split_last() else {
            return Some("there is no level of `memory`".to_string());
        };
        let sizes: Vec<f64> = caches.iter().map_while(|l| l.bytes).collect();
        let grow = sizes.iter().all(|s| is_rate(*s)) && sizes.windows(2).all(|pair| pair[0] < pair[1]);
        if sizes.len() < caches.len() || last.bytes.is_some() || !grow {
            return Some(
                "`memory.bytes` must grow from level to level, and the last level has none".to_string(),
            );
        }
        None
    }
}

impl Default for Profile {
    /// That of the instruction set that the compiled program is for.
    fn default() -> Profile {
        if cfg!(target_arch = "aarch64") { neon() } else { x86_avx512() }
    }
}

/// A Zen 5 server core: the rates with which measured programs of all forms come out right, kept near those that `carousel
/// bench calibrate` finds there. The peak of products is that of tiles inside of kernels, about half of a large one's alone.
fn x86_avx512() -> Profile {
    Profile {
        name: "x86-avx512".to_string(),
        points: 1.0,
        product: ProductRate { peak: 120e9, half_narrow: 1.8, half_wide: 12.0, half_depth: 8.5, call: 40e-9 },
        elements: ElementRate {
            vector: 140e9,
            scalar: 12e9,
            division: 12e9,
            transcendental: 2.4e9,
            running: 1.15e9,
        },
        overhead: Overhead { kernel: 110e-9, point: 5e-9, statement: 1.3e-9, row: 1e-9, call: 7e-9 },
        memory: vec![
            Level { bytes: Some(40e3), rate: 200e9, scattered: 200e9 },
            Level { bytes: Some(400e3), rate: 100e9, scattered: 50e9 },
            Level { bytes: Some(20e6), rate: 47e9, scattered: 29e9 },
            Level { bytes: None, rate: 14e9, scattered: 11e9 },
        ],
    }
}

/// Half of the product rate and of the transcendental functions of [`x86_avx512`]: vectors are half as long there, and
/// generated code is the same.
fn x86_avx2() -> Profile {
    let base = x86_avx512();
    Profile {
        name: "x86-avx2".to_string(),
        product: ProductRate { peak: base.product.peak / 2.0, ..base.product },
        elements: ElementRate { transcendental: base.elements.transcendental / 2.0, ..base.elements },
        ..base
    }
}

/// A quarter of the product rate and of the transcendental functions of [`x86_avx512`], as with vectors of four.
fn neon() -> Profile {
    let base = x86_avx512();
    Profile {
        name: "neon".to_string(),
        product: ProductRate { peak: base.product.peak / 4.0, ..base.product },
        elements: ElementRate { transcendental: base.elements.transcendental / 4.0, ..base.elements },
        ..base
    }
}

/// A GPU of compute capability 9.0 with 132 multiprocessors, by what one of them gets. No clock told these numbers: rates of elements and
/// products are those with which counts of the emulated device take as long at published peaks (`bench calibrate --emulate`),
/// memory is the maker's, and fixed costs are latencies as they are commonly told.
fn sm_90() -> Profile {
    Profile {
        name: "sm-90".to_string(),
        points: 132.0,
        product: ProductRate { peak: 1.5e12, half_narrow: 3.5, half_wide: 240.0, half_depth: 8.5, call: 0.0 },
        elements: ElementRate {
            vector: 88e9,
            scalar: 88e9,
            division: 88e9,
            transcendental: 29e9,
            running: 22e9,
        },
        overhead: Overhead { kernel: 3e-6, point: 100e-9, statement: 500e-9, row: 0.0, call: 0.0 },
        memory: vec![
            Level { bytes: Some(200e3), rate: 250e9, scattered: 250e9 },
            Level { bytes: Some(50e6), rate: 76e9, scattered: 76e9 },
            Level { bytes: None, rate: 25e9, scattered: 12e9 },
        ],
    }
}
