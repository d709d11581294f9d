//! Netlink messages about routing (`linux/netlink.h`, `linux/rtnetlink.h`, `linux/nexthop.h`): read where they lie, checked
//! before they are believed.
//!
//! An own reader, because `netlink-packet-route` 0.34 knows no next hop objects, and because what
//! cannot be forwarded (MPLS, SRv6) must be told by reason, not lost as an unknown attribute. Nothing here allocates: a
//! million routes are read from the buffer that they arrived in.
//!
//! Whoever sends is hostile until checked. No length is believed that leads beyond what is there; what is left over or too
//! short is an error, never a guess; numbers are read byte by byte, so that no alignment is asked for. Byte order is the
//! host's, as netlink's is: both ends are on one machine.

mod attribute;
mod link;
mod message;
mod nexthop;
mod route;
mod write;

use std::fmt;

pub use attribute::{Attribute, Attributes};
pub use link::{Address, Link};
pub use message::{HEADER, Message, Messages, flag, kind};
pub use nexthop::{Meaning, Members, NextHopMessage};
pub use route::{Encapsulation, Hops, RouteMessage, RouteType, WireHop};
pub use write::{Builder, Target, write_next_hop, write_route};

/// A routing table of the kernel whose routes are told (`RTA_TABLE`): 254 is "main".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct TableId(pub u32);

impl TableId {
    /// What `ip route` shows when it is not told otherwise.
    pub const MAIN: Self = Self(libc::RT_TABLE_MAIN as u32);
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A device of the network namespace whose routes are told, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct IfIndex(pub u32);

impl fmt::Display for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A next hop object, as its owner numbers them (`NHA_ID`), from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHopId(pub u32);

/// Netlink's unit of alignment (`NLMSG_ALIGNTO`, `RTA_ALIGNTO`).
const ALIGN: usize = 4;

/// Bytes that `len` bytes take up with their padding. No length here comes near an overflow: each is 16 bits or checked.
const fn padded(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}
