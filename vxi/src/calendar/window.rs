//! A stretch of the calendar.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{Nanos, Timestamp};

/// From an instant (inclusive) to another (exclusive) or for ever. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bounds", into = "Bounds")]
pub struct Window {
    /// The first instant in it.
    pub from: Timestamp,
    /// The first instant after it; none: it has no end.
    pub until: Option<Timestamp>,
}

/// As a state file has it: nanoseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Bounds {
    from: i64,
    until: Option<i64>,
}

impl Window {
    /// All of time.
    pub const ALWAYS: Self = Self { from: Timestamp(i64::MIN), until: None };

    /// None when it would be empty.
    pub fn new(from: Timestamp, until: Option<Timestamp>) -> Option<Self> {
        until.is_none_or(|until| from < until).then_some(Self { from, until })
    }

    /// From an instant on.
    pub const fn since(from: Timestamp) -> Self {
        Self { from, until: None }
    }

    /// So long from an instant on; for ever where the end is beyond the last instant that there is.
    pub fn lasting(from: Timestamp, span: Nanos) -> Option<Self> {
        Self::new(from, from.after(span))
    }

    /// Whether an instant is in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }

    /// Whether all of `other` is in it.
    pub fn covers(&self, other: Self) -> bool {
        let ends_in = match (self.until, other.until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => other <= own,
        };
        self.from <= other.from && ends_in
    }

    /// What both have in common.
    pub fn overlap(&self, other: Self) -> Option<Self> {
        let until = match (self.until, other.until) {
            (None, until) | (until, None) => until,
            (Some(a), Some(b)) => Some(a.min(b)),
        };
        Self::new(self.from.max(other.from), until)
    }

    /// What of it is not before `at`.
    pub fn not_before(&self, at: Timestamp) -> Option<Self> {
        self.overlap(Self::since(at))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from.0, self.until) {
            (i64::MIN, None) => f.write_str("always"),
            (i64::MIN, Some(until)) => write!(f, "until {until}"),
            (_, None) => write!(f, "from {}", self.from),
            (_, Some(until)) => write!(f, "from {} until {until}", self.from),
        }
    }
}

impl TryFrom<Bounds> for Window {
    type Error = &'static str;

    fn try_from(bounds: Bounds) -> Result<Self, Self::Error> {
        let window = Self::new(Timestamp(bounds.from), bounds.until.map(Timestamp));
        window.ok_or("a window that ends before it begins")
    }
}

impl From<Window> for Bounds {
    fn from(window: Window) -> Self {
        Self { from: window.from.0, until: window.until.map(|until| until.0) }
    }
}
