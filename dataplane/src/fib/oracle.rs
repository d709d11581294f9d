//! A table of routes as simple as can be, which the fast one must agree with.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::NextHopId;
use crate::prefix::Prefix;

/// Routes in order; a look-up goes through all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    routes: BTreeMap<Prefix, NextHopId>,
}

impl Oracle {
    pub(crate) fn insert(&mut self, prefix: Prefix, next_hop: NextHopId) {
        self.routes.insert(prefix, next_hop);
    }

    pub(crate) fn remove(&mut self, prefix: Prefix) {
        self.routes.remove(&prefix);
    }

    /// The longest other prefix that `prefix` is in.
    pub(crate) fn cover(&self, prefix: Prefix) -> Option<(u8, NextHopId)> {
        self.longest(|other| other.length() < prefix.length() && other.contains(prefix.network()))
    }

    pub(crate) fn look_up(&self, address: IpAddr) -> NextHopId {
        self.longest(|prefix| prefix.contains(address)).map_or(NextHopId::NONE, |(_, next_hop)| next_hop)
    }

    fn longest(&self, which: impl Fn(&Prefix) -> bool) -> Option<(u8, NextHopId)> {
        let matching = self.routes.iter().filter(|(prefix, _)| which(prefix));
        matching.max_by_key(|(prefix, _)| prefix.length()).map(|(prefix, next_hop)| (prefix.length(), *next_hop))
    }

    pub(crate) fn prefixes(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.routes.keys().copied()
    }
}
