//! The edges: links between components.

use super::at::{At, Name};
use super::capacity::Capacity;
use super::component::Resource;
use super::quantity::{BitsPerSecond, Nanos};

/// `vLink`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// What every component has.
    pub resource: Resource,
    /// The end that `forward` leaves.
    pub source: Endpoint,
    /// The end that `forward` reaches.
    pub destination: Endpoint,
    /// Ways in which it carries.
    pub direction: Direction,
    /// Bandwidth from source to destination.
    pub forward: Capacity<BitsPerSecond>,
    /// Bandwidth from destination to source.
    pub reverse: Capacity<BitsPerSecond>,
    /// Bound of the latency, one way.
    pub latency: Capacity<Nanos>,
    /// Whose bandwidth it is where an end is an array.
    pub per: Per,
    /// The definition that it belongs to, such as `G` in the paper's Fig. 4 (`tag` `definition`).
    pub definition: Option<String>,
}

impl Link {
    /// The direction that follows from the bandwidths: both ways where nothing is said, or both are.
    pub fn implied_direction(&self) -> Direction {
        match (self.forward.is_empty(), self.reverse.is_empty()) {
            (false, true) => Direction::Forward,
            (true, false) => Direction::Reverse,
            _ => Direction::Both,
        }
    }
}

/// An end of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The component, or the array: all of its elements.
    pub component: Name,
    /// The port of a router, from 1 (`tag` `source.port`, `destination.port`).
    pub port: Option<u32>,
    /// Where the port was written.
    pub port_at: At,
    /// The interface of a node, by its name there (`tag` `source.interface`, `destination.interface`).
    pub interface: Option<String>,
}

impl From<&str> for Endpoint {
    fn from(component: &str) -> Self {
        Self { component: component.into(), ..Self::default() }
    }
}

/// Ways in which a link carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From source to destination alone.
    Forward,
    /// From destination to source alone.
    Reverse,
    /// Both ways.
    #[default]
    Both,
}

impl Direction {
    /// All, with the words that files use.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Forward, "forward"), (Self::Reverse, "reverse"), (Self::Both, "both")];

    /// As files spell it.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(value, _)| *value == self).map_or("", |(_, word)| word)
    }
}

/// Whose bandwidth it is where an end of the link is an array (`tag` `per`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Per {
    /// The array's as a whole: its elements share it.
    #[default]
    Group,
    /// Each element's.
    Element,
}

impl Per {
    /// All, with the words that files use.
    pub const ALL: [(Self, &'static str); 2] = [(Self::Group, "group"), (Self::Element, "element")];

    /// As files spell it.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(value, _)| *value == self).map_or("", |(_, word)| word)
    }
}
