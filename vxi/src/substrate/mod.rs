//! The substrate: what there is to lease, in names, units and time.
//!
//! It is written in the same language as a request. Its nodes, storages, routers and access points are hosts here, its
//! arrays single ones (`m[1]`, `m[2]`, ...), because a lease says which machine it got. Every capacity is a step
//! function over time ([`Steps`]): a component that comes later, leaves earlier or is in repair has none then.
//!
//! A link carries both ways, each its bandwidth, and what is leased of it is counted once: the larger of both ways.

mod measure;
mod read;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub use measure::{Amounts, Measure};
pub(crate) use read::LINK_GRAIN;
pub use read::SubstrateError;

use crate::calendar::Steps;
use crate::model::Nanos;

/// All that there is to lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Substrate {
    /// Its name.
    pub id: String,
    /// Its vertices, each name once.
    pub hosts: Vec<Host>,
    /// Its edges, each name once.
    pub links: Vec<Link>,
}

/// A vertex: carries virtual vertices and forwards between its links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// What it can carry follows from what it is.
    pub kind: Kind,
    /// Where it stands.
    pub site: Option<String>,
    /// As its provider names regions.
    pub region: Option<String>,
    /// Such as `x86_64`.
    pub architecture: Option<String>,
    /// Devices that it has.
    pub devices: Vec<String>,
    /// Frequency of its cores in Hz, if it is known.
    pub frequency: Option<u64>,
    /// What it has, over time.
    pub capacity: Amounts<Steps>,
    /// 1 while it is there at all.
    pub there: Steps,
    /// Held back until it is needed.
    pub provisioned: bool,
    /// In millionths of what the owner counts in.
    pub cost: u64,
}

/// An edge, carrying its bandwidth each way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// The names of the hosts that it joins.
    pub ends: [String; 2],
    /// In bit/s, over time.
    pub bandwidth: Steps,
    /// What one traversal takes.
    #[serde(with = "nanos")]
    pub latency: Nanos,
    /// 1 while it is there at all, with both its ends.
    pub there: Steps,
    /// Held back until it is needed.
    pub provisioned: bool,
    /// In millionths of what the owner counts in.
    pub cost: u64,
}

/// What a vertex is, virtual or physical.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Computes.
    #[default]
    Node,
    /// Keeps data.
    Storage,
    /// Forwards.
    Router,
    /// Where the world is met.
    AccessPoint,
}

impl Kind {
    /// As messages call it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Storage => "storage",
            Self::Router => "router",
            Self::AccessPoint => "access point",
        }
    }

    /// Whether a physical vertex of this kind can carry a virtual one of kind `asked`. A machine carries anything but
    /// the world; a virtual router is at home on a router, storage on storage.
    pub fn carries(self, asked: Self) -> bool {
        match self {
            Self::Node => asked != Self::AccessPoint,
            Self::Storage => asked == Self::Storage,
            Self::Router => asked == Self::Router,
            Self::AccessPoint => matches!(asked, Self::AccessPoint | Self::Router),
        }
    }
}

impl Substrate {
    /// Where each host is in the list, by name.
    pub fn hosts_by_name(&self) -> HashMap<&str, usize> {
        self.hosts.iter().enumerate().map(|(n, host)| (host.name.as_str(), n)).collect()
    }

    /// Where each link is in the list, by name.
    pub fn links_by_name(&self) -> HashMap<&str, usize> {
        self.links.iter().enumerate().map(|(n, link)| (link.name.as_str(), n)).collect()
    }

    /// The sites that there are, each once, in order of appearance.
    pub fn sites(&self) -> Vec<&str> {
        let mut sites: Vec<&str> = Vec::new();
        for site in self.hosts.iter().filter_map(|host| host.site.as_deref()) {
            if !sites.contains(&site) {
                sites.push(site);
            }
        }
        sites
    }
}

/// Whether a physical site is the one that is asked for, or part of it: `lyon.grid5000.fr` is in `grid5000.fr`.
pub fn is_in_site(site: &str, asked: &str) -> bool {
    site == asked || site.strip_suffix(asked).is_some_and(|rest| rest.ends_with('.'))
}

/// A span as its nanoseconds.
pub(crate) mod nanos {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::model::Nanos;

    pub fn serialize<S: Serializer>(span: &Nanos, to: S) -> Result<S::Ok, S::Error> {
        span.0.serialize(to)
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Nanos, D::Error> {
        u64::deserialize(from).map(Nanos)
    }
}
