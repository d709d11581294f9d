//! What the engine tells of its VRFs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A question about VRFs: about one, or about all where none is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VrfRequest {
    /// The VRF.
    pub vrf: Option<String>,
    /// What is asked of it.
    pub what: VrfTopic,
}

/// What can be asked of a VRF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VrfTopic {
    /// Its interfaces with their counters.
    Interfaces,
    /// Its routes, at most so many.
    Routes(usize),
    /// Its neighbours.
    Neighbours,
    /// Where a packet for this address goes, and why.
    Route(IpAddr),
    /// The feeds of routes, of whatever VRF.
    Feeds,
}

/// One interface of a VRF.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceReport {
    /// Name of the VRF.
    pub vrf: String,
    /// The guest whose control plane it is.
    pub guest: Option<String>,
    /// The interface.
    pub interface: String,
    /// The port that it is, or is a VLAN of.
    pub port: Option<String>,
    /// The VLAN.
    pub vlan: Option<u16>,
    /// The bridge domain that it is a station in.
    pub domain: Option<String>,
    /// Its Ethernet address.
    pub mac: String,
    /// The longest packet that it carries.
    pub mtu: u16,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// The port behind which its stack is.
    pub punt: Option<String>,
    /// Whether its link is there.
    pub up: bool,
    /// Frames from the link.
    pub rx_frames: u64,
    /// Bytes from the link.
    pub rx_bytes: u64,
    /// Frames to the link.
    pub tx_frames: u64,
    /// Bytes to the link.
    pub tx_bytes: u64,
    /// Frames that went to the stack.
    pub punted_frames: u64,
    /// Frames that the stack sent.
    pub stack_frames: u64,
    /// Lost frames by reason.
    pub drops: BTreeMap<String, u64>,
}

/// The routes of VRFs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutesReport {
    /// Those that are listed.
    pub routes: Vec<RouteReport>,
    /// How many more there are.
    pub more: usize,
    /// Routes that were refused so far, for want of room.
    pub refused: u64,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteReport {
    /// Name of the VRF.
    pub vrf: String,
    /// Where to.
    pub prefix: String,
    /// Who wants it: `connected`, `static` or `feed NAME`.
    pub owner: String,
    /// Of its owner's routes for one prefix, the least counts.
    pub metric: u32,
    /// What is done: next hops, or a word.
    pub action: String,
    /// Whether packets follow it; else another route for the prefix is preferred.
    pub chosen: bool,
    /// Whether it leads anywhere at present.
    pub usable: bool,
}

/// One neighbour.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NeighbourReport {
    /// Name of the VRF.
    pub vrf: String,
    /// On which interface.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
    /// Its Ethernet address, if that is known.
    pub mac: Option<String>,
    /// As RFC 4861 names it, or `failed`.
    pub state: String,
    /// Milliseconds since a frame was last sent to it; none: never.
    pub used_ms: Option<u64>,
}

/// Where a packet for an address goes, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The address.
    pub address: IpAddr,
    /// Name of the VRF.
    pub vrf: String,
    /// The route that packets follow; none: there is none, and senders are told "network unreachable".
    pub route: Option<RouteReport>,
    /// Other routes for the prefix, which it is preferred to.
    pub others: Vec<RouteReport>,
    /// Gateways that were looked for behind other routes: each with the prefix that led to it.
    pub recursion: Vec<(IpAddr, Option<String>)>,
    /// The ways out: each flow takes one.
    pub hops: Vec<HopReport>,
}

/// A way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopReport {
    /// The interface.
    pub interface: String,
    /// Its port; in a bridge domain, the one behind which the neighbour is, if that is known.
    pub port: Option<String>,
    /// The VLAN on it.
    pub vlan: Option<u16>,
    /// The bridge domain that the interface is in.
    pub domain: Option<String>,
    /// The neighbour that takes the packet.
    pub neighbour: IpAddr,
    /// Its part among all hops.
    pub weight: u32,
    /// The neighbour's Ethernet address, if that is known.
    pub mac: Option<String>,
    /// What is known of the neighbour: a state of RFC 4861, `failed`, or `unknown`.
    pub state: String,
}
