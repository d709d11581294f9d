//! Leases: who has what of a substrate, when, and how that changes.
//!
//! A [`State`] is a substrate and the leases on it. What should be is given as requests and a substrate; a [`Plan`] is
//! the way there, step by step, such that whatever runs keeps running: **every state between two steps is feasible, and
//! so is every step while it is being done** (what moves is in its old and its new place at once, and both fit). A plan
//! is made in full or refused with the reason; it is never half of one.
//!
//! [`store`] keeps the state in a file that survives being killed at any instant.

pub mod demand;
mod describe;
pub(crate) mod ground;
pub(crate) mod ledger;
pub(crate) mod moves;
pub(crate) mod place;
mod plan;
mod planner;
mod read;
pub(crate) mod room;
mod show;
mod status;
pub mod store;
pub(crate) mod target;

use serde::{Deserialize, Serialize};

pub use demand::Demand;
pub use ground::GroundError;
pub use ledger::Infeasible;
pub use place::{Proof, Search};
pub use plan::{Moved, Placed, Plan, Rerouted, Step};
pub use planner::{Asked, PlanError, Planned, plan};
pub use read::DemandError;
pub use status::{CapacityStatus, LeaseStatus, Status, Stretch};
pub use store::{Store, StoreError};

use crate::calendar::Window;
use crate::model::Timestamp;
use crate::substrate::Substrate;

/// A substrate and the leases on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What there is.
    pub substrate: Substrate,
    /// Who has what of it, in the order in which they were granted.
    pub leases: Vec<Lease>,
}

/// A granted request, and where it was put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// What was asked for.
    pub demand: Demand,
    /// When it begins.
    #[serde(with = "timestamp")]
    pub start: Timestamp,
    /// The host of each virtual vertex, in the demand's order.
    pub hosts: Vec<String>,
    /// The ways of each virtual link, in the demand's order: one, unless it was split.
    pub routes: Vec<Vec<Way>>,
}

/// A path, and what of a virtual link's bandwidth it carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// The hosts along it, from that of the link's first end to that of its second.
    pub hosts: Vec<String>,
    /// The links between them: one fewer than hosts.
    pub links: Vec<String>,
    /// What it carries in each period of the demand, in bit/s.
    pub bandwidth: Vec<u64>,
}

impl Lease {
    /// Its name.
    pub fn id(&self) -> &str {
        &self.demand.id
    }

    /// When it holds.
    pub fn window(&self) -> Window {
        self.demand.window(self.start)
    }

    /// Whether it is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.window().until.is_some_and(|until| until <= now)
    }
}

/// An instant as nanoseconds since 1970.
pub(crate) mod timestamp {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::model::Timestamp;

    pub fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        at.0.serialize(to)
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(from).map(Timestamp)
    }
}
