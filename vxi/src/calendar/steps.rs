//! A step function over time.
//!
//! A sorted list of the instants at which the value changes. It is canonical (no step without a change), so that two
//! functions are equal when their lists are. Lists are short (a lease adds two steps), so that walking them is cheaper
//! than any tree; all arithmetic is checked, since a capacity that wraps around would be given away twice.

use serde::{Deserialize, Serialize};

use super::Window;
use crate::model::Timestamp;

/// An amount at every instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Steps {
    /// From the beginning of time to the first change.
    first: u64,
    /// Each change and the value from then on; ascending.
    changes: Vec<(i64, u64)>,
}

/// As a state file has it.
#[derive(Serialize, Deserialize)]
struct Written {
    first: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<(i64, u64)>,
}

/// An amount that would be below zero or beyond 64 bits somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{now} at {at}: cannot be changed by {by}, the result is out of range")]
pub struct OutOfRange {
    /// The first instant where it would be.
    pub at: Timestamp,
    /// What is there.
    pub now: u64,
    /// What should have been added or taken away.
    pub by: u64,
}

impl Steps {
    /// The same at all times.
    pub const fn constant(amount: u64) -> Self {
        Self { first: amount, changes: Vec::new() }
    }

    /// So much during a window and nothing else.
    pub fn during(window: Window, amount: u64) -> Self {
        let mut steps = Self::default();
        steps.set(window, amount);
        steps
    }

    /// The value at an instant.
    pub fn at(&self, at: Timestamp) -> u64 {
        match self.changes.partition_point(|&(from, _)| from <= at.0) {
            0 => self.first,
            n => self.changes[n - 1].1,
        }
    }

    /// Whether it is nothing at all times.
    pub fn is_zero(&self) -> bool {
        self.first == 0 && self.changes.is_empty()
    }

    /// The stretches of constant value, from the beginning of time on.
    pub fn pieces(&self) -> impl Iterator<Item = (Window, u64)> {
        let starts = std::iter::once((i64::MIN, self.first)).chain(self.changes.iter().copied());
        let ends = self.changes.iter().map(|&(at, _)| Some(Timestamp(at))).chain([None]);
        starts.zip(ends).filter_map(|((from, value), until)| Some((Window::new(Timestamp(from), until)?, value)))
    }

    /// The instants at which it changes.
    pub fn changes(&self) -> impl Iterator<Item = Timestamp> {
        self.changes.iter().map(|&(at, _)| Timestamp(at))
    }

    /// The least value during a window.
    pub fn least(&self, window: Window) -> u64 {
        self.values(window).min().unwrap_or_default()
    }

    /// The largest value during a window.
    pub fn most(&self, window: Window) -> u64 {
        self.values(window).max().unwrap_or_default()
    }

    fn values(&self, window: Window) -> impl Iterator<Item = u64> {
        let begins = self.changes.partition_point(|&(at, _)| at <= window.from.0);
        let ends =
            window.until.map_or(self.changes.len(), |until| self.changes.partition_point(|&(at, _)| at < until.0));
        let later = self.changes[begins..ends.max(begins)].iter().map(|&(_, value)| value);
        std::iter::once(self.at(window.from)).chain(later)
    }

    /// So much during the window, whatever was there before.
    pub fn set(&mut self, window: Window, amount: u64) {
        let mask = |inside: u64, was: u64| if inside == 1 { amount } else { was };
        *self = indicator(window).combine(self, mask);
    }

    /// So much more during the window.
    ///
    /// # Errors
    /// It would overflow; nothing is changed.
    pub fn add(&mut self, window: Window, amount: u64) -> Result<(), OutOfRange> {
        self.shift(window, amount, u64::checked_add)
    }

    /// So much less during the window.
    ///
    /// # Errors
    /// It would be less than nothing; nothing is changed.
    pub fn take(&mut self, window: Window, amount: u64) -> Result<(), OutOfRange> {
        self.shift(window, amount, u64::checked_sub)
    }

    fn shift(&mut self, window: Window, by: u64, change: impl Fn(u64, u64) -> Option<u64>) -> Result<(), OutOfRange> {
        if by == 0 {
            return Ok(());
        }
        let inside = self.pieces().filter_map(|(piece, now)| Some((piece.overlap(window)?, now)));
        for (piece, now) in inside {
            if change(now, by).is_none() {
                return Err(OutOfRange { at: piece.from, now, by });
            }
        }
        let mask = |inside: u64, was: u64| if inside == 1 { change(was, by).unwrap_or(was) } else { was };
        *self = indicator(window).combine(self, mask);
        Ok(())
    }

    /// The function of two values at every instant.
    #[must_use]
    pub fn combine(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        let mut result = Self::constant(of(self.first, other.first));
        let (mut a, mut b) = (0, 0);
        let (mut now_a, mut now_b) = (self.first, other.first);
        while a < self.changes.len() || b < other.changes.len() {
            let at = match (self.changes.get(a), other.changes.get(b)) {
                (Some(&(at_a, _)), Some(&(at_b, _))) => at_a.min(at_b),
                (Some(&(at, _)), None) | (None, Some(&(at, _))) => at,
                (None, None) => break,
            };
            if let Some(&(_, value)) = self.changes.get(a).filter(|change| change.0 == at) {
                now_a = value;
                a += 1;
            }
            if let Some(&(_, value)) = other.changes.get(b).filter(|change| change.0 == at) {
                now_b = value;
                b += 1;
            }
            result.push(at, of(now_a, now_b));
        }
        result
    }

    /// The function of the value at every instant.
    #[must_use]
    pub fn map(&self, of: impl Fn(u64) -> u64) -> Self {
        self.combine(&Self::default(), |value, _| of(value))
    }

    /// Appends a change, if it is one. `at` is later than all before.
    fn push(&mut self, at: i64, value: u64) {
        let before = self.changes.last().map_or(self.first, |&(_, value)| value);
        if at == i64::MIN {
            self.first = value;
        } else if before != value {
            self.changes.push((at, value));
        }
    }
}

/// One in the window, nothing outside.
fn indicator(window: Window) -> Steps {
    let mut steps = Steps::default();
    steps.push(window.from.0, 1);
    if let Some(until) = window.until {
        steps.push(until.0, 0);
    }
    steps
}

impl TryFrom<Written> for Steps {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let mut steps = Self::constant(written.first);
        let mut last = i64::MIN;
        for (at, value) in written.changes {
            if at <= last {
                return Err("the changes of a step function are not in order");
            }
            last = at;
            steps.push(at, value);
        }
        Ok(steps)
    }
}

impl From<Steps> for Written {
    fn from(steps: Steps) -> Self {
        Self { first: steps.first, changes: steps.changes }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The oracle: an amount for each instant from 0 to 31, and one before and one after them.
    #[derive(Clone, Debug, PartialEq)]
    struct Table([u64; 34]);

    impl Table {
        fn instants() -> impl Iterator<Item = (usize, i64)> {
            (0..34).map(|n| (n, n as i64 - 1))
        }

        fn of(steps: &Steps) -> Self {
            Self(std::array::from_fn(|n| steps.at(Timestamp(n as i64 - 1))))
        }

        fn inside(window: Window) -> Vec<usize> {
            Self::instants().filter(|&(_, t)| window.contains(Timestamp(t))).map(|(n, _)| n).collect()
        }
    }

    #[derive(Clone, Debug)]
    enum Deed {
        Add(Window, u64),
        Take(Window, u64),
        Set(Window, u64),
    }

    fn windows() -> impl Strategy<Value = Window> {
        let bounded = (0..32_i64, 1..32_i64)
            .prop_map(|(from, long)| Window::new(Timestamp(from), Some(Timestamp((from + long).min(32)))));
        let open = (0..32_i64).prop_map(|from| Some(Window::since(Timestamp(from))));
        let early = (0..32_i64).prop_map(|until| Window::new(Timestamp(i64::MIN), Some(Timestamp(until))));
        prop_oneof![6 => bounded, 2 => open, 1 => early, 1 => Just(Some(Window::ALWAYS))]
            .prop_filter_map("it has a length", |window| window)
    }

    fn deeds() -> impl Strategy<Value = Deed> {
        let amounts = prop_oneof![8 => 0..50_u64, 1 => Just(u64::MAX), 1 => u64::MAX - 60..u64::MAX];
        (0..3, windows(), amounts).prop_map(|(kind, window, amount)| match kind {
            0 => Deed::Add(window, amount),
            1 => Deed::Take(window, amount),
            _ => Deed::Set(window, amount),
        })
    }

    proptest! {
        #[test]
        fn arithmetic_agrees_with_a_table(deeds in prop::collection::vec(deeds(), 0..20), asked in windows()) {
            let (mut steps, mut table) = (Steps::default(), Table([0; 34]));
            for deed in deeds {
                let before = steps.clone();
                let (window, done, expected): (_, _, Vec<Option<u64>>) = match deed {
                    Deed::Add(window, by) => {
                        let expected = Table::inside(window).iter().map(|&n| table.0[n].checked_add(by)).collect();
                        (window, steps.add(window, by), expected)
                    }
                    Deed::Take(window, by) => {
                        let expected = Table::inside(window).iter().map(|&n| table.0[n].checked_sub(by)).collect();
                        (window, steps.take(window, by), expected)
                    }
                    Deed::Set(window, to) => {
                        steps.set(window, to);
                        (window, Ok(()), Table::inside(window).iter().map(|_| Some(to)).collect())
                    }
                };
                if expected.iter().all(Option::is_some) {
                    prop_assert_eq!(done, Ok(()));
                    for (n, value) in Table::inside(window).into_iter().zip(expected) {
                        table.0[n] = value.expect("all are");
                    }
                } else {
                    prop_assert!(done.is_err());
                    prop_assert_eq!(&steps, &before, "a refused change changes nothing");
                }
                prop_assert_eq!(&Table::of(&steps), &table);
            }
            let inside: Vec<u64> = Table::inside(asked).into_iter().map(|n| table.0[n]).collect();
            prop_assert_eq!(Some(steps.least(asked)), inside.iter().min().copied());
            prop_assert_eq!(Some(steps.most(asked)), inside.iter().max().copied());
            // Canonical: no change that changes nothing.
            let values: Vec<u64> = steps.pieces().map(|(_, value)| value).collect();
            prop_assert!(values.windows(2).all(|two| two[0] != two[1]), "{:?}", steps);
            let text = serde_json::to_string(&steps).expect("it is written");
            prop_assert_eq!(serde_json::from_str::<Steps>(&text).expect("and read"), steps);
        }

        #[test]
        fn windows_agree_with_sets_of_instants(a in windows(), b in windows()) {
            let (inside_a, inside_b) = (Table::inside(a), Table::inside(b));
            let both: Vec<usize> = inside_a.iter().copied().filter(|n| inside_b.contains(n)).collect();
            prop_assert_eq!(a.overlap(b).map(Table::inside).unwrap_or_default(), both);
            if a.covers(b) {
                prop_assert!(inside_b.iter().all(|n| inside_a.contains(n)));
            }
        }
    }

    #[test]
    fn one_lease_may_begin_when_another_ends() {
        let mut free = Steps::constant(10);
        let span = |from, until| Window::new(Timestamp(from), Some(Timestamp(until))).expect("it has a length");
        free.take(span(0, 5), 10).expect("all of it");
        free.take(span(5, 9), 10).expect("all of it, later");
        assert_eq!(free.take(span(8, 12), 1), Err(OutOfRange { at: Timestamp(8), now: 0, by: 1 }));
        assert_eq!(free.pieces().count(), 3);
    }

    #[test]
    fn a_file_cannot_bring_disorder_in() {
        assert!(serde_json::from_str::<Steps>(r#"{"first":1,"changes":[[5,2],[5,3]]}"#).is_err());
        assert!(serde_json::from_str::<Steps>(r#"{"first":1,"changes":[[5,-2]]}"#).is_err());
        assert!(serde_json::from_str::<Window>(r#"{"from":5,"until":5}"#).is_err());
    }
}
