//! What a virtual infrastructure is, as plain data: the same types say what is asked for and what a substrate has.
//!
//! A graph G(V,E), as the paper has it. Vertices are compute and storage resources, routers and access points; edges are
//! links; a cloud is an array with its cardinality, the paper's count `n`. In a request a capacity is what is asked for,
//! in a substrate what is free. Capacities are step functions over the periods of a timeline ([`capacity`]).
//!
//! A model that a reader returned was checked (the checks of the language): every name in it resolves, no two components share an
//! id, anchors have no cycle. One made by a program is what the program made it, until it is checked as well.

pub mod array;
pub mod at;
pub mod capacity;
pub mod component;
pub mod index;
pub mod link;
pub mod quantity;
pub mod time;

use std::path::{Path, PathBuf};

pub use array::{Array, ExpandError, MAX_ELEMENTS};
pub use at::{At, Name, Place};
pub use capacity::{Amount, Capacity, Step};
pub use component::{
    AccessPoint, ControlPlane, Cpu, LoadBalancer, Masquerade, Nat, Node, Port, Ports, Resource, Route, Router,
    RoutingTable, Storage, Tag,
};
pub use index::{Component, Found, Index};
pub use link::{Direction, Endpoint, Link, Per};
pub use quantity::{BitsPerSecond, Bytes, Cost, Count, Hertz, Nanos, NumberError, Quantity};
pub use time::{Event, Period, Timeline, Timestamp};

/// `virtualInfrastructure`: a request, or a substrate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualInfrastructure {
    /// Its name.
    pub id: String,
    /// The anchor of all components that have none of their own.
    pub location: Option<Name>,
    /// When it starts; none: when it is granted.
    pub start: Option<Timestamp>,
    /// How long it lasts; none: until it is released.
    pub total: Option<Nanos>,
    /// Whose it is.
    pub owner: Option<String>,
    /// Who uses it.
    pub users: Vec<String>,
    /// Components that are there once.
    pub components: Components,
    /// Components that are there several times.
    pub arrays: Vec<Array>,
    /// The events that part its time into periods.
    pub timeline: Timeline,
    /// The file that it was read from.
    pub origin: Origin,
    /// Where it was written.
    pub at: At,
    /// Where its start or its total time was written.
    pub lease_at: At,
}

/// Components by kind, each kind in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Components {
    /// `vNode`.
    pub nodes: Vec<Node>,
    /// `vStorage`.
    pub storages: Vec<Storage>,
    /// `vRouter`.
    pub routers: Vec<Router>,
    /// `vAccessPoint`.
    pub access_points: Vec<AccessPoint>,
    /// `vLink`.
    pub links: Vec<Link>,
}

impl Components {
    /// How many vertices.
    pub fn vertices(&self) -> usize {
        self.nodes.len() + self.storages.len() + self.routers.len() + self.access_points.len()
    }

    /// Of vertices and links.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.vertex_resources().chain(self.links.iter().map(|link| &link.resource))
    }

    /// Of vertices.
    pub fn vertex_resources(&self) -> impl Iterator<Item = &Resource> {
        let nodes = self.nodes.iter().map(|node| &node.resource);
        let storages = self.storages.iter().map(|storage| &storage.resource);
        let routers = self.routers.iter().map(|router| &router.resource);
        let access_points = self.access_points.iter().map(|access_point| &access_point.resource);
        nodes.chain(storages).chain(routers).chain(access_points)
    }
}

impl VirtualInfrastructure {
    /// Where a component was written, for a message that begins with it: `file:line:column`, or the file alone.
    pub fn written_at(&self, at: At) -> String {
        match at.0 {
            Some(place) => format!("{}:{place}", self.origin.0.display()),
            None => self.origin.0.display().to_string(),
        }
    }
}

/// The file that something was read from; empty if it was made by a program. Always equal to every other.
#[derive(Clone, Debug, Default)]
pub struct Origin(pub PathBuf);

impl From<&Path> for Origin {
    fn from(file: &Path) -> Self {
        Self(file.to_owned())
    }
}

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Origin {}
