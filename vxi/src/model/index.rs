//! Components by name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::array::Array;
use super::component::{AccessPoint, Node, Resource, Router, Storage};
use super::link::Link;
use super::{At, Components, Name, VirtualInfrastructure};

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

    /// Its name.
    pub fn id(self) -> &'m str {
        match self {
            Self::Array(array) => &array.id,
            other => other.resource().map_or("", |resource| &resource.id),
        }
    }

    /// Where it was written.
    pub fn at(self) -> At {
        match self {
            Self::Array(array) => array.at,
            other => other.resource().map_or(At::NOWHERE, |resource| resource.at),
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
        Self::build(infrastructure, |_, _| ())
    }

    /// As [`Self::new`]; `twice` is told of each component whose id another one before it has, and of that one.
    pub(crate) fn build(
        infrastructure: &'m VirtualInfrastructure,
        mut twice: impl FnMut(Component<'m>, Component<'m>),
    ) -> Self {
        let mut index = Self::default();
        index.found.reserve(infrastructure.components.vertices() + infrastructure.components.links.len());
        let mut add = |id: &'m str, found: Found<'m>| match index.found.entry(id) {
            Entry::Vacant(vacant) => _ = vacant.insert(found),
            Entry::Occupied(first) => twice(first.get().component, found.component),
        };
        each(&infrastructure.components, |id, component| add(id, Found { component, array: None }));
        for array in &infrastructure.arrays {
            add(&array.id, Found { component: Component::Array(array), array: None });
            each(&array.members, |id, component| add(id, Found { component, array: Some(array) }));
        }
        index
    }

    /// The component of this name.
    pub fn get(&self, id: &str) -> Option<Found<'m>> {
        self.found.get(id).copied()
    }

    /// The location of a component: its own, else its array's.
    pub fn location(found: Found<'m>) -> Option<&'m Name> {
        found.component.location().or_else(|| found.array.and_then(|array| array.location.as_ref()))
    }

    /// The site that a component is anchored at: its own location, else its array's, else the infrastructure's; where
    /// a location names another component, that one's site. None: anywhere, or the anchors have a cycle.
    pub fn site(&self, infrastructure: &'m VirtualInfrastructure, id: &str) -> Option<&'m str> {
        let mut found = self.get(id)?;
        for _ in 0..=self.found.len() {
            let Some(location) = Self::location(found) else { return infrastructure.location.as_deref() };
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
