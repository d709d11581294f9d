//! Quantities, each a newtype over its base unit, and the decimal arithmetic that reads and writes them exactly.
//!
//! A file says `2.5 GHz`; the model holds 2,500,000,000 Hz. What the base unit cannot hold is refused and never
//! rounded, because a capacity that is compared must be the one that was written. `KB`, `MB`, `GB`, `TB` are powers of
//! ten as SI has them, `KiB` to `TiB` powers of two: only so can a file say which it means.

use std::fmt;

/// A kind of quantity: its base unit, and the units that files use for it.
pub trait Quantity: Copy + Eq + Ord + fmt::Debug + fmt::Display {
    /// What messages call it.
    const WHAT: &'static str;
    /// Its units, in multiples of the base unit, ascending. Empty for a bare number.
    const UNITS: &'static [(&'static str, u64)];

    /// So many base units.
    fn of(base: u64) -> Self;

    /// In base units.
    fn base(self) -> u64;
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $what:literal, [$($unit:literal = $scale:expr),*]) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl Quantity for $name {
            const WHAT: &'static str = $what;
            const UNITS: &'static [(&'static str, u64)] = &[$(($unit, $scale)),*];

            fn of(base: u64) -> Self {
                Self(base)
            }

            fn base(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_in_unit(f, self.0, Self::UNITS)
            }
        }
    };
}

const K: u64 = 1_000;
const M: u64 = 1_000_000;
const G: u64 = 1_000_000_000;
const T: u64 = 1_000_000_000_000;

quantity! {
    /// Bandwidth in bit/s.
    BitsPerSecond, "bandwidth", ["bps" = 1, "Kbps" = K, "Mbps" = M, "Gbps" = G, "Tbps" = T]
}
quantity! {
    /// Memory or storage in bytes.
    Bytes, "size", [
        "B" = 1, "KB" = K, "KiB" = 1 << 10, "MB" = M, "MiB" = 1 << 20,
        "GB" = G, "GiB" = 1 << 30, "TB" = T, "TiB" = 1 << 40
    ]
}
quantity! {
    /// Frequency of a processor in Hz.
    Hertz, "frequency", ["Hz" = 1, "KHz" = K, "MHz" = M, "GHz" = G]
}
quantity! {
    /// A span of time in nanoseconds: at most 584 years.
    Nanos, "latency", ["ns" = 1, "us" = K, "ms" = M, "s" = G]
}
quantity! {
    /// A number of things, such as cores.
    Count, "count", []
}

impl BitsPerSecond {
    /// So many Mbit/s. Saturates.
    pub const fn from_mbps(n: u64) -> Self {
        Self(n.saturating_mul(M))
    }

    /// In Mbit/s, for arithmetic that need not be exact.
    pub fn mbps(self) -> f64 {
        self.0 as f64 / M as f64
    }
}

impl Bytes {
    /// So many MiB. Saturates.
    pub const fn from_mib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 20))
    }

    /// Whole MiB, rounded down.
    pub const fn mib(self) -> u64 {
        self.0 >> 20
    }
}

impl Nanos {
    /// So many seconds. Saturates.
    pub const fn from_secs(n: u64) -> Self {
        Self(n.saturating_mul(G))
    }

    /// So many milliseconds. Saturates.
    pub const fn from_millis(n: u64) -> Self {
        Self(n.saturating_mul(M))
    }

    /// In seconds, for arithmetic that need not be exact.
    pub fn secs_f64(self) -> f64 {
        self.0 as f64 / G as f64
    }
}

/// What a component costs, in millionths of whatever the file counts in (`tag` `cost`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost(pub u64);

impl Cost {
    /// Parts of one.
    pub const SCALE: u64 = M;

    /// As a number.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / Self::SCALE as f64
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0, Self::SCALE)
    }
}

/// The largest unit in which all of `values` are whole; of no unit for a bare number.
pub fn unit_for<Q: Quantity>(values: &[Q]) -> Option<(&'static str, u64)> {
    let whole = |scale: u64| values.iter().all(|v| v.base() % scale == 0);
    let zero = values.iter().all(|v| v.base() == 0);
    Q::UNITS.iter().rev().copied().find(|&(_, scale)| if zero { scale == 1 } else { whole(scale) })
}

fn write_in_unit(f: &mut fmt::Formatter<'_>, base: u64, units: &[(&str, u64)]) -> fmt::Result {
    match units.iter().rev().find(|&&(_, scale)| base >= scale && base.is_multiple_of(scale)) {
        Some((unit, scale)) => write!(f, "{} {unit}", base / scale),
        None => match units.first() {
            Some((unit, _)) => write!(f, "{base} {unit}"),
            None => write!(f, "{base}"),
        },
    }
}

/// Writes `value / scale` with as many decimals as it needs; `scale` is a power of ten.
pub(crate) fn write_decimal(f: &mut fmt::Formatter<'_>, value: u64, scale: u64) -> fmt::Result {
    let (whole, mut part) = (value / scale, value % scale);
    write!(f, "{whole}")?;
    if part == 0 {
        return Ok(());
    }
    let mut digits = scale.ilog10() as usize;
    while part.is_multiple_of(10) {
        part /= 10;
        digits -= 1;
    }
    write!(f, ".{part:0digits$}")
}

/// Why a number is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberError {
    /// Not a number at all.
    NotANumber,
    /// Below zero.
    Negative,
    /// INF or NaN, which xs:double allows and no capacity has.
    NotFinite,
    /// Does not fit into 64 bits of the base unit.
    TooLarge,
    /// Finer than the base unit.
    TooFine,
}

/// Reads a decimal number (`2`, `2.50`, `1e3`) times `scale`, exactly.
///
/// # Errors
/// It is no number, is negative, or the product is not a whole number below 2^64.
pub fn parse_scaled(text: &str, scale: u64) -> Result<u64, NumberError> {
    let text = text.trim_ascii();
    let (negative, number) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if matches!(number, "INF" | "inf" | "Infinity") || number.eq_ignore_ascii_case("nan") {
        return Err(NumberError::NotFinite);
    }
    let (mut mantissa, mut exponent, mut digits, mut point) = (0_u128, 0_i64, 0_u32, false);
    let mut bytes = number.bytes();
    for byte in bytes.by_ref() {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                // 10^24 times the nanoseconds of a day still fits into 128 bits; further zeros only move the exponent.
                if mantissa < 10_u128.pow(23) {
                    mantissa = mantissa * 10 + u128::from(byte - b'0');
                    exponent -= i64::from(point);
                } else if byte == b'0' {
                    exponent += i64::from(!point);
                } else {
                    return Err(if point { NumberError::TooFine } else { NumberError::TooLarge });
                }
            }
            b'.' if !point => point = true,
            b'e' | b'E' if digits > 0 => {
                let rest = &number[number.len() - bytes.len()..];
                let shift: i64 = rest.parse().map_err(|_| NumberError::NotANumber)?;
                exponent += shift.clamp(-1_000, 1_000);
                bytes = "".bytes();
                break;
            }
            _ => return Err(NumberError::NotANumber),
        }
    }
    debug_assert_eq!(bytes.len(), 0);
    if digits == 0 {
        return Err(NumberError::NotANumber);
    }
    if mantissa == 0 {
        return Ok(0);
    }
    if negative {
        return Err(NumberError::Negative);
    }
    let mut value = mantissa * u128::from(scale);
    while exponent < 0 {
        if value % 10 != 0 {
            return Err(NumberError::TooFine);
        }
        value /= 10;
        exponent += 1;
    }
    while exponent > 0 {
        value = value.checked_mul(10).ok_or(NumberError::TooLarge)?;
        exponent -= 1;
    }
    u64::try_from(value).map_err(|_| NumberError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        for (text, scale, value) in [
            ("2", 1, Ok(2)),
            ("2.5", G, Ok(2_500_000_000)),
            ("2.50000000000000000000000000000000000000", G, Ok(2_500_000_000)),
            (" 1e3 ", M, Ok(G)),
            ("1E-3", M, Ok(K)),
            ("+.5", 2, Ok(1)),
            ("5.", 1, Ok(5)),
            ("-0", 1, Ok(0)),
            ("18446744073709551615", 1, Ok(u64::MAX)),
            ("0e99999999999999", 1, Ok(0)),
            ("99999999999999999999999999999999999999", 86_400 * G, Err(NumberError::TooLarge)),
            ("999999999999999999999999", 86_400 * G, Err(NumberError::TooLarge)),
            ("18446744073709551616", 1, Err(NumberError::TooLarge)),
            ("1e300", 1, Err(NumberError::TooLarge)),
            ("1e-300", 1, Err(NumberError::TooFine)),
            ("0.0005", K, Err(NumberError::TooFine)),
            ("-3", 1, Err(NumberError::Negative)),
            ("INF", 1, Err(NumberError::NotFinite)),
            ("-INF", 1, Err(NumberError::NotFinite)),
            ("NaN", 1, Err(NumberError::NotFinite)),
            ("", 1, Err(NumberError::NotANumber)),
            (".", 1, Err(NumberError::NotANumber)),
            ("1.2.3", 1, Err(NumberError::NotANumber)),
            ("1e", 1, Err(NumberError::NotANumber)),
            ("e3", 1, Err(NumberError::NotANumber)),
            ("2 GB", 1, Err(NumberError::NotANumber)),
            ("٣", 1, Err(NumberError::NotANumber)),
        ] {
            assert_eq!(parse_scaled(text, scale), value, "{text:?} times {scale}");
        }
    }

    #[test]
    fn quantities_are_written_in_the_largest_whole_unit() {
        for (written, expected) in [
            (BitsPerSecond(900_000_000).to_string(), "900 Mbps"),
            (BitsPerSecond(1_500_000).to_string(), "1500 Kbps"),
            (Bytes(2 << 30).to_string(), "2 GiB"),
            (Bytes(500_000_000_000).to_string(), "500 GB"),
            (Nanos(0).to_string(), "0 ns"),
            (Count(8).to_string(), "8"),
            (Cost(1_250_000).to_string(), "1.25"),
            (Cost(50).to_string(), "0.00005"),
        ] {
            assert_eq!(written, expected);
        }
        assert_eq!(unit_for(&[Bytes(G), Bytes(1_500 * M)]), Some(("MB", M)));
        assert_eq!(unit_for::<Count>(&[Count(2)]), None);
    }
}
