//! Line rates, as people write them.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// A line rate in bits a second, from 1 bit/s to 10 Tbit/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineRate(NonZeroU64);

/// Why something is not a line rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineRateError {
    /// Not a number and a unit.
    #[error("{text:?} is not a line rate; write a number and a unit: \"1Gbit\", \"200Mbit\", \"2.5Gbit\", \"10kbit\"")]
    Form {
        /// What was written.
        text: String,
    },
    /// A unit that is not known, or could be taken for bytes.
    #[error(
        "line rate {text:?}: the unit {unit:?} is not one of bit, kbit, Mbit, Gbit, Tbit (bits a second, powers of 1000)"
    )]
    Unit {
        /// What was written.
        text: String,
        /// The unit in it.
        unit: String,
    },
    /// Below 1 bit/s or above the highest rate.
    #[error("line rate {text:?} is out of range; it must be from 1bit to 10Tbit")]
    Range {
        /// What was written.
        text: String,
    },
}

/// Units, largest first.
const UNITS: [(&str, u64); 5] =
    [("Tbit", 1_000_000_000_000), ("Gbit", 1_000_000_000), ("Mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];

impl LineRate {
    /// The highest rate: what the arithmetic of the line takes without overflow, and then some years.
    pub const MAX: u64 = 10_000_000_000_000;

    /// A rate of so many bits a second; `None` when it is 0 or above [`MAX`](Self::MAX).
    pub const fn new(bits_per_second: u64) -> Option<Self> {
        if bits_per_second > Self::MAX {
            return None;
        }
        match NonZeroU64::new(bits_per_second) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }

    /// Bits a second.
    pub const fn bits_per_second(self) -> u64 {
        self.0.get()
    }

    /// Reads a number, which may have decimals, and a unit: `1Gbit`, `2.5Gbit`, `200 Mbit`, `10kbit`, with or without
    /// `/s`. Units are powers of 1000, and their case does not matter.
    ///
    /// # Errors
    /// Not of that form, an unknown unit, or out of range.
    pub fn parse(text: &str) -> Result<Self, LineRateError> {
        let form = || LineRateError::Form { text: text.to_owned() };
        let range = || LineRateError::Range { text: text.to_owned() };
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(form)?;
        let (number, unit) = trimmed.split_at(split);
        let unit = unit.trim_start();
        let name = unit.strip_suffix("/s").unwrap_or(unit);
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || decimals.contains('.') || number.ends_with('.') {
            return Err(form());
        }
        let Some(&(_, factor)) = UNITS.iter().find(|(unit, _)| unit.eq_ignore_ascii_case(name)) else {
            return Err(LineRateError::Unit { text: text.to_owned(), unit: unit.to_owned() });
        };
        let mut bits = whole.parse::<u128>().map_err(|_| range())?.checked_mul(factor.into()).ok_or_else(range)?;
        let mut place = factor;
        for digit in decimals.bytes() {
            place /= 10;
            bits += u128::from(digit - b'0') * u128::from(place);
        }
        u64::try_from(bits).ok().and_then(Self::new).ok_or_else(range)
    }
}

impl FromStr for LineRate {
    type Err = LineRateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for LineRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.bits_per_second();
        // The largest unit that needs at most three decimals.
        let (unit, factor) = UNITS
            .into_iter()
            .find(|&(_, factor)| bits >= factor && bits.is_multiple_of((factor / 1000).max(1)))
            .unwrap_or(("bit", 1));
        let (whole, thousandths) = (bits / factor, bits % factor / (factor / 1000).max(1));
        if thousandths == 0 {
            return write!(f, "{whole}{unit}");
        }
        let decimals = format!("{thousandths:03}");
        write!(f, "{whole}.{}{unit}", decimals.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_they_are_written() {
        for (text, bits) in [
            ("1Gbit", 1_000_000_000),
            ("2.5Gbit", 2_500_000_000),
            ("200Mbit", 200_000_000),
            ("200 mbit/s", 200_000_000),
            (" 10kbit ", 10_000),
            ("1bit", 1),
            ("10Tbit", LineRate::MAX),
            ("0.0015kbit", 1),
        ] {
            assert_eq!(LineRate::parse(text).map(LineRate::bits_per_second), Ok(bits), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_rate_is_refused_with_a_reason() {
        for text in ["", "1000", "Gbit", "-1Gbit", ".5Gbit", "1.Gbit", "1.2.3Gbit", "fast"] {
            assert!(matches!(LineRate::parse(text), Err(LineRateError::Form { .. })), "{text}");
        }
        for text in ["1Gbps", "1GB", "1Mb/s", "1G", "1 Gbit 2", "1é"] {
            assert!(matches!(LineRate::parse(text), Err(LineRateError::Unit { .. })), "{text}");
        }
        for text in ["0Gbit", "0.4bit", "10.001Tbit", "99999999999999999999999999999999999999999999Gbit"] {
            assert!(matches!(LineRate::parse(text), Err(LineRateError::Range { .. })), "{text}");
        }
        let error = LineRate::parse("1Gbps").unwrap_err().to_string();
        assert!(error.contains("\"Gbps\"") && error.contains("Mbit"), "{error}");
    }

    #[test]
    fn rates_are_written_as_they_are_read() {
        for text in ["1Gbit", "2.5Gbit", "200Mbit", "10kbit", "1bit", "10Tbit", "1.544Mbit", "999bit", "1.234567Gbit"] {
            let rate = LineRate::parse(text).unwrap();
            assert_eq!(LineRate::parse(&rate.to_string()), Ok(rate), "{text} -> {rate}");
        }
        assert_eq!(LineRate::parse("2500Mbit").unwrap().to_string(), "2.5Gbit");
        assert_eq!(LineRate::parse("1234567kbit").unwrap().to_string(), "1234.567Mbit");
    }
}
