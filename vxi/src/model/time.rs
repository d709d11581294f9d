//! Time: when a lease starts, how long it lasts, and the events that part it into periods.

use std::fmt;

use super::at::At;
use super::quantity::{Nanos, write_decimal};

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;

/// An instant in nanoseconds since 1970-01-01T00:00:00Z: from the year 1678 to 2262.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// So many seconds since 1970. Saturates.
    pub const fn from_secs(n: i64) -> Self {
        Self(n.saturating_mul(SECOND))
    }

    /// The instant `span` later; none beyond the last one that there is.
    pub fn after(self, span: Nanos) -> Option<Self> {
        self.0.checked_add_unsigned(span.0).map(Self)
    }

    /// The span from `earlier` to `self`; none if `earlier` is later.
    pub fn since(self, earlier: Self) -> Option<Nanos> {
        u64::try_from(i128::from(self.0) - i128::from(earlier.0)).ok().map(Nanos)
    }
}

impl fmt::Display for Timestamp {
    /// As xs:dateTime and RFC 3339 spell it, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let (year, month, day) = civil(days);
        let seconds = rest / SECOND;
        let (hour, minute) = (seconds / 3600, seconds / 60 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:")?;
        if seconds % 60 < 10 {
            f.write_str("0")?;
        }
        write_decimal(f, (rest % (60 * SECOND)) as u64, SECOND as u64)?;
        f.write_str("Z")
    }
}

/// Days since 1970 as year, month, day of the Gregorian calendar. Years begin in March here, so that a leap day ends one.
fn civil(days: i64) -> (i64, i64, i64) {
    const ERA: i64 = 146_097;
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(ERA), shifted.rem_euclid(ERA));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil`]; none where there is no such day.
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    (civil(days) == (year, month, day)).then_some(days)
}

/// Reads an xs:dateTime; without a zone it is UTC.
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let text = text.trim_ascii();
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let (time, zone) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => time.split_at(at),
        None => (time, "Z"),
    };
    let mut date = date.split('-');
    let (year, month, day) = (number(date.next()?, 4)?, number(date.next()?, 2)?, number(date.next()?, 2)?);
    let mut clock = time.split(':');
    let (hour, minute) = (number(clock.next()?, 2)?, number(clock.next()?, 2)?);
    let (second, fraction) = clock.next().map(|s| s.split_once('.').unwrap_or((s, "0")))?;
    let second = number(second, 2)?;
    if date.next().is_some() || clock.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let nanos = number(&format!("{fraction:0<9}"), 9)?;
    let offset = if zone.eq_ignore_ascii_case("Z") {
        0
    } else {
        let (hours, minutes) = zone[1..].split_once(':')?;
        let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
        if hours > 14 || minutes > 59 {
            return None;
        }
        (hours * 60 + minutes) * 60 * if zone.starts_with('-') { -1 } else { 1 }
    };
    let seconds = days_of(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second - offset;
    let whole = i128::from(seconds) * i128::from(SECOND) + i128::from(nanos);
    i64::try_from(whole).ok().map(Timestamp)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Something that happens: it ends one period and opens the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name, unique in the timeline.
    pub id: String,
    /// How long after the start of the infrastructure.
    pub delay: Nanos,
    /// Where it was written.
    pub at: At,
}

/// The events of an infrastructure, each later than the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// In order.
    pub events: Vec<Event>,
}

/// A stretch of time in which every capacity is constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period<'t> {
    /// The event that opens it; none before the first event.
    pub event: Option<&'t str>,
    /// When it begins, from the start of the infrastructure.
    pub start: Nanos,
    /// When it ends; none: never.
    pub end: Option<Nanos>,
}

impl Timeline {
    /// The event of this name.
    pub fn get(&self, id: &str) -> Option<&Event> {
        self.events.iter().find(|event| event.id == id)
    }

    /// The periods in order, from the start to `total`. Without events there is one.
    pub fn periods(&self, total: Option<Nanos>) -> Vec<Period<'_>> {
        let mut periods = Vec::with_capacity(self.events.len() + 1);
        if self.events.first().is_none_or(|first| first.delay > Nanos(0)) {
            periods.push(Period { event: None, start: Nanos(0), end: total });
        }
        for event in &self.events {
            if let Some(last) = periods.last_mut() {
                last.end = Some(event.delay);
            }
            periods.push(Period { event: Some(&event.id), start: event.delay, end: total });
        }
        periods
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_and_written() {
        for (text, written) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("2009-10-12T08:00:00Z", "2009-10-12T08:00:00Z"),
            ("2009-10-12T08:00:00", "2009-10-12T08:00:00Z"),
            ("2009-10-12T08:00:00.250+02:00", "2009-10-12T06:00:00.25Z"),
            ("2000-02-29T23:59:59.000000001-05:30", "2000-03-01T05:29:59.000000001Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.5Z"),
            ("2262-04-11T23:47:16Z", "2262-04-11T23:47:16Z"),
        ] {
            let instant = parse_timestamp(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(instant.to_string(), written);
            assert_eq!(parse_timestamp(written), Some(instant));
        }
        assert_eq!(parse_timestamp("2009-10-12T08:00:00Z"), Some(Timestamp::from_secs(1_255_334_400)));
        for bad in [
            "",
            "2009-10-12",
            "2009-02-29T00:00:00Z",
            "2009-13-01T00:00:00Z",
            "2009-10-12T24:00:00Z",
            "tomorrow",
            "2009-10-12T08:00Z",
            "2009-10-12T08:00:00+15:00",
            "2263-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "2009-10-12T08:00:00.1234567890Z",
            "2009-10-12T08:00:00+é",
            "+009-10-12T08:00:00Z",
        ] {
            assert_eq!(parse_timestamp(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn every_day_is_found_again() {
        for days in (-106_000..106_000).step_by(13) {
            let (year, month, day) = civil(days);
            assert_eq!(days_of(year, month, day), Some(days));
        }
    }

    #[test]
    fn events_part_time_into_periods() {
        let event = |id: &str, s| Event { id: id.into(), delay: Nanos::from_secs(s), at: At::NOWHERE };
        let late = Timeline { events: vec![event("I", 10), event("II", 20)] };
        let spans: Vec<_> = late.periods(Some(Nanos::from_secs(30))).into_iter().map(|p| (p.event, p.end)).collect();
        let secs = |n| Some(Nanos::from_secs(n));
        assert_eq!(spans, [(None, secs(10)), (Some("I"), secs(20)), (Some("II"), secs(30))]);
        let at_once = Timeline { events: vec![event("I", 0)] };
        assert_eq!(at_once.periods(None), [Period { event: Some("I"), start: Nanos(0), end: None }]);
        assert_eq!(Timeline::default().periods(None).len(), 1);
    }
}
