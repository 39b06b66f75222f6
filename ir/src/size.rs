//! Sizes of axes: numbers, symbols that are known only when a kernel runs, and what can be made of them.
//!
//! Invariant: the constructors normalise, so that structural equality is equality of the expressions that the
//! compiler meets (products are flat, sorted and have one leading number; sums likewise).

use crate::Name;
use std::collections::BTreeSet;
use std::fmt;

/// The size of an axis. `Known` sizes are *static*; a size that mentions a symbol is *dynamic*.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Size {
    /// A number, known when compiled.
    Known(u64),
    /// A number that comes with the arguments.
    Symbol(Name),
    /// A product of at least two factors; at most one number, which stands first and is not 1.
    Product(Vec<Size>),
    /// A sum of at least two terms; at most one number, which stands last and is not 0.
    Sum(Vec<Size>),
    /// `a - b`, never negative.
    Minus(Box<(Size, Size)>),
    /// `ceil(a / b)`.
    CeilDiv(Box<(Size, Size)>),
    /// `ceil(sqrt(a))`.
    CeilSqrt(Box<Size>),
}

impl Size {
    /// The symbol `name`.
    pub fn symbol(name: &str) -> Size {
        Size::Symbol(Name::new(name))
    }

    /// The number, if it is known when compiled.
    pub fn known(&self) -> Option<u64> {
        match self {
            Size::Known(n) => Some(*n),
            Size::Symbol(_)
            | Size::Product(_)
            | Size::Sum(_)
            | Size::Minus(_)
            | Size::CeilDiv(_)
            | Size::CeilSqrt(_) => None,
        }
    }

    /// The product of `factors`.
    pub fn product(factors: impl IntoIterator<Item = Size>) -> Size {
        let (mut number, mut rest) = (1u64, Vec::new());
        let mut push = |f: Size| match f.known() {
            Some(n) => number = number.saturating_mul(n),
            None => rest.push(f),
        };
        for factor in factors {
            if let Size::Product(inner) = factor {
                inner.into_iter().for_each(&mut push)
            } else {
                push(factor)
            }
        }
        rest.sort();
        match (number, rest.len()) {
            (0, _) | (_, 0) => Size::Known(number),
            (1, 1) => rest.remove(0),
            (1, _) => Size::Product(rest),
            _ => Size::Product(std::iter::once(Size::Known(number)).chain(rest).collect()),
        }
    }

    /// The sum of `terms`.
    pub fn sum(terms: impl IntoIterator<Item = Size>) -> Size {
        let (mut number, mut rest) = (0u64, Vec::new());
        let mut push = |t: Size| match t.known() {
            Some(n) => number = number.saturating_add(n),
            None => rest.push(t),
        };
        for term in terms {
            if let Size::Sum(inner) = term { inner.into_iter().for_each(&mut push) } else { push(term) }
        }
        rest.sort();
        match (number, rest.len()) {
            (_, 0) => Size::Known(number),
            (0, 1) => rest.remove(0),
            (0, _) => Size::Sum(rest),
            _ => Size::Sum(rest.into_iter().chain(std::iter::once(Size::Known(number))).collect()),
        }
    }

    /// `self - other`; 0 where `other` is larger.
    pub fn minus(self, other: Size) -> Size {
        match (self, other) {
            (a, Size::Known(0)) => a,
            (Size::Known(a), Size::Known(b)) => Size::Known(a.saturating_sub(b)),
            (a, b) if a == b => Size::Known(0),
            (a, b) => Size::Minus(Box::new((a, b))),
        }
    }

    /// `ceil(self / divisor)`; the divisor counts as at least 1.
    pub fn ceil_div(self, divisor: Size) -> Size {
        match (self, divisor) {
            (a, Size::Known(0 | 1)) => a,
            (Size::Known(a), Size::Known(b)) => Size::Known(a.div_ceil(b)),
            (a, b) => Size::CeilDiv(Box::new((a, b))),
        }
    }

    /// `ceil(sqrt(self))`.
    pub fn ceil_sqrt(self) -> Size {
        match self.known() {
            Some(n) => Size::Known(ceil_sqrt(n)),
            None => Size::CeilSqrt(Box::new(self)),
        }
    }

    /// Its value, when `symbol` gives the symbols their values; `None` where one has none.
    pub fn evaluate(&self, symbol: &dyn Fn(Name) -> Option<u64>) -> Option<u64> {
        self.substitute(&|name| symbol(name).map(Size::Known)).known()
    }

    /// The size with symbols replaced; those that `replace` does not know stay.
    pub fn substitute(&self, replace: &dyn Fn(Name) -> Option<Size>) -> Size {
        match self {
            Size::Known(n) => Size::Known(*n),
            Size::Symbol(name) => replace(*name).unwrap_or_else(|| self.clone()),
            Size::Product(f) => Size::product(f.iter().map(|f| f.substitute(replace))),
            Size::Sum(t) => Size::sum(t.iter().map(|t| t.substitute(replace))),
            Size::Minus(p) => p.0.substitute(replace).minus(p.1.substitute(replace)),
            Size::CeilDiv(p) => p.0.substitute(replace).ceil_div(p.1.substitute(replace)),
            Size::CeilSqrt(a) => a.substitute(replace).ceil_sqrt(),
        }
    }

    /// The symbols in it.
    pub fn symbols(&self) -> BTreeSet<Name> {
        let mut found = BTreeSet::new();
        self.collect_symbols(&mut found);
        found
    }

    fn collect_symbols(&self, found: &mut BTreeSet<Name>) {
        match self {
            Size::Known(_) => {}
            Size::Symbol(name) => {
                found.insert(*name);
            }
            Size::Product(parts) | Size::Sum(parts) => parts.iter().for_each(|p| p.collect_symbols(found)),
            Size::Minus(p) | Size::CeilDiv(p) => {
                p.0.collect_symbols(found);
                p.1.collect_symbols(found);
            }
            Size::CeilSqrt(a) => a.collect_symbols(found),
        }
    }

    /// `self / divisor`, where that is exact as an expression; used to infer the missing axis of a split.
    pub fn exact_div(&self, divisor: &Size) -> Option<Size> {
        if self == divisor {
            return Some(Size::Known(1));
        }
        match (self, divisor) {
            (a, Size::Known(1)) => Some(a.clone()),
            (Size::Known(a), Size::Known(b)) if *b > 0 && a % b == 0 => Some(Size::Known(a / b)),
            (Size::Product(factors), d) => {
                let mut wanted = if let Size::Product(d) = d { d.clone() } else { vec![d.clone()] };
                let mut left = Vec::new();
                for f in factors {
                    if let Some(at) = wanted.iter().position(|w| w == f) {
                        wanted.remove(at);
                    } else if let (Size::Known(n), Some(at)) = (
                        f,
                        wanted.iter().position(
                            |w| matches!((w, f), (Size::Known(w), Size::Known(n)) if *w > 0 && n % w == 0),
                        ),
                    ) {
                        let w = wanted.remove(at).known()?;
                        left.push(Size::Known(n / w));
                    } else {
                        left.push(f.clone());
                    }
                }
                wanted.is_empty().then(|| Size::product(left))
            }
            _ => None,
        }
    }
}

/// The smallest number whose square is at least `n`.
fn ceil_sqrt(n: u64) -> u64 {
    let root = n.isqrt();
    root + u64::from(root * root < n)
}

impl From<u64> for Size {
    fn from(n: u64) -> Size {
        Size::Known(n)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, parts: &[Size], sign: &str| {
            for (i, part) in parts.iter().enumerate() {
                if i > 0 {
                    f.write_str(sign)?;
                }
                match part {
                    Size::Sum(_) | Size::Minus(_) => write!(f, "({part})")?,
                    Size::Known(_)
                    | Size::Symbol(_)
                    | Size::Product(_)
                    | Size::CeilDiv(_)
                    | Size::CeilSqrt(_) => write!(f, "{part}")?,
                }
            }
            Ok(())
        };
        match self {
            Size::Known(n) => write!(f, "{n}"),
            Size::Symbol(name) => write!(f, "{name}"),
            Size::Product(parts) => list(f, parts, "*"),
            Size::Sum(parts) => list(f, parts, " + "),
            Size::Minus(p) => list(f, &[p.0.clone(), p.1.clone()], " - "),
            Size::CeilDiv(p) => write!(f, "ceil_div({}, {})", p.0, p.1),
            Size::CeilSqrt(a) => write!(f, "ceil_sqrt({a})"),
        }
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constructors_normalise() {
        let s = Size::symbol("s");
        let b = Size::symbol("b");
        let two = Size::Known(2);
        assert_eq!(
            Size::product([s.clone(), two.clone(), b.clone()]),
            Size::product([Size::product([two.clone(), b.clone()]), s.clone()])
        );
        assert_eq!(Size::product([s.clone(), Size::Known(0)]), Size::Known(0));
        assert_eq!(Size::sum([Size::Known(0), s.clone()]), s);
        assert_eq!(
            Size::product([two, s.clone(), b.clone()]).exact_div(&s),
            Some(Size::product([Size::Known(2), b]))
        );
        assert_eq!(Size::Known(10).ceil_sqrt(), Size::Known(4));
    }

    #[test]
    fn evaluates_with_symbols() {
        let s = Size::symbol("s");
        let chunks = s.clone().ceil_div(s.clone().ceil_sqrt());
        assert_eq!(chunks.evaluate(&|_| Some(10)), Some(3));
        assert_eq!(chunks.evaluate(&|_| None), None);
        assert_eq!(chunks.to_string(), "ceil_div(s, ceil_sqrt(s))");
    }
}
