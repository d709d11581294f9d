//! Components by name.

use std::collections::HashMap;

use super::array::Array;
use super::component::{AccessPoint, Node, Resource, Router, Storage};
use super::link::Link;
use super::{Components, Name, VirtualInfrastructure};

/// A component of any kind.
#[derive(Clone, Copy, Debug)]
pub enum Component<'m> {
    /// `vNode`.
    Node(&'m Node),
    /// `vStorage`.
    Storage(&'m Storage),
    /// `vRouter`.
    Router(&'m Router),
    /// `vAccessPoint`.
    AccessPoint(&'m AccessPoint),
    /// `vLink`.
    Link(&'m Link),
    /// `vArray`.
    Array(&'m Array),
}

impl<'m> Component<'m> {
    /// As messages call it.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Node(_) => "node",
            Self::Storage(_) => "storage",
            Self::Router(_) => "router",
            Self::AccessPoint(_) => "access point",
            Self::Link(_) => "link",
            Self::Array(_) => "array",
        }
    }

    /// What every component has; arrays have less.
    pub const fn resource(self) -> Option<&'m Resource> {
        match self {
            Self::Node(node) => Some(&node.resource),
            Self::Storage(storage) => Some(&storage.resource),
            Self::Router(router) => Some(&router.resource),
            Self::AccessPoint(access_point) => Some(&access_point.resource),
            Self::Link(link) => Some(&link.resource),
            Self::Array(_) => None,
        }
    }

    /// Whether a link can end there.
    pub const fn is_vertex(self) -> bool {
        !matches!(self, Self::Link(_))
    }

    /// The anchor that it has itself.
    pub const fn location(self) -> Option<&'m Name> {
        match self {
            Self::Array(array) => array.location.as_ref(),
            other => match other.resource() {
                Some(resource) => resource.location.as_ref(),
                None => None,
            },
        }
    }
}

/// A component and the array that it is a member of.
#[derive(Clone, Copy, Debug)]
pub struct Found<'m> {
    /// The component.
    pub component: Component<'m>,
    /// The array that it is in.
    pub array: Option<&'m Array>,
}

impl Found<'_> {
    /// How many of it there are: the paper's `n`.
    pub fn count(&self) -> u32 {
        match self.component {
            Component::Array(array) => array.cardinality,
            _ => self.array.map_or(1, |array| array.cardinality),
        }
    }
}

/// Finds components by their ids.
#[derive(Clone, Debug, Default)]
pub struct Index<'m> {
    found: HashMap<&'m str, Found<'m>>,
}

impl<'m> Index<'m> {
    /// Of everything in `infrastructure`. Of two that share an id, the first is found.
    pub fn new(infrastructure: &'m VirtualInfrastructure) -> Self {
        let mut index = Self::default();
        index.found.reserve(infrastructure.components.vertices() + infrastructure.components.links.len());
        index.add(&infrastructure.components, None);
        for array in &infrastructure.arrays {
            let found = Found { component: Component::Array(array), array: None };
            index.found.entry(&array.id).or_insert(found);
            index.add(&array.members, Some(array));
        }
        index
    }

    fn add(&mut self, components: &'m Components, array: Option<&'m Array>) {
        each(components, |id, component| {
            self.found.entry(id).or_insert(Found { component, array });
        });
    }

    /// The component of this name.
    pub fn get(&self, id: &str) -> Option<Found<'m>> {
        self.found.get(id).copied()
    }

    /// The names that there are, in no order.
    pub fn names(&self) -> impl Iterator<Item = &'m str> {
        self.found.keys().copied()
    }

    /// The site that a component is anchored at: its own location, else its array's, else the infrastructure's; where
    /// a location names another component, that one's. None: anywhere. Ends also where anchors have a cycle.
    pub fn site(&self, infrastructure: &'m VirtualInfrastructure, id: &str) -> Option<&'m str> {
        let mut found = self.get(id)?;
        for _ in 0..=self.found.len() {
            let of_array = || found.array.and_then(|array| array.location.as_ref());
            let location = found.component.location().or_else(of_array).or(infrastructure.location.as_ref())?;
            match self.get(location) {
                Some(next) => found = next,
                None => return Some(location),
            }
        }
        None
    }
}

/// Calls `with` for every component and its id, vertices first.
pub(crate) fn each<'m>(components: &'m Components, mut with: impl FnMut(&'m str, Component<'m>)) {
    for node in &components.nodes {
        with(&node.resource.id, Component::Node(node));
    }
    for storage in &components.storages {
        with(&storage.resource.id, Component::Storage(storage));
    }
    for router in &components.routers {
        with(&router.resource.id, Component::Router(router));
    }
    for access_point in &components.access_points {
        with(&access_point.resource.id, Component::AccessPoint(access_point));
    }
    for link in &components.links {
        with(&link.resource.id, Component::Link(link));
    }
}
