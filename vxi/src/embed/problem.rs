//! The substrate and the answer: hosts, links, an embedding, a refusal.
//!
//! Everything is an index and a whole number. Names, units and clocks belong to those who ask: the same code then
//! serves a benchmark's JSON and a lease in VXDL. Amounts are in whatever unit the caller keeps to (kbit/s, MiB, tenths
//! of a core); only amounts of the same resource are ever compared.

use thiserror::Error;

use super::request::{Request, VirtualLinkId, VirtualNodeId};

/// A capacity or a demand, in the unit that the caller keeps to for this resource. At most [`MOST`].
pub type Amount = u64;

/// The largest amount that a capacity, a demand or a weight may have: sums of them then never overflow.
pub const MOST: Amount = 1 << 40;

/// A vertex of the substrate: a machine, a cloud of machines, or a switch (a host without capacity).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u32);

/// An undirected edge of the substrate. Two hosts may have several between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// A latency in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub u64);

impl HostId {
    pub(crate) fn at(self) -> usize {
        self.0 as usize
    }
}

impl LinkId {
    pub(crate) fn at(self) -> usize {
        self.0 as usize
    }
}

/// What there is: hosts with capacities of one or more resources, and links with bandwidth and latency.
///
/// It never changes while requests come and go; what is free of it is a [`super::Residual`].
#[derive(Debug, Clone)]
pub struct Substrate {
    resources: usize,
    capacities: Vec<Amount>,
    machines: Vec<u32>,
    links: Vec<PhysicalLink>,
    first: Vec<u32>,
    arcs: Vec<Arc>,
}

/// A link of the substrate as it was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhysicalLink {
    /// Its two ends.
    pub ends: [HostId; 2],
    /// What it carries in all, in the caller's unit of bandwidth.
    pub bandwidth: Amount,
    /// What one traversal adds to a path's latency.
    pub latency: Micros,
}

/// A link as seen from one of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arc {
    pub to: u32,
    pub link: u32,
}

/// Builds a [`Substrate`] host by host and link by link.
#[derive(Debug, Clone)]
pub struct SubstrateBuilder(Substrate);

impl SubstrateBuilder {
    /// An empty substrate whose hosts have `resources` kinds of capacity (CPU, memory, ...), in an order of the
    /// caller's.
    pub fn new(resources: usize) -> Self {
        Self(Substrate { resources, capacities: vec![], machines: vec![], links: vec![], first: vec![], arcs: vec![] })
    }

    /// Adds a machine with these capacities, one per resource.
    ///
    /// # Errors
    /// When there are too few or too many capacities, or one is beyond [`MOST`].
    pub fn host(&mut self, capacities: &[Amount]) -> Result<HostId, ProblemError> {
        self.cloud(1, capacities)
    }

    /// Adds a cloud of `machines` like machines, each with these capacities. A request may put as many of its virtual
    /// nodes there as there are machines; links between them cost nothing. What is free is kept for the cloud as a
    /// whole, so that a demand must fit one machine's size and the cloud's sum, but who sits on which machine is the
    /// cloud's own affair.
    ///
    /// # Errors
    /// When there is no machine, there are too few or too many capacities, or one is beyond [`MOST`].
    pub fn cloud(&mut self, machines: u32, capacities: &[Amount]) -> Result<HostId, ProblemError> {
        let host = HostId(self.0.machines.len() as u32);
        if capacities.len() != self.0.resources {
            return Err(ProblemError::HostResources { host, has: capacities.len(), wants: self.0.resources });
        }
        if machines == 0 || capacities.iter().any(|c| c.saturating_mul(u64::from(machines)) > MOST) {
            return Err(ProblemError::HostAmount { host });
        }
        self.0.capacities.extend_from_slice(capacities);
        self.0.machines.push(machines);
        Ok(host)
    }

    /// Adds a link.
    ///
    /// # Errors
    /// When an end does not exist or both are the same, or the bandwidth or latency is beyond [`MOST`].
    pub fn link(&mut self, a: HostId, b: HostId, bandwidth: Amount, latency: Micros) -> Result<LinkId, ProblemError> {
        let link = LinkId(self.0.links.len() as u32);
        let hosts = self.0.machines.len();
        if a == b || a.at() >= hosts || b.at() >= hosts {
            return Err(ProblemError::LinkEnds { link, ends: [a, b] });
        }
        if bandwidth > MOST || latency.0 > MOST {
            return Err(ProblemError::LinkAmount { link });
        }
        self.0.links.push(PhysicalLink { ends: [a, b], bandwidth, latency });
        Ok(link)
    }

    /// The substrate, with its links laid out by host for the searches.
    pub fn build(self) -> Substrate {
        let mut substrate = self.0;
        let mut first = vec![0u32; substrate.machines.len() + 1];
        for link in &substrate.links {
            for end in link.ends {
                first[end.at() + 1] += 1;
            }
        }
        for host in 0..substrate.machines.len() {
            first[host + 1] += first[host];
        }
        let mut next = first.clone();
        let mut arcs = vec![Arc { to: 0, link: 0 }; 2 * substrate.links.len()];
        for (id, link) in substrate.links.iter().enumerate() {
            for (from, to) in [(link.ends[0], link.ends[1]), (link.ends[1], link.ends[0])] {
                arcs[next[from.at()] as usize] = Arc { to: to.0, link: id as u32 };
                next[from.at()] += 1;
            }
        }
        substrate.first = first;
        substrate.arcs = arcs;
        substrate
    }
}

impl Substrate {
    /// How many kinds of capacity a host has.
    pub fn resources(&self) -> usize {
        self.resources
    }

    /// How many hosts there are.
    pub fn hosts(&self) -> usize {
        self.machines.len()
    }

    /// All links, in order of their ids.
    pub fn links(&self) -> &[PhysicalLink] {
        &self.links
    }

    /// What one machine of `host` has, per resource.
    pub fn capacities(&self, host: HostId) -> &[Amount] {
        &self.capacities[host.at() * self.resources..][..self.resources]
    }

    /// How many machines stand behind `host`: one, unless it is a cloud.
    pub fn machines(&self, host: HostId) -> u32 {
        self.machines[host.at()]
    }

    /// The neighbours of a host, each with the link that leads there.
    pub fn neighbours(&self, host: HostId) -> impl Iterator<Item = (HostId, LinkId)> + '_ {
        self.arcs(host.0).iter().map(|arc| (HostId(arc.to), LinkId(arc.link)))
    }

    /// The links of a host, as arcs away from it.
    pub(crate) fn arcs(&self, host: u32) -> &[Arc] {
        let (from, to) = (self.first[host as usize], self.first[host as usize + 1]);
        &self.arcs[from as usize..to as usize]
    }
}

/// Where a request was put: a host for each virtual node, a route for each virtual link, both in the request's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedding {
    /// The host of each virtual node.
    pub hosts: Vec<HostId>,
    /// The route of each virtual link: one share, unless splitting was allowed. No share at all never occurs: a link
    /// between two virtual nodes of one host has a share with one host and no link.
    pub routes: Vec<Vec<Share>>,
}

impl Embedding {
    /// What it costs: bandwidth × hops, weighted by the request's periods.
    pub fn cost(&self, request: &Request) -> u64 {
        let of = |share: &Share| {
            let bandwidth = share.bandwidth.iter().zip(request.weights());
            share.links.len() as u64 * bandwidth.map(|(bandwidth, weight)| bandwidth * weight).sum::<u64>()
        };
        self.routes.iter().flatten().map(of).sum()
    }
}

/// A path, and what of a virtual link's bandwidth it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The hosts along the path, from the host of the link's first end to that of its second.
    pub hosts: Vec<HostId>,
    /// The links between them: one fewer than hosts.
    pub links: Vec<LinkId>,
    /// The bandwidth carried, per period.
    pub bandwidth: Vec<Amount>,
}

/// Why a request has no embedding: the first thing that was found in the way.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No host that the virtual node may use has the capacity, whatever the rest of the request does.
    #[error("virtual node {}: no allowed host has what it asks for{}", node.0, shortage_of(*shortage))]
    NoHost {
        /// The virtual node.
        node: VirtualNodeId,
        /// What lacks at the host that comes nearest; `None` when no host is allowed and open at all.
        shortage: Option<Shortage>,
    },
    /// Each virtual node has a host that would do, but there are not enough of them for all at once.
    #[error("{needed} virtual nodes need hosts of their own, and only {found} can have one at once")]
    TooFewHosts {
        /// Virtual nodes that cannot share.
        needed: usize,
        /// The most that can be placed at once.
        found: usize,
    },
    /// No placement leaves this virtual link a path with its bandwidth.
    #[error("virtual link {}: no path with bandwidth {bandwidth} in period {period}", link.0)]
    NoPath {
        /// The virtual link.
        link: VirtualLinkId,
        /// The period that is short.
        period: usize,
        /// What it asks for there.
        bandwidth: Amount,
    },
    /// There are paths with the bandwidth, but none is quick enough.
    #[error("virtual link {}: the quickest path takes {} us, {} us at most are asked for", link.0, least.0, bound.0)]
    TooSlow {
        /// The virtual link.
        link: VirtualLinkId,
        /// The bound asked for.
        bound: Micros,
        /// The least latency between any two allowed hosts.
        least: Micros,
    },
    /// It would fit, but spends too much of what is scarce for what it brings (an admission rule was given).
    #[error("it would cost {cost} for a revenue of {revenue}: dearer than the admission rule allows")]
    TooDear {
        /// Cost of the best embedding found, in priced units.
        cost: u64,
        /// Revenue of the request.
        revenue: u64,
    },
    /// Nothing in particular is too small, and the search found nothing. `proved` says whether there is nothing.
    #[error("no embedding {}", if *proved { "exists" } else { "was found" })]
    Nowhere {
        /// Whether every possibility was ruled out.
        proved: bool,
    },
}

/// What lacks at a host for one virtual node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// The host that comes nearest.
    pub host: HostId,
    /// Which resource, by the substrate's order.
    pub resource: usize,
    /// In which period of the request.
    pub period: usize,
    /// What is asked for.
    pub asked: Amount,
    /// What is free there.
    pub free: Amount,
}

fn shortage_of(shortage: Option<Shortage>) -> String {
    match shortage {
        Some(s) => format!(
            " (nearest: host {}, resource {}, period {}: {} free of {} asked for)",
            s.host.0, s.resource, s.period, s.free, s.asked
        ),
        None => String::new(),
    }
}

/// A substrate or a request that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProblemError {
    /// A host with the wrong number of capacities.
    #[error("host {}: {has} capacities given, the substrate has {wants} resources: give one each", host.0)]
    HostResources {
        /// The host's index.
        host: HostId,
        /// What was given.
        has: usize,
        /// What the substrate was built with.
        wants: usize,
    },
    /// A capacity that is out of range.
    #[error("host {}: give it at least one machine, and no more than 2^40 of a resource in all", host.0)]
    HostAmount {
        /// The host's index.
        host: HostId,
    },
    /// A link to nowhere or to itself.
    #[error("link {} from host {} to host {}: both must exist and differ", link.0, ends[0].0, ends[1].0)]
    LinkEnds {
        /// The link's index.
        link: LinkId,
        /// What was given.
        ends: [HostId; 2],
    },
    /// A bandwidth or latency that is out of range.
    #[error("link {}: bandwidth and latency must be at most 2^40", link.0)]
    LinkAmount {
        /// The link's index.
        link: LinkId,
    },
    /// A virtual node whose demand has the wrong shape or is out of range.
    #[error("virtual node {}: give {wants} demands (resources x periods) of at most 2^40 each", node.0)]
    NodeDemand {
        /// The virtual node's index.
        node: VirtualNodeId,
        /// Resources times periods.
        wants: usize,
    },
    /// A virtual link to nowhere or to itself.
    #[error("virtual link {} from virtual node {} to {}: both must exist and differ", link.0, ends[0].0, ends[1].0)]
    VirtualLinkEnds {
        /// The virtual link's index.
        link: VirtualLinkId,
        /// What was given.
        ends: [VirtualNodeId; 2],
    },
    /// A virtual link whose bandwidth has the wrong shape or is out of range.
    #[error("virtual link {}: give one bandwidth a period ({wants}), of at most 2^40 each", link.0)]
    VirtualLinkBandwidth {
        /// The virtual link's index.
        link: VirtualLinkId,
        /// The request's periods.
        wants: usize,
    },
    /// A request without a period, or weights that do not match.
    #[error("a request needs at least one period, and one weight of 1 to 2^20 for each")]
    Periods,
}
