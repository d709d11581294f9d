//! Rates, spans and VLANs as a file spells them.

use std::fmt;

use crate::units::Nanos;

/// Bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bits(pub u64);

impl Bits {
    const UNITS: [(&'static str, u64); 5] =
        [("bit", 1), ("kbit", 1_000), ("Mbit", 1_000_000), ("Gbit", 1_000_000_000), ("Tbit", 1_000_000_000_000)];

    /// Reads `1Gbit`, `2.5Gbit`, `200Mbit`, `10kbit`, `64000bit`: decimal multiples, a fraction if it comes out whole.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text)?;
        let (_, scale) = Self::UNITS.into_iter().find(|(name, _)| *name == unit)?;
        decimal(number, scale).map(Self)
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, scale): &(&str, u64)| *scale == 1 || (self.0 != 0 && self.0 % *scale == 0);
        let (unit, scale) = Self::UNITS.into_iter().rev().find(fits).unwrap_or(Self::UNITS[0]);
        write!(f, "{}{unit}", self.0 / scale)
    }
}

/// Reads `50us`, `10ms`, `1.5s`, `300s`, `5min`, `1h`.
pub fn parse_span(text: &str) -> Option<Nanos> {
    let (number, unit) = split_unit(text)?;
    let scale = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    decimal(number, scale).map(Nanos)
}

/// The number and the unit behind it.
fn split_unit(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    Some((number, unit.trim_start()))
}

/// `number` times `scale`, exactly, or nothing.
fn decimal(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |s: &str| (!s.is_empty() && s.len() <= 18).then(|| s.parse::<u64>().ok()).flatten();
    let part = u128::from(digits(fraction)?) * u128::from(scale);
    let divisor = 10_u128.pow(fraction.len() as u32);
    let part = (part % divisor == 0).then(|| u64::try_from(part / divisor).ok()).flatten()?;
    digits(whole)?.checked_mul(scale)?.checked_add(part)
}

/// A VLAN, 1 to 4094 (IEEE 802.1Q-2018, table 9-2: 0 is no VLAN, 4095 is reserved).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(u16);

impl VlanId {
    /// The VLAN of this number, if it is one.
    pub const fn new(number: u16) -> Option<Self> {
        if number >= 1 && number <= 4094 { Some(Self(number)) } else { None }
    }

    /// Its number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_decimal_and_exact() {
        for (text, bits) in [
            ("1Gbit", 1_000_000_000),
            ("2.5Gbit", 2_500_000_000),
            ("200Mbit", 200_000_000),
            ("10kbit", 10_000),
            ("1 Gbit", 1_000_000_000),
            ("9bit", 9),
        ] {
            assert_eq!(Bits::parse(text), Some(Bits(bits)), "{text:?}");
        }
        for bad in
            ["", "1", "Gbit", "1gbit", "1Gbps", "-1Gbit", "1.Gbit", ".5Gbit", "1.0.0Gbit", "0.1bit", "99999999999Tbit"]
        {
            assert_eq!(Bits::parse(bad), None, "{bad:?}");
        }
        for text in ["1Gbit", "2500Mbit", "10kbit", "9bit", "0bit"] {
            assert_eq!(Bits::parse(text).map(|b| b.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn spans_have_units() {
        for (text, nanos) in
            [("50us", 50_000), ("10ms", 10_000_000), ("1.5s", 1_500_000_000), ("5min", 300_000_000_000), ("7ns", 7)]
        {
            assert_eq!(parse_span(text), Some(Nanos(nanos)), "{text:?}");
        }
        for bad in ["", "50", "us", "50 parsecs", "-5s", "1e3s", "0.5ns", "18446744073709551616ns", "9999999999999h"] {
            assert_eq!(parse_span(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn vlans_end_at_4094() {
        assert_eq!(VlanId::new(0), None);
        assert_eq!(VlanId::new(1).map(VlanId::get), Some(1));
        assert_eq!(VlanId::new(4094).map(VlanId::get), Some(4094));
        assert_eq!(VlanId::new(4095), None);
    }
}
