//! What is free: of each host and each link, in each period of a request.
//!
//! A residual is a view for one question: its periods are those of the request that asks. Who knows about time (the
//! leases) fills it with the least that is free during each period. An embedding is taken from it and given back whole.
//!
//! Free amounts are signed inside: closing a host or a link (withdrawn, failed, provisioned but not opened) subtracts
//! more than any demand, so that the searches need no second look at a flag, and opening it again adds it back.

use super::problem::{Amount, Embedding, HostId, LinkId, Substrate};
use super::request::Request;

/// More than any capacity: what closing subtracts.
const CLOSED: i64 = 1 << 62;

/// What is free of a substrate, per period of the request that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residual {
    resources: usize,
    periods: usize,
    hosts: Vec<i64>,
    links: Vec<i64>,
}

impl Residual {
    /// All of a substrate, the same in each of `periods` periods.
    pub fn whole(substrate: &Substrate, periods: usize) -> Self {
        let resources = substrate.resources();
        let mut hosts = Vec::with_capacity(substrate.hosts() * resources * periods);
        for host in 0..substrate.hosts() as u32 {
            let machines = i64::from(substrate.machines(HostId(host)));
            for _ in 0..periods {
                hosts.extend(substrate.capacities(HostId(host)).iter().map(|&capacity| capacity as i64 * machines));
            }
        }
        let links = substrate.links().iter().flat_map(|link| std::iter::repeat_n(link.bandwidth as i64, periods));
        Self { resources, periods, hosts, links: links.collect() }
    }

    /// How many periods it distinguishes.
    pub fn periods(&self) -> usize {
        self.periods
    }

    /// What is free of a host's resource in a period: 0 when the host is closed.
    pub fn host_free(&self, host: HostId, period: usize, resource: usize) -> Amount {
        self.hosts[(host.at() * self.periods + period) * self.resources + resource].max(0) as Amount
    }

    /// What is free of a link in a period: 0 when it is closed.
    pub fn link_free(&self, link: LinkId, period: usize) -> Amount {
        self.links[link.at() * self.periods + period].max(0) as Amount
    }

    /// Says what is free of a host's resource in a period, whatever was taken before.
    pub fn set_host_free(&mut self, host: HostId, period: usize, resource: usize, free: Amount) {
        self.hosts[(host.at() * self.periods + period) * self.resources + resource] = free as i64;
    }

    /// Says what is free of a link in a period, whatever was taken before.
    pub fn set_link_free(&mut self, link: LinkId, period: usize, free: Amount) {
        self.links[link.at() * self.periods + period] = free as i64;
    }

    /// Whether virtual nodes may be put on this host (in every period).
    pub fn host_open(&self, host: HostId) -> bool {
        self.host(host.at()).iter().all(|&free| free >= 0)
    }

    /// Keeps a host from carrying anything new, even what asks for nothing. Its links stay usable.
    pub fn close_host(&mut self, host: HostId) {
        if self.host_open(host) {
            let dimensions = self.resources * self.periods;
            self.hosts[host.at() * dimensions..][..dimensions].iter_mut().for_each(|free| *free -= CLOSED);
        }
    }

    /// Keeps a link from carrying anything new, even what asks for nothing.
    pub fn close_link(&mut self, link: LinkId) {
        if self.link(link.at()).iter().all(|&free| free >= 0) {
            self.links[link.at() * self.periods..][..self.periods].iter_mut().for_each(|free| *free -= CLOSED);
        }
    }

    /// Opens what [`Self::close_host`] closed.
    pub fn open_host(&mut self, host: HostId) {
        if !self.host_open(host) {
            let dimensions = self.resources * self.periods;
            self.hosts[host.at() * dimensions..][..dimensions].iter_mut().for_each(|free| *free += CLOSED);
        }
    }

    /// Opens what [`Self::close_link`] closed.
    pub fn open_link(&mut self, link: LinkId) {
        if !self.link(link.at()).iter().all(|&free| free >= 0) {
            self.links[link.at() * self.periods..][..self.periods].iter_mut().for_each(|free| *free += CLOSED);
        }
    }

    /// Whether an embedding fits into what is free.
    pub fn fits(&self, request: &Request, embedding: &Embedding) -> bool {
        let mut after = self.clone();
        after.take(request, embedding);
        let no_worse = |(after, before): (&i64, &i64)| *after >= 0 || after == before;
        after.hosts.iter().zip(&self.hosts).all(no_worse)
            && after.links.iter().zip(&self.links).all(no_worse)
            && embedding.hosts.iter().all(|&host| self.host_open(host))
    }

    /// Takes what an embedding uses. It is the caller's to know that it fits ([`Self::fits`]).
    pub fn take(&mut self, request: &Request, embedding: &Embedding) {
        self.shift(request, embedding, -1);
    }

    /// Gives back what an embedding used.
    pub fn give(&mut self, request: &Request, embedding: &Embedding) {
        self.shift(request, embedding, 1);
    }

    fn shift(&mut self, request: &Request, embedding: &Embedding, sign: i64) {
        let dimensions = self.resources * self.periods;
        for (node, host) in request.nodes().iter().zip(&embedding.hosts) {
            let free = &mut self.hosts[host.at() * dimensions..][..dimensions];
            free.iter_mut().zip(&node.demand).for_each(|(free, &demand)| *free += sign * demand as i64);
        }
        for share in embedding.routes.iter().flatten() {
            for link in &share.links {
                let free = &mut self.links[link.at() * self.periods..][..self.periods];
                free.iter_mut().zip(&share.bandwidth).for_each(|(free, &taken)| *free += sign * taken as i64);
            }
        }
    }

    /// A host's free amounts, period by period.
    pub(crate) fn host(&self, host: usize) -> &[i64] {
        &self.hosts[host * self.resources * self.periods..][..self.resources * self.periods]
    }

    /// All that is free on links, weighted by the request's periods: no embedding can cost more.
    pub(crate) fn all(&self, request: &Request) -> u64 {
        let of = |(free, weight): (&i64, &u64)| free.max(&0).unsigned_abs() * weight;
        self.links.iter().zip(request.weights().iter().cycle()).map(of).sum()
    }

    /// All links' free amounts, link by link and period by period.
    pub(crate) fn links(&self) -> &[i64] {
        &self.links
    }

    /// A link's free amounts, period by period.
    pub(crate) fn link(&self, link: usize) -> &[i64] {
        &self.links[link * self.periods..][..self.periods]
    }
}
