//! Tables of names: which tensor of other people's files a parameter is, and how its axes lie there.
//!
//! A table is data, a text file in `xl/names` that explains its own columns. Invariant: a [`Placement`] addresses elements
//! within a tensor of the shape that it tells. Nothing is read here, and no model is known.

use std::collections::BTreeMap;

use carousel_core::program::places;

/// A table.
#[derive(Clone, Debug)]
pub struct NameTable {
    base: Vec<Row>,
    sections: Vec<(&'static str, Vec<Row>)>,
}

/// A parameter of a model: its path, and names and sizes of its axes in declared order.
#[derive(Clone, Debug)]
pub struct Axed<'a> {
    /// Its path.
    pub path: &'a str,
    /// Its axes. What follows a `.` in a name does not count: it only keeps axes of one name and different sizes apart.
    pub axes: Vec<(&'a str, usize)>,
}

/// Where a parameter lies in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    /// Name of the tensor.
    pub tensor: String,
    /// Shape of the whole tensor.
    pub shape: Vec<usize>,
    /// Its first element in the tensor.
    pub offset: usize,
    /// The sizes of its axes with the distance in the tensor from one place to the next, in declared order.
    pub strides: Vec<(usize, usize)>,
}

/// One row: parameter, tensor, axes.
#[derive(Clone, Debug)]
struct Row {
    parameter: &'static str,
    tensor: &'static str,
    dimensions: Vec<Vec<Part>>,
    is_stacked: bool,
}

/// A part of a dimension; the last one is the fastest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// An axis of the parameter.
    Axis(&'static str),
    /// One place of several.
    Place { index: usize, of: usize },
}

/// Why a parameter has no place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// No row is about it.
    #[error("the model's parameter `{0}` has no name in files of this kind")]
    Unknown(String),
    /// The row has other axes.
    #[error("the model's parameter `{path}` has the axes {found}, the table of names says {wanted}")]
    Axes {
        /// Its path.
        path: String,
        /// Its axes.
        found: String,
        /// Those of the row.
        wanted: String,
    },
}

impl NameTable {
    /// Reads a table that is part of the program.
    ///
    /// # Panics
    /// If it is malformed.
    pub fn parse(text: &'static str) -> NameTable {
        let mut table = NameTable { base: Vec::new(), sections: Vec::new() };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                table.sections.push((section, Vec::new()));
                continue;
            }
            let row = row(line).unwrap_or_else(|| panic!("no row of a table of names: {line}"));
            match table.sections.last_mut() {
                Some((_, rows)) => rows.push(row),
                None => table.base.push(row),
            }
        }
        table
    }

    /// The sections by name.
    pub fn sections(&self) -> impl Iterator<Item = &'static str> {
        self.sections.iter().map(|(name, _)| *name)
    }

    /// Where these parameters lie, in their order; by the rows of `section` in place of others, if one is given.
    pub fn placements(
        &self,
        parameters: &[Axed<'_>],
        section: Option<&str>,
    ) -> Result<Vec<Placement>, NameError> {
        let overriding = self.sections.iter().find(|(name, _)| Some(*name) == section);
        let rows: Vec<&Row> =
            overriding.iter().flat_map(|(_, rows)| rows).chain(&self.base).collect::<Vec<_>>();
        let mut found = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            let row = rows.iter().enumerate().find_map(|(at, row)| {
                let numbers = matched(row.parameter, parameter.path)?;
                Some((at, *row, filled(row.tensor, &numbers)))
            });
            let (at, row, tensor) = row.ok_or_else(|| NameError::Unknown(parameter.path.to_string()))?;
            found.push((at, row, lie(row, tensor, parameter)?));
        }
        // Stacked parameters follow each other in the order of the table.
        let mut stacks: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
        for (place, (at, row, placement)) in found.iter().enumerate() {
            if row.is_stacked {
                stacks.entry(placement.tensor.clone()).or_default().push((*at, place));
            }
        }
        for stack in stacks.values_mut() {
            stack.sort_unstable();
            let mut rows = 0;
            for (_, place) in stack.iter() {
                let placement = &mut found[*place].2;
                placement.offset += rows * placement.shape[1..].iter().product::<usize>();
                rows += placement.shape[0];
            }
            stack.iter().for_each(|(_, place)| found[*place].2.shape[0] = rows);
        }
        Ok(found.into_iter().map(|(_, _, placement)| placement).collect())
    }
}

impl Placement {
    /// How many elements the parameter has.
    pub fn elements(&self) -> usize {
        self.strides.iter().map(|(size, _)| size).product()
    }

    /// Whether the elements follow each other in the tensor as in the parameter.
    pub fn is_contiguous(&self) -> bool {
        let mut next = 1;
        self.strides.iter().rev().all(|(size, stride)| {
            let fits = *size == 1 || *stride == next;
            next *= size;
            fits
        })
    }

    /// Elements of the tensor from the first one of the parameter to its last, both included.
    pub fn span(&self) -> usize {
        1 + self.strides.iter().map(|(size, stride)| size.saturating_sub(1) * stride).sum::<usize>()
    }

    /// The place in the tensor of each element, in the parameter's order.
    pub fn places(&self) -> impl Iterator<Item = usize> + '_ {
        places(&self.strides).map(|place| self.offset + place)
    }
}

fn row(line: &'static str) -> Option<Row> {
    let mut columns = line.split('|').map(str::trim);
    let (parameter, tensor, axes) = (columns.next()?, columns.next()?, columns.next()?);
    let (is_stacked, axes) = match axes.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, axes),
    };
    let mut dimensions: Vec<Vec<Part>> = Vec::new();
    let mut is_open = false;
    for word in axes.split_whitespace() {
        if !is_open {
            dimensions.push(Vec::new());
        }
        is_open |= word.starts_with('(');
        let part = part(word.trim_start_matches('(').trim_end_matches(')'))?;
        dimensions.last_mut()?.extend(part);
        is_open &= !word.ends_with(')');
    }
    let is_whole = columns.next().is_none() && !is_open && !dimensions.is_empty();
    is_whole.then_some(Row { parameter, tensor, dimensions, is_stacked })
}

/// A word of the third column; a `1` is nothing.
fn part(word: &'static str) -> Option<Option<Part>> {
    if word == "1" {
        return Some(None);
    }
    match word.split_once('/') {
        Some((index, of)) => Some(Some(Part::Place { index: index.parse().ok()?, of: of.parse().ok()? })),
        None => Some(Some(Part::Axis(word))),
    }
}

/// What the stars of a pattern stand for in a path; none if it does not match.
fn matched<'a>(pattern: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let (pattern, path) = (pattern.split('.'), path.split('.').collect::<Vec<_>>());
    let pattern: Vec<&str> = pattern.collect();
    if pattern.len() != path.len() {
        return None;
    }
    let mut numbers = Vec::new();
    for (wanted, found) in pattern.iter().zip(path) {
        if *wanted == "*" {
            numbers.push(found);
        } else if *wanted != found {
            return None;
        }
    }
    Some(numbers)
}

fn filled(pattern: &str, numbers: &[&str]) -> String {
    let mut numbers = numbers.iter();
    let part = |part| if part == "*" { numbers.next().copied().unwrap_or(part) } else { part };
    pattern.split('.').map(part).collect::<Vec<_>>().join(".")
}

fn lie(row: &Row, tensor: String, parameter: &Axed<'_>) -> Result<Placement, NameError> {
    let stem = |axis: &str| axis.split('.').next().unwrap_or_default().to_string();
    let parts = row.dimensions.iter().flatten();
    let wanted: Vec<&str> = parts
        .clone()
        .filter_map(|part| match part {
            Part::Axis(axis) => Some(*axis),
            Part::Place { .. } => None,
        })
        .collect();
    let mut sizes: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (axis, size) in &parameter.axes {
        sizes.insert(stem(axis), (*size, 0));
    }
    let is_same = wanted.len() == parameter.axes.len() && wanted.iter().all(|axis| sizes.contains_key(*axis));
    if !is_same {
        let found = parameter.axes.iter().map(|(axis, _)| stem(axis)).collect::<Vec<_>>().join(", ");
        let path = parameter.path.to_string();
        return Err(NameError::Axes { path, found, wanted: wanted.join(", ") });
    }
    let size_of = |sizes: &BTreeMap<String, (usize, usize)>, part: &Part| match part {
        Part::Axis(axis) => sizes[*axis].0,
        Part::Place { of, .. } => *of,
    };
    let shape =
        row.dimensions.iter().map(|parts| parts.iter().map(|part| size_of(&sizes, part)).product()).collect();
    let (mut stride, mut offset) = (1, 0);
    for part in parts.rev() {
        let size = size_of(&sizes, part);
        match part {
            Part::Axis(axis) => {
                sizes.entry((*axis).to_string()).and_modify(|(_, s)| *s = stride);
            }
            Part::Place { index, .. } => offset += index * stride,
        }
        stride *= size;
    }
    let strides = parameter.axes.iter().map(|(axis, _)| sizes[&stem(axis)]).collect();
    Ok(Placement { tensor, shape, offset, strides })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "
        # a remark
        layer.*.up | blocks.*.proj.weight | (part e) d
        layer.*.taps | blocks.*.conv.weight | e 1 tap
        layer.*.a | blocks.*.both | +(h p)
        layer.*.b | blocks.*.both | +(h p)
        [other]
        layer.*.a | blocks.*.both | (h 0/2 p)
        layer.*.b | blocks.*.both | (h 1/2 p)
        layer.*.up | blocks.*.proj.weight | d (part e)
    ";

    fn placed(parameters: &[Axed<'_>], section: Option<&str>) -> Vec<Placement> {
        NameTable::parse(TABLE).placements(parameters, section).unwrap()
    }

    #[test]
    fn axes_lie_as_the_row_says() {
        let up = Axed { path: "layer.12.up", axes: vec![("part", 2), ("e.1", 3), ("d", 5)] };
        let taps = Axed { path: "layer.0.taps", axes: vec![("e", 3), ("tap", 4)] };
        let found = placed(&[up.clone(), taps], None);
        assert_eq!(found[0].tensor, "blocks.12.proj.weight");
        assert_eq!((found[0].shape.clone(), found[0].is_contiguous()), (vec![6, 5], true));
        assert_eq!((found[1].shape.clone(), found[1].is_contiguous()), (vec![3, 1, 4], true));
        let turned = placed(&[up], Some("other")).remove(0);
        assert_eq!((turned.shape.clone(), turned.is_contiguous()), (vec![5, 6], false));
        assert_eq!(turned.places().take(7).collect::<Vec<_>>(), [0, 6, 12, 18, 24, 1, 7]);
    }

    #[test]
    fn stacked_parameters_follow_each_other_as_in_the_table() {
        let of = |path| Axed { path, axes: vec![("h", 2), ("p", 3)] };
        let found = placed(&[of("layer.0.b"), of("layer.0.a")], None);
        assert_eq!((found[0].offset, found[1].offset), (6, 0));
        assert_eq!((found[0].shape.clone(), found[0].is_contiguous()), (vec![12], true));
        let found = placed(&[of("layer.0.b"), of("layer.0.a")], Some("other"));
        assert_eq!(found[0].places().collect::<Vec<_>>(), [3, 4, 5, 9, 10, 11]);
        assert_eq!(found[1].places().collect::<Vec<_>>(), [0, 1, 2, 6, 7, 8]);
        assert_eq!(found[0].shape, [12]);
    }

    #[test]
    fn misfits_are_named() {
        let table = NameTable::parse(TABLE);
        let error = |path, axes| table.placements(&[Axed { path, axes }], None).unwrap_err().to_string();
        assert!(error("layer.0.down", vec![]).contains("`layer.0.down`"));
        assert!(error("layer.0.up", vec![("d", 3)]).contains("part, e, d"));
    }
}
