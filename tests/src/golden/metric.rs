//! The distance between a result and the recorded one.

/// The largest absolute value; 0 for no values.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, x| x.abs().max(largest))
}

/// `max|x - reference| / max(absmax(reference), 1e-3 absmax of all tensors of the kind, 1e-30)`; infinite if one
/// of the numbers is not finite or a result is missing.
pub fn error(results: &[f64], reference: &[f64], largest_of_kind: f64) -> f64 {
    if results.len() != reference.len() || results.iter().chain(reference).any(|x| !x.is_finite()) {
        return f64::INFINITY;
    }
    let difference = results.iter().zip(reference).fold(0.0, |worst: f64, (a, b)| worst.max((a - b).abs()));
    difference / largest(reference).max(1e-3 * largest_of_kind).max(1e-30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_to_the_largest() {
        assert_eq!(error(&[1.0, 2.5], &[1.0, 2.0], 0.0), 0.25);
        assert_eq!(error(&[0.5], &[0.0], 1000.0), 0.5);
        assert_eq!(error(&[0.0], &[0.0], 0.0), 0.0);
        assert_eq!(error(&[f64::NAN], &[0.0], 1.0), f64::INFINITY);
        assert_eq!(error(&[0.0], &[f64::NAN], 1.0), f64::INFINITY);
        assert_eq!(error(&[], &[0.0], 1.0), f64::INFINITY);
    }
}
