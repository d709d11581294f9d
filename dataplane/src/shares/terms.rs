//! What a guest is entitled to, and how that is written: in the configuration and after `pointsman set guest`.

use std::fmt;

use crate::link_rate::{LineRate, LineRateError};

/// A guest's part of what is contended, relative to the others': 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// What a guest has that says nothing.
    pub const ONE: Self = Self(1);
    /// The highest: turns grow with it, and everybody else waits for a turn to end.
    pub const MAX: u16 = 100;

    /// A weight, if it is one.
    pub const fn new(times: u16) -> Option<Self> {
        if times >= 1 && times <= Self::MAX { Some(Self(times)) } else { None }
    }

    /// How many times what a weight of 1 gets.
    #[inline]
    pub const fn times(self) -> u64 {
        self.0 as u64
    }

    /// Reads a whole number.
    ///
    /// # Errors
    /// It is none, or out of range.
    pub fn parse(text: &str) -> Result<Self, TermsError> {
        text.trim().parse().ok().and_then(Self::new).ok_or_else(|| TermsError::Weight { text: text.to_owned() })
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The slowest rate that a guest or a line may have: below that, a full frame takes more than 12 seconds.
pub const SLOWEST: u64 = 1_000;

/// The most that a guest may send at once after a silence.
pub const MOST_BURST: u64 = 1 << 30;

/// Why a term is not one. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// Not a weight.
    #[error("{text:?} is not a weight; give a whole number from 1 to {}", Weight::MAX)]
    Weight {
        /// What was written.
        text: String,
    },
    /// Not a rate.
    #[error("{0}, or none")]
    Rate(#[from] LineRateError),
    /// A rate that is too slow to be meant.
    #[error("{rate} is slower than 1kbit, which is the slowest rate here; give more, or none")]
    Slow {
        /// What was asked for.
        rate: LineRate,
    },
    /// Not a burst.
    #[error("{text:?} is not a burst; give bytes, a whole number up to {MOST_BURST}, or none")]
    Burst {
        /// What was written.
        text: String,
    },
    /// Nothing that can be set.
    #[error("{key:?} is nothing that a {thing} has; it has {known}")]
    Key {
        /// What was written.
        key: String,
        /// `guest` or `port`.
        thing: &'static str,
        /// What could have been.
        known: &'static str,
    },
}

/// Reads a rate, or `none`.
///
/// # Errors
/// See [`TermsError`].
pub fn parse_rate(text: &str) -> Result<Option<LineRate>, TermsError> {
    if text.trim() == "none" {
        return Ok(None);
    }
    let rate = LineRate::parse(text)?;
    if rate.bits_per_second() < SLOWEST {
        return Err(TermsError::Slow { rate });
    }
    Ok(Some(rate))
}

/// What a guest is entitled to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestTerms {
    /// Its part of what is contended.
    pub weight: Weight,
    /// What it may send, over all of its ports; none: what the worker has time for.
    pub rate_from: Option<LineRate>,
    /// What it may be sent, over all of its ports.
    pub rate_to: Option<LineRate>,
    /// Bytes that may pass at once after a silence, each way; none: 4 ms at the rate.
    pub burst: Option<u64>,
}

impl GuestTerms {
    /// Changes one of them, as `pointsman set guest NAME KEY VALUE` names it. `rate` is both directions.
    ///
    /// # Errors
    /// See [`TermsError`].
    pub fn change(&mut self, key: &str, value: &str) -> Result<(), TermsError> {
        match key {
            "weight" => self.weight = Weight::parse(value)?,
            "rate" => {
                let rate = parse_rate(value)?;
                (self.rate_from, self.rate_to) = (rate, rate);
            }
            "rate-from" => self.rate_from = parse_rate(value)?,
            "rate-to" => self.rate_to = parse_rate(value)?,
            "burst" if value.trim() == "none" => self.burst = None,
            "burst" => {
                let burst = value.trim().parse().ok().filter(|bytes| *bytes <= MOST_BURST);
                self.burst = Some(burst.ok_or_else(|| TermsError::Burst { text: value.to_owned() })?);
            }
            _ => {
                let known = "weight, rate, rate-from, rate-to and burst";
                return Err(TermsError::Key { key: key.to_owned(), thing: "guest", known });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_term_is_refused_with_a_reason_and_changes_nothing() {
        for (key, value, reason) in [
            ("weight", "0", "whole number from 1 to 100"),
            ("weight", "-1", "whole number from 1 to 100"),
            ("weight", "101", "whole number from 1 to 100"),
            ("weight", "99999999999999999999", "whole number"),
            ("weight", "4.5", "whole number"),
            ("weight", "", "whole number"),
            ("rate", "0", "not a line rate"),
            ("rate", "0Mbit", "out of range"),
            ("rate", "-5Mbit", "not a line rate"),
            ("rate", "5MB", "unit \"MB\""),
            ("rate", "5", "not a line rate"),
            ("rate-from", "99999999999Gbit", "out of range"),
            ("rate-to", "999bit", "slower than 1kbit"),
            ("rate-to", "never", "not a line rate"),
            ("burst", "-1", "not a burst"),
            ("burst", "1TiB", "not a burst"),
            ("burst", "1073741825", "not a burst"),
            ("speed", "1", "weight, rate, rate-from, rate-to and burst"),
        ] {
            let before = GuestTerms { weight: Weight(7), burst: Some(9), ..GuestTerms::default() };
            let mut terms = before;
            let error = terms.change(key, value).expect_err(value).to_string();
            assert!(error.contains(reason), "{key} {value}: {error}");
            assert_eq!(terms, before);
        }
    }

    #[test]
    fn terms_are_what_was_set_last() {
        let mut terms = GuestTerms::default();
        for (key, value) in [("weight", "4"), ("rate", "200Mbit"), ("rate-to", "1Gbit"), ("burst", "65536")] {
            terms.change(key, value).unwrap();
        }
        let rates = (LineRate::new(200_000_000), LineRate::new(1_000_000_000));
        assert_eq!(
            (terms.weight, terms.rate_from, terms.rate_to, terms.burst),
            (Weight(4), rates.0, rates.1, Some(65_536))
        );
        for (key, value) in [("rate", "none"), ("burst", "none"), ("weight", "1")] {
            terms.change(key, value).unwrap();
        }
        assert_eq!(terms, GuestTerms::default());
    }
}
