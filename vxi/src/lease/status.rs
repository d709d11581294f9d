//! What is there, what of it is free, held back and leased: now, and over the rest of the calendar.

use serde::Serialize;

use super::ground::{Ground, GroundError};
use super::ledger::{Hold, Ledger};
use super::{Lease, State};
use crate::calendar::{Calendar, Steps, Window};
use crate::model::{BitsPerSecond, Timestamp};
use crate::substrate::Measure;

/// A state at an instant, and from it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The substrate's name.
    pub substrate: String,
    /// The instant.
    #[serde(serialize_with = "as_text")]
    pub at: Timestamp,
    /// All leases that are known, in the order in which they were granted.
    pub leases: Vec<LeaseStatus>,
    /// All capacities of all components: hosts, then links.
    pub capacities: Vec<CapacityStatus>,
}

/// A lease at an instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseStatus {
    /// Its name.
    pub lease: String,
    /// When it holds.
    #[serde(serialize_with = "as_text")]
    pub window: Window,
    /// `waiting`, `running` or `over`.
    pub phase: &'static str,
    /// The event that opened its period, if it is running.
    pub period: Option<String>,
    /// Its virtual vertices and their hosts.
    pub hosts: Vec<(String, String)>,
    /// How many virtual links it has.
    pub links: usize,
}

/// A capacity of a component at an instant, and from it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CapacityStatus {
    /// The component.
    pub component: String,
    /// Such as `node` or `link`.
    pub kind: &'static str,
    /// Where it stands; for a link nowhere.
    pub site: Option<String>,
    /// `cores`, `memory`, `disk` or `bandwidth`.
    pub measure: &'static str,
    /// `core`, `byte` or `bit/s`.
    pub unit: &'static str,
    /// Stretches of time, from the instant on.
    pub calendar: Vec<Stretch>,
}

/// What a capacity is during a stretch of time, in the unit of the capacity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// When.
    #[serde(serialize_with = "as_text")]
    pub window: Window,
    /// To be had.
    pub free: u64,
    /// Held back.
    pub provisioned: u64,
    /// Leased.
    pub allocated: u64,
}

impl Status {
    /// Of a state at an instant.
    ///
    /// # Errors
    /// The leases do not lie on the substrate: the state was changed by hand.
    pub fn of(state: &State, at: Timestamp) -> Result<Self, GroundError> {
        let ground = Ground::new(&state.substrate, &state.substrate)?;
        let mut ledger = Ledger::new(&ground);
        for lease in &state.leases {
            let placement = ground.placement(lease)?;
            ledger.add(&ground, &Hold::of(&lease.demand, lease.start, &placement, at));
        }
        let leases = state.leases.iter().map(|lease| lease_status(lease, at)).collect();
        let mut capacities = Vec::new();
        for (host, book) in state.substrate.hosts.iter().zip(&ledger.hosts) {
            for measure in Measure::ALL {
                let total = host.capacity.of(measure);
                if total.is_zero() {
                    continue;
                }
                let calendar = calendar(total, book.allocated.of(measure), &book.users(), host.provisioned);
                capacities.push(CapacityStatus {
                    component: host.name.clone(),
                    kind: host.kind.word(),
                    site: host.site.clone(),
                    measure: measure.word(),
                    unit: if measure == Measure::Cores { "core" } else { "byte" },
                    calendar: stretches(&calendar, at),
                });
            }
        }
        for (link, book) in state.substrate.links.iter().zip(&ledger.links) {
            let calendar = calendar(&link.bandwidth, &book.allocated, &book.ways, link.provisioned);
            capacities.push(CapacityStatus {
                component: link.name.clone(),
                kind: "link",
                site: None,
                measure: "bandwidth",
                unit: "bit/s",
                calendar: stretches(&calendar, at),
            });
        }
        Ok(Self { substrate: state.substrate.id.clone(), at, leases, capacities })
    }
}

impl CapacityStatus {
    /// What it is at the instant of the status.
    pub fn now(&self) -> Option<&Stretch> {
        self.calendar.first()
    }

    /// An amount of it in words.
    pub fn show(&self, amount: u64) -> String {
        match self.unit {
            "core" => amount.to_string(),
            "byte" => crate::model::Bytes(amount).to_string(),
            _ => BitsPerSecond(amount).to_string(),
        }
    }
}

/// What is held back is so while nobody is on the component.
fn calendar(total: &Steps, allocated: &Steps, users: &Steps, provisioned: bool) -> Calendar {
    let mut calendar = Calendar::new(total.clone());
    calendar.allocated = allocated.clone();
    if provisioned {
        calendar.provisioned = total.combine(users, |total, users| if users == 0 { total } else { 0 });
    }
    calendar
}

fn stretches(calendar: &Calendar, at: Timestamp) -> Vec<Stretch> {
    let free = calendar.free();
    // A function that changes whenever one of the states does.
    let mut instants: Vec<Timestamp> = [&free, &calendar.provisioned, &calendar.allocated]
        .into_iter()
        .flat_map(Steps::changes)
        .filter(|&change| change > at)
        .collect();
    instants.push(at);
    instants.sort_unstable();
    instants.dedup();
    let ends = instants.iter().skip(1).copied().map(Some).chain([None]);
    let stretch = |(&from, until): (&Timestamp, Option<Timestamp>)| Stretch {
        window: Window { from, until },
        free: free.at(from),
        provisioned: calendar.provisioned.at(from),
        allocated: calendar.allocated.at(from),
    };
    instants.iter().zip(ends).map(stretch).collect()
}

fn lease_status(lease: &Lease, at: Timestamp) -> LeaseStatus {
    let window = lease.window();
    let running = lease.demand.windows(lease.start).iter().position(|w| w.is_some_and(|w| w.contains(at)));
    let nodes = lease.demand.nodes.iter().map(|node| node.name.clone());
    LeaseStatus {
        lease: lease.id().to_owned(),
        window,
        phase: match running {
            Some(_) => "running",
            None if at < window.from => "waiting",
            None => "over",
        },
        period: running.and_then(|period| lease.demand.periods[period].event.clone()),
        hosts: nodes.zip(lease.hosts.iter().cloned()).collect(),
        links: lease.demand.links.len(),
    }
}

fn as_text<T: std::fmt::Display, S: serde::Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}
