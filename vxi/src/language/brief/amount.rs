//! Amounts and spans of time on one line: `900 Mbps`, `>= 2 GB`, `2..4 GB`, `1 | 2 | 4 GB`, `1..4 step 1 GB`, `90 min`.

use std::fmt::Write;

use crate::diagnostic::quoted;
use crate::language::units::unit_scale;
use crate::language::words::{DurationError, number_error, parse_duration};
use crate::model::quantity::{parse_scaled, unit_for};
use crate::model::{Amount, Nanos, NumberError, Quantity};

const SECOND: u64 = 1_000_000_000;
/// Units of spans of time, ascending.
const SPANS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("min", 60 * SECOND),
    ("h", 3_600 * SECOND),
    ("d", 86_400 * SECOND),
];

/// What is wrong, behind the name of the key, and what to do.
pub(super) type Refusal = (String, String);

/// The numbers and the unit behind them.
fn split_unit(text: &str) -> (&str, Option<&str>) {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.').map_or(0, |last| last + 1);
    let (numbers, unit) = text.split_at(end);
    let unit = unit.trim();
    (numbers.trim(), (!unit.is_empty()).then_some(unit))
}

/// Reads an amount.
pub(super) fn parse_amount<Q: Quantity>(text: &str) -> Result<Amount<Q>, Refusal> {
    let (numbers, unit) = split_unit(text.trim());
    if numbers.is_empty() {
        let example = Q::UNITS.last().map_or("2".into(), |(unit, _)| format!("2 {unit}"));
        let how = format!("write it like {example}, >= {example}, 1..{example} or 1 | {example}");
        return Err((format!("{} is no amount", quoted(text)), how));
    }
    let scale = unit_scale::<Q>(unit).map_err(|e| (e.wrong, e.remedy))?;
    let number = |text: &str| {
        parse_scaled(text, scale).map(Q::of).map_err(|error| {
            let (wrong, remedy) = number_error(error);
            (format!("{} {wrong}", quoted(text.trim())), remedy.to_owned())
        })
    };
    if let Some(least) = numbers.strip_prefix(">=") {
        return Ok(Amount::Range { min: Some(number(least)?), max: None });
    }
    if let Some(most) = numbers.strip_prefix("<=") {
        return Ok(Amount::Range { min: None, max: Some(number(most)?) });
    }
    let (bounds, step) = numbers.split_once("step").map_or((numbers, None), |(bounds, step)| (bounds, Some(step)));
    match (bounds.split_once(".."), step) {
        (Some((min, max)), None) => Ok(Amount::Range { min: Some(number(min)?), max: Some(number(max)?) }),
        (Some((min, max)), Some(step)) => {
            Ok(Amount::Scale { min: number(min)?, max: number(max)?, step: number(step)? })
        }
        (None, Some(_)) => {
            Err((format!("{} has a step without bounds", quoted(text)), "write it like 1..4 step 1".into()))
        }
        (None, None) if numbers.contains('|') => {
            numbers.split('|').map(number).collect::<Result<_, _>>().map(Amount::OneOf)
        }
        (None, None) => number(numbers).map(Amount::Exactly),
    }
}

/// Writes an amount as [`parse_amount`] reads it.
pub(crate) fn amount<Q: Quantity>(amount: &Amount<Q>) -> String {
    let unit = unit_for(&amount.quantities());
    let scale = unit.map_or(1, |(_, scale)| scale);
    let number = |q: &Q| q.base() / scale;
    let mut text = match amount {
        Amount::Exactly(q) => number(q).to_string(),
        Amount::Range { min: Some(min), max: Some(max) } => format!("{}..{}", number(min), number(max)),
        Amount::Range { min: Some(min), max: None } => format!(">= {}", number(min)),
        Amount::Range { max: Some(max), .. } => format!("<= {}", number(max)),
        Amount::Range { .. } => ">= 0".into(),
        Amount::OneOf(all) => all.iter().map(|q| number(q).to_string()).collect::<Vec<_>>().join(" | "),
        Amount::Scale { min, max, step } => format!("{}..{} step {}", number(min), number(max), number(step)),
    };
    if let Some((unit, _)) = unit {
        let _ = write!(text, " {unit}");
    }
    text
}

/// Reads a span of time: `90 min`, `1.5 h`, or an xs:duration.
pub(super) fn parse_span(text: &str) -> Result<Nanos, Refusal> {
    let text = text.trim();
    if text.starts_with('P') || text.starts_with("-P") {
        return parse_duration(text).map_err(|error| {
            let wrong = match error {
                DurationError::Malformed => "is no duration",
                DurationError::YearsOrMonths => "has years or months, which have no fixed length",
                DurationError::Negative => "is below zero",
                DurationError::TooLong => "is more than 584 years",
            };
            (format!("{} {wrong}", quoted(text)), "write it like 5 h, 90 min or 36 h".into())
        });
    }
    let (number, unit) = split_unit(text);
    let scale = SPANS.iter().find(|(known, _)| Some(*known) == unit).map(|&(_, scale)| scale);
    let Some(scale) = scale.filter(|_| !number.is_empty()) else {
        let how = "write a number with its unit (ns, us, ms, s, min, h, d), like 90 min";
        return Err((format!("{} is no span of time", quoted(text)), how.into()));
    };
    parse_scaled(number, scale).map(Nanos).map_err(|error| {
        let wrong = match error {
            NumberError::TooLarge => "is more than 584 years",
            other => number_error(other).0,
        };
        (format!("{} {wrong}", quoted(number)), "write it like 5 h, 90 min or 36 h".into())
    })
}

/// Writes a span of time in the largest unit that is whole.
pub(crate) fn span(span: Nanos) -> String {
    let whole = |scale: u64| span.0 >= scale && span.0.is_multiple_of(scale);
    match SPANS.iter().rev().find(|&&(_, scale)| whole(scale)) {
        Some((unit, scale)) => format!("{} {unit}", span.0 / scale),
        None => "0 s".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BitsPerSecond, Bytes, Count};

    #[test]
    fn amounts_are_read_and_written() {
        let mbps = BitsPerSecond::from_mbps;
        for (text, read, written) in [
            ("900 Mbps", Amount::Exactly(mbps(900)), "900 Mbps"),
            ("0.9Gbps", Amount::Exactly(mbps(900)), "900 Mbps"),
            (">=900 Mbps", Amount::at_least(mbps(900)), ">= 900 Mbps"),
            ("<= 1e3 Mbps", Amount::at_most(mbps(1000)), "<= 1 Gbps"),
            ("0.5..4 Gbps", Amount::Range { min: Some(mbps(500)), max: Some(mbps(4000)) }, "500..4000 Mbps"),
            ("1|2 | 4 Gbps", Amount::OneOf(vec![mbps(1000), mbps(2000), mbps(4000)]), "1 | 2 | 4 Gbps"),
            (
                "1..4 step 1 Gbps",
                Amount::Scale { min: mbps(1000), max: mbps(4000), step: mbps(1000) },
                "1..4 step 1 Gbps",
            ),
        ] {
            assert_eq!(parse_amount(text), Ok(read.clone()), "{text}");
            assert_eq!(amount(&read), written);
        }
        assert_eq!(parse_amount("2"), Ok(Amount::Exactly(Count(2))));
        for bad in ["", "GB", "2", "2 Mbps", "-2 GB", "1..", "1..x GB", "1 step 2 GB", "1||2 GB", "2 GB GB", "..", "é"]
        {
            assert!(parse_amount::<Bytes>(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn spans_are_read_and_written() {
        for (text, nanos, written) in [
            ("5 h", 18_000 * SECOND, "5 h"),
            ("PT5H", 18_000 * SECOND, "5 h"),
            ("1.5h", 5_400 * SECOND, "90 min"),
            ("0 d", 0, "0 s"),
            ("36 h", 129_600 * SECOND, "36 h"),
            ("1500 us", 1_500_000, "1500 us"),
        ] {
            assert_eq!(parse_span(text), Ok(Nanos(nanos)), "{text}");
            assert_eq!(span(Nanos(nanos)), written);
        }
        for bad in ["", "5", "h", "5 parsecs", "-5 h", "P1M", "0.5 ns", "999999999 d"] {
            assert!(parse_span(bad).is_err(), "{bad:?}");
        }
    }
}
