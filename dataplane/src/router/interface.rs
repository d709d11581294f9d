//! An interface of the router: its addresses, and which of them speaks for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::{Deref, DerefMut, Index, IndexMut};
use std::sync::Arc;

use super::config::InterfaceConfig;
use super::vrrp::VirtualRouters;
use crate::port::Counters;
use crate::prefix::Prefix;
use crate::rib::InterfaceId;
use crate::units::{Mac, Nanos, PortId};
use crate::wire::{ipv6, ndisc};

/// Which sources an interface takes packets from (RFC 3704).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceCheck {
    /// From all that are an address.
    #[default]
    Off,
    /// From those that some route leads to (2.3, "loose reverse path forwarding").
    Loose,
    /// From those that a route leads to by this interface (2.2 and 2.3, "feasible path").
    Strict,
}

/// The interfaces of a router, by their numbers.
pub(crate) struct Interfaces(pub Box<[Interface]>);

impl Deref for Interfaces {
    type Target = [Interface];

    fn deref(&self) -> &[Interface] {
        &self.0
    }
}

impl DerefMut for Interfaces {
    fn deref_mut(&mut self) -> &mut [Interface] {
        &mut self.0
    }
}

impl Index<InterfaceId> for Interfaces {
    type Output = Interface;

    #[inline]
    fn index(&self, id: InterfaceId) -> &Interface {
        &self.0[usize::from(id.0)]
    }
}

impl IndexMut<InterfaceId> for Interfaces {
    fn index_mut(&mut self, id: InterfaceId) -> &mut Interface {
        &mut self.0[usize::from(id.0)]
    }
}

/// An interface, with what is remembered of its announcements.
pub(crate) struct Interface {
    pub mac: Mac,
    pub mtu: u16,
    /// The port that it is, or is a VLAN of, or the way into its bridge domain.
    pub port: PortId,
    /// The VLAN; 0: untagged.
    pub vlan: u16,
    /// Where the stack is that is the router's control plane.
    pub punt: Option<PortId>,
    /// Which sources are believed.
    pub check: SourceCheck,
    /// Whose addresses it may have besides its own.
    pub virtual_routers: VirtualRouters,
    /// What came in and went out on it.
    pub counters: Arc<Counters>,
    /// Received: what was punted. Sent: what the stack sent.
    pub punted: Arc<Counters>,
    v4: Vec<(Ipv4Addr, Prefix)>,
    v6: Vec<(Ipv6Addr, Prefix)>,
    /// Derived from the Ethernet address; none where the link is too small for IPv6.
    pub link_local: Option<Ipv6Addr>,
    /// Whether the port was up when last looked at.
    pub up: bool,
    /// Announcements sent, or left out, since it came up, and when that was.
    pub announced: usize,
    pub up_since: Nanos,
}

impl Interface {
    /// An interface that is the whole of `port`.
    pub(crate) fn new(config: &InterfaceConfig, port: PortId) -> Self {
        let mut interface = Self {
            mac: config.mac,
            mtu: config.mtu,
            port,
            vlan: 0,
            punt: None,
            check: SourceCheck::Off,
            virtual_routers: VirtualRouters::default(),
            counters: Arc::default(),
            punted: Arc::default(),
            v4: Vec::new(),
            v6: Vec::new(),
            link_local: (config.mtu >= ipv6::MIN_MTU).then(|| ndisc::link_local(config.mac)),
            up: false,
            announced: usize::MAX,
            up_since: Nanos(0),
        };
        for address in &config.addresses {
            match (address.address, Prefix::of(address.address, address.length)) {
                (IpAddr::V4(a), Some(prefix)) => interface.v4.push((a, prefix)),
                (IpAddr::V6(a), Some(prefix)) => interface.v6.push((a, prefix)),
                _ => (),
            }
        }
        interface
    }

    /// Whether an IPv4 address is the interface's own.
    pub(crate) fn has_v4(&self, address: Ipv4Addr) -> bool {
        self.v4.iter().any(|&(own, _)| own == address)
    }

    /// Whether an IPv6 address is the interface's own: link-local or not.
    pub(crate) fn has_v6(&self, address: Ipv6Addr) -> bool {
        self.link_local == Some(address) || self.v6.iter().any(|&(own, _)| own == address)
    }

    /// Whether the interface listens to a multicast group: all nodes, all routers, its solicited-node groups.
    pub(crate) fn is_member(&self, group: Ipv6Addr) -> bool {
        const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
        group == ndisc::ALL_NODES
            || group == ALL_ROUTERS
            || self.all_v6().any(|address| ndisc::solicited_node(address) == group)
    }

    /// All IPv4 addresses.
    pub(crate) fn all_v4(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.v4.iter().map(|&(address, _)| address)
    }

    /// All IPv6 addresses, the link-local one first.
    pub(crate) fn all_v6(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.link_local.into_iter().chain(self.v6.iter().map(|&(address, _)| address))
    }

    /// The address that speaks to `neighbour`: one on its network, else any.
    pub(crate) fn source_v4(&self, neighbour: Ipv4Addr) -> Option<Ipv4Addr> {
        let near = self.v4.iter().find(|(_, prefix)| prefix.contains(neighbour.into()));
        near.or(self.v4.first()).map(|&(address, _)| address)
    }

    /// The address that speaks to `neighbour`: one on its network, else the link-local one.
    pub(crate) fn neighbour_source_v6(&self, neighbour: Ipv6Addr) -> Option<Ipv6Addr> {
        let near = self.v6.iter().find(|(_, prefix)| prefix.contains(neighbour.into()));
        near.map(|&(address, _)| address).or(self.link_local)
    }

    /// The address that speaks to a destination behind the interface: a global one if there is one and it can reach
    /// that far (RFC 6724, rule 2).
    pub(crate) fn source_v6(&self, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        if destination.is_unicast_link_local() {
            return self.link_local;
        }
        let near = self.v6.iter().find(|(_, prefix)| prefix.contains(destination.into()));
        near.or(self.v6.first()).map(|&(address, _)| address).or(self.link_local)
    }
}
