//! Whether this machine can carry the engine, and what would make it carry it better.
//!
//! Everything here looks and leaves no trace: no program is attached, no setting changed, no device brought up. What is
//! asked of the kernel is in `probe`; what to make of the answers is in the other files, as functions of the answers,
//! so that machines that are not at hand can be tested.

mod device;
mod host;
mod kernel;
mod probe;

use std::fmt;

use serde::Serialize;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// The engine runs, but slower, or with a feature less.
    Note,
    /// The engine cannot run, or not on this device.
    Problem,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Problem => "problem",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about: `kernel`, `huge pages`, `device eth1`.
    pub thing: String,
    /// How much it matters.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do, when something can be done.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(thing: impl Into<String>, found: impl Into<String>) -> Self {
        Self { thing: thing.into(), level: Level::Ok, found: found.into(), remedy: None }
    }

    fn note(thing: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { thing: thing.into(), level: Level::Note, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn problem(thing: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { thing: thing.into(), level: Level::Problem, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// All that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether the engine can run: no finding is a problem.
    pub ready: bool,
    /// Machine first, then device by device.
    pub findings: Vec<Finding>,
}

/// Looks at the machine and at these devices; none given: all but loopback.
pub fn examine(devices: &[String]) -> Report {
    let mut findings = kernel::examine();
    findings.extend(host::examine());
    findings.extend(device::examine(devices));
    Report { ready: findings.iter().all(|finding| finding.level != Level::Problem), findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_a_problem_and_names_itself() {
        let report = examine(&["no-such-dev".into()]);
        assert!(!report.ready);
        let about: Vec<_> = report.findings.iter().filter(|f| f.thing == "device no-such-dev").collect();
        assert_eq!(about.len(), 1, "{about:?}");
        assert_eq!(about[0].level, Level::Problem);
    }

    #[test]
    fn whatever_is_not_ok_says_what_to_do() {
        for finding in examine(&[]).findings {
            assert_eq!(finding.level == Level::Ok, finding.remedy.is_none(), "{finding:?}");
        }
    }
}
