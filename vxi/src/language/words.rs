//! Words that both syntaxes share: spans of time, truth, sites of a port map, amounts of cost.

use crate::model::quantity::parse_scaled;
use crate::model::{Cost, Nanos, NumberError};

/// Space around a text, which is no part of it in any syntax: XML's.
pub(crate) const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

const SECOND: u64 = 1_000_000_000;

/// Why a text is not an xs:duration that has a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DurationError {
    /// Not one at all.
    Malformed,
    /// Years and months have no fixed length.
    YearsOrMonths,
    /// Below zero.
    Negative,
    /// More than 584 years.
    TooLong,
}

/// Reads an xs:duration, such as `PT5H` or `P1DT12H30M`.
pub(super) fn parse_duration(text: &str) -> Result<Nanos, DurationError> {
    let text = text.trim_ascii();
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let rest = rest.strip_prefix('P').ok_or(DurationError::Malformed)?;
    let (date, time) = rest.split_once('T').map_or((rest, None), |(date, time)| (date, Some(time)));
    if (date.is_empty() && time.is_none()) || time == Some("") {
        return Err(DurationError::Malformed);
    }
    let mut total = 0_u64;
    for (part, units) in [(date, &["Y", "M", "D"][..]), (time.unwrap_or(""), &["H", "M", "S"][..])] {
        let (mut rest, mut units) = (part, units);
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(DurationError::Malformed)?;
            let (number, unit) = (&rest[..end], rest.get(end..=end).ok_or(DurationError::Malformed)?);
            let nth = units.iter().position(|&known| known == unit).ok_or(DurationError::Malformed)?;
            units = &units[nth + 1..];
            rest = &rest[end + 1..];
            if number.contains('.') && unit != "S" {
                return Err(DurationError::Malformed);
            }
            let scale = match (unit, units.last()) {
                ("Y", _) | ("M", Some(&"D")) => return Err(DurationError::YearsOrMonths),
                ("D", _) => 86_400 * SECOND,
                ("H", _) => 3_600 * SECOND,
                ("M", _) => 60 * SECOND,
                _ => SECOND,
            };
            let part = parse_scaled(number, scale).map_err(|e| match e {
                NumberError::TooLarge => DurationError::TooLong,
                _ => DurationError::Malformed,
            })?;
            total = total.checked_add(part).ok_or(DurationError::TooLong)?;
        }
    }
    if negative && total > 0 { Err(DurationError::Negative) } else { Ok(Nanos(total)) }
}

/// Writes an xs:duration: days, hours, minutes, seconds.
pub(super) fn duration(span: Nanos) -> String {
    let (seconds, nanos) = (span.0 / SECOND, span.0 % SECOND);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let mut text = String::from("P");
    if days > 0 {
        text += &format!("{days}D");
    }
    let mut time = String::new();
    for (n, unit) in [(hours, 'H'), (minutes, 'M')] {
        if n > 0 {
            time += &format!("{n}{unit}");
        }
    }
    if seconds % 60 > 0 || nanos > 0 || (days == 0 && time.is_empty()) {
        time += &format!("{}S", Decimal(seconds % 60 * SECOND + nanos, SECOND));
    }
    if !time.is_empty() {
        text.push('T');
    }
    text + &time
}

/// A number of parts of `1 / .1`, as decimal.
pub(super) struct Decimal(pub(super) u64, pub(super) u64);

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::model::quantity::write_decimal(f, self.0, self.1)
    }
}

/// Reads an xs:boolean.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text.trim_ascii() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Reads what something costs.
pub(super) fn parse_cost(text: &str) -> Result<Cost, NumberError> {
    parse_scaled(text, Cost::SCALE).map(Cost)
}

/// What is wrong with a number, and what to do.
pub(super) fn number_error(error: NumberError) -> (&'static str, &'static str) {
    match error {
        NumberError::NotANumber => ("is not a number", "write a decimal number, like 2 or 2.5"),
        NumberError::Negative => ("is below zero", "write a number from 0 on"),
        NumberError::NotFinite => ("is not finite", "write a number; leave the bound out where there is none"),
        NumberError::TooLarge => ("is too large: it does not fit into 64 bits of the smallest unit", "write less"),
        NumberError::TooFine => ("is finer than the smallest unit", "round it to a whole number of the smallest unit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, seconds, written) in [
            ("PT5H", 18_000, "PT5H"),
            ("P1D", 86_400, "P1D"),
            ("PT90M", 5_400, "PT1H30M"),
            ("P1DT12H30M5S", 131_405, "P1DT12H30M5S"),
            ("PT0S", 0, "PT0S"),
            ("-PT0S", 0, "PT0S"),
        ] {
            assert_eq!(parse_duration(text), Ok(Nanos::from_secs(seconds)), "{text}");
            assert_eq!(duration(Nanos::from_secs(seconds)), written);
        }
        assert_eq!(parse_duration("PT0.25S"), Ok(Nanos::from_millis(250)));
        assert_eq!(duration(Nanos(61_000_000_001)), "PT1M1.000000001S");
        assert_eq!(duration(Nanos(500)), "PT0.0000005S");
        for (bad, error) in [
            ("", DurationError::Malformed),
            ("P", DurationError::Malformed),
            ("PT", DurationError::Malformed),
            ("5H", DurationError::Malformed),
            ("PT5", DurationError::Malformed),
            ("PT5X", DurationError::Malformed),
            ("PT5S3M", DurationError::Malformed),
            ("PT1.5H", DurationError::Malformed),
            ("PT5é", DurationError::Malformed),
            ("P1M", DurationError::YearsOrMonths),
            ("P2Y", DurationError::YearsOrMonths),
            ("-PT1S", DurationError::Negative),
            ("P999999999D", DurationError::TooLong),
            ("P213503DT24H", DurationError::TooLong),
        ] {
            assert_eq!(parse_duration(bad), Err(error), "{bad:?}");
        }
    }
}
