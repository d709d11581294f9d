//! What is asked for: a request in names, base units and periods, arrays expanded.
//!
//! This, not the file, is what a lease keeps: two files that ask for the same are the same demand, and applying the
//! second changes nothing. Offsets are from the start of the lease, so that a request without a start date asks for the
//! same whenever it is granted.

use serde::{Deserialize, Serialize};

use crate::calendar::Window;
use crate::model::{BitsPerSecond, Nanos, Timestamp};
use crate::substrate::{Amounts, Kind, nanos};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demand {
    /// Its name; of all leases of a substrate only one has it.
    pub id: String,
    /// When it begins; none: when it is granted.
    #[serde(with = "instant")]
    pub start: Option<Timestamp>,
    /// Its periods in order, without gaps. At least one.
    pub periods: Vec<Period>,
    /// Virtual vertices, each name once.
    pub nodes: Vec<Node>,
    /// Virtual links, each name once.
    pub links: Vec<Link>,
}

/// A stretch in which nothing that is asked for changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// The event that opened it.
    pub event: Option<String>,
    /// From the start of the lease.
    #[serde(with = "nanos")]
    pub from: Nanos,
    /// From the start of the lease; none: it has no end. Only the last has none.
    pub until: Option<u64>,
}

/// A virtual vertex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The component of the file that it is an element of: its own name, unless it came from an array.
    pub whole: String,
    /// The site that it is anchored at.
    pub site: Option<String>,
    /// Where it may be, as the provider names regions.
    pub region: Option<String>,
    /// Such as `x86_64`.
    pub architecture: Option<String>,
    /// Devices that its host must have.
    pub devices: Vec<String>,
    /// The least frequency of its host's cores in Hz.
    pub frequency: u64,
    /// Nobody else may be on its host.
    pub exclusive: bool,
    /// The array that it is an element of: elements of one array may share a host.
    pub array: Option<u32>,
    /// What it asks for in each period.
    pub amounts: Vec<Amounts<u64>>,
}

/// A virtual link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// The link of the file that it is a part of: its own name, unless an array made it several.
    pub whole: String,
    /// The nodes that it joins, by their place in the list.
    pub ends: [usize; 2],
    /// In bit/s in each period: the larger of both ways.
    pub bandwidth: Vec<u64>,
    /// The most that its path may take, in nanoseconds.
    pub latency: Option<u64>,
}

impl Demand {
    /// The window of each period when the lease starts at `start`. None where it is beyond the end of time.
    pub fn windows(&self, start: Timestamp) -> Vec<Option<Window>> {
        let of = |period: &Period| {
            let until = period.until.and_then(|until| start.after(Nanos(until)));
            Window::new(start.after(period.from)?, until)
        };
        self.periods.iter().map(of).collect()
    }

    /// The window of the whole when it starts at `start`.
    pub fn window(&self, start: Timestamp) -> Window {
        let until = self.periods.last().and_then(|period| period.until);
        Window { from: start, until: until.and_then(|until| start.after(Nanos(until))) }
    }

    /// What messages call a period.
    pub fn period_name(&self, period: usize) -> String {
        match self.periods.get(period).and_then(|period| period.event.as_deref()) {
            Some(event) => format!("period {event}"),
            None if self.periods.len() == 1 => "its whole time".to_owned(),
            None => format!("its period {} of {}", period + 1, self.periods.len()),
        }
    }

    /// The links of a node.
    pub fn links_of(&self, node: usize) -> impl Iterator<Item = usize> {
        (0..self.links.len()).filter(move |&link| self.links[link].ends.contains(&node))
    }

    /// Whether two of its nodes may be on one host.
    pub fn may_share(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.nodes[a], &self.nodes[b]);
        a.array.is_some() && a.array == b.array && !a.exclusive && !b.exclusive
    }
}

impl Node {
    /// The most that it asks for in any period.
    pub fn peak(&self) -> Amounts<u64> {
        Amounts::<u64>::default().map(|measure, _| self.amounts.iter().map(|a| *a.of(measure)).max().unwrap_or(0))
    }
}

impl Node {
    /// Memory and disk that go along when it moves, in bytes.
    pub fn bytes(&self) -> u64 {
        let peak = self.peak();
        peak.memory.saturating_add(peak.disk)
    }
}

impl Link {
    /// The most that it asks for in any period.
    pub fn peak(&self) -> BitsPerSecond {
        BitsPerSecond(self.bandwidth.iter().copied().max().unwrap_or(0))
    }
}

/// An instant as nanoseconds since 1970.
pub(crate) mod instant {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::model::Timestamp;

    pub fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        at.map(|at| at.0).serialize(to)
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<i64>::deserialize(from)?.map(Timestamp))
    }
}
