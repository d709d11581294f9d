//! Pictures of an infrastructure: DOT and Mermaid for tools that lay out, SVG laid out by us.
//!
//! A vertex is a component or an array as a whole, since eight nodes that are the same tell no more than one with
//! "× 8". What is written at a link is what somebody asks of it: bandwidth by period, latency, ports.

mod dot;
mod layout;
mod mermaid;
mod svg;

use std::collections::HashMap;

use crate::diagnostic::one_line;
use crate::language::brief::amount::amount;
use crate::model::index::each;
use crate::model::{Array, Capacity, Component, Direction, Endpoint, Link, Quantity, Resource, VirtualInfrastructure};

pub use layout::MAX_VERTICES;

/// Languages of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Picture {
    /// Graphviz.
    Dot,
    /// Mermaid's flow chart.
    Mermaid,
    /// A picture by itself.
    Svg,
}

/// Why there is no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// Nobody could read it.
    #[error("{vertices} components and arrays are too many to be laid out readably; use --to dot, or arrays")]
    TooLarge {
        /// How many there are.
        vertices: usize,
    },
}

/// Draws an infrastructure.
///
/// # Errors
/// [`Picture::Svg`] of more than [`MAX_VERTICES`].
pub fn draw(infrastructure: &VirtualInfrastructure, picture: Picture) -> Result<String, DrawError> {
    let drawing = Drawing::of(infrastructure);
    match picture {
        Picture::Dot => Ok(dot::write(&drawing)),
        Picture::Mermaid => Ok(mermaid::write(&drawing)),
        Picture::Svg => svg::write(&drawing),
    }
}

/// What a vertex stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Node,
    Storage,
    Router,
    AccessPoint,
    Array,
}

struct Vertex {
    /// Its id, and how often it is there.
    title: String,
    /// What is said of it, a line each.
    lines: Vec<String>,
    shape: Shape,
    provisioned: bool,
}

struct Edge {
    from: usize,
    to: usize,
    direction: Direction,
    lines: Vec<String>,
    /// Ports or interfaces at both ends.
    ends: [String; 2],
    provisioned: bool,
}

struct Drawing {
    title: String,
    vertices: Vec<Vertex>,
    edges: Vec<Edge>,
}

impl Drawing {
    fn of(infrastructure: &VirtualInfrastructure) -> Self {
        let mut vertices = Vec::new();
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        each(&infrastructure.components, |id, component| {
            if let Some(vertex) = vertex(component) {
                numbers.insert(id, vertices.len());
                vertices.push(vertex);
            }
        });
        for array in &infrastructure.arrays {
            numbers.insert(&array.id, vertices.len());
            array.members.vertex_resources().for_each(|member| _ = numbers.insert(&member.id, vertices.len()));
            vertices.push(of_array(array));
        }
        let edge = |link: &Link| {
            let number = |end: &Endpoint| numbers.get(&*end.component.text).copied();
            Some(Edge {
                from: number(&link.source)?,
                to: number(&link.destination)?,
                direction: link.direction,
                lines: of_link(link),
                ends: [&link.source, &link.destination].map(of_end),
                provisioned: link.resource.provisioned,
            })
        };
        let edges = infrastructure.components.links.iter().filter_map(edge).collect();
        Self { title: infrastructure.id.clone(), vertices, edges }
    }
}

fn vertex(component: Component<'_>) -> Option<Vertex> {
    let mut lines = Vec::new();
    let shape = match component {
        Component::Node(node) => {
            line(&mut lines, "cores", &node.cpu.cores);
            line(&mut lines, "", &node.cpu.frequency);
            line(&mut lines, "memory", &node.memory);
            line(&mut lines, "storage", &node.storage);
            Shape::Node
        }
        Component::Storage(storage) => {
            line(&mut lines, "", &storage.size);
            Shape::Storage
        }
        Component::Router(router) => {
            if let Some(ports) = &router.ports {
                lines.push(format!("{} ports", ports.count));
            }
            line(&mut lines, "memory", &router.memory);
            lines.extend(router.control.as_ref().and_then(|control| control.protocol.clone()));
            Shape::Router
        }
        Component::AccessPoint(_) => Shape::AccessPoint,
        Component::Link(_) | Component::Array(_) => return None,
    };
    let resource = component.resource()?;
    lines.extend(place(resource));
    let lines = lines.iter().map(|line| one_line(line)).collect();
    Some(Vertex { title: one_line(&resource.id), lines, shape, provisioned: resource.provisioned })
}

fn place(resource: &Resource) -> Option<String> {
    resource.location.as_ref().map(|location| format!("at {location}"))
}

fn of_array(array: &Array) -> Vertex {
    let mut lines = Vec::new();
    let mut provisioned = true;
    each(&array.members, |id, component| match (vertex(component), component) {
        (Some(member), _) => {
            provisioned &= member.provisioned;
            if array.members.vertices() > 1 {
                lines.push(format!("{id}:"));
            }
            lines.extend(member.lines);
        }
        (None, Component::Link(link)) => {
            lines.push(format!(
                "{} – {}: {}",
                link.source.component,
                link.destination.component,
                of_link(link).join(", ")
            ));
        }
        (None, _) => {}
    });
    lines.extend(array.location.as_ref().map(|location| format!("at {location}")));
    let lines = lines.iter().map(|line| one_line(line)).collect();
    Vertex {
        title: format!("{} × {}", one_line(&array.id), array.cardinality),
        lines,
        shape: Shape::Array,
        provisioned: provisioned && array.members.vertices() > 0,
    }
}

fn line<Q: Quantity>(lines: &mut Vec<String>, what: &str, capacity: &Capacity<Q>) {
    if !capacity.is_empty() {
        // A bare number stands before what it counts, an amount with a unit behind.
        let text = short(capacity);
        let text = if Q::UNITS.is_empty() { format!("{text} {what}") } else { format!("{what} {text}") };
        lines.push(text.trim().to_owned());
    }
}

/// A capacity in a few characters, with the events of its periods.
fn short<Q: Quantity>(capacity: &Capacity<Q>) -> String {
    let value = |step: &crate::model::Step<Q>| {
        let text = amount(&step.amount).replace(">=", "≥").replace("<=", "≤").replace("..", "–");
        match &step.event {
            Some(event) => format!("{event}: {text}"),
            None => text,
        }
    };
    // A picture has no room for all periods of a long timeline.
    const SHOWN: usize = 4;
    let mut all: Vec<String> = capacity.steps.iter().take(SHOWN).map(value).collect();
    if capacity.steps.len() > SHOWN {
        all.push(format!("{} more", capacity.steps.len() - SHOWN));
    }
    all.join(", ")
}

fn of_link(link: &Link) -> Vec<String> {
    let mut lines = Vec::new();
    let name = match &link.definition {
        Some(definition) => format!("{} ({definition})", link.resource.id),
        None => link.resource.id.clone(),
    };
    lines.push(name);
    if link.forward == link.reverse {
        line(&mut lines, "", &link.forward);
    } else {
        let both = !link.forward.is_empty() && !link.reverse.is_empty();
        line(&mut lines, if both { "→" } else { "" }, &link.forward);
        line(&mut lines, if both { "←" } else { "" }, &link.reverse);
    }
    line(&mut lines, "", &link.latency);
    lines.iter().map(|line| one_line(line)).collect()
}

fn of_end(end: &Endpoint) -> String {
    match (end.port, &end.interface) {
        (Some(port), _) => port.to_string(),
        (None, Some(interface)) => one_line(interface),
        (None, None) => String::new(),
    }
}
