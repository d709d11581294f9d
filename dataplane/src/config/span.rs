//! Spans of time as a file spells them.

use crate::units::Nanos;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
