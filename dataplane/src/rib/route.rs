//! What a routing daemon, an agent or the configuration says of routes, in one vocabulary.

use std::net::IpAddr;

use crate::prefix::Prefix;

/// An interface's place in its VRF: dense, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u16);

/// A set of next hops that several routes share; its owner chose the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// Who wants a route. Of several that want one prefix, the first in this order has it, then the one with the least metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The addresses of the VRF's own interfaces.
    Connected,
    /// The configuration.
    Static,
    /// A feed of routes, by its number: a routing daemon's or an agent's.
    Feed(u16),
}

/// One way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The neighbour who knows further; none: the destination is a neighbour itself, on `interface`.
    pub gateway: Option<IpAddr>,
    /// Where the gateway is; none: where the routes lead that cover the gateway (a recursive next hop).
    pub interface: Option<InterfaceId>,
    /// Its part of the flows among all hops of the route, from 1.
    pub weight: u16,
}

/// What is done with packets for a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// They are forwarded, each flow along one of these. Never empty.
    Via(Vec<Hop>),
    /// They are forwarded as the group says. A group that is not there yet makes the route wait for it.
    Group(GroupId),
    /// They are for the router itself.
    Local,
    /// They are for everybody on a network, and not forwarded (RFC 2644).
    Broadcast,
    /// They vanish.
    Blackhole,
    /// Their sender is told "host unreachable" (RFC 1812, 5.2.7.1).
    Unreachable,
    /// Their sender is told "administratively prohibited" (RFC 1812, 5.2.7.1).
    Prohibit,
}

/// A route that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Where to.
    pub prefix: Prefix,
    /// Of its owner's routes for one prefix, the least counts.
    pub metric: u32,
    /// What to do.
    pub action: Action,
}

/// A change that the owner of routes asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The route is there from now on, in place of the owner's route of this prefix and metric.
    Replace(Route),
    /// The owner's route of this prefix and metric is gone; without a metric, all its routes of this prefix.
    Delete(Prefix, Option<u32>),
    /// The group is this from now on, for every route that names it.
    ReplaceGroup(GroupId, Action),
    /// The group is gone, and with it the routes that name it.
    DeleteGroup(GroupId),
}
