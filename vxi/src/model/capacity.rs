//! Capacities: what is asked for, or what is free, as a step function over the periods of a timeline.
//!
//! A value without an event holds throughout. A value with an event holds in the period that the event opens, up to the
//! next event of the timeline, and takes the place of the value without. So a link that has a value for event `I` alone
//! is there in period I and at no other time (Fig. 4 of the paper), and a substrate link that has 1 Gbps, and 0 for
//! event `repair`, is itself again after the period of the repair.

use super::at::{At, Name};
use super::quantity::Quantity;

/// A quantity over the periods of the timeline. Empty: nothing is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity<Q> {
    /// Its values, at most one for each event and one without.
    pub steps: Vec<Step<Q>>,
}

/// The value of a capacity in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<Q> {
    /// The event that opens the period; none: every period that has no value of its own.
    pub event: Option<Name>,
    /// The value.
    pub amount: Amount<Q>,
    /// Where it was written.
    pub at: At,
}

/// One value: what is asked for may leave a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amount<Q> {
    /// `simple`: this much.
    Exactly(Q),
    /// `interval`: at least one bound is given, and they are inclusive.
    Range {
        /// Not less than this.
        min: Option<Q>,
        /// Not more than this.
        max: Option<Q>,
    },
    /// `set`: one of these. Never empty.
    OneOf(Vec<Q>),
    /// `scale`: from `min` to `max` in steps.
    Scale {
        /// The least.
        min: Q,
        /// The most.
        max: Q,
        /// Above zero.
        step: Q,
    },
}

impl<Q> Default for Capacity<Q> {
    fn default() -> Self {
        Self { steps: Vec::new() }
    }
}

impl<Q: Quantity> Capacity<Q> {
    /// The same throughout.
    pub fn constant(amount: Amount<Q>) -> Self {
        Self { steps: vec![Step { event: None, amount, at: At::NOWHERE }] }
    }

    /// Exactly so much throughout.
    pub fn exactly(q: Q) -> Self {
        Self::constant(Amount::Exactly(q))
    }

    /// Nothing is said about it.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The value in the period that `event` opens; with none, in a period before the first event.
    pub fn in_period(&self, event: Option<&str>) -> Option<&Amount<Q>> {
        let of = |wanted: Option<&str>| self.steps.iter().find(|step| step.event.as_deref() == wanted);
        of(event).or_else(|| of(None)).map(|step| &step.amount)
    }

    /// The largest of the least amounts of all periods: what must be there to satisfy every one of them.
    pub fn peak(&self) -> Option<Q> {
        self.steps.iter().map(|step| step.amount.least()).max()
    }

    /// The first value's place, or nowhere.
    pub fn at(&self) -> At {
        self.steps.first().map_or(At::NOWHERE, |step| step.at)
    }
}

impl<Q: Quantity> Amount<Q> {
    /// At least so much.
    pub const fn at_least(q: Q) -> Self {
        Self::Range { min: Some(q), max: None }
    }

    /// At most so much.
    pub const fn at_most(q: Q) -> Self {
        Self::Range { min: None, max: Some(q) }
    }

    /// The least that satisfies it; zero where it has no lower bound.
    pub fn least(&self) -> Q {
        match self {
            Self::Exactly(q) => *q,
            Self::Range { min, .. } => min.unwrap_or_else(|| Q::of(0)),
            Self::OneOf(all) => all.iter().copied().min().unwrap_or_else(|| Q::of(0)),
            Self::Scale { min, .. } => *min,
        }
    }

    /// The most that satisfies it (for a latency: its bound); none where it has no upper bound.
    pub fn most(&self) -> Option<Q> {
        match self {
            Self::Exactly(q) => Some(*q),
            Self::Range { max, .. } => *max,
            Self::OneOf(all) => all.iter().copied().max(),
            Self::Scale { min, max, step } => {
                let steps = (max.base() - min.base().min(max.base())).checked_div(step.base()).unwrap_or(0);
                Some(Q::of(min.base() + steps * step.base()))
            }
        }
    }

    /// Whether `q` satisfies it.
    pub fn accepts(&self, q: Q) -> bool {
        match self {
            Self::Exactly(wanted) => q == *wanted,
            Self::Range { min, max } => min.is_none_or(|min| q >= min) && max.is_none_or(|max| q <= max),
            Self::OneOf(all) => all.contains(&q),
            Self::Scale { min, max, step } => {
                q >= *min && q <= *max && (q.base() - min.base()).checked_rem(step.base()) == Some(0)
            }
        }
    }

    /// Every quantity in it, in the order in which it is written.
    pub fn quantities(&self) -> Vec<Q> {
        match self {
            Self::Exactly(q) => vec![*q],
            Self::Range { min, max } => min.iter().chain(max).copied().collect(),
            Self::OneOf(all) => all.clone(),
            Self::Scale { min, max, step } => vec![*min, *max, *step],
        }
    }

    /// The same with every quantity changed.
    #[must_use]
    pub fn map(&self, change: impl Fn(Q) -> Q) -> Self {
        match self {
            Self::Exactly(q) => Self::Exactly(change(*q)),
            Self::Range { min, max } => Self::Range { min: min.map(&change), max: max.map(&change) },
            Self::OneOf(all) => Self::OneOf(all.iter().copied().map(change).collect()),
            Self::Scale { min, max, step } => {
                Self::Scale { min: change(*min), max: change(*max), step: Q::of(change(*step).base().max(1)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::quantity::BitsPerSecond;
    use super::*;

    fn mbps(n: u64) -> BitsPerSecond {
        BitsPerSecond::from_mbps(n)
    }

    #[test]
    fn a_value_with_an_event_holds_in_its_period_and_takes_the_place_of_the_one_without() {
        let step = |event: Option<&str>, n| Step {
            event: event.map(Name::from),
            amount: Amount::Exactly(mbps(n)),
            at: At::NOWHERE,
        };
        let repaired = Capacity { steps: vec![step(None, 1000), step(Some("repair"), 0)] };
        assert_eq!(repaired.in_period(None), Some(&Amount::Exactly(mbps(1000))));
        assert_eq!(repaired.in_period(Some("repair")), Some(&Amount::Exactly(mbps(0))));
        assert_eq!(repaired.in_period(Some("later")), Some(&Amount::Exactly(mbps(1000))));
        let lent = Capacity { steps: vec![step(Some("I"), 900)] };
        assert_eq!(lent.in_period(Some("II")), None);
        assert_eq!(lent.peak(), Some(mbps(900)));
    }

    #[test]
    fn amounts_bound_and_accept() {
        let scale = Amount::Scale { min: mbps(10), max: mbps(35), step: mbps(10) };
        assert_eq!((scale.least(), scale.most()), (mbps(10), Some(mbps(30))));
        assert!(scale.accepts(mbps(20)) && !scale.accepts(mbps(25)) && !scale.accepts(mbps(40)));
        let latency = Amount::at_most(mbps(5));
        assert_eq!((latency.least(), latency.most()), (mbps(0), Some(mbps(5))));
        let one = Amount::OneOf(vec![mbps(4), mbps(2)]);
        assert_eq!((one.least(), one.most(), one.accepts(mbps(3))), (mbps(2), Some(mbps(4)), false));
    }
}
