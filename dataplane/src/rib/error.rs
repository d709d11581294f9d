//! Why a change to routes is refused.

use super::route::{GroupId, InterfaceId};
use crate::fib::{FibError, MAX_HOPS};
use crate::prefix::Prefix;

/// Why a change is refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RibError {
    /// There are as many routes as the VRF may have.
    #[error(
        "the route for {prefix} is refused: the VRF has {max} routes and may have no more; \
         raise its max_routes, or let its routing daemon filter what it takes"
    )]
    TooManyRoutes {
        /// What it is for.
        prefix: Prefix,
        /// What the VRF may have.
        max: usize,
    },
    /// The forwarding table has no room.
    #[error(transparent)]
    Fib(#[from] FibError),
    /// It is not there.
    #[error("there is no route for {prefix}{} of this owner", with_metric(*.metric))]
    NoSuchRoute {
        /// What it would be for.
        prefix: Prefix,
        /// And of which metric, when that was asked for.
        metric: Option<u32>,
    },
    /// It is not there.
    #[error("there is no next-hop group {}", .group.0)]
    NoSuchGroup {
        /// Its number.
        group: GroupId,
    },
    /// A group that leads to a group.
    #[error("next-hop group {} leads to another group; give its hops themselves", .group.0)]
    NestedGroup {
        /// Its number.
        group: GroupId,
    },
    /// A way without a step.
    #[error("a route without next hops leads nowhere; give one, or say blackhole or unreachable")]
    NoHops,
    /// A way too broad.
    #[error("a route has {hops} next hops, and may have {MAX_HOPS}")]
    TooManyHops {
        /// How many there are.
        hops: usize,
    },
    /// A step without direction.
    #[error("a next hop has neither a gateway nor an interface; give one of them")]
    HopToNowhere,
    /// A step that nobody takes.
    #[error("a next hop has weight 0; weights begin at 1")]
    NoWeight,
    /// A step into the void.
    #[error("a next hop leaves by interface number {}, and the VRF has {interfaces}", .interface.0)]
    NoSuchInterface {
        /// What it names.
        interface: InterfaceId,
        /// Interfaces there are.
        interfaces: u16,
    },
}

fn with_metric(metric: Option<u32>) -> String {
    metric.map(|metric| format!(" with metric {metric}")).unwrap_or_default()
}
