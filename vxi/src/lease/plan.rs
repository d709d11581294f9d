//! A plan: what will be done, in which order.

use serde::Serialize;

use super::demand::Demand;
use super::place::Proof;
use crate::calendar::Window;
use crate::model::Timestamp;

/// The steps from the state that is to the one that is asked for, in order. Between any two of them everything that is
/// leased is there, and while a step is done as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What is done, first to last.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Step {
    /// The time of a lease is over: what it held is free already.
    End {
        /// The lease.
        lease: String,
        /// When it ended.
        #[serde(serialize_with = "as_text")]
        at: Timestamp,
    },
    /// A lease is given back.
    Release {
        /// The lease.
        lease: String,
    },
    /// The first substrate of a state.
    Found {
        /// Its name.
        substrate: String,
        /// Its hosts.
        hosts: usize,
        /// Its links.
        links: usize,
    },
    /// A component of the substrate is there for the first time.
    Add {
        /// Such as `node`.
        kind: &'static str,
        /// Its name.
        component: String,
    },
    /// A component of the substrate is not what it was.
    Alter {
        /// Such as `node`.
        kind: &'static str,
        /// Its name.
        component: String,
        /// How it changes, one sentence for each thing.
        changes: Vec<String>,
    },
    /// A component leaves the substrate. Nothing is on it any more.
    Withdraw {
        /// Such as `node`.
        kind: &'static str,
        /// Its name.
        component: String,
    },
    /// A component that was held back is opened, because a lease needs it.
    Open {
        /// Such as `node`.
        kind: &'static str,
        /// Its name.
        component: String,
        /// The lease.
        lease: String,
    },
    /// A component is held back again, because no lease needs it any more.
    Close {
        /// Such as `node`.
        kind: &'static str,
        /// Its name.
        component: String,
    },
    /// A virtual vertex moves to another host, and its links with it. It goes on running.
    Move {
        /// The lease.
        lease: String,
        /// Which vertex, from where, to where.
        #[serde(flatten)]
        moved: Moved,
        /// The links whose paths change.
        rerouted: Vec<Rerouted>,
        /// Why.
        reason: String,
    },
    /// A virtual link takes another path; both its ends stay.
    Reroute {
        /// The lease.
        lease: String,
        /// The link and its paths.
        #[serde(flatten)]
        rerouted: Rerouted,
        /// Why.
        reason: String,
    },
    /// A lease asks for something else than before.
    Change {
        /// The lease.
        lease: String,
        /// What it asks for now that it did not before, one sentence for each thing.
        changes: Vec<String>,
        /// Its vertices that move.
        moved: Vec<Moved>,
        /// Its links, old ones that take another path and new ones.
        rerouted: Vec<Rerouted>,
        /// Where its new vertices are.
        placed: Vec<Placed>,
    },
    /// A new lease.
    Grant {
        /// Its name.
        lease: String,
        /// When it holds.
        #[serde(serialize_with = "as_text")]
        window: Window,
        /// Where its vertices are.
        placed: Vec<Placed>,
        /// The paths of its links.
        routed: Vec<Rerouted>,
        /// How good its place is, where that was asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        proof: Option<Proof>,
    },
}

/// A virtual vertex on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// The vertex.
    pub node: String,
    /// Such as `node`.
    pub kind: &'static str,
    /// Its host.
    pub host: String,
    /// Where that stands.
    pub site: Option<String>,
    /// The most that it asks for, in words.
    pub asks: String,
}

/// A virtual vertex that leaves its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// The vertex.
    pub node: String,
    /// The host that it leaves.
    pub from: String,
    /// The host that it goes to.
    pub to: String,
    /// Memory and disk that go with it, in bytes.
    pub bytes: u64,
}

/// A virtual link and its paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rerouted {
    /// The link.
    pub link: String,
    /// The hosts along its paths until now; none where it is new.
    pub from: Vec<Vec<String>>,
    /// The hosts along its paths from now on.
    pub to: Vec<Vec<String>>,
    /// What it asks for, in words, period by period.
    pub asks: String,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Steps that add, alter and remove, in this order.
    pub fn counts(&self) -> [usize; 3] {
        let count = |symbol: char| self.steps.iter().filter(|step| step.symbol() == symbol).count();
        ['+', '~', '-'].map(count)
    }
}

impl Step {
    /// `+` where something is there afterwards that was not, `-` the other way round, `~` else.
    pub const fn symbol(&self) -> char {
        match self {
            Self::Found { .. } | Self::Add { .. } | Self::Open { .. } | Self::Grant { .. } => '+',
            Self::Alter { .. } | Self::Move { .. } | Self::Reroute { .. } | Self::Change { .. } => '~',
            Self::End { .. } | Self::Release { .. } | Self::Withdraw { .. } | Self::Close { .. } => '-',
        }
    }
}

/// What a link asks for, such as `I 900 Mbps`; periods that ask for nothing are left out.
pub(crate) fn link_asks(demand: &Demand, link: usize) -> String {
    use crate::model::BitsPerSecond;
    let link = &demand.links[link];
    let constant = link.bandwidth.windows(2).all(|two| two[0] == two[1]);
    if let (true, Some(&first)) = (constant, link.bandwidth.first()) {
        return BitsPerSecond(first).to_string();
    }
    let mut said = Vec::new();
    for (n, period) in demand.periods.iter().enumerate().filter(|&(n, _)| link.bandwidth[n] > 0) {
        let amount = BitsPerSecond(link.bandwidth[n]);
        said.push(match &period.event {
            Some(event) => format!("{event} {amount}"),
            None => format!("period {} {amount}", n + 1),
        });
    }
    said.join(", ")
}

fn as_text<T: std::fmt::Display, S: serde::Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}
