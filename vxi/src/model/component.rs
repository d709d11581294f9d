//! The vertices: nodes, storage, routers and access points, and what every component has.

use super::at::{At, Name};
use super::capacity::Capacity;
use super::quantity::{Bytes, Cost, Count, Hertz, Nanos};
use super::time::Timestamp;

/// What every component has, links included (`vResource` of VXDL).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// Its name, unique in the infrastructure.
    pub id: String,
    /// The anchor: a site, or another component whose place it shares. None: anywhere.
    pub location: Option<Name>,
    /// When it is needed or there, if not from the start of the infrastructure.
    pub start: Option<Timestamp>,
    /// For how long, if not to the end of the infrastructure.
    pub total: Option<Nanos>,
    /// The make of it, free text.
    pub model: Option<String>,
    /// Nobody else may share the physical resource below it (`exclusivity`).
    pub exclusive: bool,
    /// Held back: not to be allocated now, opened later on demand (`tag` `provisioned`).
    pub provisioned: bool,
    /// What it costs, per unit of time that the substrate's owner counts in (`tag` `cost`).
    pub cost: Option<Cost>,
    /// What else the file says of it, in order: keys that this model gives no meaning.
    pub tags: Vec<Tag>,
    /// Where it was written: its name.
    pub at: At,
    /// Where its start or its total time was written.
    pub lease_at: At,
}

impl Resource {
    /// A component that has nothing but a name.
    pub fn named(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }
}

/// A key and its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// Its key.
    pub key: Option<String>,
    /// Its value.
    pub value: Option<String>,
}

/// `vNode`: computes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// What every component has.
    pub resource: Resource,
    /// Devices that it has, free text.
    pub devices: Vec<String>,
    /// What it boots.
    pub image: Option<String>,
    /// Where it may be, as the provider names regions.
    pub region: Option<String>,
    /// Memory.
    pub memory: Capacity<Bytes>,
    /// Disk.
    pub storage: Capacity<Bytes>,
    /// Its processor.
    pub cpu: Cpu,
}

/// The processor of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Such as `x86_64`.
    pub architecture: Option<String>,
    /// Cores.
    pub cores: Capacity<Count>,
    /// Frequency of each.
    pub frequency: Capacity<Hertz>,
}

impl Cpu {
    /// Nothing is said about it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `vStorage`: keeps data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// What every component has.
    pub resource: Resource,
    /// Free text (`type`).
    pub kind: Option<String>,
    /// What is on it at the start.
    pub image: Option<String>,
    /// Where it may be, as the provider names regions.
    pub region: Option<String>,
    /// Its size.
    pub size: Capacity<Bytes>,
}

/// `vRouter`: forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Router {
    /// What every component has.
    pub resource: Resource,
    /// Where it may be, as the provider names regions.
    pub region: Option<String>,
    /// Its ports (`tag` `ports`, `portmap`); none: as many as there are links.
    pub ports: Option<Ports>,
    /// Memory.
    pub memory: Capacity<Bytes>,
    /// How it learns its routes.
    pub control: Option<ControlPlane>,
}

/// The ports of a router, numbered from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// How many.
    pub count: u32,
    /// What is behind a port, where the file says so: each port once, ascending.
    pub map: Vec<Port>,
    /// Where the number was written.
    pub at: At,
}

/// A port of a router whose other side is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// From 1.
    pub number: u32,
    /// The component behind it.
    pub to: Name,
}

/// `controlPlane` of a router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlPlane {
    /// The layer that it forwards on, such as `3`.
    pub layer: Option<String>,
    /// Such as `static` or `dynamic` (`type`).
    pub kind: Option<String>,
    /// Such as `ospf`.
    pub protocol: Option<String>,
    /// Its routes.
    pub table: Option<RoutingTable>,
}

/// `routingTable` of a router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingTable {
    /// How many routes it has room for (`rtSize`).
    pub size: Option<u32>,
    /// Routes that are there from the start.
    pub routes: Vec<Route>,
    /// Where its size was written.
    pub at: At,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Where packets come from, free text.
    pub source: String,
    /// Where they go to, free text.
    pub destination: String,
    /// The link that they come in by.
    pub link_in: Option<Name>,
    /// The link that they leave by.
    pub link_out: Option<Name>,
}

/// `vAccessPoint`: where an infrastructure meets the world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessPoint {
    /// What every component has.
    pub resource: Resource,
    /// Where it may be, as the provider names regions.
    pub region: Option<String>,
    /// Spreads what comes in.
    pub load_balancers: Vec<LoadBalancer>,
    /// Hands ports on.
    pub nats: Vec<Nat>,
    /// Hides what is behind.
    pub masquerades: Vec<Masquerade>,
}

/// `loadBalancer` of an access point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadBalancer {
    /// Components behind it.
    pub endpoints: Vec<Name>,
    /// Where its addresses are from.
    pub region: Option<String>,
    /// How many addresses it has.
    pub addresses: Option<u32>,
}

/// `nat` of an access point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nat {
    /// The component behind it.
    pub endpoint: Option<Name>,
    /// Port inside.
    pub in_port: Option<u16>,
    /// Such as `tcp`.
    pub protocol: Option<String>,
    /// Where its address is from.
    pub region: Option<String>,
    /// Port outside.
    pub out_port: Option<u16>,
}

/// `masquerade` of an access point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masquerade {
    /// Components behind it.
    pub endpoints: Vec<Name>,
    /// Where its address is from.
    pub region: Option<String>,
}
