//! What a host has and a virtual vertex asks for: three capacities that are counted alike.
//!
//! The calendar keeps base units (cores, bytes). The search for an embedding wants numbers below 2^40 and gets
//! blocks of 512 bytes, in which both a GB and a GiB are whole; what is free rounded down and what is asked for rounded
//! up, so that what it finds fits in base units too.

use serde::{Deserialize, Serialize};

use crate::embed::problem::MOST;
use crate::model::{Bytes, Count};

/// A capacity of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Processor cores.
    Cores,
    /// Memory in bytes.
    Memory,
    /// Disk in bytes.
    Disk,
}

/// One of something for each measure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amounts<T> {
    /// Cores.
    pub cores: T,
    /// Memory in bytes.
    pub memory: T,
    /// Disk in bytes.
    pub disk: T,
}

impl Measure {
    /// All, in the order in which the search for an embedding numbers them.
    pub const ALL: [Self; 3] = [Self::Cores, Self::Memory, Self::Disk];

    /// As messages call it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cores => "cores",
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }

    /// An amount with its unit.
    pub fn show(self, amount: u64) -> String {
        match self {
            Self::Cores if amount == 1 => "1 core".to_owned(),
            Self::Cores => format!("{} cores", Count(amount)),
            Self::Memory => format!("{} of memory", Bytes(amount)),
            Self::Disk => format!("{} of disk", Bytes(amount)),
        }
    }

    /// Base units in one unit of the search.
    pub const fn grain(self) -> u64 {
        match self {
            Self::Cores => 1,
            Self::Memory | Self::Disk => 512,
        }
    }

    /// The most that can be asked for or be there, in base units.
    pub const fn ceiling(self) -> u64 {
        MOST.saturating_mul(self.grain())
    }
}

impl<T> Amounts<T> {
    /// One of them.
    pub fn of(&self, measure: Measure) -> &T {
        match measure {
            Measure::Cores => &self.cores,
            Measure::Memory => &self.memory,
            Measure::Disk => &self.disk,
        }
    }

    /// One of them, to be changed.
    pub fn of_mut(&mut self, measure: Measure) -> &mut T {
        match measure {
            Measure::Cores => &mut self.cores,
            Measure::Memory => &mut self.memory,
            Measure::Disk => &mut self.disk,
        }
    }

    /// The same, each one changed.
    pub fn map<U>(&self, mut change: impl FnMut(Measure, &T) -> U) -> Amounts<U> {
        Amounts {
            cores: change(Measure::Cores, &self.cores),
            memory: change(Measure::Memory, &self.memory),
            disk: change(Measure::Disk, &self.disk),
        }
    }
}

impl Amounts<u64> {
    /// Those that are not zero, with their units, in one line.
    pub fn show(&self) -> String {
        let said: Vec<String> =
            Measure::ALL.into_iter().filter(|&m| *self.of(m) > 0).map(|m| m.show(*self.of(m))).collect();
        if said.is_empty() { "nothing".to_owned() } else { said.join(", ") }
    }
}
