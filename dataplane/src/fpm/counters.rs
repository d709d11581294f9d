//! What became of a feed's messages: counted, each refusal under its reason.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! reasons {
    ($(#[$doc:meta])* $kind:ident { $($(#[$each:meta])* $name:ident = $text:literal, $said:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
        #[repr(u8)]
        pub enum $kind { $($(#[$each])* #[error($said)] $name,)* }

        impl $kind {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name under which it is counted.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// Why a message was not done, which its sender could have expected to be.
    Refusal {
        /// Lengths or values contradict each other.
        Malformed = "malformed", "the message is malformed: a length or a value contradicts another";
        /// A frame that carries something else than netlink.
        NotNetlink = "not-netlink", "the frame carries no netlink; FRR needs `-M dplane_fpm_nl`, not `-M fpm:protobuf`";
        /// Labels.
        Mpls = "mpls", "MPLS is not forwarded";
        /// IPv6 segment routing.
        Srv6 = "srv6", "SRv6 is not forwarded";
        /// Entries of bridges, and ways through tunnels, as EVPN has them.
        Evpn = "evpn", "EVPN, VXLAN and tunnels are not forwarded";
        /// Another encapsulation.
        Encapsulation = "encapsulation", "the way has an encapsulation that is not forwarded";
        /// For some sources or types of service only.
        Selective = "selective", "routes for some sources or types of service only are not known here";
        /// Of a type that no packet is treated by here.
        RouteType = "route-type", "the route is of a type that is not known here";
        /// No way, and no reason to drop either.
        NoHop = "no-hop", "the route leads nowhere: no gateway, no device";
        /// A device that is no interface of the VRF.
        NoInterface = "no-interface", "the route's device is no interface of the VRF";
        /// The kernel does not use it either.
        Dead = "dead", "the route's device is down";
        /// More ways than a route may have.
        TooManyHops = "too-many-hops", "the route has more ways than are taken";
        /// More next hop objects than a feed may have.
        TooManyNextHops = "too-many-next-hops", "the feed has more next hop objects than are taken";
        /// A group whose member is a group, or that has a member twice.
        GroupOfGroups = "group-of-groups", "a group of next hops must have next hops as members, each once";
        /// The VRF has as many routes as it may.
        TooManyRoutes = "too-many-routes", "the VRF has as many routes as `max_routes` allows";
        /// The VRF does not take it, for a reason that it knows.
        Invalid = "invalid", "the VRF does not take the route";
    }
}

reasons! {
    /// Why nothing was done about a message, and nothing needed to be.
    Ignored {
        /// A table that leads to no VRF.
        Table = "table", "the table belongs to no VRF";
        /// The kernel's own: for its addresses, broadcasts and groups.
        Host = "host", "the route is the host's own";
        /// To addresses that are not routed: of a link, of a group.
        Unroutable = "unroutable", "the destination is never routed";
        /// An entry of a cache.
        Cached = "cached", "the route is an entry of a cache";
        /// About something that is not known here.
        Unknown = "unknown", "the message is about something that is not known here";
    }
}

/// A feed's counters. Written by its thread, read by anyone.
#[derive(Debug)]
pub struct FeedCounters {
    /// Messages that came.
    pub messages: AtomicU64,
    /// Routes that were added or replaced.
    pub routes: AtomicU64,
    /// Routes that were taken back.
    pub withdrawals: AtomicU64,
    /// Next hop objects that were added, replaced or taken back.
    pub next_hops: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    ignored: [AtomicU64; Ignored::ALL.len()],
}

impl Default for FeedCounters {
    fn default() -> Self {
        Self {
            messages: AtomicU64::new(0),
            routes: AtomicU64::new(0),
            withdrawals: AtomicU64::new(0),
            next_hops: AtomicU64::new(0),
            refused: [const { AtomicU64::new(0) }; Refusal::ALL.len()],
            ignored: [const { AtomicU64::new(0) }; Ignored::ALL.len()],
        }
    }
}

/// Counts one. Only one thread writes, so no locked instruction is needed.
#[inline]
pub(super) fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

impl FeedCounters {
    #[inline]
    pub(super) fn refuse(&self, refusal: Refusal) {
        count(&self.refused[refusal as usize]);
    }

    #[inline]
    pub(super) fn ignore(&self, reason: Ignored) {
        count(&self.ignored[reason as usize]);
    }

    /// How often for this reason.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize].load(Relaxed)
    }

    /// How often for this reason.
    pub fn ignored(&self, reason: Ignored) -> u64 {
        self.ignored[reason as usize].load(Relaxed)
    }
}
