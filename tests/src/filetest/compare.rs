//! Whether numbers agree.

/// Whether `found` is `wanted` to within `tolerance`, relative where `wanted` is large. NaN agrees with NaN, and an
/// infinity with itself.
pub(super) fn agree(found: f64, wanted: f64, tolerance: f64) -> bool {
    // From a finite number to an infinite one it is not near, though the tolerance would be infinite too.
    let near = wanted.is_finite() && (found - wanted).abs() <= tolerance * (1.0 + wanted.abs());
    (found.is_nan() && wanted.is_nan()) || found == wanted || near
}

/// The first place where two lists do not agree.
pub(super) fn difference(found: &[f64], wanted: &[f64], tolerance: f64) -> Option<String> {
    if found.len() != wanted.len() {
        return Some(format!("{} elements instead of {}", found.len(), wanted.len()));
    }
    let place = found.iter().zip(wanted).position(|(f, w)| !agree(*f, *w, tolerance))?;
    Some(format!("element {place} is {:?}, not {:?}; all: {found:?}", found[place], wanted[place]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_numbers_apart() {
        assert!(agree(1.0 + 1e-9, 1.0, 1e-8) && !agree(1.0 + 1e-6, 1.0, 1e-8));
        assert!(agree(f64::NAN, f64::NAN, 0.0) && !agree(f64::NAN, 0.0, 1.0) && !agree(0.0, f64::NAN, 1.0));
        assert!(agree(f64::INFINITY, f64::INFINITY, 0.0) && !agree(f64::INFINITY, f64::NEG_INFINITY, 1.0));
        assert!(!agree(1.0, f64::INFINITY, 1e-3), "an infinite tolerance would let everything pass");
    }
}
