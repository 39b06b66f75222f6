//! Side conditions of rules: positive facts about what was matched.

use crate::analysis::{Fact, Terms};
use crate::growth::{Reach, Scale, exponential_overflows};
use crate::interval::Interval;
use crate::language::{Head, Leaf};
use carousel_ir::{Axis, Number, OpKind, Size};
use egg::{Id, Subst, Var};

/// A condition with its variables.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Condition {
    pub(crate) test: Test,
    pub(crate) variables: Vec<Var>,
}

macro_rules! tests {
    ($( $(#[doc = $doc:literal])+ $name:ident = $text:literal / $arity:literal; )+) => {
        /// What is tested.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Test { $( $(#[doc = $doc])+ $name, )+ }

        impl Test {
            /// All, with their names and arities.
            pub(crate) const ALL: &'static [(&'static str, Test, usize)] = &[$(($text, Test::$name, $arity)),+];
        }
    };
}

#[rustfmt::skip]
tests! {
    /// The value has none of the axes.
    Lacks = "lacks" / 2;
    /// The value lacks at least one of the axes.
    Misses = "misses" / 2;
    /// The two have an axis in common.
    Meets = "meets" / 2;
    /// Every axis of the second is one of the first.
    Covers = "covers" / 2;
    /// Every element is one known number.
    Const = "const" / 1;
    /// The dtype is a float.
    Float = "float" / 1;
    /// The value has that dtype.
    HasDType = "dtype" / 2;
    /// Above 0, over the reals.
    Positive = "positive" / 1;
    /// At least 0, over the reals.
    Nonnegative = "nonnegative" / 1;
    /// At most 0, over the reals.
    Nonpositive = "nonpositive" / 1;
    /// Never 0, over the reals.
    Nonzero = "nonzero" / 1;
    /// A constant float that is a power of two (or minus one), whose reciprocal is exact.
    PowerOfTwo = "power_of_two" / 1;
    /// The first is never below the second.
    AtLeast = "at_least" / 2;
    /// The first is always above the second, or not a number.
    Above = "above" / 2;
    /// Not known to be above 0.
    Signed = "signed" / 1;
    /// Every element is 0.
    Zero = "zero" / 1;
    /// Not known to be 0 in every element.
    NotZero = "not_zero" / 1;
    /// Not known to be 0 wherever it is defined; saves terms, nothing depends on it.
    Live = "live" / 1;
    /// Its exponential may overflow.
    Risky = "risky" / 1;
    /// Its exponential cannot overflow.
    Bounded = "bounded" / 1;
    /// It does not grow like an exponential of something unbounded.
    Unscaled = "unscaled" / 1;
    /// It depends on an input.
    Varies = "varies" / 1;
    /// It depends on nothing but constants and sizes.
    Static = "static" / 1;
    /// The scale of a state as a loop carries it, or that with gates: no maximum was taken yet.
    Raw = "raw" / 1;
    /// No such scale.
    Settled = "settled" / 1;
    /// It depends on the scale of a state.
    Carried = "carried" / 1;
    /// A factor of it is an exponential or a sigmoid that varies.
    Gated = "gated" / 1;
    /// It does not depend on the scale of a state.
    Free = "free" / 1;
    /// No factor of it is an exponential or a sigmoid that varies.
    Ungated = "ungated" / 1;
    /// The first is a scale of gates alone, the second one that is carried; the first has axes that the second lacks, and
    /// along them only the largest element need be kept.
    Wider = "wider" / 2;
    /// Neither of the two is wider than the other.
    Fits = "fits" / 2;
    /// Not both are exponentials, whose product may be out of a float's reach where a product with each in turn is not.
    Reachable = "reachable" / 2;
    /// The decays of a whole line add up to little enough that a weight may be made of a factor for each of its ends.
    Narrow = "narrow" / 2;
    /// The steps of the line are to be cut into chunks; saves terms, nothing depends on it.
    Long = "long" / 1;
    /// The two are not known to be equal; saves terms, nothing depends on it.
    Differs = "differs" / 2;
}

impl Test {
    /// Whether only stabilisation knows the answer.
    pub(crate) fn is_about_scales(self) -> bool {
        matches!(self, Test::Raw | Test::Settled | Test::Carried | Test::Wider | Test::Fits)
    }
}

impl Condition {
    /// Whether it holds.
    pub(crate) fn holds(&self, terms: &Terms, subst: &Subst) -> bool {
        let fact = |place: usize| -> &Fact { &terms[subst[self.variables[place]]].data };
        let axes = |place: usize| axes_of(fact(place)).unwrap_or_default();
        let range = fact(0).range;
        match self.test {
            Test::Lacks => axes(1).iter().all(|a| !axes(0).contains(a)),
            Test::Misses => axes(1).iter().any(|a| !axes(0).contains(a)),
            Test::Meets => axes(1).iter().any(|a| axes(0).contains(a)),
            Test::Covers => axes(1).iter().all(|a| axes(0).contains(a)),
            Test::Const => fact(0).constant.is_some(),
            Test::Float => fact(0).ty().is_some_and(|t| t.dtype.is_float()),
            Test::HasDType => fact(0).ty().is_some_and(|t| fact(1).leaf == Some(Leaf::DType(t.dtype))),
            Test::Positive => range.positive || range.low > 0.0,
            Test::Nonnegative => range.positive || range.low >= 0.0,
            Test::Nonpositive => range.high <= 0.0,
            Test::Nonzero => match fact(0).constant {
                Some(number) => number.get() != 0.0,
                None => range.nonzero(),
            },
            Test::PowerOfTwo => {
                fact(0).ty().is_some_and(|t| t.dtype.is_float())
                    && fact(0).constant.is_some_and(|c| is_power_of_two(c.get()))
            }
            Test::AtLeast => match (fact(0).constant, fact(1).constant) {
                (Some(a), Some(b)) => a.get() >= b.get(),
                _ => range.low >= fact(1).range.high,
            },
            Test::Above => range.low > fact(1).constant.map_or(fact(1).range.high, Number::get),
            Test::Signed => !range.positive && range.low <= 0.0,
            Test::Zero => fact(0).constant.is_some_and(|c| c.get() == 0.0),
            Test::NotZero => fact(0).constant.is_none_or(|c| c.get() != 0.0),
            Test::Live => range.low < 0.0 || range.high > 0.0,
            Test::Risky => exponential_overflows(range),
            Test::Bounded => !exponential_overflows(range),
            Test::Unscaled => fact(0).growth.size != Reach::Scaled,
            Test::Varies => fact(0).growth.varies,
            Test::Static => !fact(0).growth.varies,
            Test::Raw => fact(0).growth.scale == Scale::Raw,
            Test::Settled => fact(0).growth.scale != Scale::Raw,
            Test::Carried => fact(0).growth.scale != Scale::None,
            Test::Gated => fact(0).growth.gated,
            Test::Free => fact(0).growth.scale == Scale::None,
            Test::Ungated => !fact(0).growth.gated,
            Test::Wider => is_wider(terms, fact(0), fact(1)),
            Test::Fits => !is_wider(terms, fact(0), fact(1)) && !is_wider(terms, fact(1), fact(0)),
            Test::Reachable => !(0..2).all(|place| is_exponential(terms, subst[self.variables[place]])),
            Test::Narrow => is_narrow(terms, fact(0), fact(1)),
            Test::Long => fact(0).leaf.as_ref().is_some_and(|leaf| terms.analysis.is_long(leaf)),
            Test::Differs => terms.find(subst[self.variables[0]]) != terms.find(subst[self.variables[1]]),
        }
    }
}

/// Whether one scale is carried and the other has more axes, which it need not have.
fn is_wider(terms: &Terms, wide: &Fact, carried: &Fact) -> bool {
    let is_carried = |fact: &Fact| fact.growth.scale != Scale::None;
    let (axes, known) = (axes_of(wide).unwrap_or_default(), axes_of(carried).unwrap_or_default());
    let is_spare = |axis: &Axis| !known.contains(axis) && !terms.analysis.fine.contains(*axis);
    is_carried(carried) && !is_carried(wide) && axes.iter().any(is_spare)
}

/// How much a line's decays may add up to where a weight is made of one factor for each of its ends: each of these
/// is at most e to half of it, and as good as the sum itself, which is off by one unit in 2^24 of it.
const NARROW: f64 = 16.0;

fn is_narrow(terms: &Terms, line: &Fact, decays: &Fact) -> bool {
    let Some(Leaf::Line(line)) = &line.leaf else { return false };
    let steps = terms.analysis.axes.get(line.axis).and_then(Size::known);
    let Interval { low, high, .. } = decays.range;
    steps.is_some_and(|steps| high <= 0.0 && -low * steps as f64 <= NARROW)
}

fn is_exponential(terms: &Terms, class: Id) -> bool {
    terms[class].nodes.iter().any(|term| term.head == Head::Op(OpKind::Exp))
}

/// The axes of a value, or those that an attribute names.
pub(crate) fn axes_of(fact: &Fact) -> Option<Vec<Axis>> {
    match &fact.leaf {
        Some(leaf) => leaf.axes(),
        None => fact.ty().map(|t| t.axes.iter().collect()),
    }
}

/// Whether dividing by `x` is multiplying by `1/x`, exactly: far from the ends of the exponents of f32 and bf16.
fn is_power_of_two(x: f64) -> bool {
    x.is_normal() && x.to_bits() & ((1 << 52) - 1) == 0 && (2f64.powi(-60)..=2f64.powi(60)).contains(&x.abs())
}
