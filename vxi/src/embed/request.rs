//! A request: virtual nodes and links with their demands, over the periods of a lease.
//!
//! A virtual node keeps its host over the whole lease, and a virtual link its path; what they ask for may differ from
//! period to period. To the searches a resource in a period is simply one more dimension of a demand, so that the
//! common case (one resource, one period) costs no more than a comparison of two numbers.

use super::problem::{Amount, HostId, MOST, Micros, ProblemError};

/// A virtual node of a request, by its order there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualNodeId(pub u32);

/// A virtual link of a request, by its order there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualLinkId(pub u32);

/// Virtual nodes of a request that may share a host with each other (a cloud whose instances may be packed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// One instance to be placed on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualNode {
    /// What it asks for: `demand[period * resources + resource]`.
    pub demand: Vec<Amount>,
    /// The hosts it may sit on (an anchor, a kind of machine), sorted; `None`: any.
    pub allowed: Option<Vec<HostId>>,
    /// With whom it may share a host; `None`: with nobody of the same request.
    pub group: Option<GroupId>,
}

/// A link to be routed between the hosts of its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualLink {
    /// The virtual nodes that it joins.
    pub ends: [VirtualNodeId; 2],
    /// What it asks for in each period; 0 where it is not needed.
    pub bandwidth: Vec<Amount>,
    /// The most that its path may take from end to end.
    pub latency: Option<Micros>,
}

/// What is asked for. Built by [`RequestBuilder`], and whole once built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    resources: usize,
    weights: Vec<u64>,
    nodes: Vec<VirtualNode>,
    links: Vec<VirtualLink>,
}

impl Request {
    /// Kinds of capacity that a demand names.
    pub fn resources(&self) -> usize {
        self.resources
    }

    /// Periods of the lease.
    pub fn periods(&self) -> usize {
        self.weights.len()
    }

    /// What a unit counts in each period when costs are added up (its length, say).
    pub fn weights(&self) -> &[u64] {
        &self.weights
    }

    /// The virtual nodes.
    pub fn nodes(&self) -> &[VirtualNode] {
        &self.nodes
    }

    /// The virtual links.
    pub fn links(&self) -> &[VirtualLink] {
        &self.links
    }

    /// The bandwidth of a link over all periods, weighted: what one hop of it costs.
    pub fn hop_cost(&self, link: VirtualLinkId) -> u64 {
        self.weighted(&self.links[link.0 as usize].bandwidth)
    }

    fn weighted(&self, per_period: &[Amount]) -> u64 {
        per_period.iter().zip(&self.weights).map(|(amount, weight)| amount * weight).sum()
    }

    /// All that is asked for, nodes and links together, weighted by period: the revenue of the literature.
    pub fn revenue(&self) -> u64 {
        let links: u64 = self.links.iter().map(|link| self.weighted(&link.bandwidth)).sum();
        self.node_cost() + links
    }

    /// What the virtual nodes ask for in all, weighted by period: the part of the cost that no placement changes.
    pub fn node_cost(&self) -> u64 {
        let of = |node: &VirtualNode| -> u64 {
            let demands = node.demand.chunks(self.resources.max(1));
            demands.zip(&self.weights).map(|(demand, weight)| demand.iter().sum::<u64>() * weight).sum()
        };
        self.nodes.iter().map(of).sum()
    }

    /// Whether two of its virtual nodes may share a host that is not a cloud.
    pub fn may_share(&self, a: VirtualNodeId, b: VirtualNodeId) -> bool {
        let group = self.nodes[a.0 as usize].group;
        group.is_some() && group == self.nodes[b.0 as usize].group
    }
}

/// Builds a [`Request`] piece by piece.
#[derive(Debug, Clone)]
pub struct RequestBuilder {
    request: Request,
    groups: u32,
}

impl RequestBuilder {
    /// A request whose demands name `resources` kinds of capacity, over one period.
    pub fn new(resources: usize) -> Self {
        Self { request: Request { resources, weights: vec![1], nodes: Vec::new(), links: Vec::new() }, groups: 0 }
    }

    /// A request over several periods; what a unit costs in each is its weight (the length of the period, say).
    pub fn over(resources: usize, weights: &[u64]) -> Self {
        let mut builder = Self::new(resources);
        builder.request.weights = weights.to_vec();
        builder
    }

    /// Adds a virtual node: demands by period, then resource; where it may sit (`None`: anywhere).
    pub fn node(&mut self, demand: &[Amount], allowed: Option<&[HostId]>) -> VirtualNodeId {
        self.cloud(1, demand, allowed, false)[0]
    }

    /// Adds a cloud: `count` instances with this demand *each*. They sit on hosts of their own, unless `packed` allows
    /// them to share hosts among themselves.
    pub fn cloud(
        &mut self,
        count: u32,
        demand: &[Amount],
        allowed: Option<&[HostId]>,
        packed: bool,
    ) -> Vec<VirtualNodeId> {
        let allowed = allowed.map(|hosts| {
            let mut hosts = hosts.to_vec();
            hosts.sort_unstable();
            hosts.dedup();
            hosts
        });
        let group = packed.then_some(GroupId(self.groups));
        self.groups += u32::from(packed);
        let first = self.request.nodes.len() as u32;
        for _ in 0..count {
            self.request.nodes.push(VirtualNode { demand: demand.to_vec(), allowed: allowed.clone(), group });
        }
        (first..first + count).map(VirtualNodeId).collect()
    }

    /// A new group: its members may share hosts among themselves.
    pub fn group(&mut self) -> GroupId {
        self.groups += 1;
        GroupId(self.groups - 1)
    }

    /// Adds a virtual node that may share a host with the other members of a group, each with a demand and hosts of its
    /// own; in no group it sits alone.
    pub fn member(&mut self, demand: &[Amount], allowed: Option<&[HostId]>, group: Option<GroupId>) -> VirtualNodeId {
        let node = self.node(demand, allowed);
        self.request.nodes[node.0 as usize].group = group;
        node
    }

    /// Adds a virtual link with a bandwidth for each period. To join a cloud, add a link to each of its instances.
    pub fn link(&mut self, ends: [VirtualNodeId; 2], bandwidth: &[Amount], latency: Option<Micros>) -> VirtualLinkId {
        self.request.links.push(VirtualLink { ends, bandwidth: bandwidth.to_vec(), latency });
        VirtualLinkId(self.request.links.len() as u32 - 1)
    }

    /// The request, once its parts have been checked against each other.
    ///
    /// # Errors
    /// When a link ends nowhere or where it starts, a demand has the wrong number of amounts, or an amount is beyond
    /// [`MOST`].
    pub fn build(self) -> Result<Request, ProblemError> {
        let request = self.request;
        let periods = request.weights.len();
        if periods == 0 || request.weights.iter().any(|&weight| weight == 0 || weight > 1 << 20) {
            return Err(ProblemError::Periods);
        }
        let wants = periods * request.resources;
        for (id, node) in request.nodes.iter().enumerate() {
            if node.demand.len() != wants || node.demand.iter().any(|&demand| demand > MOST) {
                return Err(ProblemError::NodeDemand { node: VirtualNodeId(id as u32), wants });
            }
        }
        for (id, link) in request.links.iter().enumerate() {
            let (id, [a, b]) = (VirtualLinkId(id as u32), link.ends);
            if a == b || a.0.max(b.0) as usize >= request.nodes.len() {
                return Err(ProblemError::VirtualLinkEnds { link: id, ends: link.ends });
            }
            if link.bandwidth.len() != periods || link.bandwidth.iter().any(|&bandwidth| bandwidth > MOST) {
                return Err(ProblemError::VirtualLinkBandwidth { link: id, wants: periods });
            }
        }
        Ok(request)
    }
}
