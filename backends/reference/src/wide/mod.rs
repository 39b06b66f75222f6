//! Numbers of 256 bits: the oracle for rewrite rules, where f64 would raise false alarms.
//!
//! Invariant: a finite non-zero number is `digits / 2^256 * 2^exponent` with the highest bit of the digits set. Results
//! are cut off, not rounded: sums, products, quotients and roots are right to the last few bits, functions to at least
//! 200 of them. The exponent has 64 bits; beyond that there are infinity and zero. Slow, and not meant for programs.

mod functions;

use std::cmp::Ordering;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// 64-bit digits of a number, the least significant first.
const LIMBS: usize = 4;

/// Binary digits of a number.
const BITS: i64 = 64 * LIMBS as i64;

/// A number of 256 bits and practically unlimited range.
#[derive(Clone, Copy, Debug)]
pub struct Wide {
    kind: Kind,
    negative: bool,
    exponent: i64,
    digits: [u64; LIMBS],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Zero,
    Finite,
    Infinite,
    Nan,
}

impl Wide {
    const ZERO: Wide = Wide { kind: Kind::Zero, negative: false, exponent: 0, digits: [0; LIMBS] };
    const INFINITY: Wide = Wide { kind: Kind::Infinite, ..Wide::ZERO };
    const NAN: Wide = Wide { kind: Kind::Nan, ..Wide::ZERO };

    /// From digits that need not be normalised: the integer `digits` times `2^exponent`.
    fn normalised<const N: usize>(negative: bool, digits: [u64; N], exponent: i64) -> Wide {
        let Some(top) = digits.iter().rposition(|d| *d != 0) else { return Wide { negative, ..Wide::ZERO } };
        let shift = digits[top].leading_zeros();
        let limb = |place: usize| -> u64 {
            // The digits that end up `place` limbs below the top.
            let at = |below: usize| top.checked_sub(below).map_or(0, |i| digits[i]);
            if shift == 0 { at(place) } else { at(place) << shift | at(place + 1) >> (64 - shift) }
        };
        let mut kept = [0; LIMBS];
        (0..LIMBS).for_each(|place| kept[LIMBS - 1 - place] = limb(place));
        let length = 64 * (top as i64 + 1) - i64::from(shift);
        match exponent.checked_add(length) {
            Some(exponent) => Wide { kind: Kind::Finite, negative, exponent, digits: kept },
            None if exponent > 0 => Wide { negative, ..Wide::INFINITY },
            None => Wide { negative, ..Wide::ZERO },
        }
    }

    fn from_integer(n: i64) -> Wide {
        Wide::normalised(n < 0, [n.unsigned_abs()], 0)
    }

    /// `self * 2^n`.
    fn scaled(self, n: i64) -> Wide {
        if self.kind != Kind::Finite {
            return self;
        }
        match self.exponent.checked_add(n) {
            Some(exponent) => Wide { exponent, ..self },
            None if n > 0 => Wide { negative: self.negative, ..Wide::INFINITY },
            None => Wide { negative: self.negative, ..Wide::ZERO },
        }
    }

    /// Divided by a small integer.
    fn over(self, n: u64) -> Wide {
        if self.kind != Kind::Finite {
            return self;
        }
        let mut rest = 0u128;
        let mut quotient = [0u64; LIMBS + 1];
        for place in (0..LIMBS + 1).rev() {
            let digit = if place > 0 { self.digits[place - 1] } else { 0 };
            let whole = rest << 64 | u128::from(digit);
            quotient[place] = (whole / u128::from(n)) as u64;
            rest = whole % u128::from(n);
        }
        Wide::normalised(self.negative, quotient, self.exponent - BITS - 64)
    }

    /// Order of the sizes of two finite numbers.
    fn magnitude_cmp(self, other: Wide) -> Ordering {
        match (self.kind, other.kind) {
            (Kind::Finite, Kind::Finite) => {
                let digits = || self.digits.iter().rev().cmp(other.digits.iter().rev());
                self.exponent.cmp(&other.exponent).then_with(digits)
            }
            (a, b) => {
                let rank = |kind: Kind| match kind {
                    Kind::Zero => 0,
                    Kind::Finite => 1,
                    Kind::Infinite | Kind::Nan => 2,
                };
                rank(a).cmp(&rank(b))
            }
        }
    }

    fn is_small(self, bits: i64) -> bool {
        self.kind == Kind::Zero || (self.kind == Kind::Finite && self.exponent < -bits)
    }
}

/// The digits of the smaller of two numbers moved to the exponent of the larger, each with one more limb.
fn aligned(large: Wide, small: Wide) -> ([u64; LIMBS + 1], [u64; LIMBS + 1]) {
    let widened = |w: Wide| {
        let mut digits = [0; LIMBS + 1];
        digits[1..].copy_from_slice(&w.digits);
        digits
    };
    let (wide, distance) = (widened(small), large.exponent.saturating_sub(small.exponent));
    let mut moved = [0; LIMBS + 1];
    if distance < BITS + 64 {
        let (limbs, bits) = ((distance / 64) as usize, (distance % 64) as u32);
        for (place, digit) in moved.iter_mut().enumerate() {
            let at = |i: usize| wide.get(i).copied().unwrap_or(0);
            let (low, high) = (at(place + limbs), at(place + limbs + 1));
            *digit = if bits == 0 { low } else { low >> bits | high << (64 - bits) };
        }
    }
    (widened(large), moved)
}

impl Add for Wide {
    type Output = Wide;

    fn add(self, other: Wide) -> Wide {
        match (self.kind, other.kind) {
            (Kind::Nan, _) | (_, Kind::Nan) => Wide::NAN,
            (Kind::Infinite, Kind::Infinite) if self.negative != other.negative => Wide::NAN,
            (Kind::Infinite, _) | (_, Kind::Zero) => self,
            (_, Kind::Infinite) | (Kind::Zero, _) => other,
            (Kind::Finite, Kind::Finite) => {
                let is_larger = self.magnitude_cmp(other).is_ge();
                let (large, small) = if is_larger { (self, other) } else { (other, self) };
                let (a, b) = aligned(large, small);
                let mut sum = [0u64; LIMBS + 2];
                let mut carry = false;
                for place in 0..LIMBS + 1 {
                    let (part, first, second);
                    if large.negative == small.negative {
                        (part, first) = a[place].overflowing_add(b[place]);
                        (sum[place], second) = part.overflowing_add(u64::from(carry));
                    } else {
                        (part, first) = a[place].overflowing_sub(b[place]);
                        (sum[place], second) = part.overflowing_sub(u64::from(carry));
                    }
                    carry = first || second;
                }
                // A difference never borrows: the larger one is taken from.
                sum[LIMBS + 1] = u64::from(carry);
                let result = Wide::normalised(large.negative, sum, large.exponent.saturating_sub(BITS + 64));
                if result.kind == Kind::Zero { Wide::ZERO } else { result }
            }
        }
    }
}

impl Neg for Wide {
    type Output = Wide;

    fn neg(self) -> Wide {
        Wide { negative: !self.negative, ..self }
    }
}

impl Sub for Wide {
    type Output = Wide;

    fn sub(self, other: Wide) -> Wide {
        self + -other
    }
}

impl Mul for Wide {
    type Output = Wide;

    fn mul(self, other: Wide) -> Wide {
        let negative = self.negative != other.negative;
        match (self.kind, other.kind) {
            (Kind::Nan, _) | (_, Kind::Nan) => Wide::NAN,
            (Kind::Infinite, Kind::Zero) | (Kind::Zero, Kind::Infinite) => Wide::NAN,
            (Kind::Infinite, _) | (_, Kind::Infinite) => Wide { negative, ..Wide::INFINITY },
            (Kind::Zero, _) | (_, Kind::Zero) => Wide { negative, ..Wide::ZERO },
            (Kind::Finite, Kind::Finite) => {
                let mut product = [0u64; 2 * LIMBS];
                for (i, a) in self.digits.iter().enumerate() {
                    let mut carry = 0u128;
                    for (j, b) in other.digits.iter().enumerate() {
                        let sum = u128::from(*a) * u128::from(*b) + u128::from(product[i + j]) + carry;
                        product[i + j] = sum as u64;
                        carry = sum >> 64;
                    }
                    product[i + LIMBS] = carry as u64;
                }
                match self.exponent.checked_add(other.exponent) {
                    Some(exponent) => Wide::normalised(negative, product, exponent.saturating_sub(2 * BITS)),
                    None if self.exponent > 0 => Wide { negative, ..Wide::INFINITY },
                    None => Wide { negative, ..Wide::ZERO },
                }
            }
        }
    }
}

impl Div for Wide {
    type Output = Wide;

    fn div(self, other: Wide) -> Wide {
        let negative = self.negative != other.negative;
        match (self.kind, other.kind) {
            (Kind::Nan, _) | (_, Kind::Nan) => Wide::NAN,
            (Kind::Infinite, Kind::Infinite) | (Kind::Zero, Kind::Zero) => Wide::NAN,
            (Kind::Infinite, _) | (_, Kind::Zero) => Wide { negative, ..Wide::INFINITY },
            (_, Kind::Infinite) | (Kind::Zero, _) => Wide { negative, ..Wide::ZERO },
            (Kind::Finite, Kind::Finite) => {
                let digits = quotient(self.digits, other.digits);
                match self.exponent.checked_sub(other.exponent) {
                    Some(exponent) => Wide::normalised(negative, digits, exponent.saturating_sub(BITS)),
                    None if self.exponent > 0 => Wide { negative, ..Wide::INFINITY },
                    None => Wide { negative, ..Wide::ZERO },
                }
            }
        }
    }
}

/// `a / b * 2^256` as an integer, bit by bit.
fn quotient(a: [u64; LIMBS], b: [u64; LIMBS]) -> [u64; LIMBS + 1] {
    let is_at_least = |a: &[u64; LIMBS]| a.iter().rev().cmp(b.iter().rev()).is_ge();
    let subtract = |a: &mut [u64; LIMBS]| {
        let mut borrow = false;
        for (x, y) in a.iter_mut().zip(&b) {
            let (part, first) = x.overflowing_sub(*y);
            let (part, second) = part.overflowing_sub(u64::from(borrow));
            (*x, borrow) = (part, first || second);
        }
    };
    let mut rest = a;
    let mut result = [0u64; LIMBS + 1];
    // Both have their highest bit set: the quotient's whole part is 0 or 1.
    if is_at_least(&rest) {
        subtract(&mut rest);
        result[LIMBS] = 1;
    }
    for bit in (0..BITS).rev() {
        let is_over = rest[LIMBS - 1] >> 63 == 1;
        for place in (0..LIMBS).rev() {
            let below = if place > 0 { rest[place - 1] >> 63 } else { 0 };
            rest[place] = rest[place] << 1 | below;
        }
        if is_over || is_at_least(&rest) {
            subtract(&mut rest);
            result[(bit / 64) as usize] |= 1 << (bit % 64);
        }
    }
    result
}

impl PartialEq for Wide {
    fn eq(&self, other: &Wide) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Wide {
    fn partial_cmp(&self, other: &Wide) -> Option<Ordering> {
        if self.kind == Kind::Nan || other.kind == Kind::Nan {
            return None;
        }
        let sign = |w: &Wide| match (w.kind, w.negative) {
            (Kind::Zero, _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        };
        let sizes = || match sign(self) {
            1 => self.magnitude_cmp(*other),
            -1 => other.magnitude_cmp(*self),
            _ => Ordering::Equal,
        };
        Some(sign(self).cmp(&sign(other)).then_with(sizes))
    }
}

#[cfg(test)]
mod tests;
