//! Units as files spell them.

use crate::diagnostic::{nearest, quoted};
use crate::model::{BitsPerSecond, Bytes, Hertz, Nanos, Quantity};

/// Why a unit does not fit.
pub(crate) struct UnitError {
    /// What is wrong, behind the name of the element or key.
    pub(crate) wrong: String,
    /// What to do.
    pub(crate) remedy: String,
}

/// How many base units one unit is.
pub(crate) fn unit_scale<Q: Quantity>(unit: Option<&str>) -> Result<u64, UnitError> {
    let Some(unit) = unit else {
        return match Q::UNITS {
            [] => Ok(1),
            units => {
                let remedy = format!("give one of {}", list(units));
                Err(UnitError { wrong: format!("is a {} without a unit", Q::WHAT), remedy })
            }
        };
    };
    if let Some(&(_, scale)) = Q::UNITS.iter().find(|(known, _)| *known == unit) {
        return Ok(scale);
    }
    if Q::UNITS.is_empty() {
        let wrong = format!("has the unit {}, and is a bare number", quoted(unit));
        return Err(UnitError { wrong, remedy: "take the unit out".into() });
    }
    let wrong = match kind_of(unit) {
        Some(other) => format!("has the unit {}, which is one of {other}, not of {}", quoted(unit), Q::WHAT),
        None => format!("has the unknown unit {}", quoted(unit)),
    };
    let remedy = match Q::UNITS.iter().find(|(known, _)| known.eq_ignore_ascii_case(unit)) {
        Some((meant, _)) => format!("did you mean {meant}?"),
        None => match nearest(unit, Q::UNITS.iter().map(|(known, _)| *known).filter(|known| known.len() > 2)) {
            Some(meant) if unit.len() > 2 => format!("did you mean {meant}?"),
            _ => format!("give one of {}", list(Q::UNITS)),
        },
    };
    Err(UnitError { wrong, remedy })
}

/// As [`unit_scale`] in Aurora's dialect, which counts in steps of 1,024 from the megabit and from the byte on.
///
/// A thousand and twenty-fourth of a megabit is no whole number of bit/s, so Kbps and bps are what they are elsewhere.
pub(crate) fn aurora_scale<Q: Quantity>(unit: Option<&str>) -> Result<u64, UnitError> {
    let scale = unit_scale::<Q>(unit)?;
    Ok(match unit {
        Some("KB") => 1 << 10,
        Some("MB") => 1 << 20,
        Some("GB") => 1 << 30,
        Some("TB") => 1 << 40,
        Some("Gbps") => 1_024 * 1_000_000,
        Some("Tbps") => 1_024 * 1_024 * 1_000_000,
        _ => scale,
    })
}

/// The other quantity that a unit belongs to.
fn kind_of(unit: &str) -> Option<&'static str> {
    fn of<Q: Quantity>(unit: &str) -> Option<&'static str> {
        Q::UNITS.iter().any(|(known, _)| *known == unit).then_some(Q::WHAT)
    }
    of::<BitsPerSecond>(unit).or_else(|| of::<Bytes>(unit)).or_else(|| of::<Hertz>(unit)).or_else(|| of::<Nanos>(unit))
}

fn list(units: &[(&str, u64)]) -> String {
    units.iter().map(|(unit, _)| *unit).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Count;

    #[test]
    fn a_unit_that_does_not_fit_is_told_what_it_is() {
        let error = |e: UnitError| (e.wrong, e.remedy);
        assert_eq!(unit_scale::<Bytes>(Some("GiB")).ok(), Some(1 << 30));
        assert_eq!(unit_scale::<Count>(None).ok(), Some(1));
        let (wrong, _) = unit_scale::<BitsPerSecond>(Some("GB")).map_err(error).expect_err("bytes");
        assert_eq!(wrong, "has the unit \"GB\", which is one of size, not of bandwidth");
        for (unit, meant) in [("mbps", "did you mean Mbps?"), ("Mpbs", "did you mean Mbps?")] {
            let (_, remedy) = unit_scale::<BitsPerSecond>(Some(unit)).map_err(error).expect_err("a slip");
            assert_eq!(remedy, meant, "{unit}");
        }
        let (_, remedy) = unit_scale::<Nanos>(Some("parsec")).map_err(error).expect_err("no unit of time");
        assert_eq!(remedy, "give one of ns, us, ms, s");
        assert_eq!(aurora_scale::<BitsPerSecond>(Some("Gbps")).ok(), Some(1_024_000_000));
        assert_eq!(aurora_scale::<Bytes>(Some("MB")).ok(), Some(1 << 20));
        assert_eq!(aurora_scale::<BitsPerSecond>(Some("Mbps")).ok(), Some(1_000_000));
        assert!(unit_scale::<Count>(Some("cores")).is_err() && unit_scale::<Nanos>(None).is_err());
    }
}
